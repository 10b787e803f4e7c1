"""The single environment as Gymnasium, Stable-Baselines3 and its users see it."""

import copy
import json
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from players import arrays, assert_equal, episode, pick, shipped, small
from scipy import stats
from worlds import World, rules, worlds

import autotts_gym
from autotts_gym.engine import Rules
from autotts_gym.envs.single import ReplayEnv
from autotts_gym.observation import pool
from autotts_gym.replay import Branch, Question, pool_order

ID = "AutoTTS-Replay-v0"
IDS = sorted(spec for spec in gym.registry if spec.startswith("AutoTTS-"))
SETTINGS: list[dict[str, Any]] = [
    {},
    {"observation": "flat"},
    {"observation": "pool"},
    {"observation": "evidence", "shaping": True},
    {"probe": "explicit", "probe_cost": 40},
    {"token_budget": 5_000},
    {"accounting": "autotts", "cost_weight": [0.05, 2.0], "latency_weight": 0.5},
    {"max_branches": 1, "max_steps": 7},
    {"max_branches": 200},
]
FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


COST_WEIGHT = [feature.name for feature in pool.FEATURES].index("cost_weight")


def name(kwargs: dict[str, Any]) -> str:
    return ",".join(f"{key}={value}" for key, value in kwargs.items()) or "defaults"


def of(laws: Rules, store: Any, **more: Any) -> ReplayEnv:
    """An environment with the rules that a Hypothesis strategy drew."""
    return ReplayEnv(
        store,
        laws.max_branches,
        laws.token_budget,
        probe=laws.probe,
        probe_cost=laws.probe_cost,
        accounting=laws.accounting,
        max_steps=laws.max_steps,
        **more,
    )


# ---------------------------------------------------------------------------------------------------------- contracts


def test_importing_the_package_registers_the_ids():
    assert ID in IDS
    assert gym.make("autotts_gym:AutoTTS-Replay-v0").unwrapped.spec.id == ID


@pytest.mark.parametrize("env_id", IDS)
def test_gymnasiums_checker_finds_nothing_in_any_registered_id(env_id: str):
    check_env(gym.make(env_id).unwrapped)


@pytest.mark.parametrize("kwargs", SETTINGS, ids=name)
def test_gymnasiums_checker_finds_nothing_in_any_setting(kwargs: dict[str, Any]):
    check_env(gym.make(ID, **kwargs).unwrapped)
    check_env(gym.make(ID, store=small(), **kwargs).unwrapped)


@pytest.mark.parametrize("kwargs", SETTINGS, ids=name)
def test_stable_baselines_checker_finds_nothing_in_any_setting(kwargs: dict[str, Any]):
    from stable_baselines3.common.env_checker import check_env as check

    check(gym.make(ID, **kwargs))
    check(ReplayEnv(small(), **kwargs))


@pytest.mark.parametrize("kwargs", [{}, {"store": "synthetic/search", **SETTINGS[5]}], ids=name)
def test_a_spec_survives_json(kwargs: dict[str, Any]):
    env = gym.make("autotts_gym:AutoTTS-Replay-v0", **kwargs)
    assert env.spec is not None
    json.dumps(env.spec.kwargs)
    spec = EnvSpec.from_json(env.spec.to_json())
    twin = gym.make(spec)
    for one in (env, twin):
        one.action_space.seed(0)
    assert_equal(env.reset(seed=5), twin.reset(seed=5))
    for _ in range(20):
        results = env.step(env.action_space.sample())
        assert_equal(results, twin.step(twin.action_space.sample()))
        if results[2]:
            break


