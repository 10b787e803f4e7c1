from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from scaled import scaled
from tiny import SMALL

from agents.config import ALGORITHMS, Config
from agents.evaluation import averages, cost_weights, hand_written, mean_return, picture, split, sweep
from agents.policies import make_model
from agents.vec_env import make_vec_env
from autotts_gym import synthesize
from autotts_gym.controllers.policies import greedy
from autotts_gym.errors import StoreError
from autotts_gym.evaluation import Frontier

STORES = [synthesize(10, 12, seed=seed, model=f"model{seed}", benchmark="shared") for seed in (0, 1)]


def untrained(config: Config) -> object:
    env = make_vec_env(config.env, config.num_envs, store=STORES, **config.env_arguments)
    return make_model(config, env)


def selection(stores: list) -> list[list[int]]:  # type: ignore[type-arg]
    return [store.attributes["selection"] for store in stores]


def test_a_split_holds_the_same_questions_of_a_benchmark_out_of_every_store() -> None:
    training, validation = split(STORES, Config(validation=0.3))
    assert [store.num_questions for store in (*training, *validation)] == [7, 7, 3, 3]
    assert selection(validation)[0] == selection(validation)[1]
    assert sorted(selection(training)[0] + selection(validation)[0]) == list(range(10))
    assert selection(split(STORES, Config(validation=0.3, split_seed=1))[1]) != selection(validation)
    assert selection(split(STORES, Config(validation_questions=(2, 5)))[1]) == [[2, 5], [2, 5]]
    everything, again = split(STORES, Config(validation=0.0))
    assert everything == again == STORES
    with pytest.raises(StoreError, match="questions"):
        split(STORES, Config(validation_questions=(10,)))


def test_cost_weights_are_spread_in_equal_ratios() -> None:
    assert cost_weights(Config(cost_weight=(0.1, 10.0), eval_points=3)) == pytest.approx([0.1, 1.0, 10.0])
    assert cost_weights(Config(cost_weight=(0.5, 0.5))) == [0.5]


@pytest.mark.parametrize("algo", ALGORITHMS)
@pytest.mark.parametrize("observation", ["dict", "pool", "evidence"])
def test_a_sweep_plays_what_a_single_environment_plays(algo: str, observation: str) -> None:
    config = Config(**{**SMALL, "algo": algo, "observation": observation, "accounting": "autotts"})
    model = untrained(config)
    weights, seeds = [0.1, 1.0], [3, 4]
    results = sweep(model, STORES, config, weights, seeds)  # type: ignore[arg-type]
    assert [(result.params["cost_weight"], result.store) for result in results] == [
        (weight, store.name) for store in STORES for weight in weights
    ]
    env = gym.make(config.env, store=STORES, **config.env_arguments).unwrapped
    for result, store in ((results[1], 0), (results[2], 1)):
        for row, column in ((0, 0), (1, 7)):
            options = {
                "question": 10 * store + column,
                "branch_seed": seeds[row],
                "cost_weight": result.params["cost_weight"],
            }
            observation_, info = env.reset(seed=0, options=options)
            while info["stop_reason"] == "running":
                one = {k: v[None] for k, v in observation_.items()} if observation == "dict" else observation_[None]
                mask = info["action_mask"][None].astype(bool)
                (action,) = greedy(model, one, mask)  # type: ignore[arg-type]
                assert mask[0, action]
                observation_, _, _, _, info = env.step(action)
            assert info["correct"] == result.correct[row, column]
            assert info["total_tokens"] == result.total_tokens[row, column]
            assert info["sequential_tokens"] == result.sequential_tokens[row, column]


def test_a_return_is_priced_by_the_unit_of_each_store_or_of_the_configuration() -> None:
    stores = [STORES[0], scaled(STORES[0], 100, model="longer")]
    for unit in (0, 40_000):
        config = Config(**SMALL, token_unit=unit)
        results = sweep(untrained(config), stores, config, [0.3], [0, 1])  # type: ignore[arg-type]
        assert [result.token_unit for result in results] == ([unit] * 2 if unit else [10**6, 10**8])
        one, other = (result.mean_return(0.3) for result in results)
        assert (one == pytest.approx(other)) == (not unit)
        assert mean_return(results) == pytest.approx((one + other) / 2)
    assert config.env_arguments["token_unit"] == 40_000
    assert "token_unit" not in Config(**SMALL).env_arguments


def test_the_mean_return_is_that_of_the_episodes_played() -> None:
    config = Config(**SMALL)
    results = sweep(untrained(config), STORES, config, [0.1, 1.0], [0])  # type: ignore[arg-type]
    means = averages(results)
    returns = [
        np.mean([r.correct.mean() - w * r.total_tokens.mean() / 1e6 for r in results if r.params["cost_weight"] == w])
        for w in means["cost_weight"]
    ]
    assert mean_return(results) == pytest.approx(np.mean(returns))
    slower = mean_return(results, latency_weight=1.0)
    assert slower == pytest.approx(np.mean(returns) - np.mean(means["sequential_tokens"]) / 1e6)
    frontier = Frontier.from_results("maskable_ppo", results)
    assert {point.accuracy for point in frontier.points} == set(means["accuracy"])


def test_hand_written_controllers_are_evaluated_beside_it_and_an_episode_is_drawn(tmp_path: Path) -> None:
    config = Config(**SMALL)
    families = {family.name for family in hand_written(STORES, config, range(2))}
    assert {"sc", "asc", "esc", "parallel_probe", "cmc"} <= families
    frame = picture(untrained(config), STORES, config, 13, 0.3)  # type: ignore[arg-type]
    assert frame.shape == (640, 960, 3)
    assert frame.std() > 10
