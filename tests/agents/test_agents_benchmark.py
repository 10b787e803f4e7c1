import csv
import json
import math
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import mean

import numpy as np
import pytest
from scaled import scaled
from scipy import stats
from tiny import SMALL

from agents.benchmark import LEVELS, Entrant, benchmark, cost_weights, load_agents, load_programs, main, seed_interval
from agents.config import Config
from agents.policies import make_model, policy_card, save_policy
from agents.vec_env import make_vec_env
from autotts_gym import evaluate, load_store, make_controller
from autotts_gym.controllers.policies import Policy
from autotts_gym.errors import AutottsError
from autotts_gym.evaluation import Frontier
from autotts_gym.evaluation.families import readable
from autotts_gym.evaluation.frontier import find_reference
from autotts_gym.replay import synthesize

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("--seeds", "2", "--points", "2", "--resamples", "20", "--workers", "1")
HAND_WRITTEN = ["sc", "asc", "esc", "parallel_probe", "cmc"]


def untrained(folder, name, seed, **values):
    """The folder of a run with a policy that has learned nothing."""
    config = Config(**{**SMALL, "name": name, "seed": seed, "log_dir": str(folder), **values})
    env = make_vec_env(config.env, 1, cost_weight=config.cost_weight, **config.env_arguments)
    run = folder / name
    run.mkdir(parents=True)
    (run / "config.json").write_text(config.to_json())
    save_policy(make_model(config, env), run / "best.zip", policy_card(config, ["synthetic/search"], "made", "none"))
    env.close()
    return run / "best.zip"


@pytest.fixture(scope="module")
def policies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [untrained(folder, f"tiny-seed{seed}", seed) for seed in (0, 1)]


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    made = [synthesize(4, 8, seed=seed, model=model, benchmark="x") for seed, model in ((1, "a"), (2, "b"))]
    return [store.save(folder / f"{store.model}.h5") for store in made]


