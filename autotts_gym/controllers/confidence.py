"""Controllers that use signals: how confident the model was while it wrote."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotts_gym.controllers import decisions
from autotts_gym.controllers.base import HandWritten, Places, fraction, integer, require
from autotts_gym.controllers.families import register
from autotts_gym.controllers.self_consistency import width
from autotts_gym.engine import Revealed
from autotts_gym.errors import ControllerError, plain, quote

_FLOAT64 = np.dtype(np.float64)

WEIGHTS = ("minimum", "tail", "mean")
"""By what a branch's vote is weighted: the lowest confidence of its intervals, that of its end, or their mean."""


class _SignalController(HandWritten):
    """A controller that uses one signal."""

    signal: str

    @property
    def needs_signals(self) -> tuple[str, ...]:
        """The signal that it uses."""
        return (self.signal,)

    @property
    def nonnegative_signals(self) -> tuple[str, ...]:
        """The signal that it uses: a confidence."""
        return (self.signal,)

    @classmethod
    def knobs_of_beta(cls, beta: float, free: Mapping[str, Any]) -> dict[str, Any]:
        """1 to 64 branches, geometric in beta."""
        return {"branches": width(beta)}

    def column(self, revealed: Revealed) -> int:
        """The index of its signal among those of the stores.

        Raises:
            ControllerError: not every store has it.
        """
        names = revealed.signal_names
        if self.signal not in names:
            known = plain(", ".join(names) or "none")
            raise ControllerError(f"{self.name}: expected episodes with the signal {quote(self.signal)}, got {known}")
        return names.index(self.signal)

    def begin(self, revealed: Revealed) -> Any:
        """The arrays in which it remembers episodes, all 0; None: it needs none.

        Raises:
            ControllerError: not every store has its signal.
        """
        self.column(revealed)
        return super().begin(revealed)


@register
@dataclass(frozen=True)
class DeepConf(_SignalController):
    """DeepConf, online and offline: confident branches vote, others are pruned (Fu et al. 2025, arXiv 2508.15260).

    The first ``warm_up`` branches are read whole. The threshold is the lowest confidence that the most confident
    ``keep`` of them have at least: branches below it have no vote, and later branches are stopped as soon as an
    interval falls below it. Votes are weighted by confidence. The episode stops early where one answer has
    ``consensus`` of the weights of all finished branches. With ``warm_up`` of at least ``branches`` it is the offline
    form: all are read, and those vote that are most confident by ``weight`` (sections 3.2 and 3.3).

    Attributes:
        branches: K.
        keep: eta, the share of branches that vote; 0.9 is DeepConf-high, 0.1 DeepConf-low.
        warm_up: branches that set the threshold.
        weight: one of ``WEIGHTS``: "minimum" is the lowest group confidence, "tail" that of the last 2,048
            millionths of the token unit.
        consensus: tau, the share of weights at which an episode stops early; above 1: never.
        signal: the signal that is the confidence of an interval: at least 0, and more is surer.
    """

    name = "deepconf"
    rule = decisions.deepconf
    branches: int = 64
    keep: float = 0.9
    warm_up: int = 16
    weight: str = "minimum"
    consensus: float = 0.95
    signal: str = "confidence"

    def __post_init__(self) -> None:
        """Check the knobs."""
        integer(self.name, "branches", self.branches, 1)
        integer(self.name, "warm_up", self.warm_up, 1)
        fraction(self.name, "keep", self.keep)
        require(self.name, "keep", self.keep, self.keep > 0, "a share above 0")
        require(self.name, "weight", self.weight, self.weight in WEIGHTS, f"one of {', '.join(WEIGHTS)}")
        good = isinstance(self.consensus, int | float) and 0.5 < self.consensus < 10
        require(self.name, "consensus", self.consensus, good, "a number above 0.5")
        require(self.name, "signal", self.signal, isinstance(self.signal, str), "the name of a signal")

    def places(self, revealed: Revealed) -> Places:
        """The threshold of each episode, NaN before the warm-up has ended; and room for a rule's own numbers."""
        answers = revealed.arrays.answers.shape[1]
        return (_FLOAT64, (revealed.episodes,)), (_FLOAT64, revealed.slots.shape[1:]), (_FLOAT64, (answers,))

    def begin(self, revealed: Revealed) -> Any:
        """Begin without a threshold.

        Raises:
            ControllerError: not every store has its signal.
        """
        thresholds, *room = super().begin(revealed)
        thresholds[...] = np.nan
        return thresholds, *room

    def numbers(self, revealed: Revealed) -> tuple[Any, ...]:
        """The column of the signal, and the knobs."""
        return (
            self.column(revealed),
            min(self.branches, revealed.rules.max_branches),
            float(self.keep),
            min(self.warm_up, self.branches),
            WEIGHTS.index(self.weight),
            float(self.consensus),
        )


@register
@dataclass(frozen=True)
class Deer(_SignalController):
    """DEER: a branch stops growing once the model is sure of the answer that it would give (arXiv 2504.15895).

    Alone (``branches=1``), or as the majority of the latest answers over several branches.

    Attributes:
        branches: chains.
        threshold: certainty of a probe's answer at which its branch stops growing.
        signal: the signal that is the certainty of a probe's answer.
    """

    name = "deer"
    rule = decisions.deer
    needs_probes = True
    use_of_probes = "ends a branch that is sure of its probe"
    branches: int = 1
    threshold: float = 0.95
    signal: str = "certainty"

    def __post_init__(self) -> None:
        """Check the knobs."""
        integer(self.name, "branches", self.branches, 1)
        fraction(self.name, "threshold", self.threshold)
        require(self.name, "signal", self.signal, isinstance(self.signal, str), "the name of a signal")

    def numbers(self, revealed: Revealed) -> tuple[Any, ...]:
        """The column of the signal, and the knobs."""
        return self.column(revealed), self.branches, float(self.threshold)
