"""The native vector environment against SyncVectorEnv over single ones, step for step."""

import copy
import os
import pickle
import signal
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from players import arrays, assert_equal, pick, small
from worlds import World, rules, worlds

from autotts_gym.envs.single import ReplayEnv
from autotts_gym.envs.vector import ReplayVectorEnv

ID = "AutoTTS-Replay-v0"
MODES = list(AutoresetMode)
SETTINGS: list[dict[str, Any]] = [
    {},
    {"observation": "flat", "cost_weight": (0.1, 10.0), "latency_weight": 2.0},
    {"observation": "pool", "accounting": "autotts"},
    {"probe": "explicit", "probe_cost": 60, "token_budget": 900},
    {"max_steps": 5},
    {"max_branches": 20},
]


def name(kwargs: dict[str, Any]) -> str:
    return ",".join(f"{key}={value}" for key, value in kwargs.items()) or "defaults"


def pair(num_envs: int, mode: AutoresetMode, **kwargs: Any) -> tuple[ReplayVectorEnv, SyncVectorEnv]:
    kwargs = {"store": small(), "max_branches": 6, **kwargs}
    native = ReplayVectorEnv(num_envs, autoreset_mode=mode, **kwargs)
    sync = SyncVectorEnv([lambda: ReplayEnv(**kwargs)] * num_envs, autoreset_mode=mode)
    return native, sync


def choose(rng: np.random.Generator, masks: np.ndarray) -> np.ndarray:
    return np.array([pick(rng, mask) for mask in masks])


def play_both(
    native: ReplayVectorEnv, sync: SyncVectorEnv, rng: np.random.Generator, steps: int, masks: np.ndarray
) -> int:
    """Step both with the same random actions, comparing all that they return; the number of ended episodes."""
    ends = 0
    for _ in range(steps):
        actions = choose(rng, masks)
        one, two = native.step(actions), sync.step(actions)
        assert_equal(one, two)
        assert_equal(native.action_masks(), np.stack(sync.call("action_masks")))
        ended = one[2] | one[3]
        ends += int(ended.sum())
        masks = one[4]["action_mask"]
        if native.autoreset_mode == AutoresetMode.DISABLED and ended.any():
            one = native.reset(options={"reset_mask": ended.copy()})
            assert_equal(one, sync.reset(options={"reset_mask": ended.copy()}))
            masks = native.action_masks().astype(np.int8)
    return ends


# ------------------------------------------------------------------------------------------------- native equals sync


@pytest.mark.parametrize("kwargs", SETTINGS, ids=name)
@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_native_equals_sync_step_for_step(mode: AutoresetMode, num_envs: int, kwargs: dict[str, Any]):
    native, sync = pair(num_envs, mode, **kwargs)
    rng = np.random.default_rng(num_envs)
    ends = 0
    for seed in (3, 11):
        one, two = native.reset(seed=seed), sync.reset(seed=seed)
        assert_equal(one, two)
        ends += play_both(native, sync, rng, 100, one[1]["action_mask"])
    assert ends >= 4


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), worlds(), st.sampled_from(MODES), st.integers(0, 2**31 - 100))
def test_native_equals_sync_under_any_rules(data: st.DataObject, world: World, mode: AutoresetMode, seed: int):
    laws = data.draw(rules(world.interval, 4))
    native, sync = pair(
        3,
        mode,
        store=world.store(),
        **{key: getattr(laws, key) for key in ("max_branches", "token_budget", "probe", "probe_cost", "accounting")},
        max_steps=laws.max_steps,
    )
    assert_equal(native.reset(seed=seed), sync.reset(seed=seed))
    play_both(native, sync, np.random.default_rng(seed), 25, native.action_masks().astype(np.int8))


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_native_equals_sync_under_reset_options(mode: AutoresetMode):
    native, sync = pair(3, mode, cost_weight=(0.1, 1.0))
    rng = np.random.default_rng(0)
    for options in ({"question": 2}, {"branch_seed": 5, "cost_weight": 0.7}, {"question": 0, "branch_seed": 1}, {}):
        one, two = native.reset(seed=1, options=dict(options)), sync.reset(seed=1, options=dict(options))
        assert_equal(one, two)
        play_both(native, sync, rng, 30, one[1]["action_mask"])
        one, two = native.reset(options=dict(options)), sync.reset(options=dict(options))  # mid-episode, unseeded
        assert_equal(one, two)
        play_both(native, sync, rng, 10, one[1]["action_mask"])


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_native_equals_sync_when_some_are_reset_in_the_middle(mode: AutoresetMode):
    native, sync = pair(3, mode)
    rng = np.random.default_rng(2)
    assert_equal(native.reset(seed=4), sync.reset(seed=4))
    for k, seed in enumerate((None, 9, [1, None, 3], None, None)):
        play_both(native, sync, rng, 7, native.action_masks().astype(np.int8))
        mask = np.array([k % 2 == 0, True, k == 2])
        options = {"branch_seed": k, "question": k % 4} if k % 2 else {}
        one = native.reset(seed=copy.copy(seed), options={"reset_mask": mask.copy(), **options})
        assert_equal(one, sync.reset(seed=copy.copy(seed), options={"reset_mask": mask.copy(), **options}))
    play_both(native, sync, rng, 30, native.action_masks().astype(np.int8))


