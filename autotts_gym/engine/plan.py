"""A round of N episodes: a set of prunes, deepens and opens applied together."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


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
            ValueError: an array has another shape than the others imply, or holds values that its dtype cannot.
        """
        prune = _array("prune", prune, np.bool_, None)
        if prune.ndim != 2:
            raise ValueError(f"RoundPlan.prune: expected shape (episodes, branches), got {prune.shape}")
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


def _array(name: str, value: Any, dtype: Any, shape: tuple[int, ...] | None) -> NDArray[Any]:
    given = np.asarray(value)
    array = np.ascontiguousarray(given, dtype)
    if shape is not None and array.shape != shape:
        raise ValueError(f"RoundPlan.{name}: expected shape {shape}, got {array.shape}")
    if given.dtype != array.dtype and not np.array_equal(given, array):
        raise ValueError(
            f"RoundPlan.{name}: expected values that fit {np.dtype(dtype)}, got {given.dtype} values that do not"
        )
    return array
