r"""The rules by which answers of a question are equal.

"exact" keeps every string apart. "math" merges two answers only if they are proved to be one: each answer is given a
key, equal keys mean equal answers, and nothing is ever rounded. So merging does not depend on the order of answers.

- *Numbers* (``1/2``, ``0.5``, ``\frac{1}{2}``, ``2\sqrt{2}``, ``\sqrt{8}``) have their exact value as key, if
  ``autotts_gym.replay.arithmetic`` can compute it.
- *Spellings* that change nothing do not matter: delimiters (``$…$``, ``\(…\)``, ``\[…\]``), ``\boxed``, ``\text``,
  ``**…**``, U+2212 for minus, fullwidth characters, zero-width characters, thousands in groups of three (``1,000``,
  ``1{,}000``, ``1\,000``, ``1 000``), blanks around the commas of a bracket (``(1, 2)``).
- All else is the text itself: words, units, percent, variables, relations, mixed numbers and lists without brackets
  stay apart, and so does what can be read in two ways or would take long to compute.
"""

import re
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache

from autotts_gym.errors import StoreError, quote
from autotts_gym.replay import arithmetic
from autotts_gym.replay.arithmetic import NoValueError

EQUIVALENCES = ("exact", "math")

_MAX_LENGTH = 400
"""Longest text that is read; a longer one is equal to itself only."""

# Half of the fullwidth forms are letters and brackets; each has one ASCII character that it is a wide form of.
_CHARACTERS: dict[int, int | None] = {wide: wide - 0xFEE0 for wide in range(0xFF01, 0xFF5F)}
_CHARACTERS |= dict.fromkeys((0x200B, 0x200C, 0x200D, 0x200E, 0x200F, 0x2060, 0xFEFF))  # no width: dropped
_CHARACTERS |= dict.fromkeys((0x00A0, 0x2007, 0x2009, 0x202F, 0x3000), ord(" "))
_SYMBOLS = {0x2212: "-", 0x00D7: r"\times ", 0x00F7: r"\div ", 0x03C0: r"\pi "}

_AROUND_TEXT = (
    (r"\(", r"\)"),
    (r"\[", r"\]"),
    ("$$", "$$"),
    ("$", "$"),
    ("**", "**"),
    (r"\boxed{", "}"),
    (r"\fbox{", "}"),
    (r"\text{", "}"),
    (r"\textbf{", "}"),
    (r"\textrm{", "}"),
)
_AROUND_NUMBERS = (*_AROUND_TEXT, (r"\mathbf{", "}"), (r"\mathrm{", "}"), (r"\boldsymbol{", "}"), (r"\bm{", "}"))

_THOUSANDS = re.compile(
    r"([-+]?)([1-9]\d{0,2})(,|\\,|\\;|\\:|\\ |~|\ )(\d{3}(?:\3\d{3})*)(\.\d*)?",
    re.ASCII,
)
_BRACKETS = {"(": ")", "[": "]", r"\{": r"\}", r"\left(": r"\right)", r"\left[": r"\right]", r"\left\{": r"\right\}"}


def merger(equivalence: str) -> Callable[[Sequence[str]], list[int]]:
    """Return the function that merges the answers of one question.

    Args:
        equivalence: "exact" or "math".

    Returns:
        A function from N different strings to N ids: equal ones share an id, and ids are numbered by first
        appearance.

    Raises:
        StoreError: if ``equivalence`` is unknown.
    """
    if equivalence == "exact":
        return lambda answers: list(range(len(answers)))
    if equivalence != "math":
        raise StoreError(f"equivalence: expected {' or '.join(EQUIVALENCES)}, got {quote(equivalence)}")
    return _merge_math


def _merge_math(answers: Sequence[str]) -> list[int]:
    ids: dict[Hashable, int] = {}
    return [ids.setdefault(_key(answer), len(ids)) for answer in answers]


@lru_cache(maxsize=1 << 16)
def _key(answer: str) -> Hashable:
    """Return a key that is equal for equal answers."""
    if len(answer) > _MAX_LENGTH:
        return answer
    text = answer.translate(_CHARACTERS).replace(r"\!", "")
    number = _number(_unwrapped(text, _AROUND_NUMBERS).translate(_SYMBOLS))
    if number is not None:
        return number
    bare = _unwrapped(text, _AROUND_TEXT)
    return _bracketed(bare.strip()) or bare


def _unwrapped(text: str, pairs: Sequence[tuple[str, str]]) -> str:
    """Return ``text`` without the delimiters around all of it, and without the blanks inside these."""
    while True:
        stripped = text.strip()
        for before, behind in pairs:
            inner = stripped[len(before) : len(stripped) - len(behind)]
            if (
                len(stripped) > len(before) + len(behind)
                and stripped.startswith(before)
                and stripped.endswith(behind)
                and _closes_last(inner, before, behind)
            ):
                text = inner.strip()
                break
        else:
            return text


def _closes_last(inner: str, before: str, behind: str) -> bool:
    """Return whether the delimiter that opens at the beginning is the one that closes at the end."""
    if inner.endswith("\\") or not inner.strip():
        return False
    if before[-1] != "{":
        return before not in inner and behind not in inner and not (before == "$" and "$" in inner)
    depth = 0
    for at, character in enumerate(inner):
        if character in "{}" and inner[at - 1 : at] != "\\":
            depth += 1 if character == "{" else -1
            if depth < 0:
                return False
    return depth == 0


def _number(text: str) -> Hashable | None:
    """Return the key of a number; None if it is no number that can be computed exactly."""
    text = text.strip()
    if found := _THOUSANDS.fullmatch(text):
        sign, first, separator, groups, decimals = found.groups()
        text = f"{sign}{first}{groups.replace(separator, '')}{decimals or ''}"
    try:
        return "number", frozenset(arithmetic.evaluate(text).items())
    except NoValueError:
        return None


def _bracketed(text: str) -> Hashable | None:
    """Return the key of a tuple, an interval or a set of at least two parts; None for anything else."""
    for opening, closing in _BRACKETS.items():
        if text.startswith(opening) and text.endswith(closing):
            parts = _parts(text[len(opening) : len(text) - len(closing)])
            if parts is None or len(parts) < 2 or not all(map(str.strip, parts)):
                return None
            brackets = (opening.removeprefix(r"\left"), closing.removeprefix(r"\right"))
            return "bracket", *brackets, *(_part_key(part, k > 0) for k, part in enumerate(parts))
    return None


def _parts(inside: str) -> list[str] | None:
    """Return the parts between the outer commas, blanks included; None where brackets do not match."""
    parts, depth, start = [], 0, 0
    for at, character in enumerate(inside):
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
            if depth < 0:
                return None
        elif character == "," and depth == 0 and inside[at - 1 : at] != "\\":  # not that of a thin space
            parts.append(inside[start:at])
            start = at + 1
    parts.append(inside[start:])
    return parts if depth == 0 else None


def _part_key(part: str, follows: bool) -> Hashable:
    """Return the key of a part, which may follow another one.

    What may end a number with thousands is equal to itself only: ``000``, and three digits right behind a comma.
    """
    if follows and re.fullmatch(r"\d{3}", part, re.ASCII):
        return part, ","
    part = part.strip()
    return part if re.fullmatch(r"0\d+", part, re.ASCII) else _key(part)
