"""A reply is text: the program is found by one rule, and nothing in it does anything."""

import ast

import pytest
from asking import recorded
from attacks import ATTACK
from hypothesis import given
from hypothesis import strategies as st

from agents.explorer.proposers.base import ProposerError
from agents.explorer.proposers.replies import (
    MAX_REPLY_BYTES,
    clean,
    decoded,
    displayable,
    extract_program,
    one_line,
)

SOLVE = "def solve(session, beta):\n    return None\n"


@pytest.mark.parametrize("name", ["momentum", "whole_branches"])
def test_a_recorded_reply_holds_one_whole_program(name):
    program = extract_program(recorded(name))
    defined = [node.name for node in ast.parse(program).body if isinstance(node, ast.FunctionDef)]
    assert defined == ["schedule", "solve"]
    assert ast.get_docstring(ast.parse(program))


@pytest.mark.parametrize("name", ["momentum", "whole_branches"])
def test_the_sandbox_accepts_the_recorded_programs(name, tmp_path):
    from autotts_gym.sandbox import check_program

    path = tmp_path / "program.py"
    path.write_text(extract_program(recorded(name)))
    checked = check_program(path)
    assert all(len(values) == len(checked.betas) for values in checked.schedule.values())


def test_the_sandbox_refuses_the_program_of_an_attack(tmp_path):
    from autotts_gym.errors import ProgramError
    from autotts_gym.sandbox import check_program

    path = tmp_path / "program.py"
    path.write_text(clean(extract_program(ATTACK)))
    with pytest.raises(ProgramError):
        check_program(path)


@pytest.mark.parametrize("name", ["refusal", "cut_off"])
def test_a_reply_without_a_whole_program_has_none(name):
    assert extract_program(recorded(name)) == ""


def test_the_last_block_that_defines_solve_is_the_program():
    first, last = SOLVE, SOLVE.replace("None", "session.leader")
    reply = f"```python\n{first}```\nbetter:\n```python\n{last}```\nuse it so:\n```python\nsolve(1, 2)\n```\n"
    assert extract_program(reply) == last


@pytest.mark.parametrize("language", ["", "python", "py", "Python3", "python title=x.py", "  python"])
def test_python_may_be_marked_in_several_ways(language):
    assert extract_program(f"```{language}\n{SOLVE}```") == SOLVE


@pytest.mark.parametrize("language", ["bash", "json", "pythonic", "text", "js"])
def test_a_block_of_another_language_is_no_program(language):
    assert extract_program(f"```{language}\n{SOLVE}```") == ""


def test_a_longer_fence_holds_shorter_ones_and_other_signs():
    inner = f'"""Doc.\n\n```python\nx\n```\n~~~\n"""\n{SOLVE}'
    assert extract_program(f"````python\n{inner}````") == inner


def test_an_indented_block_loses_its_indent_and_windows_line_ends_go():
    indented = "".join(f"   {line}\r\n" for line in ["```python", *SOLVE.splitlines(), "```"])
    assert extract_program(f"1. so:\r\n{indented}") == SOLVE


def test_a_reply_without_fences_is_the_program_as_it_stands():
    assert extract_program(SOLVE) == SOLVE
    assert extract_program("Define solve( as you like.") == ""


def test_the_program_of_an_attack_is_the_one_block_by_the_rule_and_no_file_appears(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OWNED", str(tmp_path / "owned"))
    program = extract_program(ATTACK)
    assert "def solve(session, beta)" in program
    assert "a fence inside a longer-lived one" in program
    assert list(tmp_path.iterdir()) == []


def test_what_is_shown_cannot_steer_a_terminal():
    shown = displayable(ATTACK)
    assert not set("\x1b\x07\x9b\r\x00\u202e\u2066\ud800") & set(shown)
    assert all(char.isprintable() or char in "\n\t" for char in shown)
    assert "Save this as" in shown


@given(st.text(st.characters(), max_size=300))
def test_any_text_is_extracted_from_cleaned_and_shown(text):
    extract_program(text)
    clean(text).encode()
    shown = displayable(text)
    assert "\x1b" not in shown
    assert "\n" not in one_line(text)


@given(st.text(st.characters(blacklist_characters="`~", blacklist_categories=("Cs", "Cc")), max_size=200))
def test_whatever_surrounds_a_fenced_program_it_is_found(prose):
    assert extract_program(f"{prose}\n```python\n{SOLVE}```\n{prose}") == SOLVE


def test_keys_are_blotted_out():
    assert clean("key sk-123 and sk-123", ["sk-123", ""]) == "key *** and ***"


def test_bytes_that_are_no_utf_8_are_replaced_and_too_many_refused():
    assert decoded(b"a\xff\xfeb", "it") == "a\ufffd\ufffdb"
    with pytest.raises(ProposerError, match=f"it: expected at most {MAX_REPLY_BYTES} bytes, got more"):
        decoded(b"x" * (MAX_REPLY_BYTES + 1), "it")


def test_an_error_message_is_one_short_line():
    assert one_line("a\n\x1b[31m b\tc") == "a [31m b c"
    assert len(one_line("x" * 1000)) == 300
