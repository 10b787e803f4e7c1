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


class TimedOutError(Exception):
    """The program took too long."""


class TooMuchOutputError(Exception):
    """The program wrote too much."""


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


def ended(code: int) -> str:
    """How a program ended, in words."""
    return f"exit code {code}" if code >= 0 else f"killed by signal {-code}"


def run(
    command: Command,
    *,
    timeout: float,
    on_stdout: Callable[[bytes], None],
    on_stderr: Callable[[bytes], None],
    max_bytes: int,
) -> int:
    """Run a program to its end.

    When this returns or raises, the program is dead, and so are the processes it started.

    Args:
        command: what is run; its first word is a path.
        timeout: seconds.
        on_stdout: called with bytes as they are written.
        on_stderr: likewise.
        max_bytes: that it may write, to both together.

    Returns:
        Its exit code; negative: the signal that ended it.

    Raises:
        TimedOutError: it took too long.
        TooMuchOutputError: it wrote too much.
        OSError: it cannot be started.
    """
    mark = secrets.token_hex(16)
    deadline = time.monotonic() + timeout
    with command.stdin.open("rb") as stdin:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *command.words],
            cwd=command.folder,
            env={**command.environment(), _MARK: mark},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    try:
        _pump(process, mark, deadline, {"stdout": on_stdout, "stderr": on_stderr}, max_bytes)
    finally:
        _end(process, mark)
    return process.returncode


def _pump(
    process: "subprocess.Popen[bytes]",
    mark: str,
    deadline: float,
    sinks: Mapping[str, Callable[[bytes], None]],
    max_bytes: int,
) -> None:
    """Hand on what the program writes, until it has ended and its pipes are empty."""
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
                    if running:
                        raise TimedOutError
                    return
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
                        raise TooMuchOutputError
                    key.data(data)
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
