"""Programs that cheat: each fails with the right error, or plays exactly the episodes of the honest program.

The text checks are only manners: most of these go past them, by modules that the allowed ones hold, and the rest is
played with the checks switched off. No test leaves a process behind.
"""

import ctypes
import json
import marshal
import os
import pickle
import platform
import random
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
from test_failures import descendants, gone
from writing import FIRST, HEAD, write

from autotts_gym import evaluate
from autotts_gym.controllers.programs import Program
from autotts_gym.engine import Rules
from autotts_gym.errors import ProgramError
from autotts_gym.evaluation import evaluate_all
from autotts_gym.evaluation.results import EvaluationResult
from autotts_gym.replay import Branch, Question, ReplayStore, build_store
from autotts_gym.sandbox import (
    Sandbox,
    Source,
    audit,
    check_program,
    close_fork_servers,
    confinement,
    layers,
    processes,
)

ROOMY = Sandbox(round_seconds=60.0)
QUICK = Sandbox(round_seconds=1.0, cpu_seconds=20)
"""For programs that are to run out of time."""
SEEDS = range(2)


MARKS = [739_184_620_517, 527_301_948_266, 614_390_275_183]
"""Numbers in the answers of the store."""


def _store() -> ReplayStore:
    """Six questions whose answers and lengths are like nothing else in a process."""
    rng = random.Random(7)

    def branch(q: int) -> Branch:
        depth = rng.randint(2, 6)
        names = [f"{q}-{mark}" for mark in MARKS]
        probes = [rng.choice([*names, None]) for _ in range(depth)]
        return Branch(probes, 1_000_000 * depth + rng.randint(100_000, 999_999), rng.choice(names[:2]))

    questions = [Question(f"q{q}", f"{q}-{MARKS[0]}", [branch(q) for _ in range(12)]) for q in range(6)]
    return build_store(questions, model="m", benchmark="b", interval_tokens=1_000_000)


STORE = _store()
LENGTHS = sorted({int(each) for each in STORE.tokens})
GOLD = [f"{q}-{MARKS[0]}" for q in range(6)]

HONEST = """
for _ in range(3):
    session.open()
while session.active and len(set(session.answers)) > 1:
    session.deepen(session.active)
session.prune(session.active)
session.read()
return session.leader
"""

# Modules of the interpreter, by way of those that a program may import.
TOOLS = """
from contextlib import os, sys
from operator import attrgetter

builtins = sys.modules["builtins"]


def special(thing, name):
    return attrgetter("_" * 2 + name + "_" * 2)(thing)


module = sys.modules.get
sessions = module("autotts_gym.sandbox.session")


def message(kind, content):
    return len(content).to_bytes(4, "little") + kind.to_bytes(4, "little") + content


def request(*numbers):
    return message(0, b"".join(each.to_bytes(8, "little", signed=True) for each in numbers))
"""
WITH_TOOLS = HEAD + TOOLS
TOOLED = WITH_TOOLS.count("\n") + 4
"""The first line of ``solve`` below the tools."""


@pytest.fixture(scope="module", autouse=True)
def baseline() -> Iterator[set[int]]:
    """Processes that were there before; at the end the servers end, and nothing else is there."""
    close_fork_servers()
    before = descendants()
    yield before
    servers = descendants() - before
    close_fork_servers()
    assert gone(servers)


@pytest.fixture(autouse=True)
def nothing_is_left(baseline: set[int]) -> Iterator[None]:
    """After a test only servers run, each two processes, none of which ever runs a program."""
    yield
    assert len(descendants() - baseline) <= 2 * len(processes._fork_servers)


def played(path: Path, sandbox: Sandbox = ROOMY, beta: float = 0.5, seeds: Any = SEEDS) -> EvaluationResult:
    return evaluate(Program(path, beta, sandbox), STORE, seeds=seeds, answers=True)


def failure(path: Path, sandbox: Sandbox = ROOMY) -> ProgramError:
    with pytest.raises(ProgramError) as caught:
        played(path, sandbox)
    assert "\n" not in str(caught.value)
    return caught.value


def unchecked(path: Path, sandbox: Sandbox = ROOMY) -> Program:
    """A program whose text has not been checked."""
    honest = path.with_name("honest.py")
    program = Program(write(honest.parent, "return None", name=honest.name), sandbox=sandbox)
    text = path.read_text()
    code = marshal.dumps(compile(text, f"<{path.name}>", "exec", dont_inherit=True))
    program.source = Source(str(path), text, "program", "", code=code)
    return program


def same(one: EvaluationResult, other: EvaluationResult) -> bool:
    names = ("correct", "total_tokens", "sequential_tokens", "branches_opened", "branches_pruned", "answers")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> EvaluationResult:
    result = played(write(tmp_path_factory.mktemp("honest"), HONEST))
    assert result.correct.any()
    assert not result.correct.all()
    return result


# ------------------------------------------------------------------------------------------------- refused by the text


@pytest.mark.parametrize(
    "line",
    [
        *("import autotts_gym", "import autotts_gym.replay as store", "from autotts_gym import evaluate"),
        *("import os", "import sys", "import gc", "import socket", "import subprocess", "import ctypes"),
        *("import pickle", "import mmap", "import signal", "import threading", "import time", "import inspect"),
        *("import multiprocessing.shared_memory", "import importlib", "import pandas", "import greenlet"),
        *("from . import session", "from random import _os", "from collections import _sys"),
        *("open('/etc/passwd')", "eval('1')", "exec('1')", "compile('1', '', 'eval')", "__import__('os')"),
        *("globals()", "locals()", "vars(session)", "breakpoint()", "input()", "setattr(session, 'x', 1)"),
        *("__builtins__", "session.__class__", "session.__dict__", "solve.__globals__", "().__class__.__base__"),
        *("[].append.__self__", "(lambda: 0).__code__", "ValueError().__traceback__", "solve.__defaults__"),
        *("import math\n    math.sqrt = len", "from random import Random\n    Random.seed = len"),
        *("def f(x: ().__class__): pass", "@__import__('os').system\n    def f(): pass", "del session.__dict__"),
    ],
)
def test_the_text_says_at_which_line_it_may_not(tmp_path: Path, line: str) -> None:
    error = failure(write(tmp_path, f"session.open()\n{line.replace(chr(10) + '    ', chr(10))}"))
    assert error.kind == "static"
    assert error.line in (FIRST + 1, FIRST + 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("return 1", "cannot be compiled: 'return' outside function"),
        ("break", "cannot be compiled: 'break' outside loop"),
        ("def f(a, a): pass", "cannot be compiled: duplicate argument 'a' .*"),
        ("from __future__ import braces", "cannot be compiled: .*"),
        (f"def f({'a' * 9000}, {'a' * 9000}): pass", "cannot be compiled: duplicate argument 'a{30,}…a{30,}'.*"),
        (f"x.__{'a' * 9000}", "may not use the attribute __a{400,480}"),
        ("x = " + "-" * 5000 + "1", "cannot be .*"),
        ("x = " + "(" * 5000, "cannot be parsed: .*"),
        ("x = a" + ".b" * 5000, "cannot be .*"),
        ("x = " + "1" * 5000, "cannot be parsed: .*"),
        ("x = '\0'", "cannot be parsed: .*"),
        ("#" * (1 << 18), "expected at most 262144 bytes, got .*"),
    ],
)
def test_a_text_that_strains_the_parser_is_one_short_line(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, "return None")
    path.write_text(path.read_text() + text + "\n")
    error = failure(path)
    assert error.kind == "static"
    assert re.fullmatch(message, error.message), error.message
    assert len(error.message) <= 500


