"""Every hand-written controller against its plain form: the same answer, tokens and branches in every episode."""

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from published import (
    CRITERIA,
    answer_consistency,
    asc,
    beta_confidence,
    cmc,
    dirichlet_confidence,
    doubling,
    entropy_certainty,
    esc,
    majority_share,
    parallel_probe,
    sc,
    short_m,
)
from reference import Episode, deal
from scipy import stats
from worlds import World

from autotts_gym.controllers import Controller, make_controller, self_consistency
from autotts_gym.engine import Bank, PoolState, RoundPlan, Rules
from autotts_gym.replay import Branch, Question

PLAIN: dict[str, Callable[..., str | None]] = {
    "sc": sc,
    "asc": asc,
    "esc": esc,
    "doubling": doubling,
    "answer_consistency": answer_consistency,
    "short_m": short_m,
    "parallel_probe": parallel_probe,
    "cmc": cmc,
}
GRID: dict[str, list[dict[str, Any]]] = {
    "sc": [{"branches": n} for n in (1, 2, 5, 64)],
    "asc": [
        {"branches": n, "threshold": threshold, "criterion": criterion}
        for criterion, thresholds in {
            "beta": (0.6, 0.8, 0.95, 0.999),
            "dirichlet": (0.5, 0.7, 0.9),
            "entropy": (0.3, 0.5, 0.75),
            "majority": (0.5, 0.7, 0.8),
        }.items()
        for threshold in thresholds
        for n in (7, 64)
    ],
    "esc": [{"branches": n, "window": w} for n, w in ((8, 2), (9, 3), (64, 4), (3, 1), (20, 8))],
    "doubling": [
        {"branches": n, "threshold": t, "first": f}
        for n, t, f in ((64, 0.6, 2), (10, 0.75, 3), (1, 0.5, 2), (7, 1.0, 1))
    ],
    "answer_consistency": [{"branches": n, "patience": k} for n, k in ((1, 2), (5, 1), (8, 3), (64, 14))],
    "short_m": [{"branches": n, "finishes": m} for n, m in ((5, 3), (1, 1), (9, 1), (4, 4), (3, 9), (20, 5))],
    "parallel_probe": [
        {"branches": n, "stable_rounds": s, "prune_patience": p, "warm_up": w, "max_rounds": r}
        for n, s, p, w, r in (
            (6, 4, 2, 1, 100),
            (9, 100, 1, 0, 100),
            (12, 6, 3, 2, 7),
            (2, 3, 2, 3, 1),
            (64, 40, 7, 15, 100),
        )
    ],
    "cmc": [{"beta": b} for b in (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)],
}
CASES = [(name, params) for name, grid in GRID.items() for params in grid]


def label(value: Any) -> str:
    return ",".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else str(value)


