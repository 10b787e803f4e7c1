"""What runs inside a confined process: the session that a program acts through, and its episodes as coroutines.

Standard library and greenlet only: the process holds none of the rest of the package. It is sent what the actions of
its own episodes reveal and nothing else, so a program that inspects it finds nothing more.
"""

import builtins
import json
import marshal
import os
import signal
import struct
import sys
import traceback
from array import array
from collections import Counter
from collections.abc import Iterable
from types import CodeType, FrameType, ModuleType
from typing import Any, NoReturn

from greenlet import getcurrent, greenlet

from autotts_gym.sandbox.modules import importer
from autotts_gym.sandbox.protocol import (
    ASK,
    FAILURE,
    FORBIDDEN_BUILTINS,
    MAX_STEPS,
    ROUND,
    SCHEDULE,
)

MAX_TEXT = 400
_WHOLE = frozenset((int,))
_SEVERAL = frozenset((list, tuple, set, range))

_socket = 3
"""The one file descriptor of a confined process that leads anywhere."""


# --------------------------------------------------------------------------------------------------------- the session


_labels: list[str | None] = [None]
"""Answers as a program sees them: "A0", "A1", ... as its episode first revealed them; the last one, -1, is none."""


def _label_upto(count: int) -> None:
    _labels[-1:] = [*(sys.intern(f"A{k}") for k in range(len(_labels) - 1, count)), None]


