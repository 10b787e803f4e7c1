"""Rewards of users: compiled, called by every face of the environment, the same everywhere."""

import copy
import json
import pickle
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import autotts_gym
from autotts_gym import synthesize
from autotts_gym.engine import Rules
from autotts_gym.engine.layout import POOL
from autotts_gym.errors import AutottsError

IDS = ("AutoTTS-Replay-v0", "AutoTTS-ReplayRounds-v0")
STORE = synthesize(6, 12, seed=2)


@autotts_gym.reward
def default_again(before, after, was_right, is_right):
    """The default reward, written by a user."""
    cost = after.cost_weight * (after.total_tokens - before.total_tokens)
    cost += after.latency_weight * (after.sequential_tokens - before.sequential_tokens)
    ended = after.stop_reason == 1 or after.stop_reason == 2
    return (is_right if ended else 0.0) - cost * 1e-6


@autotts_gym.reward
def shaped_again(before, after, was_right, is_right):
    """The shaped one."""
    cost = after.cost_weight * (after.total_tokens - before.total_tokens)
    cost += after.latency_weight * (after.sequential_tokens - before.sequential_tokens)
    return is_right * (after.stop_reason != 3) - was_right - cost * 1e-6


@autotts_gym.reward
def steps_taken(before, after, was_right, is_right):
    """What stands in the records before and after."""
    return 1000.0 * before.steps + after.steps


@autotts_gym.reward
def uncompilable(before, after, was_right, is_right):
    return open("/etc/hostname")


@autotts_gym.reward
def raises(before, after, was_right, is_right):
    """Raises at the second branch."""
    if after.opened > 1:
        raise ValueError("no second branch")
    return 1.0


def play(env, steps=60, seed=0):
    """Rewards of random admissible actions."""
    rng = np.random.default_rng(seed)
    _, info = env.reset(seed=seed)
    rewards = []
    for _ in range(steps):
        action = rng.choice(np.flatnonzero(info["action_mask"]))
        _, reward, terminated, truncated, info = env.step(action)
        assert type(reward) is float
        rewards.append(reward)
        if terminated or truncated:
            _, info = env.reset()
    return rewards


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize(("own", "shaping"), [(default_again, False), (shaped_again, True)])
def test_the_default_reward_can_be_written_by_a_user(env_id, own, shaping):
    laws = {"store": STORE, "max_branches": 6, "latency_weight": 0.5, "cost_weight": (0.1, 2.0), "max_steps": 9}
    theirs = play(gym.make(env_id, shaping=shaping, **laws))
    assert play(gym.make(env_id, reward=own, **laws)) == pytest.approx(theirs, abs=1e-12)
    assert any(theirs)


@pytest.mark.parametrize("env_id", IDS)
def test_the_records_are_those_before_and_after_the_step(env_id):
    env = gym.make(env_id, store=STORE, max_branches=6, reward=steps_taken)
    env.reset(seed=0)
    assert [env.step(1)[1] for _ in range(3)] == [1.0, 1002.0, 2003.0]


@pytest.mark.parametrize("env_id", IDS)
def test_native_equals_sync_and_threads_change_nothing(env_id):
    laws = {"store": STORE, "max_branches": 6, "reward": shaped_again}
    mode = {"autoreset_mode": AutoresetMode.SAME_STEP}
    native, threads = (gym.make_vec(env_id, num_envs=5, threads=k, **mode, **laws) for k in (1, 3))
    sync = gym.make_vec(env_id, num_envs=5, vectorization_mode="sync", vector_kwargs=mode, **laws)
    rng = np.random.default_rng(0)
    infos = [each.reset(seed=3)[1] for each in (native, threads, sync)]
    for _ in range(80):
        actions = np.array([rng.choice(np.flatnonzero(mask)) for mask in infos[0]["action_mask"]])
        steps = [each.step(actions) for each in (native, threads, sync)]
        infos = [step[-1] for step in steps]
        for other in steps[1:]:
            np.testing.assert_array_equal(steps[0][1], other[1])


@pytest.mark.parametrize("env_id", IDS)
def test_the_checker_finds_nothing(env_id):
    check_env(gym.make(env_id, store=STORE, reward=default_again).unwrapped, skip_render_check=True)


def test_a_reference_keeps_the_spec_as_json_and_the_file_makes_the_same_environment(tmp_path: Path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from autotts_gym import reward\n\n@reward\ndef opened(before, after, was_right, is_right):\n"
        "    return float(after.opened - before.opened)\n"
    )
    env = gym.make("AutoTTS-Replay-v0", reward=f"{file}:opened")
    spec = env.spec.to_json()
    assert json.loads(spec)["kwargs"]["reward"] == f"{file}:opened"
    for each in (env, gym.make(EnvSpec.from_json(spec))):
        each.reset(seed=0)
        assert [each.step(action)[1] for action in (1, 1, 2, 0)] == [1.0, 1.0, 0.0, 0.0]


def test_copies_and_pickles_go_on_with_the_same_reward():
    env = gym.make("AutoTTS-Replay-v0", store=STORE, max_branches=6, reward=steps_taken)
    env.reset(seed=0)
    env.step(1)
    for twin in (copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
        assert twin.step(1)[1] == 1002.0
    assert pickle.loads(pickle.dumps(steps_taken)) is steps_taken
    assert copy.deepcopy(steps_taken) is steps_taken


def test_it_may_be_called_in_plain_python():
    record = np.zeros(1, POOL).view(np.recarray)[0]
    assert steps_taken(record, record, 0.0, 1.0) == 0.0


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (3, r"^reward: expected None, what the decorator autotts_gym\.reward makes, .* got 3$"),
        ("default", r"^reward: expected None, .* got 'default'$"),
        (lambda before, after, was, now: 0.0, r"^reward: expected None, "),
        ("math:pi", r"^reward: expected math:pi to have the decorator autotts_gym\.reward$"),
        ("nowhere.py:x", r"^reward: expected a file, got 'nowhere\.py'"),
    ],
)
def test_what_is_no_reward_is_refused(reward, message):
    with pytest.raises(AutottsError, match=message):
        gym.make("AutoTTS-Replay-v0", reward=reward)


def test_a_reward_that_cannot_be_compiled_says_so_when_the_environment_is_made():
    with pytest.raises(AutottsError, match=r"^reward uncompilable: Numba cannot compile it: ") as caught:
        gym.make("AutoTTS-Replay-v0", reward=uncompilable)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("env_id", IDS)
def test_what_a_reward_raises_is_raised(env_id, capfd):
    macros = {"macros": ["stop", "open_1"]} if "Rounds" in env_id else {}
    env = gym.make(env_id, store=STORE, reward=raises, **macros)
    env.reset(seed=0)
    assert env.step(1)[1] == 1.0
    with pytest.raises(ValueError, match="no second branch"):
        env.step(1)
    assert capfd.readouterr().err == ""


def test_a_reward_of_ones_own_excludes_shaping():
    with pytest.raises(AutottsError, match="shaping: expected False where the reward is one of your own, got True"):
        Rules(reward=default_again, shaping=True)
