"""The state of N episodes and the two ways to advance it: a primitive action each, or a round each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotts_gym.engine import kernels, layout
from autotts_gym.engine.bank import Bank
from autotts_gym.engine.handle import pack
from autotts_gym.engine.layout import Arrays, RevealedArrays
from autotts_gym.engine.plan import RoundPlan
from autotts_gym.errors import ControllerError, StoreError, plain, quote
from autotts_gym.replay.pools import pool_order
from autotts_gym.validation import check, choice, is_real, is_whole, whole, wholes

_COLUMNS = ("questions", "branches", "probes")
"""The arrays of the state that are the bank's."""

_COUNTED = ("total_tokens", "sequential_tokens", "opened", "pruned")

ACCOUNTINGS = ("exact", "autotts")
PROBES = ("auto", "explicit")


@dataclass(frozen=True)
class Rules:
    """What an episode costs and when it ends.

    Attributes:
        max_branches: branch slots M of an episode.
        token_budget: total tokens an episode may spend; None: no limit.
        probe: "auto" (each interval reveals its probe) or "explicit" (PROBE actions do).
        probe_cost: tokens of an explicit probe (the paper's kappa); automatic probes cost none.
        accounting: "exact", or "autotts" (what the published code charges).
        cost_weight: reward lost per million total tokens; a pair (low, high) is drawn from log-uniformly each episode.
        latency_weight: reward lost per million sequential tokens.
        shaping: whether correctness is rewarded as the answer that STOP would give becomes right or wrong, not at the
            end; the return is the same.
        max_steps: transitions after which an episode is truncated; None: no limit.
        auto_stop: end an episode in which only STOP is admissible; otherwise its actor still names the answer.
    """

    max_branches: int = 64
    token_budget: int | None = None
    probe: str = "auto"
    probe_cost: int = 0
    accounting: str = "exact"
    cost_weight: float | tuple[float, float] = 0.0
    latency_weight: float = 0.0
    shaping: bool = False
    max_steps: int | None = None
    auto_stop: bool = False
    cost_weight_range: tuple[float, float] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            AutottsError: naming the field, what was expected and what came.
        """
        whole("max_branches", self.max_branches, 1)
        if self.token_budget is not None:
            check("token_budget", self.token_budget, is_whole(self.token_budget, 1), f"{wholes(1)} or None")
        choice("probe", self.probe, PROBES)
        whole("probe_cost", self.probe_cost)
        choice("accounting", self.accounting, ACCOUNTINGS)
        if self.max_steps is not None:
            check("max_steps", self.max_steps, is_whole(self.max_steps, 1), f"{wholes(1)} or None")
        check("latency_weight", self.latency_weight, is_real(self.latency_weight, 0), "a finite number of at least 0")
        check("shaping", self.shaping, isinstance(self.shaping, bool), "True or False")
        weight = self.cost_weight
        expected = "a finite number of at least 0, or a pair 0 < low <= high"
        if isinstance(weight, Sequence) and not isinstance(weight, str):
            pair = len(weight) == 2 and all(is_real(value, 0) for value in weight) and 0 < weight[0] <= weight[1]
            check("cost_weight", weight, pair, expected)
            low, high = float(weight[0]), float(weight[1])
        else:
            check("cost_weight", weight, is_real(weight, 0), expected)
            low = high = float(weight)
        object.__setattr__(self, "cost_weight_range", (low, high))

    def record(self) -> NDArray[np.void]:
        """The rules as the kernels read them, (1,) RULES."""
        record = np.zeros(1, layout.RULES)
        record["probe_cost"] = self.probe_cost
        record["token_budget"] = layout.UNLIMITED if self.token_budget is None else self.token_budget
        record["max_steps"] = layout.UNLIMITED if self.max_steps is None else self.max_steps
        record["cost_weight_low"], record["cost_weight_high"] = self.cost_weight_range
        record["latency_weight"] = self.latency_weight
        record["shaping"] = self.shaping
        record["max_branches"] = self.max_branches
        record["exact"] = self.accounting == "exact"
        record["explicit"] = self.probe == "explicit"
        record["auto_stop"] = self.auto_stop
        return record


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()
    view.setflags(write=False)
    return view


@dataclass(frozen=True)
class Revealed:
    """What N episodes have revealed, and all that a controller is given; read-only views of the state.

    Answers are episode-local ids, numbered in the order in which they were first seen.

    Attributes:
        rules: what holds in every episode.
        arrays: all that follows but the history, for kernels.
        history: ``history(n, i)`` gives the answers revealed at depths 1 .. depth of branch i of episode n.
        reveals: ``reveals(rows, slots, starts)`` gives those beyond the depths ``starts`` of many branches at once.
    """

    rules: Rules
    arrays: RevealedArrays
    history: Callable[[int, int], NDArray[np.int32]]
    reveals: Callable[[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]], NDArray[np.int32]]

    @property
    def episodes(self) -> int:
        """N."""
        return len(self.arrays.pools)

    @property
    def pools(self) -> NDArray[np.void]:
        """Per episode, (N,) POOL."""
        return self.arrays.pools

    @property
    def slots(self) -> NDArray[np.void]:
        """Per branch slot, (N, M) SLOT."""
        return self.arrays.slots

    @property
    def votes(self) -> NDArray[np.int32]:
        """By answer id, branches not pruned whose latest answer it is, (N, most answers seen) int32."""
        return self._of_answers("votes")

    @property
    def finished_votes(self) -> NDArray[np.int32]:
        """By answer id, finished branches that gave it, (N, most answers seen) int32."""
        return self._of_answers("finished_votes")

    @property
    def abandoned(self) -> NDArray[np.int32]:
        """By answer id, branches that have shown it and show another or none now, (N, most answers seen) int32."""
        return self._of_answers("abandoned")

    def _of_answers(self, name: str) -> NDArray[np.int32]:
        """A field of the answers seen, up to the most of an episode; how many there are to see is not revealed."""
        return self.arrays.answers[name][:, : int(self.pools["answers_seen"].max())]

    @property
    def admissible(self) -> NDArray[np.int8]:
        """The masks of the primitive actions, (N, actions) int8."""
        return self.arrays.admissible


class PoolState:
    """N episodes side by side: a handful of contiguous arrays, allocated once.

    Attributes:
        bank: where the branches come from.
        rules: what holds in every episode.
        arrays: all of the state.
        handle: the same, as the kernels take it.
    """

    def __init__(self, bank: Bank, episodes: int, rules: Rules) -> None:
        if rules.probe == "explicit" and bank.probeless:
            names = plain(", ".join(bank.probeless))
            raise StoreError(
                f"probe: expected 'auto' on a store without probes, got 'explicit', but {names} has none to reveal: "
                "the answer of a branch shows when it finishes"
            )
        shape = (episodes, rules.max_branches)
        explicit = rules.probe == "explicit"
        answers = max(bank.max_answers, 1)
        self.bank = bank
        self.rules = rules
        self.arrays = Arrays(
            rules=rules.record(),
            pools=np.zeros(episodes, layout.POOL),
            slots=np.zeros(shape, layout.SLOT),
            answers=np.zeros((episodes, answers), layout.ANSWER),
            finished_answers=np.full(shape, -1, np.int32),
            tally=np.zeros((episodes, rules.max_branches + 1), np.int32),
            admissible=np.zeros((episodes, layout.actions(rules.max_branches, explicit)), np.int8),
            probed=np.zeros((*shape, bank.max_probes if explicit else 0), np.bool_),
            hidden_pools=np.zeros(episodes, layout.HIDDEN_POOL),
            hidden_slots=np.zeros(shape, layout.HIDDEN_SLOT),
            drawn=np.zeros(shape, np.int32),
            displaced=np.zeros(shape, np.int32),
            local_ids=np.zeros((episodes, answers), np.int32),
            stored_ids=np.zeros((episodes, answers), np.int32),
            **{name: getattr(bank, name) for name in _COLUMNS},
        )
        self.arrays.slots["answer"] = -1
        self.arrays.slots["rank"] = -1
        self.arrays.hidden_slots["branch"] = -1
        self.arrays.pools["stop_reason"] = layout.TRUNCATED
        for name in ("leader", "finished_leader", "answer"):
            self.arrays.pools[name] = -1
        self._aim()

    @classmethod
    def begun(
        cls, bank: Bank, rules: Rules, seeds: NDArray[np.integer[Any]], questions: NDArray[np.integer[Any]]
    ) -> "PoolState":
        """Episodes that have begun on published orders, one a pair of seed and question, (N,) each; see ``shuffle``."""
        state = cls(bank, len(questions), rules)
        every = np.ones(len(questions), np.bool_)
        state.begin(every, questions)
        state.shuffle(every, seeds)
        return state

    def _aim(self) -> None:
        """What points to the arrays."""
        self.handle = pack(self.arrays)
        self._shown = RevealedArrays(*(_read_only(getattr(self.arrays, name)) for name in RevealedArrays._fields))

    def __getstate__(self) -> dict[str, Any]:
        """Travels without the bank's columns, which the bank brings, and without addresses."""
        own = {name: array for name, array in self.arrays._asdict().items() if name not in _COLUMNS}
        return {"bank": self.bank, "rules": self.rules, "own": own}

    def __setstate__(self, members: dict[str, Any]) -> None:
        """A copy has arrays of its own, and so a handle and views of its own."""
        self.bank = members["bank"]
        self.rules = members["rules"]
        self.arrays = Arrays(**members["own"], **{name: getattr(self.bank, name) for name in _COLUMNS})
        self._aim()

    @property
    def episodes(self) -> int:
        """N."""
        return len(self.arrays.pools)

    @property
    def revealed(self) -> Revealed:
        """Read-only views of what is revealed."""
        return Revealed(self.rules, self._shown, self.history, self.reveals)

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

    def seed(self, streams: NDArray[np.uint64], chosen: NDArray[np.bool_] | slice = slice(None)) -> None:
        """Key the streams from which the chosen episodes, and all that follow them, are drawn."""
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
            ValueError: there is no such question.
        """
        if chosen is None:
            chosen = np.ones(self.episodes, np.bool_)
        picks = np.empty(self.episodes, np.int64)
        picks[:] = questions
        if (chosen & ((picks < -1) | (picks >= self.bank.num_questions))).any():
            raise ValueError(
                f"question: expected 0 .. {self.bank.num_questions - 1}, got {quote(picks[chosen].tolist())}"
            )
        kernels.begin_all(self.handle, chosen, picks)

    def deal(self, chosen: NDArray[np.bool_], orders: NDArray[np.int32]) -> None:
        """Give episodes that have just begun the order of their pools instead of a drawn one.

        Args:
            chosen: (N,) bool, which rows.
            orders: (N, M) int32, the positions in the question's pool that slots 0, 1, ... hold.

        Raises:
            ValueError: the orders have another shape, or name a position outside a pool.
        """
        if orders.shape != self.slots.shape:
            raise ValueError(f"orders: expected shape {self.slots.shape}, got {orders.shape}")
        held = np.arange(orders.shape[1]) < self.pools["slots"][:, None]
        outside = (orders < 0) | (orders >= self.arrays.hidden_pools["branches"][:, None])
        if (outside & held)[chosen].any():
            raise ValueError("orders: expected positions within each episode's pool")
        kernels.deal_all(self.handle, chosen, orders)

    def shuffle(self, chosen: NDArray[np.bool_], seeds: NDArray[np.integer[Any]]) -> None:
        """Give episodes that have just begun the published orders of their pools.

        Args:
            chosen: (N,) bool, which rows.
            seeds: (N,), each giving the order of ``random.Random(seed).shuffle``; see ``replay.pool_order``.
        """
        orders = np.zeros(self.slots.shape, np.int32)
        sizes = self.arrays.hidden_pools["branches"]
        for n in np.flatnonzero(chosen):
            held = pool_order(int(seeds[n]), int(sizes[n]))[: self.rules.max_branches]
            orders[n, : len(held)] = held
        self.deal(chosen, orders)

    def act(self, actions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Take one primitive action in every running episode.

        Args:
            actions: (N,) int64, each in [0, number of actions).

        Returns:
            (N,) bool, whether the action was admissible; one that was not did nothing.

        Raises:
            ValueError: there is not one action for every episode, or one is not in the action space.
        """
        actions = np.ascontiguousarray(actions, np.int64)
        count = self.admissible.shape[1]
        if actions.shape != (self.episodes,) or ((actions < 0) | (actions >= count)).any():
            raise ValueError(f"actions: expected {self.episodes} of 0 .. {count - 1}, got {quote(actions)}")
        valid = np.empty(self.episodes, np.bool_)
        kernels.act_all(self.handle, actions, valid)
        return valid

    def play(self, plan: RoundPlan) -> int:
        """Play one round in every running episode.

        Returns:
            How many episodes still run.

        Raises:
            ValueError: the plan is for another number of episodes or slots.
            ControllerError: an episode is stopped with an answer that it has not seen; nothing is done.
        """
        if plan.prune.shape != self.slots.shape:
            raise ValueError(f"plan: expected shape {self.slots.shape}, got {plan.prune.shape}")
        running = int(kernels.play_rounds(self.handle, plan.arrays))
        if running < 0:
            n = -running - 1
            raise ControllerError(
                f"answer: expected an id of one of the {self.pools['answers_seen'][n]} answers that episode {n} has "
                f"seen, or -1, got {plan.answer[n]}"
            )
        return running

    def history(self, n: int, i: int) -> NDArray[np.int32]:
        """The answers revealed at depths 1 .. depth of a branch, as local ids; -1: none, or not probed."""
        out = np.empty(int(self.slots["depth"][n, i]), np.int32)
        kernels.history(self.handle, n, i, out)
        return out

    def reveals(
        self, rows: NDArray[np.int64], slots: NDArray[np.int64], starts: NDArray[np.int64]
    ) -> NDArray[np.int32]:
        """The answers revealed at depths ``starts`` + 1 .. depth of many branches, one after the other.

        Args:
            rows: (K,) int64, episodes.
            slots: (K,) int64, a branch of each.
            starts: (K,) int64, from 0 to its depth.
        """
        depths = self.slots["depth"][rows, slots]
        if ((starts < 0) | (starts > depths)).any():
            raise ValueError("starts: expected depths from 0 to each branch's own")
        out = np.empty(int((depths - starts).sum()), np.int32)
        kernels.reveals(self.handle, rows, slots, starts, out)
        return out

    def outcomes(self, answers: bool) -> dict[str, NDArray[Any]]:
        """What the episodes came to, a fresh array (N,) for each of ``layout.COUNTS``.

        Args:
            answers: whether also ``answers``, the strings of the answers given; None: none.
        """
        counts = (self.correct, *(self.pools[name] for name in _COUNTED))
        outcomes: dict[str, NDArray[Any]] = {
            name: values.copy() for name, values in zip(layout.COUNTS, counts, strict=True)
        }
        if answers:
            outcomes["answers"] = self.answer_texts(np.arange(self.episodes), self.pools["answer"])
        return outcomes

    def answer_text(self, n: int, answer: int) -> str | None:
        """The string of an answer of episode n by its local id; None for -1."""
        text: str | None = self.answer_texts(np.array([n]), np.array([answer]))[0]
        return text

    def answer_texts(self, rows: NDArray[np.integer[Any]], answers: NDArray[np.integer[Any]]) -> NDArray[np.object_]:
        """The strings of answers by their local ids, one an episode of ``rows``, (K,) object; None for -1."""
        first_answers = self.bank.questions["first_answer"][self.questions[rows]]
        known = np.where(answers < 0, -1, first_answers + self.arrays.stored_ids[rows, answers])
        return self.bank.answer_texts(known)
