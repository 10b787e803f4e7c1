"""One question, answered by a controller on a served model."""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from autotts_gym.controllers import Controller, make_controller
from autotts_gym.engine import Rules
from autotts_gym.engine.layout import ACTIVE, FINISHED
from autotts_gym.errors import AutottsError
from autotts_gym.evaluation.trace import Setting, Trace, observe
from autotts_gym.live.branches import Usage
from autotts_gym.live.source import LiveSource, reads_probes
from autotts_gym.live.state import LiveState
from autotts_gym.models import EndpointError
from autotts_gym.validation import check, is_real


@dataclass(frozen=True)
class Solution:
    """An answer, and what it took.

    Attributes:
        answer: the answer; None: the model gave none.
        text: of the branch that stands for it: the shortest finished one that gives it, or else the deepest one that
            shows it now.
        finished: whether that branch has finished.
        votes: answers and the latest votes for them, most votes first.
        branches: branches opened.
        total_tokens: generated for branches, as the ledger of replay counts them.
        sequential_tokens: on the critical path.
        usage: all that the server generated and read.
        stop_reason: "stop", "exhausted", "deadline", or "truncated".
        forced: whether the answer is that of a probe that was asked at the end, as there was none.
        seconds: from the question to the answer.
        trace: round by round.
    """

    answer: str | None
    text: str
    finished: bool
    votes: tuple[tuple[str, int], ...]
    branches: int
    total_tokens: int
    sequential_tokens: int
    usage: Usage
    stop_reason: str
    forced: bool
    seconds: float
    trace: Trace = field(repr=False)

    def sc_tokens(self, width: int = 64) -> int | None:
        """What so many whole branches would take, by the mean of those that finished; None: none has."""
        slots = self.trace.state.revealed.slots[0]
        tokens = slots["tokens"][slots["status"] == FINISHED]
        return round(width * float(tokens.mean())) if tokens.size else None


def solve(
    question: str,
    endpoint: Any = "tiny",
    controller: str | os.PathLike[str] | Controller = "cmc",
    *,
    source: LiveSource | None = None,
    max_branches: int = 64,
    token_budget: int | None = None,
    deadline: float | None = None,
    seed: int = 0,
    watch: Callable[[LiveState], None] = lambda state: None,
    knobs: dict[str, Any] | None = None,
    **options: Any,
) -> Solution:
    """Answer a question.

    Args:
        question: its text.
        endpoint: as ``LiveSource`` takes it.
        controller: a controller, or a name or path for ``make_controller``.
        source: a ``LiveSource`` to ask, in the place of ``endpoint`` and ``options``; its questions are not used.
        max_branches: branch slots.
        token_budget: total tokens of branches that may be spent; None: no limit.
        deadline: seconds after which the best answer so far is given; None: no limit.
        seed: what branches are drawn with.
        watch: gets the episode after each round.
        knobs: of the controller, such as ``{"beta": 0.5}``, where it is a name.
        **options: of ``LiveSource``.

    Raises:
        AutottsError: an argument is out of its range.
        EndpointError: there is no such server or model, or it failed.
    """
    check("question", question, isinstance(question, str) and bool(question.strip()), "a text")
    if deadline is not None:
        check("deadline", deadline, is_real(deadline, 0.001), "a number of seconds above 0")
    if isinstance(controller, str | os.PathLike):
        controller = make_controller(controller, **(knobs or {}))
    elif knobs:
        raise AutottsError("knobs: expected none for a controller that is made already")
    if "record" in options or (source is not None and source.settings.record is not None):
        raise AutottsError("record: expected none, as solve records nothing; use evaluate")
    own = source is None
    source = (source or LiveSource(endpoint, [question], **options)).asking(question)
    try:
        return _solve(source, controller, max_branches, token_budget, deadline, seed, watch)
    finally:
        if own:
            source.close()


async def solve_async(question: str, *arguments: Any, **options: Any) -> Solution:
    """``solve``, in a thread: the event loop goes on meanwhile. To cancel it, give it a deadline."""
    return await asyncio.to_thread(solve, question, *arguments, **options)


def _solve(
    source: LiveSource,
    controller: Controller,
    max_branches: int,
    token_budget: int | None,
    deadline: float | None,
    seed: int,
    watch: Callable[[LiveState], None],
) -> Solution:
    began = time.monotonic()
    rules = Rules(max_branches=max_branches, token_budget=token_budget)
    source.check(controller)
    state = source.begin(rules, np.zeros(1, np.int64), np.array([seed]), reads_probes(controller))
    state.deadline = None if deadline is None else began + deadline
    setting = Setting(
        controller=controller.name,
        params=controller.params,
        store=f"{source.model}/{source.benchmark}",
        question=0,
        seed=seed,
        accounting=rules.accounting,
        max_branches=max_branches,
        token_budget=token_budget,
    )
    (played,) = observe(controller, state, [setting], lambda plan: watch(state))
    for error in state.failures.values():
        raise EndpointError(str(error))
    live = state.live[0]
    assert live is not None
    answer = state.forced.get(0, played.end.answer)
    branch, finished = _standing_for(state, played.end.answer)
    return Solution(
        answer=answer,
        text=live.text(branch) if branch >= 0 else "",
        finished=finished,
        votes=_votes(state),
        branches=played.end.branches_opened,
        total_tokens=played.end.total_tokens,
        sequential_tokens=played.end.sequential_tokens,
        usage=live.usage,
        stop_reason="deadline" if state.late else played.end.stop_reason,
        forced=0 in state.forced,
        seconds=time.monotonic() - began,
        trace=played,
    )


def _standing_for(state: LiveState, answer: str | None) -> tuple[int, bool]:
    """The branch that stands for an answer, and whether it has finished; -1: there is none."""
    opened = int(state.pools["opened"][0])
    slots = state.slots[0, :opened]
    shows = np.array([state.answer_text(0, int(each)) == answer for each in slots["answer"]], np.bool_)
    finished = np.flatnonzero(shows & (slots["status"] == FINISHED))
    if finished.size:
        return int(finished[np.argmin(slots["tokens"][finished])]), True
    active = np.flatnonzero(shows & (slots["status"] == ACTIVE))
    if not active.size:
        active = np.flatnonzero(slots["status"] == ACTIVE)
    return (int(active[np.argmax(slots["depth"][active])]), False) if active.size else (-1, False)


def _votes(state: LiveState) -> tuple[tuple[str, int], ...]:
    """Answers and the latest votes for them, most votes first."""
    votes = state.revealed.votes[0]
    found = [(str(state.answer_text(0, k)), int(count)) for k, count in enumerate(votes) if count]
    return tuple(sorted(found, key=lambda pair: -pair[1]))
