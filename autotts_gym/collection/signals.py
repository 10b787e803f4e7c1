"""Signals of an interval, from the log-probabilities of its tokens."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOP = 20
"""k, the largest log-probabilities that are asked for at each token."""

WINDOW = 2048 / 10**6
"""Tokens of a group, over which DeepConf averages confidence (Fu et al. 2025, arXiv 2508.15260, section 3.1), as a part
of the token unit: 2,048 where branches are as long as those of the published data."""

NAMES = ("logprob", "entropy", "confidence")
"""The signals of an interval: mean log-probability and mean entropy of its tokens, and the lowest group confidence at
its tokens: the mean confidence of a window of tokens up to each. ``autotts_gym.models.uncertainty`` has what they are
of a token."""

Values = NDArray[np.float16]
Floats = NDArray[np.float64]


def window(token_unit: int) -> int:
    """The tokens of a group, in a store with this token unit."""
    return max(1, round(WINDOW * token_unit))


def of_tokens(tokens: Mapping[str, Sequence[float]]) -> dict[str, Values]:
    """What a journal keeps of the log-probabilities of T tokens: (T,) float16 by name, NaN where unknown."""
    return {name: np.clip(np.array(tokens[name], np.float64), -60_000, 60_000).astype(np.float16) for name in NAMES}


def of_intervals(tokens: Mapping[str, Values], ends: Sequence[int], group: int) -> dict[str, NDArray[np.float32]]:
    """The signals of the intervals that end after these tokens.

    Args:
        tokens: as ``of_tokens`` returns them.
        ends: (P,) numbers of tokens, increasing; the first interval begins at 0.
        group: tokens over which confidence is averaged.

    Returns:
        (P,) float32 by name. An interval none of whose tokens is known has the value of the one before, or else of the
        next one that has a value; 0 if none has.
    """
    if not len(ends):
        return {name: np.zeros(0, np.float32) for name in NAMES}
    starts = [0, *ends[:-1]]
    lowest = _group_means(tokens["confidence"].astype(np.float64), group)
    return {
        "logprob": _over(np.mean, tokens["logprob"].astype(np.float64), starts, ends),
        "entropy": _over(np.mean, tokens["entropy"].astype(np.float64), starts, ends),
        "confidence": _over(np.min, lowest, starts, ends),
    }


def _over(
    function: Callable[[Floats], Any], values: Floats, starts: Sequence[int], ends: Sequence[int]
) -> NDArray[np.float32]:
    found = np.full(len(ends), np.nan, np.float32)
    for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
        part = values[start:end]
        part = part[~np.isnan(part)]
        if part.size:
            found[index] = function(part)
    known = np.flatnonzero(~np.isnan(found))
    if not known.size:
        return np.zeros(len(ends), np.float32)
    before = np.maximum(np.searchsorted(known, np.arange(len(ends)), side="right") - 1, 0)
    return found[known[before]]


def _group_means(values: Floats, group: int) -> Floats:
    """At each token, the mean of what is known of the last so many values; NaN where nothing is."""
    known = ~np.isnan(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    low = np.maximum(np.arange(1, values.size + 1) - group, 0)
    total, count = sums[1:] - sums[low], counts[1:] - counts[low]
    means: Floats = np.divide(total, count, out=np.full(values.size, np.nan), where=count > 0)
    return means


def certainty(logprobs: Sequence[float], count: int) -> float:
    """The geometric mean of the probabilities of the first ``count`` tokens; 0 where none is known.

    It is the confidence of DEER (arXiv 2504.15895, section 3.2).
    """
    known = [each for each in logprobs[:count] if each == each]
    return float(np.exp(np.mean(known))) if known else 0.0
