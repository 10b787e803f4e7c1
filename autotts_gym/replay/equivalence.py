r"""Which answers of a question are one answer.

"exact" keeps every string apart. "math" merges answers that the library math-verify finds equal, such as `1/2`, `0.5`
and `\frac{1}{2}`. It is made to merge too little rather than too much, and to take bounded time on anything:

- Only the arithmetic of numbers is read: + - * / ^, brackets, roots, fractions and π. Strings with variables, words,
  units, lists or relations, what can be read in two ways (`6/2(1+2)`, `3 1/2`), what is longer than 80 characters and
  powers that would take long to work out all stay apart.
- Each string is parsed once. Strings are compared only if their values agree in twelve digits, so `0.333333` is not
  `1/3`.
"""

import logging
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache
from typing import Any

from autotts_gym.errors import StoreError, quote

EQUIVALENCES = ("exact", "math")

_MAX_LENGTH = 80
_MAX_BRACKETS = 12
"""The parser of math-verify takes time in proportion to the nesting: about 0.1 s a level."""
_MAX_POWER = 2000
"""Bound on the product of all exponents: on what they come to where a power is raised to a power."""

_NUMBER = re.compile(r"[-+]?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)", re.ASCII)
_EXPONENT = re.compile(r"\^\s*(?:(\d)|\{\s*-?(\d{1,3})(?:/\d{1,3})?\s*\})", re.ASCII)
_ARITHMETIC = re.compile(
    rf"""(?: \\(?:boxed|cdot|dfrac|div|frac|left|pi|right|sqrt|tfrac|times)(?![a-zA-Z])
           | \\[,;:!\ ]
           | {_EXPONENT.pattern}
           | [-+*/(){{}}\[\].\d\s]
         )+""",
    re.ASCII | re.VERBOSE,
)
_AMBIGUOUS = re.compile(
    r"""[\d.)\]}](?:\s|\\[,;:!\ ])+[\d.]            # numbers side by side: a mixed number, or a product?
      | [\d.)\]}]\s*(?:\\left)?\s*[(\[](?<!\\sqrt\[) # product without a sign, which some read as a sum
      | [)\]]\s*[\d.\\](?!right|cdot|times|div)
      | \d\s*\\[dt]?frac
      | /\s*[\d.]+\s*\\(?:pi|sqrt)
      | (?<![a-z}\]^])\s*\{                          # a set
      | \.\d*\.
      | \*\s*\*
      | \d{31}""",
    re.ASCII | re.VERBOSE,
)


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
    leaders: dict[str, list[tuple[int, Any]]] = {}  # by value: the first of each class, with its expression
    ids: list[int] = []
    count = 0
    with _quiet():
        for answer in answers:
            parsed = _parsed(answer)
            if parsed is not None:
                value, expression = parsed
                bucket = leaders.setdefault(value, [])
                same = next((found for found, other in bucket if _equal(other, expression)), None)
                if same is not None:
                    ids.append(same)
                    continue
                bucket.append((count, expression))
            ids.append(count)
            count += 1
    return ids


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


@lru_cache(maxsize=1 << 14)
def _parsed(answer: str) -> tuple[str, Any] | None:
    """Returns the value to twelve digits and the SymPy expression; None for what is not plain arithmetic."""
    import sympy
    from math_verify import LatexExtractionConfig, parse

    text = answer.strip().strip("$").strip()
    if _NUMBER.fullmatch(text) and len(text) <= _MAX_LENGTH:
        number = Fraction(text.replace(",", "").removesuffix("."))
        expression = sympy.Rational(number.numerator, number.denominator)
    elif _is_plain(text):
        config = [LatexExtractionConfig()]
        found = parse(f"${text}$", config, fallback_mode="no_fallback", parsing_timeout=None)
        if not found or not isinstance(found[0], sympy.Expr):
            return None
        # Decimals are meant exactly, not as the binary fractions next to them.
        expression = found[0].xreplace({part: sympy.Rational(str(part)) for part in found[0].atoms(sympy.Float)})
    else:
        return None
    value = sympy.N(expression, 12, chop=True)
    if value.is_zero:
        return "0", expression
    return (str(value), expression) if value.is_Float else None  # complex, infinite, not a number


def _is_plain(text: str) -> bool:
    """Says whether ``text`` is arithmetic with one reading that is quick to work out."""
    if (
        len(text) > _MAX_LENGTH
        or sum(map(text.count, "([{")) > _MAX_BRACKETS
        or not _ARITHMETIC.fullmatch(text)
        or _AMBIGUOUS.search(text)
    ):
        return False
    exponents = [int(digit or digits) for digit, digits in _EXPONENT.findall(text)]
    return math.prod(max(exponent, 1) for exponent in exponents) <= _MAX_POWER


def _equal(one: Any, other: Any) -> bool:
    from math_verify import verify

    if one.is_Rational and other.is_Rational:
        return bool(one == other)  # exact, where the library would round
    return bool(verify(one, other, timeout_seconds=None))
