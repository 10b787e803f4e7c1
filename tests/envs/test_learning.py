"""Agents of Stable-Baselines3 and sb3-contrib take the environment as it is."""

from collections.abc import Iterator

import gymnasium as gym
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sb3_contrib")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


SMALL = {"n_steps": 64, "batch_size": 32, "n_epochs": 1, "device": "cpu", "seed": 0}


def test_ppo_learns_on_the_environment_as_it_is_made():
    from stable_baselines3 import PPO

    model = PPO("MultiInputPolicy", gym.make("AutoTTS-Replay-v0"), **SMALL).learn(256)
    assert model.num_timesteps == 256


@pytest.mark.parametrize("observation", ["flat", "pool"])
def test_ppo_learns_on_flat_observations(observation: str):
    from stable_baselines3 import PPO

    env = gym.make("AutoTTS-Replay-v0", observation=observation, max_branches=8)
    assert PPO("MlpPolicy", env, **SMALL).learn(128).num_timesteps == 128


def test_maskable_ppo_learns_and_takes_no_masked_action():
    from sb3_contrib import MaskablePPO

    env = gym.make("AutoTTS-Replay-v0", max_branches=16)
    model = MaskablePPO("MultiInputPolicy", env, **SMALL).learn(256)
    observation, info = env.reset(seed=0)
    for _ in range(30):
        masks = env.get_wrapper_attr("action_masks")()
        assert masks.tolist() == info["action_mask"].astype(bool).tolist()
        action, _ = model.predict(observation, action_masks=masks)
        observation, _, terminated, truncated, info = env.step(action)
        assert not info["invalid_action"]
        if terminated or truncated:
            observation, info = env.reset()
