"""More questions than were collected: variants of a store's pools, for training.

A benchmark has thirty questions, which a policy soon knows by heart: that on this benchmark the first branches to
finish are right, or that branches of a certain length are. A variant of a question keeps its branches, but is easier or
harder (right branches are drawn more or less often), longer or shorter (every branch is stretched by the same factor,
up to the length at which the model's longest branches were cut off), and holds half of the pool.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autotts_gym.replay import ReplayStore
from autotts_gym.replay.columns import Columns, StringTable
from autotts_gym.replay.store import MAX_TOKENS


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


def variant(
    store: ReplayStore, rng: np.random.Generator, stretch: tuple[float, float], tilt: float, model: str
) -> ReplayStore:
    """A store of the same questions, each with half of its pool, tilted and stretched, as if from another model.

    Arguments as for ``augmented``. Texts of questions and signals are left out.
    """
    depths = np.diff(store.probe_offsets)
    limit = int(depths.max())
    picked: list[NDArray[np.int64]] = []
    factors: list[NDArray[np.float64]] = []
    for q in range(store.num_questions):
        pool = np.arange(store.branch_offsets[q], store.branch_offsets[q + 1])
        odds = rng.normal(0.0, tilt) * (store.finals[pool] == store.gold[q])
        # The largest of log-weights with Gumbel noise are a draw without replacement.
        order = np.argsort(-(odds + rng.gumbel(size=pool.size)), kind="stable")
        chosen = rng.permutation(pool[order[: max(1, pool.size // 2)]])
        picked.append(chosen)
        factors.append(np.full(chosen.size, np.exp(rng.uniform(*np.log(stretch)))))
    branches, factor = np.concatenate(picked), np.concatenate(factors)
    # A branch that ended before its first probe has none when it is stretched either.
    stretched = np.where(depths[branches] > 0, np.maximum(1, np.rint(depths[branches] * factor)), 0).astype(np.int64)
    depth = np.minimum(stretched, limit)
    ends = np.cumsum(depth)
    within = np.arange(ends[-1]) - np.repeat(ends - depth, depth)
    source = np.minimum((within / np.repeat(factor, depth)).astype(np.int64), np.repeat(depths[branches] - 1, depth))
    probes = store.probes[np.repeat(store.probe_offsets[branches], depth) + source]
    cut = stretched > limit
    interval = store.interval_tokens
    finals = store.finals[branches].copy()
    if store.has_probes:
        finals[cut] = probes[ends[cut] - 1]
    writing_out = np.where(cut, 0, store.tokens[branches] - depths[branches] * interval)
    return ReplayStore(
        Columns(
            branch_offsets=np.cumsum([0, *(each.size for each in picked)], dtype=np.int64),
            probe_offsets=np.concatenate(([0], ends)),
            answer_offsets=store.answer_offsets,
            probes=probes,
            tokens=np.where(
                depth > 0,
                np.maximum(1, depth * interval + writing_out),
                np.clip(np.rint(store.tokens[branches] * factor), 1, MAX_TOKENS),
            ).astype(np.int32),
            finals=finals,
            gold=store.gold,
        ),
        StringTable.of("answers", (answer for q in range(store.num_questions) for answer in store.answers(q))),
        StringTable.of("questions", ("" for _ in range(store.num_questions))),
        model=model,
        benchmark=store.benchmark,
        interval_tokens=interval,
        attributes={**store.attributes, "variant": {"stretch": list(stretch), "tilt": tilt}},
    )
