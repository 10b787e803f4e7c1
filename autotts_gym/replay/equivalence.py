r"""Which answers of a question are one answer.

"exact" keeps every string apart. "math" merges two answers only if they are proved to be one: each answer is given a
key, equal keys mean equal answers, and nothing is ever rounded. So merging does not depend on the order of answers.

- *Numbers* (`1/2`, `0.5`, `\frac{1}{2}`, `2\sqrt{2}`, `\sqrt{8}`) have their exact value as key, if
  `autotts_gym.replay.arithmetic` can work it out. Where a sum stands under a root or in a denominator, math-verify
  reads the text and SymPy rewrites it, by identities, as a sum of roots.
- *Spellings* that change nothing do not matter: delimiters (`$…$`, `\(…\)`, `\[…\]`), `\boxed`, `\text`, `**…**`,
  U+2212 for minus, fullwidth characters, zero-width characters, thousands in groups of three (`1,000`, `1{,}000`,
  `1\,000`, `1 000`), blanks around the commas of a bracket (`(1, 2)`).
- All else is the text itself: words, units, percent, variables, relations, mixed numbers and lists without brackets
  stay apart, and so does what can be read in two ways or would take long to work out.
"""

import logging
import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache
from typing import Any

from autotts_gym.errors import StoreError, quote
from autotts_gym.replay import arithmetic
from autotts_gym.replay.arithmetic import BeyondError, NoValueError, Value

EQUIVALENCES = ("exact", "math")

_MAX_LENGTH = 400
"""Longest text that is looked at; longer ones stand for themselves."""

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
    """Returns the function that merges the answers of one question.

    Args:
        equivalence: "exact" or "math".

    Returns:
        A function from N different strings to N ids: equal ones share an id, and ids are numbered by first
        appearance.

    Raises:
        StoreError: if ``equivalence`` is unknown, or its library is not installed.
    """
    if equivalence == "exact":
        return lambda answers: list(range(len(answers)))
    if equivalence != "math":
        raise StoreError(f"equivalence: expected {' or '.join(EQUIVALENCES)}, got {quote(equivalence)}")
    try:
        import math_verify  # noqa: F401
    except ImportError as error:
        raise StoreError(
            'equivalence: "math" expects the extra of that name (pip install "autotts_gym[math]"), '
            "got no module math_verify"
        ) from error
    return _merge_math


def _merge_math(answers: Sequence[str]) -> list[int]:
    ids: dict[Hashable, int] = {}
    return [ids.setdefault(_key(answer), len(ids)) for answer in answers]


@lru_cache(maxsize=1 << 16)
def _key(answer: str) -> Hashable:
    """Returns what is equal for answers that are one."""
    if len(answer) > _MAX_LENGTH:
        return answer
    text = answer.translate(_CHARACTERS).replace(r"\!", "")
    number = _number(_unwrapped(text, _AROUND_NUMBERS).translate(_SYMBOLS))
    if number is not None:
        return number
    bare = _unwrapped(text, _AROUND_TEXT)
    return _bracketed(bare.strip()) or bare


def _unwrapped(text: str, pairs: Sequence[tuple[str, str]]) -> str:
    """Returns ``text`` without the delimiters around all of it, and without the blanks inside these."""
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
    """Says whether the delimiter that opens at the beginning is the one that closes at the end."""
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
    """Returns the key of a number; None for what is none that can be worked out exactly."""
    text = text.strip()
    if found := _THOUSANDS.fullmatch(text):
        sign, first, separator, groups, decimals = found.groups()
        text = f"{sign}{first}{groups.replace(separator, '')}{decimals or ''}"
    try:
        value = arithmetic.evaluate(text)
    except BeyondError:
        rewritten = _rewritten(text)
        if rewritten is None:
            return None
        value = rewritten
    except NoValueError:
        return None
    return "number", frozenset(value.items())


def _bracketed(text: str) -> Hashable | None:
    """Returns the key of a tuple, an interval or a set of at least two parts; None for anything else."""
    for opening, closing in _BRACKETS.items():
        if text.startswith(opening) and text.endswith(closing):
            parts = _parts(text[len(opening) : len(text) - len(closing)])
            if parts is None or len(parts) < 2 or not all(parts):
                return None
            brackets = (opening.removeprefix(r"\left"), closing.removeprefix(r"\right"))
            return "bracket", *brackets, *(_part_key(part) for part in parts)
    return None


def _parts(inside: str) -> list[str] | None:
    """Returns what stands between the outer commas; None where brackets do not match."""
    parts, depth, start = [], 0, 0
    for at, character in enumerate(inside):
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
            if depth < 0:
                return None
        elif character == "," and depth == 0 and inside[at - 1 : at] != "\\":  # not that of a thin space
            parts.append(inside[start:at].strip())
            start = at + 1
    parts.append(inside[start:].strip())
    return parts if depth == 0 else None


def _part_key(part: str) -> Hashable:
    """Returns the key of a part; `000`, which may be the end of a number with thousands, stands for itself."""
    return part if re.fullmatch(r"0\d+", part, re.ASCII) else _key(part)


# -------------------------------------------------------------------- sums under roots and in denominators

_SMALL = re.compile(r"(?:\D|(?<!\d)\d{1,6}(?!\d))*", re.ASCII)
_SMALL_POWERS = re.compile(r"(?:[^^]|\^(?:\d|\{-?\d\}))*", re.ASCII)
_MAX_BRACKETS = 12
"""The parser of math-verify takes time in proportion to the nesting: about 0.1 s a level."""


def _rewritten(text: str) -> Value | None:
    """Returns the value of arithmetic that SymPy can rewrite as a sum of roots; None where it cannot in bounded time.

    The rewriting goes by identities: it takes roots out of roots and out of denominators. What is read is small, as it
    cannot be stopped by a clock in every thread.
    """
    if (
        len(text) > 80
        or sum(map(text.count, "([{")) > _MAX_BRACKETS
        or "." in text
        or "!" in text
        or "binom" in text
        or text.count(r"\sqrt") > 4
        or not _SMALL.fullmatch(text)
        or not _SMALL_POWERS.fullmatch(text)
    ):
        return None
    import sympy
    from math_verify import LatexExtractionConfig, parse

    with _quiet():
        found = parse(f"${text}$", [LatexExtractionConfig()], fallback_mode="no_fallback", parsing_timeout=None)
    if not found or not isinstance(found[0], sympy.Expr) or found[0].has(sympy.Float):
        return None
    rewritten = sympy.expand(sympy.radsimp(sympy.sqrtdenest(found[0])))
    try:
        return _value(rewritten)
    except NoValueError:
        return None


def _value(expression: Any) -> Value:
    """Returns the value of a SymPy expression.

    Raises:
        NoValueError: if it is more than sums, products and powers of rational numbers and π.
    """
    import sympy

    if expression.is_Rational:
        return arithmetic.rational(Fraction(int(expression.p), int(expression.q)))
    if expression is sympy.pi:
        return arithmetic.PI
    if expression.is_Add or expression.is_Mul:
        combine = arithmetic.add if expression.is_Add else arithmetic.multiply
        first, *rest = expression.args
        value = _value(first)
        for part in rest:
            value = combine(value, _value(part))
        return value
    if expression.is_Pow and expression.exp.is_Rational:
        return arithmetic.power(_value(expression.base), Fraction(int(expression.exp.p), int(expression.exp.q)))
    raise NoValueError


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences math-verify, which warns that its timeouts are off.

    They work by signals, in the main thread only. Here the input is bounded instead.
    """
    logger = logging.getLogger("math_verify")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
