"""A rule or a table: the same controller on stores and on their twins, question by question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from autotts_gym.errors import AutottsError
from autotts_gym.evaluation.frontier import Draws, Frontier, bootstrap
from autotts_gym.evaluation.resampling import Floats, Interval
from autotts_gym.evaluation.results import EvaluationResult

MARGIN = 0.02
"""Accuracy that a twin may cost beyond its interval: a twin is a little different, and no rule is hurt by more."""

DOUBT = 0.04
"""Loss of accuracy on a twin that makes a verdict doubtful, for any interval.

A table of few questions lowers the mean, but many resamples leave these questions out, so that the interval still
reaches 0. On eight twins of ``synthetic/search`` no rule lost more than 3.3 points with 8 seeds, 2.2 with 20
(``python -m benchmarks.twins``).
"""

TOKEN_MARGIN = 0.1
"""Share of the tokens that a twin may cost beyond its interval."""

Verdict = Literal["rule", "unclear", "table"]


@dataclass(frozen=True)
class TwinReport:
    """One setting of a controller on stores and on their twins; several stores are averaged.

    Attributes:
        accuracy: on the stores, in [0, 1].
        twin_accuracy: on the twins.
        accuracy_difference: the second less the first, with its paired interval over questions.
        tokens: total tokens of an episode on the stores, on average.
        twin_tokens: on the twins.
        tokens_difference: the second less the first, with its paired interval over questions.
        questions: of all stores together.
    """

    accuracy: float
    twin_accuracy: float
    accuracy_difference: Interval
    tokens: float
    twin_tokens: float
    tokens_difference: Interval
    questions: int

    @property
    def verdict(self) -> Verdict:
        """``table`` if it surely loses more than a margin, ``unclear`` if perhaps: see ``DOUBT``; else ``rule``."""
        lost, dearer = self.accuracy_difference, self.tokens_difference
        if lost.high < -MARGIN or dearer.low > TOKEN_MARGIN * self.tokens:
            return "table"
        doubtful = lost.estimate < -DOUBT or (lost.high < 0 and lost.estimate < -MARGIN)
        return "unclear" if doubtful else "rule"

    @property
    def words(self) -> str:
        """The verdict in words."""
        return {
            "rule": "It plays as well on the twin, within noise: a rule.",
            "unclear": "It loses on the twin, little or by chance: other twins, more questions or seeds would decide.",
            "table": "It loses more on the twin than rules do: it has memorised branches of this store.",
        }[self.verdict]

    def as_dict(self) -> dict[str, Any]:
        """The fields and the verdict, as values that JSON can hold."""
        return {**asdict(self), "verdict": self.verdict}


@dataclass(frozen=True)
class _Mean:
    """Accuracy or tokens of the only setting of a family."""

    tokens: bool

    @property
    def larger_is_better(self) -> bool:
        return not self.tokens

    def __call__(self, families: Sequence[Frontier], draws: Draws) -> Floats:
        """Return the values (families, 1 + R)."""
        return np.stack([draws.means(family)[0 if self.tokens else 1][:, 0] for family in families])


def compare_with_twin(
    results: Sequence[EvaluationResult],
    twins: Sequence[EvaluationResult],
    level: float = 0.95,
    resamples: int = 2000,
) -> TwinReport:
    """Compare the results of a setting on stores and on their twins.

    Args:
        results: of one setting of a controller, one a store.
        twins: of the same setting on ``replay.variants.twin`` of each store, with as many seeds.
        level: coverage of the intervals.
        resamples: of the questions.

    Raises:
        AutottsError: they are of several settings or of other stores, or a store has unlabelled questions.
    """
    for result in results:
        result.require_gold("twin")
    families = [Frontier.from_results(name, each) for name, each in (("twin", twins), ("store", results))]
    if any(len(family.settings) != 1 for family in families):
        raise AutottsError("compare_with_twin: expected results of one setting of a controller")
    right = bootstrap(families, _Mean(tokens=False), resamples=resamples)
    spent = bootstrap(families, _Mean(tokens=True), resamples=resamples)
    return TwinReport(
        accuracy=float(right.values[1, 0]),
        twin_accuracy=float(right.values[0, 0]),
        accuracy_difference=right.compare(0, 1, level).difference,
        tokens=float(spent.values[1, 0]),
        twin_tokens=float(spent.values[0, 0]),
        tokens_difference=spent.compare(0, 1, level).difference,
        questions=sum(result.correct.shape[1] for result in results),
    )
