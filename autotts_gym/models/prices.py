"""What tokens cost: a table of prices by model."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from autotts_gym.errors import AutottsError, plain, quote
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

    def usd(self, read: int, cached: int, written: int) -> float:
        """What tokens cost.

        Args:
            read: tokens read, those from a cache too.
            cached: those from a cache.
            written: tokens written.
        """
        return (max(read - cached, 0) * self.input + cached * self.cached + written * self.output) / 1e6


class Prices:
    """Prices by model; a dated name (``…-20250929``, ``…-2025-08-07``, ``…-latest``) has the price of the plain one.

    Args:
        models: prices by model.
        every: the price of any model, whatever the table says.
        where: the table, for messages.
        remedy: what else to do where a model has no price, for messages.
    """

    def __init__(
        self, models: Mapping[str, Price], every: Price | None = None, where: str = "prices", remedy: str = ""
    ) -> None:
        self.models = dict(models)
        self.every = every
        self.where = where
        self.remedy = remedy

    @classmethod
    def load(cls, path: str | os.PathLike[str], every: Sequence[float] = (), remedy: str = "") -> Self:
        """Read a table: ``{"models": {NAME: {"input": 1, "output": 4, "cached": 0.1}}}``.

        Args:
            path: the file.
            every: USD per million tokens of any model: read, written, and perhaps read from a cache.
            remedy: what else to do where a model has no price.

        Raises:
            AutottsError: it is not such a table.
        """
        file = Path(path).expanduser()
        where = plain(file)
        try:
            models = json.loads(file.read_text(encoding="utf-8"))["models"]
            table = {name: _price(f"{where}: {plain(name)}", row) for name, row in models.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if isinstance(error, AutottsError):
                raise
            raise AutottsError(f"{where}: expected a table of prices, got {quote(error)}") from error
        own = dict(zip(("input", "output", "cached"), every, strict=False))
        return cls(table, _price("price", own) if own else None, where, remedy)

    def of(self, model: str) -> Price:
        """The price of a model.

        Raises:
            AutottsError: it has none.
        """
        price = self.every or self.models.get(model) or self.models.get(_DATED.sub("", model))
        if price is None:
            raise AutottsError(
                f"{self.where}: expected a price for the model {quote(model)}, got none; add it to a file for --prices"
                f"{self.remedy}"
            )
        return price


def _price(where: str, row: Mapping[str, Any]) -> Price:
    if not isinstance(row, Mapping) or not {"input", "output"} <= set(row) <= {"input", "output", "cached"}:
        raise AutottsError(f"{where}: expected input, output and perhaps cached, got {quote(row)}")
    for name, value in row.items():
        check(f"{where}: {name}", value, is_real(value, 0.0), "USD per million tokens")
    return Price(float(row["input"]), float(row["output"]), float(row.get("cached", row["input"])))