class Session:
    """One episode, as a program acts on it.

    Actions wait until the program looks at what they revealed; all that wait are one round, in which branches grow side
    by side. An action that is not admissible does nothing. Branches are numbered from 0 in the order of their opening.

    Attributes:
        answers: latest answer of each opened branch, a label such as "A0"; None: none yet.
        depths: intervals generated on each opened branch.
        active: branches that can be deepened, ascending.
        finished: finished branches in the order of their completion.
        pruned: pruned branches, ascending.
        leader: the answer that None stands for: most frequent among the finished branches (ties: finished first), else
            among the latest of those not pruned (ties: opened first); None: no answer yet.
        total_tokens: spent so far.
        remaining_budget: tokens left; None: no limit.
        opened: number of branches opened; does not look.
        max_branches: how many can be opened.
        interval_tokens: tokens of an interval.
        signal_names: what ``signal`` and ``signal_history`` know of every interval.
    """

    def __init__(
        self,
        episode: int,
        slots: int,
        sure: int,
        interval: int,
        budget: int | None,
        out: list[int],
        signal_names: Iterable[str] = (),
    ) -> None:
        self.max_branches = slots
        self.signal_names = tuple(signal_names)
        self.interval_tokens = interval
        self._episode = episode
        self._budget = budget
        self._out = out
        self._hub = getcurrent()
        # What waits: branches to open and to read, steps by branch, branches to prune; and whether anything does.
        self._waits = False
        self._opening = 0
        self._reading = 0
        self._deepening: dict[int, int] = {}
        self._pruning: list[int] = []
        # Branches that can surely be opened: where pools differ in size, no more than were asked for.
        self._sure = sure
        # What has been revealed; the answers of past depths stay as they came until a program asks for them.
        self._tokens = 0
        self._seen = 0
        self._opened = 0
        self._latest: tuple[int, ...] = ()
        self._depths: tuple[int, ...] = ()
        self._active: tuple[int, ...] = ()
        self._finished: tuple[int, ...] = ()
        self._growing: set[int] = set()
        self._answers: tuple[str | None, ...] | None = ()
        self._news: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        self._histories: list[list[str | None]] = []
        self._signal_news: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        self._signals: list[list[tuple[float, ...]]] = []

    # -- actions

    def open(self) -> int | None:
        """Open a branch, which generates its first interval; returns its number, or None where none can be opened."""
        if self._reading:
            self._round()
        if self._opened + self._opening >= self.max_branches:
            return None
        if self._budget is not None and not self._covers_opening(self._budget):
            return None
        if self._opened + self._opening >= self._sure and not self._ask():
            return None
        self._waits = True
        self._opening += 1
        return self._opened + self._opening - 1

    def read(self) -> int | None:
        """Open a branch and read it whole, for exactly its tokens; returns its number, or None where none is left."""
        if self.opened >= self.max_branches:
            return None
        if self._budget is not None and self._budget - self.total_tokens < self.interval_tokens:
            return None
        if self.opened >= self._sure and not self._ask():
            return None
        self._waits = True
        self._reading += 1
        return self.opened - 1

    def deepen(self, branches: int | Iterable[int], steps: int = 1) -> None:
        """Grow branches by so many intervals each; a branch stops at its finish."""
        if type(steps) is not int or steps < 1:
            raise TypeError(f"deepen: expected steps to be a whole number of at least 1, got {steps!r}")
        if self._budget is None and steps <= MAX_STEPS and type(branches) in _SEVERAL:  # the usual case is fast
            several: Any = branches
            if not several:
                return
            if (several is self._active and not self._pruning and not self._deepening) or (
                _WHOLE.issuperset(map(type, several))
                and self._growing.issuperset(several)
                and self._deepening.keys().isdisjoint(several)
            ):
                self._waits = True
                self._deepening.update(dict.fromkeys(several, steps))
                return
        branches = dict.fromkeys(self._several("deepen", branches))
        if self._budget is not None:
            if self._opening or self._reading:  # which come later in a round, and must not lose their tokens to this
                self._round()
            if self._budget - self._tokens < self.interval_tokens:
                return
        for i in branches:
            left = steps
            while i in self._growing and left > 0:
                wanted = self._deepening.get(i, 0) + left
                self._deepening[i] = min(wanted, MAX_STEPS)
                self._waits = True
                left = wanted - MAX_STEPS
                if left > 0:
                    self._round()

    def prune(self, branches: int | Iterable[int]) -> None:
        """Give branches up: they cost no more and have no vote."""
        for i in self._several("prune", branches):
            if i in self._deepening:  # it was asked to grow first
                self._round()
            if i in self._growing:
                self._growing.discard(i)
                self._pruning.append(i)
                self._waits = True

    # -- what has been revealed

    @property
    def answers(self) -> tuple[str | None, ...]:
        """Latest answer of each opened branch."""
        if self._waits:
            self._round()
        if self._answers is None:
            self._answers = tuple(map(_labels.__getitem__, self._latest))
        return self._answers

    @property
    def depths(self) -> tuple[int, ...]:
        """Intervals generated on each opened branch."""
        if self._waits:
            self._round()
        return self._depths

    @property
    def active(self) -> tuple[int, ...]:
        """Branches that can be deepened."""
        if self._waits:
            self._round()
        return self._active

    @property
    def finished(self) -> tuple[int, ...]:
        """Finished branches, in the order of their completion."""
        if self._waits:
            self._round()
        return self._finished

    @property
    def pruned(self) -> tuple[int, ...]:
        """Pruned branches."""
        alive = {*self.active, *self._finished}
        return tuple([i for i in range(self._opened) if i not in alive])

    @property
    def leader(self) -> str | None:
        """The answer that None stands for."""
        answers = self.answers
        votes = Counter([answers[i] for i in self._finished if answers[i] is not None])
        if not votes:
            alive = sorted((*self._active, *self._finished))
            votes = Counter([answers[i] for i in alive if answers[i] is not None])
        return max(votes, key=votes.__getitem__) if votes else None  # among equals the one that was counted first

    def history(self, branch: int) -> tuple[str | None, ...]:
        """The answers that a branch showed at depths 1, 2, ..., its depth; ``answers`` has its final one."""
        if self._waits:
            self._round()
        self._several("history", branch)
        for depths, answers in self._news:
            at = 0
            self._histories += [[] for _ in range(len(depths) - len(self._histories))]
            for history, depth in zip(self._histories, depths, strict=True):
                end = at + depth - len(history)
                history += map(_labels.__getitem__, answers[at:end])
                at = end
        self._news.clear()
        # No message reports on a branch that ended before its first probe.
        self._histories += [[] for _ in range(len(self._depths) - len(self._histories))]
        return tuple(self._histories[branch])

    def signal(self, name: str, branch: int) -> float | None:
        """A signal of a branch, of its newest interval; None: it has none yet."""
        values = self.signal_history(name, branch)
        return values[-1] if values else None

    def signal_history(self, name: str, branch: int) -> tuple[float, ...]:
        """A signal of a branch at depths 1, 2, ..., its depth."""
        if self._waits:
            self._round()
        self._several("signal", branch)
        if name not in self.signal_names:
            raise KeyError(f"signal: expected one of {self.signal_names}, got {name!r:.60}")
        count = len(self.signal_names)
        for depths, words in self._signal_news:
            values = struct.unpack(f"{len(words)}d", struct.pack(f"{len(words)}q", *words))
            at = 0
            self._signals += [[] for _ in range(len(depths) - len(self._signals))]
            for rows, depth in zip(self._signals, depths, strict=True):
                while len(rows) < depth:
                    rows.append(values[at : at + count])
                    at += count
        self._signal_news.clear()
        self._signals += [[] for _ in range(len(self._depths) - len(self._signals))]
        k = self.signal_names.index(name)
        return tuple([row[k] for row in self._signals[branch]])

    @property
    def total_tokens(self) -> int:
        """Tokens spent."""
        if self._waits:
            self._round()
        return self._tokens

    @property
    def remaining_budget(self) -> int | None:
        """Tokens left; None: no limit."""
        return None if self._budget is None else self._budget - self.total_tokens

    @property
    def opened(self) -> int:
        """Number of branches opened."""
        return self._opened + self._opening + self._reading

    # -- how it works

    def _covers_opening(self, budget: int) -> bool:
        """Whether the budget surely covers one more interval, at the price of a round where that is not known."""
        if self._deepening or budget - self._tokens < (self._opening + 1) * self.interval_tokens:
            self._round()
        return budget - self._tokens >= (self._opening + 1) * self.interval_tokens

    def _several(self, what: str, branches: Any) -> tuple[int, ...]:
        """Branches as a tuple, each of them known: where the opening of one waits, it is handed in."""
        if type(branches) is int:
            branches = (branches,)
        elif type(branches) not in _SEVERAL and (not isinstance(branches, Iterable) or isinstance(branches, str)):
            raise TypeError(f"{what}: expected a branch or several, got {branches!r}")
        several: tuple[int, ...] = tuple(branches)
        if not several:
            return several
        if not _WHOLE.issuperset(map(type, several)):
            raise TypeError(f"{what}: expected whole numbers as branches, got {several!r:.60}")
        if min(several) < 0 or max(several) >= self._opened:
            if min(several) < 0 or max(several) >= self.opened:
                raise IndexError(f"{what}: expected branches from 0 to {self.opened - 1}, got {several!r:.60}")
            self._round()
        return several

    def _round(self) -> None:
        """Hand in what waits, and wait for what it reveals."""
        if self._waits:
            self._hand_in(0, -1)
            self._hub.switch()

    def _ask(self) -> bool:
        """Whether the pool has one more branch; to ask is to open it: the parent requires that."""
        if self._sure < 0:  # it had none left
            return False
        wanted = self.opened + 1
        self._out += (self._episode, ASK, -1, self._opening + 1, self._reading, 0, 0)
        self._hub.switch()
        if self._sure < wanted:
            self._sure = -1
        return self._sure > 0

    def _hand_in(self, stop: int, answer: int) -> None:
        deepening, pruning = self._deepening, self._pruning
        out = self._out
        out += (self._episode, stop, answer, self._opening, self._reading, len(pruning), len(deepening))
        if pruning:
            out += pruning
            pruning.clear()
        if deepening:
            out += deepening
            out += deepening.values()
            deepening.clear()
        self._waits = False
        self._opening = self._reading = 0

    def _update(self, words: tuple[int, ...], at: int) -> int:
        """Take in what a round revealed, from ``words[at]`` on; returns where it ends."""
        self._tokens, self._seen, opened, active, finished, sure, news = words[at : at + 7]
        if self._seen >= len(_labels):
            _label_upto(self._seen)
        if self._sure >= 0:
            self._sure = sure
        at += 7
        self._opened = opened
        self._latest = words[at : at + opened]
        self._answers = None
        at += opened
        self._depths = words[at : at + opened]
        at += opened
        growing = words[at : at + active]
        if growing != self._active:
            self._active = growing
            self._growing = set(growing)
        at += active
        self._finished = words[at : at + finished]
        at += finished
        if news:
            self._news.append((self._depths, words[at : at + news]))
            at += news
            if self.signal_names:
                news *= len(self.signal_names)
                self._signal_news.append((self._depths, words[at : at + news]))
                at += news
        return at

    def _stop(self, answer: Any) -> None:
        """End the episode with what the program returned."""
        named = -1
        if answer is not None:
            try:
                named = _labels.index(answer, 0, self._seen) if type(answer) is str else -1
            except ValueError:
                named = -1
            if named < 0:
                shown = repr(answer) if type(answer) in (str, int, float, bool) else f"a {type(answer).__name__}"
                raise _AnswerError(f"expected an answer that the episode has seen, or None, got {shown[:60]}")
        self._hand_in(1, named)


