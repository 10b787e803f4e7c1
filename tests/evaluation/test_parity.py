"""Every episode of the published results, replayed: correctness, total tokens and opened branches must be equal."""

import json
from pathlib import Path

import numpy as np
import pytest

from autotts_gym.controllers import make_controller
from autotts_gym.engine import Rules
from autotts_gym.evaluation import evaluate_all
from autotts_gym.replay import ReplayStore

MODELS = ("Qwen3-0.6B", "Qwen3-1.7B", "Qwen3-4B", "Qwen3-8B")


@pytest.mark.parametrize("benchmark", ["aime24", "aime25"])
@pytest.mark.parametrize("model", MODELS)
def test_every_episode_of_the_published_results_is_reproduced(
    replay_root: Path, reference_root: Path, model: str, benchmark: str
) -> None:
    store = ReplayStore.from_autotts_json(replay_root / model / f"{benchmark}.json.gz")
    with np.load(reference_root / f"{model}_{benchmark}.npz") as reference:
        entries = json.loads(str(reference["meta"]))
        assert len(entries) == 15
        controllers = [make_controller(entry["controller"], **entry["params"]) for entry in entries]
        results = evaluate_all(controllers, [store], seeds=range(100), rules=Rules(accounting="autotts"))
        for j, (entry, result) in enumerate(zip(entries, results, strict=True)):
            assert entry["index"] == j
            assert result.correct.shape == (100, 30)
            for name, measured in (
                ("correct", result.correct),
                ("tokens", result.total_tokens),
                ("opened", result.branches_opened),
            ):
                np.testing.assert_array_equal(measured, reference[f"{name}_{j}"], f"{name} of {result.label}")
            assert round(100 * result.accuracy, 4) == entry["accuracy"]
            assert round(result.mean_tokens, 2) == entry["tokens"]
