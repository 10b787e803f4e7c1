r"""Answers in texts: extractors by name."""

import re
from collections.abc import Callable
from typing import Any

from autotts_gym.errors import AutottsError, plain, quote
from autotts_gym.extensions import references

Extractor = Callable[[str], str | None]
"""From a text to its answer, None where it gives none."""

NAMES = ("boxed", "number", "choice", "last_line")

_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_NUMBER = re.compile(r"[-+\u2212]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:\s*+/\s*+\d++(?!\.\d))?")
_CHOICE = re.compile(r"(?<![A-Za-z0-9])\(?([A-J])\)?(?![A-Za-z0-9'])")
"""A plus behind a quantifier: it gives nothing back, so that long blanks take no more time than other characters."""
_NAMED_CHOICE = re.compile(r"(?i:answer|option|choice)(?i:\s+is)?\s*+:?\s*+\**+\s*+\(?([A-J])\)?(?![A-Za-z0-9'])")


def extractor(name: str) -> Extractor:
    r"""The extractor of a name.

    - ``boxed``: what is in the last ``\boxed{…}`` that is closed, braces matched.
    - ``number``: the last number, with thousands' commas left out.
    - ``choice``: the last letter A to J after "answer", "option" or "choice", or else the last that stands alone;
      capitals only.
    - ``last_line``: the last line that is not blank.
    - ``regex:PATTERN``: the last match; its first group, if it has one.
    - ``module:function`` or ``file.py:function``: a function of yours from text to answer, or to None.

    Raises:
        AutottsError: there is none of that name.
    """
    if name.startswith("regex:"):
        return _of_pattern(name.removeprefix("regex:"))
    known = {"boxed": _boxed, "number": _number, "choice": _choice, "last_line": _last_line}
    if name in known:
        return _trimmed(known[name])
    if not references.is_reference(name):
        raise AutottsError(
            f"extractor: expected one of {', '.join(NAMES)}, regex:PATTERN, or file.py:function, got {quote(name)}"
        )
    function = references.load("extractor", name)
    if not callable(function):
        raise AutottsError(f"extractor: {plain(name)}: expected a function, got {quote(function)}")

    def own(text: str) -> Any:
        try:
            answer = function(text)
        except Exception as error:
            raise AutottsError(
                f"extractor: {plain(name)} failed on {quote(text[-80:])}: {type(error).__name__}: {plain(error)}"
            ) from error
        if answer is not None and not isinstance(answer, str):
            raise AutottsError(f"extractor: {plain(name)}: expected a text or None, got {quote(answer)}")
        return answer

    return _trimmed(own)


def _trimmed(function: Extractor) -> Extractor:
    """The extractor with blanks around the answer removed, and None for an empty one."""

    def trimmed(text: str) -> str | None:
        answer = function(text)
        if answer is None:
            return None
        return answer.encode(errors="replace").decode().strip() or None  # half a character is none that a file holds

    return trimmed


def _of_pattern(text: str) -> Extractor:
    try:
        pattern = re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise AutottsError(f"extractor: expected a regular expression, got {quote(text)}: {plain(error)}") from None

    def search(text: str) -> str | None:
        found = [match[1 if pattern.groups else 0] for match in pattern.finditer(text)]
        return found[-1] if found else None

    return _trimmed(search)


def _boxed(text: str) -> str | None:
    boxes = {match.end() for match in _BOXED.finditer(text)}
    opened: list[int] = []
    last = (-1, -1)
    for match in _BRACE.finditer(text):
        if match[0] == "{":
            opened.append(match.end())
        elif match[0] == "}" and opened and (begin := opened.pop()) in boxes:
            last = max(last, (begin, match.start()))
    return text[slice(*last)] if last[0] >= 0 else None


def matching_brace(text: str, begin: int = 0) -> int:
    r"""Where the brace closes that was opened before ``begin``; -1: nowhere. ``\{`` and ``\}`` are none."""
    depth, index = 1, begin
    while index < len(text):
        character = text[index]
        if character == "\\":
            index += 2
            continue
        depth += (character == "{") - (character == "}")
        if not depth:
            return index
        index += 1
    return -1


def _number(text: str) -> str | None:
    numbers = _NUMBER.findall(text)
    return numbers[-1].replace(",", "") if numbers else None


def _choice(text: str) -> str | None:
    letters = _NAMED_CHOICE.findall(text) or _CHOICE.findall(text)
    return letters[-1] if letters else None


def _last_line(text: str) -> str | None:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else None
