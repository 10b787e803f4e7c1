"""Whatever a command is given that is not possible: one line on standard error, exit code 2, nothing left behind."""

import importlib
from importlib.util import find_spec
from pathlib import Path

import pytest

from autotts_gym.cli.main import main
from autotts_gym.replay.synthetic import synthesize

ROOT = Path(__file__).resolve().parents[2]
AGENTS_EXTRA = all(find_spec(name) for name in ("torch", "sb3_contrib", "tensorboard", "optuna"))

HUGE = 2**31 - 1
LONG = "a" * 10_000
WHOLES = ("", "x", "1.5", "nan", "inf", "-1", "0", "1" * 5000, "9" * 20, "1e3", "\x1b[31m")
"""What is no whole number of at least 1."""

EVALUATE = ("evaluate", "STORE", "--controller", "sc")
BENCHMARK = ("benchmark", "STORE", "--preset", "quick")
TRACE = ("trace", "STORE", "--controller", "sc", "--question", "0")
DIAGNOSE = ("diagnose", "STORE", "--controller", "sc")
SYNTH = ("synth", "-o", "OUT/made.h5")
IMPORT = ("import", "SOURCE", "-o", "OUT/made.h5")

CASES: list[tuple[tuple[object, ...], str]] = [
    # What does not fit into memory.
    ((*EVALUATE, "--seeds", HUGE), "seeds: 2147483647 orders of 2 questions"),
    ((*DIAGNOSE, "--seeds", HUGE), "seeds: 2147483647 orders of 2 questions"),
    ((*BENCHMARK, "--seeds", HUGE), "seeds: 2147483647 orders of 2 questions"),
    ((*BENCHMARK, "--resamples", HUGE), "resamples: 2147483647 of 2 questions"),
    ((*SYNTH, "--questions", 10**9, "--branches", 10**9), "questions, branches: 1000000000 x 1000000000"),
    ((*SYNTH, "--questions", 10**20), "--questions: expected a whole number up to 2147483647"),
    ((*SYNTH, "--branches", HUGE), "questions, branches: 30 x 2147483647"),
    # Knobs of controllers.
    *(
        ((*EVALUATE, "--param", param), said)
        for param, said in (
            ("sandbox=1", "sandbox"),
            ("name=x", "name"),
            ("params=1", "params"),
            ("nothing=1", "nothing"),
            ("branches=x", "branches: expected"),
            ("branches=0", "branches: expected"),
            ("branches=-1", "branches: expected"),
            ("branches=NaN", "branches: expected"),
            ("branches=1.5", "branches: expected"),
            ("branches=true", "branches: expected"),
            ("branches=", "branches: expected"),
            ("branches=[1]", "branches: expected"),
            ("branches=null", "branches: expected"),
            ("branches=" + "9" * 400, "branches: expected"),
            ("=1", "NAME=VALUE"),
            ("branches", "NAME=VALUE"),
            ("", "NAME=VALUE"),
            (f"{LONG}=1", "aaa…aaa"),
            ("\x1b[31m=1", "\\x1b[31m"),
        )
    ),
    (("evaluate", "STORE", "--controller", "PROGRAM", "--param", "sandbox=1"), "sandbox: expected a Sandbox"),
    (("evaluate", "STORE", "--controller", "PROGRAM", "--param", "path=1"), "path"),
    (("evaluate", "STORE", "--controller", "PROGRAM", "--param", "branches=1"), "branches"),
    (("evaluate", "STORE", "--controller", "PROGRAM", "--beta", "nan"), "beta"),
    ((*EVALUATE, "--param", "branches=1", "--param", "branches=2"), "every knob once"),
    *(((*EVALUATE, "--beta", beta), "beta") for beta in ("", "x", "nan", "inf", "-1", "1.1", "1e999")),
    (("evaluate", "STORE", "--controller", ""), "controller: expected one of"),
    (("evaluate", "STORE", "--controller", LONG), "controller: expected one of"),
    (("evaluate", "STORE", "--controller", "OUT"), "controller"),
    (("evaluate", "STORE", "--controller", "missing.py", "--beta", "0.5"), "missing.py"),
    (("evaluate", "STORE", "--controller", "missing.zip"), "missing.zip: no such file"),
    (("evaluate", "STORE", "--controller", "STORE"), "controller"),
    # Rules.
    *(((*command, "--max-branches", value), "max") for command in (EVALUATE, TRACE, DIAGNOSE) for value in (*WHOLES,)),
    *(((*EVALUATE, "--token-budget", value), "token") for value in ("", "x", "0", "-1", "1.5", "9" * 20)),
    ((*EVALUATE, "--accounting", "both"), "accounting"),
    # Numbers.
    *(((*command, "--seeds", value), "seeds") for command in (EVALUATE, DIAGNOSE, BENCHMARK) for value in WHOLES),
    *(((*command, "--workers", value), "workers") for command in (EVALUATE, BENCHMARK) for value in WHOLES),
    *(((*BENCHMARK, "--resamples", value), "resamples") for value in WHOLES),
    *(((*DIAGNOSE, "--examples", value), "examples") for value in WHOLES),
    *(((*TRACE[:-1], value), "question") for value in ("", "x", "-1", "2", str(HUGE), "9" * 20)),
    *(((*TRACE, "--seed", value), "seed") for value in ("", "x", "1.5", "9" * 20)),
    *(
        ((*SYNTH, f"--{name}", value), name.split("-")[0])
        for name in ("questions", "branches", "interval-tokens")
        for value in (*WHOLES, "99999999999")
    ),
    *(((*SYNTH, "--seed", value), "seed") for value in ("", "x", "-1", "1.5", "9" * 20)),
    # Names.
    *(
        ((*command, f"--{name}", value), "printable name")
        for command in (SYNTH, IMPORT)
        for name in ("model", "benchmark")
        for value in ("", " ", "\x1b[31m", "a\nb")
    ),
    # Files.
    (("info", "missing"), "missing: expected a .h5 file"),
    (("info", ""), "expected a .h5 file"),
    (("info", LONG), "aaa…aaa"),
    (("info", f"{LONG}.h5"), "File name too long"),
    (("info", "OUT"), "expected"),
    (("info", "SOURCE"), "expected"),
    (("info", "FOLDER.h5"), "expected"),
    (("info", "\x1b[31mred\n.h5"), "\\x1b[31mred"),
    (("synth", "-o", "OUT"), "ends in .h5"),
    (("synth", "-o", ""), "ends in .h5"),
    (("synth", "-o", "FOLDER.h5", "--questions", 1, "--branches", 1, "--force"), "Is a directory"),
    (("synth", "-o", "SOURCE/made.h5", "--questions", 1, "--branches", 1), "cannot be written"),
    (("synth", "-o", f"OUT/{LONG}.h5", "--questions", 1, "--branches", 1), "File name too long"),
    (("import", "missing.json", "-o", "OUT/made.h5"), "missing.json: no such file"),
    (("import", "SOURCE", "-o", "OUT/made.txt"), "ends in .h5"),
    (("import", "STORE", "-o", "OUT/made.h5"), "expected"),
    (("import", "", "-o", "OUT/made.h5"), "expected files"),
    (("benchmark", "STORE", "--controller", "nothing"), "nothing"),
    (("benchmark", "STORE", "--controller", ""), "controller"),
    ((*BENCHMARK, "--out", "SOURCE/below"), "cannot be written"),
    (("benchmark", "STORE", "STORE", "--preset", "quick"), "more than once"),
    # Commands.
    ((), "COMMAND"),
    (("",), "invalid choice"),
    ((LONG,), "invalid choice"),
    (("evaluate",), "required"),
    (("evaluate", "STORE", "--controller", "sc", "--nothing"), "unrecognized"),
    ((*EVALUATE, f"--{LONG}"), "unrecognized"),
    ((*EVALUATE, "\x1b[31m\n"), "\\x1b[31m"),
]

