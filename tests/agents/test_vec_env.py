import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from agents.vec_env import MONITORED, ReplayVecEnv, make_vec_env
from autotts_gym.engine.layout import OUTCOME

ENVS = ("AutoTTS-Replay-v0", "AutoTTS-ReplayRounds-v0")
ARGUMENTS: dict[str, Any] = {"max_branches": 6, "max_steps": 30, "cost_weight": (0.03, 3.0)}


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return bool(np.array_equal(one, other))


@pytest.mark.parametrize("env_id", ENVS)
@pytest.mark.parametrize("observation", ["dict", "flat", "pool", "evidence"])
@pytest.mark.parametrize("num_envs", [1, 3])
def test_it_equals_a_dummy_vec_env_of_single_ones(env_id: str, observation: str, num_envs: int) -> None:
    arguments = {**ARGUMENTS, "observation": observation}
    ours = ReplayVecEnv(env_id, num_envs, **arguments)
    theirs = DummyVecEnv([lambda: gym.make(env_id, **arguments)] * num_envs)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    ours.seed(5)
    theirs.seed(5)
    assert equal(ours.reset(), theirs.reset())
    ends = 0
    rng = np.random.default_rng(0)
    for _ in range(150):
        masks = np.stack(ours.env_method("action_masks"))
        assert masks.dtype == np.bool_
        # Those of the dummy show the episode that ended only in its info: it masks what comes next, as ours do.
        assert equal(masks, np.stack(theirs.env_method("action_masks")))
        actions = rng.integers(0, ours.action_space.n, num_envs)  # type: ignore[attr-defined]
        our_step, their_step = ours.step(actions), theirs.step(actions)
        assert equal(our_step[0], their_step[0])
        assert our_step[1].dtype == np.float32
        np.testing.assert_allclose(our_step[1], their_step[1], rtol=1e-6)
        assert equal(our_step[2], their_step[2])
        for n, (our, their) in enumerate(zip(our_step[3], their_step[3], strict=True)):
            assert ours.invalid[n] == their["invalid_action"]
            if not our_step[2][n]:
                assert our == {}
                continue
            ends += 1
            assert {key: our[key] for key in OUTCOME} == {key: their[key] for key in OUTCOME}
            assert [type(our[key]) for key in OUTCOME] == [type(their[key]) for key in OUTCOME]
            assert our["TimeLimit.truncated"] == (our["stop_reason"] == "truncated") == their["TimeLimit.truncated"]
            assert equal(our["terminal_observation"], their["terminal_observation"])
    assert ends > num_envs


def test_steps_share_no_arrays_and_no_infos() -> None:
    envs = ReplayVecEnv(ENVS[1], 4, **ARGUMENTS)
    envs.seed(0)
    envs.reset()
    first, second = envs.step(np.full(4, 6)), envs.step(np.full(4, 1))
    kept = first[1].copy()
    second[1][:] = 99.0
    assert np.array_equal(first[1], kept)
    assert not np.shares_memory(first[1], second[1])
    assert len({id(info) for info in first[3] + second[3]}) == 8


def test_seeds_and_options_hold_for_one_reset() -> None:
    envs = ReplayVecEnv(ENVS[0], 2, **{**ARGUMENTS, "observation": "pool"})
    envs.seed(3)
    first = envs.reset()
    assert envs._seeds == [None, None]
    assert not equal(first, envs.reset())
    envs.seed(3)
    assert equal(first, envs.reset())
    envs.set_options(
        [{"question": 1, "branch_seed": 0, "cost_weight": 0.5}, {"question": 2, "branch_seed": 0, "cost_weight": 0.5}]
    )
    envs.reset()
    assert envs.envs._episodes.state.questions.tolist() == [1, 2]
    assert envs.envs._episodes.state.pools["cost_weight"].tolist() == [0.5, 0.5]
    assert envs._options == [{}, {}]
    assert [set(info) for info in envs.reset_infos] == [{"action_mask", "invalid_action"}] * 2
    envs.set_options([{"question": 1}, {}])
    with pytest.raises(ValueError, match="expected the same keys"):
        envs.reset()


def test_attributes_and_methods_answer_for_every_environment() -> None:
    envs = ReplayVecEnv(ENVS[1], 3, render_mode="rgb_array", **ARGUMENTS)
    envs.reset()
    assert envs.get_attr("render_mode") == ["rgb_array"] * 3
    assert envs.get_attr("action_space", indices=[0, 2]) == [envs.action_space] * 2
    assert envs.has_attr("action_masks")
    assert not envs.has_attr("nothing")
    for ask in (lambda: envs.get_attr("nothing"), lambda: envs.set_attr("nothing", 1), lambda: envs.env_method("step")):
        with pytest.raises(AttributeError):
            ask()
    with pytest.raises(ValueError, match="expected all environments"):
        envs.set_attr("render_mode", "ansi", indices=1)
    envs.set_attr("closed", False)
    assert envs.env_is_wrapped(Monitor) == [False] * 3
    assert len(envs.env_method("action_masks", indices=1)) == 1
    picture = envs.render()
    assert picture is not None
    assert picture.ndim == 3
    envs.close()
    envs.close()


def test_the_monitor_reports_what_episodes_came_to() -> None:
    envs = make_vec_env(ENVS[1], 2, **ARGUMENTS)
    envs.seed(0)
    envs.reset()
    envs.step(np.array([6, 6]))
    _, _, dones, infos = envs.step(np.array([0, 1]))
    assert dones.tolist() == [True, False]
    episode = infos[0]["episode"]
    assert set(MONITORED) | {"r", "l", "t"} == set(episode)
    assert episode["l"] == 2
    assert episode["branches_opened"] == 1
    assert "episode" not in infos[1]


def test_a_state_goes_on_with_the_threads_of_who_takes_it_over() -> None:
    one, two = (ReplayVecEnv(ENVS[1], 4, **{**ARGUMENTS, "threads": threads}) for threads in (1, 2))
    one.seed(0)
    one.reset()
    two.set_state(pickle.loads(pickle.dumps(one.get_state())))
    assert (one.envs.threads, two.envs.threads) == (1, 2)
    left, right = (envs.step(np.array([6, 7, 6, 7])) for envs in (one, two))
    assert np.array_equal(left[1], right[1])


def test_a_pickled_state_goes_on_as_the_environments_do() -> None:
    envs, twin = (ReplayVecEnv(ENVS[1], 3, **{**ARGUMENTS, "observation": "pool"}) for _ in range(2))
    envs.seed(0)
    envs.reset()
    envs.step(np.array([6, 7, 6]))
    twin.set_state(pickle.loads(pickle.dumps(envs.get_state())))
    for action in (1, 3, 0, 6, 1, 0, 7):
        ours, theirs = envs.step(np.full(3, action)), twin.step(np.full(3, action))
        assert all(equal(*pair) for pair in zip(ours[:3], theirs[:3], strict=True))
        assert equal(envs.masks, twin.masks)
