"""Stores without gold answers are refused before anything is made of them; those without probes are taken."""

import json
from pathlib import Path

import pytest
from tiny import begin

import agents
from agents import benchmark, train
from agents.explorer import __main__ as explorer
from autotts_gym.replay import Branch, Question, build_store, import_json

POLICY = Path(agents.__file__).parent / "trained" / "default.zip"


@pytest.fixture
def unlabelled(tmp_path: Path) -> str:
    branches = [Branch(["a"], 400, "a"), Branch(["b", "a"], 900, "a")]
    questions = [Question("known", "a", branches), Question("unknown", None, branches)]
    path = tmp_path / "bare.h5"
    build_store(questions, model="m", benchmark="bare", interval_tokens=500).save(path)
    return str(path)


@pytest.mark.parametrize("which", ["agents.train", "agents.explorer", "agents.benchmark"])
def test_unlabelled_questions_are_refused_where_accuracy_is_asked_for(
    which: str, unlabelled: str, tmp_path: Path, capsys
):
    out = str(tmp_path / "runs")
    ended = {
        "agents.train": lambda: train.main(["--store", unlabelled, "--total-steps", "64", "--log-dir", out]),
        "agents.explorer": lambda: explorer.main(
            ["--proposer", "exec:false", "--stores", unlabelled, "--rounds", "1", "--out", out]
        ),
        "agents.benchmark": lambda: benchmark.main(["--policy", str(POLICY), "--store", unlabelled]),
    }[which]()
    errors = capsys.readouterr().err.strip().splitlines()
    assert ended == 2
    assert len(errors) == 1
    assert "unlabelled" in errors[0]
    assert which in errors[0]


@pytest.fixture
def bare(tmp_path: Path) -> str:
    rows = [[["12"], 3000, "12"], [[], 3400, "13"], [["12"], 90, "12"], [["7"], 3100, "7"]]
    items = [{"question": f"q{k}", "each_branch": rows, "gold_answer": "12", "probe_freq": 500} for k in range(10)]
    log = tmp_path / "log.json"
    log.write_text(json.dumps(items))
    path = tmp_path / "log.h5"
    import_json(log, model="m", benchmark="log", probes="none").save(path)
    return str(path)


def test_a_training_takes_logs_without_probes_and_says_what_they_lack(bare: str, tmp_path: Path, caplog):
    run = begin(tmp_path, store=(bare,))
    train.train(run)
    assert "no probes" in caplog.text
    assert "left out cmc, parallel_probe" in caplog.text
    assert (run.path / "final.zip").is_file()


@pytest.mark.parametrize("which", ["agents.explorer", "agents.benchmark"])
def test_what_is_compared_with_controllers_of_probes_refuses_logs_without(which: str, bare: str, tmp_path, capsys):
    ended = {
        "agents.explorer": lambda: explorer.main(
            ["--proposer", "exec:false", "--stores", bare, "--rounds", "1", "--out", str(tmp_path / "run")]
        ),
        "agents.benchmark": lambda: benchmark.main(["--policy", str(POLICY), "--store", bare, "--seeds", "1"]),
    }[which]()
    errors = [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("python -m") or "expected" in line
    ]
    assert ended == 2
    assert len(errors) == 1
    assert "expected a store with probes" in errors[0]
