"""Checks of arguments: each rule once; each error is one sentence with what was expected and what came."""

import math
import os
from collections.abc import Collection
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from autotts_gym.errors import AutottsError, quote

MAX_INTEGER = 2**31 - 1
"""The largest whole number that kernels hold in their smallest counters."""


_NO_NUMBERS = (bool, np.bool_, np.timedelta64)
"""Types that are no numbers here, though some count as numbers to Python."""


def check(name: str, value: Any, good: bool, expected: str, error: type[AutottsError] = AutottsError) -> None:
    """Refuse a value unless it is good.

    Args:
        name: of the argument.
        value: what came.
        good: whether it is as expected.
        expected: what it should be, in words that follow "expected".
        error: what is raised.

    Raises:
        AutottsError: the value is not good.
    """
    if not good:
        raise error(f"{name}: expected {expected}, got {quote(value)}")


def is_integer(value: Any, low: int = 0, high: int = MAX_INTEGER) -> bool:
    """Whether a value is a whole number, of Python or NumPy, in ``low .. high``; truth values are none."""
    return not isinstance(value, _NO_NUMBERS) and isinstance(value, Integral) and low <= int(value) <= high


def integers(low: int = 0, high: int = MAX_INTEGER) -> str:
    """What ``is_integer`` expects, in words."""
    return f"a whole number from {low} to {high}"


def is_real(value: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    """Whether a value is a finite number, of Python or NumPy, in ``low .. high``; truth values are none."""
    if isinstance(value, _NO_NUMBERS) or not isinstance(value, Real):
        return False
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond all floats
        return False
    return math.isfinite(number) and low <= number <= high


def integer(
    name: str, value: Any, low: int = 0, high: int = MAX_INTEGER, error: type[AutottsError] = AutottsError
) -> int:
    """A whole number in ``low .. high``.

    Raises:
        AutottsError: it is none; or what ``error`` names.
    """
    check(name, value, is_integer(value, low, high), integers(low, high), error)
    return int(value)


def choice(name: str, value: Any, choices: Collection[str], error: type[AutottsError] = AutottsError) -> str:
    """One of some words.

    Raises:
        AutottsError: it is none; or what ``error`` names.
    """
    check(name, value, isinstance(value, str) and value in choices, f"one of {', '.join(choices)}", error)
    return str(value)


def path(name: str, value: Any, error: type[AutottsError] = AutottsError) -> Path:
    """A path, as text or path-like.

    Raises:
        AutottsError: it is none; or what ``error`` names.
    """
    good = isinstance(value, str | os.PathLike) and "\0" not in str(os.fspath(value))
    check(name, value, good, "a path", error)
    return Path(value)


def shaped(name: str, value: Any, dtype: DTypeLike, shape: tuple[int, ...] | None) -> NDArray[Any]:
    """An array as kernels take it: contiguous, writable (they are compiled for that alone), of a dtype and a shape.

    An array of another dtype is converted if that changes no value. Texts are not converted to numbers, nor truth
    values or fractions to whole numbers.

    Args:
        name: of the argument.
        value: an array, or what NumPy makes one of.
        dtype: the dtype.
        shape: the shape; None: (K,), any number of values.

    Returns:
        An array of the dtype and the shape; the same one where nothing is to be converted.

    Raises:
        AutottsError: it has another shape, or a value that the dtype cannot hold.
    """
    array = _converted(name, value, np.dtype(dtype))
    if array.shape != shape and (shape is not None or array.ndim != 1):
        raise AutottsError(f"{name}: expected shape {shape or '(K,)'}, got {array.shape}")
    return array


def spread(name: str, value: Any, dtype: DTypeLike, count: int) -> NDArray[Any]:
    """One value for all of ``count``, or one for each of them, as an array (count,) of its own.

    Raises:
        AutottsError: it is neither, or a value that the dtype cannot hold.
    """
    array: NDArray[Any] = np.empty(count, dtype)
    array[:] = shaped(name, value, dtype, (count,) if dimensions(value) else ())
    return array


def dimensions(value: Any) -> int:
    """How many dimensions an array has that NumPy makes of a value; 1 if it makes none of it."""
    try:
        return np.ndim(value)
    except ValueError:  # lists of different lengths
        return 1


def within(name: str, array: NDArray[np.int64], low: int, high: int) -> None:
    """Refuse an array unless all of its numbers are in ``low .. high``.

    Raises:
        AutottsError: one is not.
    """
    above = array - low if low else array
    if np.count_nonzero(above.view(np.uint64) > high - low):  # what is below is large as such
        raise AutottsError(f"{name}: expected {low} .. {high}, got {array.min()} .. {array.max()}")


def number(name: str, value: Any, count: int) -> int:
    """A number of something of which there are ``count``: an action, a question.

    Whole numbers of Python and NumPy are numbers; truth values, floats with integer values, and words are none.

    Raises:
        AutottsError: it is none of 0 .. count - 1.
    """
    if type(value) is int and 0 <= value < count:  # as most are: the step of a single environment is that short
        return value
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or not 0 <= value < count:
        raise AutottsError(f"{name}: expected 0 .. {count - 1}, got {quote(value)}")
    return int(value)


def numbers(name: str, value: Any, shape: tuple[int, ...] | None, count: int) -> NDArray[np.int64]:
    """An array of such numbers, by the same rule.

    Raises:
        AutottsError: it has another shape, or holds something that ``number`` refuses.
    """
    array = shaped(name, value, np.int64, shape)
    within(name, array, 0, count - 1)
    return array


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A view of a contiguous array that cannot be written to, nor be made writable by ``setflags``.

    This guards against accidents only: ``base`` still leads to the array itself.
    """
    data = array.reshape(-1).view(np.uint8).data.toreadonly()
    return np.frombuffer(data, array.dtype, array.size).reshape(array.shape)


def describe(value: Any) -> str:
    """What an array is, in a few words; of anything else its type."""
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


_KINDS = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}
"""The kinds of dtypes that are converted to a dtype of each kind."""


def _converted(name: str, value: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    """A contiguous array of a dtype, all values as they were."""
    given = value
    if not isinstance(value, np.ndarray):
        try:
            given = np.asarray(value)
            items = np.asarray(value, object).ravel()
        except (ValueError, TypeError, OverflowError):
            raise AutottsError(f"{name}: expected an array of {dtype}, got {quote(value)}") from None
        if dtype.kind in "iu" and any(isinstance(item, bool | np.bool_) for item in items):
            raise AutottsError(f"{name}: expected values of {dtype}, got truth values: {quote(value)}")
    if given.dtype == dtype:
        return given if given.flags.carray else np.array(given, order="C")
    if not given.size:  # of nothing, whatever it was to be
        return np.empty(given.shape, dtype)
    if given.dtype.kind not in _KINDS.get(dtype.kind, ""):
        raise AutottsError(f"{name}: expected values of {dtype}, got {given.dtype}: {quote(value)}")
    with np.errstate(invalid="ignore", over="ignore"):
        array: NDArray[Any] = given.astype(dtype, order="C")
    if not (array == given).all():
        raise AutottsError(f"{name}: expected values that fit {dtype}, got {given.dtype} values that do not")
    return array
