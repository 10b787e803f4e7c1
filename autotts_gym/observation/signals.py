"""Features of a branch slot that a store with signals has: each field of each signal, as the state reveals it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from autotts_gym.errors import AutottsError, quote

MEANINGS = {
    "latest": "that of its newest interval",
    "mean": "mean over its intervals",
    "minimum": "the least of its intervals",
    "tail": "mean over its last intervals, of 0.002048 token units (2,048 tokens of 10^6)",
}
"""What is observed of a signal, by the fields of ``engine.layout.SIGNAL``."""

Ranges = Mapping[str, tuple[float, float]]
"""The least and the most that each signal can be, by its name."""


@dataclass(frozen=True)
class SignalFeature:
    """A field of a signal of a branch slot, as its place between the least and the most that the stores have.

    0 before the first interval. Beyond the range, as on other stores than those of a policy's training, it counts as
    the end of the range.

    Attributes:
        signal: its name.
        field: one of ``MEANINGS``.
        least: what 0 stands for.
        most: what 1 stands for.
    """

    signal: str
    field: str
    least: float
    most: float
    of_branch: ClassVar[bool] = True
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 1.0

    @property
    def name(self) -> str:
        """Its name within its group: ``confidence.mean``."""
        return f"{self.signal}.{self.field}"

    @property
    def label(self) -> str:
        """Its name among those of an observation: ``signals.confidence.mean``."""
        return f"signals.{self.name}"

    @property
    def meaning(self) -> str:
        """What it shows, in a line."""
        return f"signal {self.signal}: {MEANINGS[self.field]}, between {self.least:g} and {self.most:g}"


def signal_features(ranges: Ranges) -> tuple[SignalFeature, ...]:
    """All of these signals, in the order of their names."""
    return tuple(SignalFeature(name, field, *ranges[name]) for name in sorted(ranges) for field in MEANINGS)


def columns(features: tuple[SignalFeature, ...], names: tuple[str, ...]) -> list[int]:
    """The indices of the signals of features among those of the stores.

    Raises:
        AutottsError: not every store has one of them.
    """
    missing = sorted({each.signal for each in features} - {*names})
    if missing:
        known = quote([*names]) if names else "none"
        raise AutottsError(f"observation: expected stores with the signals {quote(missing)}, got {known}")
    return [names.index(each.signal) for each in features]
