"""Comparisons of families as tables: for the terminal, Markdown, CSV and JSON.

Machine formats (CSV, JSON) hold full precision in base units: accuracy and shares in [0, 1], tokens as such. An
interval becomes the columns ``NAME``, ``NAME_low``, ``NAME_high`` and, as the share of resamples in which the statistic
is defined, ``NAME_defined``. Text (terminal, Markdown) shows percent and, as the token unit of the stores is large or
small, tokens or thousands or millions of them.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from autotts_gym import units
from autotts_gym.errors import AutottsError, plain, quote
from autotts_gym.evaluation.families import readable
from autotts_gym.evaluation.frontier import (
    Area,
    Bootstrap,
    Frontier,
    Peak,
    Saving,
    Statistic,
    TokensToReach,
    bootstrap,
    find_reference,
)
from autotts_gym.evaluation.resampling import Interval
from autotts_gym.files import write_atomically

if TYPE_CHECKING:
    import rich.table

By = Literal["store", "benchmark", "mean"]
Scalar = str | float | None
Cell = Scalar | Interval


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        key: its name in CSV and JSON.
        header: its lines of heading in text; an empty one keeps the column out of text.
        show: how a number of it reads in text.
        read: how a text of it reads in text.
    """

    key: str
    header: tuple[str, ...]
    show: Callable[[float], str] = str
    read: Callable[[str], str] = str

    def text(self, cell: Cell) -> str:
        """Return a cell as text; an interval as ``estimate [low, high]``, nothing as a dash."""
        if isinstance(cell, str):
            return self.read(cell)
        if isinstance(cell, Interval):
            return f"{self._number(cell.estimate)} [{self._number(cell.low)}, {self._number(cell.high)}]"
        return "-" if cell is None else self._number(cell)

    def _number(self, value: float) -> str:
        if math.isfinite(value):
            return self.show(value)
        return "-" if math.isnan(value) else ("∞" if value > 0 else "-∞")


@dataclass(frozen=True)
class Table:
    """Headers and rows, and how they are written."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise AutottsError(f"{self.title}: expected {len(self.columns)} cells in a row, got {len(row)}")

    def records(self) -> list[dict[str, Scalar]]:
        """Return one dict per row, as the module describes."""
        return [
            {
                key: value
                for column, cell in zip(self.columns, row, strict=True)
                for key, value in _fields(column.key, cell).items()
            }
            for row in self.rows
        ]

    def to_json(self) -> str:
        """Return the records as a JSON list; what is not finite (never reached) is null."""
        finite = [
            {key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in record.items()}
            for record in self.records()
        ]
        return json.dumps(finite, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def to_csv(self) -> str:
        """Return the records as CSV with a header line; NaN and None are empty, infinities ``inf`` and ``-inf``."""
        records = self.records()
        keys = list(records[0]) if records else [column.key for column in self.columns]
        file = io.StringIO()
        writer = csv.DictWriter(file, keys, lineterminator="\n")
        writer.writeheader()
        for record in records:
            writer.writerow({k: "" if isinstance(v, float) and math.isnan(v) else v for k, v in record.items()})
        return file.getvalue()

    def to_markdown(self) -> str:
        """Return a heading and a pipe table."""
        shown, rows = self._text()
        head = [" ".join(column.header) for column in shown]
        rule = [":---", *["---:"] * (len(shown) - 1)]
        lines = [" | ".join(cell.replace("|", r"\|") for cell in line) for line in (head, rule, *rows)]
        return f"### {self.title}\n\n" + "".join(f"| {line} |\n" for line in lines)

    def to_rich(self) -> rich.table.Table:
        """Return a table that a rich console prints; families of several rows are set apart by a line."""
        from rich import box
        from rich.markup import escape
        from rich.table import Table as RichTable

        shown, rows = self._text()
        table = RichTable(
            title=escape(self.title), title_justify="left", title_style="bold", box=box.HORIZONTALS, pad_edge=False
        )
        for i, column in enumerate(shown):
            table.add_column(escape("\n".join(column.header)), justify="right" if i else "left", overflow="fold")
        families = [row[0] for row in self.rows]
        grouped = len(set(families)) < len(families)
        for row, family, following in zip(rows, families, [*families[1:], None], strict=True):
            table.add_row(*map(escape, row), end_section=grouped and following not in (family, None))
        return table

    __rich__ = to_rich  # so that a console prints the table itself

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the table in the format that the suffix names (.csv, .json, .md), atomically.

        Raises:
            AutottsError: if the suffix names none.
        """
        render = {".csv": self.to_csv, ".json": self.to_json, ".md": self.to_markdown}.get(Path(path).suffix)
        if render is None:
            raise AutottsError(f"{os.fspath(path)}: expected a file name ending in .csv, .json or .md")
        write_atomically(path, render().encode())

    def _text(self) -> tuple[list[Column], list[list[str]]]:
        shown = [column for column in self.columns if column.header]
        rows = [
            [column.text(cell) for column, cell in zip(self.columns, row, strict=True) if column.header]
            for row in self.rows
        ]
        return shown, rows


