"""Steps per second of vector environments with what the next episodes need fetched ahead, and without."""

import argparse
import time
from typing import Any

import gymnasium as gym
import numpy as np

import autotts_gym  # noqa: F401  registers the environments
from autotts_gym.replay import ReplayStore, resolve_stores
from benchmarks import run

STEPS, PART = 300, 10


def actions_of(envs: Any) -> list[Any]:
    """Random admissible actions, in one run of steps."""
    rng = np.random.default_rng(0)
    _, infos = envs.reset(seed=0)
    chosen = []
    for _ in range(STEPS):
        masks = infos["action_mask"].astype(bool)
        masks[:, 0] &= masks.sum(axis=1) == 1  # stop only where nothing else is left
        chosen.append((rng.random(masks.shape) * masks).argmax(axis=1))
        infos = envs.step(chosen[-1])[4]
    return chosen


def fastest(envs: Any, actions: list[Any], ahead: int) -> Any:
    """Seconds for each part of the steps."""
    envs._episodes.ahead = ahead
    envs.reset(seed=0)
    taken = []
    for first in range(0, STEPS, PART):
        start = time.perf_counter()
        for action in actions[first : first + PART]:
            envs.advance(action)
        taken.append(time.perf_counter() - start)
    return np.array(taken)


def main() -> None:
    """Print the comparison: by turns, the best of each part of the steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", nargs="*", help="names or paths; default: the store that ships")
    parser.add_argument("--envs", type=int, default=1024)
    parser.add_argument("--turns", type=int, default=10)
    arguments = parser.parse_args()
    stores: list[ReplayStore] = resolve_stores(arguments.stores or None)
    for observation in ("pool", "dict"):
        envs: Any = gym.make_vec("AutoTTS-Replay-v0", num_envs=arguments.envs, store=stores, observation=observation)
        actions = actions_of(envs)
        best = {ahead: np.full(STEPS // PART, np.inf) for ahead in (0, 1)}
        for _ in range(arguments.turns):
            for ahead in best:
                best[ahead] = np.minimum(best[ahead], fastest(envs, actions, ahead))
        without, with_it = (1e9 * seconds.sum() / STEPS / arguments.envs for seconds in best.values())
        print(f"{observation}: {with_it:.0f} ns a step, {without:.0f} ns without: {with_it / without:.2f} of it")
        envs.close()


if __name__ == "__main__":
    run(main)