def test_the_module_form_of_the_id_works_in_a_fresh_process_and_under_spawn(tmp_path: Path):
    script = tmp_path / "spawned.py"
    script.write_text(
        textwrap.dedent("""
        import gymnasium as gym

        if __name__ == "__main__":
            env = gym.make("autotts_gym:AutoTTS-Replay-v0", max_branches=4)
            env.reset(seed=3)
            envs = gym.make_vec(
                "autotts_gym:AutoTTS-Replay-v0",
                num_envs=2,
                vectorization_mode="async",
                vector_kwargs={"context": "spawn"},
                max_branches=4,
            )
            envs.reset(seed=3)
            for action in (1, 1, 2, 3, 0):
                one, many = env.step(action), envs.step([action, action])
                assert (one[0]["pool"] == many[0]["pool"][0]).all()
                assert one[1] == many[1][0]
            envs.close()
            print("fine")
        """)
    )
    done = subprocess.run([sys.executable, "-W", "error", script], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr


def test_spaces_are_those_of_the_design():
    env = gym.make(ID, max_branches=7)
    assert env.action_space == gym.spaces.Discrete(16)
    assert gym.make(ID, max_branches=7, probe="explicit").action_space == gym.spaces.Discrete(23)
    assert isinstance(env.observation_space, gym.spaces.Dict)
    assert set(env.observation_space) == {"pool", "branches"}
    for box in env.observation_space.values():
        assert isinstance(box, gym.spaces.Box)
        assert box.dtype == np.float32
        assert box.is_bounded()


def test_the_types_that_come_back_are_plain():
    env = gym.make(ID, max_branches=4)
    _, info = env.reset(seed=0)
    assert (info["action_mask"].dtype, type(info["invalid_action"])) == (np.int8, bool)
    for action in (1, 5, 0):
        _, reward, terminated, truncated, info = env.step(np.int64(action))
        assert (type(reward), type(terminated), type(truncated)) == (float, bool, bool)
        assert (info["action_mask"].dtype, type(info["invalid_action"])) == (np.int8, bool)
    ends = {
        "answer": str,
        "correct": bool,
        "total_tokens": int,
        "sequential_tokens": int,
        "branches_opened": int,
        "branches_pruned": int,
        "stop_reason": str,
    }
    assert set(info) == {"action_mask", "invalid_action", *ends}
    assert {key: type(info[key]) for key in ends} == ends


# ------------------------------------------------------------------------------------------------- seeds and options


def test_twin_seeds_give_twin_episodes_over_several_resets():
    store = shipped()
    one, two = ReplayEnv(store, cost_weight=(0.1, 1.0)), ReplayEnv(store, cost_weight=(0.1, 1.0))
    for seed in (1, None, None, 1, 2, None):
        for env in (one, two):
            env.action_space.seed(seed)
        first = episode(one, np.random.default_rng(0), seed=seed)
        assert_equal(first, episode(two, np.random.default_rng(0), seed=seed))


def test_the_same_seed_again_gives_the_same_episodes_again():
    env = ReplayEnv(shipped())
    runs = []
    for _ in range(2):
        env.reset(seed=9)
        runs.append([episode(env, np.random.default_rng(k)) for k in range(3)])
    assert_equal(*runs)


def test_different_seeds_and_unseeded_environments_differ():
    store = shipped()
    weights = set()
    for seed in range(20):
        env = ReplayEnv(store, cost_weight=(0.1, 10.0))
        env.reset(seed=seed)
        weights.add(float(env.revealed.pools["cost_weight"][0]))
    for _ in range(20):
        env = ReplayEnv(store, cost_weight=(0.1, 10.0))
        env.reset()
        weights.add(float(env.revealed.pools["cost_weight"][0]))
    assert len(weights) == 40


def test_a_generator_given_by_hand_is_used():
    episodes = []
    for _ in range(2):
        env = ReplayEnv(shipped())
        env.reset(seed=1)
        env.np_random = np.random.default_rng(77)
        episodes.append(episode(env, np.random.default_rng(0)))
    assert_equal(*episodes)


def test_options_fix_the_question_the_order_and_the_cost_weight():
    store = small(questions=6, pool=9)
    env = ReplayEnv(store, max_branches=5, cost_weight=(0.1, 0.2))
    env.reset(seed=0, options={"question": 3, "branch_seed": 7, "cost_weight": 0.7})
    assert env.question == 3
    assert env.revealed.pools["cost_weight"][0] == 0.7
    order = pool_order(7, 9)
    tables = store.answers(3)
    for i in range(5):
        env.step(1)
        first = store.probes[store.probe_offsets[store.branch_offsets[3] + order[i]]]
        shown = env.revealed.history(0, i)[0]
        text = env._episodes.state.answer_text(0, int(shown))
        assert text == (None if first < 0 else tables[first])
    env.reset()
    assert 0.1 <= env.revealed.pools["cost_weight"][0] <= 0.2


def test_options_hold_for_one_episode_and_leave_the_stream_alone():
    store = shipped()
    env, twin = ReplayEnv(store), ReplayEnv(store)
    env.reset(seed=4)
    twin.reset(seed=4)
    env.reset(options={"question": 0, "branch_seed": 1, "cost_weight": 3.0})
    twin.reset()
    assert_equal(episode(env, np.random.default_rng(0)), episode(twin, np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"questions": 1}, r"options: expected only question, branch_seed, cost_weight, got questions"),
        ({"question": 4}, r"question.*: expected 0 \.\. 3, got"),
        ({"question": -1}, r"question.*: expected 0 \.\. 3, got -1"),
        ({"question": 1.0}, r"question.*: expected 0 \.\. 3, got 1\.0"),
        ({"question": None}, r"question.*: expected"),
        ({"question": True}, r"question.*: expected"),
        ({"branch_seed": 0.5}, r"branch_seed.*: expected"),
        ({"branch_seed": "x"}, r"branch_seed.*: expected"),
        ({"cost_weight": -1.0}, r"cost_weight.*: expected"),
        ({"cost_weight": float("nan")}, r"cost_weight.*: expected"),
        ({"cost_weight": float("inf")}, r"cost_weight.*: expected"),
        ({"question": [0, 1]}, r"."),
    ],
    ids=str,
)
def test_a_bad_option_is_refused_by_its_name(options: dict[str, Any], message: str):
    env = ReplayEnv(small(questions=4))
    with pytest.raises(ValueError, match=message):
        env.reset(seed=0, options=options)