class Question:
    """An episode with the methods of the published code; each of them looks, and so is a round of its own."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def probe_new(self) -> tuple[str | None, int, bool]:
        """Open a branch: its answer, its number, whether it has finished.

        Raises:
            IndexError: no branch is left.
        """
        i = _left(self._session.open())
        return self._session.answers[i], i, i in self._session.finished

    def probe_more(self, index: int) -> tuple[str | None, bool]:
        """Grow a branch by an interval: its answer, whether it has finished. A finished one just shows its answer."""
        self._session.deepen(index)
        return self._session.answers[index], index in self._session.finished

    def get_new_branch_final_answer(self) -> str | None:
        """Read a branch whole: its final answer.

        Raises:
            IndexError: no branch is left.
        """
        i = _left(self._session.read())
        return self._session.answers[i]


def _left(branch: int | None) -> int:
    if branch is None:
        raise IndexError("no branch is left to open")
    return branch


class _AnswerError(Exception):
    """A program returned what is no answer of its episode."""


# --------------------------------------------------------------------------------------------------------- the program


class _Program:
    """The program, which runs anew for every episode: its globals are the episode's own."""

    def __init__(self, code: CodeType, style: str) -> None:
        self.code = code
        self.filename = code.co_filename
        self.style = style
        self.builtins = {name: value for name, value in vars(builtins).items() if name not in FORBIDDEN_BUILTINS}
        self.builtins["print"] = lambda *_values, **_options: None
        sys.modules["program"] = ModuleType("program")  # where dataclasses and enum look up a class's module

    def namespace(self) -> dict[str, Any]:
        namespace = {"__name__": "program", "__builtins__": {**self.builtins, "__import__": importer(_packages)}}
        exec(self.code, namespace)
        return namespace

    def solve(self, session: Session, beta: float) -> Any:
        namespace = self.namespace()
        if self.style == "program":
            return namespace["solve"](session, beta)
        controllers = [each for each in namespace.values() if isinstance(each, type) and each.__module__ == "program"]
        named = namespace.get("OptimalController")
        controller = named or next(each for each in controllers if hasattr(each, "solve"))
        return controller({"beta": beta}).solve(Question(session))

    def line(self, frame: FrameType | None) -> int | None:
        """The line of the program that a frame is in, or was called from."""
        while frame is not None:
            if frame.f_code.co_filename == self.filename:
                return frame.f_lineno
            frame = frame.f_back
        return None

    def failure(self, error: BaseException) -> tuple[str, str, int | None]:
        """Kind, message and line of what was raised."""
        frames = traceback.walk_tb(error.__traceback__)
        lines = [line for frame, line in frames if frame.f_code.co_filename == self.filename]
        if isinstance(error, _AnswerError):
            return "answer", str(error), None
        if isinstance(error, MemoryError):
            return "memory", "ran out of memory", lines[-1] if lines else None
        line = lines[-1] if lines else getattr(error, "lineno", None)
        try:
            text = str(error)
        except BaseException:
            text = ""
        return "exception", f"{type(error).__name__}: {text}" if text else type(error).__name__, line


