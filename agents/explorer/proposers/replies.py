"""Replies of language models: text that nobody has read. Here it is cut, cleaned and shown, and never run."""

import re
import unicodedata
from collections.abc import Collection

from agents.explorer.proposers.base import ProposerError

MAX_REPLY_BYTES = 1 << 20
"""A longer reply is refused."""

_FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})[ \t]*([^`\n]*)$")
_LINES = re.compile(r"\r\n|\n|\r")
_SOLVE = re.compile(r"^[ \t]*def[ \t]+solve[ \t]*\(", re.MULTILINE)
_LANGUAGES = ("", "python", "python3", "py")


def extract_program(reply: str) -> str:
    """The one program of a reply.

    It is the last fenced block that is marked as Python, or not marked at all, and defines ``solve``. A fence is closed
    by one of the same sign, at least as long (as in CommonMark), so that a longer fence may hold shorter ones; a block
    that is never closed was cut off and is none. A reply without any fence that defines ``solve`` is a program as it
    stands. File names in a reply mean nothing.

    Args:
        reply: what was answered.

    Returns:
        The program, ending in a newline; empty if there is none.
    """
    program = ""
    opened: tuple[str, str, str] | None = None  # indent, fence, language
    fenced = False
    block: list[str] = []
    for line in _LINES.split(reply):
        mark = _FENCE.match(line)
        if opened is None:
            if mark:
                fenced = True
                opened = (mark[1], mark[2], mark[3])
                block = []
        elif mark and mark[2][0] == opened[1][0] and len(mark[2]) >= len(opened[1]) and not mark[3].strip():
            source = "\n".join(block) + "\n"
            language = (opened[2].split() or [""])[0].lower()
            if language in _LANGUAGES and _SOLVE.search(source):
                program = source
            opened = None
        else:
            block.append(line.removeprefix(opened[0]))
    if not fenced and _SOLVE.search(reply):
        return "\n".join(_LINES.split(reply)).rstrip("\n") + "\n"
    return program


def clean(text: str, secrets: Collection[str] = ()) -> str:
    """Text that can be written to a file: without what UTF-8 cannot hold, and without keys.

    Args:
        text: what was answered, or an error about it.
        secrets: keys that must not be in it.
    """
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return text.encode("utf-8", "replace").decode("utf-8")


def displayable(text: str, secrets: Collection[str] = ()) -> str:
    """Text that does nothing to a terminal: no escape sequences, control characters or changes of direction."""
    kept = (c for c in clean(text, secrets) if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Co", "Cs"))
    return "".join(kept)


def one_line(text: str, secrets: Collection[str] = (), width: int = 300) -> str:
    """Text for an error message: one line, not too long."""
    line = " ".join(displayable(text, secrets).split())
    return line if len(line) <= width else line[: width - 1] + "…"


def decoded(data: bytes, what: str) -> str:
    """The text of a reply that came as bytes; what is not UTF-8 is replaced.

    Raises:
        ProposerError: it is too long.
    """
    if len(data) > MAX_REPLY_BYTES:
        raise ProposerError(f"{what}: expected at most {MAX_REPLY_BYTES} bytes, got more")
    return data.decode("utf-8", "replace")
