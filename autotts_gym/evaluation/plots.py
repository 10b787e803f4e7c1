"""Frontiers as figures, accuracy against mean tokens, one curve per family; and diagnoses, the outcomes of episodes."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args

import numpy as np

from autotts_gym.errors import AutottsError, quote
from autotts_gym.evaluation.families import Look, looks
from autotts_gym.evaluation.frontier import Axis, Frontier, find_reference
from autotts_gym.evaluation.resampling import Floats
from autotts_gym.pictures import Paths, drawn_in, lay_out, picture_paths, write_figure

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


_STYLE: dict[Any, object] = {
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
}
_TITLE, _CAPTION = 11.0, 7.0  # points
_WIDTH, _GAP = 1.1, 2.6
"""Width of a whisker and least distance between two, in points."""
_BIGGER = {"*": 1.7, "d": 1.2, "h": 1.1, "p": 1.2, "P": 1.15, "X": 1.15}
"""Markers that need more room to look as large as the others."""


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
    """Draw accuracy (%) against mean tokens (log axis), with a caption, and write the figure.

    A family looks the same in every figure; see ``autotts_gym.evaluation.families``. Along total tokens a line is the
    curve A(t) of its family. Along sequential tokens it joins only the settings that no other of the family beats, as
    width changes the tokens and hardly the critical path. Whiskers are moved sideways where they would overlap, and
    then tied to their markers. The same families give the same bytes.

    Args:
        families: families measured on the same stores, of different names; one curve each. Self-consistency is drawn
            as the reference.
        paths: one path or several, ending in ``.png``, ``.svg`` or ``.pdf``; each is written atomically.
        x: token axis, ``"total_tokens"`` or ``"sequential_tokens"``.
        panels: the ``"mean"`` over stores, one panel for each of the ``"stores"``, or ``"all"`` of these.
        intervals: whiskers, intervals over questions. ``"paired"``: of the difference to the accuracy of SC@64, drawn
            around it, so that a whisker clear of the dotted line means a difference; questions being easy or
            hard for every family is taken out (without SC, as ``"absolute"``). ``"absolute"``: of the accuracy.
            ``"none"``.
        level: nominal coverage of the intervals.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples.
        title: heading of the figure; none by default.

    Raises:
        AutottsError: if there is no family, two share a name, stores differ, or a path ends otherwise.
    """
    targets = picture_paths(paths)
    if intervals not in get_args(Intervals):
        raise AutottsError(f"intervals: expected one of {', '.join(get_args(Intervals))}, got {quote(intervals)}")
    if not families:
        raise AutottsError("plot: expected at least one family, got none")
    names = [family.name for family in families]
    for name in names:
        if names.count(name) > 1:
            raise AutottsError(f"plot: expected families of different names, got {quote(name)} more than once")
    spread: _Spread = {"level": level, "resamples": resamples, "seed": seed}
    with drawn_in(_STYLE):
        write_figure(_draw([family.along(x) for family in families], panels, intervals, spread, title), targets)


def plot_diagnosis(diagnosis: Diagnosis, paths: Paths) -> None:
    """Draw the outcomes of episodes and the use of tokens, as bars for all, each store and each difficulty band.

    The same diagnosis gives the same bytes.

    Args:
        diagnosis: what to draw.
        paths: one path or several, ending in ``.png``, ``.svg`` or ``.pdf``; each is written atomically.

    Raises:
        AutottsError: if a path ends otherwise.
    """
    targets = picture_paths(paths)
    with drawn_in(_STYLE):
        write_figure(_draw_diagnosis(diagnosis), targets)


# -------------------------------------------------------------------- frontiers


@dataclass(frozen=True, eq=False)
class _Whiskers:
    """The intervals of a family in a panel, one a point: tokens, accuracy (%) and both ends (%), float64 (points,)."""

    look: Look
    tokens: Floats
    accuracy: Floats
    low: Floats
    high: Floats


def _draw(
    families: Sequence[Frontier], panels: Panels, intervals: Intervals, spread: _Spread, title: str | None
) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    layout = _layout(families[0], panels)
    columns = math.ceil(math.sqrt(len(layout)))
    rows = math.ceil(len(layout) / columns)
    legend_columns = {1: 3, 2: 4}.get(columns, 7)
    reference = find_reference(families)
    looked = looks(family.name for family in families)
    width, height = (5.6, 3.4) if len(layout) == 1 else (3.3 * columns, 2.5 * rows + 0.3)
    legend_height = 0.18 * math.ceil((len(families) + 2) / legend_columns)
    caption = textwrap.wrap(_caption(families, panels, intervals, spread), int(width * 18.5))
    caption_height = 0.14 * len(caption) + 0.06
    figure = Figure(figsize=(width, height + legend_height + caption_height), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(height + legend_height, caption_height), hspace=0.0)
    above, below = parts
    whiskers: list[tuple[Axes, list[_Whiskers]]] = []
    for i, (heading, stores) in enumerate(layout):
        axes = above.add_subplot(rows, columns, i + 1)
        drawn = [family.on(stores) for family in families]
        _draw_panel(axes, drawn, looked)
        if intervals != "none":
            against = find_reference(drawn) if intervals == "paired" else None
            whiskers.append((axes, [_intervals(family, looked[family.name], against, spread) for family in drawn]))
        axes.set_title(heading, loc="left")
        if i % columns == 0:
            axes.set_ylabel("Accuracy (%)")
        if i + columns >= len(layout):
            axes.set_xlabel(f"Mean {families[0].x.replace('_', ' ')} per question")
    handles = [Line2D([], [], label=looked[f.name].name, linewidth=1.5, **_marks(looked[f.name])) for f in families]
    if reference is not None:
        label = f"Accuracy of {_called(reference)}"
        handles.append(Line2D([], [], label=label, color="black", linewidth=0.8, linestyle=(0, (1, 2))))
    if intervals != "none":
        label = f"{spread['level']:.0%} interval{', paired' if intervals == 'paired' and reference else ''}"
        mark: dict[str, Any] = {"marker": "|", "markersize": 9, "linestyle": "none"}
        handles.append(Line2D([], [], label=label, color="#999999", **mark))
    above.legend(handles=handles, loc="outside lower center", ncols=legend_columns, columnspacing=1.6, handlelength=2.8)
    below.text(
        0.012, 1.0, "\n".join(caption), ha="left", va="top", fontsize=_CAPTION, color="#333333", linespacing=1.25
    )
    if title is not None:
        above.suptitle(title, fontsize=_TITLE, fontweight="bold")
    for axes, each in whiskers:
        _make_room(axes, each)
    lay_out(figure)  # which whiskers overlap depends on its size
    for axes, each in whiskers:
        _draw_whiskers(axes, each)
    return figure


def _layout(family: Frontier, panels: Panels) -> list[tuple[str, list[str]]]:
    """Return heading and stores of every panel; a single store is its own mean."""
    each = [(f"{means.model} · {means.benchmark}", [means.store]) for means in family.stores]
    mean = [(f"Mean over {len(each)} stores", [means.store for means in family.stores])] if len(each) > 1 else []
    layouts = {"mean": mean or each, "stores": each, "all": [*each, *mean]}
    if panels not in layouts:
        raise AutottsError(f"panels: expected one of {', '.join(layouts)}, got {quote(panels)}")
    return layouts[panels]


def _draw_panel(axes: Axes, families: Sequence[Frontier], looked: Mapping[str, Look]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axes.set_xscale("log")
    axes.grid(color="#e6e6e6", linewidth=0.6)
    for family in families:
        look = looked[family.name]
        joined = family.points if family.x == "total_tokens" else family.undominated
        apart = [point for point in family.points if point not in joined]
        axes.plot(*_coordinates(joined), linewidth=1.5, zorder=3, label=look.name, **_marks(look))
        if apart:
            axes.plot(*_coordinates(apart), zorder=2.5, alpha=0.45, **{**_marks(look), "linestyle": "none"})
    reference = find_reference(families)
    if reference is not None:
        axes.axhline(100 * reference.peak.accuracy, color="black", lw=0.8, ls=(0, (1, 2)), zorder=1.5)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10]))


def _coordinates(points: Iterable[Any]) -> tuple[list[float], list[float]]:
    pairs = [(point.tokens, 100 * point.accuracy) for point in points]
    return [tokens for tokens, _ in pairs], [accuracy for _, accuracy in pairs]


def _marks(look: Look) -> dict[str, Any]:
    """Return how a family's line and markers are drawn."""
    size = (4.8 if look.filled else 4.2) * _BIGGER.get(look.marker, 1.0)
    return {**look.style, "markersize": size, "markeredgewidth": 0.6 if look.filled else 1.1}