AGENTS: list[tuple[str, tuple[object, ...], str]] = [
    *(
        ("agents.train", ("--total-steps", 1, f"--{name}", value), name.replace("-", "_"))
        for name, values in {
            "seed": ("-1", "9" * 20),
            "num-envs": ("0", "-1"),
            "threads": ("0", HUGE),
            "env-threads": ("0", HUGE),
            "eval-seeds": ("0",),
            "max-branches": ("0", "-1"),
            "n-steps": ("0",),
            "batch-size": ("0",),
            "gamma": ("nan", "inf", "-1", "2"),
            "learning-rate": ("nan", "0", "-1"),
            "minutes": ("nan", "inf", "-1"),
            "variants": ("-1",),
            "validation": ("1", "-0.1", "nan"),
            "env": ("", "x"),
            "name": ("a/b", ".."),
        }.items()
        for value in values
    ),
    *(
        ("agents.train", ("--total-steps", 1, "--algo", value), "expected a JSON file or one of dqn")
        for value in ("", "x", LONG)
    ),
    ("agents.train", ("--total-steps", 1, "--seed", ""), "--seed"),
    (
        "agents.explorer.__main__",
        ("--stores", "STORE", "--out", "OUT/run", "--betas", HUGE),
        "for each of 2147483647 settings",
    ),
    ("agents.train", ("--total-steps", 1, "--store", "missing"), "missing: expected a .h5 file"),
    ("agents.train", ("--total-steps", 1, "--eval-seeds", HUGE, "--store", "STORE"), "seeds: 2147483647"),
    ("agents.train", ("--total-steps", 1, "--variants", HUGE, "--store", "STORE"), "variants: 2147483647"),
    ("agents.train", ("--config", "missing.json"), "missing.json"),
    ("agents.train", ("--config", "SOURCE"), "expected"),
    ("agents.train", ("--resume", "missing"), "missing"),
    ("agents.train", ("--nothing",), "unrecognized"),
    ("agents.train", ("--config", ""), "expected"),
    ("agents.train", ("--resume", ""), "expected"),
    ("agents.train", ("--config", "DEEP.json"), "expected a JSON file"),
    ("agents.tune", ("--trials", "0"), "trials"),
    ("agents.tune", ("--store", "missing", "--trials", "1"), "missing"),
    ("agents.tune", ("--log-dir", "OUT/a?b", "--trials", "1"), "question mark"),
    ("agents.tune", ("--trials", "x"), "trials"),
    ("agents.tune", ("--seed", "-1"), "seed"),
    ("agents.benchmark", (), "--policy or --program"),
    ("agents.benchmark", ("--policy", "missing.zip"), "missing.zip"),
    ("agents.benchmark", ("--policy", ""), ""),
    ("agents.benchmark", ("--program", "missing.py"), "missing.py"),
    ("agents.benchmark", ("--policy", "x", "--seeds", "9" * 20), "seeds"),
    *(
        ("agents.explorer.__main__", ("--stores", "STORE", "--out", "OUT/run", f"--{name}", value), name)
        for name, values in {
            "seeds": ("0", "-1", HUGE, 99999999999),
            "rounds": ("-1", "9" * 20),
            "betas": ("1",),
            "resamples": ("1", HUGE),
            "variants": ("-1", HUGE),
            "proposals": ("0", HUGE),
            "minutes": ("nan", "inf", "-1"),
            "seed": ("-1",),
            "workers": ("0",),
            "proposer": ("", "x", LONG, "\x1b[31m"),
        }.items()
        for value in values
    ),
    ("agents.explorer.__main__", ("--resume", "missing"), "missing"),
    ("agents.explorer.__main__", ("--resume",), "--resume"),
    ("agents.explorer.__main__", ("--nothing",), "unrecognized"),
    ("agents.explorer.__main__", ("--stores", "missing", "--out", "OUT/run"), "missing"),
]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a store, a file that is none, and folders."""
    synthesize(2, 2).save(tmp_path / "STORE.h5")
    (tmp_path / "SOURCE").write_text("[]")
    (tmp_path / "DEEP.json").write_text("[" * 100_000)
    (tmp_path / "OUT").mkdir()
    (tmp_path / "FOLDER.h5").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT)
    return tmp_path


def words(arguments: tuple[object, ...]) -> list[str]:
    named = {"STORE": "STORE.h5", "PROGRAM": str(ROOT / "agents" / "programs" / "sc.py")}
    return [named.get(str(word), str(word)) for word in arguments]


def outcome(command: object, arguments: list[str]) -> object:
    try:
        return command(arguments)  # type: ignore[operator]
    except SystemExit as end:
        return end.code


def assert_refused(code: object, printed: tuple[str, str], said: str, place: Path) -> None:
    output, errors = printed
    assert code == 2, errors
    assert output == ""
    assert errors.endswith("\n")
    assert errors[:-1].isprintable(), errors
    assert said in errors
    assert len(errors) < 1500
    assert sorted(path.name for path in place.iterdir()) == ["DEEP.json", "FOLDER.h5", "OUT", "SOURCE", "STORE.h5"]
    assert list((place / "OUT").iterdir()) == []


def names(case: object) -> str:
    return " ".join(map(str, case))[:60].encode("unicode_escape").decode() if isinstance(case, tuple) else ""


@pytest.mark.parametrize(("arguments", "said"), CASES, ids=names)
def test_what_is_not_possible_is_one_line_and_exit_code_2(
    arguments: tuple[object, ...], said: str, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = outcome(main, words(arguments))
    assert_refused(code, capfd.readouterr(), said, place)


@pytest.mark.skipif(not AGENTS_EXTRA, reason="needs the extra autotts_gym[agents]")
@pytest.mark.parametrize(("module", "arguments", "said"), AGENTS, ids=names)
def test_what_is_not_possible_for_agents_is_one_line_and_exit_code_2(
    module: str, arguments: tuple[object, ...], said: str, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = importlib.import_module(module).main
    capfd.readouterr()
    code = outcome(command, words(arguments))
    assert_refused(code, capfd.readouterr(), said, place)
