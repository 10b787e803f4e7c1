"""Money: a table of prices, and a ledger that no call may take over the budget."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from agents.explorer.proposers.base import BudgetError, Usage
from autotts_gym.errors import AutottsError, quote
from autotts_gym.files import append
from autotts_gym.validation import check, is_real

_DATED = re.compile(r"(-latest|-\d{8}|-\d{4}-\d{2}-\d{2})$")


@dataclass(frozen=True)
class Price:
    """USD per million tokens.

    Attributes:
        input: tokens read.
        output: tokens written.
        cached: tokens read from a cache.
    """

    input: float
    output: float
    cached: float

    def usd(self, usage: Usage) -> float:
        """What a usage costs."""
        fresh = usage.input_tokens - usage.cached_tokens
        paid = fresh * self.input + usage.cached_tokens * self.cached + usage.output_tokens * self.output
        return paid / 1e6


class Prices:
    """Prices by model; a dated name (``…-20250929``, ``…-2025-08-07``, ``…-latest``) has the price of the plain one.

    Args:
        models: prices by model.
        every: the price of any model, whatever the table says.
        where: the table, for messages.
    """

    def __init__(self, models: Mapping[str, Price], every: Price | None = None, where: str = "prices") -> None:
        self.models = dict(models)
        self.every = every
        self.where = where

    @classmethod
    def load(cls, path: str | os.PathLike[str], every: Sequence[float] = ()) -> Self:
        """Read a table such as ``agents/explorer/prices.json``.

        Args:
            path: the file.
            every: USD per million tokens of any model: read, written, and perhaps read from a cache.

        Raises:
            AutottsError: it is not such a table.
        """
        file = Path(path)
        try:
            models = json.loads(file.read_text())["models"]
            table = {name: _price(f"{file}: {name}", row) for name, row in models.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if isinstance(error, AutottsError):
                raise
            raise AutottsError(f"{file}: expected a table of prices, got {quote(error)}") from error
        own = dict(zip(("input", "output", "cached"), every, strict=False))
        return cls(table, _price("price", own) if own else None, str(file))

    def usd(self, usage: Usage, model: str) -> float:
        """What a usage costs: what its provider says, or else by the table.

        Raises:
            AutottsError: the model has no price.
        """
        if usage.usd is not None:
            return usage.usd
        if not (usage.input_tokens or usage.output_tokens):
            return 0.0
        price = self.every or self.models.get(model) or self.models.get(_DATED.sub("", model))
        if price is None:
            raise AutottsError(
                f"{self.where}: expected a price for the model {quote(model)}, got none; add it to a file for "
                "--prices, or give --price INPUT OUTPUT in USD per million tokens (0 0 for a model that costs nothing)"
            )
        return price.usd(usage)


def _price(where: str, row: Mapping[str, Any]) -> Price:
    if not isinstance(row, Mapping) or not {"input", "output"} <= set(row) <= {"input", "output", "cached"}:
        raise AutottsError(f"{where}: expected input, output and perhaps cached, got {quote(row)}")
    for name, value in row.items():
        check(f"{where}: {name}", value, is_real(value, 0.0), "USD per million tokens")
    return Price(float(row["input"]), float(row["output"]), float(row.get("cached", row["input"])))


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
        usd = self.prices.usd(bound, model)
        if self.usd + usd > self.budget_usd:
            raise BudgetError(
                f"budget_usd: expected calls of at most {self.budget_usd:g} USD in all, but {self.usd:.4f} are spent "
                f"and the next can cost {usd:.4f}"
            )
        self._append({"event": "call", "id": name, "model": model, "bound_usd": usd, "bound": asdict(bound)})

    def settle(self, name: str, usage: Usage, model: str) -> float:
        """Note what a call used; its reply must be safe by now. Returns what it cost."""
        try:
            usd = self.prices.usd(usage, model)
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
        usd = self.prices.usd(bound, model)
        if usd > self.budget_usd:
            raise AutottsError(
                f"budget_usd: expected at least {usd:.4f} USD, which one proposal can cost, got {self.budget_usd:g}; "
                "raise --budget-usd, or lower what a call may use by an --option of the proposer"
            )
