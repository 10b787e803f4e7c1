"""Money: a ledger that no call may take over the budget."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agents.explorer.proposers.base import BudgetError, Usage
from autotts_gym.errors import AutottsError
from autotts_gym.files import append
from autotts_gym.models.prices import Prices


def cost(prices: Prices, usage: Usage, model: str) -> float:
    """What a usage costs: what its provider says, or else by the table.

    Raises:
        AutottsError: the model has no price.
    """
    if usage.usd is not None:
        return usage.usd
    if not (usage.input_tokens or usage.output_tokens):
        return 0.0
    return prices.of(model).usd(usage.input_tokens, usage.cached_tokens, usage.output_tokens)


class Ledger:
    """The account of a run: a file of lines, one before each call and one after it.

    A call is noted with the most it can cost before it is made, and with what it did cost as soon as its reply is safe.
    A call that is noted but has no reply, because the process was killed, is charged in full: nobody can say what
    it cost.

    Attributes:
        path: the file.
        prices: what tokens cost.
        budget_usd: what may be spent.
        usd: what has been spent.
        usage: calls and tokens of it.
    """

    def __init__(self, path: Path, prices: Prices, budget_usd: float) -> None:
        self.path = path
        self.prices = prices
        self.budget_usd = budget_usd
        self.usd = 0.0
        self.usage = Usage()
        self._open: dict[str, float] = {}
        self._read()

    def _read(self) -> None:
        """Take up what the file says; a line that a killed process left unfinished is cut off."""
        length = 0
        for line in self.path.read_bytes().splitlines(keepends=True) if self.path.exists() else []:
            if not line.endswith(b"\n"):
                os.truncate(self.path, length)
                break
            length += len(line)
            self._count(json.loads(line))

    def _count(self, line: Mapping[str, Any]) -> None:
        if line["event"] == "call":
            self._open[line["id"]] = line["bound_usd"]
            return
        self._open.pop(line["id"], None)
        self.usd += line["usd"]
        self.usage += Usage(**{**line["usage"], "usd": None})

    def _append(self, line: Mapping[str, Any]) -> None:
        append(self.path, json.dumps(line).encode() + b"\n", durable=True)
        self._count(line)

    @property
    def unsettled(self) -> list[str]:
        """Calls that were noted and not settled."""
        return list(self._open)

    def reserve(self, name: str, bound: Usage, model: str) -> None:
        """Note that a call is about to be made.

        Args:
            name: of the proposal.
            bound: the most that the call can use.
            model: whose prices hold.

        Raises:
            BudgetError: it could pass the budget.
            AutottsError: the model has no price.
        """
        usd = cost(self.prices, bound, model)
        if self.usd + usd > self.budget_usd:
            raise BudgetError(
                f"budget_usd: expected calls of at most {self.budget_usd:g} USD in all, but {self.usd:.4f} are spent "
                f"and the next can cost {usd:.4f}"
            )
        self._append({"event": "call", "id": name, "model": model, "bound_usd": usd, "bound": asdict(bound)})

    def settle(self, name: str, usage: Usage, model: str) -> float:
        """Note what a call used; its reply must be safe by now. Returns what it cost."""
        try:
            usd = cost(self.prices, usage, model)
        except AutottsError:  # a model that answers under a name without a price: nothing is known but the bound
            usd = self._open.get(name, 0.0)
        line = {"event": "paid", "id": name, "model": model, "usd": usd, "usage": asdict(usage)}
        if usage.assumed:
            line["note"] = f"{usage.assumed} of {usage.calls} calls at their bound: nothing was reported of their use"
        self._append(line)
        return usd

    def lose(self, name: str) -> float:
        """Charge a call whose reply never came with the most it can have cost, and return that."""
        usd = self._open.get(name, 0.0)
        note = "at its bound: the run was ended before the reply came"
        self._append({"event": "lost", "id": name, "usd": usd, "usage": asdict(Usage()), "note": note})
        return usd

    def require(self, bound: Usage, model: str) -> None:
        """Require, before a run begins, that a call can be paid at all.

        Args:
            bound: the most that the smallest call can use.
            model: whose prices hold.

        Raises:
            AutottsError: the model has no price, or the budget is below what one call can cost.
        """
        usd = cost(self.prices, bound, model)
        if usd > self.budget_usd:
            raise AutottsError(
                f"budget_usd: expected at least {usd:.4f} USD, which one proposal can cost, got {self.budget_usd:g}; "
                "raise --budget-usd, or lower what a call may use by an --option of the proposer"
            )
