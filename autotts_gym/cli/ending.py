"""How every command ends: every error that a user can cause is one line on standard error and an exit code."""

import asyncio
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TextIO, TypeVar, cast

from autotts_gym.errors import AutottsError, plain

Result = TypeVar("Result")

BAD_USE, INTERRUPTED, READER_GONE, TERMINATED = 2, 130, 141, 143
"""Exit codes; the last three are 128 plus the number of a signal, as in shells."""


_REMEDIES = {
    errno.EMFILE: "; raise this limit of the process: ulimit -n",
    errno.EAGAIN: "; raise the limit on processes: ulimit -u",
}
"""What to do about what the system refuses, by its number."""


class Terminated(BaseException):
    """SIGTERM came."""


class OutputError(AutottsError):
    """The output cannot be written to standard output."""


class _ReaderGoneError(Exception):
    """The reader of standard output went away, as in ``autotts … | head``."""


def run(work: Callable[[], int], name: str = "", after: Callable[[], str] = lambda: "") -> int:
    """Do the work of a command and return its exit code.

    Args:
        work: what it does; returns its exit code.
        name: of the command, printed before messages.
        after: what to do after an interrupt, in words.

    Returns:
        What the work returned; 2 for what a user can mend: bad use, and all that the system refuses, such as memory,
        files, processes or standard output; 130 after an interrupt; 143 after SIGTERM; 141 if the reader of standard
        output went away, in which case nothing is printed.
    """
    prefix = f"{name}: " if name else ""
    with _streams(), _terminable():
        try:
            if sys.stdout is None:
                raise OutputError("standard output: expected an open one, got a closed one; try: > /dev/null")
            try:
                return work()
            finally:  # on SystemExit, too: argparse has printed a help
                sys.stdout.flush()
        except AutottsError as error:
            message = f"error: {error}"
        except MemoryError as error:
            message = f"error: memory: expected enough for this, but it ran out: {plain(error)}"
        except OSError as error:
            message = f"error: {_refusal(error)}"
        except (KeyboardInterrupt, Terminated) as stop:
            interrupted = isinstance(stop, KeyboardInterrupt)
            how, more = "interrupted" if interrupted else "terminated", after()
            _report(f"{prefix}{how}{f'; {more}' if more else ''}")
            return INTERRUPTED if interrupted else TERMINATED
        except _ReaderGoneError:
            return READER_GONE
        _report(f"{prefix}{message}")
        return BAD_USE


def run_async(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine; an interrupt or SIGTERM cancels it, and a second one ends the process at once.

    No exception of a signal handler may come up inside the event loop: where a callback runs, the loop logs it and goes
    on, and where the loop is being closed, it may wait for ever.

    Returns:
        What it returned.

    Raises:
        KeyboardInterrupt: an interrupt came.
        Terminated: SIGTERM came.
    """
    if threading.current_thread() is not threading.main_thread():
        return asyncio.run(work)
    came: list[int] = []

    async def cancellable() -> Result | None:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None

        def cancel(number: int, frame: FrameType | None) -> None:
            came.append(number)
            signal.signal(number, _end)
            if not loop.is_closed():
                loop.call_soon_threadsafe(task.cancel)

        for number in handlers:
            signal.signal(number, cancel)
        try:
            return await work
        except asyncio.CancelledError:
            if came:
                return None
            raise

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        result = asyncio.run(cancellable())
    finally:
        if not came:  # else a second signal ends the process at once, until ``run`` has reported the first
            for number, handler in handlers.items():
                signal.signal(number, handler)
    if came:
        raise Terminated if came[0] == signal.SIGTERM else KeyboardInterrupt
    return cast(Result, result)


def _refusal(error: OSError) -> str:
    """What the system refused."""
    files = ", ".join(plain(each) for each in (error.filename, error.filename2) if each is not None)
    return f"{files or 'the system'}: {plain(error)}{_REMEDIES.get(error.errno or 0, '')}"


def _report(line: str) -> None:
    """Print a line on standard error, unless that is full or closed: then the line is lost."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)


def _discard(stream: TextIO) -> None:
    """Redirect a stream to the null device: Python flushes what is left of it once more at its end."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


class _Output:
    """Standard output, whose errors are kept apart from those of other files and pipes.

    Characters that it cannot show are written as escapes.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text, as a stream does."""
        with self._errors():
            return self._stream.write(text)

    def flush(self) -> None:
        """Flush the stream."""
        with self._errors():
            self._stream.flush()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            _discard(self._stream)
            if isinstance(error, BrokenPipeError):
                raise _ReaderGoneError from None
            raise OutputError(f"standard output: cannot be written: {plain(error)}") from error


@contextmanager
def _streams() -> Iterator[None]:
    """Watch standard output; where standard input or error is closed, no file that is opened takes its place."""
    for number in (0, 2):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            if null != number:
                os.dup2(null, number)
                os.close(null)
    output, errors = sys.stdout, sys.stderr
    if output is not None:
        sys.stdout = _Output(output)
    if errors is None:  # print would take standard output
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    try:
        yield
    finally:
        sys.stdout, sys.stderr = output, errors


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the work as an interrupt does, so that it leaves no files behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(number, _end)
    raise Terminated


def _end(number: int, frame: FrameType | None) -> None:
    """End the process at once, as a second signal does.

    It is a handler, not the system's own, from the first signal on: Python complains of a signal that comes while the
    one is exchanged for the other.
    """
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
