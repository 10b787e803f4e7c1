import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotts_gym.errors import AutottsError
from autotts_gym.evaluation.frontier import (
    AccuracyAt,
    Area,
    Bootstrap,
    Curves,
    Frontier,
    Peak,
    Saving,
    TokensToReach,
    bootstrap,
    compare,
    find_reference,
)
from autotts_gym.evaluation.results import EvaluationResult


def result(correct: Any, tokens: Any, store: str = "m/b", controller: str = "cmc", **changes: Any) -> EvaluationResult:
    """A result of correct (seeds, questions); tokens broadcast to it; sequential tokens are half of them."""
    correct = np.atleast_2d(np.asarray(correct, dtype=bool))
    tokens = np.broadcast_to(np.asarray(tokens, dtype=np.int64), correct.shape)
    model, benchmark = store.split("/")
    values = {"params": {"beta": 0.5}, "accounting": "exact", "max_branches": 64} | changes
    return EvaluationResult(
        controller=controller,
        store=store,
        model=model,
        benchmark=benchmark,
        seeds=tuple(range(len(correct))),
        correct=correct,
        total_tokens=tokens,
        sequential_tokens=tokens // 2,
        branches_opened=np.ones(correct.shape, dtype=np.int32),
        branches_pruned=np.zeros(correct.shape, dtype=np.int32),
        **values,
    )


def family(points: Sequence[tuple[float, int]], name: str = "cmc", questions: int = 10) -> Frontier:
    """A family on one store with the given (accuracy, tokens); accuracies are multiples of 1 / questions."""
    results = []
    for i, (accuracy, tokens) in enumerate(points):
        correct = np.arange(questions) < round(accuracy * questions)
        results.append(result(correct, tokens, controller=name, params={"beta": i}))
    return Frontier.from_results(name, results)


def curve(tokens: Sequence[float], accuracy: Sequence[float]) -> Curves:
    return Curves.through(np.array([tokens], dtype=float), np.array([accuracy], dtype=float))


def test_points_are_means_over_seeds_then_questions_then_stores() -> None:
    results = [
        result([[1, 0], [1, 1]], [[100, 200], [300, 400]], "a/x", params={"beta": 1.0}),  # 0.75 at 250
        result([[0, 0, 0, 0]], 1000, "b/x", params={"beta": 1.0}),  # 0 at 1000
        result([[1, 0]], 10, "a/x", params={"beta": 0.0}),  # 0.5 at 10
        result([[1, 1, 1, 1]], 30, "b/x", params={"beta": 0.0}),  # 1 at 30
    ]
    cheap, dear = Frontier.from_results("cmc", results).points
    assert (cheap.setting.label, cheap.tokens, cheap.accuracy) == ("cmc(beta=0.0)", 20.0, 0.75)
    assert (dear.setting.label, dear.tokens, dear.accuracy) == ("cmc(beta=1.0)", 625.0, 0.375)


def test_the_other_axis_holds_sequential_tokens() -> None:
    both = family([(0.2, 100), (0.6, 10000)])
    assert [point.tokens for point in both.along("sequential_tokens").points] == [50.0, 5000.0]
    assert both.along("sequential_tokens").tokens_to_reach(0.4) == pytest.approx(500.0)


def test_accuracy_is_linear_in_log_tokens_constant_on_the_right_and_undefined_on_the_left() -> None:
    f = family([(0.6, 10000), (0.2, 100)])
    assert f.accuracy_at(1000) == pytest.approx(0.4)
    assert f.accuracy_at(100) == pytest.approx(0.2)
    assert f.accuracy_at(10000) == pytest.approx(0.6)
    assert f.accuracy_at(1e9) == pytest.approx(0.6)
    assert math.isnan(f.accuracy_at(99.9))


def test_areas_agree_with_those_worked_out_by_hand() -> None:
    f = family([(0.2, 100), (0.6, 10000)])
    assert f.area() == pytest.approx(0.4)
    assert f.area(1000, 10000) == pytest.approx(0.5)
    assert f.area(100, 1_000_000) == pytest.approx(0.5)
    assert f.area(1000, 1000) == pytest.approx(0.4)
    assert math.isnan(f.area(50, 1000))
    uneven = family([(0.0, 10), (1.0, 100), (0.5, 100_000)])
    assert uneven.area() == pytest.approx((1 * 0.5 + 3 * 0.75) / 4)


