"""The one decorator of compiled code: Numba, cached on disk, and recompiled when any kernel of the package changes."""

import time
from collections.abc import Callable
from typing import Any

import numba
from numba.core import event

from autotts_gym.engine import cache


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function to machine code, without the interpreter lock, cached on disk; see ``engine/cache.py``."""
    dispatcher: Any = numba.njit(nogil=True, error_model="numpy")(function)
    dispatcher._cache = cache.KernelCache(function)  # what ``cache=True`` does, with a cache beside the source
    compiled: Callable[..., Any] = dispatcher
    return compiled


def inline(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that is part of the code of the kernels that call it.

    It must not allocate: it borrows its arrays from the kernel without counting references, which would otherwise be
    done for every array of the state at every call and cost several times the transition itself.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "forceinline": True, "_nrt": False}
    compiled: Callable[..., Any] = numba.njit(**options)(function)
    return compiled


class _Stopwatch(event.Listener):
    """Says that code is being compiled, and keeps how long that takes.

    Numba tells of every compilation of the process, one at a time; kernels that a kernel calls are compiled within it.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._start = 0.0
        self._seconds = 0.0

    def on_start(self, event: Any) -> None:
        if not self._depth and not isinstance(event.data["dispatcher"]._cache, cache.KernelCache):
            return  # a function of somebody else
        if not self._depth:
            if not self._seconds:
                _announce()
            self._start = time.perf_counter()
        self._depth += 1

    def on_end(self, event: Any) -> None:
        if not self._depth:
            return
        self._depth -= 1
        if not self._depth:
            self._seconds += time.perf_counter() - self._start
            cache.record_seconds(self._seconds)


def _announce() -> None:
    cache.say_uncached()
    seconds = cache.last_seconds()
    last = "can take a minute" if seconds is None else f"took {seconds:.0f} s last time"
    cache.tell_once(f"compiling its code for this machine, once, which {last}")


event.register("numba:compile", _Stopwatch())
