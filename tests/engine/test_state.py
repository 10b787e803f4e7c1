"""The life of a state: beginning again, dealing, copies, memory; and the rules it is made with."""

import copy
import pickle
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from reference import random_plan
from scipy import stats
from worlds import World

from autotts_gym.engine import Bank, PoolState, Revealed, RoundPlan, Rules
from autotts_gym.engine.layout import BY_EPISODE, HIDDEN, REVEALED, RevealedArrays, named
from autotts_gym.replay import Branch, Question, ReplayStore, pool_order, synthesize


def streams(*keys: int) -> np.ndarray:
    return np.array(keys, np.uint64)


def ids(store: ReplayStore, state: PoolState) -> np.ndarray:
    """(N, M) which branch of its pool each opened slot holds."""
    held = state.arrays.hidden_slots["branch"]
    return np.where(held < 0, -1, held - store.branch_offsets[state.questions][:, None])


def visible(state: PoolState) -> list[Any]:
    """All that is revealed, as values."""
    return [array.tolist() for array in state.arrays[:7]]


def everything(state: PoolState) -> list[Any]:
    """All of a state, as values."""
    return [array.tolist() for array in state.arrays]


def row(state: PoolState, n: int) -> list[Any]:
    """All of an episode, as values."""
    return [getattr(state.arrays, name)[n].tolist() for name in BY_EPISODE]


def open_all(state: PoolState) -> None:
    plan = RoundPlan.empty(state.episodes, state.rules.max_branches)
    plan.open[:] = state.rules.max_branches
    state.play(plan)


# ---------------------------------------------------------------------------------------------------- begin, residue


@pytest.mark.parametrize("probe", ["auto", "explicit"])
@pytest.mark.parametrize("ordered", [False, True])
def test_beginning_again_leaves_no_residue(probe: str, ordered: bool):
    store = synthesize(questions=5, branches=9, seed=1)
    laws = Rules(max_branches=6, probe=probe, probe_cost=3, cost_weight=(0.1, 1.0))
    used, fresh = PoolState(Bank([store]), 3, laws), PoolState(Bank([store]), 3, laws)
    used.seed(streams(1, 2, 3))
    used.begin()
    if ordered:
        used.deal(np.ones(3, np.bool_), np.tile(np.arange(6, dtype=np.int32)[::-1], (3, 1)))
    rng = np.random.default_rng(0)
    for _ in range(15):
        used.play(random_plan(rng, used, stops=0.02))
    for state in (used, fresh):
        state.seed(streams(4, 5, 6))
        state.begin()
    assert visible(used) == visible(fresh)
    for name in ("hidden_pools", "tally", "local_ids"):
        assert np.array_equal(getattr(used.arrays, name), getattr(fresh.arrays, name)), name
    assert (used.arrays.hidden_slots["branch"] == -1).all()
    for _ in range(15):
        plan = random_plan(rng, used, stops=0.02)
        used.play(plan)
        fresh.play(plan)
        assert visible(used) == visible(fresh)
        assert used.correct.tolist() == fresh.correct.tolist()


def test_one_slot_is_dealt_ahead_and_forgotten_when_the_next_episode_begins():
    state = PoolState(Bank([synthesize(questions=5, branches=9)]), 3, Rules(max_branches=6))
    state.begin()
    dealt = state.arrays.hidden_slots["branch"]
    plan = RoundPlan.empty(3, 6)
    plan.open[:] = 2, 0, 6
    state.play(plan)
    assert ((dealt >= 0).sum(1) == [3, 0, 6]).all()
    state.begin()
    assert (dealt == -1).all()


def test_only_the_chosen_episodes_begin():
    state = PoolState(Bank([synthesize(questions=5, branches=9)]), 3, Rules(max_branches=6))
    state.begin()
    open_all(state)
    before = row(state, 1)
    state.begin(np.array([True, False, True]))
    assert state.pools["opened"].tolist() == [0, 6, 0]
    assert row(state, 1) == before


def test_nothing_runs_before_the_first_begin():
    state = PoolState(Bank([synthesize(questions=1, branches=2)]), 2, Rules(max_branches=2))
    assert not state.running.any()
    assert not state.act(np.array([1, 1])).any()
    assert state.play(RoundPlan.empty(2, 2)) == 0


@pytest.mark.parametrize("question", [-2, 5, [0, 5]])
def test_a_question_that_does_not_exist_is_refused(question: Any):
    state = PoolState(Bank([synthesize(questions=5, branches=2)]), 2, Rules(max_branches=2))
    with pytest.raises(ValueError, match=r"question: expected 0 \.\. 4, got"):
        state.begin(questions=question)


