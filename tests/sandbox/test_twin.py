"""The twin distinguishes a table of a store from a rule, whatever the table is keyed by."""

import json
from pathlib import Path
from typing import Any

import pytest
import tables

from autotts_gym import evaluate, make_controller
from autotts_gym.cli.main import main
from autotts_gym.errors import AutottsError
from autotts_gym.evaluation.twin import TwinReport, compare_with_twin
from autotts_gym.replay import Branch, Question, build_store, load_store, synthesize
from autotts_gym.replay.variants import twin
from autotts_gym.sandbox import check_program

ROOT = Path(__file__).resolve().parent.parent.parent
STORE = load_store("synthetic/search")
TWIN = twin(STORE)


def report(name: str | Path, seeds: int = 8, **params: object) -> TwinReport:
    controller = make_controller(name, **params)
    results = [evaluate(controller, store, seeds=range(seeds)) for store in (STORE, TWIN)]
    return compare_with_twin(results[:1], results[1:])


def test_a_table_of_the_lengths_of_right_branches_loses_nearly_all(tmp_path: Path) -> None:
    path = tables.lengths(tmp_path, STORE)
    assert "a literal of " in (check_program(path).source.literals.warning or "")
    found, none = report(path, beta=1.0), report("sc", branches=16)
    assert found.verdict == "table"
    assert found.accuracy > none.accuracy + 0.05
    assert found.twin_accuracy < none.accuracy - 0.03
    assert found.accuracy_difference.high < -0.05
    assert found.tokens < 0.5 * none.tokens


def test_a_table_of_the_depths_of_changes_is_recognised(tmp_path: Path) -> None:
    assert report(tables.changes(tmp_path, STORE), beta=1.0).verdict == "table"


def test_a_table_of_a_signal_is_recognised(tmp_path: Path) -> None:
    store = synthesize(30, 64, seed=5, signals=True)
    controller = make_controller(tables.signals(tmp_path, store, "confidence"), beta=1.0)
    results = [evaluate(controller, each, seeds=range(8)) for each in (store, twin(store))]
    found = compare_with_twin(results[:1], results[1:])
    assert found.verdict == "table"
    assert found.accuracy > found.twin_accuracy + 0.02


def test_a_rule_on_signals_loses_nothing_beyond_noise() -> None:
    store = synthesize(30, 64, seed=5, signals=True)
    for name, params in (("deepconf", {"branches": 24, "warm_up": 8}), ("deer", {"branches": 8})):
        results = [evaluate(make_controller(name, **params), each, seeds=range(20)) for each in (store, twin(store))]
        assert compare_with_twin(results[:1], results[1:]).verdict == "rule"


def test_a_table_of_three_questions_is_not_called_a_rule(tmp_path: Path) -> None:
    found = report(tables.few(tmp_path, STORE), beta=0.5)
    assert found.accuracy > report("sc", branches=12).accuracy + 0.05
    assert found.verdict != "rule"


def test_each_run_draws_twins_of_its_own_and_a_seed_repeats_them(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", "synthetic/search", "--controller", "sc", "--param", "branches=8", "--seeds", "2", "--json"]

    def twin_of_run(*more: str) -> tuple[int, float]:
        assert main([*command, "--twin", *more]) == 0
        twin = json.loads(capsys.readouterr().out)[0]["twin"]
        return twin["seed"], twin["twin_tokens"]

    first, second = twin_of_run(), twin_of_run()
    assert first[0] != second[0]
    assert first[1] != second[1]
    assert twin_of_run("--twin-seed", str(first[0])) == first
    assert main([*command, "--twin-seed", "3"]) == 2
    assert "--twin-seed: expected --twin beside it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("sc", {"branches": 16}),
        ("asc", {}),
        ("parallel_probe", {}),
        ("short_m", {}),
        ("answer_consistency", {"branches": 16}),
        *(("cmc", {"beta": beta}) for beta in (0.2, 0.5, 1.0)),
        (ROOT / "agents" / "programs" / "evolved.py", {"beta": 0.5}),
    ],
    ids=str,
)
def test_a_rule_loses_nothing_beyond_noise(name: str | Path, params: dict[str, float]) -> None:
    found = report(name, **params)
    assert found.verdict == "rule"
    assert abs(found.twin_accuracy - found.accuracy) < 0.04
    assert abs(found.twin_tokens / found.tokens - 1) < 0.06


def test_the_command_reports_both_figures_and_the_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "store.h5"
    STORE.save(file)
    table = tables.lengths(tmp_path, STORE)
    command = ["evaluate", str(file), "--controller", str(table), "--beta", "1", "--seeds", "4", "--twin"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "memorised" in out
    assert "large literal data" in out
    assert main([*command, "--json"]) == 0
    (summary,) = json.loads(capsys.readouterr().out)
    assert summary["twin"]["verdict"] == "table"
    assert summary["twin"]["accuracy"] == summary["accuracy"]
    assert summary["twin"]["accuracy_difference"]["high"] < 0
    assert "large literal data" in summary["literal_data"]


def test_what_a_twin_cannot_be_made_of_is_said_before_anything_is_played(tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(AutottsError, match="seed: expected a whole number"):
        twin(STORE, -1)
    rows = [Branch(["1", "2"], 200, "2")] * 2
    unlabelled = build_store([Question("q", None, rows)], model="m", benchmark="b", interval_tokens=100)
    unlabelled.save(tmp_path / "u.h5")
    command = ["evaluate", str(tmp_path / "u.h5"), "--controller", "sc", "--param", "branches=1", "--seeds", "1"]
    assert main([*command, "--twin"]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert "--twin: expected a gold answer for every question" in printed.err
    assert main([*command, "--twin", "--twin-seed", "-1"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
