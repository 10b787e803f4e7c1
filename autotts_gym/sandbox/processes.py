"""The side of the sandbox that owns state and ledger: it starts, serves and ends confined processes."""

import atexit
import contextlib
import errno
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from autotts_gym.errors import ControllerError, ProgramError, quote
from autotts_gym.interrupts import LONGEST_WAIT, interrupts_deferred
from autotts_gym.sandbox.config import Sandbox
from autotts_gym.sandbox.protocol import FAILURE, LAYERS, ROUND
from autotts_gym.sandbox.static import Source, require_linux

MAX_TEXT = 1 << 16
"""Bytes of a message that is not a round's."""

GRACE = 2.0
"""Seconds beyond a round's time, in which a process that still obeys reports where it spins."""

START_SECONDS = 60.0
"""Seconds in which a fork server must have loaded the modules that programs use."""

REPLY_SECONDS = 15.0
"""Seconds in which it must answer a command."""

_SCRIPT = Path(__file__).with_name("fork_server.py")

_KINDS = ("exception", "timeout", "memory", "answer", "schedule")


class ForkServer:
    """The process that forks the confined ones.

    Starting one is in two steps, so that several can load at once: the second is ``await_start``.

    Attributes:
        missing: why not, for each layer that confines nothing here.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._lock = threading.Lock()
        self.missing: dict[str, str] = {}
        unwritten = ["-B"] * sys.dont_write_bytecode
        paths = sorted({_package_folder(name.partition(".")[0]) for name in ("greenlet", *sandbox.packages)})
        try:
            self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._process = subprocess.Popen(
                    # No site, no user's site, no folder of the script; nothing of the environment.
                    [sys.executable, *["-S", "-s", "-P"], *unwritten, str(_SCRIPT), str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    env={
                        "PYTHONHASHSEED": "0",
                        "LC_ALL": "C.UTF-8",
                        "OPENBLAS_NUM_THREADS": "1",
                        "OMP_NUM_THREADS": "1",
                        "GLIBC_TUNABLES": "glibc.pthread.rseq=0",  # else the kernel notes preemptions there
                    },
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
        except OSError as error:
            raise _start_error(error) from error
        self._control.settimeout(START_SECONDS)
        self._send(
            {
                "parent": os.getpid(),
                "paths": paths,
                "packages": sandbox.packages,
                "layers": LAYERS,
                "memory": sandbox.memory_mib << 20,
                "cpu_seconds": sandbox.cpu_seconds,
            }
        )

    def await_start(self) -> None:
        """Wait until it is ready to fork.

        Raises:
            ControllerError: it does not start.
        """
        self.missing = self._receive()["missing"]
        self._control.settimeout(REPLY_SECONDS)

    def fork(self) -> tuple[int, socket.socket]:
        """Start a confined process; its id, as the fork server knows it, and a socket to it."""
        try:
            with self._lock:
                ours, theirs = socket.socketpair()
                with theirs:
                    try:
                        self._send(["fork", None], [theirs.fileno()])
                        return self._receive(), ours
                    except BaseException:
                        ours.close()
                        raise
        except BaseException as error:
            self.close()  # and so those that it has forked
            if isinstance(error, OSError):
                raise _start_error(error) from error
            raise

    def status(self, child: int) -> int:
        """How a process ended that has closed its socket: its exit code, or the signal, negative."""
        (ended,) = self._ask(["status", [child]])
        return int(ended)

    def alarm(self, children: Sequence[int]) -> None:
        """Have processes that are late report where they are."""
        self._ask(["alarm", list(children)])

    def kill(self, children: Sequence[int]) -> None:
        """End processes, and be sure that they have ended."""
        for first in range(0, len(children), 1000):
            self._ask(["kill", list(children[first : first + 1000])])

    def close(self) -> None:
        """End the fork server, and with it all its children."""
        self._control.close()
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def _ask(self, what: Any) -> Any:
        """One command and its reply."""
        with self._lock:
            self._send(what)
            return self._receive()

    def _send(self, what: Any, descriptors: Sequence[int] = ()) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))] if descriptors else []
        try:
            self._control.sendmsg([json.dumps(what).encode()], rights, socket.MSG_NOSIGNAL)
        except BaseException as error:
            self._give_up(error)

    def _receive(self) -> Any:
        try:
            reply = self._control.recv(MAX_TEXT)
        except BaseException as error:
            self._give_up(error)
        if not reply:
            self._give_up(BrokenPipeError())
        content = json.loads(reply)
        if isinstance(content, dict) and "error" in content:
            self.close()
            raise ControllerError(f"sandbox: its fork server failed: {quote(content['error'])}")
        return content

    def _give_up(self, error: BaseException) -> NoReturn:
        """End the fork server: an exchange that is interrupted can't be continued."""
        if isinstance(error, TimeoutError):
            what = f"did not answer within {self._control.gettimeout():g} s"
        elif isinstance(error, OSError):
            with contextlib.suppress(subprocess.TimeoutExpired):  # its end follows that of its socket
                self._process.wait(1.0)
            what = _how_ended(self._process.poll())
        else:
            self.close()
            raise error
        self.close()
        raise ControllerError(f"sandbox: its fork server {what}; the evaluation cannot go on") from error