# ----------------------------------------------------------------------------------------------------------- dealing


def test_a_dealt_order_is_the_order_of_the_slots():
    store = synthesize(questions=3, branches=10)
    state = PoolState(Bank([store]), 3, Rules(max_branches=4))
    state.begin(questions=np.arange(3))
    orders = np.stack([pool_order(seed, 10)[:4] for seed in range(3)])
    state.deal(np.ones(3, np.bool_), orders)
    open_all(state)
    assert ids(store, state).tolist() == orders.tolist()
    state.begin(questions=np.arange(3))
    open_all(state)
    assert ids(store, state).tolist() != orders.tolist()


@pytest.mark.parametrize(("pool", "slots"), [(1, 1), (2, 2), (7, 7), (9, 4), (5, 8)])
def test_drawn_branches_never_repeat_and_are_all_of_the_pool_when_there_are_slots_for_it(pool: int, slots: int):
    store = synthesize(questions=2, branches=pool, seed=2)
    state = PoolState(Bank([store]), 400, Rules(max_branches=slots))
    state.seed(np.arange(400, dtype=np.uint64))
    state.begin()
    open_all(state)
    held = min(pool, slots)
    drawn = ids(store, state)[:, :held]
    assert (np.diff(np.sort(drawn, axis=1), axis=1) > 0).all()
    assert 0 <= drawn.min() <= drawn.max() < pool
    assert (ids(store, state)[:, held:] == -1).all()
    assert (state.pools["opened"] == held).all()


def test_drawn_orders_look_uniform():
    store = synthesize(questions=1, branches=5)
    state = PoolState(Bank([store]), 24_000, Rules(max_branches=4))
    state.seed(np.arange(24_000, dtype=np.uint64))
    state.begin()
    open_all(state)
    drawn = ids(store, state)
    _, orders = np.unique(drawn, axis=0, return_counts=True)
    assert len(orders) == 5 * 4 * 3 * 2
    assert stats.chisquare(orders).pvalue > 1e-3
    for slot in range(4):
        assert stats.chisquare(np.bincount(drawn[:, slot], minlength=5)).pvalue > 1e-3


def test_drawn_questions_and_cost_weights_look_uniform_and_log_uniform():
    state = PoolState(Bank([synthesize(questions=7, branches=1)]), 14_000, Rules(cost_weight=(0.01, 10.0)))
    state.seed(np.arange(14_000, dtype=np.uint64))
    state.begin()
    assert stats.chisquare(np.bincount(state.questions, minlength=7)).pvalue > 1e-3
    weights = state.pools["cost_weight"]
    assert 0.01 <= weights.min() <= weights.max() <= 10.0
    assert stats.kstest(np.log10(weights), stats.uniform(-2, 3).cdf).pvalue > 1e-3
    assert abs(stats.pearsonr(state.questions, np.log(weights)).statistic) < 0.03


def test_the_same_stream_gives_the_same_episodes_and_another_stream_others():
    store = synthesize(questions=50, branches=40)
    bank, laws = Bank([store]), Rules(max_branches=8, cost_weight=(0.1, 1.0))

    def episodes_of(*keys: int) -> list[list[Any]]:
        state = PoolState(bank, len(keys), laws)
        state.seed(streams(*keys))
        episodes = []
        for _ in range(4):
            state.begin()
            open_all(state)
            episodes.append([state.questions.tolist(), ids(store, state).tolist(), state.pools["cost_weight"].tolist()])
        return episodes

    assert episodes_of(7) == episodes_of(7)
    assert episodes_of(7, 8) == episodes_of(7, 8)
    assert [episode[0][1] for episode in episodes_of(7, 8)] == [episode[0][0] for episode in episodes_of(8)]
    assert episodes_of(7) != episodes_of(8)
    first, second, *_ = episodes_of(7)
    assert first != second


def test_what_is_done_in_an_episode_does_not_change_which_branches_come():
    store = synthesize(questions=3, branches=20)
    bank, laws = Bank([store]), Rules(max_branches=6)
    eager, careful = PoolState(bank, 1, laws), PoolState(bank, 1, laws)
    for state in (eager, careful):
        state.seed(streams(3))
        state.begin()
    open_all(eager)
    for _ in range(6):
        careful.act(np.array([1]))
        for _ in range(3):
            careful.act(np.array([1 + int(careful.pools["opened"][0])]))
    assert ids(store, eager).tolist() == ids(store, careful).tolist()
    for state in (eager, careful):
        state.begin()
        open_all(state)
    assert ids(store, eager).tolist() == ids(store, careful).tolist()


