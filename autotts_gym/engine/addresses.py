"""One small array of addresses in place of all arrays of the state, to call kernels, and the type that kernels see.

Calling compiled code costs about a tenth of a microsecond an array argument, and the state has twenty. ``Addresses``
hold where they are, and their sizes. ``unpack`` makes a ``State`` of them, of which a kernel asks for arrays by name:
``s.pools[n]``. A ``State`` is one pointer, so that functions which pass it on stay small; an array is put
together where it is asked for, and the optimiser drops what is not used of it.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.extending import infer_getattr, lower_getattr_generic, models, register_model
from numba.core.typing.templates import AttributeTemplate
from numba.extending import intrinsic
from numba.np import numpy_support
from numba.np.arrayobj import make_array, populate_array
from numpy.typing import NDArray

from autotts_gym.engine.layout import CONSTANT, FUNCTIONS, REVEALED, TABLE, Array, Sizes, named

Addresses = NDArray[np.int64]
"""Addresses of arrays, sizes, addresses of functions: int64, read-only, valid while the arrays are alive."""

_WORD = ir.IntType(64)
_PLACES = {each.name: k for k, each in enumerate(TABLE)}


class _StateType(types.Type):
    """What compiled code knows of N episodes: arrays of ``layout.TABLE`` and functions of users, by name."""

    def __init__(self, name: str, names: tuple[str, ...]) -> None:
        super().__init__(name=name)
        self.names = names


STATE = _StateType("State", tuple(_PLACES) + FUNCTIONS)
"""What kernels know."""

REVEALED_STATE = _StateType("RevealedState", named(REVEALED, CONSTANT))
"""What functions of users know."""


ROW = types.uint64
"""The number of an episode where it is handed on: an index that may be negative costs a check at every access."""

WORDS, NUMBERS = types.CPointer(types.int64), types.CPointer(types.float32)
"""Pointers that an encoder is called with."""


@register_model(_StateType)
class _StateModel(models.PrimitiveModel):
    """A pointer to the words of ``Addresses``."""

    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _WORD.as_pointer())


def _type_of(array: Array) -> Any:
    return types.Array(numpy_support.from_dtype(array.dtype), max(len(array.axes), 1), "C")


@infer_getattr
class _Attributes(AttributeTemplate):
    """The types of the attributes of a state."""

    key = _StateType

    def generic_resolve(self, state: Any, name: str) -> Any:  # type: ignore[override]
        if name not in state.names:
            return None
        return types.int64 if name in FUNCTIONS else _type_of(TABLE[_PLACES[name]])


def _word(builder: Any, addresses: Any, place: int) -> Any:
    """A word of ``Addresses``. It never changes while a kernel runs, so it need not be read again after a write."""
    word = builder.load(builder.gep(addresses, [_WORD(place)]))
    word.set_metadata("invariant.load", builder.module.add_metadata([]))
    return word


@lower_getattr_generic(_StateType)
def _array_of(context: Any, builder: Any, _kind: Any, addresses: Any, name: str) -> Any:
    """Put an array together from its address and sizes; of a function the address."""
    if name in FUNCTIONS:
        return _word(builder, addresses, len(TABLE) + len(Sizes._fields) + FUNCTIONS.index(name))
    place = TABLE[_PLACES[name]]
    array = make_array(_type_of(place))(context, builder)
    sizes = [_word(builder, addresses, len(TABLE) + Sizes._fields.index(axis)) for axis in place.axes]
    shape = sizes or [context.get_constant(types.intp, 1)]
    stride = context.get_constant(types.intp, place.dtype.itemsize)
    strides = [stride]
    for size in reversed(shape[1:]):
        strides.insert(0, builder.mul(strides[0], size, flags=["nsw"]))
    data = builder.inttoptr(_word(builder, addresses, _PLACES[name]), array.data.type)
    populate_array(array, data=data, shape=shape, strides=strides, itemsize=stride, meminfo=None)
    return array._getvalue()


@intrinsic
def unpack(_context: Any, addresses: Any) -> Any:
    """The state behind ``Addresses``, inside a kernel."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return make_array(signature.args[0])(context, builder, arguments[0]).data

    return STATE(addresses), codegen