_packages: frozenset[str] = frozenset()
"""Allowed beyond the standard library; set by the fork server."""


# ------------------------------------------------------------------------------------------------------------ messages


def receive() -> tuple[int, bytes]:
    """Kind and content of the next message; the process ends when there will be none."""
    data = b""
    while len(data) < 8 or len(data) < 8 + int.from_bytes(data[:4], "little"):
        more = os.read(_socket, 1 << 16)
        if not more:
            os._exit(0)
        data += more
    return int.from_bytes(data[4:8], "little"), data[8:]


def send(kind: int, content: bytes) -> None:
    """Write a message."""
    data = memoryview(struct.pack("<II", len(content), kind) + content)
    while data:
        data = data[os.write(_socket, data) :]


def fail(kind: str, message: str, line: int | None) -> NoReturn:
    """Report what went wrong, and end."""
    text = " ".join(message.split())[:MAX_TEXT]
    send(FAILURE, json.dumps([kind, text, line]).encode())
    os._exit(1)


# ------------------------------------------------------------------------------------------------------------- the hub


def serve() -> None:
    """Play the episodes that the first message lists, round by round, until the socket closes.

    All that is left in a frame, a closure or a module is within a program's reach. So it is called with nothing below
    it on the stack, and what the message said is in the program and the sessions alone.
    """
    program: _Program | None = None

    def out_of_time(_signal: int, frame: FrameType | None) -> None:
        if frame is None or frame.f_code not in _WAITING:
            fail("timeout", "", program.line(frame) if program else None)

    signal.signal(signal.SIGALRM, out_of_time)
    try:
        program, episodes, betas, out = _begin()
        if betas:
            _schedule(program, betas)
        else:
            _play(program, episodes, out)
    except BaseException as error:
        try:
            fail(*program.failure(error) if program else ("exception", repr(error), None))
        finally:
            os._exit(70)


