import random
from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from pools import INTERVAL, as_store, fitting, ragged_questions

from autotts_gym.controllers import Controller, base, controller_families, make_controller
from autotts_gym.engine import Bank, PoolState, Revealed, RoundPlan, Rules, play_out
from autotts_gym.engine.layout import RevealedArrays
from autotts_gym.errors import AutottsError, ControllerError
from autotts_gym.evaluation import EvaluationResult, evaluate, evaluate_all, play
from autotts_gym.replay import Branch, Question, build_store, synthesize
from autotts_gym.sandbox.batches import Batch

FIELDS = ("correct", "total_tokens", "sequential_tokens", "branches_opened", "branches_pruned", "answers")


def same(one: EvaluationResult, other: EvaluationResult) -> bool:
    """Whether two results agree bit for bit."""
    arrays = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in FIELDS)
    return arrays and (one.summary(), one.seeds) == (other.summary(), other.seeds)


@dataclass(frozen=True)
class Scripted:
    """A controller from outside: opens, then deepens for ever, or gives the answer that it was made with."""

    name: ClassVar[str] = "scripted"
    answer: int | None = None

    @property
    def params(self) -> dict[str, Any]:
        return {"answer": self.answer}

    def begin(self, revealed: Revealed) -> None:
        assert (revealed.pools["opened"] == 0).all()

    def decide(self, revealed: Revealed, memory: None, plan: RoundPlan) -> None:
        plan.open[:] = revealed.pools["opened"] == 0
        plan.stop[:] = self.answer is not None
        plan.answer[:] = -1 if self.answer is None else self.answer


@pytest.mark.parametrize("accounting", ["exact", "autotts"])
@pytest.mark.parametrize("branches", [1, 3, 64])
def test_self_consistency_is_the_majority_of_the_first_branches_of_the_shuffled_pool(accounting, branches):
    questions = ragged_questions(5, questions=20)
    seeds = (0, 3, 11, 2)
    controller = make_controller("sc", branches=branches)
    result = evaluate(controller, as_store(questions), seeds=seeds, accounting=accounting, answers=True)
    assert result.seeds == seeds
    for row, seed in enumerate(seeds):
        for q, question in enumerate(questions):
            order = list(range(len(question.branches)))
            random.Random(seed).shuffle(order)
            read = [question.branches[i] for i in order[:branches]]
            votes = Counter(branch.final for branch in read if branch.final is not None)
            answer = votes.most_common(1)[0][0] if votes else None
            assert result.answers is not None
            assert result.answers[row, q] == answer
            assert result.correct[row, q] == (answer == question.gold)
            assert result.total_tokens[row, q] == sum(branch.tokens for branch in read)
            assert result.sequential_tokens[row, q] == max(branch.tokens for branch in read)
            assert result.branches_opened[row, q] == len(read)


@pytest.mark.parametrize("name", sorted(controller_families()))
def test_pools_smaller_than_the_slots_are_read_to_their_ends(name):
    questions = ragged_questions(8, questions=30)
    result = evaluate(make_controller(name), fitting(name, as_store(questions)), seeds=range(5), max_branches=200)
    sizes = [len(question.branches) for question in questions]
    assert (result.branches_opened <= sizes).all()
    assert (result.total_tokens <= [sum(branch.tokens for branch in q.branches) for q in questions]).all()
    assert (result.branches_opened > 0).all()


def test_a_decide_in_the_place_of_a_rule_is_what_plays(monkeypatch):
    store = as_store(ragged_questions(5, questions=4))
    controller = make_controller("sc", branches=4)
    rule = evaluate(controller, store, seeds=range(2))

    def read_one(self, revealed, memory, plan):
        fresh = revealed.pools["opened"] == 0
        plan.read[:] = fresh
        plan.stop[:] = ~fresh

    with monkeypatch.context() as patch:
        patch.setattr(type(controller), "decide", read_one)
        assert (evaluate(controller, store, seeds=range(2)).branches_opened == 1).all()
    object.__setattr__(controller, "decide", lambda *rest: read_one(controller, *rest))
    assert (evaluate(controller, store, seeds=range(2)).branches_opened == 1).all()
    assert (rule.branches_opened > 1).any()


