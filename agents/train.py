"""Train a policy: ``python -m agents.train --algo maskable_ppo --store … --minutes 10``.

The run's folder, ``runs/<name>``, is described in ``agents.runs``; ``tensorboard --logdir runs`` shows it while it
grows. ``--resume runs/<name>`` continues a run that was interrupted or killed exactly where its last checkpoint is.
Exit codes: 0; 2 for bad use; 130 after Ctrl-C, 143 after SIGTERM, both with a checkpoint.
"""

import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from gymnasium.spaces.utils import flatdim
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecMonitor

from agents.augment import augmented
from agents.callbacks import Conductor, Stop
from agents.config import Config
from agents.evaluation import split
from agents.policies import is_on_policy, make_model, policy_card, save_policy, slug
from agents.provenance import command_line, git_commit
from agents.runs import Counters, RunFolder
from agents.settings import read_command_line
from agents.vec_env import make_vec_env
from autotts_gym.cli import ending
from autotts_gym.errors import AutottsError
from autotts_gym.evaluation.runner import checked_seeds
from autotts_gym.memory import require_memory
from autotts_gym.progress import Progress
from autotts_gym.replay import resolve_stores
from autotts_gym.replay.store import BYTES_PER_BRANCH

FOREVER = 1 << 62
CHANGEABLE = ("total_steps", "minutes", "checkpoint_seconds", "progress", "threads", "env_threads")
"""What may differ when a run is continued."""


def train(run: RunFolder, command: str = "agents.train.train", resume: bool = False) -> int:
    """Train the policy of a run; returns 0, or 128 and the number of the signal that ended it.

    Args:
        run: its folder.
        command: what to note in the policy's file.
        resume: continue from the last checkpoint, if there is one.

    Raises:
        AutottsError: an argument or a store is not valid, or nothing limits the training.
    """
    config = run.config
    if not (config.total_steps or config.minutes):
        raise AutottsError("total_steps, minutes: expected a limit, got none")
    torch.set_num_threads(config.threads)
    stores = resolve_stores(config.store or None)
    for store in stores:
        store.require_gold("agents.train")
    training, validation = split(stores, config)
    branches = sum(store.num_branches for store in training)
    require_memory(f"variants: {config.variants} of {branches} branches", config.variants * branches * BYTES_PER_BRANCH)
    trained_on = augmented(training, config.variants, config.seed)
    weights, questions = config.eval_points, sum(store.num_questions for store in validation)
    checked_seeds(range(config.eval_seeds), questions, weights)  # before anything of an evaluation is made
    set_random_seed(config.seed)
    observation = run.observe(training)
    try:
        env = make_vec_env(
            config.env,
            config.num_envs,
            store=trained_on,
            cost_weight=config.cost_weight,
            threads=config.env_threads,
            **config.env_arguments | {"observation": observation},
        )
        _require_experience(config, env)
        found = run.load_checkpoint(env) if resume else None
        model, counters = found or (make_model(config, env), Counters())
    except ValueError as error:  # what the environment and SB3 say of their arguments
        raise AutottsError(str(error)) from error
    if not resume:
        run.begin(command)
    names, token_units = zip(*((store.name, config.token_unit or store.token_unit) for store in training), strict=True)
    card = policy_card(config, list(names), command, git_commit(), observation.signals, token_units)
    progress = Progress("training", 1.0, config.progress, percent=True)
    conductor = Conductor(run, counters, env, validation, observation, card, progress)
    with progress, _interrupts(conductor) as signals:
        try:
            model.learn(FOREVER, conductor, log_interval=None, reset_num_timesteps=found is None)  # type: ignore[arg-type]
        except Stop:
            pass
        finally:
            conductor.close()
            env.close()
    if signals:
        return 128 + signals[0]
    save_policy(model, run.path / "final.zip", card, config.name)
    speed = counters.steps / max(counters.seconds, 1e-9)
    note = unlearned(int(model._n_updates), counters)
    run.write_summary(counters, {"steps_per_second": speed, "command": command, "note": note})
    if note:
        print(f"{run.path}: {note}", file=sys.stderr)
    return 0


def _require_experience(config: Config, env: VecMonitor) -> None:
    """Refuse experience that does not fit into memory: that of a rollout, or of the replay buffer.

    Raises:
        AutottsError: it does not.
    """
    numbers, actions = flatdim(env.observation_space), int(env.action_space.n)  # type: ignore[attr-defined]
    if is_on_policy(config.algo):
        what = f"n_steps, num_envs: {config.n_steps} x {config.num_envs} transitions"
        transitions, each = config.n_steps * config.num_envs, 4 * (numbers + actions + 6)
    else:
        what = f"buffer_size: {config.buffer_size} transitions"
        transitions, each = config.buffer_size, 4 * (2 * numbers + 4)
    require_memory(what, transitions * each)


def unlearned(updates: int, counters: Counters) -> str:
    """What to say of a training that has learned nothing; empty if it has.

    Args:
        updates: of the policy's weights.
        counters: how far the training came.
    """
    if not updates:
        return (
            f"too short to learn anything: the policy was never updated in {counters.steps} steps, so best.zip and "
            "final.zip are as good as untrained; give it more --minutes or --total-steps, or smaller rollouts "
            "(--num-envs, --n-steps)"
        )
    if not counters.best_steps:
        return "no evaluation was better than that of the untrained policy, which best.zip is; give it more time"
    return ""


@contextmanager
def _interrupts(conductor: Conductor) -> Iterator[list[int]]:
    """Let a first SIGINT or SIGTERM end the training where it can be continued; a second one ends it at once."""
    received: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        conductor.sitting.interrupted = True

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    earlier = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def read_arguments(arguments: Sequence[str] | None) -> tuple[RunFolder, str, bool]:
    """The run that a command line means, its command, and whether it is to be continued.

    Raises:
        AutottsError: what it asks for is not possible.
    """
    more: dict[str, tuple[Any, str]] = {
        "config": (str, "a JSON file, or a name in agents/configs; by default the one of --algo"),
        "resume": (str, "continue the run of this folder from its last checkpoint"),
    }
    values = read_command_line("agents.train", __doc__, Config, more, arguments)
    chosen, resumed = values.pop("config", None), values.pop("resume", None)
    command = command_line("agents.train")
    if resumed is not None:
        run = RunFolder.open(resumed)
        fixed = sorted(set(values) - set(CHANGEABLE))
        if chosen is not None or fixed:
            raise AutottsError(f"--resume: expected only {', '.join(CHANGEABLE)} beside it, got {fixed or '--config'}")
        run.config = run.config.updated(values)
        return run, command, True
    config = Config.chosen(chosen, values)
    if not config.name:
        config = config.updated({"name": f"{slug(config.algo)}-seed{config.seed}-{time.strftime('%Y%m%d-%H%M%S')}"})
    return RunFolder.of(config), command, False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""

    def work() -> int:
        run, command, resume = read_arguments(arguments)
        code = train(run, command, resume)
        if code:
            go_on = shlex.join(["python", "-m", "agents.train", "--resume", str(run.path)])
            print(f"interrupted; continue with: {go_on}", file=sys.stderr)
        else:
            look = shlex.join(["tensorboard", "--logdir", str(Path(run.path).parent)])
            print(f"{run.path}: best.zip, final.zip; look at it with: {look}")
        return code

    return ending.run(work)


if __name__ == "__main__":
    sys.exit(main())
