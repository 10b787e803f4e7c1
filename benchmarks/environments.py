"""Steps per second of the replay environments beside Gymnasium's own CartPole, in one run."""

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np

import autotts_gym  # noqa: F401 - registers the environments
from benchmarks import run

SINGLE_STEPS = 100_000
VECTOR_STEPS = 300
NUM_ENVS = 1024


def best(measure: Callable[[], float], repeats: int = 3) -> float:
    """The best of several measurements of steps per second."""
    return max(measure() for _ in range(repeats))


def single(env: gym.Env[Any, Any], actions: list[int]) -> float:
    """Steps per second of a single environment, resets included."""
    env.reset(seed=0)
    start = time.perf_counter()
    for action in actions:
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()
    return len(actions) / (time.perf_counter() - start)


def vector(envs: Any, actions: list[Any]) -> float:
    """Environment steps per second of a vector environment, automatic resets included."""
    envs.reset(seed=0)
    start = time.perf_counter()
    for action in actions:
        envs.step(action)
    return len(actions) * NUM_ENVS / (time.perf_counter() - start)


def admissible_actions(store: Any, stop: float) -> Iterator[Any]:
    """Random admissible actions of a vector environment seeded with 0; STOP with a given probability."""
    rng = np.random.default_rng(0)
    envs = gym.make_vec("AutoTTS-Replay-v0", num_envs=NUM_ENVS, store=store, observation="pool")
    _, infos = envs.reset(seed=0)
    for _ in range(VECTOR_STEPS):
        mask = infos["action_mask"].astype(bool)
        mask[:, 0] = (rng.random(NUM_ENVS) < stop) | ~mask[:, 1:].any(axis=1)
        actions = (rng.random(mask.shape, dtype=np.float32) * mask).argmax(axis=1)
        yield actions
        *_, infos = envs.step(actions)


def main() -> None:
    """Print both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", nargs="*", help="names or paths; default: the store that ships")
    store = parser.parse_args().stores or None
    rng = np.random.default_rng(0)

    print(f"single environment, {SINGLE_STEPS:,} steps, gym.make, default observation")
    cartpole = gym.make("CartPole-v1")
    replay = gym.make("AutoTTS-Replay-v0", store=store)
    base = best(lambda: single(cartpole, rng.integers(0, 2, SINGLE_STEPS).tolist()))
    print(f"  {'CartPole-v1':44} {base / 1e3:9.0f} k/s")
    samples = rng.integers(0, replay.action_space.n, SINGLE_STEPS).tolist()
    busy = [
        a if a else 1 for a in rng.choice([0, 1, *range(2, 18)], SINGLE_STEPS, p=[0.02, 0.18, *[0.05] * 16]).tolist()
    ]
    for name, actions in (("sampled from the action space", samples), ("opening and deepening", busy)):
        rate = best(lambda actions=actions: single(replay, actions))
        print(f"  {'AutoTTS-Replay-v0, ' + name:44} {rate / 1e3:9.0f} k/s   {rate / base:5.2f} x CartPole")

    print(f"native vector environment, {NUM_ENVS} environments, {VECTOR_STEPS} steps")
    poles = gym.make_vec("CartPole-v1", num_envs=NUM_ENVS, vectorization_mode="vector_entry_point")
    base = best(lambda: vector(poles, list(rng.integers(0, 2, (VECTOR_STEPS, NUM_ENVS)))))
    print(f"  {'CartPole-v1':44} {base / 1e6:9.2f} M/s")
    count = int(replay.action_space.n)
    kinds = {
        "sampled": list(rng.integers(0, count, (VECTOR_STEPS, NUM_ENVS))),
        "admissible": list(admissible_actions(store, stop=0.02)),
    }
    for observation in ("pool", "dict", "flat"):
        envs = gym.make_vec("AutoTTS-Replay-v0", num_envs=NUM_ENVS, store=store, observation=observation)
        for kind, actions in kinds.items():
            rate = best(lambda envs=envs, actions=actions: vector(envs, actions))
            name = f"AutoTTS-Replay-v0, {observation}, {kind}"
            print(f"  {name:44} {rate / 1e6:9.2f} M/s   {rate / base:5.2f} x CartPole")


if __name__ == "__main__":
    run(main)
