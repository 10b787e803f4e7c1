"""Pictures of an episode, as text and as a figure; they show what is revealed, and the outcome once there is one."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from autotts_gym import units
from autotts_gym.engine import EpisodeRecord, PoolState, layout
from autotts_gym.pictures import drawn_in, picture_paths, write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

# The values of cells without an answer id.
NO_ANSWER, NOT_PROBED, NOT_GROWN = -1, -2, -3

SIZE = (960, 640)
"""Width and height of a frame in pixels."""

# Colours of Okabe & Ito (the last one of Tol) that read on white and stay apart from one another, and from all of them
# faded, whatever one's colour vision; greys for all other answers.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#332288")
_TONES = ("#8c8c8c", "#a3a3a3", "#777777", "#b8b8b8")
_BLANK, _INK, _MUTED, _FAINT = "#c4c4c4", "#1a1a1a", "#666666", "#e2e2e2"
_HATCHED: dict[str, Any] = {"facecolor": "white", "edgecolor": _BLANK, "hatch": "/////", "linewidth": 0}
_BAR: dict[str, Any] = {"linewidth": 6.5, "solid_capstyle": "butt"}
_FADE = 0.6

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_MARKS = {layout.ACTIVE: "▶", layout.FINISHED: "✓", layout.PRUNED: "✗"}
_TEXT_WIDTH, _TEXT_CELLS, _TEXT_ANSWER = 100, 72, 20

_LEAST_INTERVALS, _MORE_INTERVALS = 20, 10
_STYLE: dict[Any, object] = {
    "font.size": 9.5,
    "text.color": _INK,
    "axes.edgecolor": _MUTED,
    "axes.linewidth": 0.7,
    "hatch.linewidth": 0.7,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
}


Drawable = PoolState | EpisodeRecord
"""What can be drawn: an episode of a state, or the record of one, whose number is 0."""


def cells(state: Drawable, n: int) -> NDArray[np.int32]:
    """The answers of episode n: (opened, deepest), row i branch slot i, column k what it showed at depth k + 1.

    Returns:
        Episode-local answer ids; ``NO_ANSWER``, ``NOT_PROBED`` or ``NOT_GROWN`` where there is none.
    """
    record = state.record(n)
    grid = np.full((int(record.pool["opened"]), int(record.pool["deepest"])), NOT_GROWN, np.int32)
    for i, row in enumerate(grid):
        depth = int(record.slots["depth"][i])
        row[:depth] = record.revealed.history(0, i)
        if record.revealed.rules.probe == "explicit":
            row[:depth][~record.revealed.arrays.probed[0, i, :depth]] = NOT_PROBED
    return grid


@dataclass(frozen=True)
class _Answer:
    """An answer of the episode as both pictures show it."""

    text: str
    letter: str
    colour: str
    votes: int
    finished_votes: int


@dataclass(frozen=True)
class _View:
    """What both pictures show of an episode.

    Attributes:
        pool: POOL.
        slots: (opened,) SLOT.
        grid: as ``cells`` gives it.
        answers: by local id.
        ranked: local ids, the leader first, then by votes and by how often they were shown.
        explicit: whether depths are revealed only where they are probed.
        title: the question.
        outcome: how the episode ended; None while it runs.
        correct: whether the answer given at the end is right; None while it runs, where it was cut off, and where
            the question is unlabelled.
    """

    pool: Any
    slots: NDArray[np.void]
    grid: NDArray[np.int32]
    answers: list[_Answer]
    ranked: list[int]
    explicit: bool
    title: str
    outcome: str | None
    correct: bool | None

    @classmethod
    def of(cls, state: Drawable, n: int) -> _View:
        record = state.record(n)
        pool = record.pool
        grid = cells(record, 0)
        ranked = _rank(record, grid)
        texts = [_clean(text) for text in record.texts]
        letters, colours = _assign_marks(_LETTERS, "#", ranked), _assign_marks(_COLOURS, _TONES, ranked)
        votes, finished = (record.answers[name].tolist() for name in ("votes", "finished_votes"))
        answers = [_Answer(*each) for each in zip(texts, letters, colours, votes, finished, strict=True)]
        explicit = record.revealed.rules.probe == "explicit"
        title = f"{_short(record.store, 40)} · question {record.question}"
        reason, outcome = int(pool["stop_reason"]), None
        if reason == layout.TRUNCATED:
            outcome = "truncated, not answered"
        elif reason != layout.RUNNING:
            given = int(pool["answer"])
            text = f"answer {_short(texts[given], 16)}" if given >= 0 else "no answer"
            verdict = {None: "unlabelled", True: "correct", False: "wrong"}[record.correct]
            outcome = f"{text} · {verdict}" + (" · exhausted" if reason == layout.EXHAUSTED else "")
        return cls(pool, record.slots, grid, answers, ranked, explicit, title, outcome, record.correct)

    @property
    def leader(self) -> int:
        """Local id of the leader, -1: none."""
        return int(self.pool["leader"]) if self.pool["voters"] else -1

    @property
    def budget(self) -> int | None:
        """The token budget, None: none."""
        budget = int(self.pool["budget"])
        return None if budget == layout.UNLIMITED else budget


def _rank(record: EpisodeRecord, grid: NDArray[np.int32]) -> list[int]:
    """All answers seen: leader, the answer given, then by votes, by cells, and by when they were first seen."""
    pool = record.pool
    ids = np.arange(int(pool["answers_seen"]))
    shown = np.bincount(grid[grid >= 0], minlength=ids.size)
    keys = (ids, -shown, -record.answers["votes"], ids != pool["answer"], ids != pool["leader"])
    return [int(answer) for answer in np.lexsort(keys)]


def _assign_marks(marks: Sequence[str], others: Sequence[str], ranked: list[int]) -> list[str]:
    """Mark by local id: the first ranked get one of their own, the same from frame to frame where it is free."""
    shared = [others[answer % len(others)] for answer in range(len(ranked))]
    free = list(range(len(marks)))
    for answer in ranked[: len(marks)]:
        mark = min(free, key=lambda mark: (mark - answer) % len(marks))
        free.remove(mark)
        shared[answer] = marks[mark]
    return shared


def _clean(text: str) -> str:
    """A model's answer on one line, without characters that would steer a terminal."""
    return "".join(character if character.isprintable() else "□" for character in " ".join(text.split())) or "□"


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