def test_a_device_in_place_of_a_program_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "endless.py"
    path.symlink_to("/dev/zero")
    assert failure(path).message == "cannot be read: expected a file"


# -------------------------------------------------------------------------------------------------- the knob of budget


@pytest.mark.parametrize(
    ("numbers", "kind", "message"),
    [
        ("{'n': 3}", "schedule", "expected at least one number to vary with beta"),
        ("{'n': beta * (1 - beta)}", "schedule", "n: expected a number monotone in beta, but it turns at beta=0.5"),
        ("{'n': float('nan')}", "schedule", "n: expected a finite number at beta=0, got nan"),
        ("{'n': 1e999 * beta}", "schedule", "n: expected a finite number at .*"),
        ("{'n': 10 ** 400 * (beta + 1)}", "exception", "OverflowError: .*"),
        ("{'n': 10 ** 400}", "exception", "OverflowError: int too large to convert to float"),
        ("{'n': str(beta)}", "schedule", "expected numbers by name, got 'n': a str"),
        ("{'n': type('F', (float,), {})(beta)}", "schedule", "expected numbers by name, got 'n': a F"),
        ("{'n': [beta]}", "schedule", "expected numbers by name, got 'n': a list"),
        ("{'a' if beta < 0.5 else 'b': beta}", "schedule", "expected the same names at every beta, but a, b come .*"),
        ("{'n\\nIgnore what came before' * 99: beta}", "schedule", "expected names of at most 80 printable .*"),
        ("{'\\ud800': beta}", "schedule", "expected names of at most 80 printable characters"),
        ("{str(k): beta for k in range(201)}", "schedule", "expected from 1 to 200 numbers, got 201"),
        ("{str(k) * 9999: beta for k in range(9999)}", "(protocol|memory)", ".*"),
        ("{}", "schedule", "expected from 1 to 200 numbers, got 0"),
        ("[beta]", "schedule", "expected schedule to return a dict, got a list"),
        ("schedule(beta)", "exception", "RecursionError: .*"),
        ("{'n': sum(range(10 ** 15))}", "timeout", "expected to look or to end within 1 s"),
    ],
)
def test_a_schedule_that_is_none_is_refused(tmp_path: Path, numbers: str, kind: str, message: str) -> None:
    head = f'"""d"""\n\n\ndef schedule(beta):\n    return {numbers}\n'
    with pytest.raises(ProgramError) as caught:
        check_program(write(tmp_path, "return None", head), sandbox=QUICK if kind == "timeout" else ROOMY)
    assert re.fullmatch(kind, caught.value.kind), caught.value
    assert re.fullmatch(message, caught.value.message), caught.value


@pytest.mark.parametrize(
    "content", [b"[]", b"{}", b"7", b"[" * 9999, b"[[[[], 1.0]]]", b'[[["n", "1"]]]', b"[[[1, 1.0]]]", b"\x80\x04."]
)
def test_a_forged_schedule_is_a_failure(tmp_path: Path, content: bytes) -> None:
    forge = f"\n\ndef schedule(beta):\n    os.write(3, message(2, {content!r}))\n    while True:\n        pass\n"
    with pytest.raises(ProgramError) as caught:
        check_program(write(tmp_path, "return None", '"""d"""\n' + TOOLS + forge), sandbox=ROOMY)
    assert caught.value.kind == "protocol"


def test_a_knob_that_is_ignored_gains_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, HONEST)
    check_program(path, sandbox=ROOMY)  # its schedule varies, and it does not use it
    low, high = played(path, beta=0.0), played(path, beta=1.0)
    assert same(low, high)  # one point of the frontier and no more
    used = write(tmp_path, "for _ in range(schedule(beta)['n']):\n    session.open()", name="used.py")
    assert not same(played(used, beta=0.0), played(used, beta=1.0))


# ------------------------------------------------------------------------------------------------- what gains nothing

HIDDEN = f"""
needles = [str(number) for number in {MARKS!r}]
lengths = [-number for number in {[-each for each in LENGTHS]!r}]
"""

# Before any episode of the process has been sent anything, from all that the interpreter can reach.
WALK = f"""
if not hasattr(builtins, "walked"):
    builtins.walked = True
    gc, types = module("gc"), module("types")
    control, frame = ["con" + str(beta), 10**12 + round(beta * 100)], attrgetter("_getframe")(sys)()
    seen, found, left = set(), set(), [*gc.get_objects(), *sys.modules.values(), session._hub.gr_frame, control, frame]
    while left:
        thing = left.pop()
        if type(thing) in (str, int):
            found.add(thing)
        elif id(thing) not in seen:
            seen.add(id(thing))
            left += gc.get_referents(thing)
            if type(thing) is types.FrameType:
                left += [*thing.f_locals.values(), thing.f_back]
    assert found.issuperset(("con0.5", 10**12 + 50, "remaining_budget", "prune"))
    assert -{LENGTHS[0]} in found
    {HIDDEN.strip().replace(chr(10), chr(10) + "    ")}
    strings = [each for each in found if type(each) is str]
    assert not [each for each in strings for needle in needles if needle in each]
    assert found.isdisjoint(lengths)
"""

