"""Messages: what users, files and servers put into them stays short, on one line and harmless."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotts_gym.errors import LONGEST_QUOTE, AutottsError, ProgramError, StoreError, plain, quote


def harmless(text: str) -> bool:
    return text.isprintable() and "\n" not in text


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)


@given(values)
def test_any_value_is_quoted_short_on_one_harmless_line(value: object) -> None:
    assert harmless(quote(value))
    assert len(quote(value)) <= LONGEST_QUOTE


@given(st.text() | st.text(min_size=300, max_size=2000))
def test_any_text_is_shown_short_on_one_harmless_line(text: str) -> None:
    assert harmless(plain(text))
    assert len(plain(text)) <= LONGEST_QUOTE


@pytest.mark.parametrize(
    "value",
    ["x", "a b", "é", 3, -1.5, True, None, [1, "a"], (1,), {"b": 1, "a": [2]}, b"x", {3}, float("nan"), 2**100],
)
def test_a_short_value_is_quoted_as_python_writes_it(value: object) -> None:
    assert quote(value) == repr(value)


@pytest.mark.parametrize(
    ("value", "length"),
    [("a" * 10_000, 200), ("\x1b" * 10_000, 200), (list(range(10**6)), 195), (10**150, 151), (b"\0" * 10**6, 200)],
)
def test_what_is_long_is_quoted_with_its_ends(value: object, length: int) -> None:
    assert len(quote(value)) == length


def test_what_python_cannot_write_is_quoted_all_the_same() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    around: list[object] = []
    around.append(around)
    for value in (Broken(), deep, around, 10**100_000, "\ud800", np.zeros((1000, 1000)), np.arange(3)):
        assert harmless(quote(value))
        assert len(quote(value)) <= LONGEST_QUOTE


def test_a_path_is_quoted_as_its_text() -> None:
    assert quote(Path("a b")) == "'a b'"
    assert plain(Path("a b")) == "a b"


def test_an_error_of_the_system_is_described_without_the_path_that_the_message_has() -> None:
    with pytest.raises(OSError, match="File name too long") as caught:
        Path("a" * 10_000).read_bytes()
    assert plain(caught.value) == "File name too long"


def test_an_error_without_words_is_described_by_its_name() -> None:
    assert plain(MemoryError()) == "MemoryError"


def test_a_message_is_one_harmless_line_whatever_is_put_into_it() -> None:
    error = StoreError(f"{'/a' * 5000}: expected\n\x1b[31mred\r\x07, got {'b ' * 5000}")
    assert harmless(str(error))
    assert str(error).startswith("/a/a/a")
    assert "…" in str(error)
    assert ": expected \\x1b[31mred \\x07, got b b" in str(error)
    assert len(str(error)) <= 2000


def test_a_message_of_ordinary_length_stays_as_it_is() -> None:
    text = f"/{'folder/' * 20}store.h5: gold[3]: expected an answer id from 0 to 4, got 7; there are: a, b"
    assert str(AutottsError(text)) == text


def test_errors_travel_between_processes_as_they_are() -> None:
    error = ProgramError("p.py", "static", "x" * 300, 3)
    for each in (error, StoreError("a: b")):
        again = pickle.loads(pickle.dumps(each))
        assert (type(again), str(again)) == (type(each), str(each))
