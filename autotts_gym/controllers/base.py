"""What a controller is, and the names under which controllers are made."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import DTypeLike, NDArray

from autotts_gym import validation
from autotts_gym.engine import Revealed, RoundPlan
from autotts_gym.errors import AutottsError, ControllerError, plain, quote
from autotts_gym.extensions import is_reference, load

if TYPE_CHECKING:
    from autotts_gym.replay import ReplayStore

logger = logging.getLogger(__name__)


@runtime_checkable
class Controller(Protocol):
    """Maps what N episodes have revealed to their next round.

    A controller may have more, which whoever plays it then uses:

    - ``look(revealed)`` of what ``begin`` returned is called after each round that leaves episodes running;
    - ``close()`` of it is called when the episodes have ended, however they ended;
    - ``needs_probes``: whether it cannot play on a store without probes, where it is then refused;
    - ``use_of_probes``: what it does with probes, for the warning or the error on a store without;
    - all that ``Staged`` has.
    """

    @property
    def name(self) -> str:
        """The family's name."""

    @property
    def params(self) -> dict[str, Any]:
        """The setting, by which results are labelled."""

    def begin(self, revealed: Revealed) -> Any:
        """N episodes begin; returns what the controller remembers of them from round to round."""

    def decide(self, revealed: Revealed, memory: Any, plan: RoundPlan) -> None:
        """Write the next round of every running episode into an empty plan."""


@runtime_checkable
class Staged(Controller, Protocol):
    """A controller that says which episodes are played side by side, such as one that waits for other processes.

    A lane is an object with ``rows`` (n,) int64, of the episodes of a chunk, and is given to ``begin``. Lanes are
    played by turns, so that those whom the controller waits for, told by ``look``, work on one lane while a round of
    another is played.
    """

    def chunk(self, questions: int) -> int:
        """How many episodes are best played at a time on a store of so many questions."""

    def stage(self, problems: NDArray[np.int64], since: float | None = None) -> Sequence[Any]:
        """The lanes of a chunk. A row may be in several lanes, and must come out alike in all.

        Args:
            problems: (N,) int64, equal for episodes of one question.
            since: when the evaluation began, by ``time.monotonic``; None: now.
        """

    def together(self, problems: NDArray[np.int64]) -> Any:
        """One lane that holds each episode once, in order, for episodes that are watched."""

    def begin(self, revealed: Revealed, lane: Any = None) -> Any:
        """The episodes of a lane begin."""

    def audit(
        self,
        fields: dict[str, NDArray[Any]],
        again: dict[str, NDArray[Any]],
        seeds: NDArray[np.int64],
        questions: NDArray[np.int64],
    ) -> None:
        """Raise if what episodes came to can't be trusted.

        Args:
            fields: what the rows of all lanes came to, (rows,) each, with that of its first lane for each row.
            again: the same, with that of its own lane for each row.
            seeds: (rows,) int64.
            questions: (rows,) int64, numbered through the bank.
        """


class HandWritten:
    """Base of the hand-written controllers: a dataclass of knobs, checked, with its name and its one-knob form."""

    name: ClassVar[str]
    needs_probes: ClassVar[bool] = False
    use_of_probes: ClassVar[str] = ""

    @property
    def params(self) -> dict[str, Any]:
        """The knobs."""
        return {knob.name: getattr(self, knob.name) for knob in fields(self)}  # type: ignore[arg-type]

    def begin(self, revealed: Revealed) -> Any:
        """Nothing to remember, unless a family says otherwise."""

    @classmethod
    def knobs_of_beta(cls, beta: float, free: Mapping[str, Any]) -> dict[str, Any]:
        """The knobs that a budget beta in [0, 1] sets, given those it leaves free; each grows with beta."""
        raise NotImplementedError


def knobs(family: type[HandWritten]) -> str:
    """The knobs of a family with their defaults, for people."""
    return ", ".join(
        knob.name if knob.default is MISSING else f"{knob.name}={knob.default!r}"
        for knob in fields(family)  # type: ignore[arg-type]
    )


def require(name: str, knob: str, value: Any, good: bool, expected: str) -> None:
    """Raise a ControllerError unless a knob's value is good."""
    validation.check(f"{name}: {knob}", value, good, expected, ControllerError)


def whole(name: str, knob: str, value: Any, low: int) -> None:
    """Require a whole number of at least ``low`` that the kernels can hold."""
    validation.whole(f"{name}: {knob}", value, low, error=ControllerError)


def share(name: str, knob: str, value: Any) -> None:
    """Require a number in [0, 1]."""
    require(name, knob, value, validation.is_real(value, 0, 1), "a number in [0, 1]")


def needs_probes(controller: Controller) -> bool:
    """Whether a controller cannot play on a store without probes."""
    return bool(getattr(controller, "needs_probes", False))