def test_a_refused_reset_leaves_the_running_episode_as_it_was():
    env = ReplayEnv(small(questions=4))
    env.reset(seed=0)
    env.step(1)
    before = env.revealed.slots.tolist()
    for options in ({"question": 9}, {"branch_seed": 0.5}, {"cost_weight": -1.0}):
        with pytest.raises(ValueError, match="expected"):
            env.reset(options=options)
        assert env.revealed.slots.tolist() == before, options


def test_a_range_of_cost_weights_is_drawn_log_uniformly_by_the_seed_and_observed():
    env = ReplayEnv(small(), observation="pool", cost_weight=(0.01, 1.0))
    weights = []
    for seed in range(400):
        observation, _ = env.reset(seed=seed)
        weight = float(env.revealed.pools["cost_weight"][0])
        env.reset(seed=seed)
        assert weight == env.revealed.pools["cost_weight"][0]
        assert observation[COST_WEIGHT] == pytest.approx(weight / (weight + 0.25), rel=1e-5)
        weights.append(weight)
    assert stats.kstest(np.log10(weights), stats.uniform(-2, 2).cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    "kwargs",
    [
        {"observation": "image"},
        {"render_mode": "cinema"},
        {"probe": "never"},
        {"accounting": "free"},
        {"max_branches": 0},
        {"token_budget": -1},
        {"cost_weight": [1.0, 0.1]},
        {"max_steps": 0},
        {"store": "no/such"},
        {"store": []},
    ],
    ids=name,
)
def test_a_bad_argument_is_refused(kwargs: dict[str, Any]):
    with pytest.raises(ValueError, match="expected"):
        ReplayEnv(**{"store": small(), **kwargs})


def test_an_environment_over_several_stores_draws_from_all_of_them():
    stores = [small(questions=2, seed=1), small(questions=3, seed=2)]
    env = ReplayEnv(stores)
    seen = set()
    for seed in range(60):
        env.reset(seed=seed)
        seen.add(env.question)
    assert seen == set(range(5))


# ---------------------------------------------------------------------------------------------------- actions, masks


@FEW
@given(st.data(), worlds(), st.integers(0, 2**32 - 1))
def test_masks_are_exactly_the_admissible_actions_and_all_others_do_nothing(
    data: st.DataObject, world: World, seed: int
):
    """Every action is tried on a copy of the environment, at every step."""
    env = of(data.draw(rules(world.interval, 3)), world.store())
    rng = np.random.default_rng(seed)
    _, info = env.reset(seed=seed)
    for _ in range(6):
        mask = info["action_mask"]
        assert mask[0] == 1
        assert env.action_masks().dtype == np.bool_
        assert env.action_masks().tolist() == mask.astype(bool).tolist()
        before = [env.revealed.pools.copy(), env.revealed.slots.copy(), env.revealed.votes.copy()]
        for action in range(len(mask)):
            twin = copy.deepcopy(env)
            _, reward, terminated, _, tried = twin.step(action)
            assert tried["invalid_action"] == (not mask[action])
            pools, slots, votes = twin.revealed.pools.copy(), twin.revealed.slots, twin.revealed.votes
            if mask[action]:
                assert terminated or pools.tolist() != before[0].tolist()
                continue
            if not terminated:  # nothing but STOP was left
                assert twin.action_masks().tolist() == env.action_masks().tolist()
                pools["steps"] -= 1
                pools["stop_reason"] = before[0]["stop_reason"]
                assert reward == 0.0
                assert pools.tolist() == before[0].tolist()
            assert slots.tolist() == before[1].tolist()
            assert votes.tolist() == before[2].tolist()
        _, _, terminated, truncated, info = env.step(pick(rng, mask))
        if terminated or truncated:
            break


