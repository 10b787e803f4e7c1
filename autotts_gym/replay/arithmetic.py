r"""Exact values of numbers as they are written.

``evaluate`` reads the arithmetic of real numbers (+ - * /, powers, brackets, fractions, roots, factorials, binomials,
π) in plain text or LaTeX and returns its value in a form that is unique: a sum of terms q · π^k · ∏ p^e with rational
q and k, primes p and 0 < e < 1. Roots of different products of primes are linearly independent over the rationals
(Besicovitch 1940), and π is transcendental, so two values are equal if and only if their forms are. Nothing is ever
rounded.

What can be read in two ways (``6/2(1+2)``, ``3 1/2``), what this form cannot hold, and what would take long to compute
is not evaluated.
"""

import math
import re
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache

Monomial = tuple[tuple[int, Fraction], ...]
"""Exponents by base, sorted: of primes (each in (0, 1)) and of π, whose base is written 0 (any but 0)."""

Value = Mapping[Monomial, Fraction]
"""A sum of terms: their rational factors (never 0) by their other factors; the number 0 has none."""

MAX_LENGTH = 200
"""Longest text that is read, in characters."""

_PI = 0
_MAX_BITS = 1 << 15
"""Most bits of all numerators and denominators of a value."""
_MAX_TERMS = 32
_MAX_ROOTED = 1 << 12
"""Most bits of a number of which a root is taken."""
_MAX_SYSTEM = 1 << 12
"""Most bits times unknowns of a system of equations that is solved."""
_MAX_FACTORIAL = 1000
_MAX_DEPTH = 40
_MAX_TRIAL = 1 << 11
"""Trial division ends here: what is left of a number below its square is a prime."""


class NoValueError(Exception):
    """The text has no unique value that can be computed exactly in little time."""


def evaluate(text: str) -> Value:
    """Return the exact value of ``text``.

    Raises:
        NoValueError: if it is no arithmetic, can be read in two ways, is complex or undefined, is not found to be a
            sum of roots, or would take long.
    """
    if len(text) > MAX_LENGTH:
        raise NoValueError
    return _Reader(text).integer()


# -------------------------------------------------------------------- arithmetic


def rational(number: Fraction | int) -> Value:
    """Return a rational number.

    Raises:
        NoValueError: if it is too long.
    """
    number = Fraction(number)
    if _bits(number) > _MAX_BITS:
        raise NoValueError
    return {(): number} if number else {}


def _bits(number: Fraction) -> int:
    return number.numerator.bit_length() + number.denominator.bit_length()


PI: Value = {((_PI, Fraction(1)),): Fraction(1)}


def add(one: Value, other: Value) -> Value:
    """Return the sum."""
    total = dict(one)
    for monomial, factor in other.items():
        total[monomial] = total.get(monomial, Fraction(0)) + factor
    return _checked(total)


def multiply(one: Value, other: Value) -> Value:
    """Return the product."""
    total: dict[Monomial, Fraction] = {}
    if len(one) * len(other) > _MAX_TERMS**2:
        raise NoValueError
    for first, factor in one.items():
        for second, by in other.items():
            monomial, carried = _joined(first, second)
            total[monomial] = total.get(monomial, Fraction(0)) + factor * by * carried
    return _checked(total)


def negative(value: Value) -> Value:
    """Return the value with the other sign."""
    return {monomial: -factor for monomial, factor in value.items()}


def divide(one: Value, other: Value) -> Value:
    """Return the quotient.

    Raises:
        NoValueError: if the divisor is 0, or its inverse would take long.
    """
    return multiply(one, power(other, Fraction(-1)))


def power(base: Value, exponent: Fraction) -> Value:
    """Return a power.

    Raises:
        NoValueError: for 0^0 and negative powers of 0, for what is complex, for a root of a sum that is not found to be
            a sum of roots, and for what is too long.
    """
    if not base:
        if exponent <= 0:
            raise NoValueError
        return base
    if len(base) == 1:
        ((monomial, factor),) = base.items()
        return _term_power(monomial, factor, exponent)
    if exponent.denominator % 2 == 0:
        return power(_square_root(base), 2 * exponent)
    if exponent.denominator != 1 or abs(exponent) > _MAX_TERMS:
        raise NoValueError
    if exponent < 0:
        return power(_inverse(base), -exponent)
    result = rational(1)
    for _ in range(int(exponent)):
        result = multiply(result, base)
    return result