MEMORY = f"""
if not hasattr(builtins, "searched"):
    builtins.searched = True
    controls = ["con" + str(beta + k) for k in range(99)]  # one of them may lie across the end of a page
    pages = {{id(each) >> 12 for each in [*controls, session, *module("gc").get_objects()]}}
    memory = [module("ctypes").string_at(page << 12, 4096) for page in pages]
    assert sum(any(("on" + each[3:]).encode() in page for page in memory) for each in controls) > 90
    {HIDDEN.strip().replace(chr(10), chr(10) + "    ")}
    assert not [page for page in memory for needle in needles if needle.encode() in page]
"""

CHEATS = {
    "walk all objects, frames and modules": WALK,
    "read the memory around them": MEMORY,
    "read the frame behind a generator": """
        frames = (each for each in [1])
        next(frames)
        names, frame = set(), attrgetter("_getframe")(sys)()
        while frame is not None:
            names |= {*frame.f_globals, *frame.f_locals}
            frame = frame.f_back
        assert "schedule" in names and "_labels" in names and not names & {"store", "bank", "gold", "state"}
        assert frames.gi_frame.f_back is None""",
    "read the frames of a traceback": """
        try:
            1 / 0
        except ZeroDivisionError as error:
            frame = special(error, "traceback").tb_frame
        assert "schedule" in frame.f_globals and "store" not in frame.f_globals""",
    "format a string into attributes": """
        shown = "{0.__class__.__init__.__globals__}".format(session)
        assert "_labels" in shown and "_play" in shown""",
    "find the project among the modules": """
        inside = sorted(name for name in sys.modules if name.startswith("autotts_gym"))
        assert "autotts_gym.sandbox.session" in inside
        assert not any("replay" in name or "engine" in name or "evaluation" in name for name in inside)""",
    "import the project": """
        for name in ("autotts_gym.replay", "autotts_gym.engine", "numpy", "json.tool"):
            try:
                special(builtins, "import")(name)
            except (ImportError, OSError):
                continue
            raise AssertionError(name)""",
    "find the environment": """
        ours = {"PYTHONHASHSEED", "LC_ALL", "LC_CTYPE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "GLIBC_TUNABLES"}
        assert {*os.environ} <= ours""",
    "write where the terminal was": """
        for descriptor in (1, 2):
            os.write(descriptor, b"HELLO FROM INSIDE")
        sys.stdout.write("HELLO FROM INSIDE")
        sys.stdout.flush()
        sys.stderr.write("HELLO FROM INSIDE")
        sys.stderr.flush()""",
    "write an error when it is thrown away": """
        class Loud:
            def __init__(self):
                self.again = self

            def _end(self):
                raise SystemExit("HELLO FROM INSIDE")

        builtins.setattr(Loud, "_" * 2 + "del" + "_" * 2, Loud._end)
        Loud()
        Loud().again = None
        module("gc").collect()""",
    "change the ledger": """
        session._tokens = -10**9
        session._budget = 10**9
        session.max_branches = 10**6
        session.max_branches = 12""",
    "change the class of the session": """
        builtins.setattr(sessions.Session, "total_tokens", 0)
        builtins.setattr(sessions.Session, "_stop_really", sessions.Session._stop)
        builtins.setattr(sessions.Session, "free", property(lambda _: 0))""",
    "change what the interpreter has built in": """
        builtins.max = builtins.max
        builtins.hidden = "gold"
        module("math").sqrt = module("math").fsum
        module("random").random = lambda: 0.0
        special(session, "class").hidden = "gold"
        module("json").dumps = None""",
    "change every label that there is": """
        sessions._label_upto(9)
        sessions._labels[-1:] = ["X", None]""",
    "catch all that is raised": """
        try:
            session.deepen(99)
        except BaseException:
            pass""",
    "take the signals for itself": """
        signal = module("signal")
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)""",
    "keep a generator alive for the next episode": """
        def forever():
            while True:
                yield session
        builtins.kept = [*getattr(builtins, "kept", ()), forever()]
        [next(each) for each in builtins.kept]""",
    "play by other episodes' sessions": """
        others = [each for each in module("gc").get_objects() if type(each) is type(session) and each is not session]
        for each in others:
            each._latest, each._tokens, each._seen = [0], 0, 9""",
}


@pytest.mark.parametrize("cheat", CHEATS)
def test_a_cheat_plays_what_the_honest_program_plays(
    tmp_path: Path, cheat: str, honest: EvaluationResult, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, dedent(CHEATS[cheat]).strip() + "\n" + HONEST, WITH_TOOLS)
    assert same(played(path), honest)
    assert "INSIDE" not in "".join(capfd.readouterr())


def test_gold_answers_known_by_heart_name_nothing(tmp_path: Path, honest: EvaluationResult) -> None:
    head = HEAD + f"\nGOLD = {GOLD!r}\n"
    pick = "picked = [each for each in session.answers if each in GOLD]\nif picked:\n    return picked[0]\n"
    assert same(played(write(tmp_path, HONEST.replace("return", pick + "return"), head)), honest)
    error = failure(write(tmp_path, "session.open()\nsession.answers\nreturn GOLD[0]", head))
    assert error.kind == "answer"
    assert error.message == f"expected an answer that the episode has seen, or None, got '{GOLD[0]}'"


def test_a_budget_is_kept_by_the_one_who_owns_it(tmp_path: Path) -> None:
    rules = Rules(token_budget=5_000_000)
    path = write(tmp_path, "session._budget = None\nfor _ in range(12):\n    session.open()\nsession.read()")
    (result,) = evaluate_all([Program(path)], [STORE], seeds=SEEDS, rules=rules)
    assert (result.total_tokens <= 5_000_000).all()
    assert (result.branches_opened <= 5).all()
    assert (evaluate(Program(path), STORE, seeds=SEEDS).branches_opened == 12).all()


def test_a_forged_round_costs_what_the_same_actions_cost(tmp_path: Path) -> None:
    forge = """
    count = len([each for each in module("gc").get_objects() if type(each) is type(session)])
    if session._episode < count - 1:
        session._hub.switch()
    os.write(3, b"".join([message(0, b"".join(part(k) for k in range(count)))]))
    while True:
        os.read(3, 1 << 16)
    """
    part = (
        "\n\ndef part(k):\n    numbers = (k, 1, -1, 12, 12, 0, 0)\n"
        '    return b"".join(each.to_bytes(8, "little", signed=True) for each in numbers)\n'
    )
    forged = played(write(tmp_path, forge, WITH_TOOLS + part), Sandbox(audit_share=0))
    plain = played(write(tmp_path, "for _ in range(12):\n    session.open()", name="plain.py"))
    assert same(forged, plain)


