"""Features of users and lists of features: compiled, observed the same in every face of the environment."""

import copy
import pickle
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import autotts_gym
from autotts_gym import synthesize
from autotts_gym.engine import Bank, PoolState, Rules
from autotts_gym.errors import AutottsError
from autotts_gym.observation import branches, evidence, pool
from autotts_gym.observation.encoding import BUILT_IN, choose_observation
from autotts_gym.observation.rows import encode

IDS = ("AutoTTS-Replay-v0", "AutoTTS-ReplayRounds-v0")
STORE = synthesize(6, 12, seed=2)
OPTIONS = {"store": STORE, "max_branches": 8, "max_steps": 40}


@autotts_gym.feature("opened branches", high=64)
def opened(revealed, n):
    return revealed.pools[n].opened


@autotts_gym.feature("price of a token", high=10)
def price(revealed, n):
    return revealed.pools[n].cost_weight


@autotts_gym.feature("depth, from 5 to 9", low=5, high=9)
def depth(revealed, n, i):
    return revealed.slots[n, i].depth


@autotts_gym.feature("no number once two branches are open")
def doubtful(revealed, n):
    return np.nan if revealed.pools[n].opened > 1 else 0.5


@autotts_gym.feature("not revealed")
def hidden(revealed, n):
    return revealed.hidden_pools[n].gold


@autotts_gym.feature("raises")
def raises(revealed, n):
    if revealed.pools[n].opened > 1:
        raise ValueError("two are too many")
    return 0.5


MIXED = [depth, "pool.opened", opened, "branches.active", "evidence.price", price]


def walk(env, seed, steps=60):
    """What is observed in some steps, with the action taken before."""
    rng = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed)
    observations = [observation]
    for _ in range(steps):
        observation, _, terminated, truncated, info = env.step(
            int(rng.choice(np.flatnonzero(info["action_mask"])[1:] if info["action_mask"][1:].any() else [0]))
        )
        observations.append(observation)
        if terminated or truncated:
            break
    return observations


@pytest.mark.parametrize("name", IDS)
def test_a_list_is_observed_as_it_is_documented(name):
    env = gym.make(name, observation=MIXED, cost_weight=2.5, **OPTIONS)
    assert env.observation_space.shape == (4 + 8 * 2,)
    np.testing.assert_array_equal(env.observation_space.high, [1, 64, 1, 10, *[9, 1] * 8])
    np.testing.assert_array_equal(env.observation_space.low, [0, 0, 0, 0, *[0, 0] * 8])
    rng = np.random.default_rng(0)
    observation, info = env.reset(seed=0)
    for _ in range(40):
        revealed = env.unwrapped.revealed
        record, slots = revealed.pools[0], revealed.slots[0]
        assert observation[:2].tolist() == [record["opened"] / 8, record["opened"]]
        assert observation[3] == np.float32(2.5)
        of_branches = observation[4:].reshape(8, 2)
        assert (of_branches[record["opened"] :] == 0).all()
        expected = np.clip(slots["depth"], 5, 9)[: record["opened"]]
        assert of_branches[: record["opened"], 0].tolist() == expected.tolist()
        assert (of_branches[:, 1] == (slots["status"] == 1)).all()
        observation, _, terminated, truncated, info = env.step(int(rng.choice(np.flatnonzero(info["action_mask"])[1:])))
        assert env.observation_space.contains(observation)
        if terminated or truncated:
            break


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_single_and_vector_environments_observe_the_same(name, threads, mode):
    vector = gym.make_vec(name, num_envs=5, observation=MIXED, autoreset_mode=mode, threads=threads, **OPTIONS)
    singles = [gym.make(name, observation=MIXED, **OPTIONS) for _ in range(5)]
    observations, infos = vector.reset(seed=7)
    alone = [env.reset(seed=7 + k) for k, env in enumerate(singles)]
    np.testing.assert_array_equal(observations, [observation for observation, _ in alone])
    rng = np.random.default_rng(1)
    for _ in range(60):
        actions = np.array([rng.choice(np.flatnonzero(mask)[1:]) for mask in infos["action_mask"]])
        observations, _, terminated, truncated, infos = vector.step(actions)
        steps = [env.step(action) for env, action in zip(singles, actions, strict=True)]
        ended = terminated | truncated
        for k, step in enumerate(steps):
            shown = infos["final_obs"][k] if ended[k] and mode is AutoresetMode.SAME_STEP else observations[k]
            np.testing.assert_array_equal(shown, step[0])
        if ended.any():
            break
    vector.close()


def test_the_features_that_are_built_in_are_those_of_the_named_observations():
    everything = [*BUILT_IN]
    state = PoolState(Bank([STORE]), 6, Rules(max_branches=8))
    every = np.ones(6, np.bool_)
    state.begin(every, np.arange(6))
    rng = np.random.default_rng(0)
    encoded = {}
    for _ in range(60):
        state.act(np.array([rng.choice(np.flatnonzero(mask)[-9:]) for mask in state.admissible]))
        for wanted in (everything, "flat", "evidence", *([label] for label in everything)):
            observation = choose_observation(wanted)
            out = observation.empty(6, 8)
            encode(state.revealed.addresses, every, observation.encoder(), out)
            encoded[str(wanted)] = out
        whole, flat, proof = (encoded[str(each)] for each in (everything, "flat", "evidence"))
        p, e, f = len(pool.FEATURES), len(evidence.FEATURES), len(branches.FEATURES)
        np.testing.assert_array_equal(whole[:, :p], flat[:, :p])
        np.testing.assert_array_equal(whole[:, p : p + e], proof)
        np.testing.assert_array_equal(whole[:, p + e :], flat[:, p:])
        for k, label in enumerate(everything):
            column = whole[:, [k]] if k < p + e else whole[:, k::f]
            np.testing.assert_array_equal(encoded[str([label])], column, label)


