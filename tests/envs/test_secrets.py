"""What an environment hands out leads to nothing hidden; see ``walker``."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from players import pick, small
from walker import assert_nothing_hidden, hidden_arrays

from autotts_gym.actions.macros import MACROS, Macro

IDS = ("AutoTTS-Replay-v0", "AutoTTS-ReplayRounds-v0")


def owners(env: Any) -> list[np.ndarray]:
    return hidden_arrays(env.unwrapped._episodes.state)


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("observation", ["dict", "flat", "pool", "evidence"])
@pytest.mark.parametrize("probe", ["auto", "explicit"])
def test_observations_infos_and_what_is_revealed_of_a_single_environment(env_id: str, observation: str, probe: str):
    env = gym.make(env_id, store=small(), max_branches=4, observation=observation, probe=probe)
    rng = np.random.default_rng(0)
    for seed in range(3):
        results: Any = env.reset(seed=seed)
        ended = False
        while not ended:
            revealed = env.unwrapped.revealed
            handed_out = (results, revealed, revealed.history, revealed.reveals, env.unwrapped.action_masks())
            assert assert_nothing_hidden(owners(env), *handed_out) > 5
            results = env.step(pick(rng, results[-1]["action_mask"], stops=0.2))
            ended = results[2] or results[3]
        assert assert_nothing_hidden(owners(env), results, env.unwrapped.revealed) > 5


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("mode", list(AutoresetMode), ids=lambda mode: mode.name)
def test_observations_infos_and_what_is_revealed_of_a_vector_environment(env_id: str, mode: AutoresetMode):
    envs = gym.make_vec(env_id, num_envs=3, store=small(), max_branches=4, autoreset_mode=mode)
    rng = np.random.default_rng(0)
    results: Any = envs.reset(seed=0)
    for _ in range(25):
        assert assert_nothing_hidden(owners(envs), results, envs.revealed, envs.action_masks()) > 5
        actions = np.array([pick(rng, mask, stops=0.3) for mask in envs.action_masks()])
        results = envs.step(actions)
        ended = results[2] | results[3]
        if mode == AutoresetMode.DISABLED and ended.any():
            assert_nothing_hidden(owners(envs), results)
            results = envs.reset(options={"reset_mask": ended})
    *results, ends = envs.advance(np.zeros(3, np.int64))
    assert assert_nothing_hidden(owners(envs), results, ends) > 5


def test_macros_of_ones_own():
    given: list[Any] = []

    def write(revealed: Any, rows: Any, plan: Any) -> None:
        given.extend((revealed, rows, plan))
        plan.open[rows] = 1

    env = gym.make(IDS[1], store=small(), max_branches=4, macros=[*MACROS, Macro("spy", "looks around", write)])
    env.reset(seed=0)
    for _ in range(3):
        env.step(len(MACROS))
    assert assert_nothing_hidden(owners(env), *given) > 5