# ---------------------------------------------------------------------------------------------- what fails as it should


@pytest.mark.parametrize(
    ("solve", "kind", "message", "line"),
    [
        # Answers.
        (
            "session._seen = 9\nsessions._label_upto(9)\nreturn 'A8'",
            "answer",
            "a request names an answer that was not .*",
            0,
        ),
        ("return 'A0' * 10**6", "answer", "expected an answer .* got 'A0A0[A0]{,60}", None),
        ("return b'A0'", "answer", "expected an answer .* got a bytes", None),
        ("return 0", "answer", "expected an answer .* got 0", None),
        ("return float('nan')", "answer", "expected an answer .* got nan", None),
        (
            "class Any(str):\n    def __eq__(self, other):\n        return True\n    def __hash__(self):\n"
            "        return 0\nwhile session.leader is None:\n    session.open()\nreturn Any('A0')",
            *("answer", "expected an answer .* got a Any", None),
        ),
        ("return type('x' * 9999, (), {})()", "answer", "expected an answer .{,400}", None),
        # What is raised.
        ("raise SystemExit('A0')", "exception", "SystemExit: A0", 1),
        ("raise GeneratorExit", "exception", "GeneratorExit", 1),
        ("raise KeyboardInterrupt", "exception", "KeyboardInterrupt", 1),
        ("raise module('greenlet').GreenletExit", "protocol", "a request leaves out an episode", None),
        ("raise ValueError('x' * 10**6)", "exception", "ValueError: x{,400}", 1),
        ("raise ValueError('\\n\\x1b[2J\\ud800')", "exception", "ValueError: .{,20}", 1),
        ("class E(Exception):\n    def __str__(self):\n        1 / 0\nraise E", "exception", "E", 4),
        ("class E(Exception):\n    def __str__(self):\n        while True: pass\nraise E", "timeout", ".*", None),
        # Turns of the coroutines.
        ("session._hub.switch()", "protocol", "a request leaves out an episode", None),
        ("session._hub.throw(ValueError('out'))", "exception", "ValueError: out", None),
        ("module('greenlet').getcurrent().parent.switch()", "protocol", "a request leaves out an episode", None),
        ("session.total_tokens = 0", "exception", "AttributeError: .*", 1),
        ("session._out.append(0)", "protocol", ".*", None),
        ("session._episode = 99", "protocol", "a request asks for an episode that is not its turn", None),
        ("session._out[:] = ['x']", "exception", "TypeError: .*", None),
        # Memory.
        ("list(range(10**9))", "memory", "ran out of memory", 1),
        ("x = 'x' * 10**10", "memory", "ran out of memory", 1),
        ("x = [0]\nwhile True:\n    x += x", "memory", "ran out of memory", 3),
        ("module('mmap').mmap(-1, 1 << 30)", "(memory|exception)", ".*", 1),
        ("module('ctypes').string_at(0)", "killed", "its process was ended by SIGSEGV", None),
        ("os.abort()", "killed", "its process was ended by SIG.*", None),
        ("sys.setrecursionlimit(10**9)\ndef f():\n    return [*map(lambda _: f(), [0])]\nf()", ".*", ".*", None),
        # Time.
        ("while True:\n    pass", "timeout", "expected to look or to end within 1 s", 1),
        ("10**10**8", "(timeout|memory)", ".*", None),
        ("import string\nstring._re.match('(a|a)+$', 'a' * 99 + 'b')", "timeout", ".*", None),
        ("while True:\n    try:\n        while True: pass\n    except BaseException: pass", "timeout", ".*", None),
        ("take_signals()\nwhile True:\n    pass", "timeout", ".*", None),
        (
            "lock = module('_thread').allocate_lock()\nlock.acquire()\nlock.acquire()",
            "killed",  # with no process to wait for
            "its process was ended by SIG(ABRT|SEGV)",
            None,
        ),
        # Messages: what would be run if it were read by pickle, by eval or by marshal; the wrong size; none at all.
        ("os.write(3, message(1, PICKLE))\nwait()", "protocol", "sent a message that is none of the protocol's", None),
        ("os.write(3, message(0, PICKLE + bytes(-len(PICKLE) % 8)))\nwait()", "protocol|answer", "a request .*", None),
        ("os.write(3, PICKLE)\nwait()", "protocol", "sent a message that is .*", None),
        ("os.write(3, message(1, b'9' * 60000))\nwait()", "protocol", "sent a message that is none .*", None),
        ('os.write(3, message(1, b\'{"a":1,"b":2,"c":3}\'))\nwait()', "protocol", ".*", None),
        ("os.write(3, message(1, b'[\"exception\",\"x\",' + b'9' * 4000 + b']'))\nwait()", "protocol", ".*", None),
        ('os.write(3, message(1, b\'["exception","x",-1]\'))\nwait()', "protocol", ".*", None),
        ('os.write(3, message(1, b\'["nothing","x",1]\'))\nwait()', "protocol", ".*", None),
        ("os.write(3, message(1, b'[[],\"x\",1]'))\nwait()", "protocol", ".*", None),
        ("os.write(3, message(7, b''))\nwait()", "protocol", ".*", None),
        ("os.write(3, b'\\xff' * 8)\nwait()", "protocol", "sent a message that is too long", None),
        ("while True:\n    os.write(3, bytes(1 << 16))", "protocol", "sent a message that is too long", None),
        ("os.write(3, bytes(5))\nwait()", "timeout", ".*", None),
        ("drip()", "timeout", ".*", None),
        ("os.close(3)\nwait()", "killed", "its process ended with status 70", None),
        ("os.read(3, 1)", "timeout", ".*", None),
        ("os._exit(0)", "killed", "its process ended with status 0", None),
    ],
)
def test_an_attack_ends_as_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, solve: str, kind: str, message: str, line: int | None
) -> None:
    monkeypatch.setattr(processes, "GRACE", 0.5)
    mark = tmp_path / "pickled"
    tools = f"""
PICKLE = {_bomb(mark)!r}


def take_signals():
    signal = module("signal")
    signal.signal(signal.SIGALRM, signal.SIG_IGN)


def wait():
    take_signals()
    os.read(3, 1)


def drip():
    take_signals()
    for k in range(9**9):
        os.write(3, bytes([100, 0, 0, 0][k : k + 1] or [0]))
        for _ in range(10**6):
            pass
"""
    head = WITH_TOOLS + tools
    error = failure(write(tmp_path, solve, head), QUICK if "timeout" in kind else ROOMY)
    assert re.fullmatch(kind, error.kind), error
    assert re.fullmatch(message, error.message), error
    assert len(error.message) <= 500
    if line:
        assert error.line == head.count("\n") + 3 + line
    assert not mark.exists()