@pytest.mark.parametrize("name", sorted(controller_families()))
@pytest.mark.parametrize("options", [{}, {"accounting": "autotts"}, {"token_budget": 1_500}, {"max_steps": 9}], ids=str)
def test_episodes_one_after_the_other_end_as_those_round_by_round(name, options):
    """To the last bit of the state, and whatever a rule remembers."""
    bank = Bank([fitting(name, as_store(ragged_questions(5, questions=20)))])
    controller = make_controller(name, beta=0.7)
    states = [PoolState(bank, 40, Rules(max_branches=5, **options)) for _ in range(2)]
    for state in states:
        state.restart(np.arange(40) // 20, np.arange(40) % 20)
    one, other = (controller.begin(state.revealed) for state in states)
    for _ in play_out(name, states[0], lambda revealed, plan: controller.decide(revealed, one, plan), lambda _: None):
        pass
    controller.play_through(states[1], other, 1000)
    for array in RevealedArrays._fields:
        np.testing.assert_array_equal(*(getattr(state.arrays, array) for state in states), array)
    assert (states[0].correct == states[1].correct).all()
    for first, second in zip(one or (), other or (), strict=True):
        if len(first) == 40:  # else it is scratch
            np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", sorted(controller_families()))
@pytest.mark.parametrize("budget", [0, 99, 250, 1_000])
def test_no_episode_spends_more_than_its_token_budget(name, budget):
    store = fitting(name, as_store(ragged_questions(2, questions=20)))
    for accounting in ("exact", "autotts"):
        free = evaluate(make_controller(name, beta=1.0), store, seeds=range(3), accounting=accounting)
        capped = evaluate(
            make_controller(name, beta=1.0), store, seeds=range(3), accounting=accounting, token_budget=budget
        )
        assert (free.total_tokens > budget).any()
        assert (capped.total_tokens <= budget).all()
        assert capped.branches_opened.any() == (budget >= INTERVAL)


def test_any_number_of_workers_gives_the_same_bits():
    stores = [synthesize(20, 12, seed=3, benchmark="a"), as_store(ragged_questions(1, questions=7))]
    controllers = [make_controller("cmc", beta=0.4), make_controller("asc", criterion="dirichlet")]
    one, two = (evaluate_all(controllers, stores, seeds=range(40), answers=True, workers=workers) for workers in (1, 2))
    assert [(r.store, r.label) for r in one] == [(store.name, r.label) for store in stores for r in one[:2]]
    assert all(map(same, one, two))


def test_an_evaluation_is_a_function_of_its_seeds(monkeypatch):
    store = synthesize(4, 12, seed=1)
    controller = make_controller("parallel_probe", branches=6)
    every = evaluate(controller, store, seeds=range(8), answers=True)
    assert same(every, evaluate(controller, store, seeds=range(8), answers=True))
    some = evaluate(controller, store, seeds=(6, 2), answers=True)
    for name in FIELDS:
        assert np.array_equal(getattr(some, name), getattr(every, name)[[6, 2]])
    monkeypatch.setattr(base, "CHUNK_EPISODES", 5)  # one seed at a time
    assert same(every, evaluate(controller, store, seeds=range(8), answers=True))
    assert len({tuple(row) for row in every.total_tokens.tolist()}) > 1


def test_whoever_watches_sees_every_round_and_changes_nothing():
    bank = Bank([synthesize(3, 8, seed=2)])
    controller = make_controller("cmc", beta=0.2)
    spent = []

    def begun() -> PoolState:
        state = PoolState(bank, 3, Rules())
        state.begin(questions=np.arange(3))
        state.deal(np.ones(3, np.bool_), np.tile(np.arange(64, dtype=np.int32) % 8, (3, 1)))
        return state

    watched, alone = begun(), begun()
    play(controller, watched, lambda plan: spent.append(watched.pools["total_tokens"].copy()))
    play(controller, alone)
    assert np.array_equal(watched.pools, alone.pools)
    assert len(spent) == watched.pools["steps"].max()
    assert (np.diff(spent, axis=0) >= 0).all()
    assert np.array_equal(spent[-1], alone.pools["total_tokens"])


@dataclass(frozen=True)
class Waiting(Controller):
    """Opens a branch a round until there are as many as its batch's number, and stops; one batch may break."""

    name = "waiting"
    log: tuple[list[tuple[str, int]], list[int]] = ([], [])
    breaks: int = -1

    @property
    def params(self) -> dict[str, Any]:
        return {"breaks": self.breaks}

    def chunk(self, questions: int) -> int:
        return 7 * questions

    def batches(self, problems: NDArray[np.int64], since: float | None = None) -> list[Batch]:
        rows = np.arange(len(problems))
        parts = np.split(rows, [6, 10]) if len(rows) > 10 else [rows]
        return [Batch(part, part, part.astype(float)) for part in parts]

    def together(self, problems: NDArray[np.int64]) -> Batch:
        raise NotImplementedError

    def begin_batch(self, revealed: Revealed, batch: Batch) -> int:
        assert len(batch.rows) == revealed.episodes
        self.log[1].append(revealed.episodes)
        return len(self.log[1])

    def look(self, revealed: Revealed, memory: int) -> None:
        assert (revealed.pools["stop_reason"] == 0).any()
        self.log[0].append(("looked", memory))

    def close(self, memory: int) -> None:
        self.log[0].append(("closed", memory))

    def audit(self, fields: Any, again: Any, seeds: NDArray[np.int64], questions: NDArray[np.int64]) -> None:
        assert all(np.array_equal(fields[name], again[name]) for name in fields)
        assert len(seeds) == len(questions) == sum(self.log[1])

    def decide(self, revealed: Revealed, memory: int, plan: RoundPlan) -> None:
        self.log[0].append(("asked", memory))
        if memory == self.breaks:
            raise ControllerError("broken")
        plan.open[:] = 1
        plan.stop[:] = revealed.pools["opened"] + 1 == memory


class Remembering:
    """Has the methods of a controller and not its base class; what it remembers has methods of its own."""

    name, params, log = "remembering", {}, []

    def begin(self, revealed: Revealed) -> "Remembering":
        return self

    def decide(self, revealed: Revealed, memory: "Remembering", plan: RoundPlan) -> None:
        assert memory is self
        plan.open[:] = 1
        plan.stop[:] = revealed.pools["opened"] == 1

    def look(self, revealed: Revealed) -> None:
        self.log.append("look")

    def close(self) -> None:
        self.log.append("close")


def test_a_controller_without_the_base_class_is_played_as_it_is():
    controller = Remembering()
    assert evaluate(controller, synthesize(2, 8), seeds=[0]).branches_opened.tolist() == [[2, 2]]
    assert controller.log == ["look", "close"]


def test_what_a_controller_without_the_base_class_says_of_probes_is_heeded():
    class Living(Remembering):
        needs_probes, use_of_probes = True, "lives on probes"

    bare = build_store([Question("q", "1", [Branch([None], 900, "1")])], model="m", benchmark="b", interval_tokens=500,
                       attributes={"probes": "none"})  # fmt: skip
    assert not bare.has_probes
    with pytest.raises(ControllerError, match="expected a store with probes, as it lives on probes"):
        evaluate(Living(), bare, seeds=[0])


def test_batches_are_played_by_turns():
    controller = Waiting(log=([], []))
    result = evaluate(controller, synthesize(2, 8), seeds=range(7))
    log, sizes = controller.log
    assert sizes == [6, 4, 4]
    assert result.branches_opened.tolist() == [[1, 1]] * 3 + [[2, 2]] * 2 + [[3, 3]] * 2
    first = [("asked", 1), ("closed", 1), ("asked", 2), ("looked", 2), ("asked", 3), ("looked", 3)]
    assert log[:6] == first
    assert log[6:] == [("asked", 2), ("closed", 2), ("asked", 3), ("looked", 3), ("asked", 3), ("closed", 3)]
    assert evaluate(Waiting(log=([], [])), synthesize(2, 8), seeds=[0]).branches_opened.tolist() == [[1, 1]]


class Twice(Waiting):
    """Plays the first episode in two batches, of which it does something else in the second."""

    def batches(self, problems: NDArray[np.int64], since: float | None = None) -> list[Batch]:
        return [Batch(rows, rows, rows.astype(float)) for rows in (np.array([1, 0]), np.array([0]))]

    def audit(self, fields: Any, again: Any, seeds: NDArray[np.int64], questions: NDArray[np.int64]) -> None:
        assert (seeds.tolist(), questions.tolist()) == ([3, 3, 3], [1, 0, 0])
        self.log[0].append((fields["branches_opened"].tolist(), again["branches_opened"].tolist()))


def test_what_is_played_twice_is_reported_once_and_compared():
    controller = Twice(log=([], []))
    result = evaluate(controller, synthesize(2, 8), seeds=[3])
    assert result.branches_opened.tolist() == [[1, 1]]
    assert controller.log[0][-1] == ([1, 1, 1], [1, 1, 2])


def test_all_batches_are_closed_when_one_breaks():
    controller = Waiting(log=([], []), breaks=2)
    with pytest.raises(ControllerError, match="broken"):
        evaluate(controller, synthesize(2, 8), seeds=range(7))
    assert {entry for entry in controller.log[0] if entry[0] == "closed"} == {("closed", k) for k in (1, 2, 3)}


def test_a_controller_that_does_not_stop_is_an_error(monkeypatch):
    monkeypatch.setattr("autotts_gym.engine.play.MAX_ROUNDS", 50)
    with pytest.raises(ControllerError, match="scripted: expected to stop within 50 rounds"):
        evaluate(Scripted(), synthesize(2, 3), seeds=[0])


def test_an_answer_that_was_not_seen_is_an_error():
    with pytest.raises(ControllerError, match="answer: expected an id of one of the"):
        evaluate(Scripted(answer=5), synthesize(2, 3), seeds=[0])
    assert evaluate(Scripted(answer=-1), synthesize(2, 3), seeds=[0]).mean_tokens == 500


def test_bad_arguments_are_named():
    controller, store = make_controller("sc"), synthesize(2, 3)
    with pytest.raises(AutottsError, match="seeds: expected at least one, got none"):
        evaluate(controller, store, seeds=())
    with pytest.raises(AutottsError, match="workers: expected a whole number from 1 to 2147483647, got 0"):
        evaluate(controller, store, workers=0)
    with pytest.raises(AutottsError, match="store: expected one store, got 2"):
        evaluate(controller, [store, store])
    with pytest.raises(ValueError, match="accounting: expected one of"):
        evaluate(controller, store, accounting="generous")


@dataclass(frozen=True)
class ByPrice:
    """Reads few branches where tokens are dear, and many where they are cheap."""

    name: ClassVar[str] = "by_price"
    params: ClassVar[dict[str, Any]] = {}

    def begin(self, revealed: Revealed) -> None:
        return None

    def decide(self, revealed: Revealed, memory: None, plan: RoundPlan) -> None:
        plan.read[:] = np.where(revealed.pools["cost_weight"] > 0.1, 2, 5)
        plan.stop[:] = True


def test_a_drawn_price_follows_from_seed_and_question_alone(monkeypatch):
    store, rules = synthesize(questions=7, branches=6, seed=2), Rules(cost_weight=(0.01, 1.0))
    opened = []
    for chunk, workers in ((10_000, 1), (13, 1), (7, 1), (13, 2)):
        monkeypatch.setattr(base, "CHUNK_EPISODES", chunk)
        (result,) = evaluate_all([ByPrice()], [store], seeds=range(20), rules=rules, workers=workers)
        opened.append(result.branches_opened)
    assert set(opened[0].ravel().tolist()) == {2, 5}
    assert all((each == opened[0]).all() for each in opened)


@pytest.mark.parametrize("controller", ["cmc", None, object()])
def test_what_is_no_controller_is_refused(controller):
    with pytest.raises(AutottsError, match="controller: expected what make_controller makes"):
        evaluate(controller, synthesize(1, 2))


@pytest.mark.parametrize("seeds", [5, None, np.array(5), np.zeros((2, 2), int), "12"])
def test_what_are_no_seeds_is_refused(seeds):
    with pytest.raises(AutottsError, match="seeds: expected several whole numbers"):
        evaluate(make_controller("sc", branches=1), synthesize(1, 2), seeds=seeds)
