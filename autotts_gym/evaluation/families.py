"""How each family looks and what people call it: one name, colour, marker and line style, in every figure and table.

The families that come with the project are declared here. Any other name (a controller of a user, a program, an agent,
a training seed) gets a look that follows from the name alone, so that it is the same in every figure whatever else is
drawn and in whatever order. Where two names of one figure prefer the same, the digests of the names decide.

All colours differ for normal vision, deuteranopia and protanopia, and read on white. Markers of declared families are
filled, those of others are hollow, and lines differ, so that a print in black and white can be read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

LineStyle = str | tuple[float, tuple[float, ...]]


@dataclass(frozen=True)
class Look:
    """How a family is drawn.

    Attributes:
        key: the family's name in code, in CSV and in JSON.
        name: what people read.
        colour: as ``#RRGGBB``.
        marker: a marker of Matplotlib.
        line: a line style of Matplotlib.
        filled: whether the marker is filled with the colour, or with white.
    """

    key: str
    name: str
    colour: str
    marker: str
    line: LineStyle
    filled: bool = True

    @property
    def style(self) -> dict[str, Any]:
        """The keyword arguments that ``Axes.plot`` takes."""
        return {
            "color": self.colour,
            "linestyle": self.line,
            "marker": self.marker,
            "markerfacecolor": self.colour if self.filled else "white",
            "markeredgecolor": "white" if self.filled else self.colour,
        }


_SOLID, _LONG, _DASHED, _DOTTED, _DASHDOT = "-", (0, (6, 2)), (0, (3.5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5))

LOOKS: Mapping[str, Look] = MappingProxyType(
    {
        look.key: look
        for look in (
            Look("sc", "Self-consistency", "#000000", "o", _LONG),
            Look("asc", "ASC", "#0072B2", "s", _SOLID),
            Look("esc", "ESC", "#56C4F0", "^", _SOLID),
            Look("doubling", "Doubling SC", "#E6B200", "v", _DASHED),
            Look("answer_consistency", "Answer consistency", "#CC79A7", "X", _DASHED),
            Look("short_m", "short-m@k", "#661100", "<", _DASHDOT),
            Look("parallel_probe", "Parallel-Probe", "#009E73", "P", _SOLID),
            Look("cmc", "CMC", "#D55E00", "D", _SOLID),
            Look("deepconf", "DeepConf", "#1133FF", ">", _DASHED),
            Look("deer", "DEER", "#BB1133", "8", _DASHDOT),
            Look("maskable_ppo", "MaskablePPO agent", "#4B0FC8", "*", _SOLID),
            Look("ppo", "PPO agent", "#3380FF", "p", _DASHED),
            Look("dqn", "DQN agent", "#4C1A4C", "h", _DASHDOT),
            Look("qrdqn", "QR-DQN agent", "#CCB266", "d", _DOTTED),
        )
    }
)
"""The families that come with the project, by their names in code."""

# Each next one is the colour farthest from all before it, in the worst of the three visions.
_COLOURS = (
    "#331A80", "#E6004C", "#0000FF", "#800033", "#991A80", "#B21A00", "#FF8099", "#9999FF", "#804C66", "#334CB2",
    "#1A4CFF", "#804C33", "#330099", "#E69933", "#CC6633", "#66CCB2", "#4C99CC", "#00CCCC", "#3366FF", "#CC6666",
    "#006600", "#FF33CC", "#996699", "#334CCC", "#B2B280", "#4C1A66", "#1A804C", "#66001A", "#CC1A80", "#66B24C",
    "#4C334C", "#004C99",
)  # fmt: skip
_MARKERS = ("o", "s", "^", "v", "D", "P", "X", "<", ">", "*", "p", "d")
_LINES: tuple[LineStyle, ...] = (_DASHED, _DASHDOT, _SOLID, _DOTTED, _LONG)


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Return the look of every family of a figure, by its name; all of them differ, in any order of the names."""
    names = list(dict.fromkeys(names))
    others = [name for name in names if name not in LOOKS]
    colours, markers = _assign(others, _COLOURS), _assign(others, _MARKERS)
    used = {look.colour for look in LOOKS.values()} | set(_COLOURS)
    found = {name: LOOKS[name] for name in names if name in LOOKS}
    for name in sorted(others):
        colour, turn = colours[name]
        if turn:
            colour = _free_colour(name, used)
            used.add(colour)
        marker, turn = markers[name]
        found[name] = Look(name, name, colour, marker, _LINES[turn % len(_LINES)], filled=False)
    return {name: found[name] for name in names}


def look(name: str) -> Look:
    """Return the look of a family in a figure of its own."""
    return looks([name])[name]


def readable(name: str) -> str:
    """Return what people call a family; a name that is not declared here is called as it is."""
    return LOOKS[name].name if name in LOOKS else name


def _assign(names: Sequence[str], things: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Give every name the thing that it prefers, unless another name prefers it more, and the turn in which it got it.

    Where there are more names than things, the remaining names begin another turn.
    """
    given: dict[str, tuple[str, int]] = {}
    wishes = sorted((_digest(name, thing), name, thing) for name in names for thing in things)
    turn = 0
    while len(given) < len(names):
        free = set(things)
        for _, name, thing in wishes:
            if name not in given and thing in free:
                given[name] = thing, turn
                free.remove(thing)
        turn += 1
    return given


def _free_colour(name: str, used: set[str]) -> str:
    """A colour that no family has, dark enough to read on white."""
    attempt = 0
    while (colour := "#" + bytes(value * 3 // 4 for value in _digest(name, attempt)[:3]).hex().upper()) in used:
        attempt += 1
    return colour


def _digest(name: str, what: object) -> bytes:
    return hashlib.sha256(f"{name}\0{what}".encode("utf-8", "surrogatepass")).digest()
