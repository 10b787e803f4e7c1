"""What a training run is asked to do: one dataclass, its files, and its command-line options."""

import argparse
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self, get_args, get_origin, get_type_hints

from autotts_gym.errors import AutottsError, plain, quote
from autotts_gym.memory import require_memory
from autotts_gym.validation import MAX_INTEGER, is_real

CONFIGS = Path(__file__).parent / "configs"
"""Where the configurations lie that come with the repository."""

ALGORITHMS = ("maskable_ppo", "ppo", "dqn", "qrdqn")
_BYTES_PER_THREAD = 8 << 20
"""Its stack."""

ENVS = ("AutoTTS-ReplayRounds-v0", "AutoTTS-Replay-v0")


def _about(text: str, default: Any) -> Any:
    """A field with its documentation."""
    return field(default=default, metadata={"about": text})


@dataclass(frozen=True)
class Config:
    """A training run. ``python -m agents.train --help`` lists the fields with what is said of them here."""

    # What learns, and where its files go.
    algo: str = _about("maskable_ppo, ppo, dqn or qrdqn", "maskable_ppo")
    name: str = _about("name of the run, and so of the agent in tables; by default its kind, seed and time", "")
    log_dir: str = _about("folder of runs", "runs")
    seed: int = _about("seed of everything random", 0)

    # The environment.
    env: str = _about("AutoTTS-ReplayRounds-v0 (macro actions) or AutoTTS-Replay-v0", "AutoTTS-ReplayRounds-v0")
    store: tuple[str, ...] = _about("names or paths of the search stores; none: the store that ships", ())
    variants: int = _about("variants of each store to train on besides; see agents.augment", 0)
    num_envs: int = _about("environments side by side", 256)
    observation: str = _about("dict, flat, pool, evidence, or a list of features as file.py:name", "pool")
    macros: tuple[str, ...] = _about("names of macro actions, stop first; none: all of them", ())
    max_branches: int = _about("branch slots of an episode", 64)
    max_steps: int = _about("steps after which an episode is truncated", 400)
    accounting: str = _about("exact, or autotts: what the published code charges", "exact")
    cost_weight: tuple[float, float] = _about("range of the reward paid per million total tokens", (0.03, 3.0))
    latency_weight: float = _about("reward paid per million sequential tokens", 0.0)
    shaping: bool = _about("reward correctness as it changes, not at the end; the return is the same", False)
    reward: str = _about("a reward of your own, as file.py:name or module:name; none: the default one", "")

    # How long.
    total_steps: int = _about("environment steps; 0: no limit", 0)
    minutes: float = _about("minutes of training from the first step on, evaluation included; 0: no limit", 0.0)

    # Model selection, on questions of the search stores that are not trained on.
    validation: float = _about("share of each store's questions held out; 0: select on what is trained on", 0.2)
    validation_questions: tuple[int, ...] = _about("the questions of each store to hold out, instead of a share", ())
    split_seed: int = _about("seed of the drawn split, the same for all stores of a benchmark", 0)
    eval_steps: int = _about("environment steps between evaluations", 500_000)
    eval_points: int = _about("cost weights of an evaluation, spread over the range in equal ratios", 8)
    eval_seeds: int = _about("orders of each pool in an evaluation", 8)
    samples: int = _about("episodes drawn as pictures at an evaluation", 2)

    # Records.
    checkpoint_seconds: float = _about("seconds between checkpoints", 60.0)
    log_steps: int = _about("environment steps between points of the training charts", 16_384)
    progress: bool = _about("tell how far it is: a bar on a terminal, elsewhere a line every 30 s", True)
    threads: int = _about("threads of PyTorch", 1)
    env_threads: int = _about("threads that step the environments", 1)

    # The network.
    net_arch: tuple[int, ...] = _about("hidden layers of policy and value, or of the Q-network", (64, 64))
    extractor: str = _about("for observation=dict: none (flattened), deep_sets or attention", "none")
    extractor_width: int = _about("size of a branch's embedding in it", 64)

    # All algorithms.
    learning_rate: float = _about("learning rate", 3e-4)
    learning_rate_end: float = _about("learning rate at the end, reached on a line; negative: constant", -1.0)
    gamma: float = _about("discount", 1.0)
    batch_size: int = _about("transitions of a gradient step", 4096)

    # maskable_ppo and ppo.
    n_steps: int = _about("steps of each environment in a rollout", 64)
    n_epochs: int = _about("passes over a rollout", 4)
    gae_lambda: float = _about("lambda of generalised advantage estimation", 0.95)
    clip_range: float = _about("clipping of the probability ratio", 0.2)
    ent_coef: float = _about("weight of the entropy bonus", 0.01)
    ent_coef_end: float = _about("weight at the end, reached on a line; negative: constant", -1.0)
    vf_coef: float = _about("weight of the value loss", 0.5)
    max_grad_norm: float = _about("clipping of the gradient's norm", 0.5)

    # dqn and qrdqn.
    buffer_size: int = _about("transitions kept", 200_000)
    learning_starts: int = _about("steps before the first gradient step", 20_000)
    train_freq: int = _about("steps of each environment between updates", 4)
    gradient_steps: int = _about("gradient steps of an update", 4)
    target_update_interval: int = _about("environment steps between copies to the target network", 10_000)
    exploration_fraction: float = _about("share of the training over which exploration falls", 0.3)
    exploration_final_eps: float = _about("share of random actions after that", 0.05)
    n_quantiles: int = _about("quantiles of qrdqn", 50)

    def __post_init__(self) -> None:
        """Check what Stable-Baselines3 and the environment do not.

        Raises:
            AutottsError: naming the field, what was expected and what came.
        """
        hints = get_type_hints(type(self))
        for item in fields(self):
            object.__setattr__(self, item.name, _typed(item.name, getattr(self, item.name), hints[item.name]))
        _require("algo", self.algo, self.algo in ALGORITHMS, f"one of {', '.join(ALGORITHMS)}")
        _require("env", self.env, self.env in ENVS, f"one of {', '.join(ENVS)}")
        _require("name", self.name, self.name == Path(self.name).name != "..", "a name without folders")
        low, high = self.cost_weight
        _require("cost_weight", self.cost_weight, 0 < low <= high, "0 < low <= high")
        _require("validation", self.validation, 0 <= self.validation < 1, "a share in [0, 1)")
        _require("macros", self.macros, self.rounds or not self.macros, "none for primitive actions")
        extractors = ("none", "deep_sets", "attention")
        _require("extractor", self.extractor, self.extractor in extractors, f"one of {', '.join(extractors)}")
        needs_dict = self.extractor == "none" or self.observation == "dict"
        _require("extractor", self.extractor, needs_dict, "none unless observation is dict")
        _require("variants", self.variants, self.variants >= 0, "at least 0")
        for name in (
            "seed",
            "split_seed",
            "samples",
            "checkpoint_seconds",
            "total_steps",
            "minutes",
            "learning_starts",
        ):
            _require(name, getattr(self, name), getattr(self, name) >= 0, "at least 0")
        for name in ("gamma", "gae_lambda", "exploration_fraction", "exploration_final_eps"):
            _require(name, getattr(self, name), 0 <= getattr(self, name) <= 1, "a number in [0, 1]")
        for name in ("learning_rate", "clip_range", "max_grad_norm"):
            _require(name, getattr(self, name), getattr(self, name) > 0, "above 0")
        steps = self.gradient_steps
        _require("gradient_steps", steps, steps == -1 or steps >= 1, "at least 1, or -1: as many as steps")
        _require("net_arch", self.net_arch, all(width >= 1 for width in self.net_arch), "widths of at least 1")
        counts = (
            "num_envs",
            "max_steps",
            "eval_steps",
            "eval_points",
            "eval_seeds",
            "log_steps",
            "threads",
            "env_threads",
            "max_branches",
            "extractor_width",
            "batch_size",
            "n_steps",
            "n_epochs",
            "buffer_size",
            "train_freq",
            "target_update_interval",
            "n_quantiles",
        )
        for name in counts:
            _require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        for name in ("threads", "env_threads"):
            count = getattr(self, name)
            require_memory(f"{name}: {count}", count * _BYTES_PER_THREAD)

    @property
    def rounds(self) -> bool:
        """Whether actions are macros."""
        return self.env == ENVS[0]

    @property
    def env_arguments(self) -> dict[str, Any]:
        """What training and evaluation environments are made with, but for the store and the cost weight."""
        arguments = {
            "observation": self.observation,
            "max_branches": self.max_branches,
            "max_steps": self.max_steps,
            "accounting": self.accounting,
            "latency_weight": self.latency_weight,
            "shaping": self.shaping,
        }
        arguments |= {"reward": self.reward} if self.reward else {}
        return arguments | ({"macros": list(self.macros)} if self.macros else {})

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str = "config") -> Self:
        """Make one from plain values, such as those of a JSON file.

        Raises:
            AutottsError: a field is unknown or its value wrong.
        """
        unknown = sorted(set(values) - {item.name for item in fields(cls)})
        if unknown:
            raise AutottsError(f"{where}: expected fields of agents.config.Config, got {plain(', '.join(unknown))}")
        try:
            return cls(**values)
        except AutottsError as error:
            raise AutottsError(f"{where}: {error}") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a JSON file, or the configuration of that name that comes with the repository.

        Raises:
            AutottsError: there is none, or it is not a configuration.
        """
        file = Path(path)
        if not file.suffix:
            file = CONFIGS / f"{file}.json"
        try:
            values = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            known = ", ".join(sorted(each.stem for each in CONFIGS.glob("*.json")))
            raise AutottsError(f"{file}: expected a JSON file or one of {known}, got {plain(error)}") from error
        if not isinstance(values, dict):
            raise AutottsError(f"{file}: expected a JSON object, got {type(values).__name__}")
        return cls.of(values, str(file))

    def to_json(self, every: bool = True) -> str:
        """The fields as JSON; all of them, or those that differ from their defaults."""
        values = asdict(self)
        if not every:
            values = {item.name: values[item.name] for item in fields(self) if values[item.name] != item.default}
        return json.dumps(values, indent=2) + "\n"

    def updated(self, values: Mapping[str, Any]) -> Self:
        """A copy with other values in some fields."""
        return replace(self, **values)


def _require(name: str, value: object, good: bool, expected: str) -> None:
    if not good:
        raise AutottsError(f"{name}: expected {expected}, got {quote(value)}")


def _typed(name: str, value: Any, hint: Any) -> Any:
    """A value as its field's type has it: whole numbers become floats, lists tuples; nothing else is bent."""
    if get_origin(hint) is tuple:
        inner = get_args(hint)
        if not isinstance(value, list | tuple):
            raise AutottsError(f"{name}: expected a list, got {quote(value)}")
        if inner[-1] is not Ellipsis and len(value) != len(inner):
            raise AutottsError(f"{name}: expected {len(inner)} values, got {quote(value)}")
        return tuple(_typed(name, each, inner[0]) for each in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        _require(name, value, is_real(value), "a finite number")
        value = float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise AutottsError(f"{name}: expected {hint.__name__}, got {quote(value)}")
    if hint is float:
        _require(name, value, math.isfinite(value), "a finite number")
    if hint is int:
        _require(name, value, abs(value) <= MAX_INTEGER, f"a whole number of at most {MAX_INTEGER}")
    return value


def add_options(parser: argparse.ArgumentParser, kind: type[Any] = Config) -> None:
    """Add an option for every field of a configuration: ``--cost-weight 0.03 3`` sets ``cost_weight``."""
    hints = get_type_hints(kind)
    for item in fields(kind):
        hint, default = hints[item.name], "none" if item.default == () else item.default
        options: dict[str, Any] = {"dest": item.name, "default": argparse.SUPPRESS}
        options["help"] = f"{item.metadata['about']} (default: {default})"
        if hint is bool:
            options["action"] = argparse.BooleanOptionalAction
            options["help"] = item.metadata["about"]
        elif get_origin(hint) is tuple:
            inner = get_args(hint)
            options |= {"type": inner[0], "nargs": "*" if inner[-1] is Ellipsis else len(inner)}
            options["metavar"] = "VALUE"
        else:
            options |= {"type": hint, "metavar": "VALUE"}
        names = [f"--{item.name.replace('_', '-')}"] + ([f"--{item.name}"] if "_" in item.name else [])
        parser.add_argument(*names, **options)


def chosen(arguments: argparse.Namespace, kind: type[Any] = Config) -> dict[str, Any]:
    """The fields that the command line sets."""
    names = {item.name for item in fields(kind)}
    return {name: value for name, value in vars(arguments).items() if name in names}