def comparison_table(
    families: Sequence[Frontier],
    *,
    by: By = "store",
    intervals: bool = False,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    title: str | None = None,
) -> Table:
    """Build the table of accuracy and tokens of every setting, as in Table 1 of the AutoTTS paper.

    A row is a setting, grouped by family and sorted by tokens. Columns are accuracy and mean tokens, along the
    families' axis, on every store or benchmark and on average, and at last the share of the tokens of SC@64 (that is,
    of the self-consistency setting with most branches) that the setting saves on average, if that is present.

    Args:
        families: families measured on the same stores. ``family.on(stores)`` narrows the table to some stores.
        by: columns for every ``"store"``, every ``"benchmark"``, or the ``"mean"`` only.
        intervals: whether accuracies come with their interval over questions.
        level: nominal coverage of the intervals.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples.
        title: the heading; one that says how many stores and which accounting by default.

    Raises:
        AutottsError: if there is no family, or they differ in stores, accounting or axis.
    """
    first = _check_families(families)
    reference = find_reference(families)
    groups = _column_groups(first, by)
    columns = [Column("family", (), read=readable), Column("setting", ("setting",)), Column("params", ())]
    for name, heading, stores in groups:
        amounts = units.shown(first.on(stores).token_unit)
        columns += [
            Column(f"{name}:accuracy", (*heading, "acc %"), _percent),
            Column(f"{name}:{first.x}", (*heading, amounts.heading), amounts.text),
        ]
    saving = () if reference is None else (Column("saving", ("mean", "saved %"), _percent),)
    rows: list[tuple[Cell, ...]] = []
    for family in families:
        cells: dict[str, list[Cell]] = {point.setting.label: [] for point in family.points}
        for _, _, stores in groups:
            part = family.on(stores)
            spread = part.point_intervals(level=level, resamples=resamples, seed=seed) if intervals else None
            for i, point in enumerate(part.points):
                cells[point.setting.label] += [spread[i][0] if spread else point.accuracy, point.tokens]
        for point in family.points:
            row = cells[point.setting.label]
            if reference is not None:
                row.append(1.0 - point.tokens / reference.peak.tokens)
            params = json.dumps(dict(point.setting.params), default=str)
            rows.append((family.name, point.setting.short, params, *row))
    return Table(
        title or f"Accuracy and {first.x.replace('_', ' ')}, {_scope(first)}", (*columns, *saving), tuple(rows)
    )


