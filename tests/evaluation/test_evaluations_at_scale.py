"""The token unit in evaluations: the same play at every scale, prices, tables, axes."""

import dataclasses
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scaled import scaled

from autotts_gym import EvaluationResult, evaluate, make_controller, synthesize
from autotts_gym.cli.main import main
from autotts_gym.controllers import controller_families
from autotts_gym.engine import Rules
from autotts_gym.envs.rendering import figure
from autotts_gym.errors import AutottsError
from autotts_gym.evaluation import Frontier
from autotts_gym.evaluation.benchmark import PRESETS, run_benchmark
from autotts_gym.evaluation.diagnosis import diagnose
from autotts_gym.evaluation.runner import evaluate_all
from autotts_gym.evaluation.trace import trace
from autotts_gym.units import shown

LONG = synthesize(6, 24, seed=5, signals=True)
SHORT = scaled(synthesize(6, 24, interval_tokens=5, seed=5, signals=True), 1, 64 * 130, model="short")


@pytest.mark.parametrize("accounting", ["exact", "autotts"])
@pytest.mark.parametrize("name", sorted(controller_families()))
def test_hand_written_controllers_play_the_same_episodes_at_every_scale(name, accounting):
    knobs = [{"beta": 0.3}, {"beta": 1.0}, *([{"weight": "tail"}] if name == "deepconf" else [])]
    for params in knobs:
        controller = make_controller(name, **params)
        results = [
            evaluate(
                controller, scaled(LONG, factor, 700_000), seeds=range(4), accounting=accounting,
                token_budget=None if "beta" in params else 90_000 * factor,
            )
            for factor in (1, 3, 1000)
        ]  # fmt: skip
        for result, factor in zip(results, (1, 3, 1000), strict=True):
            assert result.token_unit == 700_000 * factor
            for field in ("correct", "branches_opened", "branches_pruned"):
                assert (getattr(result, field) == getattr(results[0], field)).all(), field
            for field in ("total_tokens", "sequential_tokens"):
                assert (getattr(result, field) == factor * getattr(results[0], field)).all(), field


def test_the_tail_of_a_signal_follows_the_unit():
    # 2,048 of 10^6 are four intervals of 500 tokens; where the store's unit is half of it, two.
    tails = [
        evaluate(make_controller("deepconf", weight="tail", warm_up=64), store, seeds=range(6), answers=True)
        for store in (LONG, scaled(LONG, 1, 500_000), LONG)
    ]
    half = evaluate(make_controller("deepconf", weight="tail", warm_up=64), LONG, seeds=range(6), token_unit=500_000)
    assert (tails[0].correct == tails[2].correct).all()
    assert (tails[1].correct == half.correct).all()
    assert half.token_unit == 500_000
    assert tails[0].token_unit == 1_000_000


def test_a_result_knows_its_unit_its_price_and_its_file(tmp_path):
    result = evaluate(make_controller("sc", branches=4), SHORT, seeds=range(3))
    assert result.token_unit == result.summary()["token_unit"] == 64 * 130
    paid = 0.5 * result.mean_tokens / (64 * 130) + 0.1 * result.mean_sequential_tokens / (64 * 130)
    assert result.mean_return(0.5, 0.1) == pytest.approx(result.accuracy - paid)
    result.save(tmp_path / "a.npz")
    assert EvaluationResult.load(tmp_path / "a.npz").token_unit == 64 * 130
    with pytest.raises(AutottsError, match="token_unit: expected a whole number"):
        evaluate(make_controller("sc", branches=4), SHORT, token_unit=0)


def results(stores, **rules):
    controllers = [make_controller("sc", branches=n) for n in (1, 4, 16)]
    return evaluate_all(controllers, stores, seeds=range(3), rules=Rules(**rules))


