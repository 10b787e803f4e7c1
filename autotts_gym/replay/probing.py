"""The number of probes n that fits a branch of T tokens with a probe every Δ tokens.

No more than ⌊T/Δ⌋ + 1, and at least 0.8 ⌊T/Δ⌋ - 1: the text after the last probe can be long, and all published
branches have at least 0.90 ⌊T/Δ⌋.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Count = TypeVar("Count", int, NDArray[np.int64])


def most_probes(tokens: int, interval: int) -> int:
    """The largest number of probes that so many tokens have room for."""
    return tokens // interval + 1


def least_probes(tokens: int, interval: int) -> int:
    """The smallest number of probes."""
    return max(0, -((5 - 4 * (tokens // interval)) // 5))


def longest(probes: Count, interval: int) -> Count:
    """The most tokens that so many probes fit."""
    return (5 * (probes + 1) // 4 + 1) * interval - 1
