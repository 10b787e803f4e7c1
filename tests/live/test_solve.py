"""One question, answered live: by the call and by the command line; recordings; the loop behind both."""

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from scripted import SUFFIX, serving
from written import Written, random_store, source_of

from autotts_gym import evaluate, make_controller
from autotts_gym.cli.main import main
from autotts_gym.collection.journal import JournalError
from autotts_gym.errors import AutottsError
from autotts_gym.live import LiveSource, Recording, solve, solve_async
from autotts_gym.live.background import Background
from autotts_gym.models import Patience

CONTROLLERS = [
    ("sc", {"branches": 6}),
    ("asc", {}),
    ("parallel_probe", {"beta": 0.5}),
    ("cmc", {"beta": 0.5}),
    ("doubling", {"beta": 0.5}),
]


@pytest.mark.parametrize("kind", ["llama.cpp", "vllm", "openai"])
def test_a_question_is_answered(kind):
    with serving(kind=kind) as server:
        solution = solve(
            "How many?",
            server.address,
            "parallel_probe",
            knobs={"beta": 0.3},
            interval=120,
            max_tokens=300,
            max_branches=4,
        )
    assert solution.answer == dict(solution.votes).keys().__iter__().__next__()
    assert f"\\boxed{{{solution.answer}}}" in solution.text
    assert solution.finished
    assert solution.branches == 4
    assert solution.usage.branch_tokens - solution.usage.vain_tokens == solution.total_tokens
    assert solution.sc_tokens() > 0
    assert solution.trace.rounds[-1].ledger.total_tokens == solution.total_tokens


@pytest.mark.parametrize("kind", ["llama.cpp", "vllm", "openai"])
def test_branches_are_probed_between_chunks(kind):
    """The scripted model begins its branch anew at each chunk, so that none ends: all end at the limit."""
    with serving(kind=kind) as server:
        options = {"interval": 20, "max_tokens": 70, "max_branches": 2}
        solution = solve("How many?", server.address, "parallel_probe", knobs={"beta": 0.0}, **options)
    assert solution.usage.probes == 2 * 3
    assert solution.total_tokens == 2 * 70
    asked = [body["prompt"] for body in server.asked]
    texts = [each if isinstance(each, str) else "".join(map(chr, each)) for each in asked]
    mine = [text for text in texts if text.startswith("How many?Perhaps")]
    assert {len(text.removesuffix(SUFFIX)) for text in mine} == {9 + 20, 9 + 40, 9 + 60}


def test_it_works_inside_a_running_loop():
    async def work():
        store = random_store(1, questions=1, pool=3)
        with source_of(store) as source:
            return await solve_async("q0", source=source, controller="sc", knobs={"branches": 3}, max_branches=3)

    assert asyncio.run(work()).branches == 3


def test_a_deadline_gives_the_best_answer_so_far():
    store = random_store(2, questions=1, pool=4, longest=4000, interval=20)
    endpoint = Written(store, delay=0.002)
    with source_of(store, endpoint) as source:
        began = time.monotonic()
        solution = solve(
            "q0", source=source, controller="sc", knobs={"branches": 4}, max_branches=4, deadline=0.7, seed=0
        )
        assert time.monotonic() - began < 5
        assert solution.stop_reason == "deadline"
        assert endpoint.open == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"question": " "}, "question: expected a text"),
        ({"deadline": 0}, "deadline: expected"),
        ({"deadline": float("nan")}, "deadline: expected"),
        ({"endpoint": "nowhere"}, "endpoint: expected"),
        ({"controller": "none"}, "controller: expected one of"),
        ({"max_branches": 0}, "max_branches"),
        ({"flavour": 1}, "expected no option 'flavour'"),
        ({"interval": 0}, "interval"),
        ({"extractor": "none"}, "extractor"),
        ({"concurrency": 0}, "concurrency"),
        ({"token_unit": 0}, "token_unit"),
    ],
)
def test_bad_use_is_said(arguments, message):
    with pytest.raises(AutottsError, match=message):
        solve(**{"question": "q", "endpoint": "http://127.0.0.1:9/v1", "patience": Patience(retries=0), **arguments})


@pytest.mark.parametrize(("name", "knobs"), CONTROLLERS)
@pytest.mark.parametrize("ahead", [False, True])
def test_a_recording_is_replayed_exactly(name, knobs, ahead, tmp_path):
    store = random_store(3, questions=20, pool=12, longest=60)
    controller = make_controller(name, **knobs)
    path = tmp_path / "episodes.journal"
    with source_of(store, record=path, ahead=ahead, side_by_side=7) as source:
        result = evaluate(controller, source, seeds=range(5), max_branches=12, answers=True)
        assert len(source.outcomes) == 100
    recorded, again = Recording(path).replay(controller)
    assert [outcome.answer for outcome in recorded] == again["answers"].tolist()
    for key in ("correct", "total_tokens", "sequential_tokens", "branches_opened", "branches_pruned"):
        assert [outcome.counts[key] for outcome in recorded] == again[key].tolist()
        assert getattr(result, key).reshape(-1).tolist() == again[key].tolist()
    with pytest.raises(JournalError, match="expected episodes of esc"):
        Recording(path).replay(make_controller("esc", beta=0.5))


