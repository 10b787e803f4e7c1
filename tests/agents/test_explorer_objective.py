from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.explorer.objective import Loss, Objective, Scale, choose_parents
from autotts_gym.evaluation import EvaluationResult, Frontier
from autotts_gym.evaluation.frontier import Draws


def family(correct, tokens, name="p", store="m/b"):
    """A family of one store; both (settings, seeds, questions)."""
    results = []
    for i, (right, spent) in enumerate(zip(correct, tokens, strict=True)):
        right, spent = np.asarray(right, bool), np.asarray(spent, np.int64)
        ones = np.ones(right.shape, np.int32)
        results.append(
            EvaluationResult(
                controller=name, params={"beta": i / 10}, store=store, model="m", benchmark="b", accounting="exact",
                max_branches=4, seeds=tuple(range(len(right))), correct=right, total_tokens=spent,
                sequential_tokens=spent, branches_opened=ones, branches_pruned=0 * ones,
            )
        )  # fmt: skip
    return Frontier.from_results(name, results)


def drawn(seed, settings=3, questions=12, chance=0.5):
    draw = np.random.default_rng(seed)
    shape = (settings, 2, questions)
    return draw.random(shape) < chance, draw.integers(10_000, 900_000, shape)


def test_the_objective_is_the_mean_over_weights_of_the_best_return():
    swept = family([[[1, 0]], [[1, 1]]], [[[100_000, 100_000]], [[1_000_000, 1_000_000]]])
    objective = Objective((0.1, 1.0))
    # At 0.1: 0.5 - 0.01 or 1 - 0.1. At 1: 0.5 - 0.1 or 1 - 1.
    assert objective.best_returns(swept) == pytest.approx([0.9, 0.4])
    assert objective([swept], Draws(swept))[0, 0] == pytest.approx(0.65)
    assert objective.best_setting(swept) == 0


def test_stores_weigh_the_same():
    one = family([[[1, 1, 1, 1]]], [[[0, 0, 0, 0]]], store="m/x")
    two = family([[[0]]], [[[0]]], store="m/y")
    both = Frontier("p", one.settings, (*one.stores, *two.stores), "exact")
    assert Objective((0.1,)).best_returns(both) == pytest.approx([0.5])


@given(st.integers(0, 1000), st.integers(2, 30))
def test_left_out_questions_are_those_a_resample_lacks(seed, questions):
    swept = family(*drawn(seed, 1, questions))
    draws = Draws(swept, 20, seed)
    inside, outside = (next(iter(each._counts.values())) for each in (draws, draws.left_out()))
    assert np.allclose(outside.sum(axis=1), questions)
    for within, without in zip(inside[1:], outside[1:], strict=True):
        if (within > 0).all():
            assert np.allclose(without, within)
        else:
            assert ((within == 0) == (without > 0)).all()
            assert len(set(without[without > 0])) == 1
    assert (outside[0] == 1).all()


def test_the_estimate_is_what_a_loop_over_resamples_gives():
    correct, tokens = drawn(3)
    swept = family(correct, tokens)
    objective, resamples = Objective((0.05, 0.5)), 50
    counts = next(iter(Draws(swept, resamples)._counts.values()))[1:]
    accuracy, spent = correct.mean(axis=1), tokens.mean(axis=1) / 1e6
    values = []
    for count in counts:
        for weight in objective.weights:
            returns = accuracy - weight * spent
            best = max(range(3), key=lambda k: (returns[k] * count).sum())
            values.append(returns[best][count == 0].mean())
    found = Scale(objective, 0.0, resamples=resamples).figures(swept, swept)
    assert found.estimate == pytest.approx(np.mean(values))
    assert found.score == found.estimate


def test_choosing_among_settings_that_differ_by_luck_is_seen_through():
    plain = family(*(np.stack([a[0]] * 12) for a in drawn(0, 1, 40)))
    correct, _ = drawn(1, 12, 40)
    lucky = family(correct, np.full(correct.shape, 100_000))
    figures = Scale(Objective((0.02, 0.1)), 0.5).figures(lucky, plain)
    assert figures.estimate < figures.objective - 0.01
    assert figures.score < figures.estimate


def test_the_reference_has_no_gain_and_no_error():
    swept = family(*drawn(5))
    figures = Scale(Objective((0.1,)), 2.0).figures(swept, swept)
    assert (figures.gain, figures.gain_low, figures.gain_high, figures.error) == (0, 0, 0, 0)
    assert figures.low <= figures.objective <= figures.high
    assert figures.score == figures.estimate


def test_only_what_is_worse_on_nearly_all_resamples_is_clearly_worse():
    correct, tokens = drawn(7, 2, 30, 0.6)
    swept = family(correct, tokens)
    hopeless = family(correct & False, tokens)
    scale = Scale(Objective((0.1, 0.3)))
    assert scale.clearly_worse(hopeless, swept, 0.95)[0]
    assert not scale.clearly_worse(swept, hopeless, 0.95)[0]
    assert not scale.clearly_worse(swept, swept, 0.95)[0]
    nearly = correct.copy()
    nearly[:, :, 0] = False
    assert not scale.clearly_worse(family(nearly, tokens), swept, 0.95)[0]


def test_parents_come_from_the_frontier_best_first():
    scores, returns = [0.1, 0.5, 0.3, 0.2], [[0.9, 0.0], [0.5, 0.5], [0.1, 0.9], [0.2, 0.2]]
    for seed in range(30):
        chosen = choose_parents(scores, returns, 3, np.random.default_rng(seed))
        assert len(set(chosen)) == 3
        assert [scores[i] for i in chosen] == sorted((scores[i] for i in chosen), reverse=True)
        assert {0, 2} <= set(chosen)  # the best at a weight each
    assert choose_parents([], [], 3, np.random.default_rng(0)) == []
    assert choose_parents([0.5], [[0.1]], 3, np.random.default_rng(0)) == [0]


def test_the_best_program_is_drawn_most_often_and_draws_repeat():
    scores, returns = [0.1, 0.9, 0.5], [[0.0], [1.0], [0.5]]
    first = [choose_parents(scores, returns, 1, np.random.default_rng(seed))[0] for seed in range(300)]
    counts = np.bincount(first, minlength=3)
    assert counts[1] > counts[2] > counts[0] > 0
    assert first == [choose_parents(scores, returns, 1, np.random.default_rng(seed))[0] for seed in range(300)]


@pytest.mark.parametrize(
    ("difference", "high", "error", "table"),
    [
        (-0.30, -0.15, 0.05, True),
        (-0.05, 0.0, 0.027, True),  # a table of three of thirty questions
        (-0.09, 0.06, 0.08, False),  # a rule on six questions
        (-0.03, -0.01, 0.01, False),
        (-0.03, 0.01, 0.02, False),
        (0.02, 0.05, 0.01, False),
    ],
)
def test_a_table_loses_surely_or_more_than_chance_takes(difference, high, error, table):
    assert Loss(0.5, difference, difference - 0.1, high, error).table is table


@given(st.integers(0, 1000), st.integers(1, 1000))
def test_a_price_is_for_the_token_unit_of_each_store(seed, factor):
    correct, tokens = drawn(seed)
    objective = Objective((0.1, 1.0))
    one, other = family(correct, tokens, store="m/x"), family(correct, tokens * factor, store="m/y")
    (means,) = other.stores
    longer = replace(other, stores=(replace(means, token_unit=factor * 10**6),))
    assert objective.best_returns(longer) == pytest.approx(objective.best_returns(one))
    both = replace(one, stores=(*one.stores, *longer.stores))
    assert objective.best_returns(both) == pytest.approx(objective.best_returns(one))
