"""Interrupts: handled soon, but never between the start of a process and the note that it runs."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

LONGEST_WAIT = 0.5
"""The longest single wait in this package, in seconds. A signal that comes between the interpreter's last look and the
wait itself is handled only after the wait."""


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Handle SIGINT and SIGTERM after the block, not in the middle of it.

    For short work that must not stop halfway, such as starting a process and keeping what ends it. Only the main thread
    handles signals, so in other threads there is nothing to defer.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append((number, frame))

    handlers: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    try:
        for number in handlers:
            signal.signal(number, note)
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number, frame in came:
            handlers[number](number, frame)
