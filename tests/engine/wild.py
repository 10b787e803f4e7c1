"""Arguments as no caller should pass them, drawn by Hypothesis: wrong shapes, lengths, dtypes, and huge numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as extra

from autotts_gym.errors import AutottsError

NUMBERS = st.one_of(
    st.integers(-3, 8),
    st.sampled_from(
        [-(2**70), -(2**63), -(2**31), -1, 2**15, 2**31 - 1, 2**31, 2**32, 2**62, 2**63, 2**64 - 1, 2**200]
    ),
    st.floats(allow_nan=True, allow_infinity=True, width=32),
    st.sampled_from([np.int8(1), np.int32(-7), np.uint64(2**64 - 1), np.int64(2**62), np.float32(1.5), np.True_]),
)
SCALARS = st.one_of(NUMBERS, st.none(), st.booleans(), st.text(max_size=3), st.binary(max_size=2), st.just(1j))
DTYPES = st.sampled_from(
    ["?", "i1", "u1", "i2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "U2", "S2", "O", ">i8"]
)
SHAPES = extra.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=6)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """Any small array, now and then a view that is not contiguous."""
    dtype, shape = np.dtype(draw(DTYPES)), draw(SHAPES)
    if dtype.kind in "biuf":
        array = draw(extra.arrays(dtype, shape))
    else:
        fill = {"c": 1j, "U": "1", "S": b"1", "O": draw(SCALARS)}[dtype.kind]
        array = np.full(shape, fill, dtype)
    if array.ndim and draw(st.booleans()):
        array = array[::-1] if draw(st.booleans()) else np.repeat(array, 2, axis=0)[::2]
    return array


WILD: st.SearchStrategy[Any] = st.one_of(
    SCALARS,
    arrays(),
    st.lists(SCALARS, max_size=6),
    st.lists(st.lists(NUMBERS, max_size=3), max_size=3),
    st.tuples(NUMBERS, NUMBERS),
    st.dictionaries(st.text(max_size=2), NUMBERS, max_size=2),
    st.builds(object),
)


def maybe_wild(draw: st.DrawFn | Callable[..., Any], right: Any) -> Any:
    """An argument: the right one, or anything."""
    return draw(st.one_of(st.just(right), WILD))


def attempt(call: Callable[[], Any]) -> tuple[Any, str]:
    """What a call gives and "", or the message with which it refuses; any other error is one of the test's."""
    try:
        return call(), ""
    except AutottsError as error:
        return None, str(error)


def is_clear(message: str) -> bool:
    """Whether a refusal says what was expected."""
    return not message or "expected" in message