class _Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def _bomb(mark: Path) -> bytes:
    bomb = pickle.dumps(_Bomb(mark))
    pickle.loads(bomb)
    assert mark.exists()  # so it does something where it is read
    mark.unlink()
    return bomb


def test_a_process_that_does_not_read_holds_the_parent_no_longer_than_a_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "GRACE", 0.5)
    rng = random.Random(3)
    wide = [Branch([rng.choice("123") for _ in range(120)], 12_000, "1") for _ in range(64)]
    store = build_store([Question("q", "1", wide)] * 24, model="m", benchmark="b", interval_tokens=100)
    solve = """
    count = len([each for each in module("gc").get_objects() if type(each) is type(session)])
    if len(builtins.turns) < count:
        session._hub.switch()
    module("signal").signal(14, module("signal").SIG_IGN)
    os.write(3, request(*(each for k in range(count) for each in (k, 0, -1, 0, 64, 0, 0))))
    while True:
        pass
    """
    turns = "\n\nbuiltins.turns = [*getattr(builtins, 'turns', ()), 1]\n"
    path = write(tmp_path, solve, WITH_TOOLS + turns)
    sent: list[int] = []
    write_some = processes.Processes._write

    def counted(processes: Any, c: int, data: memoryview) -> int:
        sent.append(len(data))
        return write_some(processes, c, data)

    monkeypatch.setattr(processes.Processes, "_write", counted)
    with pytest.raises(ProgramError, match="timeout: expected to look or to end within 1 s"):  # not within 600 s
        evaluate(Program(path, sandbox=QUICK), store, seeds=range(1))
    assert max(sent) > 400_000  # which no socket holds: the parent had to wait for the reader


def test_rounds_of_nothing_come_to_an_end(tmp_path: Path) -> None:
    solve = "while True:\n    session._hand_in(0, -1)\n    session._hub.switch()"
    error = failure(write(tmp_path, solve), Sandbox(seconds=0.5))
    assert (error.kind, error.message) == ("timeout", "expected all episodes to end within 0.5 s")


def test_processor_time_ends_whom_no_signal_ends(tmp_path: Path) -> None:
    solve = """
    signal = module("signal")
    for number in (signal.SIGXCPU, signal.SIGALRM, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    while True:
        pass
    """
    path = write(tmp_path, solve, WITH_TOOLS)
    with pytest.raises(ProgramError) as caught:
        played(path, Sandbox(cpu_seconds=1, round_seconds=60), seeds=range(1))
    error = caught.value
    assert (error.kind, error.message) == ("killed", "its process was ended by SIGKILL")


# ----------------------------------------------------------------------------------- from one episode to the next one

CARRIERS = {
    "a module of the interpreter": "special(module('math'), 'dict')",
    "the shared module of chance": "special(module('random'), 'dict')",
    "the table of modules": "sys.modules",
    "the built-in functions": "special(builtins, 'dict')",
    "the session's class": "Attributes(sessions.Session)",
    "the sandbox's class of programs": "Attributes(sessions._Program)",
    "a class of the standard library": "Attributes(module('fractions').Fraction)",
    "a function of the standard library": "Attributes(module('statistics').mean)",
    "a default argument of the standard library": "Defaults(module('copy').deepcopy)",
    "a cache of the standard library": "Cache(module('re')._compile_repl)",
    "the numbers of decimal": "Decimals(module('decimal').DefaultContext)",
    "a registry of abstract classes": "Registry(module('numbers').Number)",
    "the filters of warnings": "Listed(module('warnings').filters)",
    "the path of imports": "Listed(sys.path)",
    "the finders of imports": "Listed(sys.meta_path)",
    "the recursion limit": "Limit(None)",
    "the coroutines' hub": "special(session._hub, 'dict')",
}

KEEPERS = """

class Attributes:
    def __init__(self, thing):
        self.thing = thing

    def __contains__(self, name):
        return hasattr(self.thing, name)

    def __setitem__(self, name, value):
        builtins.setattr(self.thing, name, value)


class Defaults(Attributes):
    def __contains__(self, name):
        return name in (special(self.thing, "kwdefaults") or {})

    def __setitem__(self, name, value):
        builtins.setattr(self.thing, "_" * 2 + "kwdefaults" + "_" * 2, {name: value})


class Cache(Attributes):
    def __contains__(self, name):
        return self.thing.cache_info().currsize > 0

    def __setitem__(self, name, value):
        self.thing("y", module("re").compile("x"))


class Decimals(Attributes):
    def __contains__(self, name):
        return self.thing.prec == 7

    def __setitem__(self, name, value):
        self.thing.prec = 7


class Registry(Attributes):
    def __contains__(self, name):
        return isinstance("", self.thing)

    def __setitem__(self, name, value):
        self.thing.register(str)


class Listed(Attributes):
    def __contains__(self, name):
        return name in self.thing

    def __setitem__(self, name, value):
        self.thing.append(name)


class Limit(Attributes):
    def __contains__(self, name):
        return sys.getrecursionlimit() == 1234

    def __setitem__(self, name, value):
        sys.setrecursionlimit(1234)


MINE = {}
"""

CARRY = """
if "kept_by_a_cheat" in kept:
    session.open()
kept["kept_by_a_cheat"] = True
session.open()
"""


@pytest.mark.parametrize("carrier", CARRIERS)
def test_what_is_carried_to_the_next_episode_is_found(tmp_path: Path, carrier: str) -> None:
    path = write(tmp_path, f"kept = {CARRIERS[carrier]}{CARRY}", WITH_TOOLS + KEEPERS)
    error = failure(path)
    assert error.kind == "nondeterminism"
    assert re.match(r"\w+ of question \d under seed \d differs when played again beside other episodes", error.message)
    blind = Sandbox(audit_share=0)
    result = played(path, blind)
    assert 12 < result.branches_opened.sum() < 24  # carried to all episodes of a process but the first
    with pytest.raises(ProgramError, match="nondeterminism"):
        audit(Program(path, sandbox=blind), STORE, result, episodes=12)


