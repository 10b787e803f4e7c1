"""Figures as files: for the screen (.png), for the web (.svg) and for print (.pdf); equal figures give equal bytes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotts_gym.errors import AutottsError
from autotts_gym.files import written

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")
"""The formats of a figure, by the endings of file names."""

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]

# Matplotlib writes the date and its versions, which change from day to day and from machine to machine.
_NOTHING: dict[str, dict[str, None]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
_STYLE: dict[Any, object] = {
    "font.family": "DejaVu Sans",  # comes with Matplotlib
    "svg.fonttype": "path",
    "svg.hashsalt": "autotts_gym",
    "pdf.fonttype": 42,  # TrueType, embedded: journals refuse Type 3
}

_PLACES = 9  # decimals of a part's place, in widths and heights of its figure


def picture_paths(paths: Paths) -> list[Path]:
    """Return one path or several as a list.

    Raises:
        AutottsError: if one ends otherwise than the formats do.
    """
    targets = [Path(path) for path in ([paths] if isinstance(paths, str | os.PathLike) else paths)]
    for path in targets:
        if path.suffix.lower() not in SUFFIXES:
            raise AutottsError(f"{path}: expected a file name ending in {' or '.join(SUFFIXES)}")
    return targets


def write_figure(figure: Figure, targets: Iterable[Path]) -> None:
    """Write a figure to files, each whole or not at all; call it within the ``drawn_in`` that the figure was drawn in.

    Raises:
        AutottsError: if a file cannot be written.
    """
    for path in targets:
        suffix = path.suffix.lower()
        with written(path) as file:
            figure.savefig(file, format=suffix[1:], dpi=200, metadata=_NOTHING[suffix])


def lay_out(figure: Figure) -> None:
    """Lay out the parts of a figure, and fix the layout.

    Matplotlib's solver of constraints takes variables in the order of their addresses, so that its results differ in
    the last bits from one run to the next: they are rounded.
    """
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for box in [part.bbox_relative for part in figure.subfigs]:
        box.set_points(box.get_points().round(_PLACES))
    for axes in figure.axes:
        axes.set_position(Bbox(axes.get_position(original=True).get_points().round(_PLACES)))


@contextmanager
def drawn_in(more: Mapping[Any, object]) -> Iterator[None]:
    """Use Matplotlib's defaults and a style, not the user's settings, which are restored after the block."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        mpl.rcParams.update(more)
        yield
