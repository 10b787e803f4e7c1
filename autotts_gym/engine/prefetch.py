"""Asking the memory, before an episode is stepped, for what the steps of those behind it will need.

Many episodes side by side are larger than the caches: a step of one after the other would wait at each of its arrays.
``python -m benchmarks.prefetching`` prints the speed with and without.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from autotts_gym.engine.jit import inline
from autotts_gym.engine.layout import ANSWER, BRANCH, CHANGE, FIRST_DEEPEN, HIDDEN_POOL, HIDDEN_SLOT, POOL, SLOT

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
def _fetch_episode(s, n):
    """The records of an episode."""
    answers, slots = s.answers.shape[1], s.slots.shape[1]
    for line in range(0, _POOL, _LINE):
        _fetch(s.pools, n * _POOL + line)
    for line in range(0, _HIDDEN_POOL, _LINE):
        _fetch(s.hidden_pools, n * _HIDDEN_POOL + line)
    _fetch(s.answers, n * answers * _ANSWER)
    _fetch(s.tally, n * (slots + 1) * _ID)  # of few votes
    _fetch(s.stored_ids, n * answers * _ID)
    _fetch(s.local_ids, n * answers * _ID)


@inline
def _fetch_slot(s, n, action):
    """The branch slot that an action concerns."""
    slots = s.slots.shape[1]
    i = np.int64(s.pools[n].opened) if action == BRANCH else (action - FIRST_DEEPEN) % slots
    if action >= BRANCH and i < slots:
        _fetch(s.slots, (n * slots + i) * _SLOT)
        _fetch(s.hidden_slots, (n * slots + i) * _HIDDEN_SLOT)
        _fetch(s.admissible, n * s.admissible.shape[1] + action)


@inline
def _fetch_probe(s, n, action):
    """The next probe of the branch in it, and where that is noted."""
    i = (action - FIRST_DEEPEN) % s.slots.shape[1]
    if action >= FIRST_DEEPEN:
        _fetch(s.probes, (s.hidden_slots[n, i].start + s.slots[n, i].depth) * _ID)
        _fetch(s.history, (n * s.history.shape[1] + s.pools[n].recorded) * _CHANGE)


@inline
def fetch_steps(s, n, end, actions, ahead):
    """What primitive actions behind that of episode n need: in three stages, each needs what the one before fetched.

    Args:
        s: the state.
        n: the episode that is stepped next.
        end: the first that is not stepped.
        actions: (N,) int64.
        ahead: by how many episodes the stages are apart; 0: nothing is fetched.
    """
    if ahead > 0:
        if n + 3 * ahead < end:
            _fetch_episode(s, n + 3 * ahead)
        if n + 2 * ahead < end:
            _fetch_slot(s, n + 2 * ahead, actions[n + 2 * ahead])
        if n + ahead < end:
            _fetch_probe(s, n + ahead, actions[n + ahead])


@inline
def fetch_rounds(s, n, end, ahead):
    """What rounds behind that of episode n need: its records, then the slots of its branches; see ``fetch_steps``."""
    if ahead > 0:
        if n + 2 * ahead < end:
            _fetch_episode(s, n + 2 * ahead)
        if n + ahead < end:
            behind, slots = n + ahead, s.slots.shape[1]
            opened = min(np.int64(s.pools[behind].opened) + 1, slots)
            for line in range(0, opened * _SLOT, _LINE):
                _fetch(s.slots, behind * slots * _SLOT + line)
            for line in range(0, opened * _HIDDEN_SLOT, _LINE):
                _fetch(s.hidden_slots, behind * slots * _HIDDEN_SLOT + line)
