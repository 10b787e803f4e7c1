"""No text may do more than fail itself: it is read by a process of its own."""

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from writing import HEAD, write

from autotts_gym.errors import ProgramError
from autotts_gym.sandbox import check_program, read_source
from autotts_gym.sandbox.static import outline

SOLVE = "\n\ndef solve(session, beta):\n    return None\n"
MANY = 20_000

HARD = {
    "minus signs in a default": f"def f(x={'-' * 400}1): pass",
    "minus signs in a default of solve": "",
    "unary operators": f"x = {'not ' * MANY}1",
    "tildes": f"x = {'~' * (10 * MANY)}1",
    "parentheses": f"x = {'(' * MANY}1{')' * MANY}",
    "hundred and fifty parentheses": f"x = {'(' * 150}1{')' * 150}",
    "lists": f"x = {'[' * MANY}{']' * MANY}",
    "braces": "x = " + "{1:" * 5000 + "1" + "}" * 5000,
    "lambdas": f"x = {'lambda: ' * MANY}1",
    "f-strings": "x = " + "f'{" * 60 + "1" + "}'" * 60,
    "attributes": f"x = a{'.b' * MANY}",
    "calls": f"x = a{'()' * MANY}",
    "indices": f"x = a{'[0]' * MANY}",
    "additions": f"x = 1{'+1' * MANY}",
    "powers": f"x = 1{'**1' * MANY}",
    "comparisons": f"x = 1{'<1' * MANY}",
    "conditions": f"x = {'1 if 1 else ' * MANY}1",
    "elifs": "if 0:\n    pass\n" + "elif 1:\n    pass\n" * 10_000,
    "blocks": "".join(f"{' ' * k}if 1:\n" for k in range(99)) + " " * 99 + "pass",
    "too many blocks": "".join(f"{' ' * k}if 1:\n" for k in range(300)) + " " * 300 + "pass",
    "functions": "".join(f"{' ' * k}def f():\n" for k in range(90)) + " " * 90 + "pass",
    "strings side by side": f"x = {'1'!r}{' ' + repr('1')} " * 1,
    "decorators": "@f\n" * MANY + "def g(): pass",
    "a large number": f"x = {'9' * 5000}",
    "a large hexadecimal number": f"x = 0x{'f' * 200_000}",
    "a default of a large hexadecimal number": f"def f(x=0x{'f' * 200_000}): pass",
    "folded powers": "x = 2**10**9",
    "folded shifts": "x = 1 << 10**12",
    "folded strings": "x = 'a' * 10**12",
    "folded tuples": "x = (1,) * 10**12",
    "folded formats": "x = '%1000000000000d' % 1",
    "a null byte": "x = '\0'",
    "escaped surrogates": "x = '\\ud800'",
    "an escaped name": "x = '\\N{BULLET}'",
    "a wrong name": "x = '\\N{NO SUCH CHARACTER}'",
    "a control character": "x = \x01",
    "a bidirectional mark": "x = '\u202e'",
    "arguments": f"f({'1,' * 50_000})",
    "names": f"x = [{','.join(f'n{k}' for k in range(30_000))}]",
    "patterns": f"match 1:\n    case {'[' * 5000}{']' * 5000}:\n        pass",
    "with": f"with {'(' * 180}a{')' * 180}: pass",
    "an unclosed string": "x = '''" + "a" * 200_000,
    "stars": f"x = [{'*' * 5000}a]",
    "awaits": f"async def f():\n    {'await ' * MANY}1",
    "generators": "x = " + "(a for a in " * 2000 + "b" + ")" * 2000,
    "annotations": f"x: {'a[' * 5000}{']' * 5000} = 1",
    "backslashes": "x = \\\n" + "\\\n" * 50_000 + "1",
    "semicolons": ";".join(["x=1"] * 50_000),
}


def refusal(path: Path) -> ProgramError | None:
    try:
        read_source(path)
    except ProgramError as error:
        return error
    return None


@pytest.mark.parametrize("text", HARD.values(), ids=HARD)
def test_a_hard_text_passes_or_fails_with_one_short_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "hard.py"
    solve = SOLVE if text else f"\n\ndef solve(session, beta={'-' * 400}1, *, x={'(' * 150}1{')' * 150}):\n    pass\n"
    path.write_text(f"{HEAD}{text}{solve}")
    outline(path.read_text())
    if (error := refusal(path)) is not None:
        assert error.kind == "static"
        assert re.match("cannot be (parsed|compiled)", error.message), error.message
        assert len(error.message) <= 500
        assert "\n" not in str(error)


