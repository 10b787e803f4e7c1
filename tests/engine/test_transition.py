"""The compiled transition against the model, after every step."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import Episode, assert_same, deal, random_plan
from worlds import World, rules, worlds

from autotts_gym.engine import Bank, PoolState, RoundPlan, Rules
from autotts_gym.replay import Branch, Question

SLOW = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SEEDS = st.integers(0, 2**32 - 1)


def started(world: World, laws: Rules, episodes: int, rng: np.random.Generator) -> tuple[PoolState, list[Episode]]:
    state = PoolState(Bank([world.store()]), episodes, laws)
    return state, deal(state, rng.integers(0, len(world.questions), episodes).tolist(), rng, world)


@SLOW
@given(st.data(), worlds(), SEEDS)
def test_primitive_actions_leave_the_state_of_the_model(data: st.DataObject, world: World, seed: int):
    rng = np.random.default_rng(seed)
    state, models = started(world, data.draw(rules(world.interval)), 2, rng)
    for _ in range(40):
        actions = rng.integers(0, state.admissible.shape[1], 2)
        for n in range(2):
            good = np.flatnonzero(state.admissible[n])
            if rng.random() < 0.8:
                actions[n] = rng.choice(good[good > 0] if len(good) > 1 and rng.random() < 0.97 else good)
        valid = state.act(actions)
        assert valid.tolist() == [model.act(action) for model, action in zip(models, actions.tolist(), strict=True)]
        for n, model in enumerate(models):
            assert_same(state, n, model)


@SLOW
@given(st.data(), worlds(), SEEDS)
def test_rounds_leave_the_state_of_the_model(data: st.DataObject, world: World, seed: int):
    rng = np.random.default_rng(seed)
    state, models = started(world, data.draw(rules(world.interval)), 3, rng)
    for _ in range(12):
        plan = random_plan(rng, state)
        running = state.play(plan)
        for n, model in enumerate(models):
            model.play(plan, n)
            assert_same(state, n, model)
        assert running == sum(model.reason == "running" for model in models)


@settings(SLOW, max_examples=60)
@given(st.data(), worlds(), SEEDS)
def test_rounds_and_primitives_may_be_mixed(data: st.DataObject, world: World, seed: int):
    rng = np.random.default_rng(seed)
    state, (model,) = started(world, data.draw(rules(world.interval)), 1, rng)
    for _ in range(20):
        if rng.random() < 0.3:
            plan = random_plan(rng, state, stops=0.02)
            state.play(plan)
            model.play(plan, 0)
        else:
            actions = rng.integers(1, state.admissible.shape[1], 1)
            assert state.act(actions).tolist() == [model.act(int(actions[0]))]
        assert_same(state, 0, model)


@settings(SLOW, max_examples=40)
@given(st.data(), worlds(questions=3), SEEDS)
def test_another_episode_in_the_same_rows_leaves_the_state_of_a_fresh_model(
    data: st.DataObject, world: World, seed: int
):
    rng = np.random.default_rng(seed)
    state, models = started(world, data.draw(rules(world.interval)), 2, rng)
    for _ in range(4):
        for _ in range(int(rng.integers(0, 6))):
            plan = random_plan(rng, state)
            state.play(plan)
            for n, model in enumerate(models):
                model.play(plan, n)
        for n, model in enumerate(models):
            assert_same(state, n, model)
        models = deal(state, rng.integers(0, len(world.questions), 2).tolist(), rng, world)
        for n, model in enumerate(models):
            assert_same(state, n, model)


@pytest.mark.parametrize("accounting", ["exact", "autotts"])
@pytest.mark.parametrize("probe", ["auto", "explicit"])
def test_long_episodes_on_wide_pools_leave_the_state_of_the_model(accounting: str, probe: str):
    rng = np.random.default_rng(5)
    answers = np.array(["a", "b", "c", "d", "e", None], object)
    pool = []
    for _ in range(90):
        probes = rng.choice(answers, rng.integers(1, 40)).tolist()
        pool.append(Branch(probes, int(rng.integers(1, 50 * (len(probes) + 3))), rng.choice([probes[-1], "f", None])))
    world = World(50, (Question("q", "a", tuple(pool)),))
    laws = Rules(max_branches=80, accounting=accounting, probe=probe, probe_cost=7, token_budget=60_000)
    state, (model,) = started(world, laws, 1, rng)
    for step in range(2500):
        good = np.flatnonzero(state.admissible[0])[1:]
        if not good.size:
            break
        # Prunes are rare, so that many branches vote at once.
        weights = np.where((good >= 82) & (good < 162), 0.02, 1.0)
        action = int(rng.choice(good, p=weights / weights.sum()))
        state.act(np.array([action]))
        model.act(action)
        if step % 23 == 0:
            assert_same(state, 0, model)
    assert_same(state, 0, model)
    assert model.pool_fields()["finished"] > 10


def only(laws: Rules, *branches: Branch, interval: int = 10, gold: str = "a") -> tuple[PoolState, Episode]:
    """One episode over the branches, in this order."""
    world = World(interval, (Question("q", gold, branches),))
    state = PoolState(Bank([world.store()]), 1, laws)
    state.begin()
    state.deal(np.ones(1, np.bool_), np.arange(laws.max_branches, dtype=np.int32)[None])
    return state, Episode(branches, gold, interval, laws)


def test_a_final_answer_never_seen_before_is_revealed_after_a_probe_without_an_answer():
    state, model = only(Rules(max_branches=1, accounting="autotts"), Branch([None], 5, "a"))
    for action in (1, 2, 0):
        state.act(np.array([action]))
        model.act(action)
    assert state.answer_text(0, int(state.pools["answer"][0])) == "a"
    assert_same(state, 0, model)


def test_a_round_that_finishes_the_last_branch_for_nothing_leaves_the_answer_to_the_actor():
    state, model = only(Rules(max_branches=1, accounting="autotts"), Branch(["a", "b"], 15, "b"))
    opening, growing, finishing, naming = (RoundPlan.empty(1, 1) for _ in range(4))
    opening.open[:], growing.deepen[:], finishing.deepen[:] = 1, 1, 1
    naming.stop[:], naming.answer[:] = True, 0
    for plan in (opening, growing, finishing, naming):
        state.play(plan)
        model.play(plan, 0)
    assert state.answer_text(0, int(state.pools["answer"][0])) == "a"
    assert_same(state, 0, model)


def test_tokens_of_a_branch_do_not_overflow_where_the_total_does_not():
    interval = 2**31 - 1
    state, model = only(Rules(max_branches=1, accounting="autotts"), Branch(["a", "b", "c"], 1, "c"), interval=interval)
    for action in (1, 2, 2):
        state.act(np.array([action]))
        model.act(action)
    assert_same(state, 0, model)


def test_exact_tokens_of_every_kind_of_branch_by_hand():
    branches = (
        Branch(["a", "b"], 20, "b"),  # ends with its last interval
        Branch(["a", "b"], 14, "b"),  # inside it
        Branch(["a", "b"], 27, "b"),  # behind it
        Branch(["a", "b", "c"], 4, "c"),  # long before it
    )
    state, _ = only(Rules(max_branches=4), *branches)
    steps = [int(state.act(np.array([1]))[0]) for _ in range(4)]
    assert state.slots["tokens"][0].tolist() == [10, 10, 10, 4]
    for i in range(4):
        while state.act(np.array([2 + i]))[0]:
            steps.append(1)
    assert state.slots["tokens"][0].tolist() == [20, 14, 27, 4]
    assert state.pools["total_tokens"][0] == state.pools["sequential_tokens"][0] == 65
    assert len(steps) == 4 + 1 + 1 + 2 + 2


def test_published_tokens_of_every_kind_of_branch_by_hand():
    branches = (Branch(["a", "b"], 20, "b"), Branch(["a", "b"], 14, "b"), Branch(["a", "b"], 27, "b"))
    state, _ = only(Rules(max_branches=3, accounting="autotts"), *branches)
    for _ in range(3):
        state.act(np.array([1]))
    for i in range(3):
        deepened = 0
        while state.act(np.array([2 + i]))[0]:
            deepened += 1
        assert deepened == 2
    assert state.slots["tokens"][0].tolist() == [20, 20, 27]


def test_a_finishing_step_beyond_the_budget_spends_what_is_left_and_does_not_finish():
    state, model = only(Rules(max_branches=2, token_budget=25), Branch(["a"], 99, "a"), Branch(["b"], 10, "b"))
    for action in (1, 2):
        state.act(np.array([action]))
        model.act(action)
    assert state.pools["total_tokens"][0] == 25
    assert state.slots["status"][0, 0] == 1
    assert state.admissible[0].tolist() == [1, 0, 0, 0, 1, 0]
    assert_same(state, 0, model)
