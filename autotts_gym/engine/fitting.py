"""Arrays that fit together, and the handle that kernels take of them.

Kernels compute addresses from a handle's sizes, so that no handle is made of arrays that are not as ``layout.table``
says.
"""

import numpy as np

from autotts_gym.engine import layout
from autotts_gym.engine.handle import Handle
from autotts_gym.engine.layout import Arrays, RevealedArrays, Sizes
from autotts_gym.errors import AutottsError
from autotts_gym.validation import describe


def fit(arrays: Arrays | RevealedArrays) -> Sizes:
    """The sizes of arrays that fit together.

    Raises:
        AutottsError: an array has not the dtype and the shape that follow from the others, or is not contiguous.
    """
    for name, array in arrays._asdict().items():
        if not isinstance(array, np.ndarray) or not array.flags.c_contiguous or not array.flags.aligned:
            raise AutottsError(f"{name}: expected a contiguous array, got {describe(array)}")
    lengths = {name: len(getattr(arrays, name)) for name in layout.BANK if hasattr(arrays, name)}
    sizes = Sizes(
        len(arrays.pools),
        arrays.slots.shape[-1],
        *(getattr(arrays, name).shape[-1] for name in ("answers", "admissible", "probed", "history")),
        **lengths,
    )
    places = layout.table(sizes)
    for name, array in arrays._asdict().items():
        dtype, shape = places[name]
        if array.dtype != dtype or array.shape != shape:
            raise AutottsError(f"{name}: expected an array {dtype} {shape}, got {describe(array)}")
    rules = arrays.rules[0]
    if rules["max_branches"] != sizes.max_branches or sizes.actions != layout.actions(
        sizes.max_branches, rules["explicit"]
    ):
        raise AutottsError(
            f"rules: expected {sizes.max_branches} branches and {sizes.actions} actions, got {rules['max_branches']} "
            f"branches with explicit probing {bool(rules['explicit'])}"
        )
    return sizes


def pack(arrays: Arrays) -> Handle:
    """The handle of arrays, which the caller keeps alive.

    Raises:
        AutottsError: an array has not the dtype and the shape that follow from the others, or is not contiguous.
    """
    sizes = fit(arrays)
    return np.array([*(array.ctypes.data for array in arrays), *sizes], np.int64)
