"""More questions than were collected: variants of a store's pools, for training.

A benchmark has thirty questions, which a policy soon knows by heart: that on this benchmark the first branches to
finish are right, or that branches of a certain length are. A variant of a question keeps its branches, but is easier or
harder (right branches are drawn more or less often), longer or shorter (every branch is stretched by the same factor,
up to the length at which the model's longest branches were cut off), and holds half of the pool.
"""

from collections.abc import Sequence

import numpy as np

from autotts_gym.replay import ReplayStore
from autotts_gym.replay.variants import halved as variant

__all__ = ["augmented", "variant"]


def augmented(
    stores: Sequence[ReplayStore],
    copies: int,
    seed: int = 0,
    stretch: tuple[float, float] = (0.8, 1.6),
    tilt: float = 1.0,
) -> list[ReplayStore]:
    """The stores and so many variants of each.

    Args:
        stores: what was collected.
        copies: variants of each store.
        seed: of the variants.
        stretch: range from which each question draws, log-uniformly, the factor of its branches' lengths.
        tilt: standard deviation of the log-odds by which right branches are drawn more often than wrong ones.
    """
    variants = [
        variant(store, np.random.default_rng([seed, k, s]), stretch, tilt, f"{store.model}~{k + 1}")
        for k in range(copies)
        for s, store in enumerate(stores)
    ]
    return [*stores, *variants]
