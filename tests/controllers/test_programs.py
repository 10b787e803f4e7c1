"""Programs as controllers: the same episodes as the built-in ones, whichever episodes share a process."""

import json
import pickle
from pathlib import Path

import numpy as np
import published_style
import pytest

from autotts_gym import EvaluationResult, ReplayStore, evaluate, make_controller, synthesize
from autotts_gym.cli.main import main
from autotts_gym.controllers import Controller
from autotts_gym.controllers.programs import Program
from autotts_gym.engine import Bank, PoolState, Rules
from autotts_gym.errors import ControllerError, ProgramError
from autotts_gym.evaluation import evaluate_all, play
from autotts_gym.evaluation.trace import trace
from autotts_gym.sandbox import Sandbox, audit, check_program

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAMS = ROOT / "agents" / "programs"
PUBLISHED = Path(__file__).with_name("published_cmc.py")
FIELDS = ("correct", "total_tokens", "sequential_tokens", "branches_opened", "branches_pruned", "answers")

SCHEDULE = '"""A test."""\n\n\ndef schedule(beta):\n    return {"n": 1 + round(4 * beta)}\n\n\n'


SOLVES = "    def solve(self, question): pass\n"


@pytest.fixture(scope="module")
def store() -> ReplayStore:
    return synthesize(6, 70, seed=5)


def same(one: EvaluationResult, other: EvaluationResult, fields: tuple[str, ...] = FIELDS) -> None:
    for name in fields:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)


def written(folder: Path, body: str, head: str = SCHEDULE) -> Path:
    path = folder / "written.py"
    path.write_text(head + body)
    return path


@pytest.mark.parametrize("accounting", ["exact", "autotts"])
@pytest.mark.parametrize("name", ["sc", "asc", "parallel_probe", "cmc"])
def test_an_example_program_plays_the_episodes_of_its_built_in_twin(store: ReplayStore, name: str, accounting: str):
    for beta in (0.0, 0.5, 1.0):
        program, twin = make_controller(PROGRAMS / f"{name}.py", beta=beta), make_controller(name, beta=beta)
        results = [
            evaluate(each, store, seeds=range(4), accounting=accounting, answers=True) for each in (program, twin)
        ]
        same(*results)
        assert results[0].controller == f"{name}.py"
        assert results[0].params == {"beta": beta}