def _intervals(family: Frontier, look: Look, against: Frontier | None, spread: _Spread) -> _Whiskers:
    """Return the intervals of every point; with a reference, those of the difference around the reference."""
    centre = 0.0 if against is None else against.peak.accuracy
    pairs = family.point_intervals(against, **spread)
    low, high = np.array([(accuracy.low, accuracy.high) for accuracy, _ in pairs]).T
    tokens, accuracy = map(np.array, _coordinates(family.points))
    return _Whiskers(look, tokens, accuracy, 100 * (centre + low), 100 * (centre + high))


def _make_room(axes: Axes, whiskers: Sequence[_Whiskers]) -> None:
    for each in whiskers:
        axes.update_datalim(np.column_stack([np.tile(each.tokens, 2), [*each.low, *each.high]]))
    axes.autoscale_view()


def _draw_whiskers(axes: Axes, whiskers: Sequence[_Whiskers]) -> None:
    """Draw the intervals of a panel that has its final size, side by side."""
    from matplotlib.collections import LineCollection

    limits = axes.get_xlim(), axes.get_ylim()
    points = 72 / axes.figure.dpi  # of a pixel
    tokens = np.concatenate([each.tokens for each in whiskers])
    wide = np.concatenate([each.high - each.low for each in whiskers]) > 1e-9  # the reference has none to itself
    if not wide.any():
        return
    pixels = axes.transData.transform(np.column_stack([tokens, np.full(tokens.size, limits[1][0])]))[:, 0]
    box = axes.bbox
    gap = min(_GAP, box.width * points / wide.sum())
    places = pixels.copy()
    places[wide] = spaced(pixels[wide], gap / points, box.x0, box.x1)
    moved = axes.transData.inverted().transform(np.column_stack([places, np.full(places.size, box.y0)]))[:, 0]
    start = 0
    for each in whiskers:
        own = slice(start, start + each.tokens.size)
        start = own.stop
        rows = np.flatnonzero(wide[own])
        at = moved[own]
        lines = [[(at[i], each.low[i]), (at[i], each.high[i])] for i in rows]
        ties = [
            [(each.tokens[i], each.accuracy[i]), (at[i], each.accuracy[i])]
            for i in rows
            if abs(places[own][i] - pixels[own][i]) * points > _WIDTH / 2
        ]
        for segments, label, width in ((lines, "_whiskers", min(_WIDTH, 0.6 * gap)), (ties, "_ties", 0.5)):
            style: dict[str, Any] = {"colors": each.look.colour, "linewidths": width, "alpha": 0.5, "zorder": 2}
            axes.add_collection(LineCollection(segments, label=label, **style), autolim=False)
    axes.set(xlim=limits[0], ylim=limits[1])


