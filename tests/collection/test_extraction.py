r"""Extractors: what counts as the answer of a text."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotts_gym.collection.extraction import extractor, matching_brace
from autotts_gym.errors import AutottsError


@pytest.mark.parametrize(
    ("name", "text", "answer"),
    [
        ("boxed", r"so \boxed{42}.", "42"),
        ("boxed", r"\boxed{1} and then \boxed{\frac{1}{2}} done", r"\frac{1}{2}"),
        ("boxed", r"\boxed{ 7 } \boxed{8", "7"),
        ("boxed", r"\boxed {\{1, 2\}}", r"\{1, 2\}"),
        ("boxed", r"\boxed{}", None),
        ("boxed", "no box", None),
        ("boxed", r"\boxed{a\}b}", r"a\}b"),
        ("number", "3 apples and 1,234.5 pears", "1234.5"),
        ("number", "between -3 and 1/2", "1/2"),
        ("number", "none", None),
        ("choice", "The answer is (C).", "C"),
        ("choice", "I think A, no: B", "B"),
        ("choice", "Answer: D because A is wrong", "D"),
        ("choice", "Nothing here", None),
        ("choice", "The answer is a dog", None),
        ("choice", "THE ANSWER\n\nIS : ** (B) **", "B"),
        ("number", "it is 1/2.", "1/2"),
        ("number", "it is 1 / 2.5", "2.5"),
        ("last_line", "a\nb\n\n  \n", "b"),
        ("last_line", "", None),
        ("regex:x=(\\d+)", "x=1, x=23", "23"),
        ("regex:\\d+", "4 or 56", "56"),
        ("regex:(a)|b", "b", None),
    ],
)
def test_extractors(name, text, answer):
    assert extractor(name)(text) == answer


def test_a_function_of_yours(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "def last(text):\n    return text[-1:]\n"
        "def bad(text):\n    return 3\n"
        "def fails(text):\n    raise KeyError('x')\n"
        "nothing = 1\n"
    )
    assert extractor(f"{file}:last")("abc") == "c"
    assert extractor(f"{file}:last")("") is None
    with pytest.raises(AutottsError, match="expected a text or None, got 3"):
        extractor(f"{file}:bad")("abc")
    with pytest.raises(AutottsError, match="KeyError"):
        extractor(f"{file}:fails")("abc")
    with pytest.raises(AutottsError, match="expected a function"):
        extractor(f"{file}:nothing")


@pytest.mark.parametrize("name", ["", "box", "regex:(", f"regex:{'(' * 500}", "no/such.py:x"])
def test_bad_names(name):
    with pytest.raises(AutottsError, match="extractor"):
        extractor(name)


@given(st.text(alphabet="ab{}\\", max_size=30))
def test_a_matching_brace_balances(text):
    end = matching_brace(text)
    if end >= 0:
        assert text[end] == "}"
        inside = text[:end].replace("\\\\", "").replace("\\{", "").replace("\\}", "")
        assert inside.count("{") == inside.count("}")


@given(st.lists(st.sampled_from(["\\", "{", "}", "a", " ", "\\boxed{", "\\fbox {"]), max_size=16).map("".join))
def test_the_last_box_that_is_closed(text):
    boxes = [match.end() for match in re.finditer(r"\\(boxed|fbox)\s*\{", text)]
    closed = [text[begin : matching_brace(text, begin)] for begin in boxes if matching_brace(text, begin) >= 0]
    assert extractor("boxed")(text) == ((closed[-1].strip() or None) if closed else None)


@given(
    st.lists(st.sampled_from(["answer", "Option", " ", "\n", " is", ":", "*", "(", ")", "B", "b", "I"])).map("".join)
)
def test_the_letter_that_is_named(text):
    simple = r"(?i:answer|option|choice)(?:\s+(?i:is))?\s*:?\s*\**\s*\(?([A-J])\)?(?![A-Za-z0-9'])"
    if named := re.findall(simple, text):
        assert extractor("choice")(text) == named[-1]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("choice", "The answer{}x"),
        ("choice", "The answer is{}:x"),
        ("number", "1{}x"),
        ("number", "1/{}x"),
        ("boxed", "\\boxed{}x"),
    ],
)
def test_blanks_take_no_more_time_than_other_characters(name, text):
    assert growth(extractor(name), lambda size: text.replace("{}", "\n" * size), 2_000) < 30


@pytest.mark.parametrize(
    ("name", "part"), [("boxed", "\\boxed{"), ("boxed", "{"), ("choice", "answer "), ("number", "1,")]
)
def test_time_grows_as_texts_do(name, part):
    assert growth(extractor(name), lambda size: part * size, 2_000) < 30


def growth(work, text, size):
    """How much longer a text ten times as long takes."""

    def seconds(argument):
        times = []
        for _ in range(5):
            began = time.process_time()
            for _ in range(5):
                work(argument)
            times.append(time.process_time() - began)
        return min(times)

    return seconds(text(10 * size)) / seconds(text(size))


@given(st.text(max_size=200))
@pytest.mark.parametrize("name", ["boxed", "number", "choice", "last_line", "regex:.+"])
def test_answers_are_texts_that_a_file_holds(name, text):
    answer = extractor(name)(text)
    assert answer is None or (answer and answer == answer.strip() and answer.encode().decode() == answer)
