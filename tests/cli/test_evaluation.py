import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import pytest
from rich.console import Console

from autotts_gym.cli.screen import Fitted, one_line
from autotts_gym.controllers import make_controller
from autotts_gym.evaluation import Frontier, evaluate
from autotts_gym.evaluation.results import mean_accuracy
from autotts_gym.evaluation.tables import Column, Table
from autotts_gym.replay import Branch, Question, build_store, synthesize

KINDS = ("png", "svg", "pdf")
FILES = [
    "results.json", "results.csv", "comparison.md", "comparison.csv", "statistics.md", "statistics.csv",
    *(f"{name}.{kind}" for name in ("frontier", "frontier_stores", "frontier_sequential") for kind in KINDS),
]  # fmt: skip


def autotts(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the command as a user does."""
    command = [sys.executable, "-W", "error", "-m", "autotts_gym.cli.main", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


def answered(*arguments: object) -> str:
    """Runs the command, checks that it succeeds without a word on stderr, and returns what it printed."""
    done = autotts(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def refused(*arguments: object) -> str:
    """Runs the command, checks that it ends as bad use does, and returns its one line."""
    done = autotts(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two stores on disk, the second with pools of 1 to 4 branches."""
    folder = tmp_path_factory.mktemp("stores")
    even = synthesize(5, 10, seed=1, model="even", benchmark="x")
    branches = [Branch(["1", "2"], 900, "2"), Branch([None], 400, "1"), Branch(["2"] * 3, 1500, "2")]
    ragged = build_store(
        [Question(f"q{i}", "2", (branches * 2)[i : 2 * i + 1]) for i in range(4)],
        model="ragged",
        benchmark="y",
        interval_tokens=500,
    )
    return [store.save(folder / f"{store.model}.h5") for store in (even, ragged)]


def test_evaluate_prints_every_store_and_the_mean(paths):
    text = answered("evaluate", *paths, "--controller", "cmc", "--beta", 0.2, "--seeds", 4)
    title, _, _, header, _, *rows, _, said = text.splitlines()
    assert title == "cmc(beta=0.2), exact accounting, 4 seeds, 64 branch slots"
    assert header.split("  ")[0].strip() == "store"
    results = [evaluate(make_controller("cmc", beta=0.2), path, seeds=range(4)) for path in paths]
    expected = [
        (r.accuracy, r.mean_tokens, r.mean_sequential_tokens, r.branches_opened.mean(), r.branches_pruned.mean())
        for r in results
    ]
    expected.append(tuple(sum(column) / 2 for column in zip(*expected, strict=True)))
    for row, name, values in zip(rows, ("even/x", "ragged/y", "mean"), expected, strict=True):
        accuracy, total, sequential, opened, pruned = values
        some = [result for result in results if name in ("mean", result.store)]
        interval = mean_accuracy(some)
        assert interval.estimate == pytest.approx(accuracy)
        assert interval.low < accuracy < interval.high
        assert row.split() == [
            name, f"{100 * accuracy:.1f}", f"[{100 * interval.low:.1f},", f"{100 * interval.high:.1f}]",
            f"{total:,.0f}", f"{sequential:,.0f}", f"{opened:.1f}", f"{pruned:.1f}"
        ]  # fmt: skip
    assert said == (
        "[ ]: 95% bootstrap intervals over questions, each averaged over the seeds. "
        "Synthetic, no language model's results: even/x."
    )


def test_evaluate_pairs_stores_over_their_questions(tmp_path):
    stores = [synthesize(8, 10, seed=i, model=f"m{i}", benchmark="same") for i in range(2)]
    paths = [store.save(tmp_path / f"{store.model}.h5") for store in stores]
    text = answered("evaluate", *paths, "--controller", "sc", "--param", "branches=5", "--seeds", 3)
    assert "in that of the mean, stores of one benchmark share the drawn questions" in " ".join(text.split())
    results = [evaluate(make_controller("sc", branches=5), store, seeds=range(3)) for store in stores]
    interval = Frontier.from_results("sc", results).point_intervals()[0][0]
    assert f"[{100 * interval.low:.1f}, {100 * interval.high:.1f}]" in text.split("mean ")[1].splitlines()[0]
    records = json.loads(
        answered("evaluate", *paths, "--controller", "sc", "--param", "branches=5", "--seeds", 3, "--json")
    )
    for record, result in zip(records, results, strict=True):
        own = mean_accuracy([result])
        assert (record["accuracy_low"], record["accuracy_high"]) == (own.low, own.high)
        assert record["synthetic"] is True


def test_evaluate_gives_json_equal_to_evaluate(paths):
    options = ("--accounting", "autotts", "--max-branches", 6, "--token-budget", 20_000, "--seeds", 5, "--workers", 2)
    knobs = ("--param", "branches=9", "--param", "criterion=majority", "--param", "threshold=0.7")
    records = json.loads(answered("evaluate", *paths, "--controller", "asc", *knobs, *options, "--json"))
    controller = make_controller("asc", branches=9, criterion="majority", threshold=0.7)
    for record, path in zip(records, paths, strict=True):
        result = evaluate(controller, path, seeds=range(5), accounting="autotts", max_branches=6, token_budget=20_000)
        assert record == result.summary()
        assert 0 <= record["accuracy"] <= 1
        assert result.total_tokens.max() <= 20_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("evaluate no/such --controller cmc", "no/such: expected a .h5 file or the name of a store"),
        ("evaluate {} --controller magic", "controller: expected one of answer_consistency, asc,"),
        ("evaluate {} --controller cmc --beta 1.5", "cmc: beta: expected a number in [0, 1], got 1.5"),
        ("evaluate {} --controller cmc --beta much", "invalid float value: 'much'"),
        ("evaluate {} --controller cmc --beta 0.5 --param beta=0.1", "cmc: expected every knob once"),
        ("evaluate {} --controller asc --beta 0.5 --param branches=3", "asc: expected knobs that beta leaves free"),
        ("evaluate {} --controller esc --beta 0.5 --param window=0", "esc: window: expected a whole number from 1"),
        ("evaluate {} --controller sc --param size=3", "sc: expected knobs branches=64, got size"),
        ("evaluate {} --controller sc --param branches", "expected NAME=VALUE, got 'branches'"),
        ("evaluate {} --controller sc --param branches=many", "expected a whole number from 1 to 2147483647, got 'man"),
        ("evaluate {} --controller sc --param branches=4294967297", "sc: branches: expected a whole number"),
        ("evaluate {} --controller sc --accounting generous", "invalid choice: 'generous'"),
        ("evaluate {} --controller sc --max-branches 0", "max_branches: expected a whole number from 1 to"),
        ("evaluate {} --controller sc --token-budget -1", "token_budget: expected a whole number from 1 to"),
        ("evaluate {} --controller sc --token-budget 99999999999", "expected a whole number up to 2147483647"),
        ("evaluate {} --controller sc --seeds 0", "seeds: expected at least one, got none"),
        ("evaluate {} --controller sc --workers 0", "workers: expected a whole number from 1 to 2147483647, got 0"),
        ("evaluate {}", "the following arguments are required: --controller"),
        ("trace {} --controller sc --question 5", "question: expected 0 to 4 in even/x, got 5"),
        ("trace {} --controller sc --question -1", "question: expected 0 to 4 in even/x, got -1"),
        ("trace {} --controller sc --question 0 --out {}", "cannot be written"),
        ("trace {} --controller sc --question 0 --picture x.gif", "expected a file name ending in .png or .svg"),
        ("benchmark {} --preset quick --out {}", "cannot be written to"),
        ("benchmark {} {} --preset quick", "stores: expected different names, got even/x more than once"),
        ("benchmark {} --preset quick --controller magic", "controller: expected one of"),
        ("benchmark {} --preset quick --resamples 0", "resamples: expected at least 1, got 0"),
        ("benchmark {} --preset huge", "invalid choice: 'huge'"),
    ],
)
def test_bad_use_is_one_line_and_exit_code_2(paths, arguments, message):
    assert message in refused(*arguments.replace("{}", str(paths[0])).split())


