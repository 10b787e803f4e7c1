"""What a policy comes to: the cost weight is swept as controllers sweep β, over questions and orders of the pools."""

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm

from agents.config import Config
from agents.splits import hold_out
from autotts_gym.controllers.policies import greedy
from autotts_gym.engine import Rules
from autotts_gym.engine.layout import COUNTS
from autotts_gym.evaluation import EvaluationResult, Frontier, evaluate_all
from autotts_gym.evaluation.benchmark import PRESETS
from autotts_gym.evaluation.families import readable
from autotts_gym.observation.encoding import Observation
from autotts_gym.replay import ReplayStore


def cost_weights(config: Config) -> list[float]:
    """The cost weights of an evaluation, from cheap tokens to dear ones."""
    low, high = config.cost_weight
    if low == high:
        return [low]
    return [float(weight) for weight in np.geomspace(low, high, config.eval_points)]


def split(stores: Sequence[ReplayStore], config: Config) -> tuple[list[ReplayStore], list[ReplayStore]]:
    """The search stores' questions to train on, and those to select on.

    Stores of one benchmark hold the same questions, and hold out the same ones.

    Raises:
        StoreError: there is no such question, or none is left.
    """
    return hold_out(stores, config.validation, config.split_seed, config.validation_questions)


def _rows(observations: Any, chosen: NDArray[np.bool_]) -> Any:
    if isinstance(observations, dict):
        return {key: values[chosen] for key, values in observations.items()}
    return observations[chosen]


def _arguments(config: Config, observation: Observation | None) -> dict[str, Any]:
    return config.env_arguments | ({} if observation is None else {"observation": observation})


def sweep(
    model: BaseAlgorithm,
    stores: Sequence[ReplayStore],
    config: Config,
    weights: Sequence[float],
    seeds: Sequence[int],
    observation: Observation | None = None,
) -> list[EvaluationResult]:
    """Play every question of every store under every cost weight and seed, all side by side, greedily.

    Args:
        model: what decides.
        stores: what it is played on.
        config: of its training.
        weights: cost weights.
        seeds: orders of the pools.
        observation: what it observes; None: what the configuration says.

    Returns:
        A result for every weight on every store; the weight is the family's knob.
    """
    counts = [store.num_questions for store in stores]
    shape = (len(weights), len(seeds), sum(counts))
    weight, seed, question = (grid.reshape(-1) for grid in np.indices(shape))
    envs = gym.make_vec(config.env, weight.size, store=list(stores), **_arguments(config, observation))
    options = {"question": question, "branch_seed": np.array(seeds)[seed], "cost_weight": np.array(weights)[weight]}
    observations, infos = envs.reset(seed=0, options=options)
    counts_at_end: dict[str, NDArray[Any]] = {}
    running = np.ones(weight.size, np.bool_)
    while running.any():
        # Episodes that have ended stop again and again until all have.
        actions = np.zeros(weight.size, np.int64)
        masks = infos["action_mask"][running].astype(np.bool_)
        actions[running] = greedy(model, _rows(observations, running), masks)
        observations, _, terminations, truncations, infos = envs.step(actions)
        ended = (terminations | truncations) & running
        if ended.any():
            for name in COUNTS:
                counts_at_end.setdefault(name, np.zeros(weight.size, infos[name].dtype))[ended] = infos[name][ended]
            running &= ~ended
    envs.close()
    ends = np.cumsum(counts)
    return [
        EvaluationResult(
            controller=config.name or readable(config.algo),
            params={"cost_weight": weights[k]},
            store=store.name,
            model=store.model,
            benchmark=store.benchmark,
            accounting=config.accounting,
            max_branches=config.max_branches,
            seeds=tuple(seeds),
            synthetic=store.synthetic,
            token_unit=config.token_unit or store.token_unit,
            **{name: values.reshape(shape)[k, :, end - count : end] for name, values in counts_at_end.items()},
        )
        for store, count, end in zip(stores, counts, ends, strict=True)
        for k in range(len(weights))
    ]


def _cost_weight(result: EvaluationResult) -> float:
    """The cost weight that a policy was played with."""
    weight = result.params["cost_weight"]
    assert isinstance(weight, int | float)
    return float(weight)


def averages(results: Sequence[EvaluationResult]) -> dict[str, list[float]]:
    """Accuracy and tokens by cost weight, in the order of the sweep; stores weigh the same."""
    groups: dict[float, list[EvaluationResult]] = {}
    for result in results:
        groups.setdefault(_cost_weight(result), []).append(result)
    return {
        "cost_weight": list(groups),
        "accuracy": [float(np.mean([result.accuracy for result in group])) for group in groups.values()],
        "total_tokens": [float(np.mean([result.mean_tokens for result in group])) for group in groups.values()],
        "sequential_tokens": [
            float(np.mean([result.mean_sequential_tokens for result in group])) for group in groups.values()
        ],
    }


def mean_return(results: Sequence[EvaluationResult], latency_weight: float = 0.0) -> float:
    """Mean return over the sweep: what model selection maximises."""
    return float(np.mean([result.mean_return(_cost_weight(result), latency_weight) for result in results]))


def hand_written(stores: Sequence[ReplayStore], config: Config, seeds: Sequence[int]) -> tuple[Frontier, ...]:
    """The budget curves of the hand-written controllers where the agent is selected."""
    preset = PRESETS["paper"]
    controllers = preset.controllers(stores=stores)
    rules = Rules(max_branches=config.max_branches, accounting=config.accounting, token_unit=config.token_unit or None)
    return Frontier.families(evaluate_all(controllers, stores, seeds=seeds, rules=rules))


def setting(stores: Sequence[ReplayStore], config: Config, seeds: Sequence[int]) -> str:
    """A name for where the hand-written controllers are compared: the benchmarks, and a digest of what decides."""
    rules = (version("autotts_gym"), config.max_branches, config.accounting, list(seeds))
    digest = hashlib.sha256(repr(rules).encode())
    for store in stores:
        digest.update(repr((store.model, store.benchmark, store.interval_tokens)).encode())
        for column in (store.branch_offsets, store.probe_offsets, store.probes, store.tokens, store.finals, store.gold):
            digest.update(column.tobytes())
    return f"{'+'.join(sorted({store.benchmark for store in stores}))} {digest.hexdigest()[:6]}"


def picture(
    model: BaseAlgorithm,
    stores: Sequence[ReplayStore],
    config: Config,
    question: int,
    weight: float,
    observation: Observation | None = None,
) -> NDArray[np.uint8]:
    """One greedy episode, width by depth, as it ended."""
    arguments = _arguments(config, observation)
    env: Any = gym.make(config.env, store=list(stores), render_mode="rgb_array", **arguments).unwrapped
    seen, info = env.reset(seed=0, options={"question": question, "branch_seed": 0, "cost_weight": weight})
    ended = False
    while not ended:
        batch = {key: value[None] for key, value in seen.items()} if isinstance(seen, dict) else seen[None]
        action = greedy(model, batch, info["action_mask"][None].astype(np.bool_))[0]
        seen, _, terminated, truncated, info = env.step(action)
        ended = terminated or truncated
    frame: NDArray[np.uint8] = env.render()
    env.close()
    return frame