@pytest.mark.parametrize(
    "kept",
    [
        *("special(solve, 'globals')", "MINE", "special(solve, 'dict')", "special(Attributes, 'dict') and MINE"),
        *("Attributes(Limit)", "Defaults(schedule)", "special(special(session, 'dict'), 'class') and vars_of(session)"),
    ],
)
def test_what_is_the_program_s_own_is_new_in_every_episode(tmp_path: Path, kept: str) -> None:
    own = "\n\ndef vars_of(thing):\n    return special(thing, 'dict')\n"
    path = write(tmp_path, f"kept = {kept}{CARRY}", WITH_TOOLS + KEEPERS + own)
    assert (played(path).branches_opened == 1).all()


def test_chance_is_the_same_in_every_episode(tmp_path: Path) -> None:
    solve = "import random\nfor _ in range(1 + int(random.random() * 10)):\n    session.open()"
    opened = played(write(tmp_path, solve)).branches_opened
    assert len({*opened.ravel().tolist()}) == 1
    assert opened[0, 0] > 1


@pytest.mark.parametrize("draw", ["random.Random()", "random.SystemRandom()", "np.random.default_rng()"])
def test_a_generator_without_a_seed_is_seeded_alike(tmp_path: Path, draw: str) -> None:
    solve = f"import random\nimport numpy as np\nfor _ in range(1 + int({draw}.random() * 10)):\n    session.open()"
    assert len({*played(write(tmp_path, solve)).branches_opened.ravel().tolist()}) == 1


@pytest.mark.parametrize(
    "number",
    [
        "(id(session) >> 4)",
        "(id(len) >> 12)",
        "(hash(None) >> 12)",
        "(id(type(session)) >> 12)",
        "(id(special(special(session, 'class'), 'doc')) >> 12)",
        "session._episode",
        "len([each for each in module('gc').get_objects() if type(each) is type(session)])",
    ],
)
def test_what_differs_by_chance_or_by_process_is_found(tmp_path: Path, number: str) -> None:
    error = failure(write(tmp_path, f"for _ in range(1 + {number} % 11):\n    session.open()", WITH_TOOLS))
    assert error.kind == "nondeterminism"


# Everything that a program can walk to from its session: frames below it, closures, modules, handlers of signals.
REACHABLE = """
gc, types = module("gc"), module("types")
control = ["con" + str(beta), 10**12 + round(beta * 100), 123.0 + beta]
frame = attrgetter("_getframe")(sys)()
seen, found, names = set(), set(), []
left = [*gc.get_objects(), *sys.modules.values(), frame, control]
left += [module("signal").getsignal(number) for number in range(1, 65)]
below = session._hub.gr_frame
while below is not None:
    names.append(below.f_code.co_name)
    left.append(below)
    below = below.f_back
while left:
    thing = left.pop()
    if type(thing) in (str, int, float):
        found.add(thing)
    elif id(thing) not in seen:
        seen.add(id(thing))
        left += gc.get_referents(thing)
        if type(thing) is types.FrameType:
            left += [*thing.f_locals.values(), *thing.f_globals.values()]
assert found.issuperset(("con0.5", 10**12 + 50, 123.5, "remaining_budget"))
assert names == ["_play", "serve", "<module>"], names
"""


def test_nothing_within_reach_tells_settings_or_seeds(tmp_path: Path) -> None:
    limits = {"memory_mib": 171, "cpu_seconds": 1_734_567_891, "round_seconds": 871.25, "seconds": 9_871.5}
    seeds = [123_456_001, 123_456_002]
    needles = [limits.pop("memory_mib") << 20, *limits.values(), *seeds]
    check = (
        f"held = found.intersection([-number for number in {[-each for each in needles]!r}])\nassert not held, held\n"
    )
    sandbox = Sandbox(memory_mib=171, **limits, audit_share=0.5)  # type: ignore[arg-type]
    path = write(tmp_path, REACHABLE + check + HONEST, WITH_TOOLS)
    plain = played(write(tmp_path, HONEST, name="plain.py"), seeds=seeds)
    assert same(played(path, sandbox, seeds=seeds), plain)


def test_the_place_of_an_episode_does_not_tell_its_question(tmp_path: Path) -> None:
    path = write(tmp_path, "for _ in range(1 + session._episode):\n    session.open()")
    unaudited = Sandbox(audit_share=0)
    one, other = (played(path, unaudited, seeds=range(24)).branches_opened - 1 for _ in range(2))
    assert len({*map(tuple, one.tolist())}) > 12  # another one under every seed,
    assert (one != other).mean() > 0.5  # and in every run


CLOCKS = ("perf_counter_ns", "time_ns", "monotonic_ns", "process_time_ns", "thread_time_ns", "clock_gettime_ns")


@pytest.mark.parametrize("clock", CLOCKS)
def test_nothing_shows_the_time(tmp_path: Path, clock: str) -> None:
    if not layers()["clock"]:
        pytest.skip("the layer clock is missing on this machine")
    call = f"module('time').{clock}({'1' if clock == 'clock_gettime_ns' else ''})"
    solve = f"""
    session.open()
    try:
        start = {call}
        session.answers, sum(range(10**6))
        changed = {call} != start
    except PermissionError:
        changed = False
    if changed:
        session.open()
    """
    assert (played(write(tmp_path, solve, WITH_TOOLS), seeds=range(2)).branches_opened == 1).all()


@pytest.mark.parametrize(
    "look",
    [
        "code(b'\\x0f\\x31\\x48\\xc1\\xe2\\x20\\x48\\x09\\xd0\\xc3')()",  # rdtsc
        "code(b'\\x0f\\x01\\xf9\\x48\\xc1\\xe2\\x20\\x48\\x09\\xd0\\xc3')()",  # rdtscp
        *("ctypes.string_at(vdso.clocks[0][0], 8)", "ctypes.string_at(vdso.clocks[-1][0], 8)"),
    ],
)
def test_neither_the_processor_nor_memory_shows_the_time(tmp_path: Path, look: str) -> None:
    """Each look reads it in a process without the layer, and ends one that has it."""
    if not layers()["clock"]:
        pytest.skip("the layer clock is missing on this machine")
    tools = f"""
import ctypes
from autotts_gym.sandbox import confinement

vdso = confinement.find_vdso()


def code(text):
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    at = libc.mmap(None, ctypes.c_size_t(4096), 7, 34, -1, ctypes.c_long(0))
    ctypes.memmove(at, text, len(text))
    return ctypes.CFUNCTYPE(ctypes.c_uint64)(at)


times = []
for _ in range(2):
    times.append({look})
    for _ in range(10**7 if "vdso" in {look!r} else 1):
        pass
if sys.argv[1:]:
    confinement.clock(vdso)
    {look}
print(times)
"""
    script = tmp_path / "clock.py"
    script.write_text("import sys\n" + tools)
    free, bound = (
        subprocess.run([sys.executable, str(script), *more], capture_output=True, text=True, timeout=60)
        for more in ((), ("bound",))
    )
    assert free.returncode == 0, free.stderr
    assert bound.returncode == -signal.SIGSEGV
    if "code" in look:
        first, second = json.loads(free.stdout)
        assert second > first