def test_benchmark_prints_tables_and_writes_files(paths, tmp_path):
    out = tmp_path / "out"
    options = ("--preset", "quick", "--controller", "sc", "--controller", "cmc", "--seeds", 2, "--resamples", 20)
    text = answered("benchmark", *paths, *options, "--out", out, "--workers", 2)
    assert "x: accuracy and total tokens, exact accounting, 2 seeds\n" in text
    assert "Mean: accuracy and total tokens, exact accounting, 2 seeds\n" in text
    assert "Frontiers along total tokens, 2 stores, exact accounting, 95% intervals over questions\n" in text
    assert "\n   beta=0.5 " in text
    assert "Synthetic, no language model's results: even/x\n" in text
    assert f"\n{out}: {', '.join(FILES)}\n" in text
    assert "\n CMC " in text
    assert "\n Self-consistency " in text
    assert sorted(os.listdir(out)) == sorted([*FILES, "tensorboard"])
    records = json.loads((out / "results.json").read_text())["results"]
    with (out / "results.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(records) == 2 * 6
    for record in records:
        path = paths[record["store"] != "even/x"]
        direct = evaluate(make_controller(record["controller"], **record["params"]), path, seeds=range(2))
        assert direct.summary() == record
    for name in FILES:
        if name.endswith(".png"):
            assert matplotlib.image.imread(out / name).std() > 0.05


def test_benchmark_without_arguments_takes_the_store_that_ships_and_writes_nothing(tmp_path):
    command = ("benchmark", "--seeds", 1, "--resamples", 10, "--preset", "quick", "--accounting", "autotts")
    done = autotts(*command, "--workers", 1, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Accuracy and total tokens, tiny/search, autotts accounting" in done.stdout
    assert os.listdir(tmp_path) == []


def test_trace_shows_every_round_the_end_and_the_picture_and_writes_both(paths, tmp_path):
    out = tmp_path / "new" / "out"
    asked = ("trace", paths[1], "--controller", "parallel_probe", "--param", "branches=3", "--question", 3, "--seed", 2)
    text = answered(*asked, "--out", out)
    *rounds, end = [json.loads(line) for line in (out / "trace.jsonl").read_text().splitlines()]
    lines = text.splitlines()
    assert "parallel_probe(branches=3," in lines[0]
    assert "ragged/y, question 3, seed 2, exact accounting" in lines[0]
    assert [line.split()[0] for line in lines if "deepen" in line] == [
        str(each["round"]) for each in rounds if each["plan"]["deepen"]
    ]
    assert "open 0-2" in text
    verdict = "right" if end["correct"] else "wrong"
    assert f"answer {end['answer']}: {verdict} (stop); {end['total_tokens']:,} tokens" in text
    assert "\x1b" not in text
    assert "ragged/y · question 3" in text
    assert sum(each["ledger"]["tokens"] for each in rounds) == end["total_tokens"]
    assert matplotlib.image.imread(out / "trace.png").std() > 0.05
    assert "<svg" in (out / "trace.svg").read_text()
    assert (out / "trace.pdf").read_bytes().startswith(b"%PDF-")
    direct = evaluate(make_controller("parallel_probe", branches=3), paths[1], seeds=[2])
    assert direct.total_tokens[0, 3] == end["total_tokens"]
    picture, trace = tmp_path / "p.svg", tmp_path / "t.jsonl"
    answered(*asked, "--picture", picture, "--jsonl", trace)
    assert trace.read_bytes() == (out / "trace.jsonl").read_bytes()
    assert picture.read_bytes() == (out / "trace.svg").read_bytes()


def test_trace_keeps_the_rules(paths):
    text = answered(
        "trace", paths[0], "--controller", "sc", "--question", 0, "--token-budget", 3_000, "--max-branches", 2,
        "--accounting", "autotts",
    )  # fmt: skip
    assert "3,000 tokens" in text
    assert "autotts accounting" in text
    assert "0 of 3,000 left" in text


def test_a_models_answer_cannot_steer_the_terminal(tmp_path):
    answer = "\x1b[31m[bold]4\n2[/bold]"
    question = Question("q", answer, [Branch([answer], 600, answer)])
    store = build_store([question], model="m", benchmark="b", interval_tokens=500)
    text = answered("trace", store.save(tmp_path / "s.h5"), "--controller", "sc", "--question", 0)
    assert "\x1b" not in text
    assert "answer □[31m[bold]4 2[/bold]: right" in text
    assert one_line(answer, 6) == "□[31m…"


def test_a_table_too_wide_for_the_terminal_is_shared_out_over_several():
    columns = (
        Column("family", ()),
        Column("setting", ("setting",)),
        *(
            column
            for name in ("one", "two", "three")
            for column in (
                Column(f"{name}:accuracy", (f"model-{name}", "acc %"), str),
                Column(f"{name}:tokens", (f"model-{name}", "tokens k"), str),
            )
        ),
        Column("saving", ("saved %",), str),
    )
    rows = (("sc", "sc(branches=64)", *range(7)), ("cmc", "cmc(beta=0.0)", *range(7)), ("one", "one()", *range(7)))
    table = Table("Everything", columns, rows)

    def drawn(width: int) -> list[str]:
        console = Console(file=io.StringIO(), width=width)
        console.print(Fitted(table))
        return console.file.getvalue().splitlines()  # type: ignore[attr-defined]

    natural = max(map(len, drawn(200)))
    for width, parts in ((natural, 1), (natural - 1, 2), (46, 2), (32, 4)):
        lines = drawn(width)
        assert max(map(len, lines)) <= width
        text = "\n".join(lines)
        assert text.count("Everything") == 1
        assert [text.count(f"model-{name}") for name in ("one", "two", "three")] == [1, 1, 1]
        assert text.count("branches=64") == text.count("beta=0.0") == text.count("setting") == parts
    assert [line.split() for line in drawn(200) if "beta" in line] == [["beta=0.0", *map(str, range(7))]]


def test_progress_is_shown_to_a_person_only(paths):
    pty = pytest.importorskip("pty")
    parent, child = pty.openpty()
    arguments = ["evaluate", str(paths[0]), "--controller", "sc", "--json"]
    command = [sys.executable, "-m", "autotts_gym.cli.main", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=child, text=True, timeout=60)
    os.close(child)
    shown = os.read(parent, 100_000).decode()
    os.close(parent)
    assert done.returncode == 0
    assert "evaluating" in shown
    assert len(json.loads(done.stdout)) == 1


@pytest.mark.parametrize("command", ["evaluate", "benchmark", "trace"])
def test_help_says_how(command):
    assert answered(command, "--help").startswith(f"usage: autotts {command}")


def test_the_command_line_imports_nothing_heavy_before_it_knows_the_command():
    code = (
        "import sys, autotts_gym.cli.main as m\nassert not {'numba', 'h5py', 'matplotlib', 'rich'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_benchmark_writes_budget_curves_that_tensorboard_reads(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "out"
    lines = answered("benchmark", "--preset", "quick", "--seeds", "2", "--workers", "1", "--out", out)
    assert f"tensorboard --logdir {out / 'tensorboard'} shows the budget curves" in " ".join(lines.split())
    log = EventAccumulator(str(out / "tensorboard" / "CMC"))
    log.Reload()
    points = log.Scalars("budget/accuracy")
    records = json.loads((out / "results.json").read_text())["results"]
    expected = {round(each["mean_tokens"]): each["accuracy"] for each in records if each["controller"] == "cmc"}
    assert {point.step: pytest.approx(point.value) for point in points} == expected
