"""Checks of what a proposer is made with; options of the command line end up here as they were typed."""

import math
from collections.abc import Sequence

from autotts_gym.errors import AutottsError, quote


def number(what: str, name: str, value: object, *, zero: bool = False) -> float:
    """A finite number above 0, or from 0 on if ``zero``.

    Raises:
        AutottsError: it is none.
    """
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not good or not (value >= 0 if zero else value > 0):  # type: ignore[operator]
        raise AutottsError(
            f"{what}: {name}: expected a number {'of at least' if zero else 'above'} 0, got {quote(value)}"
        )
    return float(value)  # type: ignore[arg-type]


def integer(what: str, name: str, value: object, least: int) -> int:
    """A whole number.

    Raises:
        AutottsError: it is none, or too small.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise AutottsError(f"{what}: {name}: expected a whole number of at least {least}, got {quote(value)}")
    return value


def word(what: str, name: str, value: object) -> str:
    """A string.

    Raises:
        AutottsError: it is none.
    """
    if not isinstance(value, str):
        raise AutottsError(f"{what}: {name}: expected text, got {quote(value)}")
    return value


def variables(what: str, names: object) -> tuple[str, ...]:
    """Names of environment variables, given as a list or separated by commas.

    Raises:
        AutottsError: they are none.
    """
    listed = names.split(",") if isinstance(names, str) else names
    if not isinstance(listed, Sequence) or not all(isinstance(name, str) for name in listed):
        raise AutottsError(f"{what}: env: expected names of environment variables, got {quote(names)}")
    return tuple(name.strip() for name in listed if name.strip())
