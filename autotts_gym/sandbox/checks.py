"""Checks of a program: its schedule before it is played, and that an episode does not depend on others."""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from autotts_gym.engine import Bank, PoolState, Revealed, Rules, play_out
from autotts_gym.engine.layout import COUNTS
from autotts_gym.errors import ProgramError
from autotts_gym.sandbox.batches import Batch
from autotts_gym.sandbox.config import Sandbox
from autotts_gym.sandbox.lockstep import Lockstep
from autotts_gym.sandbox.processes import Processes
from autotts_gym.sandbox.protocol import SCHEDULE
from autotts_gym.sandbox.static import Source, read_source

BETAS = tuple(k / 20 for k in range(21))
"""The grid on which a schedule is computed."""

MAX_NUMBERS = 200
MAX_NAME = 80
MAX_SCHEDULE = 1 << 20
"""Bytes of all its numbers over the grid."""


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
    processes = Processes(source, [{"betas": betas}], [MAX_SCHEDULE], sandbox)
    try:
        processes.begin()
        (content,) = processes.receive([0], SCHEDULE)
    finally:
        processes.close()
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


class ProgramController(Protocol):
    """A program as a controller."""

    @property
    def source(self) -> Source:
        """The text of the program, checked."""

    def chunk(self, questions: int) -> int:
        """Episodes that are played side by side."""

    def batches(self, problems: NDArray[np.int64], since: float | None = None) -> Sequence[Batch]:
        """How episodes are played."""

    def begin_batch(self, revealed: Revealed, batch: Batch) -> Lockstep:
        """Start the processes of a batch."""


class Result(Protocol):
    """The fields of an ``EvaluationResult`` that ``audit`` reads."""

    seeds: tuple[int, ...]
    accounting: str
    max_branches: int


def audit(
    program: ProgramController,
    store: Any,
    result: Any,
    episodes: int | None = None,
    seed: int | None = None,
    rules: Rules | None = None,
) -> int:
    """Play episodes of a result again, in other processes and among others, and compare.

    Args:
        program: the controller of the result.
        store: the ``ReplayStore`` of the result.
        result: its ``EvaluationResult``.
        episodes: how many to play; None: as many as are played side by side. A program may
            notice that there are fewer than in the result.
        seed: of the choice; None: by chance, so that no program is written for it.
        rules: of the result; None: those that it names, without a budget.

    Returns:
        How many were played.

    Raises:
        ProgramError: of kind "nondeterminism", if one differs.
    """
    rules = rules or Rules(max_branches=result.max_branches, accounting=result.accounting)
    bank = Bank([store])
    seeds = np.repeat(np.array(result.seeds, np.int64), store.num_questions)
    questions = np.tile(np.arange(store.num_questions), len(result.seeds))
    fields = {name: np.asarray(getattr(result, name)).reshape(-1) for name in COUNTS}
    if result.answers is not None:
        fields["answers"] = np.asarray(result.answers, object).reshape(-1)
    count = program.chunk(bank.num_problems) if episodes is None else episodes
    picked = np.random.default_rng(seed).permutation(len(questions))[:count]
    for batch in program.batches(bank.problems[questions[picked]]):
        rows = picked[batch.rows]
        again = _play(program, batch, PoolState.begun(bank, rules, seeds[rows], questions[rows]), "answers" in fields)
        compare(program.source, {name: fields[name][rows] for name in fields}, again, seeds[rows], questions[rows])
    return len(picked)


def _play(program: ProgramController, batch: Batch, state: PoolState, answers: bool) -> dict[str, NDArray[Any]]:
    """Play the episodes of a batch; returns their outcomes."""
    lockstep = program.begin_batch(state.revealed, batch)
    try:
        for _ in play_out(program.source.path, state, lockstep.decide, lockstep.look):
            pass
    finally:
        lockstep.close()
    return state.outcomes(answers)


def compare(
    source: Source,
    fields: dict[str, NDArray[Any]],
    again: dict[str, NDArray[Any]],
    seeds: NDArray[np.int64],
    questions: NDArray[np.int64],
) -> None:
    """Compare the outcomes of episodes with their outcomes beside other episodes.

    Raises:
        ProgramError: of kind "nondeterminism", if one differs.
    """
    for name, values in again.items():
        differs = np.flatnonzero(values != fields[name])
        if len(differs):
            k = differs[0]
            raise ProgramError(
                source.path,
                "nondeterminism",
                f"{name} of question {questions[k]} under seed {seeds[k]} differs when played again beside other "
                "episodes" + ("" if name in ("answers", "correct") else f": {fields[name][k]}, then {values[k]}"),
            )
