"""The progress of long work, on standard error: a bar on a terminal, and elsewhere a line every half minute."""

import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from autotts_gym.errors import plain

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

SECONDS = 30.0
"""Seconds between two lines where there is no terminal."""


class Progress:
    """Shows how far a work is, from ``with`` to its end.

    Lines come from a thread of their own, so that there is no silence while a single step takes minutes.

    Args:
        what: the work, in a word or two.
        total: steps; None: unknown.
        show: whether to show anything.
        percent: show a fraction in percent instead of steps.
    """

    def __init__(self, what: str, total: float | None = None, show: bool = True, percent: bool = False) -> None:
        self._what, self._total, self._percent = what, total, percent
        self._done = 0.0
        self._note = ""
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._bar: Bar | None = None
        self._thread: threading.Thread | None = None
        self._show = show

    def __enter__(self) -> "Progress":
        self._began = time.monotonic()
        if self._show and sys.stderr.isatty():
            self._bar = _bar()
            self._bar.add_task(self._what, total=self._total, note="", count="")
            self._bar.start()
        elif self._show:
            self._thread = threading.Thread(target=self._print_lines, name="progress", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._bar is not None:
            self._bar.stop()
        if self._thread is not None:
            self._thread.join()

    def begin(self, what: str, total: float | None = None, note: str = "") -> None:
        """Begin another part of the work.

        Args:
            what: the part, in a word or two.
            total: its steps; None: unknown.
            note: shown behind the count.
        """
        with self._lock:
            self._what, self._total, self._done, self._note = what, total, 0.0, note
            self._began = time.monotonic()
        if self._bar is not None:
            self._bar.reset(self._bar.tasks[0].id, description=what, total=total, note=note, count=self._count())

    def update(self, done: float | None = None, note: str | None = None) -> None:
        """Set the steps that are done, and the note; None: as before."""
        with self._lock:
            self._done = self._done if done is None else done
            self._note = self._note if note is None else note
        if self._bar is not None:
            task = self._bar.tasks[0].id
            self._bar.update(task, completed=self._done, note=self._note, count=self._count())

    def advance(self) -> None:
        """Count one more step as done."""
        self.update(self._done + 1)

    def say(self, line: str) -> None:
        """Print a line of its own, above the bar if there is one."""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, soft_wrap=True)
        elif self._show:
            print(line, file=sys.stderr, flush=True)

    def _count(self) -> str:
        if self._total is None:
            return ""
        if self._percent:
            return f"{100 * self._done / self._total:.0f} %"
        return f"{self._done:.0f}/{self._total:.0f}"

    def line(self) -> str:
        """What there is to say at this moment, in a line."""
        with self._lock:
            seconds = time.monotonic() - self._began
            parts = [part for part in (self._count(), f"{_clock(seconds)} so far") if part]
            if self._total and 0 < self._done < self._total:
                parts.append(f"about {_clock(seconds * (self._total - self._done) / self._done)} left")
            note = f"; {plain(self._note)}" if self._note else ""
            return f"{self._what}: {', '.join(parts)}{note}"

    def _print_lines(self) -> None:
        while not self._ended.wait(SECONDS):
            print(self.line(), file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def _bar() -> "Bar":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns: tuple[Any, ...] = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[count]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    return Progress(*columns, console=Console(stderr=True, highlight=False))
