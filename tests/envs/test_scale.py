"""The token unit in the environments: what a price is for, and by what features of tokens are scaled."""

from collections.abc import Iterator
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from players import pick
from scaled import scaled
from worlds import World, worlds

from autotts_gym import ReplayStore, synthesize
from autotts_gym.engine import Bank, PoolState, Rules
from autotts_gym.errors import AutottsError
from autotts_gym.observation import branches, pool
from autotts_gym.observation.encoding import KINDS, choose_observation
from autotts_gym.observation.rows import encode
from autotts_gym.replay import load_store

IDS = ("AutoTTS-Replay-v0", "AutoTTS-ReplayRounds-v0")
STORE = synthesize(5, 20, interval_tokens=10, seed=3, signals=True)


def with_signals(store: ReplayStore, factor: int, unit: int) -> ReplayStore:
    values = np.random.default_rng(0).random(store.num_probes).astype(np.float32)
    return scaled(store, factor, unit, signals={"confidence": values, "entropy": 1 - values})


def play(
    env: gym.Env[Any, Any], seed: int, steps: int, **options: object
) -> Iterator[tuple[Any, SupportsFloat, dict[str, Any]]]:
    """Observations, rewards and infos of an episode in which chance acts."""
    rng = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed, options=options)
    yield observation, 0.0, info
    for _ in range(steps):
        observation, reward, terminated, truncated, info = env.step(pick(rng, info["action_mask"], endings=(0, 12)))
        yield observation, reward, info
        if terminated or truncated:
            return


def flat(observation: object) -> np.ndarray:
    return np.concatenate([*observation.values()]) if isinstance(observation, dict) else observation


@settings(deadline=None)
@given(
    worlds(questions=1),
    st.integers(1, 2_000_000),
    st.sampled_from((2, 7, 1000)),
    st.sampled_from(IDS),
    st.sampled_from(("dict", "evidence")),
    st.none() | st.integers(0, 40),
    st.integers(0, 1000),
)
def test_with_all_tokens_times_a_factor_everything_looks_and_pays_the_same(
    world: World, unit: int, factor: int, name: str, observation: str, intervals: int | None, seed: int
) -> None:
    weights = {"cost_weight": 0.7, "latency_weight": 0.2, "observation": observation, "max_branches": 6}
    weights |= {"probe": "explicit", "probe_cost": 2} if name == IDS[0] and seed % 2 else {}
    budget = None if intervals is None else intervals * world.interval
    made = []
    for times in (1, factor):
        scale = {"token_budget": None if budget is None else budget * times}
        scale |= {"probe_cost": 2 * times} if "probe" in weights else {}
        env = gym.make(name, store=with_signals(world.store(), times, unit), **{**weights, **scale}).unwrapped
        made.append(list(play(env, seed, 40)))
    one, other = made
    assert len(one) == len(other)
    for (seen, reward, info), (seen_too, reward_too, info_too) in zip(one, other, strict=True):
        np.testing.assert_allclose(flat(seen), flat(seen_too), rtol=1e-5, atol=1e-7)
        assert reward == pytest.approx(reward_too, rel=1e-9, abs=1e-12)
        for key, value in info.items():
            times = factor if "tokens" in key else 1
            assert np.array_equal(np.asarray(info_too[key]), value * times if times > 1 else value), key


def test_the_return_is_a_price_per_token_unit_of_the_store_or_of_the_argument() -> None:
    short = scaled(STORE, 1, 5120)
    for name in IDS:
        for arguments, unit in (({}, 5120), ({"token_unit": 300}, 300), ({"token_unit": np.int64(10**6)}, 10**6)):
            env = gym.make(name, store=short, cost_weight=0.5, latency_weight=0.1, **arguments).unwrapped
            *_, (_, _, info) = episode = list(play(env, 4, 300))
            assert env.revealed.pools["token_unit"].tolist() == [unit]
            assert env.revealed.rules.token_unit == arguments.get("token_unit")
            paid = (0.5 * info["total_tokens"] + 0.1 * info["sequential_tokens"]) / unit
            assert sum(reward for _, reward, _ in episode) == pytest.approx(info["correct"] - paid)


