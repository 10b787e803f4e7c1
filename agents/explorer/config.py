"""What a search is asked to do: one dataclass, which is also its command-line options."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from agents.settings import (
    Allowed,
    CostWeights,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    Settings,
    Share,
    setting,
)
from autotts_gym.engine import Rules
from autotts_gym.validation import check

CHANGEABLE = ("rounds", "minutes", "budget_usd", "price", "prices", "option", "workers", "progress")
"""What may differ when a run is continued."""

Betas = Annotated[int, Allowed("at least 2", lambda count: count >= 2)]
Resamples = Annotated[int, Allowed("at least 20", lambda count: count >= 20)]
Coverage = Annotated[float, Allowed("a coverage in (0, 1)", lambda share: 0 < share < 1)]
Prices = Annotated[
    tuple[float, ...],
    Allowed("two or three numbers", lambda prices: len(prices) in (0, 2, 3)),
    Allowed("prices of at least 0", lambda prices: min(prices, default=0.0) >= 0),
]


@dataclass(frozen=True)
class Config(Settings):
    """A search. ``python -m agents.explorer --help`` lists the fields with their documentation."""

    # Who writes the programs.
    proposer: str = setting(
        "evolve, openai:MODEL, anthropic:MODEL, claude-code[:MODEL], codex[:MODEL], exec:COMMAND or file.py:Class",
        "evolve",
    )
    option: tuple[str, ...] = setting("options of the proposer, NAME=VALUE", ())
    prompts: str = setting("folder of the prompt files; by default those of agents/explorer/prompts", "")
    programs: tuple[str, ...] = setting("programs to begin with; none: those of agents/programs", ())
    seed: NonNegativeInt = setting("seed of everything random", 0)

    # How long.
    rounds: NonNegativeInt = setting("rounds of proposals; 0: no limit", 5)
    proposals: PositiveInt = setting("proposals a round", 4)
    minutes: NonNegativeFloat = setting("minutes of search from the first step on, over all sittings; 0: no limit", 0.0)
    budget_usd: NonNegativeFloat = setting("hard limit in USD of all paid calls", 10.0)
    price: Prices = setting("USD per million tokens read and written (and read from a cache)", ())
    prices: str = setting("file of prices; by default agents/explorer/prices.json", "")

    # Where programs are judged.
    stores: tuple[str, ...] = setting("names or paths of the search stores; none: the store that ships", ())
    held_out: tuple[str, ...] = setting(
        "benchmarks that may not be searched on; none: any may", ("aime25", "hmmt25", "heldout")
    )
    variants: NonNegativeInt = setting("variants of each store to judge on besides; see agents.augment", 0)
    accounting: str = setting("exact, or autotts: what the published code charges", "autotts")
    max_branches: int = setting("branch slots of an episode", 64)
    betas: Betas = setting("values of beta in a sweep, evenly from 0 to 1", 9)
    seeds: PositiveInt = setting("orders of each pool in a sweep", 8)
    screen_betas: int = setting("values of beta in a screen", 3)
    screen_seeds: PositiveInt = setting("orders of each pool in a screen", 2)
    diagnosis_seeds: PositiveInt = setting("orders of each pool in a diagnosis", 4)
    workers: PositiveInt = setting("processes that judge programs side by side", 2)

    # What is selected by.
    cost_weight: CostWeights = setting("range of the reward paid per token unit of total tokens", (0.02, 1.0))
    token_unit: NonNegativeInt = setting("tokens that a price is for; 0: what each store says, 10^6 if nothing", 0)
    cost_weights: PositiveInt = setting("cost weights of the objective, in equal ratios over the range", 16)
    caution: NonNegativeFloat = setting("standard errors that a program's score lies below its estimate", 0.5)
    level: Coverage = setting("coverage of the intervals", 0.95)
    screen_level: Coverage = setting(
        "coverage of the interval that decides whether a screened program is dropped", 0.95
    )
    resamples: Resamples = setting("bootstrap resamples behind scores and intervals", 500)
    validation: Share = setting("share of each store's questions held out for the final pick; 0: none", 0.2)
    split_seed: NonNegativeInt = setting("seed of the drawn split, the same for all stores of a benchmark", 0)
    finalists: PositiveInt = setting("programs that are validated", 5)
    parents: PositiveInt = setting("programs that a proposal is asked to build on", 3)
    progress: bool = setting("show what happens, and elsewhere than on a terminal how far it is every 30 s", True)

    def validate(self) -> None:
        """Check all that the evaluator does not."""
        check("screen_betas", self.screen_betas, 2 <= self.screen_betas <= self.betas, "from 2 to betas")
        check("screen_seeds", self.screen_seeds, self.screen_seeds <= self.seeds, "at most seeds")
        check("rounds, minutes", 0, bool(self.rounds or self.minutes), "a limit")

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
        return Rules(max_branches=self.max_branches, accounting=self.accounting, token_unit=self.token_unit or None)


HERE = Path(__file__).parent
PROMPTS = HERE / "prompts"
PRICES = HERE / "prices.json"
PROGRAMS = HERE.parent / "programs"