@intrinsic
def call_reward(_context: Any, address: Any, before: Any, after: Any, was_right: Any, is_right: Any) -> Any:
    """Call a reward by its address, inside a kernel."""
    return types.float64(types.int64, before, after, types.float64, types.float64), _call


@intrinsic
def call_begin(_context: Any, address: Any, state: Any, n: Any, question: Any) -> Any:
    """Call ``transition.begin`` by its address, inside a kernel."""
    return types.none(types.int64, state, ROW, types.int64), _call


@intrinsic
def call_perform(_context: Any, address: Any, state: Any, n: Any, action: Any) -> Any:
    """Call ``transition.perform`` by its address, inside a kernel."""
    return types.none(types.int64, state, ROW, types.int64), _call


@intrinsic
def call_round(_context: Any, address: Any, state: Any, n: Any, plan: Any) -> Any:
    """Call ``transition.play_round`` by its address, inside a kernel."""
    return types.none(types.int64, state, ROW, plan), _call


@intrinsic
def call_macro(_context: Any, address: Any, state: Any, n: Any, plan: Any) -> Any:
    """Call a user's macro by its address, inside a kernel."""
    return types.none(types.int64, state, types.int64, plan), _call


@intrinsic
def call_feature(_context: Any, address: Any, state: Any, n: Any) -> Any:
    """Call a user's feature of an episode by its address, inside a kernel."""
    return types.float64(types.int64, state, types.int64), _call


@intrinsic
def call_branch_feature(_context: Any, address: Any, state: Any, n: Any, i: Any) -> Any:
    """Call a user's feature of a branch slot by its address, inside a kernel."""
    return types.float64(types.int64, state, types.int64, types.int64), _call


@intrinsic
def number_of(_context: Any, words: Any, k: Any) -> Any:
    """The float64 that word k of an encoder holds, inside a kernel."""

    def codegen(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        words, k = arguments
        return builder.load(builder.gep(builder.bitcast(words, ir.DoubleType().as_pointer()), [k]))

    return types.float64(words, types.int64), codegen


@intrinsic
def call_encoder(_context: Any, encoder: Any, state: Any, n: Any, out: Any) -> Any:
    """Call an encoder, ``(state, n, its words, row n of out)``, inside a kernel.

    Args of the call in a kernel: ``encoder`` (1 + F,) int64, the address of the encoder and F words of its own, see
    ``Observation.encoder``; ``state``; ``n``; ``out`` (N, W) float32, contiguous.
    """

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        functions = make_array(signature.args[0])(context, builder, arguments[0])
        rows = make_array(signature.args[3])(context, builder, arguments[3])
        width = builder.extract_value(rows.shape, 1)
        row = builder.gep(rows.data, [builder.mul(arguments[2], width)])
        callee = types.int64(types.int64, STATE, ROW, WORDS, NUMBERS)
        address = builder.load(functions.data)
        return _call(context, builder, callee, [address, arguments[1], arguments[2], functions.data, row])

    return types.int64(encoder, state, ROW, out), codegen


@intrinsic
def call_aggregator(_context: Any, address: Any, state: Any, n: Any) -> Any:
    """Call an aggregator by its address, inside a kernel."""
    return types.int64(types.int64, state, types.int64), _call


def _call(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Emit a call of the first argument with the others; what it raises, the kernel raises."""
    convention, kinds = context.call_conv, signature.args[1:]
    with cgutils.if_unlikely(builder, builder.icmp_unsigned("==", arguments[0], _WORD(0))):
        convention.return_user_exc(builder, RuntimeError, ("a function of the state was not asked for by require",))
    pointer = convention.get_function_type(signature.return_type, kinds).as_pointer()
    function = builder.inttoptr(arguments[0], pointer)
    status, value = convention.call_function(builder, function, signature.return_type, kinds, arguments[1:])
    with cgutils.if_unlikely(builder, status.is_error):
        convention.return_status_propagate(builder, status)
    return value