def test_native_equals_sync_with_a_list_of_seeds():
    native, sync = pair(3, AutoresetMode.NEXT_STEP)
    assert_equal(native.reset(seed=[5, 1, 5]), sync.reset(seed=[5, 1, 5]))
    play_both(native, sync, np.random.default_rng(0), 60, native.action_masks().astype(np.int8))


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_make_vec_native_equals_make_vec_sync(mode: AutoresetMode):
    native = gym.make_vec(ID, num_envs=2, autoreset_mode=mode, max_branches=5, max_steps=20)
    sync = gym.make_vec(
        ID,
        num_envs=2,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": mode},
        max_branches=5,
        max_steps=20,
    )
    assert isinstance(native.unwrapped, ReplayVectorEnv)
    assert native.metadata["autoreset_mode"] is mode
    for attribute in ("single_observation_space", "single_action_space", "observation_space", "action_space"):
        assert getattr(native, attribute) == getattr(sync, attribute)
    assert_equal(native.reset(seed=0), sync.reset(seed=0))
    play_both(native.unwrapped, sync, np.random.default_rng(0), 60, native.unwrapped.action_masks().astype(np.int8))
    native.close()
    sync.close()


@pytest.mark.parametrize("num_envs", [1, 4])
def test_environment_k_equals_a_single_one_with_the_seed_plus_k(num_envs: int):
    store = small()
    native = ReplayVectorEnv(num_envs, store, max_branches=6, autoreset_mode="Disabled", cost_weight=(0.1, 1.0))
    singles = [ReplayEnv(store, max_branches=6, cost_weight=(0.1, 1.0)) for _ in range(num_envs)]
    observations, infos = native.reset(seed=20)
    results = [single.reset(seed=20 + k) for k, single in enumerate(singles)]
    rng = np.random.default_rng(0)
    for _ in range(60):
        for k in range(num_envs):
            assert_equal({key: value[k] for key, value in observations.items()}, results[k][0])
            assert infos["action_mask"][k].tolist() == results[k][-1]["action_mask"].tolist()
        actions = choose(rng, infos["action_mask"])
        observations, rewards, terminations, truncations, infos = native.step(actions)
        results = [single.step(actions[k]) for k, single in enumerate(singles)]
        assert rewards.tolist() == [one[1] for one in results]
        assert terminations.tolist() == [one[2] for one in results]
        ended = terminations | truncations
        if ended.any():
            observations, _ = native.reset(options={"reset_mask": ended})
            for k in np.flatnonzero(ended):
                results[k] = singles[k].reset()
            infos = {"action_mask": native.action_masks().astype(np.int8)}


# -------------------------------------------------------------------------------------------------- seeds and options


def transcript(env: ReplayVectorEnv, steps: int = 40, **reset: Any) -> list[Any]:
    rng = np.random.default_rng(0)
    results: list[Any] = [env.reset(**reset)]
    for _ in range(steps):
        results.append(env.step(choose(rng, env.action_masks())))
    return results


def test_twin_seeds_give_twin_episodes_and_a_seed_can_be_used_again():
    one, two = (ReplayVectorEnv(3, small(), max_branches=6) for _ in range(2))
    first = transcript(one, seed=7)
    assert_equal(first, transcript(two, seed=7))
    assert_equal(first, transcript(two, seed=7))
    assert_equal(transcript(one), transcript(two))  # and so do the episodes that follow


