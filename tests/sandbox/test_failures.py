"""Every failure of a program is a ProgramError of its kind, with its line, and leaves no process behind."""

import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from writing import FIRST, write

from autotts_gym import evaluate, make_controller, synthesize
from autotts_gym.controllers import Controller
from autotts_gym.controllers.programs import Program
from autotts_gym.errors import AutottsError, ControllerError, ProgramError
from autotts_gym.sandbox import Sandbox, close_fork_servers, layers, processes

STORE = synthesize(3, 70, seed=1)
QUICK = Sandbox(round_seconds=1.0, cpu_seconds=20)


def descendants(of: int | None = None) -> set[int]:
    """Ids of all processes below one, by /proc."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            fields = stat.rpartition(")")[2].split()
            if fields[0] != "Z":
                parents[int(entry.name)] = int(fields[1])
    found = {os.getpid() if of is None else of}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid() if of is None else of}


def gone(processes: set[int], seconds: float = 5.0) -> bool:
    """Whether processes end within a time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not any(Path(f"/proc/{each}").exists() for each in processes):
            return True
        time.sleep(0.02)
    return False


def failure(path: Path, sandbox: Sandbox = QUICK) -> ProgramError:
    close_fork_servers()
    before = descendants()
    with pytest.raises(ProgramError) as caught:
        evaluate(Program(path, sandbox=sandbox), STORE, seeds=range(2))
    error = caught.value
    assert "\n" not in str(error)
    assert str(error).startswith(f"{path}:")
    assert error.path == str(path)
    assert len(descendants() - before) <= 2 * len(processes._fork_servers)  # each server and its first process
    server = descendants() - before
    close_fork_servers()
    assert gone(server)
    return error


@pytest.mark.parametrize(
    ("solve", "kind", "message", "line"),
    [
        ("1 / 0", "exception", "ZeroDivisionError: division by zero", 0),
        ("session.open()\nraise RuntimeError('no\\nluck')", "exception", "RuntimeError: no luck", 1),
        ("session.open()\nsession.answers\nraise SystemExit(0)", "exception", "SystemExit: 0", 2),
        ("def f(n):\n    return f(n + 1)\nf(0)", "exception", "RecursionError: maximum recursion depth exceeded", 1),
        ("return 'A0'", "answer", "expected an answer that the episode has seen, or None, got 'A0'", None),
        ("session.open()\nreturn '204'", "answer", "expected an answer .* got '204'", None),
        ("session.open()\nsession.answers\nreturn 'A1'", "answer", "expected an answer .* got 'A1'", None),
        ("return float('nan')", "answer", "expected an answer .* got nan", None),
        ("return session", "answer", "expected an answer .* got a Session", None),
        ("x = []\nwhile True:\n    x.append(bytes(10**6))", "memory", "ran out of memory", 2),
        ("while True:\n    pass", "timeout", "expected to look or to end within 1 s", 1),
        ("session.open()\nsession.answers\nwhile True:\n    pass", "timeout", "expected to look .*", 3),
        ("try:\n    while True:\n        pass\nexcept BaseException:\n    pass", "timeout", "expected to look .*", 2),
        ("sum(range(10**15))", "timeout", "expected to look .*", None),
        ("import os", "static", "may not import os; expected one of .*", 0),
        ("x = ().__class__", "static", "may not use the attribute __class__", 0),
        ("eval('1')", "static", "may not use eval", 0),
        ("import math\nmath.pi = 3", "static", "may not change math, which is imported", 1),
        ("return (", "static", "cannot be parsed: .*", 0),
        ("import collections.abc\ncollections.abc.nothing", "exception", "AttributeError: .*", 1),
    ],
)
def test_a_failure_is_of_its_kind_and_tells_its_line(
    tmp_path: Path, solve: str, kind: str, message: str, line: int | None
) -> None:
    error = failure(write(tmp_path, solve))
    assert error.kind == kind, error
    assert re.fullmatch(message, error.message), error
    if line is None:
        assert error.line is None
    elif kind == "timeout":
        assert error.line in (FIRST + line - 1, FIRST + line)
    else:
        assert error.line == FIRST + line


