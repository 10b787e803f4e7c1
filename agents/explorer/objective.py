"""What programs are selected by.

At a cost weight w the environment's return of a program at one value of beta is a(beta) - w t(beta), with accuracy a
and total tokens t, in token units of a store, averaged over its seeds and questions, and then over stores. A user who
knows w picks the best beta. So the program's return at w is the maximum over the sweep, and the *objective* is its mean
over a grid of cost weights in equal ratios. From 0.02 to 1 per token unit, the default, the best point of a good sweep
moves from about 0.8 token units down to 0.06 on the data of AutoTTS, whose unit is 10^6 tokens.

A maximum over a sweep flatters, and so does the maximum over many programs: the winner's curse. Three things keep it
small. The *estimate* that counts chooses every beta on a bootstrap resample of the questions and scores it on the
questions left out of that resample, averaged over the resamples. The *score* lies ``caution`` standard errors below the
estimate, where the error is that of the paired difference to a reference (the built-in ``cmc``) on the same resamples,
so that a program which gains by a few lucky questions ranks below one that gains the same everywhere. And the final
pick among the few best scores is made with questions that took no part in the search.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from autotts_gym.evaluation.frontier import Draws, Frontier, bootstrap
from autotts_gym.evaluation.resampling import Floats
from autotts_gym.evaluation.twin import DOUBT, MARGIN


@dataclass(frozen=True)
class Objective:
    """Mean over cost weights of the best return of a sweep; a ``Statistic`` of the frontier module.

    Attributes:
        weights: cost weights, per token unit of total tokens.
    """

    weights: tuple[float, ...]
    larger_is_better: ClassVar[bool] = True

    def returns(self, family: Frontier, draws: Draws) -> Floats:
        """The return at every weight and every setting, (1 + R, weights, settings)."""
        tokens, accuracy = draws.means(family.evened())
        prices = np.array(self.weights)[None, :, None]
        paid: Floats = accuracy[:, None, :] - prices * tokens[:, None, :] / family.token_unit
        return paid

    def __call__(self, families: Sequence[Frontier], draws: Draws) -> Floats:
        """Return the values (families, 1 + R)."""
        return np.stack([self.returns(family, draws).max(axis=2).mean(axis=1) for family in families])

    def left_out(self, family: Frontier, draws: Draws) -> Floats:
        """The objective with every beta chosen on a resample, on the questions left out of it; (1 + R,)."""
        chosen = self.returns(family, draws).argmax(axis=2)[:, :, None]
        outside = self.returns(family, draws.left_out())
        scored: Floats = np.take_along_axis(outside, chosen, axis=2).mean(axis=(1, 2))
        return scored

    def best_returns(self, family: Frontier) -> list[float]:
        """The return at every weight on the data."""
        best: list[float] = self.returns(family, Draws(family))[0].max(axis=1).tolist()
        return best

    def best_setting(self, family: Frontier) -> int:
        """The setting that is best at the middle weight."""
        return int(self.returns(family, Draws(family))[0, len(self.weights) // 2].argmax())


@dataclass(frozen=True)
class Figures:
    """What a sweep comes to.

    Attributes:
        objective: on the data, every beta chosen there.
        low: lower end of its interval over questions.
        high: upper end.
        estimate: the objective on left-out questions; see the module.
        gain: objective minus that of the reference.
        gain_low: lower end of the paired interval of the gain.
        gain_high: upper end.
        error: standard error of the gain.
        score: the estimate less ``caution`` times the error: what programs are ranked by.
    """

    objective: float
    low: float
    high: float
    estimate: float
    gain: float
    gain_low: float
    gain_high: float
    error: float
    score: float


BY_CHANCE = 1.645
"""Standard errors that a rule loses on a twin once in twenty times."""


@dataclass(frozen=True)
class Loss:
    """What a sweep loses on the twins of its stores, where a rule loses nothing beyond noise.

    Attributes:
        objective: on the twins.
        difference: that less the objective on the stores, every beta chosen where it is measured.
        low: lower end of its paired interval over questions.
        high: upper end.
        error: standard error of the difference.
    """

    objective: float
    difference: float
    low: float
    high: float
    error: float

    @property
    def table(self) -> bool:
        """Whether it loses so much that it must know branches of the stores.

        Either surely more than ``MARGIN``; or more than ``DOUBT``, and more than one rule in twenty loses by chance: a
        table of few questions lowers the mean, but the interval still reaches 0, as many resamples leave them out.
        """
        return self.high < -MARGIN or self.difference < -max(DOUBT, BY_CHANCE * self.error)


@dataclass(frozen=True)
class Scale:
    """How sweeps are measured: one objective, one set of resamples.

    Attributes:
        objective: what is measured.
        caution: standard errors between estimate and score.
        level: coverage of the intervals.
        resamples: bootstrap resamples.
    """

    objective: Objective
    caution: float = 0.5
    level: float = 0.95
    resamples: int = 500

    def figures(self, family: Frontier, reference: Frontier) -> Figures:
        """What a sweep comes to beside the reference, measured on the same episodes."""
        both = bootstrap([family, reference], self.objective, resamples=self.resamples)
        interval, gain = both.interval(0, self.level), both.compare(0, 1, self.level).difference
        error = float(np.std(both.values[0, 1:] - both.values[1, 1:], ddof=1))
        draws = Draws(family, self.resamples)
        estimate = float(self.objective.left_out(family, draws)[1:].mean())
        return Figures(
            objective=interval.estimate,
            low=interval.low,
            high=interval.high,
            estimate=estimate,
            gain=gain.estimate,
            gain_low=gain.low,
            gain_high=gain.high,
            error=error,
            score=estimate - self.caution * error,
        )

    def loss(self, family: Frontier, twin: Frontier) -> Loss:
        """What a sweep loses on the twins of its stores.

        Args:
            family: its sweep on the stores.
            twin: the same on their twins.
        """
        both = bootstrap([twin, family], self.objective, resamples=self.resamples)
        difference = both.compare(0, 1, self.level).difference
        error = float(np.std(both.values[0, 1:] - both.values[1, 1:], ddof=1))
        return Loss(float(both.values[0, 0]), difference.estimate, difference.low, difference.high, error)

    def clearly_worse(self, family: Frontier, incumbent: Frontier, level: float) -> tuple[bool, float, float]:
        """Whether a screen is clearly worse than the incumbent's on the same episodes.

        It is if the whole paired interval over questions of the difference in objective lies below zero.

        Args:
            family: what was screened.
            incumbent: what it is compared with.
            level: coverage of the interval; the smaller, the more programs are dropped.

        Returns:
            The verdict, the difference, and the upper end of its interval.
        """
        both = bootstrap([family, incumbent], self.objective, resamples=self.resamples)
        difference = both.compare(0, 1, level).difference
        return difference.high < 0, difference.estimate, difference.high


def points_of(family: Frontier) -> tuple[tuple[float, float, float], ...]:
    """(beta, accuracy, mean total tokens) of every point of a sweep, by tokens."""
    return tuple((float(str(p.setting.params["beta"])), p.accuracy, p.tokens) for p in family.points)


RANK_RATIO = 0.7
"""How much less likely each next rank is to be drawn as a first parent."""


def choose_parents(
    scores: Sequence[float], returns: Sequence[Sequence[float]], count: int, generator: np.random.Generator
) -> list[int]:
    """Draw programs to build on.

    The first is drawn by rank: the best score with weight 1, the next with 0.7, then 0.49, ... The others come from the
    frontier, the programs that have the best return at some cost weight, drawn without replacement by the number of
    weights they win (ties: the earlier program); where the frontier has too few, by rank again.

    Args:
        scores: of the population, in the order of the search.
        returns: (population, weights), the best return at every weight.
        count: how many; fewer where the population is smaller.
        generator: of this proposal.

    Returns:
        Indices into the population, best score first.
    """
    if not scores:
        return []
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    by_rank = np.zeros(len(scores))
    by_rank[order] = RANK_RATIO ** np.arange(len(scores))
    wins = np.bincount(np.argmax(np.array(returns), axis=0), minlength=len(scores)).astype(float)
    chosen = [int(generator.choice(len(scores), p=by_rank / by_rank.sum()))]
    while len(chosen) < min(count, len(scores)):
        wins[chosen] = by_rank[chosen] = 0.0
        odds = wins if wins.any() else by_rank
        chosen.append(int(generator.choice(len(scores), p=odds / odds.sum())))
    return sorted(chosen, key=order.index)