# ------------------------------------------------------------------------------------------------------------ copies


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda state: pickle.loads(pickle.dumps(state))])
@pytest.mark.parametrize("probe", ["auto", "explicit"])
def test_a_copy_is_equal_and_independent(duplicate: Callable[[PoolState], PoolState], probe: str):
    state = PoolState(Bank([synthesize(questions=3, branches=9)]), 4, Rules(max_branches=6, probe=probe))
    state.begin()
    rng = np.random.default_rng(0)
    for _ in range(3):
        state.play(random_plan(rng, state, stops=0.0))
    twin = duplicate(state)
    frozen = everything(state)
    assert everything(twin) == frozen
    for name in named(REVEALED, HIDDEN):
        assert not np.shares_memory(getattr(state.arrays, name), getattr(twin.arrays, name)), name
    plans = []
    for _ in range(5):
        plans.append(copy.deepcopy(random_plan(rng, twin)))
        twin.play(plans[-1])
    twin.begin()
    assert everything(state) == frozen
    for plan in plans:
        state.play(plan)
    state.begin()
    assert everything(state) == everything(twin)


def test_a_copy_outlives_the_original():
    state = PoolState(Bank([synthesize(questions=3, branches=9)]), 4, Rules(max_branches=6))
    state.begin()
    twin = copy.deepcopy(state)
    del state
    ballast = [np.ones(100_000) for _ in range(10)]
    open_all(twin)
    assert (twin.pools["opened"] == 6).all()
    del ballast


def test_a_state_of_several_stores_pickles_with_its_bank():
    stores = [synthesize(questions=q, branches=b, benchmark=f"b{q}", seed=q) for q, b in ((2, 3), (3, 5))]
    bank = Bank(stores)
    assert bank.num_questions == 5
    assert [bank.locate(q)[0].benchmark for q in range(5)] == ["b2"] * 2 + ["b3"] * 3
    assert [bank.locate(q)[1] for q in range(5)] == [0, 1, 0, 1, 2]
    state = PoolState(bank, 5, Rules(max_branches=8))
    state.begin(questions=np.arange(5))
    open_all(state)
    twin = pickle.loads(pickle.dumps(state))
    everyone = np.arange(5)
    texts = state.answer_texts(everyone, state.pools["leader"])
    assert twin.answer_texts(everyone, twin.pools["leader"]).tolist() == texts.tolist()


def test_a_bank_of_several_stores_replays_what_each_of_them_would():
    stores = [
        synthesize(questions=q, branches=b, interval_tokens=i, benchmark=f"b{q}", seed=q)
        for q, b, i in ((2, 3, 500), (3, 5, 70))
    ]
    laws = Rules(max_branches=4)
    together = PoolState(Bank(stores), 5, laws)
    together.begin(questions=np.arange(5))
    orders = np.tile(np.arange(4, dtype=np.int32), (5, 1))
    together.deal(np.ones(5, np.bool_), orders)
    alone = [PoolState(Bank([store]), store.num_questions, laws) for store in stores]
    for state in alone:
        state.begin(questions=np.arange(state.episodes))
        state.deal(np.ones(state.episodes, np.bool_), orders[: state.episodes])
    rng = np.random.default_rng(1)
    for _ in range(10):
        plan = random_plan(rng, together)
        together.play(plan)
        for state, rows in zip(alone, (slice(0, 2), slice(2, 5)), strict=True):
            state.play(RoundPlan(*[array[rows] for array in plan.arrays]))
            assert np.array_equal(together.pools[rows], state.pools)
            assert np.array_equal(together.slots[rows], state.slots)
            assert np.array_equal(together.correct[rows], state.correct)
            everyone = np.arange(state.episodes)
            texts = together.answer_texts(np.arange(5)[rows], together.pools["leader"][rows])
            assert texts.tolist() == state.answer_texts(everyone, state.pools["leader"]).tolist()


def test_an_empty_bank_is_refused():
    with pytest.raises(ValueError, match="at least one store"):
        Bank([])


# ---------------------------------------------------------------------------------------------------------- revealed


def test_what_a_controller_is_given_is_read_only_and_holds_nothing_hidden():
    store = synthesize(questions=3, branches=9)
    state = PoolState(Bank([store]), 2, Rules(max_branches=4))
    state.begin()
    open_all(state)
    revealed = state.revealed
    assert isinstance(revealed, Revealed)
    assert revealed.episodes == 2
    shown = RevealedArrays._fields
    hidden = [array for name, array in state.arrays._asdict().items() if name not in shown and array.size]
    for name in ("pools", "slots", "votes", "finished_votes", "abandoned", "admissible"):
        array = getattr(revealed, name)
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
        assert not any(np.shares_memory(array, secret) for secret in hidden)


