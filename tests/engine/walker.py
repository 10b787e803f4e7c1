"""Everything that references lead to from an object, as a curious program would find it."""

import gc
import types
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np

from autotts_gym.engine import Bank, PoolState
from autotts_gym.engine.layout import RevealedArrays
from autotts_gym.replay import ReplayStore

NOT_FOLLOWED = (types.ModuleType, type, str, bytes, int, float, complex, bool, type(None))
"""Modules and classes lead to the whole interpreter; what is no container leads nowhere."""


def reachable(*roots: Any) -> Iterator[Any]:
    """Each object that attributes, properties, closures, defaults, bases of views and referents lead to, once."""
    waiting, seen = list(roots), {}
    while waiting:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, NOT_FOLLOWED):
            continue
        seen[id(value)] = value
        yield value
        waiting += referents(value)


def referents(value: Any) -> list[Any]:
    """What an object leads to; for functions of this package their globals too."""
    if isinstance(value, types.FunctionType):
        found = [value.__defaults__, value.__kwdefaults__, value.__dict__]
        found += [cell.cell_contents for cell in value.__closure__ or () if cell != types.CellType()]
        # Those of other packages lead to the whole interpreter, as modules do.
        return [*found, value.__globals__] if value.__module__.startswith("autotts_gym.") else found
    found = list(gc.get_referents(value))
    if isinstance(value, np.ndarray):
        found.append(value.base)
        if value.dtype == object:
            found += value.ravel().tolist()
    if isinstance(value, np.void):
        found.append(value.base)
    if isinstance(value, memoryview):
        found.append(value.obj)
    if isinstance(value, weakref.ref):
        found.append(value())
    if type(value).__module__.startswith("autotts_gym"):
        found += [getattr(value, name) for name in dir(value) if not name.startswith("__")]
    return found


def hidden_arrays(*states: PoolState) -> list[np.ndarray]:
    """The arrays that must not be reachable: the hidden ones of states, those of their banks, and of the stores."""
    arrays: list[Any] = []
    for state in states:
        arrays += [array for name, array in state.arrays._asdict().items() if name not in RevealedArrays._fields]
        arrays += [array for array in vars(state.bank).values() if isinstance(array, np.ndarray)]
        for store in state.bank.stores:
            arrays += [array for array in vars(store).values() if isinstance(array, np.ndarray)]
    return [array for array in arrays if array.size]


def assert_nothing_hidden(secrets: list[np.ndarray], *handed_out: Any) -> int:
    """No reference leads from what was handed out to a secret, nor to what holds them; returns the arrays looked at."""
    count = 0
    for value in reachable(*handed_out):
        assert not isinstance(value, PoolState | Bank | ReplayStore), type(value)
        if isinstance(value, np.ndarray):
            count += 1
            assert not any(np.shares_memory(value, secret) for secret in secrets), (value.dtype, value.shape)
    return count
