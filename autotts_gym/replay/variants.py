"""Stores made from a store: other orders, lengths and beginnings of the same branches.

A *twin* distinguishes a rule from a table. A program that was tuned on thirty questions can hold the lengths of
right branches, or which answers follow each other in them. On the twin none of that is true. What a rule depends on is
as before: how often branches are right, how long they are, how early and how firmly they agree.
"""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotts_gym.replay.columns import Columns, StringTable
from autotts_gym.replay.probing import longest
from autotts_gym.replay.store import MAX_TOKENS, ReplayStore
from autotts_gym.units import MILLION
from autotts_gym.validation import check, integer

WARP = 0.1
"""By about which share a branch of a twin is at most longer or shorter than the branch that it was made from."""

BLUR = 0.05
"""Standard deviation of what is added to a signal of a twin, as a share of that of the signal."""

JITTER = 16
"""What is at most added to or taken from a branch of a twin besides: millionths of the token unit, but one token."""


def twin(store: ReplayStore, seed: int = 0) -> ReplayStore:
    """Make a store on which a rule is as good as on this one, but a table of this one's branches is not.

    The pool of every question is put into another order. Every branch is stretched by a factor of its own and its text
    after the last probe changes by a few tokens, so that neither tokens nor depths nor the lengths of runs of an answer
    are those of any branch of the store. A drawn share of its beginning comes from another branch of the question with
    the same final answer, so that the order of answers is new as well. Each final answer stays as frequent as it
    is. Signals stay with their probes, and each changes a little; texts of questions are left out.

    Args:
        store: what was collected.
        seed: of the draws, a whole number of at least 0.

    Raises:
        AutottsError: the store or the seed is none.
    """
    check("store", store, isinstance(store, ReplayStore), "a ReplayStore")
    rng = np.random.default_rng([integer("seed", seed), 0x7714])
    bounds = store.branch_offsets
    branches = np.concatenate([rng.permutation(np.arange(*pair)) for pair in pairwise(bounds)])
    factors = np.exp(rng.uniform(-WARP, WARP, branches.size))
    most = max(JITTER * store.token_unit // MILLION, 1)
    jitter = rng.integers(1, most, branches.size, endpoint=True) * rng.choice((-1, 1), branches.size)
    made = _Stretched(store, branches, factors, rest=factors, jitter=jitter)
    made.begin_as(_like(store, branches, rng), rng.random(branches.size))
    made.blur(rng)
    return made.store(np.diff(bounds), store.model, {"twin": {"seed": seed}})


def halved(
    store: ReplayStore, rng: np.random.Generator, stretch: tuple[float, float], tilt: float, model: str
) -> ReplayStore:
    """A store of the same questions, each with half of its pool, tilted and stretched, as if from another model.

    Args:
        store: what was collected.
        rng: of the draws.
        stretch: range from which each question draws, log-uniformly, the factor of its branches' lengths.
        tilt: standard deviation of the log-odds by which right branches are drawn more often than wrong ones.
        model: the name of the model.
    """
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
    limit = int(np.diff(store.probe_offsets).max())
    made = _Stretched(store, np.concatenate(picked), np.concatenate(factors), limit=limit)
    sizes = np.array([each.size for each in picked])
    return made.store(sizes, model, {"variant": {"stretch": list(stretch), "tilt": tilt}})


class _Stretched:
    """Branches of a store, each longer or shorter by a factor.

    Args:
        store: what was collected.
        branches: (NB',) int64 numbers of branches, question by question.
        factors: (NB',) float64, of their depths.
        limit: depth at which branches are cut off; they then end with what they show there. None: none is.
        rest: (NB',) float64, factors of the tokens after the last probe; None: they stay.
        jitter: (NB',) int64, tokens that are added to those; None: none.
    """

    def __init__(
        self,
        store: ReplayStore,
        branches: NDArray[np.int64],
        factors: NDArray[np.float64],
        *,
        limit: int | None = None,
        rest: NDArray[np.float64] | None = None,
        jitter: NDArray[np.int64] | None = None,
    ) -> None:
        self._store, self._branches = store, branches
        offsets, interval = store.probe_offsets, store.interval_tokens
        known = np.diff(offsets)[branches]
        wanted = np.where(known, np.maximum(1, np.rint(known * factors)), 0).astype(np.int64)
        self._depths = wanted if limit is None else np.minimum(wanted, limit)
        cut = self._depths < wanted
        ends = np.cumsum(self._depths)
        self._within = np.arange(self._depths.sum()) - self._spread(ends - self._depths)
        at = np.minimum((self._within / self._spread(factors)).astype(np.int64), self._spread(known - 1))
        self._source = self._spread(offsets[branches]) + at  # of each probe: the one that it repeats
        tokens = store.tokens[branches]
        after = tokens - known * interval
        if rest is not None and jitter is not None:
            fits = tokens <= longest(known, interval)
            room = longest(self._depths, interval) - self._depths * interval
            room = np.where(fits, room, np.maximum(room, after))  # the source's probes may be missing already
            after = _jittered(after, np.rint(after * rest).astype(np.int64) + jitter, self._depths, room, interval)
        else:  # of a branch that ended before its first probe, all tokens are stretched
            after = np.where(known > 0, after, np.rint(tokens * factors)).astype(np.int64)
        self._tokens = np.clip(self._depths * interval + np.where(cut, 0, after), 1, MAX_TOKENS)
        self._finals = store.finals[branches].copy()
        self._signals = {name: signal[self._source] for name, signal in store.signals.items()}
        self._finals[cut] = store.probes[self._source[ends[cut] - 1]]

    def _spread(self, values: NDArray[Any]) -> NDArray[Any]:
        """A value a branch as a value a probe."""
        return np.repeat(values, self._depths)

    def begin_as(self, others: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
        """Replace the first share of every branch by the same share of another branch."""
        offsets = self._store.probe_offsets
        known = np.diff(offsets)[others]
        place = self._within / self._spread(self._depths)
        at = (place * self._spread(known)).astype(np.int64)
        first = place < self._spread(shares)
        # The last probe stays, as the branch continues from it to its final answer.
        first &= (self._within < self._spread(self._depths) - 1) & (self._spread(known) > 0)
        self._source[first] = (self._spread(offsets[others]) + at)[first]
        probed = self._depths > 0
        self._source[np.cumsum(self._depths)[probed] - 1] = offsets[self._branches[probed] + 1] - 1
        self._signals = {name: signal[self._source] for name, signal in self._store.signals.items()}

    def blur(self, rng: np.random.Generator) -> None:
        """Change every number of a signal a little, within its range: what would leave it is reflected at its end.

        So none is that of the store, as far as float32 has numbers in between.
        """
        for name, values in self._signals.items():
            if values.size:
                wide = values.astype(np.float64)  # sums of squares of large numbers are beyond float32
                low, high = wide.min(), wide.max()
                blurred = wide + rng.normal(0.0, BLUR * wide.std(), wide.size)
                blurred = low + np.abs(blurred - low)
                blurred = high - np.abs(high - blurred)
                self._signals[name] = np.clip(blurred, low, high).astype(np.float32)

    def store(self, sizes: NDArray[np.int64], model: str, attributes: dict[str, object]) -> ReplayStore:
        """Make a store of all of them, with so many branches a question."""
        store = self._store
        return ReplayStore(
            Columns(
                branch_offsets=np.concatenate(([0], np.cumsum(sizes, dtype=np.int64))),
                probe_offsets=np.concatenate(([0], np.cumsum(self._depths))),
                answer_offsets=store.answer_offsets,
                probes=store.probes[self._source],
                tokens=self._tokens.astype(np.int32),
                finals=self._finals.astype(np.int32),
                gold=store.gold,
            ),
            StringTable.of("answers", (answer for q in range(store.num_questions) for answer in store.answers(q))),
            StringTable.of("questions", ("" for _ in range(store.num_questions))),
            model=model,
            benchmark=store.benchmark,
            interval_tokens=store.interval_tokens,
            attributes={**store.attributes, **attributes},
            signals=self._signals,
        )


def _jittered(
    before: NDArray[np.int64],
    after: NDArray[np.int64],
    depths: NDArray[np.int64],
    room: NDArray[np.int64],
    interval: int,
) -> NDArray[np.int64]:
    """Tokens after the last probe that still fit the number of probes.

    A branch that ended within its last interval still does, and one that wrote on still does, as far as there is room.
    """
    inside = np.clip(after, 1 - interval, 0)
    beyond = np.clip(after, 1, room)
    probed = np.where(before <= 0, inside, beyond)
    return np.where(depths > 0, probed, np.clip(after, 1, room))


def _like(store: ReplayStore, branches: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """For each branch another one of its question with the same final answer, itself where there is none."""
    questions = np.repeat(np.arange(store.num_questions), np.diff(store.branch_offsets))[branches]
    order = np.lexsort((rng.random(branches.size), store.finals[branches], questions))
    groups = np.stack([questions, store.finals[branches]])[:, order]
    first = np.flatnonzero(np.concatenate(([True], (np.diff(groups) != 0).any(axis=0))))
    following = np.arange(1, branches.size + 1)
    following[np.append(first[1:], branches.size) - 1] = first  # the last of a group is followed by its first
    others = np.empty_like(branches)
    others[order] = branches[order[following]]
    return others