def test_a_process_that_uses_up_its_processor_time_is_ended(tmp_path: Path) -> None:
    error = failure(write(tmp_path, "sum(range(10**15))"), Sandbox(cpu_seconds=1, round_seconds=60))
    assert (error.kind, error.message) == ("timeout", "used up its processor time")


def test_all_episodes_together_have_an_end(tmp_path: Path) -> None:
    slow = "for _ in range(64):\n    session.open()\n    session.answers\n    sum(range(10**6))"
    error = failure(write(tmp_path, slow), Sandbox(seconds=0.2))
    assert error.kind == "timeout"
    assert error.message == "expected all episodes to end within 0.2 s"


# What a program reaches by walking objects, past the static checks: the interpreter's modules, and so any call.
REACH = """
import operator
def reach(thing, *names):
    for name in names:
        thing = operator.attrgetter(name)(thing)
    return thing
special = '_' * 2
builtin = reach(operator.attrgetter, special + 'class' + special, special + 'base' + special)
everything = reach(builtin, special + 'subclasses' + special)()
hook = next(each for each in everything if each.__name__ == '_wrap_close')
os_globals = reach(hook, special + 'init' + special, special + 'globals' + special)
sys = os_globals['sys']
"""


@pytest.mark.parametrize(
    ("solve", "message"),
    [
        ("os_globals['system']('true')", None),
        ("os_globals['fork']()", "PermissionError: .*"),
        ("os_globals['kill'](1, 9)", "PermissionError: .*"),
        ("os_globals['open']('/etc/passwd', 0)", "PermissionError: .*"),
        ("os_globals['listdir']('/')", "PermissionError: .*"),
        ("os_globals['urandom'](1)", "(PermissionError|NotImplementedError|OSError): .*"),
        ("sys.modules['socket'].socket()", "PermissionError: .*"),
        ("sys.modules['time'].sleep(1)", "PermissionError: .*"),
        ("sys.modules['ctypes'].CDLL(None).raise_('x')", "AttributeError: .*"),
    ],
)
def test_the_kernel_refuses_what_the_checks_of_the_text_cannot(tmp_path: Path, solve: str, message: str | None) -> None:
    path = write(tmp_path, f"{REACH}\n{solve}\nraise ValueError('went through')")
    error = failure(path)
    if message is None:  # a call without an exception: what it would have done did not happen
        assert error.kind in ("exception", "killed")
    else:
        assert re.fullmatch(message, error.message), error


@pytest.mark.parametrize(
    ("solve", "kind", "message"),
    [
        ("write(3, b'x' * 100)", "protocol", "sent a message that is .*"),
        ("write(3, (8).to_bytes(4, 'little') + bytes(4) + bytes(8))", "protocol", ".*"),
        ("write(3, (1 << 31).to_bytes(4, 'little') + bytes(4))", "protocol", "sent a message that is too long"),
        ("write(3, words(0, 0, -1, 64, 0, 0, 0) + bytes(4))", "protocol", "sent a message that is too long"),
        ("write(3, words(7, 1, -1, 0, 0, 0, 0))", "protocol", "a request asks for an episode that is not its turn"),
        ("write(3, words(0, 1, 5, 0, 0, 0, 0))", "answer", "a request names an answer that was not seen"),
        (
            "session.open()\nsession.answers\nwrite(3, words(0, 0, -1, 0, 0, 1, 0, 9))",
            "protocol",
            "a request names a branch that is not open",
        ),
        ("write(3, words(0, 0, -1, 10**9, 0, 0, 0))", "protocol", "a request asks for more branches than there are"),
        ("write(3, words(0, 0, -1, -1, 0, 0, 0))", "protocol", "a request asks for more branches than there are"),
        ("write(3, words(0, 0, -1, 0, 0, 10**9, 0))", "protocol", "a request ends in the middle of a request"),
        ("write(3, words(0, 0, -1, 1, 0, 0, 0))", "protocol", "a request leaves out an episode"),
        ("write(3, words(0, 0, -1, 0, 0, 0, 0, 1))", "protocol", "a request ends in the middle of a request"),
        ("close(3)\nwhile True:\n    pass", "killed", "its process was ended by .*|its process ended with .*"),
        ("exit_now(0)", "killed", "its process ended with status 0"),
        ('write(3, text(1, b\'["score", "x", 1]\'))', "protocol", "sent a message that is none of the protocol's"),
        ("write(3, text(1, b'[' * 60000))", "protocol", "sent a message that is none of the protocol's"),
        ("write(3, text(2, b'[]'))", "protocol", "sent a message that is none of the protocol's"),
    ],
)
def test_a_forged_message_is_a_failure(tmp_path: Path, solve: str, kind: str, message: str) -> None:
    tools = """
write, close, exit_now = os_globals['write'], os_globals['close'], os_globals['_exit']
def text(kind, content):
    return len(content).to_bytes(4, 'little') + kind.to_bytes(4, 'little') + content
def words(*numbers):
    return text(0, b''.join(each.to_bytes(8, 'little', signed=True) for each in numbers))
"""
    error = failure(write(tmp_path, f"{REACH}{tools}{solve}\nwhile True:\n    pass"))
    assert error.kind == kind, error
    assert re.fullmatch(message, error.message), error