def test_an_episode_ends_by_itself_when_only_stop_is_left():
    world = World(10, (Question("q", "a", (Branch(["a"], 10, "a"), Branch(["b"], 30, "b"))),))
    env = ReplayEnv(world.store(), max_branches=2)
    env.reset(seed=0, options={"branch_seed": 0})
    ends = [env.step(1)[2], env.step(1)[2]]
    i = int(np.flatnonzero(env.revealed.slots["status"][0] == 1)[0])
    *_, ended, _, info = env.step(4 + i)
    assert (*ends, ended) == (False, False, True)
    assert info["stop_reason"] == "exhausted"
    assert info["answer"] == "a"
    assert info["correct"] is True
    assert info["action_mask"].tolist() == [1, 0, 0, 0, 0, 0]


def test_stop_at_once_gives_no_answer_which_is_wrong():
    env = ReplayEnv(small())
    env.reset(seed=0)
    _, reward, terminated, _, info = env.step(0)
    assert (reward, terminated) == (0.0, True)
    assert (info["answer"], info["correct"], info["stop_reason"]) == ("", False, "stop")


def test_max_steps_truncates_without_an_answer():
    env = ReplayEnv(shipped(), max_steps=3)
    env.reset(seed=0)
    ends = [env.step(action)[2:4] for action in (1, 1)]
    *_, terminated, truncated, info = env.step(1)
    assert ends == [(False, False)] * 2
    assert (terminated, truncated) == (False, True)
    assert (info["answer"], info["correct"], info["stop_reason"]) == ("", False, "truncated")
    env.reset(seed=0)
    env.step(1)
    env.step(1)
    *_, terminated, truncated, info = env.step(0)
    assert (terminated, truncated, info["stop_reason"]) == (True, False, "stop")


def test_steps_that_do_nothing_count_towards_max_steps():
    env = ReplayEnv(shipped(), max_steps=2)
    env.reset(seed=0)
    assert env.step(5)[3] is False
    assert env.step(5)[3] is True


def test_a_step_before_a_reset_or_after_the_end_asks_for_a_reset():
    for env in (ReplayEnv(small()), gym.make(ID)):
        with pytest.raises(ResetNeeded, match="reset"):
            env.step(0)
    env = ReplayEnv(small())
    env.reset(seed=0)
    env.step(0)
    with pytest.raises(ResetNeeded, match="step: expected a running episode; call reset first"):
        env.step(0)
    env.reset()
    env.step(1)


@pytest.mark.parametrize("action", [-1, 18, 10**9, np.int64(-5)])
def test_an_action_outside_of_the_space_is_refused(action: Any):
    env = ReplayEnv(small(), max_branches=8)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"action: expected 0 \.\. 17, got"):
        env.step(action)
    env.step(17)


# ----------------------------------------------------------------------------------------------------------- rewards


@FEW
@given(st.data(), worlds(), st.integers(0, 2**32 - 1))
def test_the_dense_return_equals_the_sparse_one(data: st.DataObject, world: World, seed: int):
    cost, latency = data.draw(st.tuples(st.floats(0, 1e4), st.floats(0, 1e4)))
    env = of(data.draw(rules(world.interval)), world.store(), cost_weight=cost, latency_weight=latency)
    rng = np.random.default_rng(seed)
    for _ in range(3):
        _, *steps = episode(env, rng, seed=int(rng.integers(1000)))
        info = steps[-1][-1]
        assert info["sequential_tokens"] == info["total_tokens"]  # a primitive action is a round of its own
        paid = (cost * info["total_tokens"] + latency * info["sequential_tokens"]) * 1e-6
        assert sum(step[1] for step in steps) == pytest.approx(info["correct"] - paid, abs=1e-9, rel=1e-9)
        assert all(step[1] <= 0 for step in steps[:-1])
        gold = world.questions[env.question].gold
        assert info["correct"] == (info["answer"] == gold and not steps[-1][3])


