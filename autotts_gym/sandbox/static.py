"""The text of a program: read, recognised and checked before anything of it runs.

The checks give clear messages and catch mistakes. What a program can do is bounded by its process. The
text is parsed and compiled by a process of its own, ``reader.py``, because a text can be written to strain the parser.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from autotts_gym.errors import ControllerError, ProgramError, plain, quote
from autotts_gym.sandbox.protocol import ALLOWED_MODULES, FORBIDDEN_BUILTINS, SPECIAL_ATTRIBUTES

MAX_BYTES = 1 << 18

FORBIDDEN_NAMES = FORBIDDEN_BUILTINS | {"__builtins__", "__import__", "__loader__", "__spec__"}

READER_MEMORY = 2 << 30
"""Bytes of address space of the process that reads a text."""

READER_SECONDS = 10
"""Processor time that it may take."""

READER_PATIENCE = 120
"""Seconds of wall-clock time, for a machine that is busy."""

_READER = Path(__file__).with_name("reader.py")


@dataclass(frozen=True)
class Literals:
    """How much data is written out in a program. Docstrings do not count, unless the program reads ``__doc__``.

    Attributes:
        numbers: different numbers.
        text_bytes: bytes of all different strings.
        largest_bytes: bytes of the longest literal: a string, a number, or a container of nothing else.
        largest_line: where that begins.
    """

    numbers: int = 0
    text_bytes: int = 0
    largest_bytes: int = 0
    largest_line: int = 1

    @property
    def warning(self) -> str | None:
        """What to say of a program that holds so much data that it may be a table and no rule; None: it holds little.

        The limits are well above what the programs of this project and published controllers hold. It is a hint, no
        proof: data can be hidden in many ways, and ``evaluation.twin`` measures what it is good for.
        """
        findings = []
        if self.largest_bytes >= 400:
            findings.append(f"a literal of {self.largest_bytes:,} bytes at line {self.largest_line}")
        if self.numbers >= 200:
            findings.append(f"{self.numbers:,} different numbers")
        if self.text_bytes >= 16_000:
            findings.append(f"strings of {self.text_bytes:,} bytes")
        return f"large literal data: {', '.join(findings)}" if findings else None


@dataclass(frozen=True)
class Source:
    """A program that passed the static checks.

    Attributes:
        path: where it was read.
        text: the program, with line ends as Python sees them.
        style: "program" (schedule and solve) or "published" (a class with ``solve(question)``).
        doc: its docstring.
        packages: installed packages that it imports.
        code: the program compiled, under the file's own name, as ``marshal`` writes it; never read in this process.
        literals: how much data is written out in it.
    """

    path: str
    text: str
    style: str
    doc: str
    packages: tuple[str, ...] = ()
    code: bytes = b""
    literals: Literals = Literals()


def require_linux() -> None:
    """Refuse to start a confined process where nothing confines it.

    Raises:
        ControllerError: this is another system.
    """
    if sys.platform != "linux":
        raise ControllerError(f"sandbox: running programs needs Linux, whose kernel confines them; got {sys.platform}")


def read_source(path: str | os.PathLike[str], packages: tuple[str, ...] = ()) -> Source:
    """Read a program and check its text.

    Args:
        path: the file.
        packages: what it may import beside the standard library's modules.

    Raises:
        ProgramError: of kind "static", with the line.
    """
    path = os.fspath(path)
    try:
        size, regular = Path(path).stat().st_size, Path(path).is_file()  # a pipe or a device may have no end
        data = Path(path).read_bytes() if regular and size <= MAX_BYTES else b""
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise ProgramError(path, "static", f"cannot be read: {getattr(error, 'strerror', error)}") from error
    if not regular:
        raise ProgramError(path, "static", "cannot be read: expected a file")
    if size > MAX_BYTES:
        raise ProgramError(path, "static", f"expected at most {MAX_BYTES} bytes, got {size}")
    answer = _ask_reader(Path(path).name, data, tuple(sorted({name.partition(".")[0] for name in packages})))
    if answer["refused"]:
        message, line = answer["refused"]
        what, colon, complaint = message.partition(": ")
        if what.startswith("cannot be "):  # in the words of the parser, which quote the text
            message = f"{what}{colon}{plain(complaint)}"
        raise ProgramError(path, "static", message, line)
    return Source(
        path,
        answer["text"],
        answer["style"],
        answer["doc"],
        tuple(answer["packages"]),
        bytes.fromhex(answer["code"]),
        Literals(**answer["literals"]),
    )


def outline(text: str) -> tuple[str, str]:
    """A digest of a program's syntax, without comments and docstrings, and the first line of its docstring.

    Any text has one; where it cannot be parsed it is that of its characters.
    """
    data = text.encode(errors="replace")
    answer = _ask_reader("program", data, ()) if len(data) <= MAX_BYTES else {}
    if "syntax" not in answer:
        return hashlib.sha256(text.strip().encode(errors="replace")).hexdigest(), ""
    return answer["syntax"], answer["doc"].partition("\n")[0][:200]


@lru_cache(maxsize=256)
def _ask_reader(name: str, data: bytes, packages: tuple[str, ...]) -> dict[str, Any]:
    """Ask the reader about a text; if the text makes it fail, the reply is a refusal that says why.

    Raises:
        ControllerError: the reader cannot run here.
    """
    settings = {
        "filename": f"<{name}>",
        "modules": sorted(ALLOWED_MODULES),
        "packages": packages,
        "names": sorted(FORBIDDEN_NAMES),
        "attributes": sorted(SPECIAL_ATTRIBUTES),
        "memory": READER_MEMORY,
        "cpu_seconds": READER_SECONDS,
        "layers": ("rlimits", "no_new_privs", "seccomp", "landlock"),
    }
    command = [sys.executable, "-S", "-s", "-E", "-B", str(_READER)]
    asked = json.dumps(settings).encode() + b"\n" + data
    require_linux()
    try:
        done = subprocess.run(
            command, input=asked, capture_output=True, cwd="/", env={}, timeout=READER_PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return {"refused": [f"cannot be parsed within {READER_PATIENCE} s", None]}
    if done.returncode == 0:
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer
    said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    if done.returncode == -signal.SIGXCPU:
        return {"refused": [f"cannot be parsed within {READER_SECONDS} s of processor time", None]}
    if done.returncode == -signal.SIGSEGV or said.startswith("RecursionError"):  # the parser, overrun
        return {"refused": ["cannot be parsed: nested too deeply", None]}
    if said.startswith("MemoryError"):
        return {"refused": ["cannot be parsed: out of memory", None]}
    if done.returncode < 0:
        said = f"ended by {signal.Signals(-done.returncode).name}"
    raise ControllerError(f"{name}: expected its text to be read, but the process that reads it failed: {quote(said)}")
