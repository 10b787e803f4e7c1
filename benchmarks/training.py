"""Where the time of a training goes: the environment's part beside that of learning, by the clock."""

import argparse
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy

from agents.callbacks import Conductor
from agents.config import Config
from agents.runs import RunFolder
from agents.train import train
from agents.vec_env import ReplayVecEnv
from autotts_gym.envs import steps as compiled
from benchmarks import run

PARTS: tuple[tuple[str, Any, str], ...] = (
    ("environment", ReplayVecEnv, "step_wait"),
    ("  compiled, all threads", compiled, "step_rounds"),
    ("actions of the policy", MaskableActorCriticPolicy, "forward"),
    ("gradient steps", MaskablePPO, "train"),
    ("evaluations, checkpoints, charts", Conductor, "conduct"),
)


def main() -> None:
    """Train for a while and print the shares; compilation and the first rollout are warmed up before."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", nargs="*", help="names or paths; default: the store that ships")
    parser.add_argument("--config", default="frontier", help="of a MaskablePPO on rounds (default: frontier)")
    parser.add_argument("--minutes", type=float, default=1.0)
    options = parser.parse_args()
    base = Config.load(options.config).updated({"store": tuple(options.stores), "progress": False, "samples": 0})
    spent: dict[str, float] = {}
    lock = threading.Lock()

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                seconds = time.perf_counter() - start
                with lock:
                    spent[name] = spent.get(name, 0.0) + seconds

        return call

    with tempfile.TemporaryDirectory() as folder:
        short = {"log_dir": folder, "minutes": 0.0, "eval_steps": 2**31 - 1}
        rollout = base.num_envs * base.n_steps
        train(RunFolder.of(base.updated({**short, "name": "warm", "total_steps": rollout})))
        for name, owner, attribute in PARTS:
            setattr(owner, attribute, timed(name, getattr(owner, attribute)))
        run = RunFolder.of(base.updated({**short, "name": "timed", "minutes": options.minutes}))
        start = time.perf_counter()
        train(run)
        total = time.perf_counter() - start
        steps = int(run.checkpoints[-1].name)
    parts = [name for name, _, _ in PARTS]
    rest = total - sum(spent[name] for name in parts if not name.startswith(" "))
    print(f"{steps:,} steps in {total:.0f} s, {steps / total:,.0f} steps/s")
    for name, seconds in [*((name, spent[name]) for name in parts), ("the rest, Stable-Baselines3's own", rest)]:
        print(f"{name:36s} {seconds / total:6.1%}  {seconds / steps * 1e6:6.2f} us a step")


if __name__ == "__main__":
    run(main)
