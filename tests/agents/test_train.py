import json
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch
from tiny import SMALL, begin

from agents import train as training
from agents.callbacks import Conductor, Schedules
from agents.config import ALGORITHMS, Config
from agents.evaluation import mean_return, sweep
from agents.policies import CLASSES
from agents.runs import RunFolder
from autotts_gym.replay import default_store

CARD = {
    "format", "version", "algorithm", "env", "observation", "max_branches", "macros", "accounting", "cost_weight",
    "latency_weight", "trained_on", "token_units", "seed", "command", "git_commit",
}  # fmt: skip


def weights(path: Path) -> dict[str, torch.Tensor]:
    with zipfile.ZipFile(path) as archive, archive.open("policy.pth") as file:
        found: dict[str, torch.Tensor] = torch.load(file, weights_only=True)
        return found


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_the_same_seed_gives_the_same_weights_and_a_resumed_run_those_of_an_uninterrupted_one(
    algo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight, twin, parts = (begin(tmp_path, name, algo=algo) for name in ("straight", "twin", "parts"))
    assert training.train(straight) == 0
    assert training.train(twin) == 0
    trained = weights(straight.path / "final.zip")
    assert same(trained, weights(twin.path / "final.zip"))

    conduct = Conductor.conduct

    def interrupted_halfway(self: Conductor) -> None:
        self.sitting.interrupted = self.num_timesteps >= 300
        conduct(self)

    with monkeypatch.context() as patch:
        patch.setattr(Conductor, "conduct", interrupted_halfway)
        training.train(parts)
    assert 300 <= int(parts.checkpoints[-1].name) < 512
    assert training.train(parts, resume=True) == 0
    assert same(trained, weights(parts.path / "final.zip"))
    ours, theirs = straight.evaluations(), parts.evaluations()
    assert [line["steps"] for line in ours] == [line["steps"] for line in theirs] == [0, 256, 512]
    assert [line["return"] for line in ours] == [line["return"] for line in theirs]
    for one, other in ((straight, twin), (straight, parts)):
        summaries = [json.loads((run.path / "summary.json").read_text()) for run in (one, other)]
        assert all(
            summaries[0][key] == summaries[1][key] for key in ("steps", "evaluations", "best_return", "best_steps")
        )
    assert [path.name for path in straight.checkpoints][-1] == f"{512:012d}"
    assert len(straight.checkpoints) <= 2


def test_a_longer_limit_does_not_raise_the_learning_rate_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    conduct = Schedules.between

    def noted(self: Schedules) -> None:
        conduct(self)
        rates.append(float(self.model.lr_schedule(1.0)))

    monkeypatch.setattr(Schedules, "between", noted)
    run = begin(tmp_path, "run", learning_rate=0.01, learning_rate_end=0.001)
    assert training.train(run) == 0
    assert rates[0] == pytest.approx(0.01)
    assert rates[-1] == pytest.approx(0.001)
    finished = len(rates)
    assert training.main(["--resume", str(run.path), "--total-steps", "1024"]) == 0
    assert len(rates) > finished
    assert rates[finished:] == pytest.approx([0.001] * (len(rates) - finished))


@pytest.mark.parametrize(
    "values",
    [
        {"observation": "flat"},
        {"observation": "dict", "algo": "qrdqn"},
        {"observation": "dict", "extractor": "deep_sets", "extractor_width": 8},
        {"observation": "dict", "extractor": "attention", "extractor_width": 8, "algo": "dqn"},
        {"env": "AutoTTS-Replay-v0", "observation": "flat", "learning_rate_end": 0.0, "ent_coef_end": 0.0},
        {"macros": ("stop", "deepen_all", "open_4"), "accounting": "autotts", "latency_weight": 1.0},
        {"validation": 0.0, "cost_weight": (0.2, 0.2), "samples": 1},
    ],
    ids=str,
)
def test_every_kind_of_environment_and_network_trains_and_its_file_says_how_to_play_it(
    values: dict[str, Any], tmp_path: Path
) -> None:
    run = begin(tmp_path, total_steps=128, **values)
    assert training.train(run, "the command") == 0
    for name in ("best.zip", "final.zip"):
        with zipfile.ZipFile(run.path / name) as archive:
            card = json.loads(archive.read("autotts.json"))
        observes_signals = run.config.observation in ("dict", "flat")  # of which the default store has some
        assert set(card) == CARD | ({"signals"} if observes_signals else set())
        assert (card["format"], card["version"], card["command"]) == ("autotts-policy", 1, "the command")
        assert card["algorithm"] == run.config.algo
        assert card["cost_weight"] == list(run.config.cost_weight)
        assert card["trained_on"] == ["tiny/search"]
        assert card["token_units"] == [default_store().token_unit]
        assert (card["macros"] is None) == (run.config.env == "AutoTTS-Replay-v0")
    model = CLASSES[run.config.algo].load(run.path / "best.zip", device="cpu")
    env = gym.make(run.config.env, **run.config.env_arguments)
    assert model.observation_space == env.observation_space
    assert model.action_space == env.action_space


def test_a_file_with_a_network_of_ours_opens_where_agents_is_not(tmp_path: Path) -> None:
    run = begin(tmp_path, total_steps=128, observation="dict", extractor="deep_sets", extractor_width=8)
    training.train(run)
    program = (
        "import sys; from sb3_contrib import MaskablePPO; MaskablePPO.load(sys.argv[1], device='cpu');"
        "assert 'agents' not in sys.modules"
    )
    command = [sys.executable, "-c", program, str(run.path / "best.zip")]
    subprocess.run(command, check=True, cwd=tmp_path, timeout=120)


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    """A training in a process of its own, with checkpoints between any two rollouts."""
    config = Config(**{**SMALL, "total_steps": 100_000_000, "eval_steps": 100_000_000})
    (folder / "config.json").write_text(config.to_json())
    command = [sys.executable, "-m", "agents.train", "--config", str(folder / "config.json")]
    command += ["--log-dir", str(folder), "--name", "run", *more]
    checkout = Path(__file__).resolve().parents[2]
    return subprocess.Popen(command, cwd=checkout, stderr=subprocess.PIPE, text=True)


def wait_for_checkpoint(run: Path, process: subprocess.Popen[str], steps: int = 1) -> None:
    for _ in range(1200):
        if any(int(path.name) >= steps for path in (run / "checkpoints").glob("[0-9]*")):
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    raise AssertionError("no checkpoint came")


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    process = start(tmp_path)
    wait_for_checkpoint(tmp_path / "run", process)
    process.kill()
    process.communicate()
    run = RunFolder.open(tmp_path / "run")
    (run.path / "checkpoints" / ".000000000999.1.abc.tmp").mkdir()  # as if it had been killed while it wrote one
    with (run.path / "evaluations.jsonl").open("a") as lines:
        lines.write('{"steps": 99999999, "ret')
    steps = int(run.checkpoints[-1].name)
    assert training.main(["--resume", str(run.path), "--total-steps", str(steps + 256)]) == 0
    assert json.loads((run.path / "summary.json").read_text())["steps"] == steps + 256
    assert [line["steps"] for line in run.evaluations()] == [0, steps + 256]
    assert not list((run.path / "checkpoints").glob(".*"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_keeps_a_checkpoint_and_says_how_to_go_on(number: int, code: int, tmp_path: Path) -> None:
    process = start(tmp_path, "--checkpoint-seconds", "3600")
    wait_for_checkpoint(tmp_path / "run", process, 0)
    time.sleep(1)
    process.send_signal(number)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == code
    assert "--resume" in errors
    assert "Traceback" not in errors
    run = RunFolder.open(tmp_path / "run")
    assert not (run.path / "final.zip").exists()
    assert len(run.checkpoints) >= 1


def test_a_time_limit_ends_a_training(tmp_path: Path) -> None:
    run = begin(tmp_path, total_steps=0, minutes=0.02, algo="dqn", learning_rate_end=0.0)
    assert training.train(run) == 0
    summary = json.loads((run.path / "summary.json").read_text())
    assert 1.2 <= summary["seconds"] < 60
    assert summary["steps"] > 0


def test_training_in_another_thread_leaves_signals_alone(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    run = begin(tmp_path, total_steps=128)
    thread = threading.Thread(target=training.train, args=(run,))
    thread.start()
    thread.join()
    assert (run.path / "final.zip").exists()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "nothing"], "expected a JSON file or one of"),
        (["--validation", "2"], "validation: expected a share"),
        (["--cost-weight", "3", "1"], "cost_weight: expected 0 < low <= high"),
        (["--store", "no/where"], "no/where"),
        (["--macros", "stop", "nothing"], "macros: expected one of"),
        (["--minutes", "0"], "expected a limit"),
        (["--name", "controllers"], "expected another name"),
        (["--resume", "nowhere"], "nowhere"),
    ],
)
def test_bad_use_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = [] if "--resume" in arguments else ["--log-dir", str(tmp_path)]
    assert training.main([*arguments, *place]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert message in errors
    assert errors.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_run_is_not_begun_twice_nor_resumed_as_another_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = begin(tmp_path, total_steps=128)
    training.train(run)
    capsys.readouterr()
    assert training.main(["--log-dir", str(tmp_path), "--name", "run"]) == 2
    assert "--resume" in capsys.readouterr().err
    assert training.main(["--resume", str(run.path), "--seed", "3"]) == 2
    assert "seed" in capsys.readouterr().err
    assert RunFolder.open(run.path).config == run.config


def test_maskable_ppo_learns_when_a_token_is_worth_it(tmp_path: Path) -> None:
    store = default_store().select(range(8))
    path = store.save(tmp_path / "eight.h5") or tmp_path / "eight.h5"
    run = begin(
        tmp_path,
        store=(str(path),),
        num_envs=64,
        n_steps=32,
        batch_size=512,
        n_epochs=4,
        learning_rate=2e-3,
        net_arch=(32, 32),
        max_branches=16,
        validation=0.0,
        total_steps=80_000,
        eval_steps=40_000,
        eval_seeds=4,
        checkpoint_seconds=3600.0,
        log_steps=20_000,
    )
    assert training.train(run) == 0
    lines = run.evaluations()
    untrained, best = lines[0]["return"], max(line["return"] for line in lines)
    model = CLASSES["maskable_ppo"].load(run.path / "best.zip", device="cpu")
    again = mean_return(sweep(model, [store], run.config, lines[0]["cost_weight"], range(4)))
    assert again == pytest.approx(best)
    assert best > untrained + 0.1
    assert best > 0.3
