"""Infos have the same keys and types at every step, so that collectors can stack them."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from players import assert_equal, pick, small

from autotts_gym.engine.layout import OUTCOME
from autotts_gym.envs.episodes import NEUTRAL

IDS = ("AutoTTS-Replay-v0", "AutoTTS-ReplayRounds-v0")


class Collector(gym.Wrapper):
    """Stacks infos as Minari's ``DataCollector(record_infos=True)`` does: one structure from the reset to the end."""

    episodes: list[dict[str, list[Any]]]

    def reset(self, **arguments: Any) -> Any:
        observation, info = super().reset(**arguments)
        self.episodes = [*getattr(self, "episodes", []), {key: [value] for key, value in info.items()}]
        return observation, info

    def step(self, action: Any) -> Any:
        results = super().step(action)
        buffer, info = self.episodes[-1], results[-1]
        assert buffer.keys() == info.keys()
        for key, value in info.items():
            assert type(value) is type(buffer[key][0])
            assert getattr(value, "dtype", None) == getattr(buffer[key][0], "dtype", None)
            assert getattr(value, "shape", None) == getattr(buffer[key][0], "shape", None)
            buffer[key].append(value)
        return results


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("options", [{}, {"max_steps": 3}, {"token_budget": 300}], ids=str)
def test_infos_of_whole_episodes_can_be_stacked(env_id: str, options: dict[str, Any]):
    env = Collector(gym.make(env_id, store=small(), max_branches=4, **options))
    rng = np.random.default_rng(0)
    answers = []
    for seed in range(40):
        _, info = env.reset(seed=seed)
        ended = False
        while not ended:
            # A third of the episodes stops at once, without an answer.
            action = 0 if seed % 3 == 0 else pick(rng, info["action_mask"], stops=0.2)
            *_, terminated, truncated, info = env.step(action)
            ended = terminated or truncated
        answers.append(info["answer"])
    for episode in env.episodes:
        stacked = {key: np.array(values) for key, values in episode.items()}
        assert not any(array.dtype == object for array in stacked.values())
        for key, neutral in NEUTRAL.items():
            assert set(episode[key][:-1]) == {neutral}
        assert episode["stop_reason"][-1] != "running"
    assert {type(answer) for answer in answers} == {str}
    assert "" in answers
    assert set(answers) != {""}


@pytest.mark.parametrize("env_id", IDS)
def test_a_reset_tells_a_neutral_outcome(env_id: str):
    _, info = gym.make(env_id, store=small()).reset(seed=0)
    assert set(info) == {"action_mask", "invalid_action", *OUTCOME}
    assert {key: info[key] for key in OUTCOME} == NEUTRAL


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("mode", list(AutoresetMode), ids=lambda mode: mode.name)
def test_infos_of_a_vector_environment_have_the_same_keys_at_every_step(env_id: str, mode: AutoresetMode):
    envs = gym.make_vec(env_id, num_envs=3, store=small(), max_branches=4, autoreset_mode=mode)
    rng = np.random.default_rng(0)
    _, infos = envs.reset(seed=0)
    keys = set(infos)
    assert keys == {key for name in ("action_mask", "invalid_action", *OUTCOME) for key in (name, f"_{name}")}
    ends = 0
    for _ in range(60):
        masks = infos["action_mask"]
        *_, terminated, truncated, infos = envs.step(np.array([pick(rng, mask, stops=0.3) for mask in masks]))
        ended = terminated | truncated
        ends += int(ended.sum())
        assert set(infos) - {"final_obs", "_final_obs", "final_info", "_final_info"} == keys
        reported = infos["stop_reason"] != "running"
        assert reported.tolist() == (ended & (mode != AutoresetMode.SAME_STEP)).tolist()
        for key in keys:
            if key.startswith("_"):
                assert infos[key].all()
        for key, neutral in NEUTRAL.items():
            assert all(value == neutral for value in infos[key][~reported].tolist())
        if mode == AutoresetMode.DISABLED and ended.any():
            _, infos = envs.reset(options={"reset_mask": ended})
            assert set(infos) == keys
            assert infos["_answer"].tolist() == ended.tolist()
            infos["action_mask"] = envs.action_masks().astype(np.int8)
    assert ends > 5


@pytest.mark.parametrize("env_id", IDS)
def test_infos_of_the_native_vector_environment_are_those_of_the_loop_over_single_ones(env_id: str):
    arguments = {"store": small(), "max_branches": 4}
    native = gym.make_vec(env_id, num_envs=2, **arguments)
    loop = SyncVectorEnv([lambda: gym.make(env_id, **arguments) for _ in range(2)])
    rng = np.random.default_rng(0)
    infos, expected = native.reset(seed=5)[1], loop.reset(seed=5)[1]
    assert_equal(infos, expected)
    for _ in range(50):
        actions = np.array([pick(rng, mask, stops=0.2) for mask in infos["action_mask"]])
        infos, expected = native.step(actions)[-1], loop.step(actions)[-1]
        assert_equal(infos, expected)