def _inverse(value: Value) -> Value:
    """Return the inverse of a sum of terms without π.

    The products of its terms span a field over the rationals, in which it is found by elimination.
    """
    if any(base == _PI for monomial in value for base, _ in monomial):
        raise NoValueError
    basis: list[Monomial] = [()]
    for one in basis:  # which grows until products give nothing new
        for monomial in value:
            product, _ = _joined(one, monomial)
            if product not in basis:
                basis.append(product)
        if len(basis) > _MAX_TERMS or len(basis) * sum(map(_bits, value.values())) > _MAX_SYSTEM:
            raise NoValueError
    products = [multiply(value, {one: Fraction(1)}) for one in basis]
    rows = [[product.get(one, Fraction(0)) for product in products] for one in basis]
    for row, one in zip(rows, basis, strict=True):
        row.append(Fraction(one == ()))
    for k in range(len(rows)):
        pivot = next(i for i in range(k, len(rows)) if rows[i][k])
        rows[k], rows[pivot] = rows[pivot], rows[k]
        rows[k] = [entry / rows[k][k] for entry in rows[k]]
        for i, row in enumerate(rows):
            if i != k and row[k]:
                rows[i] = [entry - row[k] * by for entry, by in zip(row, rows[k], strict=True)]
    return _checked({one: row[-1] for one, row in zip(basis, rows, strict=True)})


def _square_root(value: Value) -> Value:
    """Return the root of a sum u + v of two terms with rational squares, if it is a sum of two roots.

    With s = √(u² - v²) it is √((u + s) / 2) ± √((u - s) / 2), as v is positive or negative.
    """
    if len(value) != 2:
        raise NoValueError
    terms = [{monomial: factor} for monomial, factor in value.items()]
    larger, smaller = sorted((_as_rational(multiply(term, term)) for term in terms), reverse=True)
    if larger != _as_rational(multiply(terms[0], terms[0])):
        terms.reverse()
    root = power(rational(larger - smaller), Fraction(1, 2))
    halves = [multiply(add(terms[0], part), rational(Fraction(1, 2))) for part in (root, negative(root))]
    if any(len(half) != 1 for half in halves):
        raise NoValueError
    first, second = (power(half, Fraction(1, 2)) for half in halves)
    return add(first, second if min(terms[1].values()) > 0 else negative(second))


def _term_power(monomial: Monomial, factor: Fraction, exponent: Fraction) -> Value:
    if factor < 0 and exponent.denominator != 1:
        raise NoValueError  # complex, or a matter of convention
    if exponent.denominator == 1:
        _check_growth(factor, exponent)
        result = rational(factor ** int(exponent))
    else:
        result = multiply(_root_power(factor.numerator, exponent), _root_power(factor.denominator, -exponent))
    for base, degree in monomial:
        result = multiply(result, _prime_power(base, degree * exponent))
    return result


def _root_power(number: int, exponent: Fraction) -> Value:
    """Return a fractional power of a natural number."""
    root = _integer_root(number, exponent.denominator)
    if root**exponent.denominator == number:  # whatever its primes are
        return _term_power((), Fraction(root), Fraction(exponent.numerator))
    result = rational(1)
    for prime, count in _factors(number):
        result = multiply(result, _prime_power(prime, count * exponent))
    return result


def _prime_power(base: int, degree: Fraction) -> Value:
    if base == _PI:
        return {((_PI, degree),): Fraction(1)} if degree else rational(1)
    integer, rest = divmod(degree, 1)
    _check_growth(Fraction(base), Fraction(integer))
    factor = Fraction(base) ** int(integer)
    return {((base, rest),): factor} if rest else rational(factor)


def _check_growth(base: Fraction, exponent: Fraction) -> None:
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if bits > 1 and bits * abs(exponent) > 2 * _MAX_BITS:
        raise NoValueError


def _joined(one: Monomial, other: Monomial) -> tuple[Monomial, Fraction]:
    """Return the product of two monomials, and the powers of primes with whole numbers as exponents."""
    degrees = dict(one)
    carried = Fraction(1)
    for base, degree in other:
        total = degrees.pop(base, Fraction(0)) + degree
        if base != _PI and total >= 1:
            carried *= base
            total -= 1
        if total:
            degrees[base] = total
    return tuple(sorted(degrees.items())), carried