def test_tokens_to_reach_is_the_first_crossing() -> None:
    f = family([(0.2, 100), (0.6, 10000), (0.0, 20000), (0.9, 30000)])
    assert f.tokens_to_reach(0.4) == pytest.approx(1000)
    assert f.tokens_to_reach(0.6) == 10000
    assert f.tokens_to_reach(0.1) == 100
    assert f.tokens_to_reach(0.9) == 30000
    assert math.isnan(f.tokens_to_reach(0.91))


def test_the_peak_is_the_cheapest_of_the_most_accurate_points() -> None:
    f = family([(0.6, 500), (0.2, 100), (0.6, 300), (0.4, 900)])
    assert (f.peak.accuracy, f.peak.tokens) == (0.6, 300)
    assert f.estimate(Peak()) == pytest.approx(0.6)


def test_of_settings_with_equal_tokens_the_better_one_counts_at_that_budget() -> None:
    f = family([(0.6, 100), (0.2, 100)])
    assert f.accuracy_at(100) == pytest.approx(0.6)
    assert f.tokens_to_reach(0.5) == pytest.approx(100)
    assert f.area() == pytest.approx(0.6)


points = st.lists(
    st.tuples(st.floats(1.0, 18.0), st.floats(0.0, 1.0)), min_size=2, max_size=8, unique_by=lambda p: round(p[0], 2)
)


@given(points, st.floats(0.02, 0.98), st.data())
def test_a_point_on_the_curve_changes_nothing(ps: list[tuple[float, float]], share: float, data: st.DataObject) -> None:
    ps = sorted(ps)
    i = data.draw(st.integers(0, len(ps) - 2))
    (x0, y0), (x1, y1) = ps[i], ps[i + 1]
    more = [*ps, (x0 + share * (x1 - x0), y0 + share * (y1 - y0))]
    plain, fuller = (curve([math.exp(x) for x, _ in p], [y for _, y in p]) for p in (ps, more))
    lo, hi = plain.log_tokens[:, 0], plain.log_tokens[:, -1] + 1.0
    np.testing.assert_allclose(fuller.area(lo, hi), plain.area(lo, hi), atol=1e-9)
    middle = (lo + hi) / 2
    np.testing.assert_allclose(fuller.at(middle), plain.at(middle), atol=1e-6)


