"""Signals of an interval, from the log-probabilities of its tokens."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

TOP = 20
"""k, the largest log-probabilities that are asked for at each token."""

WINDOW = 2048
"""Tokens of a group, over which DeepConf averages confidence (Fu et al. 2025, arXiv 2508.15260, section 3.1)."""

NAMES = ("logprob", "entropy", "confidence")
"""The signals of an interval: mean log-probability of its tokens; mean entropy, in nats, of the distribution over the
k likeliest tokens, normalized; and the lowest group confidence at its tokens, the group being the last ``WINDOW``
tokens up to each: the mean of minus the mean of the k largest log-probabilities."""

Values = NDArray[np.float16]
Floats = NDArray[np.float64]


def of_tokens(logprobs: Sequence[float], tops: Sequence[Sequence[float]]) -> dict[str, Values]:
    """What is kept of the log-probabilities of T tokens.

    Args:
        logprobs: (T,) of the tokens that were drawn; NaN where it is unknown.
        tops: (T,) lists of the k largest at each token; empty where they are unknown.

    Returns:
        (T,) float16 by name: ``logprob``, ``entropy`` and ``confidence`` of each token, NaN where unknown.
    """
    count = len(logprobs)
    width = max(map(len, tops), default=0)
    table = np.full((count, width), np.nan)
    for row, top in enumerate(tops):
        table[row, : len(top)] = top
    table = np.where(np.isneginf(table), np.nan, table)
    known = ~np.isnan(table)
    sizes = known.sum(1)
    highest = np.max(np.where(known, table, -np.inf), axis=1, initial=-np.inf, keepdims=True)
    weights = np.where(known, np.exp(np.where(known, table, 0.0) - np.where(np.isneginf(highest), 0.0, highest)), 0.0)
    total = weights.sum(1, keepdims=True)
    shares = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        entropy = np.where(sizes > 0, -(shares * logs).sum(1), np.nan)
        confidence = np.where(sizes > 0, -np.where(known, table, 0.0).sum(1) / sizes, np.nan)
    own = np.array(logprobs, np.float64)
    values = {"logprob": own, "entropy": entropy, "confidence": confidence}
    return {name: np.clip(each, -60_000, 60_000).astype(np.float16) for name, each in values.items()}


def of_intervals(tokens: dict[str, Values], ends: Sequence[int]) -> dict[str, NDArray[np.float32]]:
    """The signals of the intervals that end after these tokens.

    Args:
        tokens: as ``of_tokens`` returns them.
        ends: (P,) numbers of tokens, increasing; the first interval begins at 0.

    Returns:
        (P,) float32 by name; 0 for an interval none of whose tokens is known.
    """
    if not len(ends):
        return {name: np.zeros(0, np.float32) for name in NAMES}
    starts = [0, *ends[:-1]]
    lowest = _group_means(tokens["confidence"].astype(np.float64))
    return {
        "logprob": _over(np.nanmean, tokens["logprob"].astype(np.float64), starts, ends),
        "entropy": _over(np.nanmean, tokens["entropy"].astype(np.float64), starts, ends),
        "confidence": _over(np.nanmin, lowest, starts, ends),
    }


def _over(function: object, values: Floats, starts: Sequence[int], ends: Sequence[int]) -> NDArray[np.float32]:
    found = np.zeros(len(ends), np.float32)
    for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
        part = values[start:end]
        part = part[~np.isnan(part)]
        if part.size:
            found[index] = function(part)  # type: ignore[operator]
    return found


def _group_means(values: Floats) -> Floats:
    """At each token, the mean of the last ``WINDOW`` known values; NaN before the first."""
    known = ~np.isnan(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    low = np.maximum(np.arange(1, values.size + 1) - WINDOW, 0)
    total, count = sums[1:] - sums[low], counts[1:] - counts[low]
    means: Floats = np.divide(total, count, out=np.full(values.size, np.nan), where=count > 0)
    return means


def certainty(logprobs: Sequence[float], count: int) -> float:
    """The geometric mean of the probabilities of the first ``count`` tokens; 0 where none is known.

    It is the confidence of DEER (arXiv 2504.15895, section 3.2).
    """
    known = [each for each in logprobs[:count] if each == each]
    return float(np.exp(np.mean(known))) if known else 0.0
