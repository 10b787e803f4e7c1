"""Threads, each of which plays a part of the episodes; the kernels hold no interpreter lock."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise
from typing import Any


class Threads:
    """N episodes in as many parts, alike in size, as there are threads.

    The first part is the calling thread's. The other threads start when first needed; a copy, an unpickled one and one
    in a forked process start their own.

    Attributes:
        bounds: first and end of every part.
    """

    def __init__(self, threads: int, episodes: int) -> None:
        parts = min(threads, episodes)
        self.bounds = [*pairwise(k * episodes // parts for k in range(parts + 1))]
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a pickle, without the threads."""
        return {"bounds": self.bounds, "_pool": None}

    def sum(self, play: Callable[[int, int], int]) -> int:
        """Call ``play(first, end)`` for every part; returns the sum of what it returns."""
        own, *others = self.bounds
        if not others:
            return play(*own)
        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = os.getpid(), ThreadPoolExecutor(len(others), "autotts-env")
        futures = [self._pool[1].submit(play, *part) for part in others]
        try:
            total = play(*own)
        finally:
            wait(futures)  # whatever happens here, the step does not return while other threads still write
        return total + sum(future.result() for future in futures)

    def close(self) -> None:
        """End the threads; they start again when needed."""
        if self._pool is not None and self._pool[0] == os.getpid():
            self._pool[1].shutdown()
        self._pool = None