@pytest.mark.parametrize("env_id", [ID, "AutoTTS-ReplayRounds-v0"])
@pytest.mark.parametrize("threads", [2, 3, 9])
def test_threads_change_nothing(env_id: str, threads: int):
    one, several = (gym.make_vec(env_id, 7, store=small(), max_branches=6, threads=k) for k in (1, threads))
    assert_equal(one.reset(seed=5), several.reset(seed=5))
    rng = np.random.default_rng(0)
    ends = 0
    for k in range(60):
        actions = choose(rng, one.unwrapped.action_masks())
        left, right = one.step(actions), several.step(actions)
        assert_equal(left, right)
        ends += int((left[2] | left[3]).sum())
        if k == 20:
            several = copy.deepcopy(several)
        if k == 40:
            several = pickle.loads(pickle.dumps(several))
    assert ends > 10
    one.close()
    several.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own():
    env = ReplayVectorEnv(4, store=small(), max_branches=6, threads=2)
    env.reset(seed=0)
    env.step(np.ones(4, np.int64))  # the threads of this process have started
    child = os.fork()
    if not child:
        signal.alarm(20)
        opened = env.step(np.ones(4, np.int64))[0]["pool"][:, 4] * 6
        os._exit(0 if np.allclose(opened, 2) else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_environments_without_a_seed_differ():
    env = ReplayVectorEnv(20, small(), cost_weight=(0.1, 10.0))
    env.reset()
    assert len(set(env.revealed.pools["cost_weight"].tolist())) == 20
    env.reset(seed=[0] * 20)
    assert len(set(env.revealed.pools["cost_weight"].tolist())) == 1


def test_options_may_be_one_a_row():
    env = ReplayVectorEnv(3, small(), max_branches=6, autoreset_mode=AutoresetMode.DISABLED)
    env.reset(seed=0, options={"question": np.array([2, 0, 1]), "cost_weight": np.array([0.1, 0.2, 0.3])})
    assert env._episodes.state.questions.tolist() == [2, 0, 1]
    assert env.revealed.pools["cost_weight"].tolist() == [0.1, 0.2, 0.3]
    mask = np.array([False, True, False])
    env.reset(
        options={"reset_mask": mask, "question": np.array([3, 3, 3]), "cost_weight": 0.9, "branch_seed": [1, 2, 3]}
    )
    assert env._episodes.state.questions.tolist() == [2, 3, 1]
    assert env.revealed.pools["cost_weight"].tolist() == [0.1, 0.9, 0.3]


def test_options_given_are_not_changed():
    env = ReplayVectorEnv(2, small())
    options = {"reset_mask": np.array([True, True]), "question": 1}
    env.reset(seed=0, options=options)
    assert set(options) == {"reset_mask", "question"}
    assert options["reset_mask"].tolist() == [True, True]


@pytest.mark.parametrize(
    "mask", [[True, False], np.array([1, 0]), np.array([True]), np.array([False, False]), "all"], ids=str
)
def test_a_bad_reset_mask_is_refused(mask: Any):
    env = ReplayVectorEnv(2, small(), autoreset_mode=AutoresetMode.DISABLED)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"reset_mask.*: expected a bool array \(2,\)"):
        env.reset(options={"reset_mask": mask})


def test_resetting_some_before_all_have_begun_is_refused():
    env = ReplayVectorEnv(2, small(), autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(ResetNeeded, match="reset_mask"):
        env.reset(options={"reset_mask": np.array([True, False])})


def test_another_number_of_seeds_is_refused():
    with pytest.raises(ValueError, match="seed: expected one for each of 2 environments, got 3"):
        ReplayVectorEnv(2, small()).reset(seed=[1, 2, 3])


# ------------------------------------------------------------------------------------------------------------- errors


def test_a_step_before_a_reset_asks_for_one():
    for mode in MODES:
        with pytest.raises(ResetNeeded, match="reset"):
            ReplayVectorEnv(2, small(), autoreset_mode=mode).step(np.zeros(2, np.int64))


def test_a_step_after_an_end_asks_for_a_reset_where_autoreset_is_disabled():
    env = ReplayVectorEnv(2, small(), autoreset_mode=AutoresetMode.DISABLED)
    env.reset(seed=0)
    env.step(np.array([0, 1]))
    with pytest.raises(ResetNeeded, match="call reset first"):
        env.step(np.array([1, 1]))


@pytest.mark.parametrize("actions", [[1], [1, 1, 1], [[1, 1]], 1], ids=str)
def test_actions_of_another_shape_are_refused(actions: Any):
    env = ReplayVectorEnv(2, small())
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"actions: expected shape \(2,\)"):
        env.step(actions)


