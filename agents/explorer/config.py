"""What a search is asked to do: one dataclass, which is also its command-line options."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self, get_type_hints

import numpy as np

from agents.config import _about, _require, _typed
from autotts_gym.engine import Rules
from autotts_gym.errors import AutottsError, plain

CHANGEABLE = ("rounds", "minutes", "budget_usd", "price", "prices", "option", "workers", "progress")
"""What may differ when a run is continued."""


@dataclass(frozen=True)
class Config:
    """A search. ``python -m agents.explorer --help`` lists the fields with what is said of them here."""

    # Who writes the programs.
    proposer: str = _about(
        "evolve, openai:MODEL, anthropic:MODEL, claude-code[:MODEL], codex[:MODEL], exec:COMMAND or file.py:Class",
        "evolve",
    )
    option: tuple[str, ...] = _about("options of the proposer, NAME=VALUE", ())
    prompts: str = _about("folder of the prompt files; by default those of agents/explorer/prompts", "")
    programs: tuple[str, ...] = _about("programs to begin with; none: those of agents/programs", ())
    seed: int = _about("seed of everything random", 0)

    # How long.
    rounds: int = _about("rounds of proposals; 0: no limit", 5)
    proposals: int = _about("proposals a round", 4)
    minutes: float = _about("minutes of search from the first step on, over all sittings; 0: no limit", 0.0)
    budget_usd: float = _about("hard limit in USD of all paid calls", 10.0)
    price: tuple[float, ...] = _about("USD per million tokens read and written (and read from a cache)", ())
    prices: str = _about("file of prices; by default agents/explorer/prices.json", "")

    # Where programs are judged.
    stores: tuple[str, ...] = _about("names or paths of the search stores; none: the store that ships", ())
    held_out: tuple[str, ...] = _about(
        "benchmarks that may not be searched on; none: any may", ("aime25", "hmmt25", "heldout")
    )
    variants: int = _about("variants of each store to judge on besides; see agents.augment", 0)
    accounting: str = _about("exact, or autotts: what the published code charges", "autotts")
    max_branches: int = _about("branch slots of an episode", 64)
    betas: int = _about("values of beta in a sweep, evenly from 0 to 1", 9)
    seeds: int = _about("orders of each pool in a sweep", 8)
    screen_betas: int = _about("values of beta in a screen", 3)
    screen_seeds: int = _about("orders of each pool in a screen", 2)
    diagnosis_seeds: int = _about("orders of each pool in a diagnosis", 4)
    workers: int = _about("processes that judge programs side by side", 2)

    # What is selected by.
    cost_weight: tuple[float, float] = _about("range of the reward paid per million total tokens", (0.02, 1.0))
    cost_weights: int = _about("cost weights of the objective, in equal ratios over the range", 16)
    caution: float = _about("standard errors that a program's score lies below its estimate", 0.5)
    level: float = _about("coverage of the intervals", 0.95)
    screen_level: float = _about("coverage of the interval that decides whether a screened program is dropped", 0.95)
    resamples: int = _about("bootstrap resamples behind scores and intervals", 500)
    validation: float = _about("share of each store's questions held out for the final pick; 0: none", 0.2)
    split_seed: int = _about("seed of the drawn split, the same for all stores of a benchmark", 0)
    finalists: int = _about("programs that are validated", 5)
    parents: int = _about("programs that a proposal is asked to build on", 3)
    progress: bool = _about("tell what happens, and elsewhere than on a terminal how far it is every 30 s", True)

    def __post_init__(self) -> None:
        """Check all that the evaluator does not.

        Raises:
            AutottsError: naming the field, what was expected and what came.
        """
        hints = get_type_hints(type(self))
        for item in fields(self):
            object.__setattr__(self, item.name, _typed(item.name, getattr(self, item.name), hints[item.name]))
        for name in ("proposals", "seeds", "screen_seeds", "diagnosis_seeds", "workers", "finalists", "parents"):
            _require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        for name in ("rounds", "minutes", "budget_usd", "caution", "seed", "split_seed", "variants"):
            _require(name, getattr(self, name), 0 <= getattr(self, name) < float("inf"), "at least 0")
        low, high = self.cost_weight
        _require("cost_weight", self.cost_weight, 0 < low <= high, "0 < low <= high")
        _require("cost_weights", self.cost_weights, self.cost_weights >= 1, "at least 1")
        _require("betas", self.betas, self.betas >= 2, "at least 2")
        _require("screen_betas", self.screen_betas, 2 <= self.screen_betas <= self.betas, "from 2 to betas")
        _require("screen_seeds", self.screen_seeds, self.screen_seeds <= self.seeds, "at most seeds")
        _require("validation", self.validation, 0 <= self.validation < 1, "a share in [0, 1)")
        for name in ("level", "screen_level"):
            _require(name, getattr(self, name), 0 < getattr(self, name) < 1, "a coverage in (0, 1)")
        _require("resamples", self.resamples, self.resamples >= 20, "at least 20")
        _require("price", self.price, len(self.price) in (0, 2, 3), "two or three numbers")
        _require("price", self.price, all(0 <= each < float("inf") for each in self.price), "prices of at least 0")
        _require("rounds, minutes", 0, bool(self.rounds or self.minutes), "a limit")

    @property
    def sweep(self) -> tuple[float, ...]:
        """The values of beta of a sweep."""
        return tuple(round(float(beta), 4) for beta in np.linspace(0.0, 1.0, self.betas))

    @property
    def screen(self) -> tuple[float, ...]:
        """The values of beta of a screen: some of the sweep's, both ends included."""
        return tuple(self.sweep[round(i)] for i in np.linspace(0, self.betas - 1, self.screen_betas))

    @property
    def weights(self) -> tuple[float, ...]:
        """The cost weights of the objective."""
        return tuple(np.geomspace(*self.cost_weight, self.cost_weights).tolist())

    @property
    def rules(self) -> Rules:
        """What holds in every episode."""
        return Rules(max_branches=self.max_branches, accounting=self.accounting)

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str) -> Self:
        """Make one from the values of a JSON file.

        Raises:
            AutottsError: a field is unknown or its value wrong.
        """
        unknown = sorted(set(values) - {item.name for item in fields(cls)})
        if unknown:
            raise AutottsError(
                f"{where}: expected fields of agents.explorer.config.Config, got {plain(', '.join(unknown))}"
            )
        try:
            return cls(**values)
        except AutottsError as error:
            raise AutottsError(f"{where}: {error}") from error

    def as_dict(self) -> dict[str, Any]:
        """The fields, as values that JSON can hold."""
        return asdict(self)

    def updated(self, values: Mapping[str, Any]) -> Self:
        """A copy with other values in some fields."""
        return replace(self, **values)


HERE = Path(__file__).parent
PROMPTS = HERE / "prompts"
PRICES = HERE / "prices.json"
PROGRAMS = HERE.parent / "programs"