def statistics_table(
    families: Sequence[Frontier],
    *,
    reference: Frontier | None = None,
    rival: str | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    title: str | None = None,
) -> Table:
    """Build the table of the statistics of each family's frontier, with intervals over questions.

    Columns: tokens to reach the reference's accuracy (the target is taken anew in each resample; ∞ where it is not
    reached) and in which share of the resamples it is reached; the share of the reference's tokens saved there; peak
    accuracy and its tokens; area, on the range where all families are defined. With a rival, for each of the three
    the probability that the family is better than the rival on the same resampled questions, ties counting one half.

    Args:
        families: families measured on the same stores.
        reference: the setting whose accuracy is to be reached; SC@64 (see ``find_reference``) by default. Without one
            its columns are left out.
        rival: name of the family to compare each family with; none by default.
        level: nominal coverage of the intervals.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples.
        title: the heading.

    Raises:
        AutottsError: if there is no family, the rival is none of them, or stores, accounting or axis differ.
    """
    first = _check_families(families)
    names = [family.name for family in families]
    if rival is not None and rival not in names:
        raise AutottsError(f"rival: expected one of {plain(', '.join(names))}, got {quote(rival)}")
    reference = reference if reference is not None else find_reference(families)
    amounts = units.shown(first.token_unit)

    def sample(statistic: Statistic) -> Bootstrap:
        return bootstrap(families, statistic, resamples=resamples, seed=seed)

    def spread(sampled: Bootstrap) -> list[Cell]:
        return [sampled.interval(i, level) for i in range(len(families))]

    data: list[tuple[Column, list[Cell]]] = [(Column("family", ("family",), read=readable), list(names))]
    contests: list[tuple[str, str, Bootstrap]] = []
    if reference is not None:
        goal = reference.peak.setting.short
        tokens = sample(TokensToReach(reference))
        reached = [tokens.interval(i, level).defined for i in range(len(families))]
        data += [
            (Column("tokens_to_reach", (f"{amounts.heading} to reach", goal), amounts.text), spread(tokens)),
            (Column("reached", ("reached in", "% of draws"), _percent), list(reached)),
            (Column("saving", ("saved % of", goal), _percent), spread(sample(Saving(reference)))),
        ]
        contests.append(("tokens_to_reach", "fewer tokens", tokens))
    peak, area = sample(Peak()), sample(Area())
    data += [
        (Column("peak_accuracy", ("peak", "acc %"), _percent), spread(peak)),
        (Column("peak_tokens", ("peak", amounts.heading), amounts.text), [family.peak.tokens for family in families]),
        (Column("area", ("area", "acc %"), _percent), spread(area)),
    ]
    if rival is not None:
        contests += [("peak_accuracy", "higher peak", peak), ("area", "larger area", area)]
        against = names.index(rival)
        for key, words, sampled in contests:
            chances = [sampled.compare(i, against, level).probability for i in range(len(families))]
            data.append(
                (Column(f"probability_{key}", (f"P({words}", f"than {readable(rival)})"), _chance), list(chances))
            )
    return Table(
        title or f"Frontiers along {first.x.replace('_', ' ')}, {_scope(first)}, {level:.0%} intervals over questions",
        tuple(column for column, _ in data),
        tuple(zip(*(cells for _, cells in data), strict=True)),
    )


def _check_families(families: Sequence[Frontier]) -> Frontier:
    if not families:
        raise AutottsError("table: expected at least one family, got none")
    return families[0]


def _column_groups(family: Frontier, by: By) -> list[tuple[str, tuple[str, ...], list[str]]]:
    """Return (name, heading, stores) for each group of columns; the mean is last, unless there is one group."""
    every = [means.store for means in family.stores]
    groups: list[tuple[str, tuple[str, ...], list[str]]] = []
    if by == "store":
        groups = [(means.store, (means.model, means.benchmark), [means.store]) for means in family.stores]
    elif by == "benchmark":
        members: dict[str, list[str]] = {}
        for means in family.stores:
            members.setdefault(means.benchmark, []).append(means.store)
        groups = [(benchmark, (benchmark,), stores) for benchmark, stores in members.items()]
    elif by != "mean":
        raise AutottsError(f"by: expected store, benchmark or mean, got {quote(by)}")
    return groups if len(groups) == 1 else [*groups, ("mean", ("mean",), every)]


def _fields(key: str, cell: Cell) -> dict[str, Scalar]:
    if isinstance(cell, Interval):
        return {key: cell.estimate, f"{key}_low": cell.low, f"{key}_high": cell.high, f"{key}_defined": cell.defined}
    return {key: cell}


def _scope(family: Frontier) -> str:
    stores = family.stores
    where = stores[0].store if len(stores) == 1 else f"{len(stores)} stores"
    return f"{where}, {family.accounting} accounting"


def _percent(value: float) -> str:
    return f"{100 * value:z.1f}"


def _chance(value: float) -> str:
    return f"{value:.2f}"
