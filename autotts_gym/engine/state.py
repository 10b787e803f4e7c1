"""The state of N episodes and the two ways to advance it: a primitive action each, or a round each."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotts_gym.engine import entries, layout, transition
from autotts_gym.engine.bank import Bank
from autotts_gym.engine.fitting import pack
from autotts_gym.engine.layout import Arrays, RevealedArrays
from autotts_gym.engine.plan import RoundPlan, arrays_of
from autotts_gym.engine.revealed import EpisodeRecord, Revealed
from autotts_gym.engine.rules import Rules
from autotts_gym.engine.votes import confidence_table
from autotts_gym.errors import AutottsError, ControllerError, StoreError, plain
from autotts_gym.memory import require_memory
from autotts_gym.replay.pools import pool_order
from autotts_gym.validation import (
    check,
    choice,
    integer,
    integers,
    is_integer,
    numbers,
    read_only,
    shaped,
    spread,
    within,
)

_COUNTED = ("total_tokens", "sequential_tokens", "opened", "pruned")


class PoolState:
    """N episodes side by side: a handful of contiguous arrays, allocated once.

    Attributes:
        bank: where the branches come from.
        rules: what holds in every episode.
        arrays: all of the state.
        addresses: the same, as the kernels take it.
    """

    def __init__(self, bank: Bank, episodes: int, rules: Rules) -> None:
        """Allocate episodes, none of which has begun.

        Raises:
            AutottsError: there are to be no episodes, or more than this machine has memory for; or an argument is none.
            StoreError: probes are to be asked for where there are none.
        """
        check("bank", bank, isinstance(bank, Bank), "a Bank")
        check("rules", rules, isinstance(rules, Rules), "Rules")
        integer("episodes", episodes, 1)
        if rules.probe == "explicit" and bank.probeless:
            names = plain(", ".join(bank.probeless))
            raise StoreError(
                f"probe: expected 'auto' on a store without probes, got 'explicit', but {names} has none to reveal: "
                "the answer of a branch shows when it finishes"
            )
        self.bank = bank
        self.rules = rules
        self.arrays = self._allocate(int(episodes))
        self._aim()

    def _sizes(self, episodes: int) -> layout.Sizes:
        bank, rules = self.bank, self.rules
        explicit = rules.probe == "explicit"
        slots = int(rules.max_branches)
        sizes = layout.Sizes.of(episodes, slots, explicit, bank.max_answers, bank.max_probes, bank.changes(slots))
        return sizes._replace(
            votes=self._most_votes + 1,
            rewarded=0 if rules.own_reward is None else episodes,
            signals=len(bank.signal_names),
            signal_depths=bank.max_probes if bank.signal_names else 0,
            questions=len(bank.questions),
            branches=len(bank.branches),
            probes=len(bank.probes),
        )

    @property
    def _most_votes(self) -> int:
        return min(int(self.rules.max_branches), self.bank.max_branches)

    def _given(self) -> dict[str, NDArray[Any]]:
        """The arrays that are shared by all states: the bank's, and what never changes."""
        columns = {name: getattr(self.bank, name) for name in layout.named(layout.BANK)}
        return {"confidence": confidence_table(self._most_votes), **columns}

    def _allocate(self, episodes: int) -> Arrays:
        """Fresh arrays, blank but for those that are shared."""
        sizes = self._sizes(episodes)
        what = f"max_branches: {self.rules.max_branches} in each of {episodes} episodes side by side"
        require_memory(what, layout.footprint(sizes))
        return Arrays(**layout.allocate(sizes) | {"rules": self.rules.record()}, **self._given())

    @classmethod
    def begun(
        cls, bank: Bank, rules: Rules, seeds: NDArray[np.integer[Any]], questions: NDArray[np.integer[Any]]
    ) -> "PoolState":
        """Episodes that have begun on published orders, one a pair of seed and question, (N,) each; see ``restart``."""
        state = cls(bank, len(questions), rules)
        state.restart(seeds, questions)
        return state

    def restart(self, seeds: NDArray[np.integer[Any]], questions: NDArray[np.integer[Any]]) -> None:
        """Begin all episodes anew on published orders, see ``shuffle``.

        What else is drawn of an episode, such as its cost weight, follows from its seed and its question alone.

        Args:
            seeds: (N,) int64.
            questions: (N,) int64, numbered through the bank.

        Raises:
            AutottsError: an array has another shape or dtype, or there is no such question.
        """
        seeds = shaped("seeds", seeds, np.int64, self._rows)
        questions = numbers("questions", questions, self._rows, self.bank.num_questions)
        every = np.ones(self.episodes, np.bool_)
        self.seed(seeds.astype(np.uint64) << np.uint64(32) ^ questions.astype(np.uint64), every)
        self.begin(every, questions)
        self.shuffle(every, seeds)

    def _aim(self) -> None:
        """Make the addresses of the arrays, and the views of what is revealed."""
        self._pack()
        shown = {name: read_only(getattr(self.arrays, name)) for name in RevealedArrays._fields}
        self._revealed = Revealed(self.rules, RevealedArrays(**shown), self.bank.signal_names)

    def _pack(self) -> None:
        own = {"reward": self.rules.own_reward, "aggregator": self.rules.own_aggregator}
        used = {name: each.address for name, each in own.items() if each is not None}
        self._ready = {**entries.loaded}
        self.addresses = pack(self.arrays, used | self._ready)

    def require(self, *names: str) -> None:
        """Give kernels the addresses of functions of the transition; compile or load them if this process has not yet.

        Args:
            names: "begin", "perform" or "play_round". A kernel that calls another raises ``RuntimeError``.

        Raises:
            AutottsError: there is no such function.
        """
        for name in names:
            if not isinstance(name, str) or name not in self._ready:
                entries.load(choice("name", name, entries.NAMES))
                self._pack()

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a pickle: without shared arrays (the bank has them), addresses and unused memory."""
        own = {name: getattr(self.arrays, name) for name in layout.named(layout.REVEALED, layout.HIDDEN)}
        own["history"] = self.arrays.history[:, : int(self.arrays.pools["recorded"].max())].copy()
        return {"bank": self.bank, "rules": self.rules, "own": own}

    def __setstate__(self, members: dict[str, Any]) -> None:
        """Restore a copy with arrays, ``Addresses`` and views of its own."""
        self.bank = members["bank"]
        self.rules = members["rules"]
        own = dict(members["own"])
        recorded = own.pop("history")
        history = np.zeros((len(recorded), self._sizes(1).changes), layout.CHANGE)
        history[:, : recorded.shape[1]] = recorded
        self.arrays = Arrays(history=history, **own, **self._given())
        self._aim()

    @property
    def episodes(self) -> int:
        """The number N of episodes."""
        return len(self.arrays.pools)

    @property
    def revealed(self) -> Revealed:
        """Read-only views of what is revealed."""
        return self._revealed

    @property
    def pools(self) -> NDArray[np.void]:
        """What is revealed of each episode, (N,) POOL."""
        return self.arrays.pools

    @property
    def slots(self) -> NDArray[np.void]:
        """What is revealed of each branch slot, (N, M) SLOT."""
        return self.arrays.slots

    @property
    def admissible(self) -> NDArray[np.int8]:
        """The action masks, (N, actions) int8."""
        return self.arrays.admissible

    @property
    def running(self) -> NDArray[np.bool_]:
        """Which episodes have not ended, (N,) bool."""
        running: NDArray[np.bool_] = self.arrays.pools["stop_reason"] == layout.RUNNING
        return running

    @property
    def questions(self) -> NDArray[np.int64]:
        """The question of each episode, numbered through the bank, (N,) int64."""
        return self.arrays.hidden_pools["question"]

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether the answer given at the end is the gold answer, (N,) bool.

        False while an episode runs, and where its question is unlabelled.
        """
        return self.arrays.hidden_pools["correct"]

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """Whether the question of each episode has a gold answer, (N,) bool."""
        labelled: NDArray[np.bool_] = self.bank.questions["gold"][self.questions] >= 0
        return labelled

    def agreed(self) -> NDArray[np.bool_]:
        """Whether the answer given at the end is the majority of the question's whole pool, (N,) bool."""
        rows, answers = np.arange(self.episodes), self.pools["answer"]
        given = self.arrays.stored_ids[rows, answers]
        agreed: NDArray[np.bool_] = (answers >= 0) & (given == self.bank.majorities[self.questions])
        return agreed

    def _mask(self, chosen: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
        """The chosen rows as a mask; None: all."""
        return np.ones(self.episodes, np.bool_) if chosen is None else shaped("chosen", chosen, np.bool_, self._rows)

    @property
    def _rows(self) -> tuple[int]:
        return (self.episodes,)

    def seed(self, streams: NDArray[np.uint64], chosen: NDArray[np.bool_] | None = None) -> None:
        """Key the streams from which the chosen episodes, and all that follow them, are drawn.

        Args:
            streams: (K,) uint64, one a chosen row.
            chosen: (N,) bool, which rows; None: all.

        Raises:
            AutottsError: an array has another shape or dtype.
        """
        chosen = self._mask(chosen)
        streams = shaped("streams", streams, np.uint64, (int(np.count_nonzero(chosen)),))
        self.arrays.hidden_pools["stream"][chosen] = streams
        self.arrays.hidden_pools["episode"][chosen] = 0

    def begin(
        self,
        chosen: NDArray[np.bool_] | None = None,
        questions: NDArray[np.integer[Any]] | int = -1,
    ) -> None:
        """Begin episodes, whose branches are drawn from the pool without replacement, one ahead of what is opened.

        Args:
            chosen: (N,) bool, which rows; None: all.
            questions: (N,) or one for all, numbered through the bank; -1: drawn.

        Raises:
            AutottsError: an array has another shape or dtype, or there is no such question.
        """
        chosen = self._mask(chosen)
        picks = spread("question", questions, np.int64, self.episodes)
        wrong = picks[chosen & ((picks < -1) | (picks >= self.bank.num_questions))]
        if wrong.size:
            raise AutottsError(f"question: expected 0 .. {self.bank.num_questions - 1}, got {wrong[0]}")
        self.require("begin")
        transition.begin_all(self.addresses, chosen, picks)

    def deal(self, chosen: NDArray[np.bool_], orders: NDArray[np.int32]) -> None:
        """Give episodes that have just begun the order of their pools instead of a drawn one.

        Args:
            chosen: (N,) bool, which rows.
            orders: (N, M) int32, the positions in the question's pool that slots 0, 1, ... hold.

        Raises:
            AutottsError: an array has another shape or dtype, the orders of an episode name a position outside its
                pool, or one twice, or it has not just begun.
        """
        chosen = self._mask(chosen)
        orders = shaped("orders", orders, np.int32, self.slots.shape)
        held = np.arange(orders.shape[1]) < self.pools["slots"][:, None]
        outside = (orders < 0) | (orders >= self.arrays.hidden_pools["branches"][:, None])
        if (outside & held)[chosen].any():
            raise AutottsError("orders: expected positions within each episode's pool")
        each = np.sort(np.where(held, orders, -1 - np.arange(orders.shape[1]))[chosen])
        if (each[:, 1:] == each[:, :-1]).any():
            raise AutottsError("orders: expected each position of a pool at most once")
        self._deal(chosen, orders)

    def _deal(self, chosen: NDArray[np.bool_], orders: NDArray[np.int32]) -> None:
        """Deal orders that are right to episodes that may not have just begun."""
        fresh = self.running & (self.pools["opened"] == 0)
        if not fresh[chosen].all():
            raise AutottsError("orders: expected episodes that have just begun; call begin before deal or shuffle")
        transition.deal_all(self.addresses, chosen, orders)

    def shuffle(self, chosen: NDArray[np.bool_], seeds: NDArray[np.integer[Any]]) -> None:
        """Give episodes that have just begun the published orders of their pools.

        Args:
            chosen: (N,) bool, which rows.
            seeds: (N,) int64, each giving the order of ``random.Random(seed).shuffle``; see ``replay.pool_order``.

        Raises:
            AutottsError: an array has another shape or dtype, or an episode has not just begun.
        """
        chosen, seeds = self._mask(chosen), shaped("seeds", seeds, np.int64, self._rows)
        rows = np.flatnonzero(chosen)
        drawn = np.stack([seeds[rows], self.arrays.hidden_pools["branches"][rows]], axis=1)
        pairs, pair_of_row = np.unique(drawn, axis=0, return_inverse=True)  # questions of one size share an order
        kept = np.zeros((len(pairs), self.rules.max_branches), np.int32)
        for order, (seed, size) in zip(kept, pairs.tolist(), strict=True):
            order[:size] = pool_order(seed, size)[: len(order)]
        orders = np.zeros(self.slots.shape, np.int32)
        orders[rows] = kept[pair_of_row.reshape(-1)]
        self._deal(chosen, orders)

    def imitate(self, other: "PoolState") -> None:
        """Take over the episodes of another state.

        Raises:
            AutottsError: it is none of the same bank, rules and size.
        """
        alike = isinstance(other, PoolState) and other.bank is self.bank and other.rules == self.rules
        good = alike and other.episodes == self.episodes
        check("other", other, good, "a state of the same bank, rules and size")
        recorded = int(other.pools["recorded"].max())
        for name in layout.BY_EPISODE:
            ours, theirs = getattr(self.arrays, name), getattr(other.arrays, name)
            part = (slice(None), slice(recorded)) if name == "history" else ()
            np.copyto(ours[part], theirs[part])

    def truncate(self, chosen: NDArray[np.bool_]) -> None:
        """End running episodes without an answer.

        Args:
            chosen: (N,) bool, which rows.

        Raises:
            AutottsError: the array has another shape or dtype.
        """
        rows = self._mask(chosen) & self.running
        self.pools["stop_reason"][rows] = layout.TRUNCATED
        self.admissible[rows] = 0
        self.admissible[rows, layout.STOP] = 1

    def act(self, actions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Take one primitive action in every running episode.

        Args:
            actions: (N,) int64, each in [0, number of actions).

        Returns:
            (N,) bool, whether the action was admissible; one that was not did nothing.

        Raises:
            AutottsError: there is not one whole number for every episode, or one is not in the action space.
        """
        actions = numbers("actions", actions, self._rows, self.admissible.shape[1])
        valid = np.empty(self.episodes, np.bool_)
        self.require("perform")
        transition.act_all(self.addresses, actions, valid)
        return valid

    def play(self, plan: RoundPlan) -> int:
        """Play one round in every running episode.

        Returns:
            How many episodes still run.

        Raises:
            AutottsError: the plan is for another number of episodes or slots.
            ControllerError: an episode is stopped with an answer that it has not seen; nothing is done.
        """
        self.require("play_round")
        running = int(transition.play_rounds(self.addresses, arrays_of(plan, self.slots.shape)))
        if running < 0:
            n = -running - 1
            raise ControllerError(
                f"answer: expected an id of one of the {self.pools['answers_seen'][n]} answers that episode {n} has "
                f"seen, or -1, got {plan.answer[n]}"
            )
        return running

    def history(self, n: int, i: int) -> NDArray[np.int32]:
        """The answers revealed on a branch; see ``Revealed.history``."""
        return self._revealed.history(n, i)

    def reveals(
        self, rows: NDArray[np.int64], slots: NDArray[np.int64], starts: NDArray[np.int64]
    ) -> NDArray[np.int32]:
        """The answers revealed on many branches beyond a depth; see ``Revealed.reveals``."""
        return self._revealed.reveals(rows, slots, starts)

    def outcomes(self, answers: bool) -> dict[str, NDArray[Any]]:
        """The outcomes of the episodes, a fresh array (N,) for each of ``layout.COUNTS``.

        Args:
            answers: whether also ``answers``, the strings of the answers given; None: none.

        Raises:
            AutottsError: ``answers`` is no truth value.
        """
        check("answers", answers, isinstance(answers, bool), "True or False")
        counts = (self.correct, *(self.pools[name] for name in _COUNTED))
        outcomes: dict[str, NDArray[Any]] = {
            name: values.copy() for name, values in zip(layout.COUNTS, counts, strict=True)
        }
        if answers:
            outcomes["answers"] = self.answer_texts(np.arange(self.episodes), self.pools["answer"])
        return outcomes

    def record(self, n: int) -> EpisodeRecord:
        """A record of episode n at present, for people.

        Raises:
            AutottsError: there is no such episode.
        """
        integer("n", n, 0, self.episodes - 1)
        own: dict[str, NDArray[Any]] = self._revealed.arrays._asdict()
        shown = {name: array[n : n + 1] if name in layout.BY_EPISODE else array for name, array in own.items()}
        seen = int(self.pools["answers_seen"][n])
        texts = self.answer_texts(np.full(seen, n), np.arange(seen))
        store, question = self.bank.locate(int(self.questions[n]))
        stopped = self.pools["stop_reason"][n] not in (layout.RUNNING, layout.TRUNCATED)
        return EpisodeRecord(
            revealed=Revealed(
                self.rules,
                RevealedArrays(**{name: read_only(array.copy()) for name, array in shown.items()}),
                self.bank.signal_names,
            ),
            texts=tuple(texts.tolist()),
            store=f"{store.model}/{store.benchmark}",
            question=question,
            correct=bool(self.correct[n]) if stopped and self.labelled[n] else None,
        )

    def answer_text(self, n: int, answer: int) -> str | None:
        """The string of an answer of episode n by its local id; None for -1.

        Raises:
            AutottsError: there is no such episode, or it has not seen such an answer.
        """
        integer("n", n, 0, self.episodes - 1)
        check("answer", answer, is_integer(answer, -1), integers(-1))
        text: str | None = self.answer_texts(np.array([n]), np.array([answer]))[0]
        return text

    def answer_texts(self, rows: Any, answers: Any) -> NDArray[np.object_]:
        """The strings of answers by their local ids, one an episode of ``rows``, (K,) object; None for -1.

        Raises:
            AutottsError: there are no such episodes, or they have not seen such answers.
        """
        rows = shaped("rows", rows, np.int64, None)
        answers = shaped("answers", answers, np.int64, rows.shape)
        within("rows", rows, 0, self.episodes - 1)
        if ((answers < -1) | (answers >= self.pools["answers_seen"][rows])).any():
            raise AutottsError("answers: expected local ids of answers that the episodes have seen, or -1")
        first_answers = self.bank.questions["first_answer"][self.questions[rows]]
        known = np.where(answers < 0, -1, first_answers + self.arrays.stored_ids[rows, answers])
        return self.bank.answer_texts(known)
