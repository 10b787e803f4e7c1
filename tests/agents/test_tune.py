import json
from pathlib import Path

import pytest
from tiny import SMALL

from agents.config import Config
from agents.tune import main, tune

pytest.importorskip("optuna")


@pytest.mark.parametrize("algo", ["maskable_ppo", "dqn"])
def test_a_study_is_kept_and_goes_on_and_its_best_is_a_configuration(algo: str, tmp_path: Path) -> None:
    base = Config(**{**SMALL, "algo": algo, "total_steps": 128, "eval_steps": 128})
    tune(base, tmp_path / "study", 1)
    best = tune(base, tmp_path / "study", 1)
    record = json.loads((tmp_path / "study" / "trials.json").read_text())
    assert [trial["number"] for trial in record["trials"]] == [0, 1]
    if algo == "dqn":
        tune(base, tmp_path / "straight", 2)
        straight = json.loads((tmp_path / "straight" / "trials.json").read_text())
        assert straight["trials"] == record["trials"]
    assert [trial.get("learning_rate") is None for trial in record["trials"]] == [True, False]  # the base, a draw
    top = max(record["trials"], key=lambda trial: trial["return"])
    assert top.get("learning_rate", base.learning_rate) == best.learning_rate
    assert Config.load(tmp_path / "study" / "best.json") == best
    assert best.total_steps == 128


def test_a_trial_that_fails_is_one_line_and_the_base_is_tried_next(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.json").write_text(Config(**{**SMALL, "total_steps": 128, "eval_steps": 128}).to_json())
    arguments = ["--config", "base.json", "--log-dir", str(tmp_path / "runs"), "--name", "study", "--trials", "1"]
    assert main([*arguments, "--macros", "no-macro"]) == 2
    said = capfd.readouterr().err
    assert said.startswith("error: macros: ")
    assert said.count("\n") <= 2  # with what goes on
    assert "Traceback" not in said
    assert main(arguments) == 0
    record = json.loads((tmp_path / "runs" / "study" / "trials.json").read_text())
    assert [(trial["number"], trial["state"]) for trial in record["trials"]] == [(0, "FAIL"), (1, "COMPLETE")]
    assert "learning_rate" not in record["trials"][1]


def test_bad_use_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--config", "nothing"], ["--name", "controllers"]):
        assert main(arguments) == 2
        assert capsys.readouterr().err.startswith("error: ")
