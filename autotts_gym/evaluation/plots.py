"""Frontiers as figures, accuracy against mean tokens, one curve per family; and diagnoses, what became of episodes."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args

import numpy as np

from autotts_gym.errors import AutottsError, quote
from autotts_gym.evaluation.frontier import Axis, Floats, Frontier, find_reference
from autotts_gym.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from autotts_gym.evaluation.diagnosis import Diagnosis, Part

Panels = Literal["mean", "stores", "all"]
Intervals = Literal["paired", "absolute", "none"]


class _Spread(TypedDict):
    level: float
    resamples: int
    seed: int


# Okabe & Ito's colours that read on white, best told apart first; self-consistency is black. Markers repeat the
# coding, and dashes tell families beyond the sixth apart.
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5, 1, 1.5)), (0, (1, 1)))
_NAMES = {
    "sc": "Self-consistency",
    "asc": "ASC",
    "esc": "ESC",
    "parallel_probe": "Parallel-Probe",
    "cmc": "CMC",
    "answer_consistency": "Answer consistency",
    "short_m": "short-m@k",
    "doubling": "Doubling SC",
}
_STYLE: dict[Any, object] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.labelsize": 9,
    "axes.linewidth": 0.7,
    "axes.edgecolor": "#444444",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.fonttype": "path",
    "svg.hashsalt": "autotts_gym",
}


Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def plot_frontiers(
    families: Sequence[Frontier],
    paths: Paths,
    x: Axis = "total_tokens",
    *,
    panels: Panels = "mean",
    intervals: Intervals = "paired",
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    title: str | None = None,
) -> None:
    """Draws accuracy (%) against mean tokens (log axis) and writes the figure.

    The same families give the same bytes: no date is written and element ids are fixed.

    Args:
        families: Families measured on the same stores; one curve each. Self-consistency is drawn as the reference.
        paths: One path or several, ending in ``.png`` or ``.svg``; each is written atomically.
        x: Token axis, ``"total_tokens"`` or ``"sequential_tokens"``.
        panels: The ``"mean"`` over stores, one panel for each of the ``"stores"``, or ``"all"`` of these.
        intervals: Whiskers, intervals over questions. ``"paired"``: of the difference to the accuracy of SC@64, drawn
            around it, so that a whisker clear of the dotted line means a difference; questions being easy or
            hard for every family is taken out (without SC, as ``"absolute"``). ``"absolute"``: of the accuracy.
            ``"none"``.
        level: Nominal coverage of the intervals.
        resamples: Number of bootstrap resamples.
        seed: Seed of the resamples.
        title: Heading of the figure; none by default.

    Raises:
        AutottsError: If there is no family, stores differ, or a path ends otherwise.
    """
    targets = _targets(paths)
    if intervals not in get_args(Intervals):
        raise AutottsError(f"intervals: expected one of {', '.join(get_args(Intervals))}, got {quote(intervals)}")
    if not families:
        raise AutottsError("plot: expected at least one family, got none")
    spread: _Spread = {"level": level, "resamples": resamples, "seed": seed}
    with _style():
        _write(_draw([family.along(x) for family in families], panels, intervals, spread, title), targets)


def plot_diagnosis(diagnosis: Diagnosis, paths: Paths) -> None:
    """Draws what became of the episodes and of the tokens, as bars for all, each store and each difficulty band.

    The same diagnosis gives the same bytes.

    Args:
        diagnosis: What to draw.
        paths: One path or several, ending in ``.png`` or ``.svg``; each is written atomically.

    Raises:
        AutottsError: If a path ends otherwise.
    """
    targets = _targets(paths)
    with _style():
        _write(_draw_diagnosis(diagnosis), targets)


def _targets(paths: Paths) -> list[Path]:
    targets = [Path(path) for path in ([paths] if isinstance(paths, str | os.PathLike) else paths)]
    for path in targets:
        if path.suffix not in (".png", ".svg"):
            raise AutottsError(f"{path}: expected a file name ending in .png or .svg")
    return targets


def _write(figure: Figure, targets: Sequence[Path]) -> None:
    for path in targets:
        buffer = io.BytesIO()
        if path.suffix == ".png":
            figure.savefig(buffer, format="png", dpi=200, metadata={"Software": None})
        else:
            figure.savefig(buffer, format="svg", metadata={"Date": None})
        write_atomically(path, buffer.getvalue())


@contextmanager
def _style() -> Iterator[None]:
    """Matplotlib's defaults with the style of this project on top, whatever the user has set, and as it was after."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def _draw(
    families: Sequence[Frontier], panels: Panels, intervals: Intervals, spread: _Spread, title: str | None
) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    layout = _layout(families[0], panels)
    columns = math.ceil(math.sqrt(len(layout)))
    rows = math.ceil(len(layout) / columns)
    legend_columns = {1: 3, 2: 4}.get(columns, 7)
    legend_height = 0.18 * math.ceil((len(families) + 2) / legend_columns)
    width, height = (5.6, 3.4) if len(layout) == 1 else (3.1 * columns, 2.5 * rows + 0.3)
    figure = Figure(figsize=(width, height + legend_height), layout="constrained")
    for i, (heading, stores) in enumerate(layout):
        axes = figure.add_subplot(rows, columns, i + 1)
        _draw_panel(axes, [family.on(stores) for family in families], intervals, spread)
        axes.set_title(heading, loc="left")
        if i % columns == 0:
            axes.set_ylabel("Accuracy (%)")
        if i + columns >= len(layout):
            axes.set_xlabel(f"Mean {families[0].x.replace('_', ' ')} per question")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if intervals != "none":
        paired = intervals == "paired" and find_reference(families) is not None
        handles.append(Line2D([], [], color="#999999", linewidth=1.1, marker="|", markersize=9, linestyle="none"))
        labels.append(f"{spread['level']:.0%} interval{', paired' if paired else ''}")
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=legend_columns,
        columnspacing=1.6,
        handlelength=2.6,
    )
    if title is not None:
        figure.suptitle(title, fontsize=11, fontweight="bold")
    return figure