def spaced(places: Floats, gap: float, low: float, high: float) -> Floats:
    """Return the places nearest to the given ones, in the sense of least squares, that keep a gap and their order.

    Args:
        places: where things would be, (N,) float64.
        gap: least distance of two; at most (high - low) / N.
        low: least place, less half a gap.
        high: largest place, plus half a gap.
    """
    order = np.argsort(places, kind="stable")
    steps = gap * np.arange(places.size)
    # Without the steps the task is to make a sequence monotone: neighbours that are not are pooled (pool adjacent
    # violators).
    blocks: list[tuple[float, int]] = []
    for value in (places[order] - steps).tolist():
        mean, size = value, 1
        while blocks and blocks[-1][0] >= mean:
            before, count = blocks.pop()
            mean, size = (before * count + mean * size) / (count + size), count + size
        blocks.append((mean, size))
    flat = np.repeat([mean for mean, _ in blocks], [size for _, size in blocks])
    flat = np.clip(flat, low + gap / 2, high - gap / 2 - steps[-1])
    found = np.empty_like(places)
    found[order] = flat + steps
    return found


# -------------------------------------------------------------------- the caption below


def _caption(families: Sequence[Frontier], panels: Panels, intervals: Intervals, spread: _Spread) -> str:
    """Return what was measured on how much, what lines and whiskers are, and what is synthetic."""
    first = families[0]
    stores = first.stores
    each = "; every store has its panel" if panels == "stores" and len(stores) > 1 else ""
    questions = f"{_range(means.questions for means in stores)} questions"
    measured = f"{len(stores)} stores with {questions} each" if len(stores) > 1 else f"{stores[0].store}: {questions}"
    orders = _range(means.orders for family in families for means in family.stores)
    text = [f"{measured}, {orders} order{'s' * (orders != '1')} of the branches, {first.accounting} accounting{each}."]
    looked = looks(family.name for family in families)
    for family in families:
        repeats = max(means.repeats for means in family.stores)
        if repeats > 1:
            text.append(f"{looked[family.name].name}: mean over {repeats} training seeds.")
    if first.x == "total_tokens":
        text.append("Lines join the settings of a family from the cheapest to the dearest.")
    else:
        text.append("Lines join the settings that no other of their family beats; the others are pale.")
    if intervals != "none":
        text.append(_whiskers_in_words(families, intervals, spread))
    made_up = [means.store for means in stores if means.synthetic]
    if made_up:
        which = ", ".join(made_up) if len(made_up) < len(stores) else "all stores" if len(stores) > 1 else "this store"
        text.append(f"Synthetic branches, no language model's results: {which}.")
    return " ".join(text)