def check_probes(controller: Controller, stores: "Sequence[ReplayStore]") -> None:
    """Refuse a controller that cannot do without probes on a store that has none; one that misses them is told of once.

    Raises:
        ControllerError: it is refused.
    """
    bare = [store.name for store in stores if not store.has_probes]
    use = getattr(controller, "use_of_probes", "")
    if bare and needs_probes(controller):
        free = ", ".join(sorted(name for name, family in _FAMILIES.items() if not family.needs_probes))
        raise ControllerError(
            f"{controller.name}: expected a store with probes, as it {use}, got {plain(', '.join(bare))} without; "
            f"{free} need none"
        )
    if bare and use:
        logger.warning(
            "%s %s: %s has no probes, so that nothing shows before a branch finishes",
            controller.name,
            use,
            plain(", ".join(bare)),
        )


Places = tuple[tuple[DTypeLike, tuple[int, ...]], ...]
"""Dtypes and shapes of the arrays in which a controller remembers episodes."""


def remembered(name: str, memory: Any, places: Places) -> tuple[NDArray[Any], ...]:
    """The arrays that ``begin`` returned, checked, as whoever plays the controller holds them.

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


ENTRY_POINTS = "autotts_gym.controllers"
"""Group of entry points by which packages bring classes of controllers, by their names."""

_FAMILIES: dict[str, type[HandWritten]] = {}


def register(family: type[HandWritten]) -> type[HandWritten]:
    """Class decorator: make the family known by its name."""
    _FAMILIES[family.name] = family
    return family


def controller_families() -> dict[str, type[HandWritten]]:
    """The hand-written families by name."""
    return dict(_FAMILIES)


def make_controller(name: str | os.PathLike[str], /, **params: Any) -> Controller:
    """Make a controller by name.

    Args:
        name: ``sc``, ``asc``, ``esc``, ``parallel_probe``, ``cmc``, ``answer_consistency``, ``short_m``, ``doubling``,
            or what a package brings by an entry point of the group ``autotts_gym.controllers``; or the path of a
            trained policy, ``….zip``, whose knob is ``cost_weight``; or the path of a program, ``….py``, whose knob is
            ``beta``, and which is played in a ``sandbox``; or a class of your own, ``module:Class`` or
            ``path.py:Class``, which runs in this process, with all its rights.
        params: its knobs; or ``beta`` in [0, 1], from little to much budget, alone or with the knobs it leaves free.

    Raises:
        ControllerError: the name or a knob is unknown, or a value is out of range.
        ProgramError: a program does not pass the static checks.
    """
    named = isinstance(name, str | os.PathLike)
    validation.check("controller", name, named, "the name of a controller, or a path", ControllerError)
    name = os.fspath(name)
    if is_reference(name):
        return _own(name, params)
    if name.endswith(".py"):
        from autotts_gym.controllers.programs import Program

        unknown = sorted(set(params) - {"beta", "sandbox"})
        if unknown:
            raise ControllerError(f"{name}: expected the knob beta, got {plain(', '.join(unknown))}")
        return Program(name, **params)
    if name.endswith(".zip"):
        from autotts_gym.controllers.policies import Policy

        unknown = sorted(set(params) - {"cost_weight", "beta", "macros"})
        if unknown:
            raise ControllerError(f"{name}: expected knobs cost_weight or beta, got {plain(', '.join(unknown))}")
        return Policy(name, **params)
    family = _FAMILIES.get(name)
    brought = list(entry_points(group=ENTRY_POINTS, name=name)) if family is None else []
    if brought:
        return _own(brought[0].value, params)
    if family is None:
        raise ControllerError(f"controller: expected one of {', '.join(sorted(_FAMILIES))}, got {quote(name)}")
    known = {knob.name for knob in fields(family)}  # type: ignore[arg-type]
    unknown = sorted(set(params) - known - {"beta"})
    if unknown:
        raise ControllerError(f"{name}: expected knobs {knobs(family)}, got {plain(', '.join(unknown))}")
    if "beta" in known or "beta" not in params:
        return family(**params)  # type: ignore[return-value]
    free = {knob: value for knob, value in params.items() if knob != "beta"}
    share(name, "beta", params["beta"])
    family(**free)  # checks the values before others are computed from them
    set_by_beta = family.knobs_of_beta(params["beta"], free)
    taken = sorted(set(free) & set(set_by_beta))
    if taken:
        raise ControllerError(f"{name}: expected knobs that beta leaves free, got {plain(', '.join(taken))}")
    return family(**free, **set_by_beta)  # type: ignore[return-value]


def _own(reference: str, params: dict[str, Any]) -> Controller:
    """A controller of a user's class.

    Raises:
        ControllerError: there is no such class, it does not take these knobs, or what it makes is no controller.
    """
    try:
        family = load("controller", reference)
    except AutottsError as error:
        raise ControllerError(str(error)) from error
    if not callable(family):
        raise ControllerError(f"{plain(reference)}: expected a class of controllers, got {quote(family)}")
    try:
        made = family(**params)
    except TypeError as error:
        raise ControllerError(f"{plain(reference)}: {plain(error)}") from error
    missing = [name for name in ("name", "params", "begin", "decide") if not hasattr(made, name)]
    if missing:
        raise ControllerError(
            f"{plain(reference)}: expected a controller, got {type(made).__name__} without {', '.join(missing)}"
        )
    controller: Controller = made
    return controller