def test_a_signature_that_cannot_be_printed_is_described_by_its_names(tmp_path: Path) -> None:
    path = tmp_path / "hard.py"
    path.write_text(f"{HEAD}\n\ndef solve(session, /, beta={'-' * 400}1): pass\n")
    with pytest.raises(ProgramError, match=r"expected solve\(session, beta\), got solve\(session, beta\)"):
        read_source(path)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe" + SOLVE.encode("utf-16-le"),
        b"# -*- coding: latin-1 -*-\nx = '\xe9'\n",
        b"\x80" * 1000,
        b"\xed\xa0\x80",  # a surrogate, as no encoding of text has it
        bytes(range(256)),
        b"\0" * 1000,
        b"",
    ],
)
def test_bytes_that_are_no_text_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "bytes.py"
    path.write_bytes(data)
    with pytest.raises(ProgramError) as caught:
        read_source(path)
    assert caught.value.kind == "static"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a byte order mark", b"\xef\xbb\xbf" + (HEAD + SOLVE).encode()),
        ("CRLF", (HEAD + SOLVE).replace("\n", "\r\n").encode()),
        ("CR", (HEAD + SOLVE).replace("\n", "\r").encode()),
        ("form feeds", (HEAD + "\f" + SOLVE).encode()),
        ("a coding cookie", b"# -*- coding: latin-1 -*-\n" + (HEAD + SOLVE).encode()),
        ("a cookie of no text encoding", b"# coding: rot13\n" + (HEAD + SOLVE).encode()),
        ("no new line at the end", (HEAD + SOLVE).rstrip().encode()),
        ("tabs", (HEAD + SOLVE).replace("    ", "\t").encode()),
        ("letters of many scripts", (HEAD + SOLVE + "größe = 'β, 语言, 🙂'\n").encode()),
    ],
)
def test_files_as_editors_write_them_are_programs(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / "edited.py"
    path.write_bytes(data)
    assert check_program(path).schedule["n"][-1] == 5, name


def test_a_failure_in_a_file_with_other_line_ends_tells_its_line(tmp_path: Path) -> None:
    for end in ("\r\n", "\r", "\n"):
        path = tmp_path / "edited.py"
        path.write_bytes((HEAD.replace("1 + round(4 * beta)", "\n1 / 0") + SOLVE).replace("\n", end).encode())
        with pytest.raises(ProgramError, match="ZeroDivisionError") as caught:
            check_program(path)
        assert caught.value.line == 6


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=400),
        st.text(max_size=200).map(lambda text: (HEAD + SOLVE + text).encode(errors="replace")),
        st.lists(st.sampled_from([*"()[]{}:,.-+*'\"\\\n\t #@=", "f'", "lambda ", "def ", "if ", "x", "1", "\0"])).map(
            lambda parts: (HEAD + SOLVE + "".join(parts)).encode()
        ),
    )
)
def test_any_bytes_are_a_program_or_a_program_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "any.py"
    path.write_bytes(data)
    assert getattr(refusal(path), "kind", "static") == "static"


def test_a_reader_that_cannot_run_is_not_blamed_on_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from autotts_gym.errors import ControllerError
    from autotts_gym.sandbox import static

    broken = tmp_path / "reader.py"
    broken.write_text("raise KeyError('lost')")
    monkeypatch.setattr(static, "_READER", broken)
    path = tmp_path / "fresh.py"
    path.write_text(HEAD + SOLVE + "# not read before\n")
    with pytest.raises(ControllerError, match=r"the process that reads it failed: .*KeyError") as caught:
        read_source(path)
    assert not isinstance(caught.value, ProgramError)


# ------------------------------------------------------------------------------------------------------------ literals


TABLES = {
    "a string": f"T = {'3f9a' * 300!r}",
    "bytes": f"T = {bytes(range(60, 90)) * 20!r}",
    "a number": f"T = 0x{'9f3e' * 200}",
    "a tuple": f"T = {tuple(range(1000, 1200))}",
    "a dict of lists": f"T = {dict(enumerate([[3 * k, -k] for k in range(80)]))}",
    "a set of negative numbers": f"T = {{{', '.join(str(-7 * k) for k in range(200))}}}",
    "an if-chain": "def f(x):\n    if x == 0: return 1\n"
    + "".join(f"    elif x == {1000 + 7 * k}: return {k}\n" for k in range(150)),
    "many calls": "T = []\n" + "".join(f"T.append({1000 + 13 * k})\n" for k in range(250)),
    "many strings": "T = ''\n" + "".join(f"T += '{k:098d}'\n" for k in range(200)),
    "a docstring that is read": f'def f():\n    """{"3f9a" * 300}"""\nT = f.__doc__',
}


@pytest.mark.parametrize("text", TABLES.values(), ids=TABLES)
def test_large_literal_data_is_reported(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, "return None", f"{HEAD}{text}\n")
    assert "large literal data: " in (check_program(path).source.literals.warning or "")


def test_rules_and_docstrings_are_no_large_literal_data(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parent.parent.parent
    programs = [*(root / "agents" / "programs").glob("*.py"), root / "tests" / "controllers" / "published_cmc.py"]
    for path in programs:
        assert read_source(path).literals.warning is None, path
    long = write(tmp_path, "return None", HEAD + f'def f():\n    """{"word " * 2000}"""\n')
    assert read_source(long).literals.warning is None
