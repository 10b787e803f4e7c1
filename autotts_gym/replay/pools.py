"""The random order of a question's pool."""

import random
from functools import lru_cache

import numpy as np

from autotts_gym.replay.columns import Ids, frozen


@lru_cache(maxsize=4096)
def pool_order(seed: int, branches: int) -> Ids:
    """Return the order in which an episode with this seed sees a pool.

    Python's own generator is used because the published results were made with it.

    Args:
        seed: seed of the order.
        branches: B, size of the pool.

    Returns:
        (B,) int32 permutation of 0..B-1, that of ``random.Random(seed).shuffle(list(range(B)))``; read-only, shared.
    """
    order = list(range(branches))
    random.Random(seed).shuffle(order)
    return frozen(np.array(order, np.int32))
