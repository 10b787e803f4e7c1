import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import begin

from agents.callbacks import METRICS, Meter, action_names
from agents.config import Config
from agents.train import train
from autotts_gym.actions.macros import MACROS


def read(folder: Path) -> Any:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    return events


def test_a_training_writes_all_that_tensorboard_shows(tmp_path: Path) -> None:
    run = begin(tmp_path, samples=2)
    train(run)
    events = read(run.path)
    scalars = set(events.Tags()["scalars"])
    for tag in ("return", "accuracy", "total_tokens", "sequential_tokens", "branches_opened", "branches_pruned"):
        assert [event.step for event in events.Scalars(f"episodes/{tag}")] == [128, 256, 384, 512]
    stops = [f"episodes_stops/{reason}" for reason in ("stop", "exhausted", "truncated")]
    mix = [f"episodes_actions/{macro.name}" for macro in MACROS]
    for tags in (stops, mix):
        assert set(tags) <= scalars
        shares = np.sum([[event.value for event in events.Scalars(tag)] for tag in tags], axis=0)
        np.testing.assert_allclose(shares, 1.0, rtol=1e-5)
    assert {"speed/steps_per_second", "speed/environment_share", "train/loss", *METRICS} <= scalars
    assert events.Scalars("episodes_actions/invalid")[0].value == 0.0

    lines = run.evaluations()
    assert [(event.step, pytest.approx(event.value)) for event in events.Scalars("validation/return")] == [
        (line["steps"], line["return"]) for line in lines
    ]
    assert [event.value for event in events.Scalars("validation_tokens/cost weight 0.03")] == pytest.approx(
        [line["total_tokens"][0] for line in lines]
    )
    summary = json.loads((run.path / "summary.json").read_text())
    assert events.Scalars("final/return")[-1].value == pytest.approx(summary["best_return"])
    assert len(events.Tags()["images"]) == 2
    assert len(events.Images(events.Tags()["images"][0])) == len(lines)
    assert {"custom_scalars__config__", "config"} <= set(events.Tags()["tensors"])
    assert "_hparams_/session_start_info" in events.summary_metadata

    curves = {path.name: read(path) for path in (run.path / "budget").iterdir()}
    assert set(curves) == {"best", "last", "evaluation 001", "evaluation 002"}
    curve = [(event.step, event.value) for event in curves["last"].Scalars("budget/accuracy")]
    wanted = sorted({round(tokens): accuracy for tokens, accuracy in _points(lines[-1])}.items())
    assert curve == [(step, pytest.approx(accuracy)) for step, accuracy in wanted]


def test_runs_that_select_on_the_same_questions_share_the_curves_of_the_controllers(tmp_path: Path) -> None:
    for name, changes in (("a", {}), ("b", {"seed": 1}), ("c", {"split_seed": 8})):
        train(begin(tmp_path, name=name, **changes))
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "c", "controllers"}
    settings = sorted((tmp_path / "controllers").iterdir())
    assert len(settings) == 2
    for setting in settings:
        assert {path.name for path in setting.iterdir()} == {"Self-consistency", "ASC", "ESC", "Parallel-Probe", "CMC"}
        assert len(read(setting / "CMC").Scalars("budget/accuracy")) > 3
    one, other = ([event.value for event in read(path / "CMC").Scalars("budget/accuracy")] for path in settings)
    assert one != other


def _points(line: dict[str, Any]) -> list[tuple[float, float]]:
    return sorted(zip(line["total_tokens"], line["accuracy"], strict=True))


def test_a_resumed_run_shows_every_step_once(tmp_path: Path) -> None:
    run = begin(tmp_path, total_steps=256)
    train(run)
    run.config = run.config.updated({"total_steps": 512})
    train(run, resume=True)
    steps = [event.step for event in read(run.path).Scalars("episodes/length")]
    assert steps == [128, 256, 384, 512]


def test_the_meter_counts_actions_by_kind_and_averages_episodes() -> None:
    config = Config(env="AutoTTS-Replay-v0", max_branches=3)
    meter = Meter(action_names(config, 8))
    episode = {"r": 0.5, "l": 4, "correct": True, "stop_reason": "stop"}
    episode |= dict.fromkeys(("total_tokens", "sequential_tokens", "branches_opened", "branches_pruned"), 2)
    meter.add([{}, {"episode": episode}], np.array([2, 4]), np.array([True, False]))
    meter.add([{}, {}], np.array([0, 1]), np.array([False, False]))
    scalars = meter.scalars()
    assert scalars["episodes_actions/deepen"] == 0.5
    assert scalars["episodes_actions/stop"] == scalars["episodes_actions/invalid"] == 0.25
    assert (scalars["episodes/return"], scalars["episodes/accuracy"], scalars["episodes_stops/stop"]) == (0.5, 1.0, 1.0)
    meter.clear()
    assert "episodes/return" not in meter.scalars()