@pytest.fixture
def without_the_layer_of_clocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine where clocks can't be taken from a process."""
    close_fork_servers()
    monkeypatch.setattr(processes, "LAYERS", tuple(layer for layer in processes.LAYERS if layer != "clock"))
    yield
    close_fork_servers()


@pytest.mark.usefixtures("without_the_layer_of_clocks")
@pytest.mark.parametrize("clock", CLOCKS[:2])
def test_where_clocks_cannot_be_taken_the_audit_finds_them(tmp_path: Path, clock: str) -> None:
    path = write(tmp_path, f"for _ in range(1 + module('time').{clock}() % 11):\n    session.open()", WITH_TOOLS)
    assert failure(path).kind == "nondeterminism"


DELAYS = """
clock = module("time").perf_counter
session.open()
session.answers
start = clock()
while id(session) % 3 == 0 and clock() < start + 0.2:
    pass
session.open()
session.answers
if clock() - start > 0.15:
    session.open()
"""


@pytest.mark.usefixtures("without_the_layer_of_clocks")
def test_where_clocks_cannot_be_taken_a_delay_is_seen_in_other_processes(tmp_path: Path) -> None:
    """What docs/sandbox.md says that remains possible there."""
    result = played(write(tmp_path, DELAYS, WITH_TOOLS), Sandbox(audit_share=0), seeds=range(4))
    assert set(result.branches_opened.ravel().tolist()) <= {2, 3}
    assert (result.branches_opened == 3).sum() > 1


def test_what_is_the_same_in_all_processes_passes(tmp_path: Path) -> None:
    path = write(tmp_path, "for _ in range(1 + sys.hash_info.width % 11):\n    session.open()", WITH_TOOLS)
    assert len({*played(path).branches_opened.ravel().tolist()}) == 1


def test_an_episode_is_in_a_process_whose_server_has_served_nobody_before(tmp_path: Path) -> None:
    """What a fork server remembers of earlier chunks and evaluations, its children would have in their memory."""
    version = "module('ctypes').c_uint64.from_address(id(special(sys.modules['__main__'], 'dict')) + 24).value"
    other = STORE.select([0, 1, 2])
    path = write(tmp_path, f"version = {version}\nif version > LIMIT:\n    session.open()\nsession.open()", WITH_TOOLS)
    raw = write(tmp_path, f"raise ValueError({version})", WITH_TOOLS, name="raw.py")
    first = int(failure(raw, ROOMY).message.removeprefix("ValueError: "))
    path.write_text(path.read_text().replace("LIMIT", str(first + 60)))
    for _ in range(3):
        result = evaluate(Program(path, sandbox=Sandbox(audit_share=0)), other, seeds=range(110))
        assert (result.branches_opened == 1).all()


def test_who_is_late_ends_the_evaluation_so_that_nobody_hears_of_it(tmp_path: Path) -> None:
    """All processes of a batch get the signal that asks where they spin; what they make of it counts no more."""
    solve = """
    signal, heard = module("signal"), []
    signal.signal(signal.SIGALRM, lambda *_: heard.append(1))
    session.open()
    session.answers
    while id(session) and not heard:
        pass
    session.open()
    """
    error = failure(write(tmp_path, solve, WITH_TOOLS), QUICK)
    assert (error.kind, error.message) == ("timeout", "expected to look or to end within 1 s")


# -------------------------------------------------------------------------- the kernel, with the text left unchecked

GRABS = {
    "read": "os.read(os.open(SECRET, 0), 9)",
    "list": "os.listdir(os.path.dirname(SECRET))",
    "write": "os.close(os.open(MARK, os.O_CREAT | os.O_WRONLY))",
    "link": "os.symlink(SECRET, MARK)",
    "change": "os.chmod(SECRET, 0o777)",
    "connect": "module('socket').socket().connect(('127.0.0.1', PORT))",
    "signal": "os.kill(PARENT, 0)",
    "look into": "os.read(os.open(f'/proc/{PARENT}/environ', 0), 9)",
    "fork": "os.fork() or os._exit(0)",
    "handles": "[os.dup(0) for _ in range(50)]",
    "memory": "bytes(1 << 28)",
}
REFUSED_BY: dict[str, set[str]] = {
    "seccomp": {*GRABS} - {"memory"},
    "landlock": {"read", "list", "write", "link", "look into"},
    "namespaces": {"read", "list", "write", "link", "change", "connect", "signal", "look into"},
    "rlimits": {"read", "list", "write", "connect", "look into", "handles", "memory"},
    "no_new_privs": set(),
    "clock": set(),
    "none": set(),
    "all": {*GRABS},
}


HERE_AND_THERE = {"landlock": {"connect", "signal"}, "rlimits": {"fork"}}
"""What depends on the kernel's age, and on whose rights a process has: root may fork beyond its limit."""


@pytest.mark.parametrize("layer", REFUSED_BY)
def test_each_layer_holds_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer: str) -> None:
    here = layers()
    for each in here if layer == "all" else [layer]:
        if not here.get(each, True):
            pytest.skip(f"the layer {each} is missing on this machine")
    close_fork_servers()
    if layer != "all":
        monkeypatch.setattr(processes, "LAYERS", () if layer == "none" else (layer,))
    secret, mark = tmp_path / "secret", tmp_path / "mark"
    path = tmp_path / "grab.py"
    through = set()
    with socket.create_server(("127.0.0.1", 0)) as server:
        names = f"SECRET, MARK, PORT, PARENT = {str(secret)!r}, {str(mark)!r}, {server.getsockname()[1]}, {os.getpid()}"
        for name, grab in GRABS.items():
            secret.write_text("gold")
            secret.chmod(0o600)
            path.write_text(
                f'"""d"""\n{TOOLS}\n{names}\n\n\ndef solve(session, beta):\n    try:\n        {grab}\n'
                "    except (OSError, MemoryError, RuntimeError) as error:\n"
                "        raise ValueError(f'refused: {error!r}')\n    raise ValueError('went through')\n"
            )
            with pytest.raises(ProgramError, match=r"refused: |went through") as caught:
                evaluate(unchecked(path, Sandbox(require=(), audit_share=0)), STORE.select([0]), seeds=range(1))
            if caught.value.message.endswith("went through"):
                through.add(name)
            changed = mark.exists() or secret.stat().st_mode & 0o777 != 0o600
            assert changed == (name in through & {"write", "link", "change"}), name
            mark.unlink(missing_ok=True)
    close_fork_servers()
    sure = {*GRABS} - HERE_AND_THERE.get(layer, set())
    assert through & sure == sure - REFUSED_BY[layer]


