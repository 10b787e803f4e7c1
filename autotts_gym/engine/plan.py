"""A round of N episodes: a set of prunes, deepens and opens applied together."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from autotts_gym.errors import AutottsError, quote
from autotts_gym.validation import describe


class PlanArrays(NamedTuple):
    """The arrays of a plan as the kernels take them; all fields as in ``RoundPlan``."""

    prune: NDArray[np.bool_]
    deepen: NDArray[np.int8]
    open: NDArray[np.int32]
    stop: NDArray[np.bool_]
    answer: NDArray[np.int32]
    read: NDArray[np.int32]
    probe: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class RoundPlan:
    """What N episodes with M branch slots do in one round, applied in the order prune, deepen, open, read, stop.

    A plan costs exactly the total tokens of its primitives one by one and leaves the same state; only sequential tokens
    differ, since the branches of a round grow side by side. Parts that are not admissible do nothing.

    Attributes:
        prune: (N, M) bool, branches to prune.
        deepen: (N, M) int8, steps to deepen each branch; a branch stops at its finish.
        open: (N,) int32, branches to open.
        stop: (N,) bool, episodes to end after the rest of the round.
        answer: (N,) int32, episode-local id of the answer given where ``stop``; -1: the aggregator's.
        read: (N,) int32, branches to open and read whole, each for exactly its total tokens in either accounting (the
            published code's ``get_new_branch_final_answer``).
        probe: (N, M) bool, branches to probe right after their own step, where probing is explicit; otherwise ignored.
    """

    prune: NDArray[np.bool_]
    deepen: NDArray[np.int8]
    open: NDArray[np.int32]
    stop: NDArray[np.bool_]
    answer: NDArray[np.int32]
    read: NDArray[np.int32]
    probe: NDArray[np.bool_]

    def __init__(
        self,
        prune: Any,
        deepen: Any,
        open: Any,
        stop: Any,
        answer: Any,
        read: Any = None,
        probe: Any = None,
    ) -> None:
        """Take the arrays over; one of another dtype is converted if every value survives.

        Raises:
            AutottsError: an array has another shape than the others imply, or holds values that its dtype cannot.
        """
        prune = _array("prune", prune, np.bool_, None)
        if prune.ndim != 2:
            raise AutottsError(f"RoundPlan.prune: expected shape (episodes, branches), got {prune.shape}")
        pool, slots = prune.shape[:1], prune.shape
        fields = {
            "prune": prune,
            "deepen": _array("deepen", deepen, np.int8, slots),
            "open": _array("open", open, np.int32, pool),
            "stop": _array("stop", stop, np.bool_, pool),
            "answer": _array("answer", answer, np.int32, pool),
            "read": _array("read", np.zeros(pool, np.int32) if read is None else read, np.int32, pool),
            "probe": _array("probe", np.zeros(slots, np.bool_) if probe is None else probe, np.bool_, slots),
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @classmethod
    def empty(cls, episodes: int, max_branches: int) -> "RoundPlan":
        """A plan that does nothing, to be filled in."""
        slots = (episodes, max_branches)
        return cls(
            prune=np.zeros(slots, np.bool_),
            deepen=np.zeros(slots, np.int8),
            open=np.zeros(episodes, np.int32),
            stop=np.zeros(episodes, np.bool_),
            answer=np.full(episodes, -1, np.int32),
        )

    @property
    def arrays(self) -> PlanArrays:
        """The same arrays, as the kernels take them."""
        return PlanArrays(self.prune, self.deepen, self.open, self.stop, self.answer, self.read, self.probe)

    def clear(self) -> None:
        """Make the plan do nothing again."""
        for array in (self.prune, self.deepen, self.open, self.stop, self.read, self.probe):
            array.fill(0)
        self.answer.fill(-1)


def arrays_of(plan: Any, slots: tuple[int, ...]) -> PlanArrays:
    """Check a plan for episodes with so many branch slots, as its writer still holds it, and return its arrays.

    Args:
        plan: what should be a ``RoundPlan``.
        slots: (N, M), the shape of the state that is to play it.

    Raises:
        AutottsError: it is none, it is for another number of episodes or slots, or an array of it is no longer what it
            was made with.
    """
    if not isinstance(plan, RoundPlan):
        raise AutottsError(f"plan: expected a RoundPlan, got {type(plan).__name__}")
    arrays = plan.arrays
    pool = slots[:1]
    shapes = (slots, slots, pool, pool, pool, pool, slots)
    for array, dtype, shape in zip(arrays, _DTYPES, shapes, strict=True):
        if type(array) is not np.ndarray or array.dtype is not dtype or array.shape != shape or not array.flags.carray:
            break
    else:  # nearly always
        return arrays
    for name, array, dtype, shape in zip(PlanArrays._fields, arrays, _DTYPES, shapes, strict=True):
        if not isinstance(array, np.ndarray) or array.dtype != dtype or not array.flags.carray:
            raise AutottsError(f"plan.{name}: expected a contiguous, writable array of {dtype}, got {describe(array)}")
        if array.shape != shape:
            where = "plan" if name == "prune" else f"plan.{name}"
            raise AutottsError(f"{where}: expected shape {shape}, got {array.shape}")
    return arrays


_DTYPES = tuple(map(np.dtype, (np.bool_, np.int8, np.int32, np.bool_, np.int32, np.int32, np.bool_)))
"""Of the fields of ``PlanArrays``."""


def _array(name: str, value: Any, dtype: Any, shape: tuple[int, ...] | None) -> NDArray[Any]:
    try:
        given = np.asarray(value)
    except (ValueError, TypeError, OverflowError):
        raise AutottsError(f"RoundPlan.{name}: expected an array, got {quote(value)}") from None
    if shape is not None and given.shape != shape:
        raise AutottsError(f"RoundPlan.{name}: expected shape {shape}, got {given.shape}")
    if given.dtype.kind in "biuf":
        with np.errstate(invalid="ignore", over="ignore"):
            array = given if given.dtype == dtype and given.flags.carray else np.array(given, dtype, order="C")
        if given.dtype == dtype or np.array_equal(given, array):
            return array
    raise AutottsError(
        f"RoundPlan.{name}: expected values that fit {np.dtype(dtype)}, got {given.dtype} values that do not"
    )
