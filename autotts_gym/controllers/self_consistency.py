"""Controllers that read complete branches: self-consistency and its early-stopping forms."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotts_gym.controllers import decisions
from autotts_gym.controllers.base import HandWritten, fraction, integer, require
from autotts_gym.controllers.families import register
from autotts_gym.engine import Revealed
from autotts_gym.memory import require_memory

MAX_WIDTH = 64
"""Branches at beta = 1."""


def width(beta: float, least: int = 1) -> int:
    """Branches for a budget knob: geometric from ``least`` at beta = 0 to 64 at beta = 1."""
    branches: int = round(least * (MAX_WIDTH / least) ** beta)
    return branches


@register
@dataclass(frozen=True)
class SelfConsistency(HandWritten):
    """SC@N: the majority of N final answers, ties to the answer first seen (Wang et al. 2022, arXiv 2203.11171).

    Attributes:
        branches: N.
    """

    name = "sc"
    rule = decisions.self_consistency
    branches: int = 64

    def __post_init__(self) -> None:
        """Check the knobs."""
        integer(self.name, "branches", self.branches, 1)

    @classmethod
    def knobs_of_beta(cls, beta: float, free: Mapping[str, Any]) -> dict[str, Any]:
        """1 to 64 branches, geometric in beta."""
        return {"branches": width(beta)}

    def numbers(self, revealed: Revealed) -> tuple[Any, ...]:
        """The knob N that its rule takes."""
        return (self.branches,)


CRITERIA = ("beta", "dirichlet", "entropy", "majority")
_THRESHOLDS = {"beta": 0.95, "dirichlet": 0.95, "entropy": 0.75, "majority": 0.8}


@lru_cache
def _gamma_tables(max_votes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For Gamma(1 + v), v = 0 .. max_votes: its log CDF on a grid, and its density times the grid's weights.

    Both (max_votes + 1, points) float64. The grid is that of Simpson's rule, from 0 to far beyond the largest.
    """
    from scipy import special  # takes longer to load than all else here

    end = max_votes + 1 + 12 * np.sqrt(max_votes + 1.0)
    points = 1 + 2 * int(np.ceil(2 * end))
    grid = np.linspace(0.0, end, points)
    weights = np.full(points, 2.0)
    weights[1::2] = 4.0
    weights[[0, -1]] = 1.0
    weights *= grid[1] / 3.0
    require_memory(f"max_branches: the dirichlet criterion on {max_votes} branches", 32 * (max_votes + 1) * points)
    votes = np.arange(max_votes + 1)[:, None]
    log_cdf = np.log(np.clip(special.gammainc(1.0 + votes, grid), 1e-300, 1.0))
    density = np.exp(special.xlogy(votes, grid) - grid - special.gammaln(1.0 + votes))
    return log_cdf, density * weights


@register
@dataclass(frozen=True)
class AdaptiveConsistency(HandWritten):
    """ASC: complete branches one at a time until a criterion on their counts holds, then their majority.

    Aggarwal et al. 2023 (arXiv 2305.11860), section 3.2 and appendix A: ``beta`` compares the two most frequent
    answers, 1 - BetaCDF(1/2; v1 + 1, v2 + 1); ``dirichlet`` is the probability that the leader's share is the largest
    of all; ``entropy`` is 1 - H / log n for n answers; ``majority`` is the leader's share.

    Attributes:
        branches: at most so many are read.
        threshold: stop when the criterion exceeds it, from the second branch on; None: 0.95 for beta and dirichlet,
            0.75 for entropy, 0.8 for majority.
        criterion: one of ``beta``, ``dirichlet``, ``entropy``, ``majority``.
    """

    name = "asc"
    rule = decisions.adaptive_consistency
    branches: int = 64
    threshold: float | None = None
    criterion: str = "beta"

    def __post_init__(self) -> None:
        """Check the knobs and fill in the threshold."""
        integer(self.name, "branches", self.branches, 1)
        require(self.name, "criterion", self.criterion, self.criterion in CRITERIA, f"one of {', '.join(CRITERIA)}")
        if self.threshold is None:
            object.__setattr__(self, "threshold", _THRESHOLDS[self.criterion])
        fraction(self.name, "threshold", self.threshold)

    @classmethod
    def knobs_of_beta(cls, beta: float, free: Mapping[str, Any]) -> dict[str, Any]:
        """At most 2 to 64 branches, geometric in beta."""
        return {"branches": width(beta, 2)}

    def numbers(self, revealed: Revealed) -> tuple[Any, ...]:
        """The knobs, and the tables of the Dirichlet criterion, empty for the others."""
        criterion = CRITERIA.index(self.criterion)
        unused = np.zeros((0, 0))
        tables = _gamma_tables(revealed.rules.max_branches) if criterion == decisions.DIRICHLET else (unused, unused)
        return self.branches, criterion, float(self.threshold or 0.0), *tables


@register
@dataclass(frozen=True)
class EarlyStopping(HandWritten):
    """ESC: windows of complete branches; a unanimous window is the answer, else the majority of all branches.

    Li et al. 2024 (arXiv 2401.10480).

    Attributes:
        branches: at most floor(branches / window) windows are read.
        window: branches in a window.
    """

    name = "esc"
    rule = decisions.early_stopping
    branches: int = 64
    window: int = 8

    def __post_init__(self) -> None:
        """Check the knobs."""
        integer(self.name, "window", self.window, 1)
        integer(self.name, "branches", self.branches, self.window)

    @classmethod
    def knobs_of_beta(cls, beta: float, free: Mapping[str, Any]) -> dict[str, Any]:
        """One window to 64 branches, geometric in beta."""
        return {"branches": width(beta, free.get("window", cls.window))}

    def numbers(self, revealed: Revealed) -> tuple[Any, ...]:
        """The knobs that its rule takes."""
        return self.branches, self.window


@register
@dataclass(frozen=True)
class Doubling(HandWritten):
    """Doubling adaptive self-consistency: 2, 4, 8, ... complete branches until the top share reaches a threshold.

    The adaptive self-consistency of its_hub (Red Hat AI Innovation).

    Attributes:
        branches: at most so many are read.
        threshold: top share at which to stop.
        first: branches read before the first look.
    """

    name = "doubling"
    rule = decisions.doubling
    branches: int = 64
    threshold: float = 0.75
    first: int = 2

    def __post_init__(self) -> None:
        """Check the knobs."""
        integer(self.name, "branches", self.branches, 1)
        integer(self.name, "first", self.first, 1)
        fraction(self.name, "threshold", self.threshold)

    @classmethod
    def knobs_of_beta(cls, beta: float, free: Mapping[str, Any]) -> dict[str, Any]:
        """At most 2 to 64 branches, geometric in beta."""
        return {"branches": width(beta, 2)}

    def numbers(self, revealed: Revealed) -> tuple[Any, ...]:
        """The knobs that its rule takes."""
        return self.first, self.branches, float(self.threshold)