def world(seed: int, pool: int = 14, longest: int = 18, silent: float = 0.0, finals: float = 0.1) -> World:
    """Branches that converge, some of them, with pools of different sizes; ``silent``: how many probes are None."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("abcde"), object)

    def branch(favourite: str, sure: float) -> Branch:
        probes: list[str | None] = []
        answer = str(rng.choice(letters))
        for _ in range(rng.integers(1, longest + 1)):
            if rng.random() < 0.35:
                answer = favourite if rng.random() < sure else str(rng.choice(letters))
            probes.append(None if rng.random() < silent else answer)
        end = 100 * len(probes)
        tokens = int(rng.choice([end, end - 100 + rng.integers(1, 100), end + rng.integers(0, 250)]))
        final = str(rng.choice(letters)) if rng.random() < finals else probes[-1]
        return Branch(probes, max(1, tokens), final)

    made = []
    for _ in range(4):
        favourite, sure = str(rng.choice(letters)), rng.random()
        size = int(rng.integers(max(1, pool // 3), pool + 1))
        made.append(Question("q", favourite, tuple(branch(favourite, sure) for _ in range(size))))
    return World(100, tuple(made))


def play(controller: Controller, state: PoolState, rounds: int = 2000) -> None:
    revealed = state.revealed
    memory = controller.begin(revealed)
    plan = RoundPlan.empty(state.episodes, state.rules.max_branches)
    for _ in range(rounds):
        plan.clear()
        controller.decide(revealed, memory, plan)
        if not state.play(plan):
            return
    raise AssertionError(f"{controller.name} does not stop")


def compare(name: str, params: dict[str, Any], place: World, laws: Rules, seed: int, episodes: int = 16) -> PoolState:
    rng = np.random.default_rng(seed)
    state = PoolState(Bank([place.store()]), episodes, laws)
    models = deal(state, rng.integers(0, len(place.questions), episodes).tolist(), rng, place)
    play(make_controller(name, **params), state)
    for n, model in enumerate(models):
        named = PLAIN[name](model, **params)
        aggregated = model.finished_leader if model.finished_leader is not None else model.leader
        got, expected = outcome(state, n), outcome_of(model, named if named is not None else aggregated)
        if laws.token_budget is not None:  # when nothing is left to spend, what is pruned decides nothing
            del got["pruned"], expected["pruned"]
        assert got == expected, n
    return state


def outcome(state: PoolState, n: int) -> dict[str, Any]:
    pool = state.pools[n]
    return {
        "answer": state.answer_text(n, int(pool["answer"])),
        "total_tokens": int(pool["total_tokens"]),
        "opened": int(pool["opened"]),
        "pruned": int(pool["pruned"]),
        "finished": int(pool["finished"]),
    }


def outcome_of(model: Episode, answer: str | None) -> dict[str, Any]:
    fields = model.pool_fields()
    return {"answer": answer} | {key: fields[key] for key in ("total_tokens", "opened", "pruned", "finished")}


@pytest.mark.parametrize("accounting", ["exact", "autotts"])
@pytest.mark.parametrize(("name", "params"), CASES, ids=label)
def test_a_controller_equals_its_plain_form(name: str, params: dict[str, Any], accounting: str):
    for seed in range(4):
        for slots in (3, 64):
            compare(name, params, world(seed), Rules(max_branches=slots, accounting=accounting), seed)


@pytest.mark.parametrize("accounting", ["exact", "autotts"])
@pytest.mark.parametrize("beta", [0.0, 0.3, 0.5, 0.8, 1.0])
def test_cmc_equals_its_plain_form_on_long_branches_and_wide_pools(beta: float, accounting: str):
    pruned = widened = 0
    for seed in range(6):
        place = world(100 + seed, pool=70, longest=40, finals=0.0)
        state = compare("cmc", {"beta": beta}, place, Rules(max_branches=64, accounting=accounting), seed, episodes=12)
        pruned += int(state.pools["pruned"].sum())
        widened += int((state.pools["opened"] > max(2, round(2 + 6 * beta))).sum())
    assert pruned > 0
    assert widened > 0


@pytest.mark.parametrize("accounting", ["exact", "autotts"])
@pytest.mark.parametrize(("name", "params"), CASES, ids=label)
def test_a_controller_equals_its_plain_form_where_probes_and_branches_have_no_answer(
    name: str, params: dict[str, Any], accounting: str
):
    for seed in range(3):
        place = world(50 + seed, silent=0.4, finals=0.0)
        compare(name, params, place, Rules(max_branches=64, accounting=accounting), seed)


@pytest.mark.parametrize("accounting", ["exact", "autotts"])
@pytest.mark.parametrize(("name", "params"), CASES, ids=label)
def test_a_controller_equals_its_plain_form_under_a_token_budget(name: str, params: dict[str, Any], accounting: str):
    for seed, budget in enumerate((0, 99, 100, 350, 1_700, 6_000)):
        laws = Rules(max_branches=10, accounting=accounting, token_budget=budget)
        state = compare(name, params, world(20 + seed), laws, seed, episodes=8)
        assert (state.pools["total_tokens"] <= budget).all()


@pytest.mark.parametrize("name", list(PLAIN))
def test_a_controller_stops_in_pools_smaller_than_its_branches(name: str):
    place = World(
        10, (Question("q", "a", (Branch(["a"], 4, "a"),)), Question("q", "a", (Branch([None], 14, None),) * 2))
    )
    for accounting in ("exact", "autotts"):
        for params in GRID[name]:
            compare(name, params, place, Rules(max_branches=8, accounting=accounting), 0)


def test_esc_takes_no_window_that_the_pool_cuts_short_for_a_whole_one():
    pool = tuple(Branch([answer], 10, answer) for answer in "abacc")
    state = PoolState(Bank([World(10, (Question("q", "a", pool),)).store()]), 1, Rules(max_branches=8))
    state.begin()
    state.deal(np.ones(1, np.bool_), np.arange(8, dtype=np.int32)[None])
    play(make_controller("esc", branches=64, window=2), state)
    # ab | ac | c: no unanimous window; a and c have two votes each, and a finished first.
    assert outcome(state, 0)["answer"] == "a"


def test_parallel_probe_does_not_settle_on_no_answer_at_all():
    place = World(10, (Question("q", "a", (Branch([None] * 6 + ["a"] * 6, 120, "a"),) * 4),))
    for accounting in ("exact", "autotts"):
        params = {"branches": 4, "stable_rounds": 3, "prune_patience": 7, "warm_up": 15, "max_rounds": 100}
        state = compare("parallel_probe", params, place, Rules(max_branches=4, accounting=accounting), 0, episodes=1)
        assert outcome(state, 0)["answer"] == "a"


def test_cmc_grows_no_branch_without_an_answer_faster_while_there_is_no_leader():
    place = World(10, (Question("q", "a", (Branch([None] * 30, 300, "a"),) * 3),))
    state = PoolState(Bank([place.store()]), 1, Rules(max_branches=3))
    state.begin()
    controller, revealed, plan = make_controller("cmc", beta=1.0), state.revealed, RoundPlan.empty(1, 3)
    memory = controller.begin(revealed)
    for _ in range(25):
        plan.clear()
        controller.decide(revealed, memory, plan)
        assert plan.deepen.max() <= 1
        state.play(plan)


def test_cmc_leaves_its_loop_after_five_hundred_rounds():
    def branch(answer: str) -> Branch:
        return Branch([answer] * 700, 70_000, answer)

    place = World(
        100, (Question("q", "a", (branch("a"), branch("b"), branch("b"), branch("c"), Branch(["a"], 50, "a"))),)
    )
    for accounting in ("exact", "autotts"):
        for beta in (0.0, 0.5):
            compare("cmc", {"beta": beta}, place, Rules(max_branches=64, accounting=accounting), 0)


def test_many_episodes_at_once_equal_each_alone():
    place = world(7)
    bank, laws, rng = Bank([place.store()]), Rules(max_branches=9), np.random.default_rng(0)
    sizes = [len(question.branches) for question in place.questions]
    questions = rng.integers(0, 4, 10)
    orders = np.stack([np.resize(rng.permutation(sizes[q]), 9) for q in questions]).astype(np.int32)
    for name, params in CASES:
        together = PoolState(bank, 10, laws)
        together.begin(questions=questions)
        together.deal(np.ones(10, np.bool_), orders)
        play(make_controller(name, **params), together)
        for n in (0, 4, 9):
            alone = PoolState(bank, 1, laws)
            alone.begin(questions=questions[n : n + 1])
            alone.deal(np.ones(1, np.bool_), orders[n : n + 1])
            play(make_controller(name, **params), alone)
            assert alone.pools[0].tolist() == together.pools[n].tolist()
            assert alone.slots[0].tolist() == together.slots[n].tolist()


@pytest.mark.parametrize(("name", "params"), CASES, ids=label)
def test_a_controller_is_deterministic_and_pickles_in_the_middle_of_an_episode(name: str, params: dict[str, Any]):
    place, laws = world(3), Rules(max_branches=12)
    runs = []
    for interrupted in (False, True):
        state = PoolState(Bank([place.store()]), 6, laws)
        deal(state, [0, 1, 2, 3, 0, 1], np.random.default_rng(1), place)
        controller = make_controller(name, **params)
        revealed = state.revealed
        memory = controller.begin(revealed)
        running = 6
        while running:
            if interrupted:
                controller, memory = pickle.loads(pickle.dumps((controller, memory)))
            plan = RoundPlan.empty(6, 12)
            controller.decide(revealed, memory, plan)
            running = state.play(plan)
        runs.append([outcome(state, n) for n in range(6)])
    assert runs[0] == runs[1]


# ------------------------------------------------------------------------------------------------------------ criteria


@pytest.mark.parametrize("counts", [[1], [2, 1], [3, 3], [5, 2, 1, 1], [10, 9, 8], [40, 20, 3, 1]], ids=str)
def test_the_dirichlet_criterion_is_the_probability_of_the_largest_share(counts: list[int]):
    log_cdf, density = self_consistency._gamma_tables(64)
    top, *others = counts
    tables = float((density[top] * np.exp(sum((log_cdf[v] for v in others), np.zeros(log_cdf.shape[1])))).sum())
    assert tables == pytest.approx(dirichlet_confidence(counts), abs=1e-4)
    drawn = np.random.default_rng(0).dirichlet(np.array(counts) + 1, 200_000)
    assert tables == pytest.approx((drawn.argmax(1) == 0).mean(), abs=0.006)


@pytest.mark.parametrize("largest", [1, 8, 64, 200])
def test_the_tables_of_the_dirichlet_criterion_are_those_of_gamma_distributions(largest: int):
    log_cdf, density = self_consistency._gamma_tables(largest)
    np.testing.assert_allclose(density.sum(1), 1.0, atol=1e-4)
    end = largest + 1 + 12 * np.sqrt(largest + 1.0)
    grid = np.linspace(0.0, end, log_cdf.shape[1])
    for votes in (0, largest // 2, largest):
        np.testing.assert_allclose(np.exp(log_cdf[votes]), stats.gamma.cdf(grid, votes + 1), atol=1e-9)


@pytest.mark.parametrize("criterion", sorted(CRITERIA))
@pytest.mark.parametrize("answers", ["aaaaaa", "bbaaaa"])
def test_no_criterion_exceeds_a_threshold_of_one(criterion: str, answers: str):
    pool = tuple(Branch([answer], 10, answer) for answer in answers)
    state = PoolState(Bank([World(10, (Question("q", "a", pool),)).store()]), 1, Rules(max_branches=6))
    state.begin()
    play(make_controller("asc", criterion=criterion, threshold=1.0), state)
    assert state.pools["opened"].tolist() == [6]


def test_the_criteria_by_hand():
    assert beta_confidence([2]) == 0.875
    assert beta_confidence([1, 1]) == 0.5
    assert entropy_certainty([4]) == 1.0
    assert entropy_certainty([1, 1]) == pytest.approx(0.0)
    assert entropy_certainty([2, 2]) == pytest.approx(0.5)
    assert majority_share([3, 1]) == 0.75
    assert dirichlet_confidence([3, 3]) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("criterion", "threshold", "read"),
    [
        ("beta", 0.8, 2),  # 0.875 after two equal answers
        ("beta", 0.875, 3),  # has to be exceeded
        ("beta", 0.93, 3),  # 0.9375 after three
        ("majority", 0.9, 2),
        ("entropy", 0.9, 2),
        ("dirichlet", 0.9, 2),
    ],
)
def test_asc_on_equal_answers_stops_by_hand(criterion: str, threshold: float, read: int):
    place = World(10, (Question("q", "a", (Branch(["a"], 10, "a"),) * 9),))
    state = PoolState(Bank([place.store()]), 1, Rules(max_branches=9))
    state.begin()
    play(make_controller("asc", criterion=criterion, threshold=threshold), state)
    assert state.pools["opened"].tolist() == [read]
    assert set(CRITERIA) == set(self_consistency.CRITERIA)