def _whiskers_in_words(families: Sequence[Frontier], intervals: Intervals, spread: _Spread) -> str:
    reference = find_reference(families) if intervals == "paired" else None
    what = "of the accuracy"
    if reference is not None:
        name = _called(reference)
        what = f"of the difference to {name} on the same drawn questions (paired), drawn around the accuracy of {name}"
    benchmarks = [means.benchmark for means in families[0].stores]
    shared = "; stores of one benchmark share the drawn questions" if len(set(benchmarks)) < len(benchmarks) else ""
    drawn = f"{spread['resamples']:,} resamples{shared}"
    return (
        f"Whiskers: {spread['level']:.0%} bootstrap intervals over questions ({drawn}) {what}; "
        "moved sideways where they would overlap."
    )


def _called(reference: Frontier) -> str:
    return f"SC@{reference.peak.setting.params['branches']}"


def _range(counts: Iterable[int]) -> str:
    """Return one number, or ``3 to 5``."""
    found = sorted(set(counts))
    return f"{found[0]:,}" if len(found) == 1 else f"{found[0]:,} to {found[-1]:,}"


# -------------------------------------------------------------------- diagnoses

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
    figure.suptitle(
        f"{diagnosis.label}, {diagnosis.overall.episodes:,} episodes, accuracy beside each bar",
        fontsize=9.5,
        fontweight="bold",
    )
    lay_out(figure)
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
    """Return a number of tokens as an axis has it: ``500``, ``50k``, ``1M``, ``2.5M``."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
