"""The base class of controllers, and the checks of their knobs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from autotts_gym import validation
from autotts_gym.engine import PoolState, Revealed, RoundPlan
from autotts_gym.engine.plan import arrays_of
from autotts_gym.errors import ControllerError, quote
from autotts_gym.sandbox.batches import Batch, alone

CHUNK_EPISODES = 300
"""Episodes played side by side, unless a controller asks for another number.

Enough to hide the cost of a call, few enough for the processor's cache.
"""


class Controller:
    """Maps what N episodes have revealed to their next round.

    A controller has a name, ``params`` and ``decide``. All else has a default here, which does nothing.

    Attributes:
        name: the family's name.
        needs_probes: whether it cannot play on a store without probes; it is refused there.
        use_of_probes: what it does with probes, for the warning or the error on a store without.
    """

    name: str
    needs_probes: bool = False
    use_of_probes: str = ""

    @property
    def params(self) -> dict[str, Any]:
        """The setting, by which results are labelled."""
        return {}

    @property
    def needs_signals(self) -> tuple[str, ...]:
        """The signals that it needs; it is refused on a store that lacks one."""
        return ()

    @property
    def nonnegative_signals(self) -> tuple[str, ...]:
        """Those of them that it weights by: it is refused on a store where one is negative."""
        return ()

    def begin(self, revealed: Revealed) -> Any:
        """Begin N episodes; returns what the controller remembers of them from round to round."""

    def decide(self, revealed: Revealed, memory: Any, plan: RoundPlan) -> None:
        """Write the next round of every running episode into an empty plan."""
        raise NotImplementedError

    def look(self, revealed: Revealed, memory: Any) -> None:
        """Look at what a round revealed; called after each round that leaves episodes running."""

    def close(self, memory: Any) -> None:
        """Release resources; called when the episodes have ended, for any reason."""

    def chunk(self, questions: int) -> int:
        """How many episodes are best played at a time on a store of so many questions."""
        return CHUNK_EPISODES

    def batches(self, problems: NDArray[np.int64], since: float | None = None) -> Sequence[Batch]:
        """The batches of a chunk, which are played by turns; one batch if the controller waits for no process.

        While a round of one batch is played, the processes that the controller waits for work on another, with what
        ``look`` has sent them. A row may be in several batches; its results must then be equal.

        Args:
            problems: (N,) int64, equal for episodes of one question.
            since: when the evaluation began, by ``time.monotonic``; None: now.

        Returns:
            For each batch the ``rows`` (n,) int64 of its episodes, and what its controller needs to know.
        """
        return [alone(len(problems))]

    def together(self, problems: NDArray[np.int64]) -> Batch:
        """One batch that holds each episode once, in order, for episodes that are watched."""
        return alone(len(problems))

    def begin_batch(self, revealed: Revealed, batch: Batch) -> Any:
        """Begin the episodes of a batch; it calls ``begin``."""
        return self.begin(revealed)

    def audit(
        self,
        fields: dict[str, NDArray[Any]],
        again: dict[str, NDArray[Any]],
        seeds: NDArray[np.int64],
        questions: NDArray[np.int64],
    ) -> None:
        """Raise an error if the outcomes of episodes can't be trusted.

        Args:
            fields: the outcomes of the rows of all batches, (rows,) each; for each row that of its first batch.
            again: the same; for each row that of its own batch.
            seeds: (rows,) int64.
            questions: (rows,) int64, numbered through the bank.
        """


class _Adapted(Controller):
    """Adapts a controller that has the methods but not the base class."""

    def __init__(self, made: Any) -> None:
        self.made = made
        self.name = made.name
        self.needs_probes = bool(getattr(made, "needs_probes", False))
        self.use_of_probes = getattr(made, "use_of_probes", "")

    @property
    def params(self) -> dict[str, Any]:
        params: dict[str, Any] = self.made.params
        return params

    @property
    def needs_signals(self) -> tuple[str, ...]:
        return tuple(getattr(self.made, "needs_signals", ()))

    @property
    def nonnegative_signals(self) -> tuple[str, ...]:
        """Those that it weights by."""
        return tuple(getattr(self.made, "nonnegative_signals", ()))

    def begin(self, revealed: Revealed) -> Any:
        return self.made.begin(revealed)

    def decide(self, revealed: Revealed, memory: Any, plan: RoundPlan) -> None:
        self.made.decide(revealed, memory, plan)

    def look(self, revealed: Revealed, memory: Any) -> None:
        """Call the method of its memory, if there is one."""
        getattr(memory, "look", _nothing)(revealed)

    def close(self, memory: Any) -> None:
        """Call the method of its memory, if there is one."""
        getattr(memory, "close", _nothing)()


def _nothing(*_arguments: Any) -> None:
    pass


MEMBERS = ("name", "params", "begin", "decide")
"""The members that every controller has, with the base class or without."""


def as_controller(made: Any) -> Controller:
    """Return a controller as it is, or adapted if it has ``MEMBERS`` but not the base class.

    Raises:
        AutottsError: it is no controller.
    """
    good = all(hasattr(made, name) for name in MEMBERS) and callable(made.begin) and callable(made.decide)
    validation.check("controller", made, good, "what make_controller makes, or what has name, params, begin and decide")
    return made if isinstance(made, Controller) else _Adapted(made)


Places = tuple[tuple[DTypeLike, tuple[int, ...]], ...]
"""Dtypes and shapes of the arrays in which a controller remembers episodes."""


class HandWritten(Controller):
    """Base of the hand-written controllers: a dataclass of knobs, checked, with its name and its one-knob form.

    Attributes:
        rule: its compiled rule, see ``controllers.decisions``; one that has none writes a ``decide`` of its own.
    """

    rule: ClassVar[Callable[..., None]]

    @property
    def params(self) -> dict[str, Any]:
        """The knobs by their names."""
        return {knob.name: getattr(self, knob.name) for knob in fields(self)}  # type: ignore[arg-type]

    @classmethod
    def knobs_of_beta(cls, beta: float, free: Mapping[str, Any]) -> dict[str, Any]:
        """The knobs that a budget beta in [0, 1] sets, given those it leaves free; each grows with beta."""
        raise NotImplementedError

    def numbers(self, revealed: Revealed) -> tuple[Any, ...]:
        """The knobs and tables that its rule takes."""
        raise NotImplementedError

    def places(self, revealed: Revealed) -> Places:
        """Dtypes and shapes of the arrays in which it remembers episodes."""
        return ()

    def begin(self, revealed: Revealed) -> Any:
        """The arrays in which it remembers episodes, all 0; None: it needs none."""
        return tuple(np.zeros(shape, dtype) for dtype, shape in self.places(revealed)) or None

    def decide(self, revealed: Revealed, memory: Any, plan: RoundPlan) -> None:
        """Write the next round of every running episode into an empty plan, by its rule."""
        arrays = arrays_of(plan, revealed.slots.shape)
        type(self).rule(revealed.addresses, self._memory(revealed, memory), self.numbers(revealed), arrays, 0)

    def play_through(self, state: PoolState, memory: Any, rounds: int) -> None:
        """Play each running episode of a state, one after the other, for so many rounds at the most.

        The results are those of ``decide`` and ``PoolState.play`` by turns, in less time.
        """
        state.require("play_round")
        revealed = state.revealed
        arrays = RoundPlan.empty(state.episodes, state.rules.max_branches).arrays
        type(self).rule(state.addresses, self._memory(revealed, memory), self.numbers(revealed), arrays, rounds)

    def _memory(self, revealed: Revealed, memory: Any) -> tuple[NDArray[Any], ...]:
        places = self.places(revealed)
        return checked_memory(self.name, memory, places) if places else ()


def knobs(family: type[HandWritten]) -> str:
    """The knobs of a family with their defaults, for people."""
    return ", ".join(
        knob.name if knob.default is MISSING else f"{knob.name}={knob.default!r}"
        for knob in fields(family)  # type: ignore[arg-type]
    )


def require(name: str, knob: str, value: Any, good: bool, expected: str) -> None:
    """Raise a ControllerError unless a knob's value is good."""
    validation.check(f"{name}: {knob}", value, good, expected, ControllerError)


def integer(name: str, knob: str, value: Any, low: int) -> None:
    """Require a whole number of at least ``low`` that the kernels can hold."""
    validation.integer(f"{name}: {knob}", value, low, error=ControllerError)


def fraction(name: str, knob: str, value: Any) -> None:
    """Require a number in [0, 1]."""
    require(name, knob, value, validation.is_real(value, 0, 1), "a number in [0, 1]")


def checked_memory(name: str, memory: Any, places: Places) -> tuple[NDArray[Any], ...]:
    """Check the arrays that ``begin`` returned: the caller holds them, and could have changed them.

    Raises:
        ControllerError: they are not those of these episodes.
    """
    good = isinstance(memory, tuple) and len(memory) == len(places)
    good = good and all(
        isinstance(array, np.ndarray) and array.dtype == dtype and array.shape == shape
        for array, (dtype, shape) in zip(memory, places, strict=True)
    )
    if not good:
        raise ControllerError(f"{name}: memory: expected what begin returned for these episodes, got {quote(memory)}")
    arrays: tuple[NDArray[Any], ...] = memory
    return arrays
