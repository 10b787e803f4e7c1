"""What a training run is asked to do: one dataclass, its files, and its command-line options."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from agents.settings import (
    Allowed,
    CostWeights,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
    Share,
    UnitFloat,
    one_of,
    setting,
)
from autotts_gym.memory import require_memory
from autotts_gym.validation import check

CONFIGS = Path(__file__).parent / "configs"
"""Where the configurations lie that come with the repository."""

ALGORITHMS = ("maskable_ppo", "ppo", "dqn", "qrdqn")
_BYTES_PER_THREAD = 8 << 20
"""Its stack."""

ENVS = ("AutoTTS-ReplayRounds-v0", "AutoTTS-Replay-v0")

Widths = Annotated[tuple[int, ...], Allowed("widths of at least 1", lambda widths: min(widths, default=1) >= 1)]
GradientSteps = Annotated[int, Allowed("at least 1, or -1: as many as steps", lambda n: n == -1 or n >= 1)]


@dataclass(frozen=True)
class Config(Settings):
    """A training run. ``python -m agents.train --help`` lists the fields with their documentation."""

    # What learns, and where its files go.
    algo: Annotated[str, one_of(*ALGORITHMS)] = setting("maskable_ppo, ppo, dqn or qrdqn", "maskable_ppo")
    name: str = setting("name of the run, and so of the agent in tables; by default its kind, seed and time", "")
    log_dir: str = setting("folder of runs", "runs")
    seed: NonNegativeInt = setting("seed of everything random", 0)

    # The environment.
    env: Annotated[str, one_of(*ENVS)] = setting(
        "AutoTTS-ReplayRounds-v0 (macro actions) or AutoTTS-Replay-v0", "AutoTTS-ReplayRounds-v0"
    )
    store: tuple[str, ...] = setting("names or paths of the search stores; none: the store that ships", ())
    variants: NonNegativeInt = setting("variants of each store to train on besides; see agents.augment", 0)
    num_envs: PositiveInt = setting("environments side by side", 256)
    observation: str = setting("dict, flat, pool, evidence, or a list of features as file.py:name", "pool")
    macros: tuple[str, ...] = setting("names of macro actions, stop first; none: all of them", ())
    max_branches: PositiveInt = setting("branch slots of an episode", 64)
    max_steps: PositiveInt = setting("steps after which an episode is truncated", 400)
    accounting: str = setting("exact, or autotts: what the published code charges", "exact")
    cost_weight: CostWeights = setting("range of the reward paid per token unit of total tokens", (0.03, 3.0))
    latency_weight: float = setting("reward paid per token unit of sequential tokens", 0.0)
    token_unit: NonNegativeInt = setting("tokens that a price is for; 0: what each store says, 10^6 if nothing", 0)
    shaping: bool = setting("reward correctness as it changes, not at the end; the return is the same", False)
    reward: str = setting("a reward of your own, as file.py:name or module:name; none: the default one", "")

    # How long.
    total_steps: NonNegativeInt = setting("environment steps; 0: no limit", 0)
    minutes: NonNegativeFloat = setting(
        "minutes of training from the first step on, evaluation included; 0: no limit", 0.0
    )

    # Model selection, on questions of the search stores that are not trained on.
    validation: Share = setting("share of each store's questions held out; 0: select on what is trained on", 0.2)
    validation_questions: tuple[int, ...] = setting("the questions of each store to hold out, instead of a share", ())
    split_seed: NonNegativeInt = setting("seed of the drawn split, the same for all stores of a benchmark", 0)
    eval_steps: PositiveInt = setting("environment steps between evaluations", 500_000)
    eval_points: PositiveInt = setting("cost weights of an evaluation, spread over the range in equal ratios", 8)
    eval_seeds: PositiveInt = setting("orders of each pool in an evaluation", 8)
    samples: NonNegativeInt = setting("episodes drawn as pictures at an evaluation", 2)

    # Records.
    checkpoint_seconds: NonNegativeFloat = setting("seconds between checkpoints", 60.0)
    log_steps: PositiveInt = setting("environment steps between points of the training charts", 16_384)
    progress: bool = setting("show how far it is: a bar on a terminal, elsewhere a line every 30 s", True)
    threads: PositiveInt = setting("threads of PyTorch", 1)
    env_threads: PositiveInt = setting("threads that step the environments", 1)

    # The network.
    net_arch: Widths = setting("hidden layers of policy and value, or of the Q-network", (64, 64))
    extractor: Annotated[str, one_of("none", "deep_sets", "attention")] = setting(
        "for observation=dict: none (flattened), deep_sets or attention", "none"
    )
    extractor_width: PositiveInt = setting("size of a branch's embedding in it", 64)

    # All algorithms.
    learning_rate: PositiveFloat = setting("learning rate", 3e-4)
    learning_rate_end: float = setting("learning rate at the end, reached on a line; negative: constant", -1.0)
    gamma: UnitFloat = setting("discount", 1.0)
    batch_size: PositiveInt = setting("transitions of a gradient step", 4096)

    # maskable_ppo and ppo.
    n_steps: PositiveInt = setting("steps of each environment in a rollout", 64)
    n_epochs: PositiveInt = setting("passes over a rollout", 4)
    gae_lambda: UnitFloat = setting("lambda of generalised advantage estimation", 0.95)
    clip_range: PositiveFloat = setting("clipping of the probability ratio", 0.2)
    ent_coef: float = setting("weight of the entropy bonus", 0.01)
    ent_coef_end: float = setting("weight at the end, reached on a line; negative: constant", -1.0)
    vf_coef: float = setting("weight of the value loss", 0.5)
    max_grad_norm: PositiveFloat = setting("clipping of the gradient's norm", 0.5)

    # dqn and qrdqn.
    buffer_size: PositiveInt = setting("transitions kept", 200_000)
    learning_starts: NonNegativeInt = setting("steps before the first gradient step", 20_000)
    train_freq: PositiveInt = setting("steps of each environment between updates", 4)
    gradient_steps: GradientSteps = setting("gradient steps of an update", 4)
    target_update_interval: PositiveInt = setting("environment steps between copies to the target network", 10_000)
    exploration_fraction: UnitFloat = setting("share of the training over which exploration falls", 0.3)
    exploration_final_eps: UnitFloat = setting("share of random actions after that", 0.05)
    n_quantiles: PositiveInt = setting("quantiles of qrdqn", 50)

    def validate(self) -> None:
        """Check what Stable-Baselines3 and the environment do not."""
        check("name", self.name, self.name == Path(self.name).name != "..", "a name without folders")
        check("macros", self.macros, self.rounds or not self.macros, "none for primitive actions")
        needs_dict = self.extractor == "none" or self.observation == "dict"
        check("extractor", self.extractor, needs_dict, "none unless observation is dict")
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
        arguments |= {"token_unit": self.token_unit} if self.token_unit else {}
        return arguments | ({"macros": list(self.macros)} if self.macros else {})

    @classmethod
    def load(cls, path: str | os.PathLike[str], expected: str = "a JSON file") -> Self:
        """Read a JSON file, or the configuration of that name that comes with the repository.

        Raises:
            AutottsError: there is none, or it is not a configuration.
        """
        known = ", ".join(sorted(each.stem for each in CONFIGS.glob("*.json")))
        file = Path(path) if Path(path).suffix else CONFIGS / f"{path}.json"
        return super().load(file, f"{expected} or one of {known}")

    @classmethod
    def chosen(cls, name: str | None, values: Mapping[str, Any]) -> Self:
        """The configuration that a command line chooses.

        Args:
            name: a file, or the name of one that comes with the repository; None: the one of the algorithm.
            values: the fields that the command line sets. A limit of steps alone takes the place of one of time.

        Raises:
            AutottsError: there is none, or a value is wrong.
        """
        limits = {"minutes": 0.0} if "total_steps" in values else {}
        file = values.get("algo", "maskable_ppo") if name is None else name
        return cls.load(file).updated({**limits, **values})
