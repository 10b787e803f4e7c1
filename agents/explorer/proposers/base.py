"""What a proposer is: it is asked for a program and answers with one, and says what that cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from autotts_gym.errors import AutottsError


class BudgetError(AutottsError):
    """A call would pass the hard budget; the loop ends before it is made."""


@dataclass(frozen=True)
class Usage:
    """What one or several paid calls used.

    Attributes:
        calls: requests that were answered.
        input_tokens: tokens read, those from a cache included.
        cached_tokens: of these, tokens read from a cache.
        output_tokens: tokens written.
        usd: what the provider says it cost; None: to be computed from the price table.
        assumed: of the calls, those whose use nobody reported, counted at the most they can have used.
    """

    calls: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    usd: float | None = None
    assumed: int = field(default=0, compare=False)

    def __add__(self, other: "Usage") -> "Usage":
        """Two usages as one; the cost is known only if it is known of all that was used."""
        if self == Usage() or other == Usage():
            return other if self == Usage() else self
        return Usage(
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
            None if self.usd is None or other.usd is None else self.usd + other.usd,
            self.assumed + other.assumed,
        )


class ProposerError(AutottsError):
    """A proposal failed for good: the loop records it as the outcome of this proposal and goes on.

    Attributes:
        usage: what was paid for all the same.
    """

    def __init__(self, message: str, usage: Usage | None = None) -> None:
        super().__init__(message)
        self.usage = usage or Usage()


@dataclass(frozen=True)
class Parent:
    """A program that has been evaluated, as a proposer may see it: aggregate figures, no question and no gold answer.

    Attributes:
        id: its name in the run.
        source: the program.
        objective: what the loop selects by, higher is better.
        frontier: one (beta, accuracy in [0, 1], mean total tokens) a point of its sweep on the search stores.
        diagnosis: shares of what went wrong, by name.
        meta: what the proposer that wrote it attached, JSON.
    """

    id: str
    source: str
    objective: float
    frontier: tuple[tuple[float, float, float], ...]
    diagnosis: dict[str, float]
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """What a proposer is asked for.

    Attributes:
        prompt: all that a language model gets, rendered from the prompt files.
        seed: of this proposal's randomness; the same run asks with the same seeds.
        parents: programs to build on, best first.
        population: every program evaluated so far.
        workspace: a folder of this proposal's own, empty but for what the proposer may see.
    """

    prompt: str
    seed: int
    parents: Sequence[Parent]
    population: Sequence[Parent]
    workspace: Path


@dataclass(frozen=True)
class Proposal:
    """A proposer's answer.

    Attributes:
        source: the program; empty if the reply held none.
        reply: what was answered, verbatim.
        usage: what it cost.
        model: who wrote it, for the price table and the record.
        meta: what the proposer wants to be handed back in ``Parent.meta``, JSON.
    """

    source: str
    reply: str
    usage: Usage = Usage()
    model: str = ""
    meta: dict[str, Any] = field(default_factory=dict)


class Proposer(Protocol):
    """Writes programs."""

    @property
    def name(self) -> str:
        """As given to ``--proposer``."""

    def bound(self, request: Request) -> Usage:
        """The most that one call for this request can use, by which the ledger keeps within its budget."""

    def propose(self, request: Request, progress: Callable[[str], None]) -> Proposal:
        """Write a program.

        Args:
            request: what is asked for.
            progress: called with text as it arrives, for people to watch.

        Raises:
            ProposerError: no answer came, after all retries.
        """


@runtime_checkable
class Verifiable(Protocol):
    """A proposer that finds out at little cost, before a run begins, whether it would fail."""

    def verify(self) -> None:
        """Look for what no later call could mend, without a call that is paid.

        Raises:
            AutottsError: there is such a thing.
        """
