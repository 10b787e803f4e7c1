"""What the branches of a store are like: how far votes lead, and where probes converge."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autotts_gym.replay.store import ReplayStore

Floats = NDArray[np.float64]

_DRAWS = 200
"""Orders of a pool by which a vote is averaged."""


def majority_accuracy(store: ReplayStore, sizes: Sequence[int], seed: int = 0) -> Floats:
    """Accuracy of the majority of some branches of each pool, averaged over orders and labelled questions.

    Args:
        store: the store.
        sizes: (K,) numbers of branches that vote; of a smaller pool all do.
        seed: of the orders.

    Returns:
        (K,) float64 in [0, 1]; NaN where no question is labelled. Of answers with as many votes, the first seen leads.
    """
    rng = np.random.default_rng(seed)
    labelled = np.flatnonzero(store.labelled).tolist()
    right = np.zeros(len(sizes))
    for question in labelled:
        finals = store.finals[slice(*store.branch_offsets[question : question + 2].tolist())]
        gold = int(store.gold[question])
        for _ in range(_DRAWS):
            order = rng.permutation(finals)
            right += [_leader(order[:size]) == gold for size in sizes]
    return right / (len(labelled) * _DRAWS) if labelled else np.full(len(sizes), np.nan)


def _leader(answers: NDArray[np.int32]) -> int:
    """The answer with most votes, ties to the first seen; -1: none answered."""
    answers = answers[answers >= 0]
    if not answers.size:
        return -1
    votes = np.bincount(answers)
    return int(answers[np.argmax(votes[answers] == votes.max())])


def probe_agreement(store: ReplayStore, shares: Sequence[float]) -> Floats:
    """Share of finished branches whose probe is their final answer, by the part of their probes that was seen.

    Args:
        store: the store.
        shares: (K,) parts of a branch's probes, in [0, 1]; 0 is its first probe.

    Returns:
        (K,) float64 in [0, 1]; NaN where no branch that finished has a probe.
    """
    probes = np.diff(store.probe_offsets)
    chosen = np.flatnonzero((probes > 0) & (store.finals >= 0))
    if not chosen.size:
        return np.full(len(shares), np.nan)
    first, count = store.probe_offsets[chosen], probes[chosen]
    places = [first + np.maximum(np.ceil(share * count).astype(np.int64) - 1, 0) for share in shares]
    return np.array([float((store.probes[place] == store.finals[chosen]).mean()) for place in places])