def test_every_question_of_several_stores_has_the_unit_of_its_own() -> None:
    stores = [scaled(STORE, factor, 5120, model=f"times{factor}") for factor in (1, 100)]
    first, second = (np.arange(5), np.arange(5, 10))
    envs = gym.make_vec(IDS[1], 10, store=stores, cost_weight=0.5)
    options = {"question": np.arange(10), "branch_seed": 3}
    seen, info = envs.reset(seed=0, options=options)
    assert envs.revealed.pools["token_unit"].tolist() == [5120] * 5 + [512_000] * 5
    for action in (7, 2, 2, 14, 1, 9, 12):
        seen, rewards, *_, info = envs.step(np.full(10, action))
        np.testing.assert_allclose(rewards[first], rewards[second], atol=1e-12)
        for part in seen.values():
            np.testing.assert_allclose(part[first], part[second], rtol=1e-5, atol=1e-7)
    assert (100 * info["total_tokens"][first] == info["total_tokens"][second]).all()
    envs = gym.make_vec(IDS[1], 10, store=stores, token_unit=77)
    envs.reset(seed=0, options=options)
    assert envs.revealed.pools["token_unit"].tolist() == [77] * 10


@pytest.mark.parametrize("unit", [0, -1, 2.5, "many", True, 2**31])
@pytest.mark.parametrize("name", IDS)
def test_another_token_unit_is_refused_in_one_line(name: str, unit: object) -> None:
    for make in (lambda **a: gym.make(name, **a), lambda **a: gym.make_vec(name, 2, **a)):
        with pytest.raises(AutottsError, match=r"^token_unit: expected a whole number from 1 to \d+ or None, got .*$"):
            make(store=STORE, token_unit=unit)


def test_episodes_that_have_not_begun_can_be_encoded() -> None:
    state = PoolState(Bank([STORE]), 3, Rules())
    for kind in KINDS:
        observation = choose_observation(kind)
        out = observation.empty(3, 64)
        encode(state.addresses, np.ones(3, np.bool_), observation.encoder(state.bank.signal_names), out)
        assert np.isfinite(out).all()


POOL = [feature.name for feature in pool.FEATURES]
DEPTH = [feature.name for feature in branches.FEATURES].index("depth")


@pytest.mark.parametrize("name", ["synthetic/search", "Qwen3-1.7B/aime24"])
def test_of_a_million_tokens_rewards_and_features_have_the_bits_that_they_had(
    name: str, request: pytest.FixtureRequest
) -> None:
    store = published(request.getfixturevalue("replay_root"), name) if name[0] == "Q" else load_store(name)
    weights = {"cost_weight": 0.7, "latency_weight": 0.3}
    for seed in range(4):
        env = gym.make(IDS[1], store=store, **weights).unwrapped
        total = sequential = 0
        for seen, reward, _ in play(env, seed, 60):
            episode = env.revealed.pools[0]
            spent, waited = int(episode["total_tokens"]), int(episode["sequential_tokens"])
            if episode["stop_reason"] == 0:
                assert reward == 0.0 - (0.7 * (spent - total) + 0.3 * (waited - sequential)) * 1e-6
            total, sequential = spent, waited
            held, deep = float(spent - episode["leader_since"]), episode["deepest"] * float(episode["interval_tokens"])
            old = {
                "spent": spent / (spent + 500_000.0),
                "spent_sequential": waited / (waited + 20_000.0),
                "cost_paid": min((0.7 * spent + 0.3 * waited) * 1e-6, 1.0),
                "leader_held": held / (held + 50_000.0),
                "deepest": deep / (deep + 10_000.0),
            }
            for feature, value in old.items():
                assert seen["pool"][POOL.index(feature)] == np.float32(value), feature
            depths = env.revealed.slots["depth"][0].astype(np.float32) * np.float32(store.interval_tokens)
            shown = seen["branches"].reshape(-1, len(branches.FEATURES))[:, DEPTH]
            assert (shown == depths / (depths + np.float32(10_000.0))).all()


def published(root, name: str) -> ReplayStore:  # type: ignore[no-untyped-def]
    return ReplayStore.from_autotts_json(root / f"{name}.json.gz")
