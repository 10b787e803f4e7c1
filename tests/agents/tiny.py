"""Trainings that take a second or two."""

from pathlib import Path
from typing import Any

from agents.config import Config
from agents.runs import RunFolder

SMALL: dict[str, Any] = {
    "num_envs": 8,
    "max_branches": 8,
    "max_steps": 40,
    "total_steps": 512,
    "n_steps": 16,
    "batch_size": 32,
    "n_epochs": 2,
    "net_arch": (16,),
    "validation": 0.1,
    "eval_steps": 256,
    "eval_points": 2,
    "eval_seeds": 1,
    "samples": 0,
    "checkpoint_seconds": 0.0,
    "log_steps": 128,
    "progress": False,
    "buffer_size": 1000,
    "learning_starts": 64,
    "train_freq": 2,
    "gradient_steps": 1,
    "target_update_interval": 64,
}


def begin(folder: Path, name: str = "run", **values: Any) -> RunFolder:
    """The folder of a new tiny run."""
    return RunFolder.of(Config(**{**SMALL, "log_dir": str(folder), "name": name, **values}))