def _how_ended(status: int | None) -> str:
    if status is None:
        return "closed its socket"
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"


def _start_error(error: OSError) -> ControllerError:
    cure = "; raise the limit, see ulimit -n" if error.errno in (errno.EMFILE, errno.ENFILE) else ""
    return ControllerError(f"sandbox: cannot start its processes: {error.strerror}{cure}")


def _package_folder(package: str) -> str:
    """The folder that an installed package is imported from."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ControllerError(f"sandbox: expected the package {package} to be installed")
    return str(Path(spec.origin).parent.parent if spec.submodule_search_locations else Path(spec.origin).parent)


_fork_servers: dict[tuple[int, Sandbox], ForkServer] = {}
"""The shared fork servers, for all but episodes, by process and sandbox."""

_fork_servers_lock = threading.Lock()


def shared_fork_server(sandbox: Sandbox) -> ForkServer:
    """The shared fork server of this process for a sandbox, which is started if there is none.

    It must not fork for episodes: see ``batches.SERVERS``.

    Raises:
        ControllerError: it can't start, a required layer is missing here, or this is not Linux.
    """
    key = (os.getpid(), sandbox)  # one that a fork inherited is its parent's
    with _fork_servers_lock:
        if key in _fork_servers and not _fork_servers[key].alive:
            _fork_servers.pop(key).close()
        if key not in _fork_servers:
            made: list[ForkServer] = []
            with interrupts_deferred():
                try:
                    _start(sandbox, 1, made)
                    _await(sandbox, made)
                except BaseException:
                    for each in made:
                        each.close()
                    raise
                (_fork_servers[key],) = made
        return _fork_servers[key]


def _start(sandbox: Sandbox, count: int, made: list[ForkServer]) -> None:
    """Start so many fork servers, which are added to a list; they are not ready yet.

    Raises:
        ControllerError: one can't start, or this is not Linux.
    """
    require_linux()
    for _ in range(count):
        with interrupts_deferred():
            made.append(ForkServer(sandbox))


def _await(sandbox: Sandbox, servers: Sequence[ForkServer]) -> None:
    """Wait until fork servers are ready.

    Raises:
        ControllerError: one does not start, or a required layer is missing here.
    """
    for each in servers:
        each.await_start()
        for layer in sandbox.require:
            if layer in each.missing:
                raise ControllerError(
                    f"sandbox: the layer {layer} is required but missing here ({each.missing[layer]}); "
                    "Sandbox(require=...) names those that must be there"
                )


@atexit.register
def close_fork_servers() -> None:
    """End the fork servers of this process."""
    with _fork_servers_lock:
        for key in [key for key in _fork_servers if key[0] == os.getpid()]:
            _fork_servers.pop(key).close()


def layers(sandbox: Sandbox | None = None) -> dict[str, bool]:
    """Which layers confine a program on this machine."""
    found = shared_fork_server(replace(sandbox or Sandbox(require=()), packages=()))
    return {layer: layer not in found.missing for layer in LAYERS}


class Processes:
    """Confined processes that run one program, and the messages to and from them.

    Starting them is in two steps, so that fork servers can load side by side: the second is ``begin``.

    Args:
        source: the program.
        first_messages: the first message of each process.
        bounds: the most bytes that each may send at once.
        sandbox: limits and layers.
        servers: how many new fork servers they come from, by turns; 0: the shared one.
        since: when the evaluation began, by ``time.monotonic``; None: now.
    """

    def __init__(
        self,
        source: Source,
        first_messages: Sequence[dict[str, Any]],
        bounds: Sequence[int],
        sandbox: Sandbox,
        servers: int = 0,
        since: float | None = None,
    ) -> None:
        self._source = source
        self._first_messages = first_messages
        self._sandbox = sandbox
        self._bounds = bounds
        self._end = (time.monotonic() if since is None else since) + sandbox.seconds
        packages = tuple(name for name in sandbox.packages if name.partition(".")[0] in source.packages)
        self._loaded = replace(sandbox, packages=packages)
        self._own = servers > 0
        self._servers: list[ForkServer] = []
        self._sockets: list[socket.socket] = []
        self._pids: dict[int, int] = {}
        self._child: dict[int, int] = {}
        self._late: set[int] = set()
        try:
            _start(self._loaded, servers, self._servers)
        except BaseException:
            self.close()
            raise

    def begin(self) -> None:
        """Fork the processes, once their fork servers are ready, and send each its first message.

        Raises:
            ControllerError: one can't start, a required layer is missing here, or this is not Linux.
        """
        if self._own:
            _await(self._loaded, self._servers)
        else:
            self._servers.append(shared_fork_server(self._loaded))
        for c in range(len(self._first_messages)):
            with interrupts_deferred():
                pid, ours = self._server(c).fork()
                self._sockets.append(ours)
                self._pids[c] = pid
        self._child = {ours.fileno(): c for c, ours in enumerate(self._sockets)}
        program = {"code": self._source.code.hex(), "style": self._source.style}
        self.send({c: json.dumps({**program, **message}).encode() for c, message in enumerate(self._first_messages)})

    def _server(self, c: int) -> ForkServer:
        return self._servers[c % len(self._servers)]

    def close(self) -> None:
        """End the processes."""
        for each in self._sockets:
            each.close()
        pids, self._pids, self._sockets = self._pids, {}, []
        if self._own:
            for server in self._servers:
                server.close()
            return
        for k, server in enumerate(self._servers):
            own = [pid for c, pid in pids.items() if c % len(self._servers) == k]
            if own and server.alive:
                with contextlib.suppress(ControllerError):  # it has ended, and they with it
                    server.kill(own)

    def fail(self, kind: str, message: str, line: int | None = None) -> NoReturn:
        """Raise what is wrong with the program."""
        raise ProgramError(self._source.path, kind, message, line)

    def send(self, messages: Mapping[int, bytes | memoryview]) -> None:
        """Send a message to each of these processes."""
        left: dict[int, memoryview] = {}
        for c, content in messages.items():
            data = memoryview(b"".join((struct.pack("<II", len(content), ROUND), content)))
            sent = self._write(c, data)
            if sent < len(data):
                left[c] = data[sent:]
        since = time.monotonic()
        while left:  # a process that is slow to read
            poll = select.poll()
            for c in left:
                poll.register(self._sockets[c], select.POLLOUT)
            for descriptor, _ in self._wait(poll, since):
                c = self._child[descriptor]
                left[c] = left[c][self._write(c, left[c]) :]
                if not left[c]:
                    del left[c]

    def _write(self, c: int, data: memoryview) -> int:
        try:
            return self._sockets[c].send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return 0
        except (BrokenPipeError, ConnectionResetError):
            return len(data)  # it has ended, as receiving from it will show

    def receive(self, children: Sequence[int], expected: int) -> list[bytes]:
        """The next message of each of these processes.

        Raises:
            ProgramError: one reports a failure, sends another kind of message, says nothing in time, or has ended; of
                several, the first process's.
        """
        contents: dict[int, bytes] = {}
        failed: dict[int, ProgramError] = {}
        since = time.monotonic()
        if since >= self._end:
            self._fail_of_time()
        self._late.clear()
        # The process that got its message last is done last; when it is, few others are still to wait for.
        for c in reversed(children):
            try:
                contents[c] = self._message(c, expected, since)
            except ProgramError as error:
                failed[c] = error
                if c in self._late and error.kind != "timeout":  # no matter what it reports: its time was over
                    failed[c] = ProgramError(error.path, "timeout", self._too_slow(), None)
        if failed:
            raise failed[min(failed)]
        if self._late:  # all were sent a signal, by which a program can learn of other processes
            self.fail("timeout", self._too_slow())
        return [contents[c] for c in children]

    def _message(self, c: int, expected: int, since: float) -> bytes:
        """The next message of a process."""
        data = b""
        while True:
            try:
                more = self._sockets[c].recv(1 << 16, socket.MSG_DONTWAIT)
            except BlockingIOError:
                poll = select.poll()
                poll.register(self._sockets[c], select.POLLIN)
                self._wait(poll, since, c)
                continue
            except ConnectionResetError:  # it ended with something left to read
                more = b""
            content = self._content(c, data + more, len(data), expected)
            if content is not None:
                return content
            data += more

    def _content(self, c: int, data: bytes, before: int, expected: int) -> bytes | None:
        """The content of a message, once all of it has come."""
        if len(data) == before:
            self._fail_of_end(c)
        if len(data) < 8:
            return None
        length, kind = struct.unpack_from("<II", data)
        if length > (MAX_TEXT if kind == FAILURE else self._bounds[c]) or len(data) > 8 + length:
            self.fail("protocol", "sent a message that is too long")
        if len(data) < 8 + length:
            return None
        if kind == FAILURE:
            self._fail_as_reported(data[8:])
        if kind != expected or (kind == ROUND and length % 8):
            self.fail("protocol", "sent a message that is none of the protocol's")
        return data[8:]

    def _fail_as_reported(self, content: bytes) -> NoReturn:
        try:
            kind, message, line = json.loads(content)
        except (ValueError, RecursionError, TypeError):
            self.fail("protocol", "sent a message that is none of the protocol's")
        lines = range(1, self._source.text.count("\n") + 2)
        good = kind in _KINDS and isinstance(message, str) and (line is None or (type(line) is int and line in lines))
        if not good:
            self.fail("protocol", "sent a message that is none of the protocol's")
        self.fail(kind, self._too_slow() if kind == "timeout" else message, line)

    def _fail_of_end(self, c: int) -> NoReturn:
        """A process closed its socket without a word."""
        self.fail(*_exit_reason(self._server(c).status(self._pids.pop(c))))

    def _too_slow(self) -> str:
        return f"expected to look or to end within {self._sandbox.round_seconds:g} s"

    def _fail_of_time(self) -> NoReturn:
        self.fail("timeout", f"expected all episodes to end within {self._sandbox.seconds:g} s")

    def _wait(self, poll: Any, since: float, awaited: int | None = None) -> list[tuple[int, int]]:
        """Events of a poll; ends what takes too long, once it had the chance to report where it is."""
        deadline = since + self._sandbox.round_seconds + (GRACE if self._late else 0.0)
        left = min(self._end, deadline) - time.monotonic()
        events: list[tuple[int, int]] = poll.poll(min(max(0.0, left), LONGEST_WAIT) * 1000)
        now = time.monotonic()
        if not events and now >= self._end:
            self._fail_of_time()
        if not events and now >= deadline:
            if self._late or awaited is None:
                self.fail("timeout", self._too_slow())
            self._alarm_late()
        return events

    def _alarm_late(self) -> None:
        """Ask all processes that have said nothing where they are."""
        poll = select.poll()
        for c in self._pids:
            poll.register(self._sockets[c], select.POLLIN)
        heard = {self._child[descriptor] for descriptor, _ in poll.poll(0)}
        self._late = {*self._pids} - heard
        for k, server in enumerate(self._servers):
            late = [self._pids[c] for c in self._late if c % len(self._servers) == k]
            if late:
                server.alarm(late)


def _exit_reason(status: int) -> tuple[str, str]:
    """Kind and message for a process that ended without a word."""
    if status == -signal.SIGXCPU:
        return "timeout", "used up its processor time"
    if status < 0:
        return "killed", f"its process was ended by {signal.Signals(-status).name}"
    return "killed", f"its process ended with status {status}"
