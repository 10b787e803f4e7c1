"""One small array that stands for all arrays of the state when a kernel is called.

Calling compiled code costs about a tenth of a microsecond an array argument, and the state has eighteen. A handle
holds their addresses and sizes, and the kernel makes the arrays of it. With the addresses it can also ask the memory
for an episode before it comes to it.
"""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import carray, types  # type: ignore[attr-defined]
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from autotts_gym.engine.layout import (
    ANSWER,
    CHANGE,
    HIDDEN_POOL,
    HIDDEN_SLOT,
    POOL,
    QUESTION,
    RULES,
    SLOT,
    STORED_BRANCH,
    Arrays,
    Sizes,
)

_LINE = 64
_POOL, _HIDDEN_POOL, _ANSWER, _CHANGE = POOL.itemsize, HIDDEN_POOL.itemsize, ANSWER.itemsize, CHANGE.itemsize
_SLOT, _HIDDEN_SLOT, _STORED_BRANCH, _PROBE = SLOT.itemsize, HIDDEN_SLOT.itemsize, STORED_BRANCH.itemsize, 4

_ARRAYS, _SIZES = len(Arrays._fields), len(Sizes._fields)


def _at(*names: str) -> tuple[int, ...]:
    """Where the addresses of arrays stand in a handle."""
    return tuple(map(Arrays._fields.index, names))


_POOLS_AT, _SLOTS_AT, _ANSWERS_AT, _FINISHED_AT = _at("pools", "slots", "answers", "finished_answers")
_TALLY_AT, _ADMISSIBLE_AT, _HISTORY_AT = _at("tally", "admissible", "history")
_HIDDEN_POOLS_AT, _HIDDEN_SLOTS_AT = _at("hidden_pools", "hidden_slots")
_DRAWN_AT, _DISPLACED_AT, _LOCAL_AT, _STORED_AT = _at("drawn", "displaced", "local_ids", "stored_ids")
_BRANCHES_AT, _PROBES_AT = _at("branches", "probes")

Handle = NDArray[np.int64]
"""(18 addresses + 9 sizes,) int64; only valid while the arrays it was made of are alive."""


@intrinsic
def _pointer(_context: Any, address: Any) -> Any:
    """An address as a pointer."""

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), codegen


@numba.njit(nogil=True, forceinline=True)
def unpack(handle):
    """The arrays of a handle, inside a kernel; shapes and dtypes as in ``layout.table``."""
    first = _ARRAYS
    episodes, max_branches, answers, actions = handle[first], handle[first + 1], handle[first + 2], handle[first + 3]
    depths, changes, questions = handle[first + 4], handle[first + 5], handle[first + 6]
    branches, probes = handle[first + 7], handle[first + 8]
    return Arrays(
        carray(_pointer(handle[0]), (1,), RULES),
        carray(_pointer(handle[1]), (episodes,), POOL),
        carray(_pointer(handle[2]), (episodes, max_branches), SLOT),
        carray(_pointer(handle[3]), (episodes, answers), ANSWER),
        carray(_pointer(handle[4]), (episodes, max_branches), np.int32),
        carray(_pointer(handle[5]), (episodes, max_branches + 1), np.int32),
        carray(_pointer(handle[6]), (episodes, actions), np.int8),
        carray(_pointer(handle[7]), (episodes, max_branches, depths), np.bool_),
        carray(_pointer(handle[8]), (episodes, changes), CHANGE),
        carray(_pointer(handle[9]), (episodes,), HIDDEN_POOL),
        carray(_pointer(handle[10]), (episodes, max_branches), HIDDEN_SLOT),
        carray(_pointer(handle[11]), (episodes, max_branches), np.int32),
        carray(_pointer(handle[12]), (episodes, max_branches), np.int32),
        carray(_pointer(handle[13]), (episodes, answers), np.int32),
        carray(_pointer(handle[14]), (episodes, answers), np.int32),
        carray(_pointer(handle[15]), (questions,), QUESTION),
        carray(_pointer(handle[16]), (branches,), STORED_BRANCH),
        carray(_pointer(handle[17]), (probes,), np.int32),
    )