@pytest.mark.parametrize("actions", [[1, 18], [-1, 1], [1, 2**40]], ids=str)
def test_actions_outside_of_the_space_are_refused_and_nothing_is_done(actions: Any):
    env = ReplayVectorEnv(2, small(), max_branches=8)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"actions: expected 0 \.\. 17, got"):
        env.step(np.array(actions))
    assert env.revealed.pools["steps"].tolist() == [0, 0]


@pytest.mark.parametrize(
    "kwargs", [{"render_mode": "human"}, {"autoreset_mode": "Never"}, {"max_branches": 0}, {"threads": 0}], ids=name
)
def test_a_bad_argument_is_refused(kwargs: dict[str, Any]):
    with pytest.raises(ValueError, match=r"expected|not a valid"):
        ReplayVectorEnv(2, small(), **kwargs)


# -------------------------------------------------------------------------------------------- truncation, metadata …


@pytest.mark.parametrize(("max_steps", "max_episode_steps"), [(3, None), (None, 3), (10, 3), (3, 10)])
def test_the_smaller_limit_truncates(max_steps: int | None, max_episode_steps: int | None):
    env = ReplayVectorEnv(2, small(), max_steps=max_steps, max_episode_steps=max_episode_steps)
    env.reset(seed=0)
    ends = [env.step(np.array([1, 1]))[3].tolist() for _ in range(3)]
    assert ends == [[False] * 2, [False] * 2, [True] * 2]


def test_the_metadata_of_one_environment_is_its_own():
    modes = {mode: ReplayVectorEnv(1, small(), autoreset_mode=mode) for mode in MODES}
    for mode, env in modes.items():
        assert env.metadata["autoreset_mode"] is mode
    assert gym.make_vec(ID, num_envs=1).metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP


def test_the_spec_of_a_vector_environment_survives_json():
    env = gym.make_vec("autotts_gym:AutoTTS-Replay-v0", num_envs=2, cost_weight=[0.1, 1.0], token_budget=9_000)
    assert env.spec is not None
    spec = type(env.spec).from_json(env.spec.to_json())
    assert spec.id == env.spec.id
    twin = gym.make_vec(spec, num_envs=2)
    assert_equal(env.reset(seed=1), twin.reset(seed=1))


def test_a_time_limit_of_the_spec_reaches_the_native_environment():
    gym.register(
        "ShortAutoTTS-v0",
        entry_point="autotts_gym.envs.single:ReplayEnv",
        vector_entry_point="autotts_gym.envs.vector:ReplayVectorEnv",
        max_episode_steps=2,
    )
    try:
        env = gym.make_vec("ShortAutoTTS-v0", num_envs=2, store=small())
        env.reset(seed=0)
        env.step(np.array([1, 1]))
        assert env.step(np.array([1, 1]))[3].tolist() == [True, True]
    finally:
        del gym.registry["ShortAutoTTS-v0"]


# ---------------------------------------------------------------------------------------------- infos, copies, memory


def test_final_observation_and_info_are_those_of_the_ended_episode():
    env = ReplayVectorEnv(2, small(), max_branches=6, autoreset_mode=AutoresetMode.SAME_STEP)
    env.reset(seed=0)
    env.step(np.array([1, 1]))
    observations, _, terminations, _, infos = env.step(np.array([0, 1]))
    assert terminations.tolist() == [True, False]
    assert infos["final_obs"][1] is None
    assert infos["final_obs"][0]["pool"][4] > 0
    assert observations["pool"][0, 4] == 0
    assert infos["_final_obs"].tolist() == infos["_final_info"].tolist() == [True, False]
    final = infos["final_info"]
    assert final["stop_reason"].tolist() == ["stop", None]
    assert final["_stop_reason"].tolist() == [True, False]
    assert final["action_mask"][0].tolist() == [1] + [0] * 13
    assert infos["action_mask"][0].tolist() == [1, 1] + [0] * 12
    assert infos["stop_reason"].tolist() == ["running", "running"]


def test_every_key_of_the_infos_keeps_one_dtype_and_has_its_mask():
    for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
        env = ReplayVectorEnv(3, small(), max_branches=6, autoreset_mode=mode)
        dtypes: dict[str, np.dtype] = {}

        def check(infos: dict[str, Any], dtypes: dict[str, np.dtype] = dtypes) -> None:
            for key, value in infos.items():
                if isinstance(value, dict):
                    check(value)
                elif key.startswith("_"):
                    assert (value.dtype, value.shape) == (np.bool_, (3,))
                else:
                    assert dtypes.setdefault(key, value.dtype) == value.dtype
                    assert len(value) == 3
                if not key.startswith("_"):
                    assert f"_{key}" in infos

        for results in transcript(env, steps=80, seed=0):
            check(results[-1])
        assert "answer" in dtypes


