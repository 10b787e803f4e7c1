"""The bootstrap over questions: what is drawn, and the intervals that follow from it.

``autotts_gym.evaluation.frontier`` says why it is done so. A resample redraws the n questions of every benchmark
with replacement. What is drawn depends on the seed, the benchmark's name and its number of questions only, so that all
settings, families and stores of a benchmark see the same questions: every comparison is paired.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from autotts_gym.errors import AutottsError
from autotts_gym.memory import require_memory

Floats = npt.NDArray[np.float64]

Stratum: TypeAlias = tuple[str, int]
"""A benchmark and its number of questions: stores that share both are taken to hold the same questions."""


@dataclass(frozen=True)
class Interval:
    """An estimate and its percentile interval.

    Attributes:
        estimate: the value on the data; NaN where it is not defined.
        low: lower end; -inf where the statistic, larger being better, is undefined too often.
        high: upper end; +inf where the statistic, smaller being better, is undefined too often.
        level: nominal coverage, such as 0.95.
        defined: share of the resamples in which the statistic is defined, in [0, 1].
    """

    estimate: float
    low: float
    high: float
    level: float
    defined: float


_BYTES_PER_COUNT = 24
"""As drawn, as a float, and joined."""


def require_resamples(resamples: int, questions: int) -> None:
    """Refuse resamples of so many questions that do not fit into memory.

    Raises:
        AutottsError: they do not.
    """
    require_memory(f"resamples: {resamples} of {questions} questions", resamples * questions * _BYTES_PER_COUNT)


def resample(stratum: Stratum, resamples: int, seed: int) -> Floats:
    """Count of a stratum's questions, (1 + resamples, questions), each row summing to questions; row 0 is all ones."""
    benchmark, questions = stratum
    require_resamples(resamples, questions)
    rng = np.random.default_rng([seed, zlib.crc32(benchmark.encode()), questions])
    counts = rng.multinomial(questions, np.full(questions, 1 / questions), size=resamples)
    return np.concatenate([np.ones((1, questions)), counts])


def percentile_interval(values: Floats, level: float) -> Interval:
    """Estimate in element 0, resamples behind it; their k-th smallest and k-th largest, k = (R + 1)(1 - level) / 2."""
    if not 0 < level < 1:
        raise AutottsError(f"interval: expected a level in (0, 1), got {level}")
    ordered = np.sort(values[1:])
    k = max(1, math.floor((len(ordered) + 1) * (1 - level) / 2 + 1e-9))
    return Interval(float(values[0]), float(ordered[k - 1]), float(ordered[-k]), level, 1.0)
