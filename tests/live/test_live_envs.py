"""The live environments, against the replay environments on the same branches, and with the model that ships."""

import time

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from players import pick
from stable_baselines3.common.env_checker import check_env as check_env_of_sb3
from written import Written, random_store, source_of

from autotts_gym.errors import AutottsError
from autotts_gym.live import solve
from autotts_gym.models import EndpointError

IDS = ("AutoTTS-Live-v0", "AutoTTS-LiveRounds-v0")


@pytest.fixture
def _tiny():
    pytest.importorskip("xllamacpp", reason="needs xllamacpp, the real llama.cpp server (extra local)")


@pytest.mark.parametrize("name", IDS)
@pytest.mark.usefixtures("_tiny")
@pytest.mark.filterwarnings("ignore:.*For Box action spaces.*:UserWarning")
def test_both_checkers_pass_with_the_model_that_ships(name):
    env = gym.make(name, max_branches=3, max_steps=6, observation="flat", live={"limit": 3})
    check_env(env.unwrapped, skip_render_check=True)
    check_env_of_sb3(env.unwrapped, skip_render_check=True)
    env.close()
    env.close()


@pytest.mark.parametrize("name", IDS)
@pytest.mark.usefixtures("_tiny")
def test_the_same_seed_gives_the_same_bits(name):
    """One request at a time: batches of other sizes round otherwise."""

    def episode():
        env = gym.make(name, max_branches=3, live={"limit": 3, "concurrency": 1})
        seen, (observation, info) = [], env.reset(seed=5)
        rng = np.random.default_rng(0)
        for _ in range(12):
            seen.append({key: value.tobytes() for key, value in observation.items()})
            action = pick(rng, info["action_mask"], endings=(0, 12), stops=0)
            observation, reward, terminated, truncated, info = env.step(action)
            seen.append((reward, terminated, truncated, info["answer"], info["total_tokens"]))
            if terminated or truncated:
                break
        env.close()
        return seen

    assert episode() == episode()


@pytest.mark.parametrize("name", IDS)
def test_steps_are_those_of_a_replay_of_the_same_branches(name):
    store = random_store(12, questions=3, pool=4, longest=50)
    replay = gym.make(name.replace("Live", "Replay"), store=store, max_branches=4, probe="auto").unwrapped
    with source_of(store) as source:
        live = gym.make(name, source=source, max_branches=4).unwrapped
        rng = np.random.default_rng(1)
        for k in range(8):
            options = {"question": k % 3, "branch_seed": k}
            observation, info = live.reset(seed=k, options=options)
            other, told = replay.reset(seed=k, options=options)
            state = replay._episodes.state
            state.begin(np.ones(1, np.bool_), np.array([k % 3]))  # again, in the order in which branches open live
            state.deal(np.ones(1, np.bool_), np.arange(4, dtype=np.int32)[None])
            assert (live.question, replay.question) == (k % 3, k % 3)
            for _ in range(60):
                assert info["action_mask"].tolist() == told["action_mask"].tolist()
                for key in observation:
                    assert observation[key].tolist() == other[key].tolist()
                action = pick(rng, info["action_mask"], endings=(0, 12))
                observation, reward, terminated, truncated, info = live.step(action)
                other, paid, ended, cut, told = replay.step(action)
                assert (reward, terminated, truncated) == (paid, ended, cut)
                for key in ("answer", "correct", "total_tokens", "sequential_tokens", "stop_reason", "invalid_action"):
                    assert info[key] == told[key], key
                if ended or cut:
                    break


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_a_vector_of_live_episodes(name, mode, monkeypatch):
    """Answers and rewards are right in every mode, also of episodes whose places others have taken."""
    store = random_store(13, questions=3, pool=4, longest=50)
    with source_of(store) as source:
        envs = gym.make_vec(name, num_envs=5, source=source, max_branches=4, autoreset_mode=mode, cost_weight=0.0)
        known = source.pools

        def pools(state, rows, questions, seeds, watch=None):
            return known(state, rows, questions, [seed % 20 for seed in seeds], watch)

        monkeypatch.setattr(source, "pools", pools)  # the model knows the seeds of twenty episodes
        envs.reset(seed=3)
        rng, ended, right = np.random.default_rng(2), 0, 0
        over = np.zeros(5, np.bool_)
        for _ in range(150):
            if mode == "Disabled" and over.any():
                _, info = envs.reset(options={"reset_mask": over})
            actions = np.array([pick(rng, mask, stops=0.2, endings=(0,)) for mask in envs.action_masks().astype(int)])
            _, rewards, terminations, truncations, info = envs.step(actions)
            over = terminations | truncations
            told = info["final_info"] if mode == "SameStep" and over.any() else info
            for n in np.flatnonzero(over).tolist():
                ended += 1
                right += int(told["correct"][n])
                assert rewards[n] == told["correct"][n]
                assert told["answer"][n] in ("", "1", "2", "3", "4")
                assert told["total_tokens"][n] >= told["sequential_tokens"][n] >= 0
        assert ended > 20
        assert 0 < right < ended
        envs.close()


@pytest.mark.parametrize(("name", "opening"), [(IDS[0], 1), (IDS[1], 6)])
def test_an_episode_that_the_server_fails_ends(name, opening):
    store = random_store(14, questions=2, pool=4)
    endpoint = Written(store)
    with source_of(store, endpoint) as source:
        env = gym.make(name, source=source, max_branches=4)
        env.reset(seed=0, options={"question": 0, "branch_seed": 0})
        endpoint.dead = {0}
        with pytest.raises(EndpointError, match="it is dead"):
            env.step(opening)
        envs = gym.make_vec(name, num_envs=2, source=source, max_branches=4)
        envs.reset(seed=0, options={"question": np.array([0, 1]), "branch_seed": 0})
        _, _, terminations, truncations, info = envs.step(np.array([opening, opening]))
        assert (terminations.tolist(), truncations.tolist()) == ([False, False], [True, False])
        assert info["stop_reason"].tolist() == ["truncated", "running"]
        assert info["answer"].tolist() == ["", ""]


def test_environments_record_nothing_and_say_so(tmp_path):
    with source_of(random_store(1), record=tmp_path / "a.journal") as source:
        with pytest.raises(AutottsError, match="record: expected none"):
            gym.make(IDS[0], source=source)
        with pytest.raises(AutottsError, match="record: expected none"):
            solve("q0", source=source)


def test_an_episode_that_is_left_is_cancelled():
    store = random_store(9, questions=1, pool=4, longest=400, interval=100)
    endpoint = Written(store, delay=0.005)
    with source_of(store, endpoint, ahead=True) as source:
        env = gym.make(IDS[1], source=source, max_branches=4)
        env.reset(seed=0, options={"branch_seed": 0})
        env.step(7)
        assert endpoint.open > 0
        env.reset(seed=0, options={"branch_seed": 1})
        deadline = time.monotonic() + 3
        while endpoint.open:
            assert time.monotonic() < deadline
            time.sleep(0.01)
