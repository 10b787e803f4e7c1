"""What an episode costs and when it ends."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotts_gym.engine import layout
from autotts_gym.engine.functions import Aggregator, Reward, choose
from autotts_gym.validation import check, choice, integers, is_integer, is_real

ACCOUNTINGS = ("exact", "autotts")
PROBES = ("auto", "explicit")
_WIDEST = 1e300


@dataclass(frozen=True)
class Rules:
    """What an episode costs and when it ends.

    Attributes:
        max_branches: branch slots M of an episode.
        token_budget: total tokens an episode may spend; None: no limit.
        probe: "auto" (each interval reveals its probe) or "explicit" (PROBE actions do).
        probe_cost: tokens of an explicit probe (the paper's kappa); automatic probes cost none.
        accounting: "exact", or "autotts" (what the published code charges).
        cost_weight: reward lost per token unit of total tokens (10^6 on the published stores); a pair (low, high) is
            drawn from log-uniformly each episode.
        latency_weight: reward lost per token unit of sequential tokens; they equal total tokens where every round is
            one primitive action, so that only rounds distinguish a wait from a price.
        token_unit: tokens that a price is for, by which features of tokens are scaled; None: that of the store of each
            episode, see ``autotts_gym.units``.
        shaping: whether correctness is rewarded as the answer that STOP would give becomes right or wrong, not at the
            end; the return is the same.
        max_steps: transitions after which an episode is truncated; None: no limit.
        auto_stop: end an episode in which only STOP is admissible; otherwise its actor still names the answer.
        reward: a reward of a user's in place of the default one, or a reference to it; see ``functions.reward``.
        aggregator: a user's way to answer at STOP, or a reference to it; see ``functions.aggregator``.
    """

    max_branches: int = 64
    token_budget: int | None = None
    probe: str = "auto"
    probe_cost: int = 0
    accounting: str = "exact"
    cost_weight: float | tuple[float, float] = 0.0
    latency_weight: float = 0.0
    token_unit: int | None = None
    shaping: bool = False
    max_steps: int | None = None
    auto_stop: bool = False
    reward: Reward | str | None = None
    aggregator: Aggregator | str | None = None
    cost_weight_range: tuple[float, float] = field(init=False, repr=False)
    own_reward: Reward | None = field(init=False, repr=False)
    own_aggregator: Aggregator | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            AutottsError: naming the field, what was expected and what came.
        """
        for name, least, optional in (
            ("max_branches", 1, False),
            ("token_budget", 0, True),
            ("probe_cost", 0, False),
            ("max_steps", 1, True),
            ("token_unit", 1, True),
        ):
            limit = getattr(self, name)
            if not (optional and limit is None):
                check(name, limit, is_integer(limit, least), integers(least) + (" or None" if optional else ""))
                object.__setattr__(self, name, int(limit))  # arithmetic with numbers of NumPy can overflow
        choice("probe", self.probe, PROBES)
        choice("accounting", self.accounting, ACCOUNTINGS)
        check("latency_weight", self.latency_weight, is_real(self.latency_weight, 0), "a finite number of at least 0")
        for name in ("shaping", "auto_stop"):
            check(name, getattr(self, name), isinstance(getattr(self, name), bool), "True or False")
        object.__setattr__(self, "own_reward", choose(Reward, self.reward))
        object.__setattr__(self, "own_aggregator", choose(Aggregator, self.aggregator))
        if self.own_reward is not None:
            check("shaping", self.shaping, not self.shaping, "False where the reward is one of your own")
        weight = self.cost_weight
        expected = "a finite number of at least 0, or a pair 0 < low <= high"
        if isinstance(weight, Sequence) and not isinstance(weight, str):
            pair = len(weight) == 2 and all(is_real(value, 0) for value in weight) and 0 < weight[0] <= weight[1]
            check("cost_weight", weight, pair, expected)
            low, high = float(weight[0]), float(weight[1])
            # Beyond it the ratio of the two may be no float, and no weight could be drawn.
            close = high / low <= _WIDEST
            check("cost_weight", weight, close, f"a pair of which high is at most {_WIDEST:g} times low")
        else:
            check("cost_weight", weight, is_real(weight, 0), expected)
            low = high = float(weight)
        object.__setattr__(self, "cost_weight_range", (low, high))

    def to_dict(self) -> dict[str, Any]:
        """The arguments that make equal rules, as plain values, but for functions of a user's."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.init}

    def record(self) -> NDArray[np.void]:
        """The rules as the kernels read them, (1,) RULES."""
        record = np.zeros(1, layout.RULES)
        record["probe_cost"] = self.probe_cost
        record["token_budget"] = layout.UNLIMITED if self.token_budget is None else self.token_budget
        record["max_steps"] = layout.UNLIMITED if self.max_steps is None else self.max_steps
        record["cost_weight_low"], record["cost_weight_high"] = self.cost_weight_range
        record["latency_weight"] = self.latency_weight
        record["token_unit"] = self.token_unit or 0
        record["shaping"] = self.shaping
        record["max_branches"] = self.max_branches
        record["exact"] = self.accounting == "exact"
        record["explicit"] = self.probe == "explicit"
        record["auto_stop"] = self.auto_stop
        return record