@intrinsic
def _prefetch(_context: Any, address: Any) -> Any:
    """Ask the memory for the cache line of an address, without waiting for it."""

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        flag = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, flag, flag, flag])
        function = builder.module.declare_intrinsic("llvm.prefetch", [cgutils.voidptr_t], kind)
        read, keep, data = flag(0), flag(3), flag(1)
        builder.call(function, [builder.inttoptr(args[0], cgutils.voidptr_t), read, keep, data])
        return context.get_dummy_value()

    return types.none(types.int64), codegen


@numba.njit(nogil=True, forceinline=True)
def prefetch(handle, s, n, end):
    """Ask the memory, before a round of episode n, for what the rounds of those behind it will need first.

    Many episodes are larger than the caches: rounds of one after the other would wait at each of their arrays. Each of
    four stages, a round apart, needs what the one before it fetched.
    """
    if n + 4 < end:
        _prefetch_episode(handle, n + 4)
    if n + 3 < end:
        _prefetch_slot(handle, s, n + 3)
    if n + 2 < end:
        _prefetch_branch(handle, s, n + 2)
    if n + 1 < end:
        _prefetch_probes(handle, s, n + 1)


@numba.njit(nogil=True, forceinline=True)
def _prefetch_episode(handle, n):
    first = _ARRAYS
    max_branches, answers, actions = handle[first + 1], handle[first + 2], handle[first + 3]
    for line in range(0, _POOL, _LINE):
        _prefetch(handle[_POOLS_AT] + n * _POOL + line)
    for line in range(0, min(answers * _ANSWER, 4 * _LINE), _LINE):  # those that came first
        _prefetch(handle[_ANSWERS_AT] + n * answers * _ANSWER + line)
    _prefetch(handle[_FINISHED_AT] + n * max_branches * 4)
    _prefetch(handle[_TALLY_AT] + n * (max_branches + 1) * 4)  # of few votes
    for line in range(0, actions, _LINE):
        _prefetch(handle[_ADMISSIBLE_AT] + n * actions + line)
    _prefetch(handle[_HIDDEN_POOLS_AT] + n * _HIDDEN_POOL)
    _prefetch(handle[_STORED_AT] + n * answers * 4)


@numba.njit(nogil=True, forceinline=True)
def _prefetch_slot(handle, s, n):
    """The slot that episode n opens next, what the one behind it is dealt from, and the local ids of the answers."""
    opened, max_branches = s.pools[n].opened, s.slots.shape[1]
    _prefetch(handle[_HISTORY_AT] + (n * s.history.shape[1] + s.pools[n].recorded) * _CHANGE)
    if opened < max_branches:
        slot = n * max_branches + opened
        _prefetch(handle[_SLOTS_AT] + slot * _SLOT)
        _prefetch(handle[_HIDDEN_SLOTS_AT] + slot * _HIDDEN_SLOT)
        _prefetch(handle[_HIDDEN_SLOTS_AT] + (slot + 1) * _HIDDEN_SLOT)
        for line in range(0, (opened + 1) * 4, _LINE):
            _prefetch(handle[_DRAWN_AT] + n * max_branches * 4 + line)
            _prefetch(handle[_DISPLACED_AT] + n * max_branches * 4 + line)
    for line in range(0, s.hidden_pools[n].answers * 4, _LINE):
        _prefetch(handle[_LOCAL_AT] + n * s.local_ids.shape[1] * 4 + line)


@numba.njit(nogil=True, forceinline=True)
def _dealt(s, n):
    """The branch that episode n opens next; -1: not dealt yet, or there is none."""
    pool = s.pools[n]
    return s.hidden_slots[n, pool.opened].branch if pool.opened < pool.slots else -1


@numba.njit(nogil=True, forceinline=True)
def _prefetch_branch(handle, s, n):
    """What the bank knows of that slot's branch."""
    branch = _dealt(s, n)
    if branch >= 0:
        _prefetch(handle[_BRANCHES_AT] + branch * _STORED_BRANCH)


@numba.njit(nogil=True, forceinline=True)
def _prefetch_probes(handle, s, n):
    """Its probes."""
    branch = _dealt(s, n)
    if branch >= 0:
        stored = s.branches[branch]
        for line in range(0, stored.probes * _PROBE, _LINE):
            _prefetch(handle[_PROBES_AT] + stored.start * _PROBE + line)
