"""Prefetching: before an episode is stepped, ask the memory for what the steps of later episodes will need.

A thousand episodes side by side are larger than the caches: a primitive step of one after the other would wait at each
of its arrays. Rounds do more with what they read, and a training has fewer episodes: for these it is worth nothing.
``python -m benchmarks.prefetching`` prints the speed with and without.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from autotts_gym.engine.jit import inline
from autotts_gym.engine.layout import (
    ANSWER,
    BRANCH,
    CHANGE,
    FIRST_DEEPEN,
    HIDDEN_POOL,
    HIDDEN_SLOT,
    POOL,
    SLOT,
)

_LINE = 64
_POOL, _SLOT, _HIDDEN_POOL, _HIDDEN_SLOT, _ANSWER, _CHANGE = (
    dtype.itemsize for dtype in (POOL, SLOT, HIDDEN_POOL, HIDDEN_SLOT, ANSWER, CHANGE)
)
_ID = np.dtype(np.int32).itemsize


@intrinsic
def _fetch(_context: Any, array: Any, offset: Any) -> Any:
    """Ask for the cache line at so many bytes from the beginning of an array, without waiting for it."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        flag, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        data = make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.gep(builder.bitcast(data, byte), [arguments[1]])
        kind = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
        function = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        read, keep, is_data = flag(0), flag(3), flag(1)
        builder.call(function, [place, read, keep, is_data])
        return context.get_dummy_value()

    return types.none(array, types.int64), codegen


@inline
def _fetch_pool(s, n):
    for line in range(0, _POOL, _LINE):
        _fetch(s.pools, n * _POOL + line)


@inline
def _fetch_rest(s, n):
    """Ask for the other records of an episode."""
    answers, slots = s.answers.shape[1], s.slots.shape[1]
    for line in range(0, _HIDDEN_POOL, _LINE):
        _fetch(s.hidden_pools, n * _HIDDEN_POOL + line)
    _fetch(s.answers, n * answers * _ANSWER)
    _fetch(s.tally, n * (slots + 1) * _ID)  # of few votes
    _fetch(s.stored_ids, n * answers * _ID)
    _fetch(s.local_ids, n * answers * _ID)


@inline
def _slot_of(s, n, action):
    """The branch slot that an action other than STOP concerns."""
    slots = s.slots.shape[1]
    if action == BRANCH:
        return min(np.int64(s.pools[n].opened), slots - 1)
    i = action - FIRST_DEEPEN
    i -= slots if i >= slots else 0  # a division would take longer than all that it saves
    i -= slots if i >= slots else 0
    return i


@inline
def fetch_steps(s, n, end, actions, ahead):
    """What primitive actions behind that of episode n need: in three stages, each needs what the one before fetched.

    An action that is not admissible needs little, and nothing more is fetched for it.

    Args:
        s: the state.
        n: the episode that is stepped next.
        end: the first that is not stepped.
        actions: (N,) int64.
        ahead: by how many episodes the stages are apart; 0: nothing is fetched.
    """
    if ahead > 0:
        last, middle, first = n + 3 * ahead, n + 2 * ahead, n + ahead
        if last < end:
            _fetch_pool(s, last)
            _fetch(s.admissible, last * s.admissible.shape[1] + actions[last])
        if middle < end and actions[middle] >= BRANCH and s.admissible[middle, actions[middle]] != 0:
            slot = middle * s.slots.shape[1] + _slot_of(s, middle, actions[middle])
            _fetch(s.slots, slot * _SLOT)
            _fetch(s.hidden_slots, slot * _HIDDEN_SLOT)
            _fetch_rest(s, middle)
        if first < end and actions[first] >= FIRST_DEEPEN and s.admissible[first, actions[first]] != 0:
            i = _slot_of(s, first, actions[first])
            _fetch(s.probes, (s.hidden_slots[first, i].start + s.slots[first, i].depth) * _ID)
            _fetch(s.history, (first * s.history.shape[1] + s.pools[first].recorded) * _CHANGE)