def test_a_family_on_stores_of_several_scales_has_their_mean_unit_and_evens_their_tokens():
    long = scaled(LONG, 1, 64 * 15_000)
    family = Frontier.from_results("sc", results([long, SHORT]))
    assert family.token_unit == pytest.approx((64 * 15_000 + 64 * 130) / 2)
    even = family.evened()
    assert even.token_unit == family.token_unit
    paid: dict[str, list[float]] = {setting.label: [] for setting in family.settings}
    for result in results([long, SHORT]):
        paid[result.label].append(result.accuracy - result.mean_return(1.0))
    price = [np.mean(each) for each in paid.values()]
    assert [point.tokens / even.token_unit for point in even.points] == pytest.approx(price)
    one = Frontier.from_results("sc", results([LONG]))
    for means, evened in zip(one.stores, one.evened().stores, strict=True):
        assert (means.total_tokens == evened.total_tokens).all()
    mixed = [*results([LONG])[:2], *results([LONG], token_unit=5)[2:]]
    with pytest.raises(AutottsError, match="expected a token unit of 1000000 on synthetic/synthetic, got 5"):
        Frontier.from_results("sc", mixed)


@given(st.floats(1, 2**31))
def test_tokens_are_shown_in_numbers_that_people_read(unit):
    amounts = shown(unit)
    assert amounts.size in (1, 1000, 10**6)
    # From a hundredth of what SC@64 spends to all of it: no column of zeros, none of endless digits.
    assert amounts.size == 1 or unit / amounts.size >= 100
    assert unit / amounts.size < 100_000
    assert amounts.heading == f"tokens {amounts.letter}".strip()


def test_tables_of_short_branches_show_tokens_and_those_of_the_published_unit_thousands():
    controllers = PRESETS["quick"].controllers()
    for store, heading in ((SHORT, "tokens"), (LONG, "tokens k")):
        report = run_benchmark([store], controllers, seeds=range(2), resamples=20)
        for table in (*report.comparisons(), report.statistics()):
            headers = {line for column in table.columns for line in column.header if line.startswith("tokens")}
            assert headers <= {heading, f"{heading} to reach"}
            cells = re.findall(r"\d+\.?\d*", table.to_markdown().replace(",", ""))
            assert len(set(cells)) > 10
        diagnosis = diagnose(make_controller("cmc", beta=0.5), store, seeds=range(2))
        assert diagnosis.token_unit == store.token_unit
        for table in (diagnosis.table(), diagnosis.bounds_table()):
            assert (heading,) in {column.header for column in table.columns}


def test_the_axis_of_a_picture_follows_the_unit():
    for store, label, most in ((SHORT, "depth (tokens)", 5 * 80), (LONG, "depth (thousand tokens)", 500 * 80 / 1000)):
        state = trace(make_controller("cmc", beta=0.5), store, 1, 0).state
        axes = figure(state, 0).axes[0]
        assert axes.get_xlabel() == label
        assert 0.1 * most < axes.get_xlim()[1] <= 1.2 * most


def test_commands_take_the_unit_and_tell_it(tmp_path, capsys):
    path = str(SHORT.save(tmp_path / "short.h5"))
    for arguments, unit in (([], 64 * 130), (["--token-unit", "77"], 77)):
        words = ["evaluate", path, "--controller", "sc", "--param", "branches=2", "--seeds", "2", "--json", *arguments]
        assert main(words) == 0
        assert json.loads(capsys.readouterr().out)[0]["token_unit"] == unit
    assert main(["evaluate", path, "--controller", "sc", "--param", "branches=2", "--token-unit", "0"]) == 2
    assert "token_unit: expected a whole number from 1 to" in capsys.readouterr().err
    assert main(["benchmark", path, "--preset", "quick", "--seeds", "2", "--resamples", "20"]) == 0
    shown_text = capsys.readouterr().out
    assert "tokens k" not in shown_text
    assert "tokens" in shown_text


def test_an_example_of_a_diagnosis_is_traced_by_the_same_unit():
    rules = Rules(token_unit=5)
    found = diagnose(make_controller("sc", branches=2), SHORT, seeds=range(2), rules=rules)
    examples = [each for listed in found.overall.examples.values() for each in listed]
    assert all("--token-unit 5" in found.command(example) for example in examples)
    assert examples
    plain = dataclasses.replace(found, rules=Rules())
    assert not any("--token-unit" in plain.command(example) for example in examples)
