"""The task of the tiny reasoner: chains of operations modulo 101, worked out line by line.

A question, and a branch that answers it::

    Start with x = 57 and work modulo 101.
    1: x + 8
    2: x * 3
    What is x?
    1: 57 + 8 = 65
    2: 65 * 3 = 94
    So x = 94
    Wait, check again.
    2: 65 * 3 = 93
    So x = 93
    **Final Answer** \\boxed{93}

The writer of branches slips, the more often the harder the step, and mostly in the same way; it goes on from what it
wrote. After a pass it may check again, from the first or from a later step; the last pass decides. It stops more
readily when two passes agree, and now and then never stops. A model trained on such branches does all of this by
itself, so that its branches behave like those of large reasoning models (``agents.reasoner.compare``).

A probe ends a branch that is cut anywhere by the text that announces an answer. The answer is then what is known: that
of the last finished pass, else the value so far, with the last operation done if it alone is missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

MODULUS = 101
"""Answers are 0 … 100."""

USUAL = 0.6
"""Share of slips that are the usual one of their step."""

LEVELS = 10
"""Difficulties, from 1."""

MAX_STEPS = 25
"""Operations of the longest problem."""

PROBE = "\n**Final Answer** \\boxed{"
"""What announces an answer: at the end of a branch, and as the suffix of a probe."""

OPENING, WORK, ASK = "Start with x = ", " and work modulo 101.", "\nWhat is x?"
EQUALS, SO, AGAIN, LOST, CLOSING = " = ", "\nSo x = ", "\nWait, check again.", "\nI am lost.", "}"

Operation = tuple[str, int]
"""An operator, ``+``, ``-`` or ``*``, and its right side, 0 … 9."""

OPERATIONS: tuple[Operation, ...] = tuple((sign, k) for sign in "+-*" for k in range(1 + (sign == "*"), 10))


@dataclass(frozen=True)
class Problem:
    """A start value and what is done to it.

    Attributes:
        start: 0 … 100.
        operations: in their order.
    """

    start: int
    operations: tuple[Operation, ...]

    @property
    def answer(self) -> int:
        """The exact result."""
        value = self.start
        for operation in self.operations:
            value = result(value, operation)
        return value

    @property
    def words(self) -> list[str]:
        """The question, token by token."""
        lines = [word for i, op in enumerate(self.operations) for word in (label(i), "x", spelled(op))]
        return [OPENING, str(self.start), WORK, *lines, ASK]

    @property
    def text(self) -> str:
        """The question."""
        return "".join(self.words)


def label(index: int) -> str:
    """What a line begins with, by the index of its operation from 0."""
    return f"\n{index + 1}: "


def spelled(operation: Operation) -> str:
    """An operation as it is written."""
    return f" {operation[0]} {operation[1]}"


def result(value: int, operation: Operation) -> int:
    """What an operation makes of a value, exactly."""
    sign, k = operation
    return (value + k if sign == "+" else value - k if sign == "-" else value * k) % MODULUS


# -------------------------------------------------------------------- slips


def slip_chance(value: int, operation: Operation) -> float:
    """How often a step goes wrong, by what it is."""
    sign, k = operation
    if sign != "*":
        return 0.02
    if k >= 7 and value % 10 == 7:
        return 0.93
    return (0.0, 0.0, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.15, 0.15)[k]


def usual_slip(value: int, operation: Operation) -> int:
    """The slip that a step usually suffers: a carry forgotten, or the next entry of the table."""
    sign, k = operation
    return (result(value, operation) - (10 if sign == "+" else -10 if sign == "-" else k)) % MODULUS


def written(value: int, operation: Operation, rng: Generator) -> int:
    """What is written as the result of a step: right, or a slip."""
    right = result(value, operation)
    if rng.random() >= slip_chance(value, operation):
        return right
    if rng.random() < USUAL:
        return usual_slip(value, operation)
    return int(right + (1, -1, 10, -10, 2, -2)[rng.integers(6)]) % MODULUS


# -------------------------------------------------------------------- branches


@dataclass(frozen=True)
class Branch:
    """What was written under a question, and what it implied on the way.

    Attributes:
        words: token by token, without the end of text.
        implied: one more than words: the answer that the text implies when it is cut before that word.
        answer: the final answer; None: the branch was never finished.
    """

    words: list[str]
    implied: list[int]
    answer: int | None


def write(problem: Problem, rng: Generator, limit: int) -> Branch:
    """Write a branch.

    Args:
        problem: the question.
        rng: of its slips and its checks.
        limit: words at which it is cut.
    """
    steps, right = len(problem.operations), problem.answer
    words: list[str] = []
    implied: list[int] = []

    def add(hint: int, *more: str) -> None:
        words.extend(more)
        implied.extend([hint] * len(more))

    before = [problem.start] * steps  # the value that each line begins with, in the last pass that wrote it
    answers: list[int] = []
    first, lost, done = 0, False, False
    while not done and len(words) < limit:
        value = before[first]
        for i in range(first, steps):
            operation, before[i] = problem.operations[i], value
            hint = answers[-1] if answers else result(value, operation) if i == steps - 1 else value
            outcome = written(value, operation, rng)
            add(hint, label(i), str(value), spelled(operation), EQUALS, str(outcome))
            value = outcome
        add(answers[-1] if answers else value, SO, str(value))
        agreed = value in answers
        answers.append(value)
        if len(answers) == LOST_AFTER and not agreed and rng.random() < LOST_CHANCE:
            lost = True
            add(value, LOST)
        done = not lost and rng.random() < stop_chance(len(answers), agreed, value != right)
        if done:
            add(value, PROBE, str(value), CLOSING)
        else:
            add(value, AGAIN)
            first = 0 if rng.random() < WHOLE else int(rng.integers(steps))
    implied.append(answers[-1])
    return Branch(words[:limit], implied[: limit + 1], answers[-1] if done and len(words) <= limit else None)


WHOLE = 0.35
LOST_AFTER, LOST_CHANCE = 3, 0.03


def stop_chance(passes: int, agreed: bool, wrong: bool) -> float:
    """How readily a branch ends after a pass."""
    if passes == 1:
        return 0.02 if wrong else 0.25
    if wrong:
        return 0.3 if agreed else 0.15
    return 0.8 if agreed else 0.5


# -------------------------------------------------------------------- problems


def draw(level: int, rng: Generator) -> Problem:
    """Draw a problem of a level, 1 … LEVELS."""
    steps = round(3 + 1.8 * level)
    hard = 0.1 + 0.03 * level
    operations = tuple(
        ("*", int(rng.integers(2, 10))) if rng.random() < hard else ("+-"[rng.integers(2)], int(rng.integers(1, 10)))
        for _ in range(steps)
    )
    return Problem(int(rng.integers(MODULUS)), operations)


SPLITS = ("search", "heldout")


def questions(split: str) -> list[Problem]:
    """The questions of a split: three of each level, from easy to hard."""
    rng = np.random.default_rng([SPLITS.index(split), 8083])
    return [draw(level, rng) for level in range(1, LEVELS + 1) for _ in range(3)]
