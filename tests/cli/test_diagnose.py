import json
import shlex
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import pytest

from autotts_gym.cli.main import main
from autotts_gym.controllers import make_controller
from autotts_gym.engine import Rules
from autotts_gym.evaluation import diagnose
from autotts_gym.evaluation.diagnosis import LOSSES
from autotts_gym.replay import synthesize


def autotts(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs the command as a user does."""
    command = [sys.executable, "-W", "error", "-m", "autotts_gym.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def answered(*arguments: object) -> str:
    """Runs the command, checks that it succeeds without a word on stderr, and returns what it printed.

    The first command of all says that it compiles.
    """
    done = autotts(*arguments)
    said = [line for line in done.stderr.splitlines() if "compil" not in line]
    assert (done.returncode, said) == (0, [])
    return done.stdout


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("stores")
    stores = [synthesize(6, 12, seed=seed, model=name, benchmark="x") for seed, name in ((1, "one"), (2, "two"))]
    return [store.save(folder / f"{store.model}.h5") for store in stores]


def test_the_report_shows_tables_words_and_commands_that_show_the_episodes(paths: list[Path]) -> None:
    text = answered("diagnose", *paths, "--controller", "cmc", "--beta", 0.1, "--seeds", 5)
    lines = text.splitlines()
    assert lines[0] == "What went wrong: cmc(beta=0.1) on 2 stores, exact accounting, 5 seeds"
    assert "What hindsight could have made of the same episodes" in lines
    rows = [line.split()[0] for line in lines if line.startswith("   ")]
    assert [rows.count(name) for name in ("all", "one/x", "two/x")] == [2, 2, 2]
    found = diagnose(make_controller("cmc", beta=0.1), paths, seeds=range(5), examples=1)
    for name, meaning in LOSSES.items():
        at = lines.index(f"{name.replace('_', ' ')}: {meaning}")
        examples = found.overall.examples[name]
        assert lines[at + 1 : at + 1 + len(examples)] == [f"  {found.command(example)}" for example in examples]
    wrong = next(found.overall.examples[name][0] for name in ("outvoted", "never_opened", "lost_tie", "out_of_reach")
                 if found.overall.examples[name])  # fmt: skip
    shown = answered(*shlex.split(found.command(wrong))[1:])
    assert f"cmc(beta=0.1) on {wrong.store}, question {wrong.question}, seed {wrong.seed}" in shown
    assert ": wrong (stop);" in shown
    assert "By store and by difficulty" not in text
    more = answered("diagnose", *paths, "--controller", "cmc", "--beta", 0.1, "--seeds", 5, "--all-examples")
    listed = [line.split() for line in more[more.index("By store and by difficulty") :].splitlines()]
    for part in found.shown[1:]:
        for name, examples in part.examples.items():
            for each in examples:
                assert [part.name, *name.split("_"), each.store, str(each.question), str(each.seed)] in listed


@pytest.fixture(scope="module")
def long_names(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("long")
    names = (f"a-model-with-a-rather-long-name-{i}-{'x' * 20 * i}" for i in (1, 2))
    stores = [synthesize(6, 12, seed=1, model=name, benchmark="and-a-benchmark-with-one") for name in names]
    return [store.save(folder / f"{i}.h5") for i, store in enumerate(stores)]


@pytest.mark.parametrize("columns", [None, "100", "80", "60"])
@pytest.mark.parametrize("names", ["short", "long"])
def test_the_report_fits_the_terminal_and_drops_no_figure(
    paths: list[Path],
    long_names: list[Path],
    columns: str | None,
    names: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stores = paths if names == "short" else long_names
    monkeypatch.setattr("autotts_gym.cli.screen.columns", lambda: columns and int(columns))
    knobs = ("--controller", "cmc", "--beta", "0.1", "--seeds", "3", "--all-examples")
    assert main(["diagnose", *map(str, stores), *knobs]) == 0
    lines = capsys.readouterr().out.splitlines()
    commands = [line for line in lines if line.startswith("  autotts trace")]
    assert commands
    for line in lines:
        if columns is None:  # in a file or a pipe nothing is broken
            assert "--seed" in line or line not in commands
        else:
            width = int(columns)
            assert len(line) <= max(width, 4 + len(max(line.split(), key=len, default="")) + 2), line
    assert not [line for line in lines if "…" in line]
    found = diagnose(make_controller("cmc", beta=0.1), stores, seeds=range(3), examples=1)
    numbers = " ".join(lines).split()
    for part in found.shown:
        for value in (*part.causes.values(), *part.cause_tokens.values(), *part.waste.values(), *part.signs.values()):
            assert f"{100 * value:.1f}" in numbers


def test_a_long_command_is_pasted_as_it_is(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("autotts_gym.cli.screen.columns", lambda: 60)
    assert main(["diagnose", *map(str, paths), "--controller", "cmc", "--beta", "0.1", "--seeds", "3"]) == 0
    text = capsys.readouterr().out
    found = diagnose(make_controller("cmc", beta=0.1), paths, seeds=range(3), examples=1)
    assert " \\\n    --" in text
    joined = text.replace(" \\\n    ", " ")
    for examples in found.overall.examples.values():
        for example in examples:
            assert f"\n  {found.command(example)}\n" in joined


def test_json_and_prompt_are_those_of_diagnose(paths: list[Path], tmp_path: Path) -> None:
    knobs = ("--param", "branches=5", "--param", "threshold=0.7", "--param", "criterion=majority")
    held = ("--accounting", "autotts", "--max-branches", 8, "--token-budget", 30_000, "--seeds", 4)
    command = ("diagnose", *paths, "--controller", "asc", *knobs, *held)
    found = diagnose(
        make_controller("asc", branches=5, threshold=0.7, criterion="majority"),
        paths,
        seeds=range(4),
        rules=Rules(accounting="autotts", max_branches=8, token_budget=30_000),
        examples=2,
    )
    picture = tmp_path / "diagnosis.png"
    printed = json.loads(answered(*command, "--json", "--examples", 2, "--picture", picture))
    assert printed == json.loads(json.dumps(found.as_dict()))
    assert matplotlib.image.imread(picture).shape[0] > 300
    assert answered(*command, "--prompt") == found.prompt()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("no/such --controller cmc", "no/such: expected a .h5 file or the name of a store"),
        ("{} --controller magic", "controller: expected one of"),
        ("{} --controller cmc --seeds 0", "seeds: expected at least one, got none"),
        ("{} --controller cmc --examples 0", "examples: expected at least 1, got 0"),
        ("{} {} --controller cmc", "stores: expected different names, got one/x more than once"),
        ("{} --controller cmc --json --prompt", "not allowed with argument"),
        ("{} --controller cmc --seeds 1 --picture x.gif", "expected a file name ending in .png or .svg"),
        ("--controller cmc", "the following arguments are required: STORE"),
    ],
)
def test_bad_use_is_reported_in_one_line(paths: list[Path], arguments: str, message: str) -> None:
    done = autotts("diagnose", *(str(paths[0]) if word == "{}" else word for word in arguments.split()))
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_says_how() -> None:
    assert answered("diagnose", "--help").startswith("usage: autotts diagnose")