@pytest.fixture(scope="module")
def out(policies, stores, tmp_path_factory):
    """What the command writes of two training seeds on two stores, and what it prints."""
    folder = tmp_path_factory.mktemp("out")
    command = [sys.executable, "-W", "error", "-m", "agents.benchmark", "--policy", *policies, "--store", *stores]
    done = subprocess.run([*command, *QUICK, "--out", folder], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    (folder / "printed.txt").write_text(done.stdout)
    return folder


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_cost_weights_lie_in_equal_ratios_over_the_trained_range_from_dear_to_cheap():
    weights = cost_weights({"cost_weight": [0.01, 1.0]}, 3)
    assert weights == pytest.approx([1.0, 0.1, 0.01])
    assert len(cost_weights({"cost_weight": [0.01, 1.0]})) == 12


def test_a_policy_of_one_price_is_one_point():
    assert cost_weights({"cost_weight": [0.3, 0.3]}, 7) == pytest.approx([0.3])
    assert cost_weights({"cost_weight": [0.01, 1.0]}, 1) == pytest.approx([0.1])


def test_no_points_are_refused():
    with pytest.raises(AutottsError, match="points: expected at least 1, got 0"):
        cost_weights({"cost_weight": [0.01, 1.0]}, 0)


def test_policies_that_differ_in_their_seed_only_are_one_agent(policies):
    (agent,) = load_agents(policies)
    assert agent.name == "tiny"
    assert list(agent.policies) == ["tiny-seed0", "tiny-seed1"]


def test_policies_of_other_hyper_parameters_are_agents_of_their_own(policies, tmp_path):
    other = untrained(tmp_path, "other", 1, learning_rate=0.1)
    agents = load_agents([policies[0], other])
    assert [agent.name for agent in agents] == ["tiny-seed0", "other"]
    assert all(len(agent.policies) == 1 for agent in agents)


def test_policies_outside_of_their_runs_are_distinguished_by_their_cards(policies, tmp_path):
    paths = [shutil.copy(path, tmp_path / f"agent_{seed}.zip") for seed, path in enumerate(policies)]
    (agent,) = load_agents(paths)
    assert (agent.name, list(agent.policies)) == ("agent", ["agent_0", "agent_1"])
    same_seed = shutil.copy(policies[0], tmp_path / "again.zip")
    assert [agent.name for agent in load_agents([paths[0], same_seed])] == ["agent_0", "again"]


def test_two_policies_of_one_run_carry_their_files_names(policies, tmp_path):
    run = shutil.copytree(policies[0].parent, tmp_path / "run")
    shutil.copy(run / "best.zip", run / "final.zip")
    agents = load_agents([run / "best.zip", run / "final.zip"])
    assert [agent.name for agent in agents] == ["run-best", "run-final"]


def test_a_policy_may_not_bear_the_name_of_a_controller(policies, tmp_path):
    shutil.copy(policies[0], tmp_path / "cmc.zip")
    with pytest.raises(AutottsError, match="expected different names, got cmc more than once"):
        load_agents([tmp_path / "cmc.zip"], taken=HAND_WRITTEN)


def test_one_policy_plays_as_evaluate_plays_it(policies, stores):
    agents = load_agents(policies[:1])
    comparison = benchmark(agents, [load_store(stores[0])], seeds=range(2), points=2, resamples=20)
    assert comparison.seeds == {}
    assert comparison.by_store() == []
    assert {row["family"] for row in comparison.by_level().records()} == {"tiny-seed0"}
    assert [family.name for family in comparison.report.families] == [*HAND_WRITTEN, "tiny-seed0"]
    for weight in cost_weights(agents[0].policies["tiny-seed0"].card, 2):
        controller = make_controller(policies[0], cost_weight=weight)
        expected = evaluate(controller, stores[0], seeds=range(2), max_branches=8, accounting="autotts")
        (got,) = [
            result
            for result in comparison.report.results
            if result.controller == "tiny-seed0" and result.params == controller.params
        ]
        np.testing.assert_array_equal(got.correct, expected.correct)
        np.testing.assert_array_equal(got.total_tokens, expected.total_tokens)


def test_an_agent_is_the_average_of_its_training_seeds(policies, stores):
    made = [load_store(path) for path in stores]
    comparison = benchmark(load_agents(policies), made, seeds=range(2), points=2, resamples=20)
    (family,) = [family for family in comparison.report.families if family.name == "tiny"]
    seeds = comparison.seeds["tiny"]
    assert [each.name for each in seeds] == ["tiny-seed0", "tiny-seed1"]
    for i in range(2):
        for part in range(2):
            accuracy = [each.stores[part].accuracy[i] for each in seeds]
            tokens = [each.stores[part].total_tokens[i] for each in seeds]
            np.testing.assert_allclose(family.stores[part].accuracy[i], np.mean(accuracy, axis=0))
            np.testing.assert_allclose(family.stores[part].total_tokens[i], np.mean(tokens, axis=0))


def test_several_processes_give_the_same_report(policies, stores):
    one, two = (
        benchmark(
            load_agents(policies), [load_store(stores[0])], seeds=range(2), points=2, resamples=20, workers=workers
        )
        for workers in (1, 2)
    )
    assert [table.to_csv() for table in one.tables()] == [table.to_csv() for table in two.tables()]


def test_a_program_is_swept_beside_cmc_at_the_same_betas(stores, tmp_path):
    shutil.copy(ROOT / "agents" / "programs" / "cmc.py", tmp_path / "best.py")
    programs = load_programs([tmp_path / "best.py"], 3)
    name = tmp_path.name
    made = [load_store(path) for path in stores]
    comparison = benchmark([], made, programs=programs, seeds=range(2), resamples=20)
    families = {family.name: family for family in comparison.report.families}
    assert [setting.params["beta"] for setting in families[name].settings] == [0.0, 0.5, 1.0]
    assert {0.0, 0.5, 1.0} <= {setting.params["beta"] for setting in families["cmc"].settings}
    levels = comparison.by_level().records()
    assert [row["tokens"] for row in levels] == ["80k", "100k", "150k", "200k", "250k", "300k", "400k", "500k", "600k"]
    for row, level in zip(levels, LEVELS, strict=True):
        own, rival = (families[family].accuracy_at(level * 1_000_000) for family in (name, "cmc"))
        assert row["accuracy"] == pytest.approx(own, nan_ok=True)
        assert row["difference"] == pytest.approx(own - rival, nan_ok=True)
        assert math.isnan(own) or row["difference_low"] <= row["difference"] <= row["difference_high"]


def test_levels_are_shares_of_the_token_unit(tmp_path):
    shutil.copy(ROOT / "agents" / "programs" / "cmc.py", tmp_path / "best.py")
    short = scaled(synthesize(4, 8, interval_tokens=5), 1, 8_000)
    programs = load_programs([tmp_path / "best.py"], 2)
    levels = benchmark([], [short], programs=programs, seeds=range(1), resamples=20).by_level().records()
    assert [row["tokens"] for row in levels] == ["640", "800", "1.2k", "1.6k", "2k", "2.4k", "3.2k", "4k", "4.8k"]


def test_the_command_compares_a_program(stores, tmp_path, capsys):
    source = ROOT / "agents" / "programs" / "sc.py"
    command = ["--program", str(source), "--store", str(stores[0]), "--betas", "2", *QUICK, "--out", str(tmp_path)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "Beside CMC at equal tokens" in printed
    assert f"sc.py: {source}" in printed
    assert {row["family"] for row in rows(tmp_path / "levels.csv")} == {"sc.py"}


def test_programs_of_one_name_are_distinguished_or_refused(tmp_path):
    source = ROOT / "agents" / "programs" / "sc.py"
    assert list(load_programs([source], 2)) == ["sc"]
    assert list(load_programs([source], 2, taken=HAND_WRITTEN)) == ["sc.py"]
    with pytest.raises(AutottsError, match="expected different names, got sc more than once"):
        load_programs([source, source], 2)
    with pytest.raises(AutottsError, match="betas: expected at least 2, got 1"):
        load_programs([source], 1)


def test_no_policy_is_refused(stores):
    with pytest.raises(AutottsError, match="policies: expected at least one, or a program, got none"):
        benchmark([], [load_store(stores[0])])


def test_policies_of_different_branch_slots_are_not_compared(policies, stores, tmp_path):
    wide = untrained(tmp_path, "wide", 0, max_branches=16)
    with pytest.raises(AutottsError, match="expected one number of branch slots"):
        benchmark(load_agents([policies[0], wide]), [load_store(stores[0])])


def test_an_entrant_leaves_its_network_behind_when_it_travels(policies):
    entrant = Entrant("me", Policy(policies[0], cost_weight=0.5))
    again = pickle.loads(pickle.dumps(entrant))
    assert (again.name, again.params) == ("me", {"cost_weight": 0.5})
    assert again.policy._model is None


@pytest.mark.parametrize("count", [2, 3, 11, 12, 31])
def test_the_interval_over_training_seeds_is_students(count):
    values = list(np.random.default_rng(count).normal(5.0, 2.0, count))
    low, high = stats.t.interval(0.95, count - 1, loc=mean(values), scale=stats.sem(values))
    interval = seed_interval(values)
    assert (interval.estimate, interval.low, interval.high) == pytest.approx((mean(values), low, high), rel=1e-3)
    assert interval.defined == 1.0


def test_the_mean_of_what_a_training_seed_never_reaches_is_undefined():
    interval = seed_interval([1.0, math.nan])
    assert math.isnan(interval.estimate)
    assert interval.defined == 0.5
    with pytest.raises(AutottsError, match="training seeds: expected at least 2, got 1"):
        seed_interval([1.0])


def test_the_command_writes_tables_figures_and_budget_curves(out):
    written = {path.name for path in out.iterdir()}
    assert written >= {
        "results.json", "comparison.md", "statistics.md", "statistics_stores.md", "statistics_stores.csv", "seeds.md",
        "seeds.csv", "frontier.png", "frontier.svg", "frontier_stores.png", "tensorboard",
    }  # fmt: skip
    runs = {path.name for path in (out / "tensorboard").iterdir() if path.is_dir()}
    assert runs >= {*map(readable, HAND_WRITTEN), "tiny", "tiny-seed0", "tiny-seed1"}


def test_the_command_shows_agents_beside_controllers(out):
    printed = (out / "printed.txt").read_text()
    assert "Training seeds of tiny" in printed
    assert "mean of 2 seeds" in printed
    assert "tiny-seed0: " in printed
    assert "trained on synthetic/search" in printed
    assert [row["family"] for row in rows(out / "statistics.csv")] == ["asc", "esc", "parallel_probe", "cmc", "tiny"]
    assert {row["family"] for row in rows(out / "comparison.csv")} == {*HAND_WRITTEN, "tiny"}
    assert "probability_area" in rows(out / "statistics.csv")[0]


def test_statistics_of_a_store_are_those_of_its_own_frontiers(out, policies, stores):
    comparison = benchmark(load_agents(policies), [load_store(path) for path in stores], seeds=range(2), points=2)
    table = rows(out / "statistics_stores.csv")
    assert [row["store"] for row in table] == ["a/x"] * 5 + ["b/x"] * 5
    alone: list[Frontier] = [family.on(["b/x"]) for family in comparison.report.families]
    reference = find_reference(alone)
    assert reference is not None
    (row,) = [row for row in table if (row["store"], row["family"]) == ("b/x", "tiny")]
    (tiny,) = [family for family in alone if family.name == "tiny"]
    assert float(row["peak_accuracy"]) == pytest.approx(tiny.peak.accuracy)
    reached = tiny.tokens_to_reach(reference)
    assert (float(row["tokens_to_reach"]) if row["tokens_to_reach"] else math.nan) == pytest.approx(
        reached, nan_ok=True
    )


def test_the_table_of_training_seeds_ends_with_their_mean(out):
    table = rows(out / "seeds.csv")
    assert [(row["agent"], row["family"]) for row in table] == [
        ("tiny", "tiny-seed0"), ("tiny", "tiny-seed1"), ("tiny", "mean of 2 seeds"),
    ]  # fmt: skip
    peaks = [float(row["peak_accuracy"]) for row in table]
    assert peaks[2] == pytest.approx((peaks[0] + peaks[1]) / 2)
    expected = seed_interval(peaks[:2])
    assert float(table[2]["peak_accuracy_low"]) == pytest.approx(expected.low)


def test_the_results_name_an_agent_once(out):
    results = json.loads((out / "results.json").read_text())["results"]
    assert {result["controller"] for result in results} == {*HAND_WRITTEN, "tiny"}
    assert {result["seeds"] for result in results if result["controller"] == "tiny"} == {4}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--policy", "absent.zip"], "absent.zip: no such file"),
        (["--policy", "{policy}", "--store", "nowhere/none"], "nowhere/none"),
        (["--policy", "{policy}", "--store", "{store}", "--seeds", "0"], "seeds: expected at least one, got none"),
        (["--policy", "{policy}", "--store", "{store}", "--points", "0"], "points: expected at least 1, got 0"),
        (
            ["--policy", "{policy}", "--store", "{store}", "--workers", "0"],
            "workers: expected a whole number from 1 to 2147483647, got 0",
        ),
        (["--policy", "{policy}", "{policy}", "--store", "{store}"], "expected every policy once, got it twice"),
        (["--policy", "{policy}", "--store", "{store}", "{store}"], "expected different names"),
        (["--policy", "{store}", "--store", "{store}"], "expected a policy of agents.train"),
        (["--policy", "{policy}", "--store", "{store}", "--out", "{policy}"], "cannot be written to"),
    ],
)
def test_bad_use_is_refused_in_one_line(arguments, words, policies, stores, capsys):
    code = main([argument.format(policy=policies[0], store=stores[0]) for argument in arguments])
    printed = capsys.readouterr()
    assert code == 2
    assert printed.out == ""
    assert words in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["--policy", "x.zip", "--seeds", "many"], ["--policy", "x.zip", "--what"]])
def test_a_command_line_that_is_not_understood_ends_with_code_two(arguments, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1