@pytest.mark.parametrize(
    "start",
    [
        "module('_thread').start_new_thread(len, ('',))",
        "os.execv('/bin/true', ['true'])",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "os.pipe()",
        "os.memfd_create('x')",
        "os.mkfifo('/x')",
        "os.setsid()",
        "os.sched_setaffinity(0, [0])",
        "os.nice(-5)",
        "os.setuid(0)",
        "os.urandom(8)",
        "os.sendfile(3, 0, 0, 9)",
        "os.dup(3)",
        "os.unshare(0) if hasattr(os, 'unshare') else os.chroot('/')",
        "module('_signal').pthread_kill(module('_thread').get_ident(), 9)",
        "module('resource').prlimit(0, 9)",
        "module('_socket').socketpair()",
    ],
)
def test_a_call_that_starts_or_opens_anything_is_refused(tmp_path: Path, start: str) -> None:
    path = tmp_path / "start.py"
    path.write_text(
        f'"""d"""\n{TOOLS}\n\n\ndef solve(session, beta):\n    {start}\n    raise ValueError("went through")\n'
    )
    with pytest.raises(ProgramError) as caught:
        evaluate(unchecked(path), STORE, seeds=range(1))
    assert re.match("(PermissionError|RuntimeError|NotImplementedError): ", caught.value.message), caught.value


def test_system_calls_by_number_are_refused_in_every_dialect(tmp_path: Path) -> None:
    path = tmp_path / "raw.py"
    path.write_text(
        f'"""d"""\n{TOOLS}\n\n\ndef solve(session, beta):\n    ctypes = module("ctypes")\n'
        "    call = ctypes.CDLL(None, use_errno=True).syscall\n"
        "    allowed = []\n"
        "    for number in [*range(1000), *range(1 << 30, (1 << 30) + 600), -1, (1 << 32) + 41]:\n"
        "        if number not in HARMLESS:\n"
        "            ctypes.set_errno(0)\n"
        "            if call(ctypes.c_long(number), -1, -1, -1, -1, -1, -1) != -1 or ctypes.get_errno() != 1:\n"
        "                allowed.append(number)\n"
        '    raise ValueError(f"went through: {allowed}")\n'
    )
    known = {*confinement._CALLS[platform.machine()][1].values()}
    known |= {335, 336} if platform.machine() == "x86_64" else set()  # for probes of the kernel, past seccomp: SIGILL
    path.write_text(path.read_text().replace("HARMLESS", repr(known)))
    with pytest.raises(ProgramError) as caught:
        evaluate(unchecked(path), STORE, seeds=range(1))
    assert caught.value.message == "ValueError: went through: []"


def test_calls_that_reach_other_processes_by_their_arguments_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "arguments.py"
    calls = confinement._CALLS[platform.machine()][1]
    path.write_text(
        f'"""d"""\n{TOOLS}\n\n\ndef solve(session, beta):\n    ctypes = module("ctypes")\n'
        "    long = ctypes.c_long\n"
        "    place, soon = ctypes.create_string_buffer(4096), (long * 2)(0, 1000)\n"
        "    at, when = long(ctypes.addressof(place)), long(ctypes.addressof(soon))\n"
        f"    futex, advise, map = {calls['futex']}, {calls['madvise']}, {calls['mmap']}\n"
        f"    protect = {calls['mprotect']}\n"
        "    def call(*values):\n"
        "        ctypes.set_errno(0)\n"
        "        values = [long(value) if type(value) is int else value for value in values]\n"
        "        return ctypes.CDLL(None, use_errno=True).syscall(*values), ctypes.get_errno()\n"
        "    results = [\n"
        "        call(futex, at, 1 | 128, 99),\n"
        "        {call(futex, at, op, 99, 0) for op in (0, 1, 3, 4, 5, 9, 10, 256, 257)},\n"
        "        {call(futex, at, op | 128, 0, when, 0, -1) for op in (0, 9, 256, 9 | 256, 11, 13)},\n"
        "        call(advise, 0, 0, 12),\n"
        "        {call(map, 0, 1 << 21, 3, flags, -1, 0) for flags in (0x40022, 0x40021, 0x54040022)},\n"
        "        {call(map, 0, 4096, rights, 0x22, -1, 0) for rights in (4, 5, 7)},\n"
        "        {call(protect, at, 4096, rights) for rights in (4, 5, 7)},\n"
        "    ]\n"
        "    raise ValueError(results)\n"
    )
    with pytest.raises(ProgramError) as caught:
        evaluate(unchecked(path), STORE, seeds=range(1))
    refused = (-1, 1)
    assert (
        caught.value.message
        == f"ValueError: {[(0, 0), {refused}, {refused}, refused, {refused}, {refused}, {refused}]}"
    )


OF_THE_THREAD = """
libc = module("ctypes").CDLL(None)
libc.pthread_self.restype = module("ctypes").c_void_p
"""


def test_no_number_of_a_process_is_left_in_its_memory(tmp_path: Path) -> None:
    """The C library keeps it; it grew through the chunks of an evaluation."""
    (place,) = confinement.find_number()
    word = f"module('ctypes').c_int32.from_address(libc.pthread_self() + {4 * place}).value"
    solve = f"for _ in range(1 + {word} % 40):\n    session.open()"
    result = played(write(tmp_path, solve, WITH_TOOLS + OF_THE_THREAD), Sandbox(audit_share=0), seeds=range(60))
    assert len({*result.branches_opened.ravel().tolist()}) == 1


def test_the_kernel_does_not_write_where_a_process_runs_or_when_it_was_stopped(tmp_path: Path) -> None:
    if not hasattr(ctypes.CDLL(None), "__rseq_size"):
        pytest.skip("this C library has no restartable sequences")
    solve = "raise ValueError(module('ctypes').c_uint.in_dll(libc, '__rs' + 'eq_size').value)"
    assert failure(write(tmp_path, solve, WITH_TOOLS + OF_THE_THREAD)).message == "ValueError: 0"
