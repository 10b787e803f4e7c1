import csv
import json
import os

import matplotlib.image
import pytest
from pools import as_store, ragged_questions

from autotts_gym.controllers import controller_families, make_controller
from autotts_gym.engine import Rules
from autotts_gym.errors import AutottsError, ControllerError
from autotts_gym.evaluation import evaluate
from autotts_gym.evaluation.benchmark import PRESETS, Report, check_writable, run_benchmark
from autotts_gym.replay import ReplayStore, synthesize

KINDS = ("png", "svg", "pdf")
FILES = [
    "results.json", "results.csv", "comparison.md", "comparison.csv", "statistics.md", "statistics.csv",
    *(f"{name}.{kind}" for name in ("frontier", "frontier_stores", "frontier_sequential") for kind in KINDS),
]  # fmt: skip


def small_stores() -> list[ReplayStore]:
    names = (("one", "x"), ("two", "x"), ("one", "y"))
    made = [synthesize(5, 8, seed=i, model=model, benchmark=benchmark) for i, (model, benchmark) in enumerate(names)]
    return [*made, as_store(ragged_questions(3, questions=6), "ragged", "y")]


@pytest.fixture(scope="module")
def report() -> Report:
    controllers = PRESETS["quick"].controllers(["sc", "asc", "cmc"])
    return run_benchmark(small_stores(), controllers, seeds=range(3), resamples=50)


def labels(preset: str, *names: str) -> list[str]:
    return [
        f"{controller.name} {controller.params.get('branches', controller.params.get('beta'))}"
        for controller in PRESETS[preset].controllers(names)
    ]


def test_the_paper_preset_is_the_published_grid():
    powers = (2, 4, 8, 16, 32, 64)
    assert labels("paper") == [
        "sc 64",
        *(f"asc {n}" for n in powers),
        *(f"esc {n}" for n in (16, 32, 64)),
        *(f"parallel_probe {n}" for n in powers),
        *(f"cmc {beta}" for beta in (0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0)),
    ]
    assert (PRESETS["paper"].accounting, PRESETS["paper"].seeds) == ("autotts", 100)


def test_the_default_preset_has_every_family_from_little_to_much_with_its_documented_knobs():
    controllers = PRESETS["default"].controllers()
    assert {controller.name for controller in controllers} == set(controller_families())
    assert (PRESETS["default"].accounting, PRESETS["default"].seeds) == ("exact", 100)
    made = [(controller.name, controller.params) for controller in controllers]
    for name in controller_families():
        for beta in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
            assert (name, make_controller(name, beta=beta).params) in made
        assert made.count((name, make_controller(name).params)) == 1


def test_naming_controllers_restricts_a_preset_and_sweeps_what_it_does_not_list():
    assert labels("paper", "sc") == ["sc 64"]
    assert labels("paper", "cmc", "esc")[-3:] == ["esc 16", "esc 32", "esc 64"]
    assert labels("quick", "doubling") == ["doubling 2", "doubling 11", "doubling 64"]
    with pytest.raises(ControllerError, match="controller: expected one of"):
        PRESETS["quick"].controllers(["magic"])


def test_results_are_those_of_evaluate(report):
    assert len(report.results) == 4 * 9
    for result in (report.results[0], report.results[-1]):
        store = next(store for store in report.stores if store.name == result.store)
        direct = evaluate(make_controller(result.controller, **result.params), store, seeds=range(3))
        assert direct.summary() == result.summary()
        assert (direct.total_tokens == result.total_tokens).all()


def test_there_is_a_table_for_every_benchmark_and_one_of_means(report):
    tables = report.comparisons()
    assert [table.title.partition(":")[0] for table in tables] == ["x", "y", "Mean"]
    record = tables[0].records()[0]
    for name in ("one/x", "two/x", "mean"):
        assert 0 <= record[f"{name}:accuracy"] <= 1
    assert "one/y:accuracy" not in record
    assert record["mean:accuracy"] == pytest.approx((record["one/x:accuracy"] + record["two/x:accuracy"]) / 2)
    mean = tables[2].records()[0]
    assert mean["mean:total_tokens"] == pytest.approx((mean["x:total_tokens"] + mean["y:total_tokens"]) / 2)
    alone = run_benchmark([synthesize(3, 4)], [make_controller("sc")], seeds=[0], resamples=5)
    assert len(alone.comparisons()) == 1


