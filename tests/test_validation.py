"""The checks of arguments."""

import math

import numpy as np
import pytest

from autotts_gym.errors import AutottsError, ControllerError
from autotts_gym.validation import MAX_INTEGER, check, choice, integer, is_integer, is_real, shaped


@pytest.mark.parametrize("value", [0, 7, MAX_INTEGER, np.int8(3), np.uint64(3)])
def test_whole_numbers_of_python_and_numpy_are_whole(value):
    assert is_integer(value)
    assert integer("n", value) == int(value)
    assert type(integer("n", value)) is int


@pytest.mark.parametrize(
    "value", [-1, MAX_INTEGER + 1, 2**200, 1.0, "1", True, np.True_, None, np.array([1]), math.nan]
)
def test_whatever_is_no_whole_number_in_the_range_is_refused(value):
    assert not is_integer(value)
    with pytest.raises(AutottsError, match=r"^n: expected a whole number from 0 to 2147483647, got "):
        integer("n", value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, "1", True, np.False_, None, 1j])
def test_whatever_is_no_finite_number_is_refused(value):
    assert not is_real(value)


def test_a_range_of_numbers_has_both_its_ends():
    assert is_real(0, 0, 1)
    assert is_real(np.float32(1), 0, 1)
    assert not is_real(1.5, 0, 1)


def test_a_check_says_what_was_expected_and_what_came_in_the_error_that_it_is_given():
    with pytest.raises(ControllerError, match=r"^knob: expected something good, got 'bad'$"):
        check("knob", "bad", False, "something good", ControllerError)


@pytest.mark.parametrize("value", ["c", ["a"], None, np.array(["a", "b"])])
def test_a_choice_is_one_of_the_words(value):
    assert choice("word", "a", ("a", "b")) == "a"
    with pytest.raises(AutottsError, match=r"^word: expected one of a, b, got "):
        choice("word", value, ("a", "b"))


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ([1.99, 2.5], np.int64),
        ([1.0, 2.0], np.int64),
        (["1", "1"], np.int64),
        ([True, False], np.int64),
        ([None, 1], np.int64),
        ([2**70, 1], np.int64),
        (np.array([2**63, 1], np.uint64), np.int64),
        ([-1, 1], np.uint64),
        ([300, 1], np.int8),
        ([1, 0], np.bool_),
        (["", "a"], np.bool_),
        ([1j, 0], np.float64),
        ([[1, 2], [3]], np.int64),
    ],
)
def test_an_array_is_not_made_of_values_that_its_dtype_cannot_hold(value, dtype):
    with pytest.raises(AutottsError, match=r"^name: expected "):
        shaped("name", value, dtype, (2,))


@pytest.mark.parametrize("value", [1, [1], [[1, 2]], [1, 2, 3], []])
def test_an_array_of_another_shape_is_refused(value):
    with pytest.raises(AutottsError, match=r"^name: expected shape \(2,\), got "):
        shaped("name", value, np.int64, (2,))


@pytest.mark.parametrize("value", [[1, 2], (np.int8(1), 2), np.array([1, 2], np.uint64), np.array([1, 9, 2])[::2]])
def test_an_array_of_another_dtype_or_layout_is_converted_if_every_value_survives(value):
    array = shaped("name", value, np.int64, (2,))
    assert array.dtype == np.int64
    assert array.flags.c_contiguous
    assert array.tolist() == [1, 2]


def test_an_array_that_is_right_is_taken_as_it_is():
    array = np.arange(2)
    assert shaped("name", array, np.int64, (2,)) is array


@pytest.mark.parametrize("dtype", [np.float64, np.complex64, np.str_, np.object_, "M8[s]"])
def test_nothing_is_nothing_of_any_dtype(dtype):
    empty = shaped("x", np.empty(0, dtype), np.int64, None)
    assert (empty.shape, empty.dtype) == ((0,), np.int64)
