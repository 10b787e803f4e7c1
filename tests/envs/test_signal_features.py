"""Signals of stores as features: observed between their ends, in every face of the environment."""

import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import autotts_gym  # noqa: F401  registers the environments
from autotts_gym import synthesize
from autotts_gym.engine import Bank
from autotts_gym.errors import AutottsError
from autotts_gym.observation.branches import FEATURES
from autotts_gym.observation.encoding import choose_observation
from autotts_gym.observation.signals import MEANINGS
from autotts_gym.replay import ReplayStore

IDS = ("AutoTTS-Replay-v0", "AutoTTS-ReplayRounds-v0")
STORE = synthesize(6, 12, seed=2, signals=True)
PLAIN = synthesize(6, 12, seed=2)
OPTIONS = {"max_branches": 8, "max_steps": 60}
NAMES = ("certainty", "confidence")


def expected(env, ranges) -> np.ndarray:
    """What is observed of signals, (M, 8), from the revealed state."""
    revealed = env.unwrapped.revealed
    columns = []
    for name in NAMES:
        low, high = ranges[name]
        for field in MEANINGS:
            value = np.clip((revealed.signal(name)[field][0].astype(float) - low) / (high - low), 0, 1)
            columns.append(np.where(revealed.slots["depth"][0] > 0, value, 0))
    return np.stack(columns, axis=1)


def walk(env, seed):
    """Observations of an episode of random admissible actions."""
    rng = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed)
    yield observation
    ended = False
    while not ended:
        chosen = np.flatnonzero(info["action_mask"])
        observation, _, terminated, truncated, info = env.step(
            int(rng.choice(chosen[1:] if chosen[1:].size else chosen))
        )
        yield observation
        ended = terminated or truncated


@pytest.mark.parametrize("name", IDS)
def test_signals_are_observed_between_their_ends_behind_the_features_of_a_branch(name):
    env, flat, bare = (
        gym.make(name, store=store, observation=kind, **OPTIONS)
        for store, kind in ((STORE, "dict"), (STORE, "flat"), (PLAIN, "dict"))
    )
    ranges = Bank([STORE]).signal_ranges
    assert ranges == {name: (STORE.signals[name].min(), STORE.signals[name].max()) for name in NAMES}
    values = set()
    for seed in range(4):
        for seen, vector, without in zip(*(walk(each, seed) for each in (env, flat, bare)), strict=True):
            branches = seen["branches"].reshape(8, -1)
            np.testing.assert_allclose(branches[:, len(FEATURES) :], expected(flat, ranges), atol=1e-6)
            np.testing.assert_array_equal(branches[:, : len(FEATURES)].ravel(), without["branches"])
            np.testing.assert_array_equal(seen["pool"], without["pool"])
            np.testing.assert_array_equal(vector, np.concatenate([seen["pool"], seen["branches"]]))
            values |= {*branches[:, -1].tolist()}
    assert len(values) > 20


@pytest.mark.parametrize("name", IDS)
def test_a_list_names_them_and_vectors_and_copies_observe_the_same(name):
    wanted = ["signals.confidence.minimum", "pool.opened", "signals.certainty.latest", "branches.active"]
    env = gym.make(name, store=STORE, observation=wanted, **OPTIONS)
    vector = gym.make_vec(name, num_envs=3, store=STORE, observation=wanted, threads=2, **OPTIONS)
    assert env.observation_space.shape == (1 + 8 * 3,)
    ranges = Bank([STORE]).signal_ranges
    together, infos = vector.reset(seed=5)
    alone, _ = env.reset(seed=5)
    np.testing.assert_array_equal(together[0], alone)
    rng = np.random.default_rng(0)
    for _ in range(20):
        actions = [rng.choice(np.flatnonzero(mask)[1:]) for mask in infos["action_mask"]]
        together, _, ended, _, infos = vector.step(np.array(actions))
        twin = pickle.loads(pickle.dumps(env.unwrapped))
        alone, _, terminated, _, _ = env.step(actions[0])
        np.testing.assert_array_equal(together[0], alone)
        np.testing.assert_array_equal(twin.step(actions[0])[0], alone)
        part = alone[1:].reshape(8, 3)
        np.testing.assert_allclose(part[:, :2], expected(env, ranges)[:, [6, 0]], atol=1e-6)
        if terminated or ended.any():
            break
    vector.close()


def test_an_observation_keeps_its_ends_and_finds_its_signals_on_other_stores():
    ends = {"confidence": (0.0, 100.0)}
    observation = choose_observation("flat", signals=ends)
    assert observation.signals == ends
    more = synthesize(6, 12, seed=3, signals=True)
    env = gym.make(IDS[0], store=[STORE, more], observation=observation, **OPTIONS)
    for seen in walk(env, 1):
        branches = seen[-8 * (len(FEATURES) + 4) :].reshape(8, -1)
        value = env.unwrapped.revealed.signal("confidence")["mean"][0]
        np.testing.assert_allclose(branches[:, len(FEATURES) + 1], value / 100, atol=1e-6)


def test_only_signals_of_all_stores_are_observed_and_one_that_is_missing_is_named():
    env = gym.make(IDS[0], store=[STORE, PLAIN], **OPTIONS)
    assert env.observation_space["branches"].shape == (8 * len(FEATURES),)
    for store in (PLAIN, [STORE, PLAIN]):
        with pytest.raises(AutottsError, match=r"got 'signals.confidence.mean': no signal of all stores has it"):
            gym.make(IDS[0], store=store, observation=["signals.confidence.mean"], **OPTIONS)
    observation = choose_observation("dict", signals={"entropy": (0.0, 1.0)})
    with pytest.raises(AutottsError, match=r"expected stores with the signals \['entropy'\], got \['certainty'"):
        gym.make(IDS[0], store=STORE, observation=observation, **OPTIONS).reset(seed=0)


def test_a_signal_that_never_changes_and_stores_without_an_interval_are_observed_as_0():
    same = ReplayStore(
        PLAIN._columns, PLAIN._answers, PLAIN._questions, model="m", benchmark="b", interval_tokens=500,
        signals={"same": np.full(PLAIN.num_probes, 7, np.float32)},
    )  # fmt: skip
    env = gym.make(IDS[1], store=same, **OPTIONS)
    for seen in walk(env, 0):
        assert not seen["branches"].reshape(8, -1)[:, len(FEATURES) :].any()


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("observation", ["dict", "flat", ["signals.confidence.tail"]])
def test_gymnasiums_checker_passes(name, observation):
    check_env(gym.make(name, store=STORE, observation=observation, **OPTIONS).unwrapped, skip_render_check=True)