@FEW
@given(st.data(), worlds(), st.integers(0, 2**32 - 1))
def test_shaping_pays_when_the_answer_of_stop_becomes_right_or_wrong(data: st.DataObject, world: World, seed: int):
    env = of(data.draw(rules(world.interval)), world.store(), cost_weight=0.0, shaping=True)
    rng = np.random.default_rng(seed)
    _, info = env.reset(seed=seed)
    gold = world.questions[env.question].gold
    worth, ended = 0.0, False
    while not ended:
        _, reward, terminated, truncated, info = env.step(pick(rng, info["action_mask"]))
        ended = terminated or truncated
        twin = copy.deepcopy(env)
        answer = info["answer"] if ended else twin.step(0)[-1]["answer"]
        now = float(answer is not None and answer == gold and not truncated)
        assert reward == now - worth
        worth = now
    assert worth == info["correct"]


def test_shaping_is_a_flag():
    with pytest.raises(ValueError, match="shaping: expected True or False, got 1"):
        ReplayEnv(small(), shaping=1)


def test_tokens_are_paid_as_they_are_spent():
    env = ReplayEnv(small(), cost_weight=2.0, latency_weight=3.0)
    env.reset(seed=1)
    spent = 0
    for action in (1, 1, 1, 2, 3, 2):
        reward = env.step(action)[1]
        now = int(env.revealed.pools["total_tokens"][0])
        assert reward == pytest.approx(-5.0e-6 * (now - spent), abs=1e-15)
        spent = now
    assert spent > 300


# ------------------------------------------------------------------------------------------------- copies and memory


def duplicates(env: ReplayEnv) -> list[ReplayEnv]:
    return [copy.deepcopy(env), pickle.loads(pickle.dumps(env))]


@pytest.mark.parametrize("kwargs", SETTINGS, ids=name)
def test_a_copy_in_the_middle_of_an_episode_is_equal_and_independent(kwargs: dict[str, Any]):
    env = ReplayEnv(small(pool=20), **kwargs)
    env.reset(seed=3)
    for action in (1, 1, 2):
        env.step(action)
    actions = np.random.default_rng(0)

    def rest(one: ReplayEnv) -> list[Any]:
        rng = copy.deepcopy(actions)
        steps: list[Any] = []
        while not steps or not (steps[-1][2] or steps[-1][3]):
            steps.append(one.step(pick(rng, one.action_masks())))
        return [*steps, one.reset(), one.step(1), one.reset(seed=8), one.step(1)]

    twins = duplicates(env)
    rests = [rest(twin) for twin in twins]
    assert_equal(rests[0], rests[1])
    assert_equal(rests[0], rest(env))


def test_outputs_share_no_memory_with_each_other_or_with_the_environment():
    for observation in ("dict", "flat", "pool"):
        env = ReplayEnv(small(), observation=observation)
        outputs: list[Any] = [env.reset(seed=0)]
        outputs += [env.step(action) for action in (1, 1, 2, 3, 0)]
        outputs.append(env.reset())
        groups = [arrays(output) for output in outputs]
        state = [array for array in env._episodes.state.arrays if array.size]
        state += [env._episodes.state.addresses, env._episodes.encoder]
        for k, group in enumerate(groups):
            others = [array for other in groups[:k] for array in other]
            assert not any(np.shares_memory(a, b) for a in group for b in others + state)


def test_writing_into_what_came_back_changes_nothing():
    clean, dirty = ReplayEnv(small()), ReplayEnv(small())
    a, b = clean.reset(seed=0), dirty.reset(seed=0)
    for action in (1, 1, 2, 19, 3, 1):
        for array in arrays(b):
            array.fill(1)
        a, b = clean.step(action), dirty.step(action)
        assert_equal(a, b)
        masks = dirty.action_masks()
        masks[:] = True


def test_revealed_is_read_only_and_action_masks_are_copies():
    env = ReplayEnv(small(), max_branches=3)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="read-only"):
        env.revealed.pools["total_tokens"] = 0
    env.action_masks()[:] = True
    assert env.action_masks().sum() == 2
    assert env.action_masks().shape == (8,)


def test_closing_twice_is_fine():
    for env in (ReplayEnv(small()), gym.make(ID)):
        env.reset(seed=0)
        env.close()
        env.close()


def test_rendering_without_a_mode_warns_and_gives_nothing():
    env = ReplayEnv(small())
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="render_mode"):
        assert env.render() is None


def test_the_package_has_a_version_and_its_public_names():
    assert autotts_gym.__version__
    assert set(autotts_gym.__all__) <= set(dir(autotts_gym))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        autotts_gym.nothing  # noqa: B018