def test_statistics_compare_curves_with_cmc_and_take_single_settings_as_references(report):
    records = report.statistics().records()
    assert [record["family"] for record in records] == ["sc", "asc", "cmc"]
    assert records[2]["probability_area"] == 0.5
    assert report.statistics(rival="asc").records()[1]["probability_area"] == 0.5
    stores, names = small_stores()[:1], ["sc", "asc", "esc"]
    paper = run_benchmark(stores, PRESETS["paper"].controllers(names), seeds=[0], resamples=20)
    records = paper.statistics().records()
    assert [record["family"] for record in records] == ["asc", "esc"]
    assert records[0]["probability_tokens_to_reach"] == 0.5
    only = run_benchmark(stores, [make_controller("sc")], seeds=[0], resamples=20)
    assert [record["family"] for record in only.statistics().records()] == ["sc"]


def test_every_file_is_written_and_can_be_read(report, tmp_path):
    out = tmp_path / "new" / "folder"
    assert report.write(os.fspath(out)) == [out / name for name in FILES]
    assert sorted(os.listdir(out)) == sorted(FILES)
    written = json.loads((out / "results.json").read_text())
    assert written["seeds"] == [0, 1, 2]
    assert set(written["versions"]) == {"autotts_gym", "numpy", "python"}
    assert [store["name"] for store in written["stores"]] == [store.name for store in report.stores]
    assert written["stores"][0]["attributes"]["synthetic"] is True
    assert written["results"] == [result.summary() for result in report.results]
    with (out / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["accuracy"]) for row in rows] == [result.accuracy for result in report.results]
    assert [json.loads(row["params"]) for row in rows] == [result.params for result in report.results]
    with (out / "comparison.csv").open() as file:
        comparison = list(csv.DictReader(file))
    assert len(comparison) == 9
    assert {"ragged/y:accuracy", "mean:total_tokens"} <= set(comparison[0])
    assert (out / "comparison.md").read_text().count("\n### ") == 2
    for name in ("frontier.png", "frontier_stores.png", "frontier_sequential.png"):
        assert matplotlib.image.imread(out / name).std() > 0.05
    assert (out / "frontier.svg").read_text().startswith("<?xml")


def test_one_store_gives_one_set_of_files(tmp_path):
    alone = run_benchmark([synthesize(4, 6)], PRESETS["quick"].controllers(["sc", "cmc"]), seeds=[0], resamples=20)
    written = alone.write(tmp_path)
    assert [path.name for path in written] == [name for name in FILES if "stores" not in name]
    contents = [path.read_bytes() for path in written]
    assert len(set(contents)) == len(contents)


def test_the_same_settings_give_the_same_files_for_any_number_of_workers(report, tmp_path):
    controllers = PRESETS["quick"].controllers(["sc", "asc", "cmc"])
    again = run_benchmark(small_stores(), controllers, seeds=range(3), resamples=50, workers=2)
    for folder, each in (("one", report), ("two", again)):
        each.write(tmp_path / folder)
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_an_interrupted_write_leaves_whole_files_only(report, tmp_path, monkeypatch):
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("autotts_gym.evaluation.benchmark.plot_frontiers", interrupt)
    with pytest.raises(KeyboardInterrupt):
        report.write(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(FILES[:6])


def test_bad_use_is_refused_before_anything_is_played(tmp_path):
    store, controller = synthesize(2, 2), make_controller("sc")
    with pytest.raises(AutottsError, match="stores: expected different names, got synthetic/synthetic more than once"):
        run_benchmark([store, store], [controller])
    with pytest.raises(AutottsError, match="expected at least one store and one controller"):
        run_benchmark([], [controller])
    with pytest.raises(AutottsError, match="expected at least one store and one controller"):
        run_benchmark([store], [])
    with pytest.raises(AutottsError, match="resamples: expected at least 1, got 0"):
        run_benchmark([store], [controller], resamples=0)
    (tmp_path / "file").touch()
    with pytest.raises(AutottsError, match="file: cannot be written to"):
        check_writable(tmp_path / "file")


def test_rules_hold_for_every_controller():
    rules = Rules(max_branches=2, token_budget=3_000, accounting="autotts")
    controllers = PRESETS["quick"].controllers()
    report = run_benchmark(small_stores(), controllers, seeds=range(2), rules=rules, resamples=5)
    for result in report.results:
        assert result.accounting == "autotts"
        assert result.total_tokens.max() <= 3_000
        assert result.branches_opened.max() <= 2