def test_the_step_after_an_end_ignores_its_action_and_begins_the_next_episode():
    env, twin = (ReplayVectorEnv(1, small(), max_branches=6) for _ in range(2))
    for one in (env, twin):
        one.reset(seed=0)
        one.step(np.array([0]))
    results = env.step(np.array([1]))
    assert_equal(results, twin.step(np.array([0])))
    _, rewards, terminations, truncations, infos = results
    assert (rewards[0], terminations[0], truncations[0], infos["invalid_action"][0]) == (0.0, False, False, False)
    assert env.revealed.pools["opened"].tolist() == [0]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
@pytest.mark.parametrize("observation", ["dict", "flat", "pool"])
def test_outputs_share_no_memory_with_earlier_ones_or_with_the_environment(mode: AutoresetMode, observation: str):
    env = ReplayVectorEnv(2, small(), max_branches=4, observation=observation, autoreset_mode=mode)
    outputs: list[Any] = [env.reset(seed=0)]
    for actions in ([1, 1], [2, 1], [0, 2], [0, 0], [1, 1]):
        outputs.append(env.step(np.array(actions)))
        ended = outputs[-1][2] | outputs[-1][3]
        if mode == AutoresetMode.DISABLED and ended.any():
            outputs.append(env.reset(options={"reset_mask": ended.copy()}))
    held = [array for array in env._episodes.state.arrays if array.size]
    held += [env._episodes.encoder, env._ended, env._no_restart]
    held += [env._episodes._last, env._episodes._last_masks, env._episodes._outcomes]
    groups = [arrays(output) for output in outputs]
    for k, group in enumerate(groups):
        earlier = [array for other in groups[:k] for array in other]
        assert not any(np.shares_memory(a, b) for a in group for b in earlier + held)
        for i, array in enumerate(group):
            assert not any(np.shares_memory(array, other) for other in group[:i])


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_a_copy_in_the_middle_is_equal_and_independent(mode: AutoresetMode):
    env = ReplayVectorEnv(3, small(), max_branches=6, autoreset_mode=mode)
    env.reset(seed=0)
    for _ in range(3):
        env.step(np.array([1, 1, 1]))
    for twin in (copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
        again = copy.deepcopy(env)
        steps = 1 if mode == AutoresetMode.DISABLED else 40
        rng, other = np.random.default_rng(0), np.random.default_rng(0)
        for _ in range(steps):
            assert_equal(twin.step(choose(rng, twin.action_masks())), again.step(choose(other, again.action_masks())))
    assert env.revealed.pools["steps"].tolist() == [3, 3, 3]


def test_the_space_holds_what_comes_back_and_action_masks_have_a_row_each():
    env = ReplayVectorEnv(3, small(), max_branches=6, probe="explicit")
    for results in transcript(env, seed=0):
        assert env.observation_space.contains(results[0])
    assert env.action_masks().shape == (3, 20)
    assert env.action_masks().dtype == np.bool_
    assert env.action_space.contains(env.action_space.sample())


def test_closing_twice_is_fine():
    env = gym.make_vec(ID, num_envs=2)
    env.reset(seed=0)
    env.close()
    env.close()


@pytest.mark.parametrize("name", ["AutoTTS-Replay-v0", "AutoTTS-ReplayRounds-v0"])
@pytest.mark.parametrize("probe", ["auto", "explicit"])
def test_what_is_fetched_ahead_changes_nothing(name, probe):
    envs = [gym.make_vec(name, num_envs=7, store=small(), max_branches=6, probe=probe, max_steps=25) for _ in range(3)]
    for ahead, each in enumerate(envs):
        each._episodes.ahead = 3 * ahead
    resets = [each.reset(seed=5) for each in envs]
    rng, masks = np.random.default_rng(0), resets[0][1]["action_mask"]
    for _ in range(80):
        actions = np.array([rng.choice(np.flatnonzero(mask)) for mask in masks])
        first, *others = (each.step(actions) for each in envs)
        for other in others:
            assert_equal(first, other)
        masks = first[4]["action_mask"]
