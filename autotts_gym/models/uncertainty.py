"""How unsure a model was of a token, from its largest log-probabilities there."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

_ROUNDING = 1e-3
"""How far above 0 a log-probability may come out."""


def logprob(value: Any) -> float:
    """A log-probability that a server sent; NaN where it sent none, or what cannot be one.

    Raises:
        TypeError, ValueError: it is no number.
    """
    try:
        number = math.nan if value is None else float(value)
    except OverflowError:  # a whole number beyond all floats
        return math.nan
    return min(number, 0.0) if number <= _ROUNDING else math.nan


def largest(values: Iterable[Any]) -> list[float]:
    """The log-probabilities among what a server sent, the largest first.

    Raises:
        TypeError, ValueError: one is no number.
    """
    return sorted((each for each in map(logprob, values) if not math.isnan(each)), reverse=True)


def entropy(top: Sequence[float]) -> float:
    """Entropy, in nats, of the distribution over the k likeliest tokens, normalized; NaN where none is known."""
    known = [each for each in top if each > -math.inf]
    if not known:
        return math.nan
    highest = max(known)
    weights = [math.exp(each - highest) for each in known]
    total = sum(weights)
    return math.log(total) - sum(weight * (each - highest) for weight, each in zip(weights, known, strict=True)) / total


def confidence(top: Sequence[float]) -> float:
    """Minus the mean of the k largest log-probabilities (DeepConf, arXiv 2508.15260, section 3.1); NaN without any."""
    known = [each for each in top if each > -math.inf]
    return -sum(known) / len(known) if known else math.nan
