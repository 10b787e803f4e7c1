"""The settings of a collection."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from autotts_gym.collection import CLOSING, SUFFIX
from autotts_gym.collection.prompts import PromptForm
from autotts_gym.errors import AutottsError, quote
from autotts_gym.models import Sampling
from autotts_gym.validation import check, integer


@dataclass(frozen=True)
class Settings:
    """What a collection is of. All but ``branches`` and ``probes`` stay as they are once it has begun.

    Attributes:
        branches: branches of a question.
        interval: Δ, tokens between probes.
        max_tokens: the most tokens of a branch.
        sampling: how branches are drawn.
        seed: of all; each branch has a seed of its own, by question and branch.
        prompt: how prompts are made.
        suffix: what probes ask with.
        closing: what comes before it where a thinking block is open.
        probe_tokens: the most tokens of a probe.
        probes: a probe at every so many intervals, which are then the intervals of the store; 0: none.

    Raises:
        AutottsError: a value is out of range.
    """

    branches: int = 128
    interval: int = 500
    max_tokens: int = 32_768
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0
    prompt: PromptForm = field(default_factory=PromptForm)
    suffix: str = SUFFIX
    closing: str = CLOSING
    probe_tokens: int = 32
    probes: int = 1

    def __post_init__(self) -> None:
        for name, low in (("branches", 1), ("interval", 1), ("max_tokens", 1), ("seed", 0), ("probe_tokens", 1)):
            integer(name, getattr(self, name), low)
        integer("probes", self.probes)
        check("suffix", self.suffix, bool(self.suffix), "a text")

    def fixed(self) -> dict[str, Any]:
        """What must be the same in every run of one collection, as JSON-able values."""
        values = asdict(self)
        del values["branches"], values["probes"]
        return values

    @classmethod
    def of(cls, fixed: Mapping[str, Any], branches: int, probes: int) -> Self:
        """The settings of a journal, with the two that a run may choose.

        Raises:
            AutottsError: a value is missing or out of range.
        """
        try:
            values = dict(fixed) | {"sampling": Sampling(**fixed["sampling"]), "prompt": PromptForm(**fixed["prompt"])}
            return cls(**values, branches=branches, probes=probes)
        except (TypeError, KeyError) as error:
            raise AutottsError(f"settings: expected those of a collection, got {quote(fixed)}: {error}") from error

    @property
    def stored_interval(self) -> int:
        """Tokens between the probes of the store."""
        return self.interval * max(self.probes, 1)

    def positions(self, tokens: int) -> range:
        """After how many tokens a branch of so many tokens is probed; its end is no probe but its final answer."""
        return range(self.stored_interval, tokens, self.stored_interval) if self.probes else range(0)

    def branch_seed(self, question: str, branch: int) -> int:
        """The seed of a branch, from the question's id and the branch's number: 0 to 2³¹ - 1."""
        text = f"{self.seed}\n{branch}\n{question}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little") & 0x7FFFFFFF


def stored_name(model: str) -> str:
    """The name under which a store keeps a model: the last part of what a server calls it.

    Raises:
        AutottsError: no store can have it.
    """
    name = model.rsplit("/", 1)[-1]
    check("model", model, bool(name.strip(". ")) and name.isprintable(), "a printable name that a store can have")
    return name


def read_probes(text: str) -> int:
    """What ``--probes`` says: ``every``, ``every:N`` or ``none``.

    Raises:
        AutottsError: it says something else.
    """
    word, _, number = text.partition(":")
    if text == "none":
        return 0
    if text == "every":
        return 1
    if word == "every" and number.isascii() and number.isdigit() and int(number[:9]) >= 1 and len(number) < 9:
        return int(number)
    raise AutottsError(f"probes: expected every, every:N or none, got {quote(text)}")


def difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """The first setting in which two differ, in words; empty: none."""
    for name in ours.keys() | theirs.keys():
        mine, other = ours.get(name), theirs.get(name)
        if isinstance(mine, Mapping) and isinstance(other, Mapping):
            if inner := difference(mine, other):
                return f"{name}.{inner}"
        elif mine != other:
            return f"{name}: expected {quote(other)}, as it began, got {quote(mine)}"
    return ""
