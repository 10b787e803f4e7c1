"""The folder of a training run: what was asked, with what, and everything needed to go on.

::

    runs/<name>/
      config.json       what was asked
      versions.json     Python, packages, git commit, command
      checkpoints/      <steps>/: model, replay buffer, environments, random states, counters; the last two are kept
      evaluations.jsonl a line for every evaluation on the validation questions
      evaluations/      <steps>.npz: every episode of it
      best.zip          the policy with the best evaluation
      final.zip         the policy at the end
      summary.json      what came out
      budget/           budget curves, and events.*: what TensorBoard shows
    runs/controllers/   budget curves of the hand-written controllers, for all runs that select on the same questions
"""

import json
import os
import pickle
import random
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecMonitor

from agents.config import Config
from agents.episodes import ARRAYS
from agents.policies import CLASSES, policy_card, to_zip
from agents.provenance import git_commit, versions
from agents.vec_env import ReplayVecEnv
from autotts_gym.controllers.fingerprints import differences
from autotts_gym.controllers.policies import identity_of
from autotts_gym.engine import Bank
from autotts_gym.errors import AutottsError, plain
from autotts_gym.evaluation import EvaluationResult
from autotts_gym.files import append, replacing, write_atomically, written
from autotts_gym.observation.encoding import Observation, choose_observation
from autotts_gym.observation.signals import Ranges
from autotts_gym.replay import ReplayStore

PACKAGES = ("autotts_gym", "gymnasium", "numba", "numpy", "sb3_contrib", "stable_baselines3", "tensorboard", "torch")
KEPT_CHECKPOINTS = 2
CONTROLLERS = "controllers"
"""Folder, beside the runs, of the budget curves of the hand-written controllers."""


@dataclass
class Counters:
    """How far a run is.

    Attributes:
        steps: environment steps.
        seconds: time spent, over all sittings.
        annealed: how far learning rate and entropy are on the way to their ends, in [0, 1]; a longer limit takes none
            of it back.
        evaluations: how many there were.
        next_evaluation: step of the next one.
        best_return: the best one's mean return.
        best_steps: when it was.
    """

    steps: int = 0
    seconds: float = 0.0
    annealed: float = 0.0
    evaluations: int = 0
    next_evaluation: int = 0
    best_return: float = -np.inf
    best_steps: int = 0


def run_path(config: Config) -> Path:
    """Where a run lies.

    Raises:
        AutottsError: its name is taken by the curves of the hand-written controllers.
    """
    path = Path(config.log_dir) / config.name
    if path.name == CONTROLLERS:
        raise AutottsError(f"{path}: expected another name, this is the folder of the controllers' curves")
    return path