@given(points, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_areas_add_up_and_stay_between_the_extremes(ps: list[tuple[float, float]], a: float, b: float) -> None:
    c = curve([math.exp(x) for x, _ in ps], [y for _, y in ps])
    lo, hi = c.log_tokens[:, 0], c.log_tokens[:, -1] + 2.0
    cut = lo + a * (hi - lo)
    whole, left, right = c.area(lo, hi), c.area(lo, cut), c.area(cut, hi)
    np.testing.assert_allclose(left * (cut - lo) + right * (hi - cut), whole * (hi - lo), atol=1e-6)
    accuracies = [y for _, y in ps]
    assert min(accuracies) - 1e-9 <= whole[0] <= max(accuracies) + 1e-9
    raised = Curves(c.tokens, c.accuracy + b)
    np.testing.assert_allclose(raised.area(lo, hi), whole + b, atol=1e-9)


@given(points, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_higher_accuracy_never_takes_fewer_tokens(ps: list[tuple[float, float]], a: float, b: float) -> None:
    c = curve([math.exp(x) for x, _ in ps], [y for _, y in ps])
    low, high = c.reach(np.array(min(a, b))), c.reach(np.array(max(a, b)))
    assert np.isnan(high[0]) or low[0] <= high[0] * (1 + 1e-9)
    if not np.isnan(low[0]) and low[0] > c.tokens[0, 0]:
        np.testing.assert_allclose(c.at(np.log(low) + 1e-12), min(a, b), atol=1e-4)


def simulated(rng: np.random.Generator, questions: int = 40, shift: float = 0.0, name: str = "cmc") -> Frontier:
    chances = np.clip(rng.beta(1.0, 1.0, size=questions) + shift, 0, 1)
    results = [result(rng.random((20, questions)) < chances, rng.integers(900, 1100, (20, questions)), controller=name)]
    return Frontier.from_results(name, results)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    covered = []
    for seed in range(400):
        interval = simulated(rng).interval(Peak(), level=0.9, resamples=400, seed=seed)
        covered.append(interval.low <= 0.5 <= interval.high)
    assert 0.85 <= np.mean(covered) <= 0.94


def test_the_interval_of_a_mean_agrees_with_its_standard_error() -> None:
    f = simulated(np.random.default_rng(2), questions=200)
    per_question = f.stores[0].accuracy[0]
    half = 1.96 * per_question.std() / math.sqrt(200)
    ((accuracy, tokens),) = f.point_intervals(resamples=4000)
    assert accuracy.estimate == pytest.approx(per_question.mean())
    assert accuracy.high - accuracy.low == pytest.approx(2 * half, rel=0.08)
    assert accuracy.low < accuracy.estimate < accuracy.high
    assert tokens.estimate == pytest.approx(f.points[0].tokens)
    assert tokens.low < tokens.estimate < tokens.high


def test_the_ends_are_order_statistics() -> None:
    values = np.concatenate([[50.0], np.random.default_rng(0).permutation(np.arange(1.0, 100.0))])
    interval = Bootstrap(values[None], larger_is_better=True).interval(0, level=0.9)
    assert (interval.estimate, interval.low, interval.high, interval.defined) == (50.0, 5.0, 95.0, 1.0)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    f = simulated(np.random.default_rng(3))
    assert f.interval(Peak(), seed=5) == f.interval(Peak(), seed=5)
    assert f.interval(Peak(), seed=5) != f.interval(Peak(), seed=6)


def test_a_family_compared_with_itself_is_a_tie() -> None:
    f = simulated(np.random.default_rng(4))
    for statistic in (Peak(), Area(), TokensToReach(0.5), AccuracyAt(1000), TokensToReach(1.0)):
        comparison = compare(f, f, statistic)
        assert comparison.probability == 0.5
        assert (comparison.difference.low, comparison.difference.high) == (0.0, 0.0)
        assert comparison.difference.estimate == 0.0 or math.isnan(comparison.difference.estimate)


def test_pairing_takes_out_what_is_common_to_both_families() -> None:
    rng = np.random.default_rng(5)
    hard = np.arange(60) < 30
    one = Frontier.from_results("a", [result(hard, 1000)])
    extra = hard.copy()
    extra[40:46] = True  # six questions more, none fewer
    two = Frontier.from_results("b", [result(extra, rng.integers(500, 600, 60))])
    apart = two.interval(Peak()).low - one.interval(Peak()).high
    better = compare(two, one, Peak())
    assert apart < 0
    assert better.difference.estimate == pytest.approx(0.1)
    assert better.difference.low > 0
    assert better.probability > 0.99
    assert compare(one, two, Peak()).probability == pytest.approx(1 - better.probability)
    assert compare(two, one, TokensToReach(one)).probability == 1.0


def test_models_that_answered_the_same_benchmark_are_resampled_together() -> None:
    correct = np.random.default_rng(6).random((1, 50)) < 0.5
    together = [result(correct, 100, "m/x"), result(~correct, 100, "n/x")]
    apart = [result(correct, 100, "m/x"), result(~correct, 100, "n/y")]
    joint = Frontier.from_results("joint", together).interval(Peak())
    separate = Frontier.from_results("separate", apart).interval(Peak())
    assert joint.high - joint.low == pytest.approx(0.0, abs=1e-12)
    assert separate.high - separate.low > 0.1


def test_stores_of_one_benchmark_with_other_numbers_of_questions_are_resampled_apart() -> None:
    correct = np.random.default_rng(6).random((1, 50)) < 0.5
    f = Frontier.from_results("f", [result(correct, 100, "m/x"), result(~correct[:, :40], 100, "n/x")])
    interval = f.interval(Peak())
    assert interval.high - interval.low > 0.1


def test_resamples_of_a_benchmark_do_not_depend_on_what_else_is_there() -> None:
    rng = np.random.default_rng(7)
    x, y = rng.random((3, 30)) < 0.5, rng.random((3, 20)) < 0.5
    both = Frontier.from_results("f", [result(y, 100, "m/y"), result(x, 100, "m/x")])
    alone = Frontier.from_results("f", [result(x, 100, "m/x")])
    assert both.on(["m/x"]).interval(Peak()) == alone.interval(Peak())


def test_an_accuracy_out_of_reach_counts_as_infinitely_many_tokens() -> None:
    f = family([(0.5, 1000)], questions=30)
    sometimes = f.interval(TokensToReach(0.5))
    assert sometimes.estimate == 1000
    assert sometimes.defined == pytest.approx(0.572, abs=0.04)  # P(Binomial(30, 1/2) >= 15)
    assert (sometimes.low, sometimes.high) == (1000, math.inf)
    never = family([(0.0, 1000)]).interval(TokensToReach(0.5))
    assert math.isnan(never.estimate)
    assert (never.low, never.high, never.defined) == (math.inf, math.inf, 0.0)
    comparison = compare(f, family([(0.0, 500)], questions=30), TokensToReach(0.5))
    assert comparison.probability == pytest.approx(0.5 + sometimes.defined / 2)
    assert comparison.difference.low == -math.inf
    assert math.isnan(comparison.difference.estimate)
    assert comparison.difference.defined == 0.0


def test_a_budget_below_the_cheapest_setting_counts_as_the_worst_accuracy() -> None:
    interval = family([(0.5, 1000)]).interval(AccuracyAt(500))
    assert math.isnan(interval.estimate)
    assert (interval.low, interval.high, interval.defined) == (-math.inf, -math.inf, 0.0)


def test_a_reference_sets_the_target_anew_in_each_resample() -> None:
    f = simulated(np.random.default_rng(8))
    own = f.interval(TokensToReach(f))
    assert own.defined == 1.0
    assert own.estimate == pytest.approx(f.points[0].tokens)
    saving = f.interval(Saving(f))
    assert (saving.estimate, saving.low, saving.high) == pytest.approx((0.0, 0.0, 0.0), abs=1e-12)


def test_saving_is_the_share_of_the_references_tokens() -> None:
    reference = family([(0.6, 1000)], "sc")
    cheap = family([(0.2, 25), (0.8, 400)])
    expected = 1 - math.exp(math.log(25) + 2 / 3 * math.log(16)) / 1000
    assert cheap.estimate(Saving(reference)) == pytest.approx(expected)
    assert cheap.along("sequential_tokens").estimate(Saving(reference)) > 0.5
    assert math.isnan(family([(0.2, 25)]).estimate(Saving(reference)))


def test_points_against_a_reference_give_differences_and_savings() -> None:
    reference = family([(0.6, 1000)], "sc")
    cheap, dear = family([(0.8, 1500), (0.6, 250)]).point_intervals(reference)
    assert [interval.estimate for interval in (*cheap, *dear)] == pytest.approx([0.0, 0.75, 0.2, -0.5])
    assert (cheap[0].low, cheap[0].high) == (0.0, 0.0)
    assert dear[0].low < 0.2 < dear[0].high


def test_areas_of_several_families_share_the_range_on_which_all_are_defined() -> None:
    wide, narrow = family([(0.0, 10), (0.4, 1000)]), family([(0.5, 100)], "sc")
    values = bootstrap([wide, narrow], Area(), resamples=10).values
    assert values[0, 0] == pytest.approx(wide.area(100, 1000)) == pytest.approx(0.3)
    assert values[1, 0] == pytest.approx(0.5)
    assert np.isfinite(values).all()


def test_families_are_split_by_controller_and_the_reference_is_the_widest_self_consistency() -> None:
    results = [
        result([1], 10, controller="sc", params={"branches": 16}),
        result([1], 40, controller="sc", params={"branches": 64}),
        result([1], 10, params={"beta": 0.1}),
    ]
    sc, cmc = Frontier.families(results)
    assert (sc.name, cmc.name) == ("sc", "cmc")
    reference = find_reference([cmc, sc])
    assert reference is not None
    assert [setting.label for setting in reference.settings] == ["sc(branches=64)"]
    assert find_reference([cmc]) is None


def test_short_labels_leave_out_knobs_that_do_not_vary() -> None:
    results = [result([1], n, controller="esc", params={"branches": n, "window": 8}) for n in (16, 64)]
    f = Frontier.from_results("esc", results)
    assert [setting.short for setting in f.settings] == ["esc(branches=16)", "esc(branches=64)"]
    assert Frontier.from_results("esc", results[:1]).settings[0].short == "esc(branches=16, window=8)"
    assert [setting.label for setting in f.select(branches=64, window=8).settings] == ["esc(branches=64, window=8)"]


one = result([1, 0], 100)


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([], "expected at least one result, got none"),
        ([one, one], r"expected one result of cmc\(beta=0.5\) on m/b, got two"),
        ([one, result([1, 0], 9, "m/c", params={"beta": 1})], r"cmc\(beta=1\): expected results on m/b, got m/c"),
        ([one, result([1], 9, params={"beta": 1})], r"expected 2 questions on m/b, got 1"),
        ([one, result([1, 0], 9, accounting="autotts", params={"beta": 1})], "expected accounting 'exact', got 'auto"),
        ([one, result([1], 9, "m/c", accounting="autotts")], "expected accounting 'exact', got 'autotts'"),
    ],
)
def test_results_that_do_not_belong_together_are_refused(results: list[EvaluationResult], message: str) -> None:
    with pytest.raises(AutottsError, match=message):
        Frontier.from_results("cmc", results)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda f: f.along("steps"), "x: expected one of total_tokens, sequential_tokens, got 'steps'"),
        (lambda f: f.on(["nope"]), r"expected stores among m/b, got \['nope'\]"),
        (lambda f: f.on([]), "expected stores among m/b"),
        (lambda f: f.select(beta=9), r"expected a setting among cmc\(beta=0\), got {'beta': 9}"),
        (lambda f: f.area(100, 10), "expected 0 < lo <= hi"),
        (lambda f: f.area(0), "expected 0 < lo <= hi"),
        (lambda f: f.accuracy_at(-1), "expected tokens > 0"),
        (lambda f: f.tokens_to_reach(56.7), r"expected an accuracy in \[0, 1\], got 56.7"),
        (lambda f: f.interval(Peak(), level=95), r"expected a level in \(0, 1\), got 95"),
        (lambda f: f.interval(Peak(), resamples=0), "expected at least 1 resample, got 0"),
        (lambda f: f.interval(Peak(), seed=-1), "expected resamples >= 0 and seed >= 0"),
        (lambda f: compare(f, f.along("sequential_tokens"), Peak()), "expected families along one token axis"),
        (lambda f: compare(f, family([(1.0, 9)], questions=7), Peak()), r"stores.*m/b \(10\).*got m/b \(7\)"),
        (lambda f: f.tokens_to_reach(family([(1.0, 9)], questions=7)), r"m/b \(10\).*got m/b \(7\)"),
    ],
)
def test_bad_use_is_refused_in_one_line(use: Any, message: str) -> None:
    with pytest.raises(AutottsError, match=message) as caught:
        use(family([(0.5, 100)]))
    assert "\n" not in str(caught.value)


def test_settings_that_cost_nothing_count_as_one_token() -> None:
    f = family([(0.0, 0), (0.5, 100)])
    assert f.area() == pytest.approx(0.25)
    assert f.accuracy_at(10) == pytest.approx(0.25)


def test_the_size_of_the_published_grid_is_resampled_in_well_under_a_second() -> None:
    rng = np.random.default_rng(9)

    def store(i: int) -> str:
        return f"m{i // 2}/b{i % 2}"

    def draw() -> npt.NDArray[np.bool_]:
        return rng.random((5, 30)) < 0.5

    results = [result(draw(), 100 * (k + 1), store(i), params={"beta": k}) for i in range(8) for k in range(10)]
    f = Frontier.from_results("cmc", results)
    start = time.perf_counter()
    f.interval(Area(), resamples=2000)
    assert time.perf_counter() - start < 1.0
