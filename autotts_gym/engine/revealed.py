"""What episodes have revealed: the only data that a controller, a policy, a macro or a picture is given.

Everything here is, or follows from, the revealed arrays of layout.py: no reference leads from it to the state, to the
bank or to a gold answer.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotts_gym.engine import transition
from autotts_gym.engine.addresses import Addresses
from autotts_gym.engine.fitting import pack
from autotts_gym.engine.layout import RevealedArrays
from autotts_gym.engine.rules import Rules
from autotts_gym.errors import AutottsError
from autotts_gym.validation import choice, integer, shaped, within


@dataclass(frozen=True, eq=False)
class Revealed:
    """What N episodes have revealed, and all that a controller is given; read-only views of the state.

    Answers are episode-local ids, numbered in the order in which they were first seen.

    Attributes:
        rules: what holds in every episode.
        arrays: all that follows.
        signal_names: the signals that every store has, in the order of the arrays.
        addresses: the same, as the kernels take it; it leads to nothing else.
    """

    rules: Rules
    arrays: RevealedArrays
    signal_names: tuple[str, ...] = ()
    addresses: Addresses = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check that the arrays fit together, as kernels rely on it.

        Raises:
            AutottsError: an array has another dtype or shape than the others imply.
        """
        object.__setattr__(self, "addresses", pack(self.arrays))

    def __reduce__(self) -> tuple[type["Revealed"], tuple[Rules, RevealedArrays, tuple[str, ...]]]:
        """Pickle the arrays without the addresses: a copy has its own."""
        return Revealed, (self.rules, self.arrays, self.signal_names)

    def priced(self, cost_weight: float, latency_weight: float) -> "Revealed":
        """The same under other weights, for an observer with other prices of tokens; a copy of the pools.

        Args:
            cost_weight: reward per token unit of total tokens.
            latency_weight: reward per token unit of sequential tokens.
        """
        pools: NDArray[Any] = np.array(self.pools)
        pools["cost_weight"], pools["latency_weight"] = cost_weight, latency_weight
        return Revealed(self.rules, self.arrays._replace(pools=pools), self.signal_names)

    @property
    def episodes(self) -> int:
        """The number N of episodes."""
        return len(self.arrays.pools)

    @property
    def pools(self) -> NDArray[np.void]:
        """The records of the episodes, (N,) POOL."""
        return self.arrays.pools

    @property
    def slots(self) -> NDArray[np.void]:
        """The records of the branch slots, (N, M) SLOT."""
        return self.arrays.slots

    @property
    def votes(self) -> NDArray[np.int32]:
        """By answer id, how many branches not pruned have it as their latest answer, (N, most answers seen) int32."""
        return self._of_answers("votes")

    @property
    def finished_votes(self) -> NDArray[np.int32]:
        """By answer id, how many finished branches gave it, (N, most answers seen) int32."""
        return self._of_answers("finished_votes")

    @property
    def abandoned(self) -> NDArray[np.int32]:
        """By answer id, how many branches have shown it and show another or none now, (N, most answers seen) int32."""
        return self._of_answers("abandoned")

    def _of_answers(self, name: str) -> NDArray[np.int32]:
        """A field of the answers seen, up to the most of an episode: the number of answers in the pool is hidden."""
        return self.arrays.answers[name][:, : int(self.pools["answers_seen"].max())]

    @property
    def admissible(self) -> NDArray[np.int8]:
        """The masks of the primitive actions, (N, actions) int8."""
        return self.arrays.admissible

    def _signal(self, name: str) -> int:
        return self.signal_names.index(choice("signal", name, self.signal_names))

    def signal(self, name: str) -> NDArray[np.void]:
        """The latest record of a signal for each branch slot, (N, M) SIGNAL.

        Args:
            name: one of ``signal_names``.

        Raises:
            AutottsError: not every store has such a signal.
        """
        return self.arrays.signals[:, :, self._signal(name)]

    def signal_history(self, n: int, i: int, name: str) -> NDArray[np.float32]:
        """A signal of branch i of episode n at depths 1 .. depth, (depth,) float32.

        Raises:
            AutottsError: there is no such episode, no such branch slot, or no such signal.
        """
        integer("n", n, 0, self.episodes - 1)
        integer("i", i, 0, self.rules.max_branches - 1)
        depth = int(self.slots["depth"][n, i])
        return self.arrays.signal_history[n, i, :depth, self._signal(name)].copy()

    def history(self, n: int, i: int) -> NDArray[np.int32]:
        """The answers revealed at depths 1 .. depth of branch i of episode n, as local ids; -1: none, or not probed.

        Raises:
            AutottsError: there is no such episode, or no such branch slot.
        """
        integer("n", n, 0, self.episodes - 1)
        integer("i", i, 0, self.rules.max_branches - 1)
        return self._reveals(*np.array([[n], [i], [0]], np.int64))

    def reveals(
        self, rows: NDArray[np.int64], slots: NDArray[np.int64], starts: NDArray[np.int64]
    ) -> NDArray[np.int32]:
        """The answers revealed at depths ``starts`` + 1 .. depth of many branches, one after the other.

        Args:
            rows: (K,) int64, episodes.
            slots: (K,) int64, a branch of each.
            starts: (K,) int64, from 0 to its depth.

        Raises:
            AutottsError: the arrays differ in shape, or there is no such episode, branch slot or depth.
        """
        rows = shaped("rows", rows, np.int64, None)
        slots, starts = shaped("slots", slots, np.int64, rows.shape), shaped("starts", starts, np.int64, rows.shape)
        within("rows", rows, 0, self.episodes - 1)
        within("slots", slots, 0, self.rules.max_branches - 1)
        if ((starts < 0) | (starts > self.slots["depth"][rows, slots])).any():
            raise AutottsError("starts: expected depths from 0 to each branch's own")
        return self._reveals(rows, slots, starts)

    def _reveals(
        self, rows: NDArray[np.int64], slots: NDArray[np.int64], starts: NDArray[np.int64]
    ) -> NDArray[np.int32]:
        out = np.empty(int((self.slots["depth"][rows, slots] - starts).sum()), np.int32)
        transition.reveals(self.addresses, rows, slots, starts, out)
        return out


@dataclass(frozen=True, eq=False)
class EpisodeRecord:
    """One episode at one moment, for people: copies of what it has revealed, with the strings of its answers.

    Attributes:
        revealed: of one episode (N = 1).
        texts: the answers seen, by local id.
        store: model and benchmark.
        question: its number in the store.
        correct: whether the answer given at the end is right; None while it runs, where it was cut off, and where the
            question is unlabelled.
    """

    revealed: Revealed
    texts: tuple[str, ...]
    store: str
    question: int
    correct: bool | None

    @property
    def pool(self) -> Any:
        """The record of the episode, a POOL."""
        return self.revealed.pools[0]

    @property
    def slots(self) -> NDArray[np.void]:
        """The branches opened, (opened,) SLOT."""
        return self.revealed.slots[0, : self.pool["opened"]]

    @property
    def answers(self) -> NDArray[np.void]:
        """The votes of the answers seen, (answers seen,) ANSWER."""
        return self.revealed.arrays.answers[0, : len(self.texts)]

    def record(self, n: int = 0) -> "EpisodeRecord":
        """Return itself: a record is drawn like a state of one episode.

        Raises:
            AutottsError: another episode than 0 is asked for.
        """
        integer("n", n, 0, 0)
        return self