def test_a_recording_is_of_one_model_and_one_set_of_questions(tmp_path):
    path = tmp_path / "episodes.journal"
    controller = make_controller("sc", branches=2)
    for seed, good in ((4, True), (4, True), (5, False)):
        store = random_store(seed, questions=2, pool=3)
        with source_of(store, record=path, benchmark=f"b{seed}") as source:
            if good:
                evaluate(controller, source, seeds=[0], max_branches=3)
            else:
                with pytest.raises(JournalError, match="benchmark"):
                    evaluate(controller, source, seeds=[0], max_branches=3)
    assert len(Recording(path).outcomes) == 4
    other = tmp_path / "quiz.journal"
    with serving() as server:
        quiz = tmp_path / "quiz.jsonl"
        quiz.write_text(json.dumps({"question": "How many?"}) + "\n")
        words = ["sample", str(quiz), "--model", server.address, "--out", str(tmp_path), "--branches", "1"]
        assert main([*words, "--max-tokens", "50"]) == 0
        other = next(tmp_path.rglob("quiz.journal"))
    with pytest.raises(JournalError, match="expected a recording of live episodes"):
        Recording(other)


def test_an_interrupt_cancels_what_is_running():
    background = Background()
    cancelled = threading.Event()

    async def forever():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    previous = signal.getsignal(signal.SIGALRM)
    signal.signal(signal.SIGALRM, lambda number, frame: (_ for _ in ()).throw(KeyboardInterrupt()))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            background.run(forever())
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert cancelled.wait(5)
    with pytest.raises(TimeoutError):
        background.run(forever(), 0.05)
    background.close()
    background.close()


def test_the_command(tmp_path, capsys):
    with serving() as server:
        words = ["solve", "How many?", "--model", server.address, "--controller", "cmc", "--beta", "0.3"]
        words += ["--interval", "120", "--max-tokens", "300", "--max-branches", "4", "--text"]
        words += ["--jsonl", str(tmp_path / "t.jsonl"), "--picture", str(tmp_path / "t.png")]
        assert main(words) == 0
    out = capsys.readouterr().out
    assert "answer: 4" in out
    assert "SC@64 would take about" in out
    assert "\\boxed{" in out
    lines = (tmp_path / "t.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["event"] == "end"
    assert (tmp_path / "t.png").stat().st_size > 1000


def test_the_command_refuses_bad_use(capsys):
    for words, message in (
        ([" "], "QUESTION: expected a text"),
        (["q", "--controller", "none"], "controller: expected one of"),
    ):
        arguments = ["solve", words[0], "--model", "tiny", "--controller", "cmc", *words[1:]]
        assert main(arguments) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main(["solve", "q", "--model", "tiny", "--controller", "cmc", "--deadline", "soon"])
    assert caught.value.code == 2


def test_ctrl_c_ends_the_command():
    with serving(delay=0.2) as server:
        words = [
            "solve",
            "q",
            "--model",
            server.address,
            "--controller",
            "sc",
            "--max-tokens",
            "400",
            "--interval",
            "8",
        ]
        process = subprocess.Popen(
            [sys.executable, "-m", "autotts_gym.cli.main", *words], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while not server.running and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=30)[1].decode()
        assert process.returncode == 130
        assert "Traceback" not in errors
        deadline = time.monotonic() + 5
        while server.running:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_the_slots_of_a_real_server_are_free_after_an_episode():
    pytest.importorskip("xllamacpp", reason="needs xllamacpp, the real llama.cpp server (extra local)")
    with LiveSource("tiny", limit=2, ahead=True) as source:
        result = evaluate(make_controller("parallel_probe", beta=0.2), source, seeds=[0], max_branches=4, answers=True)
        assert [bool(answer) for answer in result.answers[0]] == [True, True]
        assert (result.total_tokens >= result.sequential_tokens).all()
        usages = [outcome.usage for outcome in source.outcomes]
        used = [each.branch_tokens - each.vain_tokens for each in usages]
        assert used == result.total_tokens[0].tolist()
        assert np.all([each.cached_tokens > 0.5 * each.prompt_tokens for each in usages])
        deadline = time.monotonic() + 3
        endpoint = source.served().endpoint
        while any(slot["is_processing"] for slot in source.background.run(endpoint._connection.get("/slots"))):
            assert time.monotonic() < deadline
            time.sleep(0.05)
