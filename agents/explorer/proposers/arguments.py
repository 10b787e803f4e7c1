"""Checks of what a proposer is made with, beside ``autotts_gym.validation``; options arrive as they were typed."""

import shlex
from collections.abc import Sequence

from autotts_gym.errors import AutottsError, plain, quote
from autotts_gym.validation import check, is_real


def number(name: str, value: float, *, zero: bool = False) -> float:
    """A finite number above 0, or from 0 on if ``zero``.

    Raises:
        AutottsError: it is none.
    """
    good = is_real(value, 0.0) and (zero or value > 0)
    check(name, value, good, f"a number {'of at least' if zero else 'above'} 0")
    return float(value)


def text(name: str, value: str) -> str:
    """A string.

    Raises:
        AutottsError: it is none.
    """
    check(name, value, isinstance(value, str), "text")
    return value


def words(name: str, value: str) -> list[str]:
    """The words of a command line.

    Raises:
        AutottsError: a quotation mark is not closed, or it is no text.
    """
    try:
        return shlex.split(text(name, value))
    except ValueError as error:
        if isinstance(error, AutottsError):
            raise
        raise AutottsError(f"{name}: expected a command line, got {quote(value)}: {plain(error)}") from error


def variables(name: str, value: str | Sequence[str]) -> tuple[str, ...]:
    """Names of environment variables, given as a list or separated by commas.

    Raises:
        AutottsError: they are none.
    """
    names = value.split(",") if isinstance(value, str) else value
    good = isinstance(names, Sequence) and all(isinstance(each, str) for each in names)
    check(name, value, good, "names of environment variables")
    return tuple(each.strip() for each in names if each.strip())
