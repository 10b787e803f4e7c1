"""What goes to the terminal: tables that fit it, and text of models that cannot steer it."""

from __future__ import annotations

import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.table import Table as RichTable
    from rich.text import Text

    from autotts_gym.evaluation.tables import Table

_ENDLESS = 1000
"""Columns where the output is not a terminal."""

_LEAST_NAME, _LONG_NAME = 8, 36
"""Columns that the names of rows have, at least and at most, in a table that is too wide."""


def columns() -> int | None:
    """Return how many columns the terminal has, as COLUMNS or it says; None where there is none.

    Without a terminal COLUMNS means nothing: GNU readline leaves it in the environment of every program that loads it.
    """
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def show(*renderables: Any) -> None:
    """Print what rich can render, as wide as the terminal, or as it needs where there is none."""
    from rich.console import Console

    console = Console(width=columns() or _ENDLESS)
    with console.capture() as capture:
        for renderable in renderables:
            console.print(renderable)
    lines = capture.get().splitlines()
    print("\n".join(line.rstrip() for line in lines))


def one_line(text: str, width: int) -> str:
    """Return a model's text on one line of at most ``width``, without characters that would steer a terminal."""
    line = "".join(character if character.isprintable() else "□" for character in " ".join(text.split()))
    return line if len(line) <= width else f"{line[: width - 1]}…"


def wrapped(text: str) -> str:
    """Return a sentence on as many lines as the page needs, those after the first indented."""
    return textwrap.fill(text, columns() or _ENDLESS, subsequent_indent="    ", break_on_hyphens=False)


def pasted(command: str) -> str:
    """Return a command to be pasted into a shell: on one line, or on several that the shell joins where it is long."""
    width = columns()
    lines: list[str] = []
    for word in map(shlex.quote, shlex.split(command)):
        if width is not None and lines and len(lines[-1]) + len(word) + 3 > width:
            lines.append(f"    {word}")
        else:
            lines[-1:] = [f"{lines[-1]} {word}" if lines else f"  {word}"]
    return " \\\n".join(lines)


def heading(text: str) -> Text:
    """Return the heading of a table."""
    from rich.text import Text

    return Text(text, "bold")


def plain_table() -> RichTable:
    """Return an empty table with lines above, below and between its sections only."""
    from rich import box
    from rich.table import Table as RichTable

    return RichTable(box=box.HORIZONTALS, padding=(0, 1, 0, 0), pad_edge=False)


@dataclass(frozen=True)
class Fitted:
    """A table for the terminal; where it is too wide, its columns are divided among several, one below the other.

    A hidden column ``family`` becomes headings, under which the settings are named by their knobs.
    """

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RichTable | Text]:
        """Yield the title and the tables."""
        names, *blocks = _blocks(self.table)
        families, keys = _families(self.table)
        if families:
            knobs = [_knobs(name, key) for name, key in zip(names.cells, keys, strict=True)]
            names = _Block(names.header, tuple(knobs))
        width = max(map(len, (*names.header, *names.cells, *families)))
        widest = max((block.width for block in blocks), default=0)
        if width + 2 + sum(block.width + 2 for block in blocks) > options.max_width:
            # Long names are folded, so that figures never are.
            width = min(width, _LONG_NAME, max(_LEAST_NAME, options.max_width - widest - 2))
        yield heading(self.table.title)
        for part in _packed(blocks, options.max_width - width - 2):
            yield _drawn(names, width, part, families)


@dataclass(frozen=True)
class _Block:
    """Columns that stay side by side, as lines of heading and a cell a row."""

    header: tuple[str, ...]
    cells: tuple[str, ...]

    @property
    def width(self) -> int:
        return max(map(len, (*self.header, *self.cells)))


def _blocks(table: Table) -> list[_Block]:
    """Return the shown columns; those whose keys share what is before the colon make one block."""
    shown = [i for i, column in enumerate(table.columns) if column.header]
    keys = [column.key for column in table.columns]
    return [_block(table, list(group)) for _, group in groupby(shown, lambda i: keys[i].rpartition(":")[0] or keys[i])]


def _block(table: Table, indices: list[int]) -> _Block:
    columns = [table.columns[i] for i in indices]
    texts = [[column.text(row[i]) for row in table.rows] for i, column in zip(indices, columns, strict=True)]
    if len(columns) == 1:
        return _Block(columns[0].header, tuple(texts[0]))
    # The first lines are the headings that the columns share; below, each column has its own: a word over its unit.
    units = [column.header[-1].rpartition(" ")[::2] for column in columns]
    parts = [[*unit, *text] for unit, text in zip(units, texts, strict=True)]
    widths = [max(map(len, part)) for part in parts]
    lines = ["  ".join(map(str.rjust, line, widths)) for line in zip(*parts, strict=True)]
    return _Block((*columns[0].header[:-1], *lines[:2]), tuple(lines[2:]))


def _families(table: Table) -> tuple[list[str], list[str]]:
    """Return the family of every row, as people and as code call it, if that is a hidden column; else nothing."""
    for i, column in enumerate(table.columns):
        if column.key == "family" and not column.header:
            return [column.text(row[i]) for row in table.rows], [str(row[i]) for row in table.rows]
    return [], []


def _knobs(setting: str, family: str) -> str:
    """Return ``branches=8`` of ``asc(branches=8)``, indented."""
    return f"  {setting.removeprefix(f'{family}(').removesuffix(')') or setting}"


def _packed(blocks: Sequence[_Block], room: int) -> list[list[_Block]]:
    """Divide blocks into parts, in order, so that each part of several blocks fits the width."""
    parts: list[list[_Block]] = []
    used = 0
    for block in blocks:
        used += block.width + 2
        if not parts or used > room:
            parts.append([])
            used = block.width + 2
        parts[-1].append(block)
    return parts


def _drawn(names: _Block, width: int, blocks: Sequence[_Block], families: Sequence[str]) -> RichTable:
    from rich.text import Text

    drawn = plain_table()
    drawn.add_column(Text("\n".join(names.header)), width=width, overflow="fold")
    for block in blocks:
        drawn.add_column(Text("\n".join(block.header), justify="right"), justify="right", no_wrap=True)
    for i, cells in enumerate(zip(names.cells, *(block.cells for block in blocks), strict=True)):
        if families and (i == 0 or families[i] != families[i - 1]):
            drawn.add_section()
            drawn.add_row(Text(families[i], "bold"))
        drawn.add_row(*map(Text, cells))
    return drawn