def _layout(family: Frontier, panels: Panels) -> list[tuple[str, list[str]]]:
    """Returns heading and stores of every panel."""
    each = [(f"{means.model} · {means.benchmark}", [means.store]) for means in family.stores]
    mean = (f"Mean over {len(each)} stores", [means.store for means in family.stores])
    layouts = {"mean": each if len(each) == 1 else [mean], "stores": each, "all": [*each, mean]}
    if panels not in layouts:
        raise AutottsError(f"panels: expected one of {', '.join(layouts)}, got {quote(panels)}")
    return layouts[panels]


def _draw_panel(axes: Axes, families: Sequence[Frontier], intervals: Intervals, spread: _Spread) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axes.set_xscale("log")
    axes.grid(color="#e6e6e6", linewidth=0.6)
    reference = find_reference(families)
    coloured = 0
    for i, family in enumerate(families):
        is_reference = all(setting.controller == "sc" for setting in family.settings)
        turn, hue = divmod(coloured, len(_COLOURS))
        colour, dashes = ("black", (0, (4, 1.5))) if is_reference else (_COLOURS[hue], _DASHES[turn % len(_DASHES)])
        coloured += not is_reference
        tokens = np.array([point.tokens for point in family.points])
        accuracy = 100 * np.array([point.accuracy for point in family.points])
        axes.plot(
            tokens,
            accuracy,
            label=_NAMES.get(family.name, family.name),
            color=colour,
            linestyle=dashes,
            linewidth=1.5,
            marker=_MARKERS[i % len(_MARKERS)],
            markersize=4.8,
            markeredgecolor="white",
            markeredgewidth=0.6,
            zorder=3,
        )
        if intervals != "none":
            low, high = _limits(family, reference if intervals == "paired" else None, spread)
            axes.vlines(tokens, low, high, color=colour, alpha=0.4, linewidth=1.1, zorder=2)
    if reference is not None:
        best = reference.peak
        label = f"Accuracy of SC@{best.setting.params['branches']}"
        axes.axhline(100 * best.accuracy, label=label, color="black", lw=0.8, ls=(0, (1, 2)), zorder=1.5)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10]))


def _limits(family: Frontier, against: Frontier | None, spread: _Spread) -> tuple[Floats, Floats]:
    """Returns lower and upper accuracy (%) of every point; with a reference, those of the difference around it."""
    centre = 0.0 if against is None else against.peak.accuracy
    pairs = family.point_intervals(against, **spread)
    low, high = np.array([(accuracy.low, accuracy.high) for accuracy, _ in pairs]).T
    return 100 * (centre + low), 100 * (centre + high)


# What could not be helped is grey, what could is coloured.
_OUTCOME_COLOURS = {
    "right": "#e8e8e8",
    "stopped_early": "#D55E00",
    "pruned_right": "#E69F00",
    "lost_tie": "#CC79A7",
    "overruled": "#56B4E9",
    "outvoted": "#0072B2",
    "never_opened": "#009E73",
    "out_of_slots": "#a8a8a8",
    "out_of_reach": "#707070",
}
_TOKEN_COLOURS = {
    "needed, right": "#e8e8e8",
    "wasted, right": "#E69F00",
    "wasted, wrong": "#D55E00",
    "needed, wrong": "#a8a8a8",
}


def _draw_diagnosis(diagnosis: Diagnosis) -> Figure:
    from matplotlib.figure import Figure

    parts = diagnosis.shown
    # A gap sets stores and bands apart from what is above them.
    rows = [i + 0.5 * ["all", "store", "band"].index(part.kind) for i, part in enumerate(parts)]
    panels = (
        ("Episodes (%)", _OUTCOME_COLOURS, [{"right": part.accuracy, **part.causes} for part in parts]),
        ("Tokens (%)", _TOKEN_COLOURS, [_token_shares(part) for part in parts]),
    )
    figure = Figure(figsize=(8.2, 1.5 + 0.26 * len(parts)), layout="constrained")
    for i, (label, colours, shares) in enumerate(panels):
        axes = figure.add_subplot(1, 2, i + 1)
        left = np.zeros(len(parts))
        for name, colour in colours.items():
            widths = 100 * np.array([share[name] for share in shares])
            axes.barh(rows, widths, 0.78, left, label=name.replace("_", " "), color=colour)
            left += widths
        axes.set_xlim(0, 100)
        axes.set_xlabel(label)
        axes.set_yticks(rows, [f"{part.name}  {100 * part.accuracy:.1f} %" for part in parts] if i == 0 else [])
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3 if i == 0 else 2, handlelength=1.0)
    figure.suptitle(f"{diagnosis.label}, accuracy beside each bar", fontsize=9.5, fontweight="bold")
    return figure


def _token_shares(part: Part) -> dict[str, float]:
    wrong, waste = sum(part.cause_tokens.values()), part.waste
    return {
        "needed, right": 1.0 - wrong - waste["wasted_right"],
        "wasted, right": waste["wasted_right"],
        "wasted, wrong": waste["wasted_wrong"],
        "needed, wrong": wrong - waste["wasted_wrong"],
    }


def short_number(value: float) -> str:
    """Returns a number of tokens as an axis has it: ``500``, ``50k``, ``1M``, ``2.5M``."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
