"""An event loop in a thread of its own, for callers that are not asynchronous, or run in a loop themselves."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any, TypeVar

Result = TypeVar("Result")


class Background:
    """An event loop that runs until it is closed."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="autotts live", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Result], timeout: float | None = None) -> Result:
        """Run a coroutine and wait for it; whatever interrupts the wait cancels it.

        Args:
            work: the coroutine.
            timeout: the most seconds to wait; None: no limit.

        Raises:
            TimeoutError: it takes longer.
        """
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout)
        except BaseException:
            if not future.done():
                future.cancel()
                done = threading.Event()
                future.add_done_callback(lambda _: done.set())
                done.wait(10.0)
            raise

    @property
    def here(self) -> bool:
        """Whether this is called in its thread."""
        return threading.current_thread() is self._thread

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call a function in the loop, soon."""
        self._loop.call_soon_threadsafe(function, *arguments)

    def close(self) -> None:
        """Cancel what is running and end the thread; may be called twice."""
        if self._loop.is_closed():
            return
        with suppress(CancelledError):
            self.run(_cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10.0)
        if not self._thread.is_alive():
            self._loop.close()


async def _cancel_all() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