def _checked(total: dict[Monomial, Fraction]) -> Value:
    if len(total) > _MAX_TERMS:
        raise NoValueError
    if sum(_bits(factor) for factor in total.values()) > _MAX_BITS:
        raise NoValueError
    return {monomial: factor for monomial, factor in total.items() if factor}


@lru_cache(maxsize=1 << 10)
def _factors(number: int) -> tuple[tuple[int, int], ...]:
    """Return the primes of a natural number, with how often each divides it.

    Raises:
        NoValueError: if trial division does not find them soon.
    """
    found: list[tuple[int, int]] = []
    trial = 2
    while trial < _MAX_TRIAL and trial * trial <= number:
        count = 0
        while number % trial == 0:
            number //= trial
            count += 1
        if count:
            found.append((trial, count))
        trial += 1 if trial == 2 else 2
    if number > 1:
        # No prime below _MAX_TRIAL divides it, nor its root, which is a prime where it is below the square of that.
        root, times = _perfect_root(number)
        if root >= _MAX_TRIAL**2:
            raise NoValueError
        found.append((root, times))
    return tuple(found)


def _perfect_root(number: int) -> tuple[int, int]:
    """Return (r, k) with r^k = ``number`` and r no perfect power itself."""
    if number < _MAX_TRIAL**2:
        return number, 1
    if number.bit_length() > _MAX_BITS // 16:
        raise NoValueError
    for k in range(number.bit_length() // (_MAX_TRIAL.bit_length() - 1), 1, -1):
        root = _integer_root(number, k)
        if root**k == number:
            return root, k
    return number, 1


@lru_cache(maxsize=1 << 10)
def _integer_root(number: int, k: int) -> int:
    """Return the largest r with r^k <= ``number``, by bisection.

    Raises:
        NoValueError: if that would take long.
    """
    if number.bit_length() > _MAX_ROOTED:
        raise NoValueError
    if k >= number.bit_length():  # 2^k is more
        return min(number, 1)
    low, high = 1, 1 << (number.bit_length() // k + 1)
    while low < high:
        middle = (low + high + 1) // 2
        if middle**k <= number:
            low = middle
        else:
            high = middle - 1
    return low


# -------------------------------------------------------------------- reading

_SPACE = r"(?:\s|~|\\[,;:!\ ]|\\quad(?![a-zA-Z]))"
_TOKEN = re.compile(
    rf"""(?P<space>{_SPACE}+)
       | (?P<number>\d+(?:\{{,\}}\d{{3}})*(?:\.\d*)?|\.\d+)
       | (?P<command>\\[a-zA-Z]+)
       | (?P<sign>[-+*/^(){{}}!\[\]])""",
    re.ASCII | re.VERBOSE,
)
_GROUPED = re.compile(r"[1-9]\d{0,2}(?:\{,\}\d{3})+(?:\.\d*)?", re.ASCII)
_TIMES = ("*", r"\times", r"\cdot")
_OVER = ("/", r"\div")
_FRACTIONS = (r"\frac", r"\dfrac", r"\tfrac", r"\cfrac")
_BINOMIALS = (r"\binom", r"\dbinom", r"\tbinom")
_END = ("end", "")


class _Reader:
    """A recursive descent over the tokens of one text; each method reads the part that it is named after."""

    def __init__(self, text: str):
        self.tokens: list[tuple[str, str]] = []
        self.at = 0
        self.depth = 0
        end = 0
        while end < len(text):
            match = _TOKEN.match(text, end)
            if match is None:
                raise NoValueError
            kind, found = str(match.lastgroup), match.group()
            if kind == "number" and "," in found and not _GROUPED.fullmatch(found):
                raise NoValueError
            if found not in (r"\left", r"\right"):  # how large a bracket is drawn
                self.tokens.append((kind, found))
            end = match.end()
        spaced = self.tokens
        # Two numbers side by side may be a mixed number, a product, or thousands: never one token after the other.
        for (before, _), (kind, _), (after, _) in zip(spaced, spaced[1:], spaced[2:], strict=False):
            if (before, kind, after) == ("number", "space", "number"):
                raise NoValueError
        self.tokens = [token for token in spaced if token[0] != "space"]

    def integer(self) -> Value:
        value = self.sum()
        if self.peek() != _END:
            raise NoValueError
        return value

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else _END

    def take(self) -> tuple[str, str]:
        token = self.peek()
        self.at += 1
        return token

    def accept(self, *signs: str) -> bool:
        if self.peek()[1] in signs:
            self.at += 1
            return True
        return False

    def expect(self, sign: str) -> None:
        if not self.accept(sign):
            raise NoValueError

    def sum(self) -> Value:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise NoValueError
        minus = self.accept("-")
        if not minus:
            self.accept("+")
        value = self.product()
        if minus:
            value = negative(value)
        while (sign := self.peek()[1]) in ("+", "-"):
            self.at += 1
            term = self.product()
            value = add(value, negative(term) if sign == "-" else term)
        self.depth -= 1
        return value

    def product(self) -> Value:
        first = self.peek()
        value = self.power()
        divided = False
        while True:
            if self.accept(*_TIMES):
                first = self.peek()
                value = multiply(value, self.power())
            elif self.accept(*_OVER):
                divided = True
                first = self.peek()
                value = divide(value, self.power())
            elif self.juxtaposed(first):
                if divided:
                    raise NoValueError  # 1/2π: π may be part of the denominator or a factor
                first = self.peek()
                value = multiply(value, self.power())
            else:
                return value

    def juxtaposed(self, before: tuple[str, str]) -> bool:
        """Return whether a factor without a sign follows; only a root, π, or a fraction after one of these may."""
        kind, text = self.peek()
        if kind != "command" or text in (*_TIMES, *_OVER):
            return False
        if text in (r"\sqrt", r"\pi"):
            return before[0] == "number" or before[1] in (r"\sqrt", r"\pi", *_FRACTIONS)
        return text in _FRACTIONS and before[1] in (r"\sqrt", r"\pi")

    def power(self) -> Value:
        value = self.factorial()
        if not self.accept("^"):
            return value
        exponent = self.exponent()
        if self.peek()[1] in ("^", "!"):
            raise NoValueError
        return power(value, exponent)

    def exponent(self) -> Fraction:
        if self.accept("{"):
            value = self.sum()
            self.expect("}")
        else:
            kind, text = self.take()
            if kind != "number" or not text.isdigit():
                raise NoValueError
            value = rational(int(text))
        return _as_rational(value)

    def factorial(self) -> Value:
        value = self.atom()
        if not self.accept("!"):
            return value
        if self.peek()[1] in ("!", "^"):
            raise NoValueError
        return rational(math.factorial(_as_natural(value)))

    def atom(self) -> Value:
        kind, text = self.take()
        if kind == "number":
            return rational(Fraction(text.replace("{,}", "").removesuffix(".")))
        if text == "(":
            value = self.sum()
            self.expect(")")
            return value
        if text == r"\pi":
            return PI
        if text == r"\sqrt":
            return self.root()
        if text in _FRACTIONS:
            top = self.argument()
            return divide(top, self.argument())
        if text in _BINOMIALS:
            n = _as_natural(self.argument())
            return rational(math.comb(n, _as_natural(self.argument())))
        raise NoValueError

    def root(self) -> Value:
        degree = 2
        if self.accept("["):
            degree = _as_natural(self.sum())
            self.expect("]")
        if degree < 1:
            raise NoValueError
        return power(self.argument(), Fraction(1, degree))

    def argument(self) -> Value:
        """Read ``{…}``, or the one digit (of several it would be the first) or π that LaTeX takes without braces."""
        if self.accept("{"):
            value = self.sum()
            self.expect("}")
            return value
        kind, text = self.take()
        if text == r"\pi":
            return PI
        if kind != "number" or not text.isdigit():
            raise NoValueError
        if len(text) > 1:
            if self.fraction_before(2) and len(text) == 2:  # \frac12: both arguments in one token
                self.at -= 1
                self.tokens[self.at] = ("number", text[1])
                return rational(int(text[0]))
            raise NoValueError
        return rational(int(text))

    def fraction_before(self, distance: int) -> bool:
        at = self.at - distance
        return at >= 0 and self.tokens[at][1] in (*_FRACTIONS, *_BINOMIALS)


def _as_rational(value: Value) -> Fraction:
    if not value:
        return Fraction(0)
    if set(value) != {()}:
        raise NoValueError
    return value[()]


def _as_natural(value: Value) -> int:
    number = _as_rational(value)
    if number.denominator != 1 or not 0 <= number <= _MAX_FACTORIAL:
        raise NoValueError
    return int(number)
