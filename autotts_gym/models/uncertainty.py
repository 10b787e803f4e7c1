"""How unsure a model was of a token, from its largest log-probabilities there."""

import math
from collections.abc import Sequence


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
