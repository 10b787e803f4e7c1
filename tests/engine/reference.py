"""What an episode does, written a second time: slow, obvious, from DESIGN section 3 alone, on answer strings.

Nothing is kept up to date here that can be computed from lists of what happened; the engine's incremental counts are
compared with it after every step.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from autotts_gym.engine import PoolState, RoundPlan, Rules
from autotts_gym.replay import Branch

CLOSED, ACTIVE, FINISHED, PRUNED = range(4)
REASONS = ("running", "stop", "exhausted", "truncated")


def majority(answers: Iterable[str | None]) -> str | None:
    """The most frequent answer; ties go to the one that comes first."""
    votes = Counter(answer for answer in answers if answer is not None)
    return max(votes, key=votes.__getitem__, default=None)  # a Counter keeps the order of first appearance


def newest_run(items: Sequence[Any]) -> int:
    """How many equal items stand at the end."""
    run = 0
    while run < len(items) and items[-1 - run] == items[-1]:
        run += 1
    return run


@dataclass
class Slot:
    """One opened branch."""

    branch: Branch
    status: int = ACTIVE
    depth: int = 0
    tokens: int = 0
    rank: int = -1
    revealed: list[str | None] = field(default_factory=list)
    dissent: list[bool] = field(default_factory=list)  # whether each revealed answer was not the leader's
    probed: set[int] = field(default_factory=set)  # depths

    @property
    def answer(self) -> str | None:
        return self.revealed[-1] if self.revealed else None


class Episode:
    """One episode; ``pool`` holds the branches in the order in which they will be opened."""

    def __init__(self, pool: Sequence[Branch], gold: str, interval: int, rules: Rules) -> None:
        self.pool = list(pool)[: rules.max_branches]
        self.gold, self.interval, self.rules = gold, interval, rules
        self.slots: list[Slot] = []
        self.total = self.sequential = self.steps = 0
        self.done = 0  # things that happened
        self.seen: list[str] = []
        self.changed: list[Slot] = []  # whose answer changed, in the order in which that was revealed
        self.leader: str | None = None
        self.leader_since = 0
        self.finished_leader: str | None = None
        self.finished_since = 0
        self.reason = "running"
        self.answer: str | None = None

    # ---------------------------------------------------------------- what can be done

    @property
    def left(self) -> float:
        return float("inf") if self.rules.token_budget is None else self.rules.token_budget - self.total

    def can_open(self) -> bool:
        return len(self.slots) < len(self.pool) and self.left >= self.interval

    def can_deepen(self, i: int) -> bool:
        return self.can_prune(i) and self.left >= self.interval

    def can_prune(self, i: int) -> bool:
        return i < len(self.slots) and self.slots[i].status == ACTIVE

    def can_probe(self, i: int) -> bool:
        unseen = self.can_prune(i) and self.slots[i].depth not in self.slots[i].probed
        return self.rules.probe == "explicit" and unseen and self.left >= self.rules.probe_cost

    def mask(self) -> list[int]:
        each = range(self.rules.max_branches)
        if self.reason in ("stop", "exhausted"):
            return [1] + [0] * (1 + (3 if self.rules.probe == "explicit" else 2) * len(each))
        mask = [True, self.can_open(), *map(self.can_deepen, each), *map(self.can_prune, each)]
        if self.rules.probe == "explicit":
            mask += map(self.can_probe, each)
        return [int(bit) for bit in mask]

    # ---------------------------------------------------------------- what happens

    def _pay(self, slot: Slot, cost: int) -> bool:
        paid = min(cost, self.left)
        self.total += int(paid)
        slot.tokens += int(paid)
        return paid == cost

    def _count(self) -> None:
        """The leader after an event."""
        leader = majority(slot.answer for slot in self.slots if slot.status != PRUNED)
        if leader != self.leader:
            self.leader, self.leader_since = leader, self.total
        finished_leader = majority(slot.answer for slot in self.finished())
        if finished_leader != self.finished_leader:
            self.finished_leader, self.finished_since = finished_leader, len(self.finished())

    def _reveal(self, slot: Slot, answer: str | None) -> None:
        if answer is not None and answer not in self.seen:
            self.seen.append(answer)
        if not slot.revealed or answer != slot.answer:
            self.changed.append(slot)
        slot.revealed.append(answer)
        self._count()
        slot.dissent.append(answer != self.leader)

    def _finish(self, slot: Slot) -> None:
        if not slot.revealed or slot.answer != slot.branch.final:
            self._reveal(slot, slot.branch.final)
        slot.rank = len(self.finished())
        slot.status = FINISHED
        self._count()

    def deepen(self, i: int, exact: bool) -> None:
        self.done += 1
        slot = self.slots[i]
        probes, tokens = slot.branch.probes, slot.branch.tokens
        if slot.depth == len(probes):
            if self._pay(slot, max(0, tokens - len(probes) * self.interval)):
                self._finish(slot)
            return
        self._pay(slot, min(self.interval, max(0, tokens - slot.depth * self.interval)) if exact else self.interval)
        slot.depth += 1
        if self.rules.probe == "auto":
            self._reveal(slot, probes[slot.depth - 1])
        if exact and slot.depth == len(probes) and tokens <= len(probes) * self.interval:
            self._finish(slot)

    def open(self, exact: bool) -> int:
        self.slots.append(Slot(self.pool[len(self.slots)]))
        self.deepen(len(self.slots) - 1, exact)
        return len(self.slots) - 1

    def read(self) -> int:
        i = self.open(True)
        while self.can_deepen(i):
            self.deepen(i, True)
        return i

    def prune(self, i: int) -> None:
        self.done += 1
        self.slots[i].status = PRUNED
        self._count()

    def probe(self, i: int) -> None:
        self.done += 1
        slot = self.slots[i]
        slot.probed.add(slot.depth)
        self._pay(slot, self.rules.probe_cost)
        self._reveal(slot, slot.branch.probes[slot.depth - 1])

    def _probe_if(self, i: int, asked: bool) -> None:
        if asked and self.can_probe(i):
            self.probe(i)

    def _stop(self, answer: str | None, reason: str) -> None:
        aggregated = self.finished_leader if self.finished_leader is not None else self.leader
        self.answer = aggregated if answer is None else answer
        self.reason = reason

    def _end_step(self) -> None:
        self.steps += 1
        if self.reason != "running":
            return
        if self.rules.auto_stop and sum(self.mask()) == 1:
            self._stop(None, "exhausted")
        elif self.rules.max_steps is not None and self.steps >= self.rules.max_steps:
            self.reason = "truncated"

    # ---------------------------------------------------------------- the two ways to advance

    def act(self, action: int) -> bool:
        """One primitive action."""
        if self.reason != "running":
            return False
        valid = bool(self.mask()[action])
        before, m = self.total, self.rules.max_branches
        if valid and action == 0:
            self._stop(None, "stop")
        elif valid and action == 1:
            self.open(self.rules.accounting == "exact")
        elif valid:
            kind, i = divmod(action - 2, m)
            if kind == 0:
                self.deepen(i, self.rules.accounting == "exact")
            else:
                (self.prune, self.probe)[kind - 1](i)
        self.sequential += self.total - before
        self._end_step()
        return valid

    def play(self, plan: RoundPlan, n: int) -> None:
        """Row n of a plan."""
        if self.reason != "running":
            return
        exact = self.rules.accounting == "exact"
        opened, before, done = len(self.slots), [slot.tokens for slot in self.slots], self.done
        for i in range(opened):
            if plan.prune[n, i] and self.can_prune(i):
                self.prune(i)
        for i in range(opened):
            for _ in range(plan.deepen[n, i]):
                if self.can_deepen(i):
                    self.deepen(i, exact)
            self._probe_if(i, plan.probe[n, i])
        for _ in range(plan.open[n]):
            if self.can_open():
                i = self.open(exact)
                self._probe_if(i, plan.probe[n, i])
        for _ in range(plan.read[n]):
            if self.can_open():
                self.read()
        before += [0] * (len(self.slots) - opened)
        self.sequential += max((slot.tokens - b for slot, b in zip(self.slots, before, strict=True)), default=0)
        if plan.stop[n]:
            self._stop(self.seen[plan.answer[n]] if plan.answer[n] >= 0 else None, "stop")
        elif self.done == done and sum(self.mask()) == 1:
            self._stop(None, "exhausted")
        self._end_step()

    # ---------------------------------------------------------------- what is seen of it

    def having(self, status: int) -> list[Slot]:
        return [slot for slot in self.slots if slot.status == status]

    def finished(self) -> list[Slot]:
        """In the order of completion."""
        return sorted(self.having(FINISHED), key=lambda slot: slot.rank)

    def id(self, answer: str | None) -> int:
        """The episode-local id of an answer."""
        return -1 if answer is None else self.seen.index(answer)

    def pool_fields(self) -> dict[str, int]:
        votes = Counter(s.answer for s in self.slots if s.status != PRUNED and s.answer is not None)
        finished = Counter(s.answer for s in self.finished() if s.answer is not None)
        top = [*sorted(finished.values(), reverse=True), 0, 0]
        active = self.having(ACTIVE)
        return {
            "total_tokens": self.total,
            "sequential_tokens": self.sequential,
            "leader_since": self.leader_since,
            "interval_tokens": self.interval,
            "slots": len(self.pool),
            "steps": self.steps,
            "opened": len(self.slots),
            "active": len(active),
            "finished": len(self.having(FINISHED)),
            "pruned": len(self.having(PRUNED)),
            "answers_seen": len(self.seen),
            "leader": self.id(self.leader),
            "leader_votes": max(votes.values(), default=0),
            "voters": votes.total(),
            "distinct": len(votes),
            "finished_leader": self.id(self.finished_leader),
            "finished_leader_votes": top[0],
            "finished_runner_up": top[1],
            "finished_voters": finished.total(),
            "finished_distinct": len(finished),
            "finished_since": self.finished_since,
            "active_depth": sum(slot.depth for slot in active),
            "active_run": sum(newest_run(slot.revealed) for slot in active),
            "finished_depth": sum(slot.depth for slot in self.having(FINISHED)),
            "finished_squares": sum(slot.depth**2 for slot in self.having(FINISHED)),
            "deepest": max((slot.depth for slot in self.slots), default=0),
            "recorded": len(self.changed),
            "stop_reason": REASONS.index(self.reason),
            "answer": self.id(self.answer),
        }

    def slot_fields(self, i: int) -> dict[str, int]:
        if i >= len(self.slots):
            return dict.fromkeys(("status", "depth", "revealed", "run", "changes", "off_leader", "tokens"), 0) | {
                "answer": -1,
                "rank": -1,
                "newest": -1,
            }
        slot = self.slots[i]
        return {
            "status": slot.status,
            "depth": slot.depth,
            "answer": self.id(slot.answer),
            "revealed": len(slot.revealed),
            "run": newest_run(slot.revealed),
            "changes": sum(a != b for a, b in zip(slot.revealed, slot.revealed[1:], strict=False)),
            "off_leader": newest_run(slot.dissent) if slot.dissent and slot.dissent[-1] else 0,
            "rank": slot.rank,
            "newest": max((k for k, changed in enumerate(self.changed) if changed is slot), default=-1),
            "tokens": slot.tokens,
        }

    def history(self, i: int) -> list[int]:
        slot = self.slots[i]
        shown = range(1, slot.depth + 1) if self.rules.probe == "auto" else slot.probed
        return [self.id(slot.branch.probes[k - 1]) if k in shown else -1 for k in range(1, slot.depth + 1)]

    def votes(self) -> list[int]:
        return [sum(s.status != PRUNED and s.answer == answer for s in self.slots) for answer in self.seen]

    def finished_votes(self) -> list[int]:
        return [sum(s.answer == answer for s in self.having(FINISHED)) for answer in self.seen]

    def finished_depths(self) -> list[int]:
        return [sum(s.depth for s in self.having(FINISHED) if s.answer == answer) for answer in self.seen]

    def abandoned(self) -> list[int]:
        return [sum(answer in s.revealed and s.answer != answer for s in self.slots) for answer in self.seen]


def assert_same(state: PoolState, n: int, model: Episode) -> None:
    """Episode n of the engine is in the state of the model, field by field."""
    pool, expected = state.pools[n], model.pool_fields()
    assert {name: int(pool[name]) for name in expected} == expected
    names = {*expected, "budget", "cost_weight", "latency_weight", "token_unit"}
    assert names == set(state.pools.dtype.names)
    for i in range(model.rules.max_branches):
        slot, fields = state.slots[n, i], model.slot_fields(i)
        assert set(fields) == set(state.slots.dtype.names)
        assert {name: int(slot[name]) for name in fields} == fields, i
    assert state.admissible[n].tolist() == model.mask()
    answers, rest = len(model.seen), state.arrays.answers.shape[1] - len(model.seen)
    assert state.arrays.answers[n]["votes"].tolist() == model.votes() + [0] * rest
    assert state.arrays.answers[n]["finished_votes"].tolist() == model.finished_votes() + [0] * rest
    assert state.arrays.answers[n]["abandoned"].tolist() == model.abandoned() + [0] * rest
    assert state.arrays.answers[n]["finished_depth"].tolist() == model.finished_depths() + [0] * rest
    given = dict.fromkeys(slot.answer for slot in model.finished() if slot.answer is not None)
    behind = [-1] * (model.rules.max_branches - len(given))
    assert state.arrays.finished_answers[n].tolist() == [model.id(answer) for answer in given] + behind
    tally = Counter(model.votes())
    assert state.arrays.tally[n, 1:].tolist() == [tally[k] for k in range(1, model.rules.max_branches + 1)]
    assert [state.answer_text(n, k) for k in range(answers)] == model.seen
    for i in range(len(model.slots)):
        assert state.history(n, i).tolist() == model.history(i), i
    assert state.answer_text(n, int(pool["answer"])) == model.answer
    assert bool(state.correct[n]) == (model.answer is not None and model.answer == model.gold)
    assert bool(state.running[n]) == (model.reason == "running")


def random_plan(rng: np.random.Generator, state: PoolState, stops: float = 0.1, reads: bool = True) -> RoundPlan:
    """Any plan, much of it not admissible."""
    n, m = state.slots.shape
    plan = RoundPlan(
        prune=rng.random((n, m)) < 0.1,
        deepen=rng.choice([0, 1, 1, 2, 5], (n, m)).astype(np.int8),
        open=rng.choice([-1, 0, 1, 2, m + 1], n).astype(np.int32),
        stop=rng.random(n) < stops,
        answer=rng.integers(-1, np.maximum(state.pools["answers_seen"], 1)).astype(np.int32),
        read=rng.choice([-1, 0, 0, 1, 2], n).astype(np.int32) * reads,
        probe=rng.random((n, m)) < 0.3,
    )
    plan.answer[state.pools["answers_seen"] == 0] = -1
    return plan


def deal(state: PoolState, questions: Sequence[int], rng: np.random.Generator, world: Any) -> list[Episode]:
    """Begin every episode of a state in an order that the model knows too."""
    orders = np.zeros(state.slots.shape, np.int32)
    models = []
    for n, q in enumerate(questions):
        question = world.questions[q]
        order = rng.permutation(len(question.branches))
        held = order[: state.rules.max_branches]
        orders[n, : len(held)] = held
        models.append(Episode([question.branches[k] for k in order], question.gold, world.interval, state.rules))
    everyone = np.ones(state.episodes, np.bool_)
    state.begin(everyone, np.array(questions))
    state.deal(everyone, orders)
    return models