@pytest.mark.parametrize("path", sorted(PROGRAMS.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_program_passes_the_checks(path: Path):
    checked = check_program(path)
    assert checked.schedule
    assert len(checked.betas) == 21
    assert all(len(values) == 21 for values in checked.schedule.values())


def test_a_published_controller_runs_unmodified_and_plays_the_same_episodes(store: ReplayStore):
    for beta in (0.0, 0.6):
        published, twin = make_controller(PUBLISHED, beta=beta), make_controller("cmc", beta=beta)
        results = [
            evaluate(each, store, seeds=range(3), accounting="autotts", answers=True) for each in (published, twin)
        ]
        same(*results, tuple(name for name in FIELDS if name not in ("sequential_tokens", "branches_pruned")))
    assert check_program(PUBLISHED).schedule == {}


def test_a_published_controller_gives_the_published_results(replay_root: Path, reference_root: Path):
    store = ReplayStore.from_autotts_json(replay_root / "Qwen3-4B" / "aime24.json.gz")
    with np.load(reference_root / "Qwen3-4B_aime24.npz") as reference:
        (entry,) = (e for e in json.loads(str(reference["meta"])) if e["params"] == {"beta": 0.2})
        result = evaluate(make_controller(PUBLISHED, beta=0.2), store, seeds=range(10), accounting="autotts")
        for name, values in (
            ("correct", result.correct),
            ("tokens", result.total_tokens),
            ("opened", result.branches_opened),
        ):
            np.testing.assert_array_equal(values, reference[f"{name}_{entry['index']}"][:10], name)


def test_programs_give_the_published_results(replay_root: Path, reference_root: Path):
    store = ReplayStore.from_autotts_json(replay_root / "Qwen3-8B" / "aime24.json.gz")
    with np.load(reference_root / "Qwen3-8B_aime24.npz") as reference:
        for entry in json.loads(str(reference["meta"])):
            if entry["controller"] == "cmc" and entry["params"]["beta"] in (0.0, 0.5):
                program = make_controller(PROGRAMS / "cmc.py", **entry["params"])
                result = evaluate(program, store, seeds=range(20), accounting="autotts")
                np.testing.assert_array_equal(result.correct, reference[f"correct_{entry['index']}"][:20])
                np.testing.assert_array_equal(result.total_tokens, reference[f"tokens_{entry['index']}"][:20])


def test_a_published_controller_is_shown_where_the_branches_end(tmp_path: Path):
    body = """
    def solve(self, question):
        answers = {question.get_new_branch_final_answer()}
        answer, index, finished = question.probe_new()
        while not finished:
            answer, finished = question.probe_more(index)
        again, still = question.probe_more(index)
        assert (again, still) == (answer, True)
        try:
            question.probe_new()
        except IndexError:
            return answer
"""
    path = written(
        tmp_path, f"class Mine:\n    def __init__(self, config):\n        self.beta = config['beta']\n{body}", ""
    )
    result = evaluate(make_controller(path), synthesize(2, 2), seeds=range(3), answers=True)
    assert (result.branches_opened == 2).all()
    assert all(answer is not None for answer in result.answers.reshape(-1))


def test_any_number_of_workers_and_any_batches_give_the_same_bits(store: ReplayStore, monkeypatch: pytest.MonkeyPatch):
    controllers = [make_controller(PROGRAMS / "cmc.py", beta=beta) for beta in (0.1, 0.4)]
    one = evaluate_all(controllers, [store], seeds=range(6), answers=True)
    for each in zip(one, evaluate_all(controllers, [store], seeds=range(6), answers=True, workers=2), strict=True):
        same(*each)
    monkeypatch.setattr(Program, "chunk", lambda self, questions: 5)
    for each in zip(one, evaluate_all(controllers, [store], seeds=range(6), answers=True), strict=True):
        same(*each)


def test_a_program_is_a_controller_that_survives_pickling_and_keeps_its_text(tmp_path: Path):
    path = written(tmp_path, "def solve(session, beta):\n    session.open()\n")
    program = make_controller(path, beta=0.3)
    assert isinstance(program, Controller)
    assert (program.name, program.params) == ("written", {"beta": 0.3})
    path.unlink()
    twin = pickle.loads(pickle.dumps(program))
    assert twin == program
    assert hash(twin) == hash(program)
    assert twin != Program(PROGRAMS / "sc.py", 0.3)
    assert (evaluate(twin, synthesize(2, 4), seeds=range(2)).total_tokens == 500).all()


def test_a_question_of_a_benchmark_is_the_same_whichever_model_answered_it():
    whole, other = synthesize(4, 4), synthesize(4, 4, model="other")
    bank = Bank([whole.select([0, 2, 3]), other.select([2, 1]), synthesize(1, 4, benchmark="other")])
    assert bank.num_problems == 5
    assert bank.problems.tolist() == [0, 1, 2, 1, 3, 4]


def test_many_reveals_at_once_are_those_of_the_history(store: ReplayStore):
    state = PoolState(Bank([store]), 6, Rules())
    state.begin(questions=np.arange(6))
    play(make_controller("cmc", beta=0.3), state)
    rng = np.random.default_rng(0)
    rows = np.sort(rng.integers(0, 6, 40))
    slots = rng.integers(0, state.pools["opened"][rows])
    starts = rng.integers(0, state.slots["depth"][rows, slots] + 1)
    expected = [state.history(n, i)[k:] for n, i, k in zip(rows, slots, starts, strict=True)]
    assert state.reveals(rows, slots, starts).tolist() == np.concatenate(expected).tolist()
    with pytest.raises(ValueError, match="starts: expected depths"):
        state.reveals(rows, slots, starts + 1000)


CARRIED = """
import heapq, operator


def solve(session, beta):
    kept = operator.attrgetter("_" * 2 + "dict" + "_" * 2)(heapq).setdefault("kept", [])
    kept.append(1)
    for _ in range(len(kept)):
        session.open()
"""

PLACES = """
def solve(session, beta):
    for _ in range(1 + id(session) // 64 % 7):
        session.open()
"""


@pytest.mark.parametrize("body", [CARRIED, PLACES], ids=["a list kept in a module", "places in memory"])
def test_what_depends_on_other_episodes_is_found_out(tmp_path: Path, store: ReplayStore, body: str):
    path = written(tmp_path, body)
    with pytest.raises(ProgramError, match=r"nondeterminism: .* differs when played again") as caught:
        evaluate(Program(path, 0.5, Sandbox(audit_share=1.0)), store, seeds=range(10))
    assert caught.value.kind == "nondeterminism"
    unaudited = Program(path, 0.5, Sandbox(audit_share=0.0))
    result = evaluate(unaudited, store, seeds=range(10))
    with pytest.raises(ProgramError, match="nondeterminism"):
        audit(unaudited, store, result, episodes=60)


def test_an_audit_of_an_honest_program_passes(store: ReplayStore):
    program = make_controller(PROGRAMS / "asc.py", beta=0.5)
    result = evaluate(program, store, seeds=range(3), answers=True)
    assert audit(program, store, result) == 18
    assert audit(program, store, result, episodes=12, seed=3) == 12


def test_chance_is_the_same_in_every_process(tmp_path: Path, store: ReplayStore):
    body = (
        "import random\nfrom random import randint\n\n\ndef solve(session, beta):\n"
        "    for _ in range(randint(1, 5)):\n        session.open()\n        session.answers\n"
        "        session.deepen(random.choice(range(session.opened)))\n"
    )
    result = evaluate(Program(written(tmp_path, body), 0.5, Sandbox(audit_share=1.0)), store, seeds=range(4))
    assert len(set(result.branches_opened.reshape(-1).tolist())) == 1


@pytest.mark.parametrize(
    ("text", "kind", "message", "line"),
    [
        ("def schedule(beta):\n    return {'n': beta}\n", "static", r"expected functions .*, found no solve", None),
        ("x = 1\n", "static", "expected functions .*, found no schedule and no solve", None),
        (
            "def schedule(b, c):\n    pass\ndef solve(session, beta):\n    pass\n",
            "static",
            "expected schedule.beta.",
            1,
        ),
        (
            "def schedule(beta):\n    return {'n': beta}\ndef solve(session, beta):\n    pass\n",
            "static",
            "expected a docstring that says what it does",
            1,
        ),
        ("from .base import Controller\n", "static", "may not import from a package of its own", 1),
        ("import pandas\n", "static", "may not import pandas; expected one of", 1),
        ("from math import __loader__\n", "static", "may not import __loader__", 1),
        ("x = __builtins__\n", "static", "may not use __builtins__", 1),
        ("def f(:\n", "static", "cannot be parsed: invalid syntax", 1),
        ("x = '\0'\n", "static", "cannot be parsed: ", None),
        ("(" * 5000 + ")" * 5000, "static", "cannot be parsed: ", None),
        ("#" * 300_000, "static", "expected at most 262144 bytes", None),
    ],
    ids=str,
)
def test_a_wrong_text_is_refused_before_anything_runs(
    tmp_path: Path, text: str, kind: str, message: str, line: int | None
):
    path = written(tmp_path, text, "")
    with pytest.raises(ProgramError, match=message) as caught:
        make_controller(path)
    assert (caught.value.kind, caught.value.line) == (kind, line) or line is None
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("schedule", "kind", "message"),
    [
        ("return {}", "schedule", "expected from 1 to 200 numbers, got 0"),
        ("return [1]", "schedule", "expected schedule to return a dict, got a list"),
        ("return {'n': '1'}", "schedule", "expected numbers by name, got 'n': a str"),
        ("return {1: 1}", "schedule", "expected numbers by name, got 1: a int"),
        ("return {'n': float('nan') * beta}", "schedule", "n: expected a finite number at beta=0, got nan"),
        ("return {'n': 1e308 * 10 * beta}", "schedule", "n: expected a finite number at beta="),
        ("return {'n': 10**400}", "exception", "OverflowError"),
        (
            "return {'n': (beta - 0.5) ** 2}",
            "schedule",
            "n: expected a number monotone in beta, but it turns at beta=0.5",
        ),
        ("return {'n': 3}", "schedule", "expected at least one number to vary with beta"),
        (
            "return {'n': beta} if beta < 0.7 else {'m': beta}",
            "schedule",
            "expected the same names at every beta, but m, n",
        ),
        ("return {str(k): beta for k in range(300)}", "schedule", "expected from 1 to 200 numbers, got 300"),
        ("return 1 / 0", "exception", "ZeroDivisionError: division by zero"),
        ("while True: pass", "timeout", "expected to look or to end within 1 s"),
    ],
)
def test_a_wrong_schedule_is_refused(tmp_path: Path, schedule: str, kind: str, message: str):
    path = written(
        tmp_path, f"def schedule(beta):\n    {schedule}\n\n\ndef solve(session, beta):\n    pass\n", '"""A test."""\n'
    )
    with pytest.raises(ProgramError) as caught:
        check_program(path, sandbox=Sandbox(round_seconds=1))
    assert caught.value.kind == kind
    assert message in caught.value.message


def test_knobs_and_rules_are_checked():
    with pytest.raises(ControllerError, match="expected the knob beta, got branches"):
        make_controller(PROGRAMS / "sc.py", branches=3)
    with pytest.raises(ControllerError, match=r"sc\.py: beta: expected a number in \[0, 1\], got 2"):
        make_controller(PROGRAMS / "sc.py", beta=2)
    with pytest.raises(ProgramError, match=r"absent\.py: static: cannot be read: No such file"):
        make_controller("absent.py")
    program, store, rules = make_controller(PROGRAMS / "sc.py"), synthesize(2, 3), Rules(probe="explicit")
    with pytest.raises(ControllerError, match="expected rules with probe 'auto', got 'explicit'"):
        evaluate_all([program], [store], seeds=range(1), rules=rules)


def test_truncated_episodes_end_without_their_program(tmp_path: Path):
    path = written(
        tmp_path, "def solve(session, beta):\n    while True:\n        session.open()\n        session.answers\n"
    )
    store = synthesize(3, 8)
    (result,) = evaluate_all([make_controller(path)], [store], seeds=range(2), rules=Rules(max_steps=4))
    assert (result.branches_opened == 4).all()
    assert not result.correct.any()


def test_a_trace_of_a_program_is_that_of_its_twin(store: ReplayStore):
    traces = [trace(make_controller(name, beta=0.2), store, 1, 7) for name in (PROGRAMS / "cmc.py", "cmc")]
    ours, theirs = ([(each.ledger, each.revealed) for each in one.rounds if each.ledger.tokens] for one in traces)
    assert ours == theirs


def test_the_command_line_takes_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "small.h5"
    synthesize(3, 12, seed=2).save(file)
    program = str(PROGRAMS / "sc.py")
    assert main(["evaluate", str(file), "--controller", program, "--beta", "0.5", "--seeds", "3", "--json"]) == 0
    (ours,) = json.loads(capsys.readouterr().out)
    assert main(["evaluate", str(file), "--controller", "sc", "--beta", "0.5", "--seeds", "3", "--json"]) == 0
    (theirs,) = json.loads(capsys.readouterr().out)
    assert ours["mean_tokens"] == theirs["mean_tokens"]
    assert main(["trace", str(file), "--controller", program, "--question", "1"]) == 0
    capsys.readouterr()
    wrong = written(tmp_path, "def solve(session, beta):\n    1 / 0\n")
    for command in (["evaluate", str(file)], ["trace", str(file), "--question", "0"]):
        assert main([*command, "--controller", str(wrong)]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "exception: ZeroDivisionError: division by zero" in error


def test_a_benchmark_compares_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "small.h5"
    synthesize(3, 12, seed=2).save(file)
    command = ["benchmark", str(file), "--preset", "quick", "--seeds", "2", "--resamples", "20", "--workers", "1"]
    assert main([*command, "--controller", "sc", "--controller", str(PROGRAMS / "parallel_probe.py")]) == 0
    assert "parallel_probe" in capsys.readouterr().out


def test_a_program_may_use_packages_that_are_allowed(store: ReplayStore, tmp_path: Path):
    path = tmp_path / "counting.py"
    path.write_text(
        "import numpy as np\n\n\nclass OptimalController:\n    def __init__(self, config):\n        pass\n\n"
        "    def solve(self, question):\n"
        "        answers = [question.get_new_branch_final_answer() for _ in range(5)]\n"
        "        values, first, counts = np.unique(\n"
        "            [str(a) for a in answers], return_index=True, return_counts=True\n        )\n"
        "        best = max(range(len(values)), key=lambda k: (counts[k], -first[k]))\n"
        "        return answers[int(first[best])]\n"
    )
    program, twin = make_controller(path), make_controller("sc", branches=5)
    same(*(evaluate(each, store, seeds=range(2), answers=True) for each in (program, twin)), FIELDS[:2])
    with pytest.raises(ProgramError, match="may not import numpy"):
        make_controller(path, sandbox=Sandbox(packages=()))


def test_a_file_in_the_published_style_runs_as_it_is(store: ReplayStore, tmp_path: Path):
    path = published_style.write(tmp_path)
    assert path.read_text().count("\n") >= 1400
    checked = check_program(path)
    assert (checked.source.style, checked.source.packages) == ("published", ("numpy", "scipy"))
    assert checked.source.literals.warning is None
    cheap, dear = (evaluate(make_controller(path, beta=beta), store, seeds=range(2)) for beta in (0.0, 1.0))
    assert cheap.mean_tokens < dear.mean_tokens
    opened = dear.branches_opened
    assert 2 <= opened.min() < opened.max() <= 16


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"class A:\n{SOLVES}class B:\n{SOLVES}", "expected one class with solve"),
        ("class OptimalController:\n    pass\n", None),
        (f"class A:\n{SOLVES}class B(A):\n{SOLVES}OptimalController = B\n", None),
    ],
)
def test_the_controller_of_a_published_file_is_known_by_its_name(tmp_path: Path, text: str, message: str | None):
    path = written(tmp_path, text, "")
    if message is None:
        assert check_program(path).source.style == "published"
    else:
        with pytest.raises(ProgramError, match=message):
            check_program(path)
