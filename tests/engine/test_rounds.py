"""Plans: what they equal, what they refuse."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import deal, random_plan
from worlds import World, rules, worlds

from autotts_gym.engine import Bank, PoolState, RoundPlan, Rules
from autotts_gym.engine.layout import BY_EPISODE, Arrays
from autotts_gym.errors import ControllerError
from autotts_gym.replay import synthesize

FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SEEDS = st.integers(0, 2**32 - 1)


def same_arrays(a: Arrays, b: Arrays, without: tuple[str, ...] = ()) -> None:
    """Both states are equal, hidden parts included, but for some fields of the pools."""
    for name in Arrays._fields:
        left, right = getattr(a, name), getattr(b, name)
        if left.dtype.names:
            for field in left.dtype.names:
                if field not in without:
                    assert np.array_equal(left[field], right[field]), (name, field)
        else:
            assert np.array_equal(left, right), name


def primitives(plan: RoundPlan, n: int, opened: int, max_branches: int) -> list[int]:
    """The actions that a row of a plan stands for (no reads), in its order."""
    prune, probe = 2 + max_branches, 2 + 2 * max_branches
    actions = [prune + i for i in range(opened) if plan.prune[n, i]]
    for i in range(opened):
        actions += [2 + i] * int(plan.deepen[n, i]) + [probe + i] * bool(plan.probe[n, i])
    for i in range(opened, min(opened + int(plan.open[n]), max_branches)):
        actions += [1] + [probe + i] * bool(plan.probe[n, i])
    return actions + [0] * bool(plan.stop[n])


@FEW
@given(st.data(), worlds(), SEEDS)
def test_a_plan_equals_its_primitives_one_by_one(data: st.DataObject, world: World, seed: int):
    laws = data.draw(rules(world.interval, max_steps=None, auto_stop=False))
    rng = np.random.default_rng(seed)
    bank = Bank([world.store()])
    rounds, steps = PoolState(bank, 1, laws), PoolState(bank, 1, laws)
    deal(rounds, [0], np.random.default_rng(seed), world)
    deal(steps, [0], np.random.default_rng(seed), world)
    actions = steps.admissible.shape[1]
    for _ in range(8):
        plan = random_plan(rng, rounds, reads=False)
        plan.answer[:] = -1  # a primitive STOP asks the aggregator
        listed = primitives(plan, 0, int(rounds.pools["opened"][0]), laws.max_branches)
        sequential = int(rounds.pools["sequential_tokens"][0])
        total = int(rounds.pools["total_tokens"][0])
        rounds.play(plan)
        for action in listed:
            if action < actions:
                steps.act(np.array([action]))
        if rounds.pools["stop_reason"][0] == 2:  # a round that could do nothing ends an exhausted episode
            break
        same_arrays(rounds.arrays, steps.arrays, ("sequential_tokens", "steps"))
        grown = int(rounds.pools["total_tokens"][0]) - total
        longest = int(rounds.pools["sequential_tokens"][0]) - sequential
        assert longest <= grown
        assert (longest > 0) == (grown > 0)


@FEW
@given(st.data(), worlds(questions=3), SEEDS)
def test_reading_in_exact_accounting_equals_opening_and_deepening_to_the_finish(
    data: st.DataObject, world: World, seed: int
):
    laws = data.draw(rules(world.interval, max_steps=None, auto_stop=False, accounting="exact"))
    bank = Bank([world.store()])
    rounds, steps = PoolState(bank, 1, laws), PoolState(bank, 1, laws)
    for state in (rounds, steps):
        state.seed(np.array([seed], np.uint64))
        state.begin()
    while rounds.admissible[0, 1]:
        plan = RoundPlan.empty(1, laws.max_branches)
        plan.read[:] = 1
        rounds.play(plan)
        i = int(steps.pools["opened"][0])
        steps.act(np.array([1]))
        while steps.act(np.array([2 + i]))[0]:
            pass
        same_arrays(rounds.arrays, steps.arrays, ("steps",))


@pytest.mark.parametrize("accounting", ["exact", "autotts"])
def test_reading_costs_exactly_the_total_tokens_of_the_branches_in_either_accounting(accounting: str):
    store = synthesize(questions=2, branches=12, seed=3)
    state = PoolState(Bank([store]), 2, Rules(max_branches=12, accounting=accounting))
    state.begin(questions=np.arange(2))
    plan = RoundPlan.empty(2, 12)
    plan.read[:] = 12
    state.play(plan)
    lengths = store.tokens.reshape(2, 12)
    assert state.pools["total_tokens"].tolist() == lengths.sum(1).tolist()
    assert state.pools["sequential_tokens"].tolist() == lengths.max(1).tolist()
    assert (state.pools["finished"] == 12).all()


@settings(FEW, max_examples=40)
@given(st.data(), worlds(questions=3), SEEDS)
def test_n_episodes_equal_n_separate_ones(data: st.DataObject, world: World, seed: int):
    laws = data.draw(rules(world.interval, cost_weight=(0.1, 10.0)))
    bank, n = Bank([world.store()]), 4
    streams = np.random.default_rng(seed).integers(0, 2**64, n, np.uint64)
    together, alone = PoolState(bank, n, laws), [PoolState(bank, 1, laws) for _ in range(n)]
    together.seed(streams)
    together.begin()
    for k, state in enumerate(alone):
        state.seed(streams[k : k + 1])
        state.begin()
    rng = np.random.default_rng(seed)
    for step in range(12):
        if step % 2:
            plan = random_plan(rng, together)
            together.play(plan)
            for k, state in enumerate(alone):
                rows = [array[k : k + 1] for array in plan.arrays]
                state.play(RoundPlan(*rows))
        else:
            actions = rng.integers(0, together.admissible.shape[1], n)
            together.act(actions)
            for k, state in enumerate(alone):
                state.act(actions[k : k + 1])
        if step == 7:
            together.begin(np.array([True, False, True, False]))
            alone[0].begin()
            alone[2].begin()
        for k, state in enumerate(alone):
            for name in BY_EPISODE:
                assert getattr(together.arrays, name)[k].tolist() == getattr(state.arrays, name)[0].tolist(), name


def test_sequential_tokens_of_a_round_are_its_longest_branch():
    state = PoolState(Bank([synthesize(questions=1, branches=8, interval_tokens=100)]), 1, Rules(max_branches=8))
    state.begin()
    plan = RoundPlan.empty(1, 8)
    plan.open[:] = 3
    state.play(plan)
    assert (state.pools["total_tokens"][0], state.pools["sequential_tokens"][0]) == (300, 100)
    plan = RoundPlan.empty(1, 8)
    plan.deepen[0, :2] = (1, 2)
    plan.open[:] = 1
    state.play(plan)
    assert (state.pools["total_tokens"][0], state.pools["sequential_tokens"][0]) == (700, 300)


# ------------------------------------------------------------------------------------------------------- bad plans


@pytest.mark.parametrize("name", ["deepen", "open", "stop", "answer", "read", "probe"])
def test_a_plan_of_mixed_shapes_is_refused_by_the_name_of_the_field(name: str):
    fields: dict[str, Any] = RoundPlan.empty(2, 3).arrays._asdict()
    fields[name] = fields[name][:1]
    with pytest.raises(ValueError, match=rf"RoundPlan\.{name}: expected shape \(2.*got \(1"):
        RoundPlan(**fields)


def test_a_plan_whose_prune_is_not_a_matrix_is_refused():
    with pytest.raises(ValueError, match=r"RoundPlan\.prune: expected shape \(episodes, branches\), got \(3,\)"):
        RoundPlan([True] * 3, [[1]], [1], [False], [-1])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("deepen", np.full((2, 3), 200)),
        ("deepen", np.full((2, 3), 0.5)),
        ("open", np.array([1, 2**40])),
        ("prune", np.full((2, 3), 2)),
        ("stop", np.array([0.0, 0.3])),
        ("answer", np.array([0, -(2**40)])),
    ],
)
def test_values_that_a_field_cannot_hold_are_refused(name: str, value: Any):
    fields: dict[str, Any] = RoundPlan.empty(2, 3).arrays._asdict()
    fields[name] = value
    with pytest.raises(ValueError, match=rf"RoundPlan\.{name}: expected values that fit"):
        RoundPlan(**fields)


def test_values_of_another_dtype_are_converted_when_all_survive():
    plan = RoundPlan([[0, 1]], [[2.0, 0.0]], [1], [1], [-1])
    assert [array.dtype for array in plan.arrays] == [array.dtype for array in RoundPlan.empty(1, 2).arrays]
    assert plan.prune.tolist() == [[False, True]]
    assert plan.deepen.tolist() == [[2, 0]]


def test_a_cleared_plan_does_nothing():
    store = synthesize(questions=1, branches=4)
    state = PoolState(Bank([store]), 3, Rules(max_branches=4))
    state.begin()
    plan = random_plan(np.random.default_rng(0), state, stops=0.5)
    plan.clear()
    for cleared, empty in zip(plan.arrays, RoundPlan.empty(3, 4).arrays, strict=True):
        assert np.array_equal(cleared, empty)
        assert cleared.dtype == empty.dtype
    assert state.play(plan) == 3
    assert state.pools["total_tokens"].tolist() == [0, 0, 0]


def test_a_plan_for_another_number_of_episodes_or_slots_is_refused():
    state = PoolState(Bank([synthesize(questions=1, branches=4)]), 2, Rules(max_branches=4))
    state.begin()
    for shape in ((2, 3), (3, 4), (1, 4)):
        with pytest.raises(ValueError, match=r"plan: expected shape \(2, 4\), got"):
            state.play(RoundPlan.empty(*shape))


def test_an_unseen_answer_in_one_episode_leaves_all_of_them_untouched():
    state = PoolState(Bank([synthesize(questions=1, branches=4)]), 3, Rules(max_branches=4))
    state.begin()
    plan = RoundPlan.empty(3, 4)
    plan.open[:] = 2
    state.play(plan)
    before = [array.tolist() for array in state.arrays]
    plan.deepen[:] = 1
    plan.stop[:] = [True, False, True]
    plan.answer[:] = [0, 99, state.pools["answers_seen"][2]]
    with pytest.raises(ControllerError, match=r"answer: expected .* that episode 2 has seen, or -1, got"):
        state.play(plan)
    assert [array.tolist() for array in state.arrays] == before


def test_an_unseen_answer_of_an_episode_that_does_not_stop_or_has_ended_is_ignored():
    state = PoolState(Bank([synthesize(questions=1, branches=4)]), 2, Rules(max_branches=4))
    state.begin()
    plan = RoundPlan.empty(2, 4)
    plan.stop[:], plan.answer[:] = [True, False], [-1, 50]
    assert state.play(plan) == 1
    plan.stop[:], plan.answer[:] = True, [50, -1]
    assert state.play(plan) == 0


def test_ended_episodes_do_not_change():
    state = PoolState(Bank([synthesize(questions=1, branches=4)]), 1, Rules(max_branches=4))
    state.begin()
    state.act(np.array([1]))
    state.act(np.array([0]))
    before = [array.tolist() for array in state.arrays]
    assert state.act(np.array([1])).tolist() == [False]
    plan = RoundPlan.empty(1, 4)
    plan.open[:], plan.deepen[:], plan.prune[:] = 4, 1, True
    assert state.play(plan) == 0
    assert [array.tolist() for array in state.arrays] == before
