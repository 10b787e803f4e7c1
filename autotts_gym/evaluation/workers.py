"""Fresh processes that work for this one."""

import ctypes
import os
import pickle
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, NamedTuple, NoReturn, Self

from autotts_gym.errors import AutottsError, plain, quote
from autotts_gym.interrupts import LONGEST_WAIT
from autotts_gym.memory import require_memory

_BYTES_PER_WORKER = 100 << 20


class _Worker(NamedTuple):
    """A process, and the end of a pipe to it."""

    process: Any
    connection: Connection


class WorkerLostError(AutottsError):
    """A worker has ended by itself, and with it its pool; what was asked of the pool is lost."""


class WorkerPool:
    """Fresh processes that leave interrupts to this one and, on Linux, are killed when it dies; a context manager.

    They have ended when the block has. One that ends by itself ends the pool, so that nothing waits for a result that
    never comes. To be used by one thread. Made by ``worker_pool``.
    """

    def __init__(self, workers: int, begin: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        self._tasks: deque[_Call] = deque()
        self._busy: dict[Connection, _Call] = {}
        self._lost: WorkerLostError | None = None
        self._workers: list[_Worker] = []
        context = get_context("spawn")
        try:
            with _interrupts_ignored():
                for _ in range(workers):
                    ours, theirs = context.Pipe()
                    process = context.Process(target=_serve, args=(theirs,), daemon=True)
                    self._workers.append(_Worker(process, ours))
                    with theirs:
                        process.start()
            # Not by way of the start, which waits for ever for a process that ends without reading what is large.
            for worker in self._workers:
                self._send(worker, (begin, arguments))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "_Call":
        """Have a worker call a function, as soon as one is free.

        Returns:
            What has the result, by its method ``result``.

        Raises:
            WorkerLostError: a worker has ended.
        """
        call = _Call(self, function, arguments)
        self._tasks.append(call)
        self._exchange(0)
        return call

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """Have the workers call a function with each item; yields what it returns in the order of the items.

        Raises:
            WorkerLostError: a worker has ended.
            Exception: what the function raises.
        """
        calls = deque(_Call(self, function, (item,)) for item in items)
        self._tasks.extend(calls)
        while calls:
            yield calls.popleft().result()

    def close(self) -> None:
        """End all processes."""
        workers, self._workers = self._workers, []
        for process, _ in workers:
            if process.pid is not None:
                process.kill()
        for process, connection in workers:
            connection.close()
            if process.pid is not None:
                process.join()
                process.close()

    def _exchange(self, seconds: float = LONGEST_WAIT) -> None:
        """Give tasks to workers that have none; wait for results, and give those that sent them more to do.

        It also checks that all processes still run: a pipe that a descendant holds open does not show that.
        """
        if self._lost is not None:
            raise self._lost
        self._give()
        ready = wait([worker.connection for worker in self._workers], seconds)
        for worker in self._workers:
            if worker.connection in ready:
                try:
                    reply = worker.connection.recv()
                except (EOFError, OSError):
                    self._fail(worker)
                self._busy.pop(worker.connection).reply = reply
            elif worker.process.exitcode is not None:
                self._fail(worker)
        self._give()

    def _give(self) -> None:
        for worker in self._workers:
            if not self._tasks:
                return
            if worker.connection not in self._busy:
                call = self._busy[worker.connection] = self._tasks.popleft()
                self._send(worker, (call.function, call.arguments))

    def _send(self, worker: _Worker, what: Any) -> None:
        try:
            worker.connection.send(what)
        except OSError:
            self._fail(worker)

    def _fail(self, worker: _Worker) -> NoReturn:
        """End the pool, as one of its workers has ended."""
        worker.process.join()
        self._lost = WorkerLostError(_exit_message(worker.process.exitcode))
        self.close()
        raise self._lost


class _Call:
    """A call that a pool was asked for."""

    def __init__(self, pool: WorkerPool, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.pool, self.function, self.arguments = pool, function, arguments
        self.reply: tuple[Any, Exception | None, str] | None = None

    def result(self) -> Any:
        """Wait for what the function returns.

        Raises:
            WorkerLostError: a worker has ended.
            Exception: what the function raises.
        """
        while self.reply is None:
            self.pool._exchange()
        value, error, trace = self.reply
        if error is None:
            return value
        if not isinstance(error, AutottsError):
            error.add_note(trace)
        raise error


def worker_pool(workers: int, begin: Callable[..., None], *arguments: Any) -> WorkerPool:
    """A pool of fresh processes.

    Args:
        workers: processes.
        begin: called once in each with the arguments.
        arguments: sent to each once.

    Raises:
        AutottsError: there is no memory for so many, or a process cannot be started.
    """
    require_memory(f"workers: {workers} processes", workers * _BYTES_PER_WORKER)
    try:
        return WorkerPool(workers, begin, arguments)
    except OSError as error:
        raise AutottsError(f"workers: a process cannot be started: {plain(error)}") from error


def _exit_message(code: int) -> str:
    """The message for a worker that has ended by itself."""
    if code >= 0:
        return (
            f"workers: a process ended with exit code {code} before its work was done (a script that uses workers "
            "starts them below `if __name__ == '__main__':`)"
        )
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    why = ", as the system does where memory runs out" if name == "SIGKILL" else ""
    return f"workers: a process was killed by {name}{why}; what it had to do is lost"


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Processes that are started here begin by ignoring interrupts, which are left to this one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _serve(connection: Connection) -> None:
    """Serve calls in a worker until its pipe closes; the first call is ``begin``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        parent = parent_process()
        if parent is not None and os.getppid() != parent.pid:  # it died before that
            os._exit(1)
    try:
        begin, arguments = connection.recv()
    except (EOFError, OSError):
        return
    begin(*arguments)
    while True:
        try:
            function, given = connection.recv()
        except (EOFError, OSError):
            return
        reply: tuple[Any, Exception | None, str]
        try:
            reply = function(*given), None, ""
        except Exception as error:
            reply = None, error, traceback.format_exc()
        try:
            connection.send(reply)
        except (TypeError, AttributeError, pickle.PicklingError):  # what the function returned or raised
            message = f"workers: expected what can be sent between processes, got {quote(reply[1] or reply[0])}"
            connection.send((None, AutottsError(message), ""))