class RunFolder:
    """The folder of a run.

    Attributes:
        path: where it is.
        config: what was asked.
        signals: the range of each signal that is observed.
    """

    def __init__(self, path: Path, config: Config) -> None:
        self.path = path
        self.config = config
        self.signals: Ranges = {}

    def observe(self, stores: Sequence[ReplayStore]) -> Observation:
        """What the policy observes wherever it is played: signals between the ends that they have in these stores.

        Raises:
            AutottsError: there is no such feature.
        """
        observation = choose_observation(self.config.observation, signals=Bank(stores).signal_ranges)
        self.signals = observation.signals
        return observation

    @classmethod
    def of(cls, config: Config) -> Self:
        """The folder of a new run; nothing is written yet.

        Raises:
            AutottsError: there is something at its place, or its name is taken by the curves of the controllers.
        """
        path = run_path(config)
        if path.exists() and any(path.iterdir()):
            raise AutottsError(
                f"{path}: expected a new run, but there is one; continue it with --resume {shlex.quote(str(path))}"
            )
        return cls(path, config)

    def begin(self, command: str) -> None:
        """Note what is asked, and with what.

        Raises:
            AutottsError: the folder cannot be written.
        """
        about = {**versions(PACKAGES, "agents"), "git_commit": git_commit(), "command": command}
        write_atomically(self.path / "config.json", self.config.to_json().encode())
        write_atomically(self.path / "versions.json", (json.dumps(about, indent=2) + "\n").encode())

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open the folder of a run that was begun.

        Raises:
            AutottsError: there is none.
        """
        return cls(Path(path), Config.load(Path(path) / "config.json"))

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What its observations and actions are: see ``controllers.fingerprints``."""
        return identity_of(policy_card(self.config, [], "", "", self.signals))

    # ------------------------------------------------------------ checkpoints

    @property
    def checkpoints(self) -> list[Path]:
        """Whole checkpoints, oldest first."""
        return sorted(path for path in (self.path / "checkpoints").glob("*") if path.name.isdigit())

    def save_checkpoint(self, model: BaseAlgorithm, env: VecMonitor, counters: Counters) -> None:
        """Keep everything that the rest of the training depends on; whole or not at all."""
        target = self.path / "checkpoints" / f"{counters.steps:012d}"
        if target.exists():
            return
        state = {
            "counters": counters,
            "identity": self.identity,
            "random": (random.getstate(), np.random.get_state(), torch.get_rng_state()),  # noqa: NPY002 - SB3 uses it
            "actions": model.action_space.np_random.bit_generator.state,
            "env": _replay(env).get_state(),
            "monitor": (env.episode_returns, env.episode_lengths, env.episode_count),
        }
        for stale in target.parent.glob(".*"):  # what an earlier process, killed, was writing
            shutil.rmtree(stale)
        with replacing(target) as temporary:
            temporary.mkdir()
            (temporary / "model.zip").write_bytes(to_zip(model))
            (temporary / "state.pkl").write_bytes(pickle.dumps(state))
            if isinstance(model, OffPolicyAlgorithm):
                model.save_replay_buffer(temporary / "replay_buffer.pkl")
        for old in self.checkpoints[:-KEPT_CHECKPOINTS]:
            shutil.rmtree(old)

    def load_checkpoint(self, env: VecMonitor) -> tuple[BaseAlgorithm, Counters] | None:
        """Go on from the last checkpoint: model, environments and random states are as they were. None: there is none.

        Only open runs that you trust: checkpoints are pickles.
        """
        if not self.checkpoints:
            self._forget_evaluations(-1)
            return None
        source = self.checkpoints[-1]
        try:
            state = pickle.loads((source / "state.pkl").read_bytes())
            if differences(state["identity"], self.identity):
                raise ValueError("; ".join(differences(state["identity"], self.identity)))
            return self._restored(source, state, env)
        except Exception as error:  # pickles of another version raise whatever their classes do
            raise AutottsError(
                f"{source}: expected a checkpoint of this version, got {type(error).__name__}: {plain(error)}; go on "
                "with the version that versions.json of the run names, or begin a new run"
            ) from error

    def _restored(self, source: Path, state: dict[str, Any], env: VecMonitor) -> tuple[BaseAlgorithm, Counters]:
        """Model and counters of a checkpoint; environments and random states as they were."""
        model = CLASSES[self.config.algo].load(source / "model.zip", env, device="cpu", force_reset=False)
        if isinstance(model, OffPolicyAlgorithm):
            model.load_replay_buffer(source / "replay_buffer.pkl", truncate_last_traj=False)
        _replay(env).set_state(state["env"])
        env.unwrapped._reset_seeds()  # SB3 seeds environments and actions when it loads
        model.action_space.np_random.bit_generator.state = state["actions"]
        env.episode_returns, env.episode_lengths, env.episode_count = state["monitor"]
        python, numpy, pytorch = state["random"]
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(pytorch)
        counters: Counters = state["counters"]
        self._forget_evaluations(counters.steps)
        return model, counters

    # ------------------------------------------------------------ evaluations

    def record_evaluation(
        self, counters: Counters, scores: Mapping[str, Any], results: Sequence[EvaluationResult]
    ) -> None:
        """Keep an evaluation: a line of averages, and every episode in arrays (weights, seeds, questions)."""
        stores = list(dict.fromkeys(result.store for result in results))
        arrays: dict[str, Any] = {
            name: np.concatenate(
                [np.stack([getattr(result, name) for result in results if result.store == store]) for store in stores],
                axis=2,
            )
            for name in ARRAYS
        }
        path = self.path / "evaluations" / f"{counters.steps:012d}.npz"
        with written(path) as file:
            np.savez_compressed(file, cost_weight=np.array(scores["cost_weight"]), **arrays)
        line = {"steps": counters.steps, "seconds": round(counters.seconds, 3), **scores}
        append(self.path / "evaluations.jsonl", (json.dumps(line) + "\n").encode())

    def evaluations(self) -> list[dict[str, Any]]:
        """The averages of all evaluations; a line that a killed process left unfinished is left out."""
        file, found = self.path / "evaluations.jsonl", []
        for line in file.read_text().splitlines() if file.exists() else []:
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def _forget_evaluations(self, steps: int) -> None:
        """Drop what came after a checkpoint: it comes again."""
        kept = [line for line in self.evaluations() if line["steps"] <= steps]
        write_atomically(self.path / "evaluations.jsonl", "".join(json.dumps(line) + "\n" for line in kept).encode())

    def write_summary(self, counters: Counters, more: Mapping[str, Any]) -> None:
        """Say what came out."""
        summary = {**asdict(counters), **more}
        write_atomically(self.path / "summary.json", (json.dumps(summary, indent=2) + "\n").encode())


def _replay(env: VecMonitor) -> ReplayVecEnv:
    assert isinstance(env.venv, ReplayVecEnv)
    return env.venv
