"""Arrays that fit together, and the addresses that kernels take of them.

Kernels trust the sizes beside the addresses. So addresses are made only of arrays that are as ``layout.TABLE`` says.
"""

from collections.abc import Mapping

import numpy as np

from autotts_gym.engine import layout
from autotts_gym.engine.addresses import Addresses
from autotts_gym.engine.layout import Arrays, RevealedArrays, Sizes
from autotts_gym.errors import AutottsError
from autotts_gym.validation import describe, read_only


def fit(arrays: Arrays | RevealedArrays) -> Sizes:
    """The sizes of arrays that fit together.

    Raises:
        AutottsError: an array has not the dtype and the shape that follow from the others, or is not contiguous.
    """
    for name, array in arrays._asdict().items():
        if not isinstance(array, np.ndarray) or not array.flags.c_contiguous or not array.flags.aligned:
            raise AutottsError(f"{name}: expected a contiguous array, got {describe(array)}")
    found: dict[str, int] = {}
    places = [(place, getattr(arrays, place.name)) for place in layout.TABLE if place.name in arrays._fields]
    for place, array in places:
        if array.ndim == len(place.axes):  # the first array of an axis says its size
            found = {**dict(zip(place.axes, array.shape, strict=True)), **found}
    sizes = Sizes(**{**dict.fromkeys(Sizes._fields, 0), **found})
    for place, array in places:
        if array.dtype != place.dtype or array.shape != place.shape(sizes):
            raise AutottsError(
                f"{place.name}: expected an array {place.dtype} {place.shape(sizes)}, got {describe(array)}"
            )
    if sizes.counts != sizes.max_branches + 1:
        raise AutottsError(f"tally: expected counts 0 to {sizes.max_branches}, got {sizes.counts} of them")
    if (arrays.pools["slots"] >= sizes.votes).any():
        raise AutottsError(f"confidence: expected a row for every number of votes, got {sizes.votes}")
    if sizes.rewarded not in (0, sizes.episodes):
        raise AutottsError(f"before: expected none or {sizes.episodes} episodes, got {sizes.rewarded}")
    rules = arrays.rules[0]
    if rules["max_branches"] != sizes.max_branches or sizes.actions != layout.actions(
        sizes.max_branches, rules["explicit"]
    ):
        raise AutottsError(
            f"rules: expected {sizes.max_branches} branches and {sizes.actions} actions, got {rules['max_branches']} "
            f"branches with explicit probing {bool(rules['explicit'])}"
        )
    return sizes


def pack(arrays: Arrays | RevealedArrays, functions: Mapping[str, int] | None = None) -> Addresses:
    """The addresses of arrays, which the caller keeps alive; for what is revealed there are no others.

    Args:
        arrays: all of a state, or what is revealed of it.
        functions: addresses of those of ``layout.FUNCTIONS`` that there are.

    Raises:
        AutottsError: an array has not the dtype and the shape that follow from the others, or is not contiguous.
    """
    sizes = fit(arrays)
    given = arrays._asdict()
    places = [given[each.name].ctypes.data if each.name in given else 0 for each in layout.TABLE]
    called = [(functions or {}).get(name, 0) for name in layout.FUNCTIONS]
    addresses: Addresses = read_only(np.array([*places, *sizes, *called], np.int64))
    return addresses
