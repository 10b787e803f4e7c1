"""Running a program of the user's that proposes: an agent or any executable. Bounded, and nothing is left behind.

It runs with the user's rights; the programs it writes do not, they are run by ``autotts_gym.sandbox``.
"""

import contextlib
import os
import secrets
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import psutil

from autotts_gym.errors import AutottsError, quote
from autotts_gym.interrupts import LONGEST_WAIT

KEPT = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TERM", "TMPDIR", "TZ", "SSL_CERT_FILE",
    "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy",
    "https_proxy", "no_proxy",
)  # fmt: skip
"""Variables that every program gets; all others, the paths of stores among them, are withheld."""

_MARK = "AUTOTTS_PROPOSAL"
_CHUNK = 1 << 16
_DRAIN_SECONDS = 2.0

# Ends the program together with this process, even if that is killed. Not a preexec_fn, which is unsafe with threads.
_LAUNCHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class ProcessError(Exception):
    """The program could not be started, took too long, or wrote too much.

    Attributes:
        started: whether it ran.
    """

    def __init__(self, message: str, started: bool = True) -> None:
        super().__init__(message)
        self.started = started


@dataclass(frozen=True)
class Command:
    """What is run.

    Attributes:
        words: the program and its arguments.
        folder: where it runs.
        stdin: file it reads from.
        variables: environment variables of its own.
        passed: names of variables it gets from the environment, beside those that every program gets.
    """

    words: Sequence[str]
    folder: Path
    stdin: Path
    variables: Mapping[str, str]
    passed: Sequence[str] = ()

    def environment(self) -> dict[str, str]:
        """The variables the program gets."""
        passed = (*KEPT, *self.passed)
        given = {name: value for name, value in os.environ.items() if name in passed or name.startswith("LC_")}
        return {**given, **self.variables}


def found(word: str, what: str) -> str:
    """The path of an executable.

    Raises:
        AutottsError: there is none of this name.
    """
    path = shutil.which(word)
    if path is None:
        raise AutottsError(f"{what}: expected an executable {quote(word)}, found none on PATH or under that path")
    return os.path.abspath(path)


@dataclass(frozen=True)
class Finished:
    """How a program ended.

    Attributes:
        code: its exit code; negative: the signal that ended it.
        complaint: the last line that it wrote to standard error.
    """

    code: int
    complaint: str

    def __str__(self) -> str:
        return f"exit code {self.code}" if self.code >= 0 else f"killed by signal {-self.code}"


def run(
    command: Command,
    timeout: float,
    max_bytes: int,
    on_stdout: Callable[[bytes], object],
    on_stderr: Callable[[bytes], object],
) -> Finished:
    """Run a program to its end.

    When this returns or raises, the program is dead, and so are the processes it started.

    Args:
        command: what is run; its first word is a path.
        timeout: seconds.
        max_bytes: that it may write, to both together.
        on_stdout: called with bytes as they are written.
        on_stderr: likewise.

    Raises:
        ProcessError: it cannot be started, took too long, or wrote too much.
    """
    mark = secrets.token_hex(16)
    deadline = time.monotonic() + timeout
    with command.stdin.open("rb") as stdin:
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *command.words],
                cwd=command.folder,
                env={**command.environment(), _MARK: mark},
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise ProcessError(f"cannot be started: {error.strerror}", started=False) from error
    complaints = bytearray()

    def complain(data: bytes) -> None:
        complaints.extend(data)
        del complaints[:-4096]
        on_stderr(data)

    try:
        in_time = _pump(process, mark, deadline, {"stdout": on_stdout, "stderr": complain}, max_bytes)
    finally:
        _end(process, mark)
    if not in_time:
        raise ProcessError(f"took more than {timeout:g} s")
    lines = complaints.decode("utf-8", "replace").strip().splitlines()
    return Finished(process.returncode, lines[-1] if lines else "")


def _pump(
    process: "subprocess.Popen[bytes]",
    mark: str,
    deadline: float,
    sinks: Mapping[str, Callable[[bytes], object]],
    max_bytes: int,
) -> bool:
    """Hand on what the program writes, until it has ended and its pipes are empty; whether it ended in time."""
    ended = os.pidfd_open(process.pid)
    try:
        with selectors.DefaultSelector() as selector:
            for name, sink in sinks.items():
                stream: BinaryIO = getattr(process, name)
                os.set_blocking(stream.fileno(), False)
                selector.register(stream, selectors.EVENT_READ, sink)
            selector.register(ended, selectors.EVENT_READ, None)
            size = 0
            running = True
            while selector.get_map():
                left = deadline - time.monotonic()
                ready = selector.select(min(max(0.0, left), LONGEST_WAIT))
                if left <= 0:
                    return not running
                for key, _ in ready:
                    if key.data is None:
                        # What it started would hold its pipes open for ever.
                        running = False
                        selector.unregister(ended)
                        _kill(process.pid, mark)
                        deadline = time.monotonic() + _DRAIN_SECONDS
                        continue
                    data = os.read(key.fd, _CHUNK)
                    if not data:
                        selector.unregister(key.fileobj)
                        continue
                    size += len(data)
                    if size > max_bytes:
                        raise ProcessError(f"expected at most {max_bytes} bytes of output, got more")
                    key.data(data)
            return True
    finally:
        os.close(ended)


def _end(process: "subprocess.Popen[bytes]", mark: str) -> None:
    """Kill the program and all it started, and wait for it."""
    _kill(process.pid, mark)
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _kill(group: int, mark: str) -> None:
    """Kill a group, and whatever left it but still bears the mark in its environment.

    The leader must not have been waited for, so that its number cannot be another's by now.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    deadline = time.monotonic() + _DRAIN_SECONDS
    while (strays := _marked(mark)) and time.monotonic() < deadline:
        for stray in strays:
            with contextlib.suppress(ProcessLookupError):
                os.kill(stray, signal.SIGKILL)
        time.sleep(0.01)


def _marked(mark: str) -> list[int]:
    """Processes whose environment holds the mark; the dead have none."""
    return [each.pid for each in psutil.process_iter(["environ"]) if (each.info["environ"] or {}).get(_MARK) == mark]
