"""How sure a count of votes is."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from autotts_gym.memory import require_memory
from autotts_gym.validation import integer, read_only


@lru_cache
def confidence_table(max_votes: int) -> NDArray[np.float64]:
    """Confidence in a leader with v1 votes over a runner-up with v2: 1 - BetaCDF(1/2; v1 + 1, v2 + 1).

    The criterion of Adaptive-Consistency (Aggarwal et al. 2023, section 3.2). At one half the incomplete beta function
    obeys I(a, b) = (I(a - 1, b) + I(a, b - 1)) / 2, which fills the table.

    Args:
        max_votes: the largest count.

    Returns:
        (max_votes + 1, max_votes + 1) float64 by (v1, v2), read-only; the entry (0, 0) is 0: no vote, no confidence.

    Raises:
        AutottsError: it is no count, or there is no memory for so large a table.
    """
    size = integer("max_votes", max_votes) + 2
    require_memory(f"max_branches: the confidence in votes of {max_votes} branches", 24 * size * size)
    cdf = np.zeros((size, size))
    cdf[0, 1:] = 1.0
    for diagonal in range(2, 2 * size - 1):
        a = np.arange(max(1, diagonal - size + 1), min(size, diagonal))
        b = diagonal - a
        cdf[a, b] = 0.5 * (cdf[a - 1, b] + cdf[a, b - 1])
    table: NDArray[np.float64] = 1.0 - cdf[1:, 1:]
    table[0, 0] = 0.0
    return read_only(table)
