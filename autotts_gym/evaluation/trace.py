"""One episode of a controller, round by round."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotts_gym.controllers import Controller, check_probes
from autotts_gym.engine import Bank, EpisodeRecord, PoolState, RoundPlan, Rules, layout
from autotts_gym.engine.votes import confidence_table
from autotts_gym.errors import AutottsError
from autotts_gym.evaluation.runner import play
from autotts_gym.files import write_atomically
from autotts_gym.replay import ReplayStore

STATUSES = ("closed", "active", "finished", "pruned")
"""Names of what a branch slot can be, by its number."""


@dataclass(frozen=True)
class Plan:
    """What the controller asked for; parts that were not admissible did nothing.

    Attributes:
        prune: Branches to prune.
        deepen: Steps to deepen, by branch.
        probe: Branches to probe.
        open: Branches to open.
        read: Branches to open and read whole.
        stop: Whether to end the episode.
        answer: The answer named; None: left to the aggregator.
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
        branch: Its slot.
        status: What it is now: ``active``, ``finished`` or ``pruned``.
        depth: Intervals generated on it so far.
        tokens: Tokens the round paid for it.
        answers: The answers at the depths that the round added, in order; None where there is none.
        answer: Its latest answer.
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
        answer: The leader; None if there is no vote yet.
        votes: Votes for it.
        voters: All votes.
        confidence: Beta confidence against the runner-up, in [0, 1]; 0 without a vote.
    """

    answer: str | None
    votes: int
    voters: int
    confidence: float


@dataclass(frozen=True)
class Ledger:
    """What has been spent.

    Attributes:
        tokens: Total tokens of the round.
        sequential: Sequential tokens of the round.
        total_tokens: Total tokens of the episode so far.
        sequential_tokens: Sequential tokens of the episode so far.
        opened: Branches opened so far.
        active: Branches that can be deepened.
        finished: Branches finished so far.
        pruned: Branches pruned so far.
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
    """One round: what was planned, what it revealed, and where the episode stands after it.

    Attributes:
        round: Its number, from 1.
        plan: What the controller asked for.
        revealed: What changed, a branch each, in order of their slots.
        leader: The leader among the latest answers of branches not pruned.
        finished_leader: The leader among the answers of finished branches.
        ledger: What has been spent.
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
        answer: The answer given; None: none.
        correct: Whether it is the gold answer; None: the question is unlabelled.
        total_tokens: Total tokens.
        sequential_tokens: Sequential tokens.
        branches_opened: Branches opened.
        branches_pruned: Branches pruned.
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
        controller: Name of the controller.
        params: Its knobs.
        store: Name of the store.
        question: Index of the question in it.
        seed: Order of the pool.
        accounting: Token accounting.
        max_branches: Branch slots.
        token_budget: Total tokens that could be spent; None: no limit.
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
        setting: What was played.
        rounds: Its rounds.
        end: How it ended.
        state: What the episode had revealed at its end, for pictures.
    """

    setting: Setting
    rounds: tuple[Round, ...]
    end: End
    state: EpisodeRecord = field(repr=False)

    def lines(self) -> list[str]:
        """Returns one JSON object per round, and one for the end; only the last one knows what was not revealed."""
        rounds = [{"event": "round", **asdict(each)} for each in self.rounds]
        end = {"event": "end", **asdict(self.end), "rounds": len(self.rounds), "setting": asdict(self.setting)}
        return [json.dumps(item, ensure_ascii=False) for item in (*rounds, end)]

    def write_jsonl(self, path: str | os.PathLike[str]) -> None:
        """Writes `lines`, atomically.

        Raises:
            AutottsError: If the file cannot be written.
        """
        write_atomically(path, "".join(f"{line}\n" for line in self.lines()).encode())


def trace(
    controller: Controller, store: ReplayStore, question: int, seed: int = 0, rules: Rules | None = None
) -> Trace:
    """Plays one episode and keeps what happened in each round.

    It is the episode that `evaluate` plays on the question under the seed.

    Args:
        controller: What decides.
        store: Where the question and its branches are.
        question: Index of the question in the store.
        seed: Order of the pool, as in `evaluate`.
        rules: What holds in the episode; the defaults if None.

    Raises:
        AutottsError: If there is no such question.
        ControllerError: If the controller names an answer that it has not seen, or does not stop.
    """
    if not 0 <= question < store.num_questions:
        raise AutottsError(f"question: expected 0 to {store.num_questions - 1} in {store.name}, got {question}")
    check_probes(controller, [store])
    rules = rules or Rules()
    bank = Bank([store])
    state = PoolState(bank, 1, rules)
    state.begin(questions=question)
    state.shuffle(np.ones(1, np.bool_), np.array([seed], np.int64))
    observer = _Observer(state)
    play(controller, state, observer.watch)
    pool = state.pools[0]
    setting = Setting(
        controller=controller.name,
        params=controller.params,
        store=store.name,
        question=question,
        seed=seed,
        accounting=rules.accounting,
        max_branches=rules.max_branches,
        token_budget=rules.token_budget,
    )
    end = End(
        answer=state.answer_text(0, int(pool["answer"])),
        correct=bool(state.correct[0]) if state.labelled[0] else None,
        total_tokens=int(pool["total_tokens"]),
        sequential_tokens=int(pool["sequential_tokens"]),
        branches_opened=int(pool["opened"]),
        branches_pruned=int(pool["pruned"]),
        stop_reason=layout.STOP_REASONS[pool["stop_reason"]],
    )
    return Trace(setting, tuple(observer.rounds), end, state.record(0))


class _Observer:
    """Notes what every round of an episode changed in what is revealed."""

    def __init__(self, state: PoolState) -> None:
        self.rounds: list[Round] = []
        self._state = state
        self._confidence = confidence_table(state.rules.max_branches)
        self._remember()

    def _remember(self) -> None:
        self._pool, self._slots = self._state.pools[0].copy(), self._state.slots[0].copy()

    def watch(self, plan: RoundPlan) -> None:
        """Notes the round that was just played."""
        pool, answers = self._state.pools[0], self._state.arrays.answers
        self.rounds.append(
            Round(
                round=len(self.rounds) + 1,
                plan=self._plan(plan),
                revealed=self._changes(),
                leader=self._standing("", answers["votes"][0]),
                finished_leader=self._standing("finished_", answers["finished_votes"][0]),
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
        return Plan(
            prune=_indices(plan.prune[0]),
            deepen={i: int(plan.deepen[0, i]) for i in _indices(plan.deepen[0] > 0)},
            probe=_indices(plan.probe[0]),
            open=int(plan.open[0]),
            read=int(plan.read[0]),
            stop=bool(plan.stop[0]),
            answer=self._text(plan.answer[0]),
        )

    def _changes(self) -> tuple[Change, ...]:
        slots, before = self._state.slots[0], self._slots
        return tuple(
            Change(
                branch=i,
                status=STATUSES[slots["status"][i]],
                depth=int(slots["depth"][i]),
                tokens=int(slots["tokens"][i] - before["tokens"][i]),
                answers=tuple(map(self._text, self._state.history(0, i)[before["depth"][i] :])),
                answer=self._text(slots["answer"][i]),
            )
            for i in _indices(slots != before)
        )

    def _standing(self, kind: str, votes: NDArray[np.int32]) -> Standing:
        pool = self._state.pools[0]
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
        return self._state.answer_text(0, int(answer))


def _indices(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(np.flatnonzero(mask).tolist())