def test_revealed_views_follow_the_state():
    state = PoolState(Bank([synthesize(questions=3, branches=9)]), 2, Rules(max_branches=4))
    revealed = state.revealed
    state.begin()
    open_all(state)
    assert revealed.pools["opened"].tolist() == [4, 4]
    assert revealed.history(1, 2).tolist() == [revealed.slots["answer"][1, 2]]


# ------------------------------------------------------------------------------------------------------------ memory


@pytest.mark.parametrize("probe", ["auto", "explicit"])
def test_ten_thousand_steps_allocate_nothing_that_stays(probe: str):
    state = PoolState(Bank([synthesize(questions=3, branches=64)]), 8, Rules(max_branches=16, probe=probe))
    state.begin()
    rng = np.random.default_rng(0)
    actions = rng.integers(0, state.admissible.shape[1], (500, 8))
    plan = RoundPlan.empty(8, 16)
    plan.deepen[:], plan.open[:] = 1, 1

    def play(steps: int) -> None:
        for step in range(steps):
            if step % 50 == 0:
                state.begin()
            if step % 3:
                state.act(actions[step % 500])
            else:
                state.play(plan)

    play(200)
    tracemalloc.start()
    try:
        play(200)
        before = tracemalloc.get_traced_memory()[0]
        play(10_000)
        assert tracemalloc.get_traced_memory()[0] - before < 20_000
    finally:
        tracemalloc.stop()


# ------------------------------------------------------------------------------------------------------------- rules


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_branches", 0),
        ("max_branches", 2.0),
        ("max_branches", True),
        ("token_budget", -1),
        ("token_budget", 1.5),
        ("token_budget", False),
        ("probe", "sometimes"),
        ("probe", None),
        ("probe_cost", -1),
        ("probe_cost", 0.5),
        ("accounting", "Exact"),
        ("cost_weight", -0.1),
        ("cost_weight", float("nan")),
        ("cost_weight", float("inf")),
        ("cost_weight", "0.1"),
        ("cost_weight", (0.0, 1.0)),
        ("cost_weight", (1.0, 0.5)),
        ("cost_weight", (1.0,)),
        ("cost_weight", (0.1, 1.0, 2.0)),
        ("cost_weight", (0.1, float("inf"))),
        ("cost_weight", (5e-324, 1e308)),
        ("cost_weight", True),
        ("latency_weight", -1),
        ("latency_weight", float("nan")),
        ("latency_weight", None),
        ("max_steps", 0),
        ("max_steps", 2.5),
    ],
)
def test_a_rule_out_of_its_range_is_refused_by_its_name(name: str, value: Any):
    with pytest.raises(ValueError, match=rf"^{name}: expected .*, got "):
        Rules(**{name: value})


def test_weights_of_the_widest_range_are_finite():
    state = PoolState(Bank([synthesize(questions=2, branches=1)]), 500, Rules(cost_weight=(1e-150, 1e150)))
    state.seed(np.arange(500, dtype=np.uint64))
    state.begin()
    weights = state.pools["cost_weight"]
    assert np.isfinite(weights).all()
    assert (weights > 0).all()
    assert (weights > 1).any()


def test_rules_take_numpy_numbers_and_equal_ends_of_a_range():
    laws = Rules(
        max_branches=np.int64(3), token_budget=np.int32(7), cost_weight=(0.5, 0.5), latency_weight=np.float32(1)
    )
    assert laws.cost_weight_range == (0.5, 0.5)
    state = PoolState(Bank([synthesize(questions=1, branches=2)]), 2, laws)
    state.begin()
    assert state.pools["cost_weight"].tolist() == [0.5, 0.5]


def test_a_budget_of_less_than_an_interval_leaves_only_stop():
    world = World(10, (Question("q", "a", (Branch(["a"], 3, "a"),)),))
    for budget in (0, 9):
        state = PoolState(Bank([world.store()]), 1, Rules(max_branches=2, token_budget=budget))
        state.begin()
        assert state.admissible[0].tolist() == [1, 0, 0, 0, 0, 0]
    state = PoolState(Bank([world.store()]), 1, Rules(max_branches=2, token_budget=10))
    state.begin()
    assert state.admissible[0].tolist() == [1, 1, 0, 0, 0, 0]
