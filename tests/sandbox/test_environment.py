"""What the machine does to an evaluation of a program: limits, deaths and stops end in one line and leave nothing."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_failures import descendants, gone
from writing import write

from autotts_gym import evaluate, synthesize
from autotts_gym.controllers.programs import Program
from autotts_gym.errors import ControllerError, ProgramError
from autotts_gym.replay import Branch, Question, ReplayStore, build_store
from autotts_gym.sandbox import Sandbox, check_program, close_fork_servers, processes

STORE = synthesize(3, 70, seed=1)
LIMITED = "for _ in range(4):\n    session.open()\n    session.answers\n"


@pytest.fixture(autouse=True)
def no_fork_servers() -> object:
    close_fork_servers()
    yield
    close_fork_servers()


def command(path: Path, prefix: str = "", seeds: int = 1) -> subprocess.CompletedProcess[str]:
    """The command line on a program, in a shell that has done something first."""
    run = f"{sys.executable} -m autotts_gym.cli.main evaluate synthetic/search --controller {path} --seeds {seeds}"
    return subprocess.run(
        ["bash", "-c", f"{prefix}\nexec {run}"], capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL
    )


def one_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2, done
    assert len(lines) == 1, done
    assert all(word in lines[0] for word in words), done


@pytest.mark.parametrize("which", ["outer", "inner"])
def test_a_fork_server_that_is_killed_is_one_clear_error_and_the_next_evaluation_works(
    tmp_path: Path, which: str
) -> None:
    path = write(tmp_path, "return None")
    before = descendants()
    check_program(path)
    (server,) = processes._fork_servers.values()
    victim = server._process.pid if which == "outer" else min(descendants(server._process.pid), default=0)
    if not victim:
        pytest.skip("the layer namespaces is missing on this machine: a fork server is one process")
    os.kill(victim, signal.SIGKILL)
    server._process.wait(10)  # the other one ends with it
    slow = write(tmp_path, "session.open()\nsession.answers", name="slow.py")
    assert check_program(slow).schedule  # it is started anew
    assert evaluate(Program(slow), STORE, seeds=range(2)).mean_tokens > 0
    close_fork_servers()
    assert gone(descendants() - before)


def test_a_fork_server_that_dies_in_the_middle_ends_the_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, LIMITED)
    receive = processes.Processes.receive
    turns: list[int] = []

    def killing(processes: processes.Processes, children: object, expected: int) -> list[bytes]:
        turns.append(1)
        if len(turns) == 3:
            os.killpg(processes._servers[0]._process.pid, signal.SIGKILL)
            processes._servers[0]._process.wait()
        return receive(processes, children, expected)  # type: ignore[arg-type]

    monkeypatch.setattr(processes.Processes, "receive", killing)
    with pytest.raises(ControllerError, match="sandbox: its fork server was ended by SIGKILL"):
        evaluate(Program(path), STORE, seeds=range(2))
    monkeypatch.undo()
    assert evaluate(Program(path), STORE, seeds=range(2)).mean_tokens > 0


def test_a_fork_server_that_is_stopped_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "REPLY_SECONDS", 0.5)
    path = write(tmp_path, LIMITED)
    check_program(path)
    for server in processes._fork_servers.values():
        os.killpg(server._process.pid, signal.SIGSTOP)
    stopped = {server._process.pid for server in processes._fork_servers.values()}
    stopped |= {each for pid in stopped for each in descendants(pid)}
    start = time.monotonic()
    with pytest.raises(ControllerError, match=r"sandbox: its fork server did not answer within 0\.5 s"):
        check_program(path)
    assert time.monotonic() - start < 20
    close_fork_servers()
    assert gone(stopped)


def test_processor_time_that_is_limited_already_is_no_fault_of_a_layer(tmp_path: Path) -> None:
    done = command(write(tmp_path, LIMITED), "ulimit -t 100")
    assert (done.returncode, done.stderr) == (0, "")


def test_too_few_open_files_are_said(tmp_path: Path) -> None:
    one_line(command(write(tmp_path, LIMITED), "ulimit -n 40", seeds=60), "Too many open files", "ulimit -n")


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare to take /proc away"
)
def test_without_proc_the_sandbox_says_that_it_needs_it(tmp_path: Path) -> None:
    path = write(tmp_path, LIMITED)
    run = f"{sys.executable} -m autotts_gym.cli.main evaluate synthetic/search --controller {path} --seeds 1"
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", f"mount -t tmpfs none /proc && exec {run}"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    one_line(done, "sandbox", "/proc")


def test_the_time_of_an_evaluation_is_that_of_all_its_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Program, "chunk", lambda self, questions: 3)
    path = write(tmp_path, "for _ in range(3):\n    session.open()\n    session.answers\n    sum(range(10**6))")
    with pytest.raises(ProgramError, match="timeout: expected all episodes to end within 1 s"):
        evaluate(Program(path, sandbox=Sandbox(seconds=1.0)), STORE, seeds=range(1000))


def ragged() -> ReplayStore:
    """Pools of 2, 3, ... 7 branches."""
    questions = [Question(f"q{q}", "1", [Branch(["1", "2"], 1000, "1")] * (2 + q)) for q in range(6)]
    return build_store(questions, model="m", benchmark="b", interval_tokens=500)


@pytest.mark.parametrize("verb", ["open", "read"])
def test_the_size_of_a_pool_is_known_only_by_opening_all_of_it(tmp_path: Path, verb: str) -> None:
    sizes = [2, 3, 4, 5, 6, 7]
    by_slots = write(tmp_path, "for _ in range(session.max_branches // 16):\n    session.open()", name="by_slots.py")
    assert (evaluate(Program(by_slots), ragged(), seeds=range(2)).branches_opened == [2, 3, 4, 4, 4, 4]).all()
    solve = (
        f"made = []\nwhile True:\n    branch = session.{verb}()\n    if branch is None:\n        break\n"
        "    made.append(branch)\nassert made == [*range(session.opened)]\n"
        f"assert session.{verb}() is None\nassert len(session.answers) == len(made)"
    )
    result = evaluate(Program(write(tmp_path, solve), sandbox=Sandbox(audit_share=1.0)), ragged(), seeds=range(2))
    assert (result.branches_opened == sizes).all()
    if verb == "open":  # one round, as where pools are larger
        assert (result.sequential_tokens == 500).all()
    limited = evaluate(Program(tmp_path / "written.py"), ragged(), seeds=range(2), max_branches=4)
    assert (limited.branches_opened == [min(size, 4) for size in sizes]).all()


def test_who_asks_for_a_branch_must_open_it(tmp_path: Path) -> None:
    solve = "session._opening = 63\nsession._ask()\nsession._opening = 0\nsession._waits = True\nsession._round()"
    with pytest.raises(ProgramError, match="protocol: a request does not open the branches that it asked for"):
        evaluate(Program(write(tmp_path, solve)), ragged(), seeds=range(1))


def test_what_the_budget_cannot_pay_for_is_not_promised(tmp_path: Path) -> None:
    solve = (
        "out = session._out\n"
        "out += (session._episode, 2, -1, 64, 0, 0, 0)\n"  # asks for all of 64, as many as the pool has
        "session._hub.switch()\n"
        'raise ValueError(f"promised {session._sure}")'
    )
    path = write(tmp_path, solve)
    with pytest.raises(ProgramError, match=r"promised [23]$"):  # pools have 2 to 7
        evaluate(Program(path), ragged(), seeds=range(3), token_budget=1500, workers=1)
    sizes = write(tmp_path, "while session.open() is not None:\n    pass", name="all.py")
    opened = evaluate(Program(sizes), ragged(), seeds=range(2), token_budget=1500).branches_opened
    assert (opened == [2, 3, 3, 3, 3, 3]).all()
