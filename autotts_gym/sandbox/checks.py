"""What is asked of a program before it is played, and after: its schedule, and the same episodes in other company."""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from autotts_gym.engine import Bank, PoolState, RoundPlan, Rules
from autotts_gym.engine.layout import COUNTS
from autotts_gym.errors import ProgramError
from autotts_gym.sandbox.config import Sandbox
from autotts_gym.sandbox.fleet import Crew, Fleet
from autotts_gym.sandbox.protocol import SCHEDULE
from autotts_gym.sandbox.static import Source, read_source

BETAS = tuple(k / 20 for k in range(21))
"""The grid on which a schedule is computed."""

MAX_NUMBERS = 200
MAX_NAME = 80
MAX_SCHEDULE = 1 << 20
"""Bytes of all its numbers over the grid."""

AUDIT_LEAST, AUDIT_MOST = 8, 64
"""Episodes of an audit, unless there are fewer."""


@dataclass(frozen=True)
class Checked:
    """A program that passed the checks.

    Attributes:
        source: its text, and what kind of program it is.
        betas: the grid.
        schedule: every number of ``schedule`` over it; empty for a published program, which has none.
    """

    source: Source
    betas: tuple[float, ...]
    schedule: dict[str, tuple[float, ...]]


def check_program(
    path: str | os.PathLike[str], betas: Sequence[float] = BETAS, sandbox: Sandbox | None = None
) -> Checked:
    """Check a program's text and, in the sandbox, its schedule.

    Every value of ``schedule(beta)`` must be a finite number, under the same names at each beta and monotone in it, and
    at least one must vary.

    Raises:
        ProgramError: it does not pass, or fails.
        ControllerError: a layer that the sandbox requires is missing here.
    """
    sandbox = sandbox or Sandbox()
    source = read_source(path, sandbox.packages)
    betas = tuple(map(float, betas))
    if source.style == "published":
        return Checked(source, betas, {})
    crew = Crew(source, [{"betas": betas}], [MAX_SCHEDULE], sandbox)
    try:
        (content,) = crew.receive([0], SCHEDULE)
    finally:
        crew.close()
    return Checked(source, betas, _schedule(source.path, betas, content))


def _schedule(path: str, betas: Sequence[float], content: bytes) -> dict[str, tuple[float, ...]]:
    def fail(message: str) -> ProgramError:
        return ProgramError(path, "schedule", message)

    try:
        made: list[dict[str, float]] = [dict(items) for items in json.loads(content)]
        good = len(made) == len(betas) and all(
            type(name) is str and type(value) is float for numbers in made for name, value in numbers.items()
        )
    except (ValueError, TypeError, RecursionError):
        good = False
    if not good:
        raise ProgramError(path, "protocol", "sent a message that is none of the protocol's")
    if not all(name.isprintable() and len(name) <= MAX_NAME for numbers in made for name in numbers):
        raise fail(f"expected names of at most {MAX_NAME} printable characters")
    if not 1 <= len(made[0]) <= MAX_NUMBERS:
        raise fail(f"expected from 1 to {MAX_NUMBERS} numbers, got {len(made[0])}")
    for beta, numbers in zip(betas, made, strict=True):
        if numbers.keys() != made[0].keys():
            names = ", ".join(sorted(numbers.keys() ^ made[0].keys()))
            raise fail(f"expected the same names at every beta, but {names[:100]} come and go at beta={beta:g}")
        for name, value in numbers.items():
            if not math.isfinite(value):
                raise fail(f"{name}: expected a finite number at beta={beta:g}, got {value}")
    schedule = {name: tuple(numbers[name] for numbers in made) for name in made[0]}
    for name, values in schedule.items():
        steps = [b - a for a, b in pairwise(values)]
        if min(steps, default=0.0) < 0 < max(steps, default=0.0):
            turns = [beta for beta, a, b in zip(betas[1:], steps, steps[1:], strict=False) if a * b < 0]
            where = f", but it turns at beta={turns[0]:g}" if turns else ""
            raise fail(f"{name}: expected a number monotone in beta{where}")
    if len(betas) > 1 and all(min(values) == max(values) for values in schedule.values()):
        raise fail("expected at least one number to vary with beta")
    return schedule


