"""Controllers that grow branches side by side and look at every probe."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from autotts_gym.controllers import decisions
from autotts_gym.controllers.base import HandWritten, Places, fraction, integer
from autotts_gym.controllers.families import register
from autotts_gym.controllers.self_consistency import width
from autotts_gym.engine import Revealed

_INT32, _FLOAT64 = np.dtype(np.int32), np.dtype(np.float64)


@register
@dataclass(frozen=True)
class AnswerConsistency(HandWritten):
    """A branch stops growing after so many equal probes in a row; the answer is the majority of the latest answers.

    Stable-answer early exit (arXiv 2506.02536), alone (``branches=1``) or as the majority over chains, as in the
    comparison of Parallel-Probe (arXiv 2602.03845).

    Attributes:
        branches: chains.
        patience: equal probes in a row that end a chain; 14 at 500 tokens an interval.
    """

    name = "answer_consistency"
    rule = decisions.answer_consistency
    needs_probes = True
    use_of_probes = "ends a branch whose probes have settled"
    branches: int = 64
    patience: int = 14

    def __post_init__(self) -> None:
        """Check the knobs."""
        integer(self.name, "branches", self.branches, 1)
        integer(self.name, "patience", self.patience, 1)

    @classmethod
    def knobs_of_beta(cls, beta: float, free: Mapping[str, Any]) -> dict[str, Any]:
        """1 to 64 chains, geometric in beta."""
        return {"branches": width(beta)}

    def numbers(self, revealed: Revealed) -> tuple[Any, ...]:
        """The knobs that its rule takes."""
        return self.branches, self.patience


@register
@dataclass(frozen=True)
class ShortM(HandWritten):
    """short-m@k: k branches at once, all stopped when m have finished; their majority, ties to the shortest.

    Hassid et al. 2025 (arXiv 2505.17813). Branches that finish in the same round are ordered by their tokens.

    Attributes:
        branches: k.
        finishes: m.
    """

    name = "short_m"
    rule = decisions.short_m
    branches: int = 5
    finishes: int = 3

    def __post_init__(self) -> None:
        """Check the knobs."""
        integer(self.name, "branches", self.branches, 1)
        integer(self.name, "finishes", self.finishes, 1)

    @classmethod
    def knobs_of_beta(cls, beta: float, free: Mapping[str, Any]) -> dict[str, Any]:
        """1 to 64 branches, geometric in beta; half of them (at least one) must finish."""
        branches = width(beta)
        return {"branches": branches, "finishes": max(1, branches // 2)}

    def numbers(self, revealed: Revealed) -> tuple[Any, ...]:
        """The knobs that its rule takes."""
        return self.branches, self.finishes


@register
@dataclass(frozen=True)
class ParallelProbe(HandWritten):
    """Parallel-Probe: branches in step, persistent dissenters pruned, a persistent leader answered (arXiv 2602.03845).

    Each round every active branch is deepened by one. From round ``warm_up`` on a branch off the leader for
    ``prune_patience`` rounds in a row is pruned; a leader that has held for ``stable_rounds`` rounds is the answer.

    Attributes:
        branches: opened at once.
        stable_rounds: rounds a leader must hold.
        prune_patience: rounds off the leader that prune a branch.
        warm_up: rounds before pruning.
        max_rounds: rounds after which the leader is the answer.
    """

    name = "parallel_probe"
    rule = decisions.parallel_probe
    needs_probes = True
    use_of_probes = "prunes and stops by what branches show before they finish"
    branches: int = 64
    stable_rounds: int = 40
    prune_patience: int = 7
    warm_up: int = 15
    max_rounds: int = 100

    def __post_init__(self) -> None:
        """Check the knobs."""
        for knob in ("branches", "stable_rounds", "prune_patience", "max_rounds"):
            integer(self.name, knob, getattr(self, knob), 1)
        integer(self.name, "warm_up", self.warm_up, 0)

    @classmethod
    def knobs_of_beta(cls, beta: float, free: Mapping[str, Any]) -> dict[str, Any]:
        """2 to 64 branches, geometric in beta."""
        return {"branches": width(beta, 2)}

    def begin(self, revealed: Revealed) -> Any:
        """Clear the off-counts and the stability of the leader."""
        memory, off = super().begin(revealed)
        memory["leader"] = -1
        return memory, off

    def places(self, revealed: Revealed) -> Places:
        """Phase, round and leader of each episode; and of each branch how long it is off the leader."""
        return (decisions.PROBE_MEMORY, (revealed.episodes,)), (_INT32, revealed.slots.shape)

    def numbers(self, revealed: Revealed) -> tuple[Any, ...]:
        """The knobs that its rule takes."""
        return self.branches, self.stable_rounds, self.prune_patience, self.warm_up, self.max_rounds


@register
@dataclass(frozen=True)
class ConfidenceMomentum(HandWritten):
    """CMC, the Confidence Momentum Controller that AutoTTS discovered (arXiv 2605.08083, section 4 and appendix).

    Widens while the smoothed Beta confidence of the finished answers does not rise, drops persistent dissenters,
    deepens branches on the leader faster, and stops when the smoothed confidence is high and does not fall. Every
    number is a monotone function of beta.

    Attributes:
        beta: budget knob; clipped to [0, 1] by the published code, required to lie there here.
    """

    name = "cmc"
    rule = decisions.confidence_momentum
    needs_probes = True
    use_of_probes = "prunes branches whose probes dissent and grows those that agree faster"
    beta: float = 0.5

    def __post_init__(self) -> None:
        """Check the knob."""
        fraction(self.name, "beta", self.beta)

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """n_init, max_open, warm_up, abandon, window, burst, widen, min_done, rounds."""
        b = self.beta
        return (
            max(2, round(2 + 6 * b)),
            min(64, round(4 + 60 * b)),
            max(2, round(2 + 8 * b)),
            max(3, round(3 + 9 * b)),
            max(2, round(2 + 6 * b)),
            max(1, round(1 + 2 * b)),
            max(1, round(1 + 3 * b)),
            max(2, round(2 + 3 * b)),
            500,
        )

    @cached_property
    def reals(self) -> tuple[float, ...]:
        """Alpha, threshold, slack, trend."""
        b = self.beta
        return (
            round(0.70 - 0.40 * b, 4),
            round(0.85 + 0.12 * b, 4),
            round(0.04 - 0.03 * b, 4),
            round(0.04 - 0.03 * b, 4),
        )

    def begin(self, revealed: Revealed) -> Any:
        """Clear the momentum and the counts."""
        memory, trends, off, order, before = super().begin(revealed)
        order[...] = -1
        return memory, trends, off, order, before

    def places(self, revealed: Revealed) -> Places:
        """Momentum and trend of each episode; of each branch how long it is off, its rank, and its depth before."""
        n, slots = revealed.episodes, (_INT32, revealed.slots.shape)
        return (decisions.MOMENTUM_MEMORY, (n,)), (_FLOAT64, (n, self.counts[4])), slots, slots, slots

    def numbers(self, revealed: Revealed) -> tuple[Any, ...]:
        """What follows from beta."""
        return self.counts, self.reals
