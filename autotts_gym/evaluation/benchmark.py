"""All controllers over their knobs on the same stores: presets, the run, and its report."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import platform
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from autotts_gym.controllers import Controller, lacks, make_controller
from autotts_gym.engine import Rules
from autotts_gym.errors import AutottsError, plain
from autotts_gym.evaluation.frontier import Axis, Frontier, find_reference
from autotts_gym.evaluation.plots import Panels, plot_frontiers
from autotts_gym.evaluation.resampling import require_resamples
from autotts_gym.evaluation.results import EvaluationResult, setting_label
from autotts_gym.evaluation.runner import evaluate_all
from autotts_gym.evaluation.tables import Table, comparison_table, statistics_table
from autotts_gym.files import write_atomically
from autotts_gym.pictures import SUFFIXES
from autotts_gym.replay import ReplayStore
from autotts_gym.version import __version__

Params = Mapping[str, Any]

logger = logging.getLogger(__name__)


def _settings_of(knob: str, *values: float) -> tuple[Params, ...]:
    return tuple({knob: value} for value in values)


@dataclass(frozen=True)
class Preset:
    """Which settings a benchmark compares, and how.

    Attributes:
        accounting: token accounting.
        seeds: number of seeds.
        settings: settings by controller.
        sweep: settings of a controller that ``settings`` does not list.
    """

    accounting: str
    seeds: int
    settings: Mapping[str, tuple[Params, ...]]
    sweep: tuple[Params, ...]

    def controllers(self, names: Iterable[str] = (), stores: Sequence[ReplayStore] = ()) -> list[Controller]:
        """Make every setting of the named controllers; of all that the preset lists, if none is named.

        Settings with the same knobs are made once.

        Args:
            names: anything that ``make_controller`` takes.
            stores: where they shall play. Where one has no probes, or lacks a signal, controllers that need it are left
                out, unless they are named. A warning says so for probes only, as few stores have signals.

        Raises:
            ControllerError: if there is no such controller.
        """
        names = tuple(names)
        made = [
            make_controller(name, **params)
            for name in names or self.settings
            for params in self.settings.get(name, self.sweep)
        ]
        if not names:
            lacking = [lacks(controller, stores) for controller in made]
            left = sorted({each.name for each, lack in zip(made, lacking, strict=True) if lack == ["probes"]})
            if left:
                logger.warning("left out %s, which need probes, as there is a store without", ", ".join(left))
            made = [each for each, lack in zip(made, lacking, strict=True) if not lack]
        return list({setting_label(controller.name, controller.params): controller for controller in made}.values())


_POWERS = (2, 4, 8, 16, 32, 64)
_SWEEP = _settings_of("beta", 0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_FAMILIES = ("sc", "asc", "esc", "parallel_probe", "cmc", "answer_consistency", "short_m", "doubling")
_ON_SIGNALS = ("deepconf", "deer")

PRESETS: Mapping[str, Preset] = {
    # The grid of the AutoTTS paper (arXiv 2605.08083) and of the code published with it.
    "paper": Preset(
        accounting="autotts",
        seeds=100,
        settings={
            "sc": _settings_of("branches", 64),
            "asc": _settings_of("branches", *_POWERS),
            "esc": _settings_of("branches", 16, 32, 64),
            "parallel_probe": _settings_of("branches", *_POWERS),
            "cmc": _settings_of("beta", 0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0),
        },
        sweep=_settings_of("beta", 0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0),
    ),
    # Every family that the stores have all signals for, from little to much budget, and with its documented knobs.
    "default": Preset("exact", 100, dict.fromkeys((*_FAMILIES, *_ON_SIGNALS), (*_SWEEP, {})), _SWEEP),
    "quick": Preset(
        accounting="exact",
        seeds=10,
        settings=dict.fromkeys(("sc", "asc", "parallel_probe", "cmc"), _settings_of("beta", 0.0, 0.5, 1.0)),
        sweep=_settings_of("beta", 0.0, 0.5, 1.0),
    ),
}


def run_benchmark(
    stores: Sequence[ReplayStore],
    controllers: Sequence[Controller],
    *,
    seeds: Sequence[int] = range(100),
    rules: Rules | None = None,
    workers: int = 1,
    progress: bool = False,
    resamples: int = 2000,
) -> Report:
    """Evaluate every controller on every store.

    Args:
        stores: where to compare; their names differ.
        controllers: what to compare; settings of the same name make a family.
        seeds: orders of the pools, as in ``evaluate``.
        rules: what holds in every episode; the defaults if None.
        workers: processes; the report is the same for any number.
        progress: whether to show a progress bar.
        resamples: bootstrap resamples behind the report's intervals.

    Raises:
        AutottsError: if there is nothing to compare, two stores share a name, or a number is out of range.
    """
    names = [store.name for store in stores]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise AutottsError(f"stores: expected different names, got {plain(', '.join(twice))} more than once")
    if not stores or not controllers:
        raise AutottsError("benchmark: expected at least one store and one controller, got none")
    if resamples < 1:
        raise AutottsError(f"resamples: expected at least 1, got {resamples}")
    for store in stores:
        store.require_gold("benchmark")
    require_resamples(resamples, sum(store.num_questions for store in stores))  # before the work rather than after it
    results = evaluate_all(controllers, stores, seeds=seeds, rules=rules, workers=workers, progress=progress)
    return Report(tuple(stores), tuple(results), resamples)


@dataclass(frozen=True, eq=False)
class Report:
    """What a benchmark measured, as tables, figures and files.

    Attributes:
        stores: the stores.
        results: a result for every setting on every store.
        resamples: bootstrap resamples behind its intervals.
    """

    stores: tuple[ReplayStore, ...]
    results: tuple[EvaluationResult, ...]
    resamples: int = 2000

    @cached_property
    def families(self) -> tuple[Frontier, ...]:
        """The settings of each controller."""
        return Frontier.families(self.results)

    def comparisons(self) -> list[Table]:
        """Return accuracy and tokens of every setting: a table for every benchmark, and one of their means."""
        families = self.families
        benchmarks = list(dict.fromkeys(store.benchmark for store in self.stores))
        if len(self.stores) == 1:
            return [comparison_table(families)]
        tables = [
            comparison_table(
                [family.on(store.name for store in self.stores if store.benchmark == benchmark) for family in families],
                title=f"{benchmark}: {self._scope}",
            )
            for benchmark in benchmarks
        ]
        if len(benchmarks) > 1:
            tables.append(comparison_table(families, by="benchmark", title=f"Mean: {self._scope}"))
        return tables

    def statistics(self, rival: str | None = None) -> Table:
        """Return the statistics of each frontier, with intervals over questions.

        A family of one setting is a reference, not a frontier: it is left out where there are others.

        Args:
            rival: family with which each one is compared; CMC by default, or the first one where CMC is absent.
        """
        reference = find_reference(self.families)
        frontiers = [family for family in self.families if len(family.settings) > 1] or list(self.families)
        names = [family.name for family in frontiers]
        if rival is None and len(names) > 1:
            rival = "cmc" if "cmc" in names else names[0]
        return statistics_table(frontiers, reference=reference, rival=rival, resamples=self.resamples)

    def write(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write the results, tables and figures to a folder, each file whole or not at all, and return their paths.

        The same report gives the same bytes.

        Raises:
            AutottsError: if the folder cannot be written to.
        """
        out = Path(folder)
        check_writable(out)
        statistics = self.statistics()
        texts = {
            "results.json": json.dumps(self._record(), indent=2, ensure_ascii=False) + "\n",
            "results.csv": self._csv(),
            "comparison.md": "\n".join(table.to_markdown() for table in self.comparisons()),
            "comparison.csv": comparison_table(self.families).to_csv(),
            "statistics.md": statistics.to_markdown(),
            "statistics.csv": statistics.to_csv(),
        }
        for name, text in texts.items():
            write_atomically(out / name, text.encode())
        figures: dict[str, tuple[Panels, Axis]] = {"frontier": ("mean", "total_tokens")}
        if len(self.stores) > 1:  # a single store is its own mean
            figures["frontier_stores"] = ("stores", "total_tokens")
        figures["frontier_sequential"] = ("mean", "sequential_tokens")
        paths = [out / name for name in texts]
        for name, (panels, x) in figures.items():
            targets = [out / f"{name}{suffix}" for suffix in SUFFIXES]
            plot_frontiers(self.families, targets, x, panels=panels, resamples=self.resamples)
            paths += targets
        return paths

    @property
    def _scope(self) -> str:
        first = self.results[0]
        return f"accuracy and total tokens, {first.accounting} accounting, {len(first.seeds)} seeds"

    def _record(self) -> dict[str, object]:
        """Return everything in the report as values that JSON can hold."""
        return {
            "versions": {
                "autotts_gym": __version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
            "stores": [
                {"name": store.name, "questions": store.num_questions, "attributes": dict(store.attributes)}
                for store in self.stores
            ],
            "seeds": list(self.results[0].seeds),
            "results": [result.summary() for result in self.results],
        }

    def _csv(self) -> str:
        rows = [{**row, "params": json.dumps(row["params"])} for row in (result.summary() for result in self.results)]
        file = io.StringIO()
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return file.getvalue()


def check_writable(folder: str | os.PathLike[str]) -> None:
    """Make a folder unless it is there, and find out whether files can be written to it.

    Raises:
        AutottsError: if they cannot.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise AutottsError(f"{os.fspath(folder)}: cannot be written to: {plain(error)}") from error