class Played(Protocol):
    """A program as a controller."""

    @property
    def source(self) -> Source:
        """Its text."""

    @property
    def beta(self) -> float:
        """Its knob."""

    @property
    def limits(self) -> Sandbox:
        """Its sandbox."""


class Result(Protocol):
    """What is read of an ``EvaluationResult``."""

    seeds: tuple[int, ...]
    accounting: str
    max_branches: int


def audit(
    program: Played, store: Any, result: Any, episodes: int | None = None, seed: int = 0, rules: Rules | None = None
) -> int:
    """Play a sample of a result's episodes again, each alone in a process, and compare.

    Args:
        program: the controller of the result.
        store: the ``ReplayStore`` of the result.
        result: its ``EvaluationResult``.
        episodes: how many to play; None: the share that the program's sandbox names.
        seed: of the sample, with the program's text, so that no program is written for its sample.
        rules: of the result; None: those that it names, without a budget.

    Returns:
        How many were played.

    Raises:
        ProgramError: of kind "nondeterminism", if one differs.
    """
    rules = rules or Rules(max_branches=result.max_branches, accounting=result.accounting)
    seeds = np.repeat(np.array(result.seeds, np.int64), store.num_questions)
    questions = np.tile(np.arange(store.num_questions), len(result.seeds))
    fields = {name: np.asarray(getattr(result, name)).reshape(-1) for name in COUNTS}
    if result.answers is not None:
        fields["answers"] = np.asarray(result.answers, object).reshape(-1)
    return audit_episodes(program, Bank([store]), rules, seeds, questions, fields, episodes, seed)


def audit_episodes(
    program: Played,
    bank: Bank,
    rules: Rules,
    seeds: NDArray[np.int64],
    questions: NDArray[np.int64],
    fields: dict[str, NDArray[Any]],
    episodes: int | None = None,
    seed: int = 0,
) -> int:
    """As ``audit``, for episodes one a pair of seed and question, and what they came to by field."""
    if episodes is None:
        share = program.limits.audit_share
        episodes = min(AUDIT_MOST, max(AUDIT_LEAST, math.ceil(share * len(questions)))) if share else 0
    if not episodes:
        return 0
    picked = np.random.default_rng([seed, 0xA0D17, program.source.digest]).permutation(len(questions))[:episodes]
    again = play_alone(program, bank, rules, seeds[picked], questions[picked], "answers" in fields)
    for name, values in again.items():
        differs = np.flatnonzero(values != fields[name][picked])
        if len(differs):
            k = differs[0]
            raise ProgramError(
                program.source.path,
                "nondeterminism",
                f"{name} of question {questions[picked[k]]} under seed {seeds[picked[k]]} differs when played alone"
                + ("" if name in ("answers", "correct") else f": {fields[name][picked[k]]}, then {values[k]}"),
            )
    return len(picked)


def play_alone(
    program: Played,
    bank: Bank,
    rules: Rules,
    seeds: NDArray[np.int64],
    questions: NDArray[np.int64],
    answers: bool,
) -> dict[str, NDArray[Any]]:
    """Play episodes, each in a process of its own."""
    state = PoolState.begun(bank, rules, seeds, questions)
    plan = RoundPlan.empty(state.episodes, rules.max_branches)
    revealed = state.revealed
    fleet = Fleet(program.source, program.beta, revealed, program.limits, np.arange(len(questions)))
    try:
        running = len(questions)
        while running:
            plan.clear()
            fleet.decide(revealed, plan)
            running = state.play(plan)
            if running:
                fleet.look(revealed)
    finally:
        fleet.close()
    return state.outcomes(answers)
