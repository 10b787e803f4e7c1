"""One episode of a controller, round by round."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotts_gym.controllers import Controller, check_stores
from autotts_gym.engine import Bank, EpisodeRecord, PoolState, RoundPlan, Rules, layout
from autotts_gym.engine.votes import confidence_table
from autotts_gym.errors import AutottsError
from autotts_gym.evaluation.runner import play
from autotts_gym.files import write_atomically
from autotts_gym.replay import ReplayStore

STATUSES = ("closed", "active", "finished", "pruned")
"""Names of the states of a branch slot, by number."""


@dataclass(frozen=True)
class Plan:
    """What the controller asked for; parts that were not admissible did nothing.

    Attributes:
        prune: branches to prune.
        deepen: steps to deepen, by branch.
        probe: branches to probe.
        open: branches to open.
        read: branches to open and read whole.
        stop: whether to end the episode.
        answer: the answer named; None: left to the aggregator.
    """

    prune: tuple[int, ...]
    deepen: Mapping[int, int]
    probe: tuple[int, ...]
    open: int
    read: int
    stop: bool
    answer: str | None


@dataclass(frozen=True)
class Change:
    """What a round did to one branch.

    Attributes:
        branch: its slot.
        status: what it is now: ``active``, ``finished`` or ``pruned``.
        depth: intervals generated on it so far.
        tokens: tokens the round paid for it.
        answers: the answers at the depths that the round added, in order; None where there is none.
        answer: its latest answer.
    """

    branch: int
    status: str
    depth: int
    tokens: int
    answers: tuple[str | None, ...]
    answer: str | None


@dataclass(frozen=True)
class Standing:
    """The leader of a vote.

    Attributes:
        answer: the leader; None if there is no vote yet.
        votes: votes for it.
        voters: all votes.
        confidence: beta confidence against the runner-up, in [0, 1]; 0 without a vote.
    """

    answer: str | None
    votes: int
    voters: int
    confidence: float


@dataclass(frozen=True)
class Ledger:
    """What has been spent.

    Attributes:
        tokens: total tokens of the round.
        sequential: sequential tokens of the round.
        total_tokens: total tokens of the episode so far.
        sequential_tokens: sequential tokens of the episode so far.
        opened: branches opened so far.
        active: branches that can be deepened.
        finished: branches finished so far.
        pruned: branches pruned so far.
    """

    tokens: int
    sequential: int
    total_tokens: int
    sequential_tokens: int
    opened: int
    active: int
    finished: int
    pruned: int


@dataclass(frozen=True)
class Round:
    """One round: what was planned, what it revealed, and the state of the episode after it.

    Attributes:
        round: its number, from 1.
        plan: what the controller asked for.
        revealed: what changed, a branch each, in order of their slots.
        leader: the leader among the latest answers of branches not pruned.
        finished_leader: the leader among the answers of finished branches.
        ledger: what has been spent.
    """

    round: int
    plan: Plan
    revealed: tuple[Change, ...]
    leader: Standing
    finished_leader: Standing
    ledger: Ledger


@dataclass(frozen=True)
class End:
    """How an episode ended.

    Attributes:
        answer: the answer given; None: none.
        correct: whether it is the gold answer; None: the question is unlabelled.
        total_tokens: total tokens.
        sequential_tokens: sequential tokens.
        branches_opened: branches opened.
        branches_pruned: branches pruned.
        stop_reason: ``stop``, ``exhausted`` or ``truncated``.
    """

    answer: str | None
    correct: bool | None
    total_tokens: int
    sequential_tokens: int
    branches_opened: int
    branches_pruned: int
    stop_reason: str


@dataclass(frozen=True)
class Setting:
    """What was played.

    Attributes:
        controller: name of the controller.
        params: its knobs.
        store: name of the store.
        question: index of the question in it.
        seed: order of the pool.
        accounting: token accounting.
        max_branches: branch slots.
        token_budget: total tokens that could be spent; None: no limit.
    """

    controller: str
    params: Mapping[str, object]
    store: str
    question: int
    seed: int
    accounting: str
    max_branches: int
    token_budget: int | None


@dataclass(frozen=True, eq=False)
class Trace:
    """One episode.

    Attributes:
        setting: what was played.
        rounds: its rounds.
        end: how it ended.
        state: what the episode had revealed at its end, for pictures.
    """

    setting: Setting
    rounds: tuple[Round, ...]
    end: End
    state: EpisodeRecord = field(repr=False)

    def lines(self) -> list[str]:
        """Return one JSON object per round, and one for the end; only the last one knows what was not revealed."""
        rounds = [{"event": "round", **asdict(each)} for each in self.rounds]
        end = {"event": "end", **asdict(self.end), "rounds": len(self.rounds), "setting": asdict(self.setting)}
        return [json.dumps(item, ensure_ascii=False) for item in (*rounds, end)]

    def write_jsonl(self, path: str | os.PathLike[str]) -> None:
        """Write ``lines``, atomically.

        Raises:
            AutottsError: if the file cannot be written.
        """
        write_atomically(path, "".join(f"{line}\n" for line in self.lines()).encode())


def trace(
    controller: Controller, store: ReplayStore, question: int, seed: int = 0, rules: Rules | None = None
) -> Trace:
    """Play one episode and keep what happened in each round.

    It is the episode that ``evaluate`` plays on the question under the seed.

    Args:
        controller: what decides.
        store: where the question and its branches are.
        question: index of the question in the store.
        seed: order of the pool, as in ``evaluate``.
        rules: what holds in the episode; the defaults if None.

    Raises:
        AutottsError: if there is no such question.
        ControllerError: if the controller names an answer that it has not seen, or does not stop.
    """
    return traces(controller, store, [(question, seed)], rules)[0]


def traces(
    controller: Controller, store: ReplayStore, episodes: Sequence[tuple[int, int]], rules: Rules | None = None
) -> list[Trace]:
    """Play episodes side by side as ``trace`` plays one; ``episodes`` are pairs of a question and a seed."""
    for question, _ in episodes:
        if not 0 <= question < store.num_questions:
            raise AutottsError(f"question: expected 0 to {store.num_questions - 1} in {store.name}, got {question}")
    check_stores(controller, [store])
    rules = rules or Rules()
    state = PoolState(Bank([store]), len(episodes), rules)
    every = np.ones(len(episodes), np.bool_)
    questions, seeds = np.array(episodes, np.int64).T
    state.begin(every, questions)
    state.shuffle(every, seeds)
    settings = [
        Setting(
            controller=controller.name,
            params=controller.params,
            store=store.name,
            question=question,
            seed=seed,
            accounting=rules.accounting,
            max_branches=rules.max_branches,
            token_budget=rules.token_budget,
        )
        for question, seed in episodes
    ]
    return observe(controller, state, settings)


def observe(
    controller: Controller,
    state: PoolState,
    settings: Sequence[Setting],
    watch: Callable[[RoundPlan], None] = lambda plan: None,
) -> list[Trace]:
    """Let a controller play episodes that have begun, and keep what happened in each round.

    Args:
        controller: what decides.
        state: N episodes that have begun.
        settings: what each of them is.
        watch: called after each round with what was planned.

    Raises:
        ControllerError: if the controller names an answer that it has not seen, or does not stop.
    """
    observers = [_Observer(state, n) for n in range(state.episodes)]

    def every(plan: RoundPlan) -> None:
        for observer in observers:
            observer.watch(plan)
        watch(plan)

    play(controller, state, every)
    return [
        Trace(setting, tuple(observer.rounds), observer.end(), state.record(n))
        for n, (setting, observer) in enumerate(zip(settings, observers, strict=True))
    ]


class _Observer:
    """Notes what every round of episode n changed in what is revealed."""

    def __init__(self, state: PoolState, n: int) -> None:
        self.rounds: list[Round] = []
        self._state, self._n = state, n
        self._confidence = confidence_table(state.rules.max_branches)
        self._texts: dict[int, str | None] = {}
        self._remember()

    def _remember(self) -> None:
        self._pool, self._slots = self._state.pools[self._n].copy(), self._state.slots[self._n].copy()

    def end(self) -> End:
        """The end of the episode."""
        state, pool = self._state, self._state.pools[self._n]
        return End(
            answer=self._text(pool["answer"]),
            correct=bool(state.correct[self._n]) if state.labelled[self._n] else None,
            total_tokens=int(pool["total_tokens"]),
            sequential_tokens=int(pool["sequential_tokens"]),
            branches_opened=int(pool["opened"]),
            branches_pruned=int(pool["pruned"]),
            stop_reason=layout.STOP_REASONS[pool["stop_reason"]],
        )

    def watch(self, plan: RoundPlan) -> None:
        """Note the round that was just played, if the episode had not ended before."""
        if self._pool["stop_reason"] != layout.RUNNING:
            return
        pool, answers = self._state.pools[self._n], self._state.arrays.answers
        self.rounds.append(
            Round(
                round=len(self.rounds) + 1,
                plan=self._plan(plan),
                revealed=self._changes(),
                leader=self._standing("", answers["votes"][self._n]),
                finished_leader=self._standing("finished_", answers["finished_votes"][self._n]),
                ledger=Ledger(
                    tokens=int(pool["total_tokens"] - self._pool["total_tokens"]),
                    sequential=int(pool["sequential_tokens"] - self._pool["sequential_tokens"]),
                    **{name: int(pool[name]) for name in ("total_tokens", "sequential_tokens")},
                    **{name: int(pool[name]) for name in ("opened", "active", "finished", "pruned")},
                ),
            )
        )
        self._remember()

    def _plan(self, plan: RoundPlan) -> Plan:
        n = self._n
        return Plan(
            prune=_indices(plan.prune[n]),
            deepen={i: int(plan.deepen[n, i]) for i in _indices(plan.deepen[n] > 0)},
            probe=_indices(plan.probe[n]),
            open=int(plan.open[n]),
            read=int(plan.read[n]),
            stop=bool(plan.stop[n]),
            answer=self._text(plan.answer[n]),
        )

    def _changes(self) -> tuple[Change, ...]:
        slots, before = self._state.slots[self._n], self._slots
        return tuple(
            Change(
                branch=i,
                status=STATUSES[slots["status"][i]],
                depth=int(slots["depth"][i]),
                tokens=int(slots["tokens"][i] - before["tokens"][i]),
                answers=tuple(map(self._text, self._state.history(self._n, i)[before["depth"][i] :])),
                answer=self._text(slots["answer"][i]),
            )
            for i in _indices(slots != before)
        )

    def _standing(self, kind: str, votes: NDArray[np.int32]) -> Standing:
        pool = self._state.pools[self._n]
        voters = int(pool[f"{kind}voters"])
        if voters == 0:
            return Standing(None, 0, 0, 0.0)
        runner_up, most = np.partition(np.append(votes, 0), -2)[-2:]
        return Standing(
            answer=self._text(pool[f"{kind}leader"]),
            votes=int(most),
            voters=voters,
            confidence=float(self._confidence[most, runner_up]),
        )

    def _text(self, answer: Any) -> str | None:
        number = int(answer)
        if number not in self._texts:
            self._texts[number] = self._state.answer_text(self._n, number)
        return self._texts[number]


def _indices(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(np.flatnonzero(mask).tolist())