def _begin() -> tuple[_Program, list[tuple[Session, float]], list[float], list[int]]:
    """Receive the first message.

    Returns:
        The program; its sessions, each with its beta, or the betas of its schedule; where requests are collected.
    """
    message = json.loads(receive()[1])
    program = _Program(marshal.loads(bytes.fromhex(message["code"])), message["style"])
    out: list[int] = []
    episodes = [
        (Session(k, message["slots"], message["sure"], interval, message["budget"], out, message["signals"]), beta)
        for k, (beta, interval) in enumerate(message.get("episodes", ()))
    ]
    return program, episodes, message.get("betas", []), out


def _schedule(program: _Program, betas: list[float]) -> None:
    """Send what ``schedule`` gives at every beta, each value with its type, and nothing else of it."""
    schedule = program.namespace()["schedule"]
    made = []
    for beta in betas:
        numbers = schedule(beta)
        if not isinstance(numbers, dict):
            fail("schedule", f"expected schedule to return a dict, got a {type(numbers).__name__}", None)
        items = []
        for name, value in numbers.items():
            if type(name) is not str or type(value) not in (int, float, bool):
                fail("schedule", f"expected numbers by name, got {name!r}: a {type(value).__name__}", None)
            items.append([name, float(value)])
        made.append(items)
    send(SCHEDULE, json.dumps(made).encode())


def _play(program: _Program, episodes: list[tuple[Session, float]], out: list[int]) -> None:
    def run(session: Session, beta: float) -> None:
        session._stop(program.solve(session, beta))

    sessions = [session for session, _ in episodes]
    threads = []
    for session, beta in episodes:
        threads.append(greenlet(run))
        threads[-1].switch(session, beta)
    while True:
        send(ROUND, array("q", out).tobytes())
        del out[:]
        _, content = receive()
        words = struct.unpack(f"{len(content) // 8}q", content)
        at, end = 0, len(words)
        while at < end:
            episode = words[at]
            at = sessions[episode]._update(words, at + 1)
            threads[episode].switch()


_WAITING = (receive.__code__, send.__code__)
"""Code of this file in which a process waits for the parent, and is not late itself."""
