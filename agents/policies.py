"""The algorithms of Stable-Baselines3 and sb3-contrib: making them, asking them, and the files they are kept in."""

import argparse
import io
import json
import os
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cloudpickle
from gymnasium.spaces.utils import flatdim
from sb3_contrib import QRDQN, MaskablePPO
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from agents import extractors
from agents.config import Config
from autotts_gym.actions.macros import MACROS, Macro
from autotts_gym.controllers.policies import CARD, IDENTITY, identity_of, read_card, read_identity
from autotts_gym.errors import AutottsError
from autotts_gym.evaluation.families import readable
from autotts_gym.files import write_atomically
from autotts_gym.observation.features import Feature
from autotts_gym.observation.signals import Ranges

CLASSES: dict[str, type[BaseAlgorithm]] = {"maskable_ppo": MaskablePPO, "ppo": PPO, "dqn": DQN, "qrdqn": QRDQN}

_ALL = ("gamma", "batch_size")
ON_POLICY = (*_ALL, "n_steps", "n_epochs", "gae_lambda", "clip_range", "ent_coef", "vf_coef", "max_grad_norm")
OFF_POLICY = (
    *_ALL,
    "buffer_size",
    "learning_starts",
    "train_freq",
    "gradient_steps",
    "target_update_interval",
    "exploration_fraction",
    "exploration_final_eps",
    "max_grad_norm",
)


def is_on_policy(algo: str) -> bool:
    """Whether the algorithm is a PPO."""
    return algo in ("maskable_ppo", "ppo")


def make_model(config: Config, env: VecEnv) -> BaseAlgorithm:
    """The algorithm with its hyper-parameters, untrained."""
    on_policy = is_on_policy(config.algo)
    hyper = {name: getattr(config, name) for name in (ON_POLICY if on_policy else OFF_POLICY)}
    policy: dict[str, Any] = {"net_arch": list(config.net_arch)}
    if config.algo == "qrdqn":
        policy["n_quantiles"] = config.n_quantiles
    if config.extractor != "none":
        policy["features_extractor_class"] = extractors.EXTRACTORS[config.extractor]
        of_branch = flatdim(env.observation_space["branches"]) // config.max_branches  # type: ignore[index]
        policy["features_extractor_kwargs"] = {"width": config.extractor_width, "of_branch": of_branch}
    return CLASSES[config.algo](
        "MultiInputPolicy" if config.observation == "dict" else "MlpPolicy",
        env,
        learning_rate=config.learning_rate,
        policy_kwargs=policy,
        seed=config.seed,
        device="cpu",
        **hyper,
    )


def policy_card(
    config: Config,
    stores: list[str],
    command: str,
    git_commit: str,
    signals: Ranges = MappingProxyType({}),
    token_units: Sequence[int] = (),
) -> dict[str, Any]:
    """What a policy's file says of itself, so that it can be played as a controller.

    Args:
        config: of its training.
        stores: names of those that it was trained on.
        command: that trained it.
        git_commit: of the code that did.
        signals: the range of each signal that it observes.
        token_units: of the stores.
    """
    card: dict[str, Any] = {
        "format": "autotts-policy",
        "version": 1,
        "algorithm": config.algo,
        "env": config.env,
        "observation": config.observation,
        "max_branches": config.max_branches,
        "macros": list(config.macros) or _all_macros(config),
        "accounting": config.accounting,
        "cost_weight": list(config.cost_weight),
        "latency_weight": config.latency_weight,
        "trained_on": stores,
        "token_units": list(token_units),
        "seed": config.seed,
        "command": command,
        "git_commit": git_commit,
    }
    return card | ({"signals": {name: list(ends) for name, ends in signals.items()}} if signals else {})


def _all_macros(config: Config) -> list[str] | None:
    """The macros as they are today: a policy keeps its own when others are added. None for primitive actions."""
    return [macro.name for macro in MACROS] if config.rounds else None


def slug(algo: str) -> str:
    """The same as part of a folder's name."""
    return readable(algo).replace(" ", "-")


_OF_TRAINING = ("_last_obs", "_last_original_obs", "_last_episode_starts", "ep_info_buffer", "ep_success_buffer")
"""Attributes that only a training that goes on needs: checkpoints keep them, a policy's file does not."""


def to_zip(
    model: BaseAlgorithm,
    card: dict[str, Any] | None = None,
    name: str = "",
    macros: Sequence[Macro] = (),
    features: Sequence[Feature] = (),
) -> bytes:
    """A file of Stable-Baselines3, with the card inside as ``autotts.json``, and name and digest as ``identity.json``.

    Classes of ``agents`` are kept by value: the file opens where only the package is installed.
    """
    buffer = io.BytesIO()
    cloudpickle.register_pickle_by_value(extractors)
    try:
        model.save(buffer, exclude=None if card is None else _OF_TRAINING)
    finally:
        cloudpickle.unregister_pickle_by_value(extractors)
    if card is not None:
        with zipfile.ZipFile(buffer, "a") as archive:
            archive.writestr(CARD, json.dumps(card, indent=2))
            archive.writestr(IDENTITY, _identity(card, name, macros, features))
    return buffer.getvalue()


def _identity(card: dict[str, Any], name: str, macros: Sequence[Macro] = (), features: Sequence[Feature] = ()) -> str:
    identity = {"name": name or readable(card["algorithm"]), **identity_of(card, macros, features)}
    return json.dumps(identity, indent=2)


def save_policy(
    model: BaseAlgorithm,
    path: str | os.PathLike[str],
    card: dict[str, Any],
    name: str = "",
    macros: Sequence[Macro] = (),
    features: Sequence[Feature] = (),
) -> None:
    """Write a policy and its card to a ``.zip`` file, whole or not at all.

    Args:
        model: the policy.
        path: where to.
        card: from ``policy_card``; its ``macros`` are the names of all that the policy chooses from.
        name: what people read; by default it is named for its algorithm.
        macros: those of the user's own among them.
        features: the user's own that it observes.
    """
    write_atomically(path, to_zip(model, card, name, macros, features))


def stamp(path: str | os.PathLike[str]) -> None:
    """Note in the file of a policy that it was trained with the features, macros and constants of today.

    Raises:
        AutottsError: the file is not that of a policy, says already with which, or names a macro that there is not.
    """
    file = Path(path)
    card = read_card(file)
    if read_identity(file) is not None:
        raise AutottsError(f"{file}: expected a policy without {IDENTITY}, got one that has it")
    name = "" if file.stem in ("best", "final") else file.stem
    try:
        text = _identity(card, name)
    except ValueError as error:
        raise AutottsError(f"{file}: {error}") from error
    buffer = io.BytesIO(file.read_bytes())
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(IDENTITY, text)
    write_atomically(file, buffer.getvalue())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m agents.policies FILE ...``, which notes in older policies what they were trained with."""
    parser = argparse.ArgumentParser("python -m agents.policies", description=(stamp.__doc__ or "").split("\n")[0])
    parser.add_argument("file", nargs="+", help="a policy of agents.train, older than the features' digest")
    for path in parser.parse_args(arguments).file:
        try:
            stamp(path)
        except AutottsError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        print(f"{path}: {IDENTITY} added")
    return 0


if __name__ == "__main__":
    sys.exit(main())
