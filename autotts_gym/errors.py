"""Errors that a user can cause and correct: one line each, with what was expected and what came."""

import os
import re
import reprlib

LONGEST_QUOTE = 200
"""Characters of a foreign value in a message."""

_LONGEST_MESSAGE = 2000
_LONG_WORD = re.compile(rf"\S{{{LONGEST_QUOTE + 40},}}")
"""A quote with its surroundings, such as ``('…'),``, is a little longer than a quote."""


class _Repr(reprlib.Repr):
    """``repr`` that reads no more of a value than a message can show, whatever its size and depth."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxdict = 8, 50
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdeque = self.maxarray = 50
        self.maxstring = self.maxlong = self.maxother = 4 * LONGEST_QUOTE  # ``quote`` cuts the rest

    def repr_int(self, x: int, level: int) -> str:
        """A number of more digits than Python prints is described by its size."""
        if x.bit_length() > 10_000:
            return f"{'-' if x < 0 else ''}<a number of {x.bit_length()} bits>"
        return repr(x)

    def repr_bytes(self, x: bytes, level: int) -> str:
        """Show bytes as text is shown."""
        return repr(x[: self.maxstring])

    def repr_dict(self, x: dict[object, object], level: int) -> str:
        """Show a dict in its own order."""
        if level <= 0 and x:
            return "{...}"
        items = [f"{self.repr1(key, level - 1)}: {self.repr1(x[key], level - 1)}" for key in list(x)[: self.maxdict]]
        return "{" + ", ".join(items + ["..."] * (len(x) > self.maxdict)) + "}"


_repr = _Repr()


def quote(value: object) -> str:
    """A foreign value as a message shows it: its ``repr``, on one line of at most 200 harmless characters.

    Paths are shown as their text is.
    """
    return plain(_repr.repr(os.fspath(value) if isinstance(value, os.PathLike) else value))


def plain(text: object, limit: int = LONGEST_QUOTE) -> str:
    """Foreign text as a message shows it without quotation marks: a path, a list of names, another library's message.

    Args:
        text: the text, or what has one: a path, an error.
        limit: characters; the middle of a longer text is left out.

    Returns:
        One line; characters that could steer a terminal are shown as escapes.
    """
    shown = _text(text)
    if len(shown) > 8 * limit:  # no need to look at all of it
        shown = f"{shown[: 4 * limit]} {shown[-4 * limit :]}"
    line = " ".join(shown.split())
    line = "".join(each if each.isprintable() else repr(each)[1:-1] for each in line)
    if len(line) <= limit:
        return line
    head = (limit - 1) * 2 // 3
    return f"{line[:head]}…{line[head + 1 - limit :]}"


def _text(value: object) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, OSError) and value.strerror:  # without the file's name, which the message has
        return value.strerror
    return str(value) or type(value).__name__


class AutottsError(ValueError):
    """Base of every error raised for bad input; the command line prints it in one line and exits with 2.

    The message is always one line of a bounded length, without characters that steer a terminal.
    """

    def __init__(self, message: str = "") -> None:
        message = _LONG_WORD.sub(lambda word: plain(word[0]), message)
        super().__init__(plain(message, _LONGEST_MESSAGE))


class StoreError(AutottsError):
    """A store or a file to import is wrong; the message names the file and the field."""


class ControllerError(AutottsError):
    """A controller's name, setting or answer is wrong."""


class ProgramError(ControllerError):
    """A controller program is wrong, or failed while it ran.

    Attributes:
        kind: "static" (its text), "schedule", "exception", "timeout", "memory", "answer" (one it has not seen),
            "protocol" (a message that is none), "nondeterminism", or "killed" (its process died).
        message: what was wrong, one line of at most 500 characters, for any program.
        line: of the program, from 1; None: not known.
        path: of the program.
    """

    def __init__(self, path: str, kind: str, message: str, line: int | None = None) -> None:
        message = "".join(each if each.isprintable() else " " for each in message[:500])
        where = path if line is None else f"{path}:{line}"
        super().__init__(f"{where}: {kind}: {message}")
        self.path, self.kind, self.message, self.line = path, kind, message, line

    def __reduce__(self) -> tuple[type["ProgramError"], tuple[str, str, str, int | None]]:
        """Pickle as its parts, so that a worker process can send it."""
        return ProgramError, (self.path, self.kind, self.message, self.line)