def test_an_interrupt_leaves_no_process(tmp_path: Path) -> None:
    close_fork_servers()
    before = descendants()
    path = write(tmp_path, "while True:\n    pass")
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        evaluate(Program(path, sandbox=Sandbox(round_seconds=30)), STORE, seeds=range(2))
    timer.join()
    server = descendants() - before
    close_fork_servers()
    assert gone(server)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_death_of_the_parent_leaves_no_process(tmp_path: Path, how: signal.Signals) -> None:
    path = write(tmp_path, "while True:\n    pass")
    code = (
        "from autotts_gym import evaluate, synthesize; from autotts_gym.controllers.programs import Program; "
        "from autotts_gym.sandbox import Sandbox; "
        f"evaluate(Program({str(path)!r}, sandbox=Sandbox(round_seconds=60)), synthesize(3, 8), seeds=range(2))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while len(processes := descendants(parent.pid)) < 10 and time.monotonic() < end:  # four servers, two more
        time.sleep(0.05)
    assert len(processes) >= 3
    parent.send_signal(how)
    parent.wait()
    assert gone(processes)


def test_a_program_error_survives_pickling() -> None:
    error = ProgramError("x.py", "exception", "ValueError: x", 3)
    twin = pickle.loads(pickle.dumps(error))
    assert (str(twin), vars(twin)) == (str(error), vars(error))
    assert isinstance(error, ControllerError)


def test_layers_are_reported_and_a_required_one_that_is_missing_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    here = layers()
    assert set(here) == {"rlimits", "no_new_privs", "seccomp", "landlock", "namespaces", "clock"}
    assert all(here[name] for name in Sandbox().require)
    close_fork_servers()

    class Bare(processes.ForkServer):
        def await_start(self) -> None:
            super().await_start()
            self.missing = {"landlock": "landlock: Function not implemented"}

    monkeypatch.setattr(processes, "ForkServer", Bare)
    controller: Controller = make_controller("agents/programs/sc.py", beta=0.0, sandbox=Sandbox(require=("landlock",)))
    with pytest.raises(ControllerError, match=r"sandbox: the layer landlock is required but missing here \(landlock: "):
        evaluate(controller, STORE, seeds=range(1))
    free = make_controller("agents/programs/sc.py", beta=0.0, sandbox=Sandbox(require=()))
    assert evaluate(free, STORE, seeds=range(1)).branches_opened.max() == 1
    close_fork_servers()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"require": ("firewall",)}, "Sandbox.require: expected some of rlimits, .*, got"),
        ({"memory_mib": 0}, "Sandbox.memory_mib: expected a whole number of at least 1, got 0"),
        ({"cpu_seconds": True}, "Sandbox.cpu_seconds: expected a whole number"),
        ({"round_seconds": 0}, "Sandbox.round_seconds: expected a positive number, got 0"),
        ({"seconds": float("inf")}, "Sandbox.seconds: expected a positive number, got inf"),
        ({"audit_share": 2}, r"Sandbox.audit_share: expected a number in \[0, 1\], got 2"),
    ],
)
def test_a_wrong_limit_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(AutottsError, match=message):
        Sandbox(**fields)