# -------------------------------------------------------------------------------------------------------------- text


def render_ansi(state: Drawable, n: int) -> str:
    """Episode n as text with ANSI colours, at most 100 columns wide: a header, then a row for every opened branch.

    A row is the slot, its status (▶ active, ✓ finished, ✗ pruned), a letter for the answer at every interval (the
    leader's inverted, ``·`` where there is none) and the latest answer. Where branches are too deep for the width, a
    letter stands for several intervals and shows the newest of them; the header says so.
    """
    from rich.console import Console
    from rich.text import Text

    view = _View.of(state, n)
    deepest = view.grid.shape[1]
    stride = max(1, -(-deepest // _TEXT_CELLS))
    width = -(-deepest // stride)
    styles = {NO_ANSWER: "bright_black", NOT_PROBED: "bright_black"}
    for i, answer in enumerate(view.answers):
        styles[i] = f"bold reverse {answer.colour}" if i == view.leader else answer.colour
    lines = [Text(line, style) for line, style in _header(view, stride)]
    for i, slot in enumerate(view.slots):
        status, depth, latest = int(slot["status"]), int(slot["depth"]), int(slot["answer"])
        faded = " dim" if status == layout.PRUNED else ""
        line = Text(f"{i:>3} {_MARKS[status]} ", faded.strip())
        newest = np.minimum(np.arange(stride, depth + stride, stride), depth) - 1
        for answer, run in groupby(view.grid[i, newest].tolist()):
            letter = view.answers[answer].letter if answer >= 0 else "·"
            line.append(letter * len(list(run)), styles[answer] + faded)
        line.append(" " * (width - newest.size + 1))
        if latest >= 0:
            text = Text(view.answers[latest].text, styles[latest].replace("reverse ", "") + faded)
            text.truncate(_TEXT_ANSWER, overflow="ellipsis")
            line.append_text(text)
        lines.append(line)
    buffer = io.StringIO()
    console = Console(file=buffer, force_terminal=True, color_system="256", width=_TEXT_WIDTH, legacy_windows=False)
    for line in lines:
        line.rstrip()
        console.print(line, no_wrap=True, overflow="ellipsis", highlight=False)
    return buffer.getvalue()


def _header(view: _View, stride: int) -> Iterator[tuple[str, str]]:
    """The header's lines with their styles."""
    pool = view.pool
    colour = {None: "bold", True: "bold green", False: "bold red"}[view.correct]
    yield f"{view.title} · {view.outcome or 'running'}", colour
    spend = f"{pool['total_tokens']:,} tokens · {pool['sequential_tokens']:,} sequential"
    if view.budget is not None:
        spend += f" · {view.budget - pool['total_tokens']:,} of {view.budget:,} left"
    yield spend, ""
    yield " · ".join(_votes(view, kind, letter=True) for kind in ("", "finished_")), ""
    if stride > 1:
        yield f"a letter stands for {stride} intervals", "dim"


def _votes(view: _View, kind: str, letter: bool = False) -> str:
    """The leader ("") or the finished leader ("finished_") and its votes."""
    name, voters = kind.replace("_", " ") + "leader", int(view.pool[f"{kind}voters"])
    if voters == 0:
        return f"no {name}"
    answer, votes = view.answers[view.pool[f"{kind}leader"]], int(view.pool[f"{kind}leader_votes"])
    text = f"{answer.letter} = {_short(answer.text, 12)}" if letter else _short(answer.text, 20)
    return f"{name} {text} ({votes} of {voters} votes, {votes / voters:.0%})"


# ----------------------------------------------------------------------------------------------------------- picture


def render_rgb(state: Drawable, n: int) -> NDArray[np.uint8]:
    """Episode n as a frame, (640, 960, 3) uint8; the same state gives the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with drawn_in(_STYLE):
        canvas: Any = FigureCanvasAgg(_draw(_View.of(state, n)))
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def figure(state: Drawable, n: int) -> Figure:
    """Episode n as a figure: branches as rows, intervals as cells coloured by answer; votes and spend beside them."""
    with drawn_in(_STYLE):
        return _draw(_View.of(state, n))


def save_picture(state: Drawable, n: int, path: str | os.PathLike[str]) -> None:
    """Write ``figure(state, n)`` to a .png, .svg or .pdf file, whole or not at all; equal states give equal bytes.

    Raises:
        AutottsError: the file name ends otherwise, or the file cannot be written.
    """
    targets = picture_paths(path)
    with drawn_in(_STYLE):
        write_figure(_draw(_View.of(state, n)), targets)


def _draw(view: _View) -> Figure:
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(SIZE[0] / 100, SIZE[1] / 100), dpi=100, facecolor="white")
    _write(drawing, 0.058, 0.958, view.title, fontsize=12.5, fontweight="bold")
    if view.outcome is not None:
        colour = {None: _MUTED, True: "#00704f", False: "#b34700"}[view.correct]
        _write(drawing, 0.985, 0.958, view.outcome, fontsize=11, fontweight="bold", ha="right", color=colour)
    _draw_leader(drawing, view)
    _draw_branches(drawing.add_axes((0.058, 0.085, 0.69, 0.80)), view)
    side = drawing.add_axes((0.775, 0.04, 0.21, 0.845))
    side.set_xlim(0, 1)
    side.set_ylim(0.845 * SIZE[1], 0)
    side.set_axis_off()
    _draw_votes(side, view, 3)
    _draw_spend(side, view, 343)
    _draw_key(side, view, 471)
    return drawing


def _draw_leader(drawing: Figure, view: _View) -> None:
    """The leader in its colour, with its votes, and that of the finished branches."""
    line = "no leader"
    if view.leader >= 0:
        _write(drawing, 0.058, 0.915, "■", color=view.answers[view.leader].colour)
        line = "     " + "   ·   ".join(_votes(view, kind) for kind in ("", "finished_"))
    _write(drawing, 0.058, 0.915, line, color=_MUTED)


def _write(where: Axes | Figure, x: float, y: float, text: str, **style: Any) -> Text:
    """Write text that was not written for Matplotlib: no mathematics, a box for what the font lacks."""
    from matplotlib.font_manager import findfont, get_font

    font = get_font(findfont("DejaVu Sans"))
    known = "".join(character if font.get_char_index(ord(character)) else "□" for character in text)
    return where.text(x, y, known, va="center", parse_math=False, **style)


def _draw_branches(axes: Axes, view: _View) -> None:
    """The cells, and the marks at their ends, over extents that grow with what is revealed in few large steps."""
    from matplotlib.collections import LineCollection, PolyCollection
    from matplotlib.colors import to_rgb
    from matplotlib.ticker import MaxNLocator

    opened, deepest = view.grid.shape
    amounts = units.shown(int(view.pool["token_unit"]))
    interval = max(int(view.pool["interval_tokens"]), 1) / amounts.size
    columns = max(_LEAST_INTERVALS, _MORE_INTERVALS * (deepest // _MORE_INTERVALS + 1))
    rows = max(8, -(-opened // 8) * 8)
    axes.set_xlim(0, columns * interval)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_yticks(range(0, rows, (1 << (rows - 1).bit_length()) // 8))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10]))
    axes.set_xlabel(f"depth ({amounts.label})", color=_MUTED)
    axes.set_ylabel("branch", color=_MUTED)
    axes.tick_params(length=2.5, labelsize=8.5)
    axes.grid(axis="x", color=_FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)

    row, start, end, value = _runs(view.grid)
    half = np.where(value == NO_ANSWER, 0.1, 0.5 if rows > 64 else 0.36 if rows == 8 else 0.43)[:, None]
    x, y = np.stack([start, start, end, end], axis=1) * interval, row[:, None] + half * np.array([-1, 1, 1, -1])
    boxes = np.stack([x, y], axis=2)
    shades = np.array([to_rgb(answer.colour) for answer in view.answers] + [to_rgb(_BLANK)])
    colours = shades[np.maximum(value, NO_ANSWER)]
    faded = view.slots["status"][row] == layout.PRUNED
    colours[faded] = _fade(colours[faded])
    hatched = value == NOT_PROBED
    axes.add_collection(PolyCollection(boxes[~hatched], facecolors=colours[~hatched], linewidths=0, zorder=2))
    axes.add_collection(PolyCollection(boxes[hatched], **_HATCHED, zorder=2))
    separators = [((k * interval, -0.5), (k * interval, opened - 0.5)) for k in range(1, deepest)]
    axes.add_collection(LineCollection(separators, colors="white", linewidths=min(0.7, 50 / columns), zorder=3))

    marker = float(np.clip(0.42 * 0.8 * SIZE[1] / rows, 1.5, 6.5))
    ends = (view.slots["depth"] + 0.011 * columns) * interval
    for status in _MARKS:
        chosen = np.flatnonzero(view.slots["status"] == status)
        inside = shades[view.slots["answer"][chosen]]
        _mark(axes, status, ends[chosen], chosen, inside, marker)


def _fade(colours: Any) -> NDArray[np.float64]:
    """Colours mixed with white."""
    from matplotlib.colors import to_rgba_array

    return 1 - (1 - to_rgba_array(colours)[..., :3]) * (1 - _FADE)


def _runs(grid: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Row, first column, column behind the last, and value of every run of equal grown cells, (runs,) each."""
    first = np.ones(grid.shape, np.bool_)
    first[:, 1:] = grid[:, 1:] != grid[:, :-1]
    starts = np.flatnonzero(first)
    row, start = np.divmod(starts, max(grid.shape[1], 1))
    end = start + np.diff(starts, append=grid.size)
    value = grid.reshape(-1)[starts]
    grown = value != NOT_GROWN
    return row[grown], start[grown], end[grown], value[grown]


def _mark(axes: Axes, status: int, x: Any, y: Any, inside: Any, size: float) -> None:
    """Mark of branches: a disc in the colour of the answer for finished, a cross for pruned, a wedge for active."""
    style = {
        layout.ACTIVE: {"marker": ">", "s": (0.8 * size) ** 2, "color": "white", "edgecolors": _MUTED},
        layout.FINISHED: {"marker": "o", "s": size**2, "color": inside, "edgecolors": _INK},
        layout.PRUNED: {"marker": "x", "s": (0.8 * size) ** 2, "color": _INK},
    }[status]
    axes.scatter(x, y, linewidths=0.17 * size, zorder=4, clip_on=False, **style)


def _draw_votes(axes: Axes, view: _View, top: float) -> None:
    """The answers that have a colour, with their votes as bars, solid where the branches have finished."""
    _write(axes, 0, top, "votes", fontweight="bold")
    _write(axes, 1, top, "solid: finished branches", ha="right", fontsize=8.5, color=_MUTED)
    ranked = [view.answers[answer] for answer in view.ranked]
    lines, others = ranked[: len(_COLOURS)], ranked[len(_COLOURS) :]
    if others:
        votes, finished = sum(answer.votes for answer in others), sum(answer.finished_votes for answer in others)
        lines.append(_Answer(f"{len(others)} more", "", _TONES[0], votes, finished))
    voters = max(int(view.pool["voters"]), 1)
    for line, answer in enumerate(lines):
        y = top + 27 + 42 * line
        leads = line == 0 and view.leader >= 0
        weight = "bold" if leads else "normal"
        _write(axes, 0.085, y, _short(answer.text, 15) + "  ★" * leads, fontweight=weight)
        _write(axes, 1, y, str(answer.votes), ha="right", fontweight=weight)
        axes.plot(0.025, y, marker="s", markersize=6.5, color=answer.colour)
        for votes, colour in (
            (voters, _FAINT),
            (answer.votes, _fade(answer.colour)[0]),
            (answer.finished_votes, answer.colour),
        ):
            axes.plot((0, votes / voters), (y + 16, y + 16), color=colour, **_BAR)


def _draw_spend(axes: Axes, view: _View, top: float) -> None:
    """Total and sequential tokens, and the share of the budget that is spent."""
    spent = int(view.pool["total_tokens"])
    lines = [("total tokens", f"{spent:,}"), ("sequential tokens", f"{view.pool['sequential_tokens']:,}")]
    if view.budget is not None:
        share = spent / max(view.budget, 1)
        lines.append((f"budget {view.budget:,}", f"{share:.0%}"))
        for end, colour in ((1, _FAINT), (share, _INK)):
            axes.plot((0, end), (top + 71, top + 71), color=colour, **_BAR)
    for line, (name, value) in enumerate(lines):
        _write(axes, 0, top + 26 * line, name, color=_MUTED)
        _write(axes, 1, top + 26 * line, value, ha="right", fontweight="bold")


def _draw_key(axes: Axes, view: _View, top: float) -> None:
    """What the marks mean and how many branches have each, and what the cells without an answer mean."""
    from matplotlib.patches import Rectangle

    counts = {layout.ACTIVE: "active", layout.FINISHED: "finished", layout.PRUNED: "pruned"}
    for line, (status, name) in enumerate(counts.items()):
        _mark(axes, status, [0.025], [top + 28 * line], _TONES[0], 6.5)
        _write(axes, 0.085, top + 28 * line, f"{view.pool[name]} {name}", fontsize=8.5, color=_MUTED)
    pale: list[tuple[str, float, dict[str, Any]]] = [("no answer", 4, {"color": _BLANK})]
    if view.explicit:
        pale.append(("not probed", 15, _HATCHED))
    for line, (name, height, style) in enumerate(pale):
        axes.add_patch(Rectangle((0.53, top + 28 * line - height / 2), 0.07, height, **style))
        _write(axes, 0.63, top + 28 * line, name, fontsize=8.5, color=_MUTED)