@pytest.mark.parametrize("name", IDS)
def test_copies_and_pickles_go_on_with_the_same_features(name):
    env = gym.make(name, observation=MIXED, **OPTIONS).unwrapped
    env.reset(seed=3)
    env.step(1)
    for other in (copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
        np.testing.assert_array_equal(other.step(1)[0], copy.deepcopy(env).step(1)[0])


def test_of_a_feature_that_is_built_in_there_is_one():
    for each in BUILT_IN.values():
        assert copy.deepcopy(each) is each
        assert pickle.loads(pickle.dumps(each)) is each
    env = gym.make(IDS[1], **OPTIONS).unwrapped
    assert copy.deepcopy(env)._episodes.observation is env._episodes.observation


@pytest.mark.parametrize("name", IDS)
def test_gymnasiums_checker_passes(name):
    check_env(gym.make(name, observation=MIXED, **OPTIONS).unwrapped, skip_render_check=True)


def test_features_by_reference_and_a_reference_to_a_list(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from autotts_gym import feature\n\n\n"
        "@feature('half')\ndef half(revealed, n):\n    return 0.5\n\n\n"
        "BOTH = ['pool.opened', half]\n"
    )
    by_name = gym.make(IDS[0], observation=["pool.opened", f"{tmp_path / 'mine.py'}:half"], **OPTIONS)
    by_list = gym.make(IDS[0], observation=f"{tmp_path / 'mine.py'}:BOTH", **OPTIONS)
    alone = gym.make(IDS[0], observation=f"{tmp_path / 'mine.py'}:half", **OPTIONS)
    assert by_name.reset(seed=0)[0].tolist() == by_list.reset(seed=0)[0].tolist() == [0, 0.5]
    assert alone.reset(seed=0)[0].tolist() == [0.5]
    assert pickle.loads(pickle.dumps(by_list.unwrapped)).reset(seed=0)[0].tolist() == [0, 0.5]


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("make", [gym.make, lambda name, **options: gym.make_vec(name, num_envs=2, **options)])
@pytest.mark.parametrize(("feature", "message"), [(doubtful, "got NaN"), (raises, "two are too many")])
def test_what_a_feature_raises_and_no_number_the_step_raises(name, make, feature, message):
    env = make(name, observation=[feature], **OPTIONS)
    env.reset(seed=0)
    two = 7 if name == IDS[1] else 1  # open four branches at once, or two one by one

    def play():
        for _ in range(2):
            env.step([two, two] if hasattr(env, "num_envs") else two)

    with pytest.raises(ValueError, match=message):
        play()


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("everything", "expected one of dict, flat, pool, evidence, a list of features, or file.py:name"),
        ([], "a list of features"),
        (3, "a list of features"),
        ([3], "expected the name of a feature such as pool.top_share"),
        (["opened"], "expected the name of a feature such as pool.top_share"),
        (["pool.opened", "pool.opened"], "expected each feature once"),
        ([opened, opened], "expected each feature once"),
        (["nowhere.py:feature"], "expected a file"),
        ([np.mean], "expected the name of a feature"),
        ([hidden], "Numba cannot compile it"),
    ],
)
@pytest.mark.parametrize("name", IDS)
def test_what_is_no_observation_is_refused_with_one_line(name, wanted, message):
    with pytest.raises(AutottsError, match=message) as caught:
        gym.make(name, observation=wanted, **OPTIONS).reset(seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: autotts_gym.feature(""), "a line that says what it shows"),
        (lambda: autotts_gym.feature(len), "a line that says what it shows"),
        (lambda: autotts_gym.feature("x")(3), "expected a function"),
        (lambda: autotts_gym.feature("x")(lambda state: 0), r"expected the parameters \(revealed, n\)"),
        (lambda: autotts_gym.feature("x")(lambda revealed, n, k: 0), r"got \(revealed, n, k\)"),
        (lambda: autotts_gym.feature("x", low=1)(lambda revealed, n: 0), "high: expected a number above low"),
        (lambda: autotts_gym.feature("x", low=np.nan)(lambda revealed, n: 0), "low: expected a finite number"),
        (lambda: autotts_gym.feature("x", high="1")(lambda revealed, n: 0), "high: expected a finite number"),
    ],
)
def test_what_is_no_feature_is_refused(make, message):
    with pytest.raises(AutottsError, match=message):
        make()


def test_the_code_of_an_encoder_is_kept_for_later_processes():
    from autotts_gym.engine.cache import folder

    gym.make(IDS[0], observation=MIXED, **OPTIONS).reset(seed=0)
    where = folder()[0]
    assert where is None or [path for path in Path(where).iterdir() if path.name.startswith("encoding.encode_")]
