"""The transition: each of its three ways is compiled once, and every kernel that needs it calls it by its address."""

from typing import Any

from numba import types
from numba.np import numpy_support

from autotts_gym.engine import transition
from autotts_gym.engine.addresses import ROW, STATE
from autotts_gym.engine.functions import machine_code
from autotts_gym.engine.plan import PlanArrays, RoundPlan

PLAN = types.NamedTuple(
    [types.Array(numpy_support.from_dtype(a.dtype), a.ndim, "C") for a in RoundPlan.empty(1, 1).arrays], PlanArrays
)
"""The arrays of a plan, as compiled code sees them."""

_SIGNATURES: dict[str, Any] = {
    "begin": ((STATE, ROW, types.int64), types.none),
    "perform": ((STATE, ROW, types.int64), types.none),
    "play_round": ((STATE, ROW, PLAN), types.none),
}


NAMES = tuple(_SIGNATURES)

loaded: dict[str, int] = {}
"""The addresses of the functions that this process has asked for."""


def load(name: str) -> None:
    """Compile ``begin``, ``perform`` or ``play_round``, or load its machine code, unless that has been done."""
    if name not in loaded:
        loaded[name] = machine_code(getattr(transition, name).py_func, _SIGNATURES[name], name)
