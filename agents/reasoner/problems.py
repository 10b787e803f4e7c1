r"""The task of the tiny reasoner: chains of operations modulo 100, worked out line by line.

A question, and a branch that answers it::

    Work modulo 100. Start with 57
    1: add 8
    2: times 3
    What is the result?
    From 57
    1: add 8, now 65
    2: times 3, now 92
    So the result is 92
    Wait, from 57
    1: add 8, now 65
    2: times 3, now 95
    So the result is 95
    **Final Answer** \boxed{95}

The writer of branches slips, the more often the harder the step, and mostly in the same way; it goes on from what it
wrote. After a pass it may check again, often no further than some line if all is as before; the last pass decides. It
ends more readily when a pass is right, when two passes agree, and after many of them; now and then it never ends. A
model trained on such branches does all of this by itself, so that its branches behave much like those of large
reasoning models (``agents.reasoner.compare``).

A probe is a branch that is cut anywhere, followed by the text that announces an answer. The answer is then what is
known: that of the last finished pass, else the value so far, with the last operation done if it alone is missing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

MODULUS = 100
"""Answers are 0 … 99."""

LEVELS = 10
"""Difficulties, from 1, easy, to 10, out of reach."""

SPLITS = ("search", "heldout")
"""Sets of questions; models are trained on neither."""

MAX_STEPS = 18
"""Operations of the longest problem."""

PROBE = "\n**Final Answer** \\boxed{"
"""What announces an answer: at the end of a branch, and as the suffix of a probe."""

OPENING, ASK = "Work modulo 100. Start with", "\nWhat is the result?"
FROM, NOW, AGAIN, SO = "\nFrom", ", now", "\nWait, from", "\nSo the result is "
SAME = "\nThe same so far."
LOST, CLOSING = "\nI am lost.", "}"

Operation = tuple[str, int]
"""What is done, ``+``, ``-`` or ``*``, and by which number."""

VERBS = {"+": "add", "-": "subtract", "*": "times"}

FACTORS = (2, 3, 4, 6, 7, 8, 9)
"""Without 5: few of its products differ modulo 100."""

OPERATIONS: tuple[Operation, ...] = tuple(
    (sign, k) for sign in "+-*" for k in (FACTORS if sign == "*" else range(1, 10))
)


@dataclass(frozen=True)
class Problem:
    """A start value and what is done to it.

    Attributes:
        start: 0 … 99.
        operations: in their order, at least one.
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
        lines = [word for i, operation in enumerate(self.operations) for word in (label(i), spelled(operation))]
        return [OPENING, state(self.start), *lines, ASK]

    @property
    def text(self) -> str:
        """The question."""
        return "".join(self.words)


def state(value: int) -> str:
    """A value on the way, as it is written; an answer is written without the space, and so is another token."""
    return f" {value}"


def label(index: int) -> str:
    """What a line begins with, by the index of its operation from 0."""
    return f"\n{index + 1}: "


def spelled(operation: Operation) -> str:
    """An operation as it is written."""
    return f"{VERBS[operation[0]]} {operation[1]}"


def result(value: int, operation: Operation) -> int:
    """What an operation makes of a value, exactly."""
    sign, k = operation
    return (value + k if sign == "+" else value - k if sign == "-" else value * k) % MODULUS


def draw(level: int, rng: Generator) -> Problem:
    """Draw a problem: the higher its level, the more operations it has, and the more of them are products."""
    products = 0.05 + 0.055 * level
    operations = tuple(
        ("*", FACTORS[rng.integers(len(FACTORS))])
        if rng.random() < products
        else ("+-"[rng.integers(2)], int(rng.integers(1, 10)))
        for _ in range(round(4 + 1.4 * level))
    )
    return Problem(int(rng.integers(MODULUS)), operations)


def questions(split: str) -> list[tuple[int, Problem]]:
    """The questions of a split, each with its level: three of every level, from easy to hard."""
    rng = np.random.default_rng([SPLITS.index(split), 8083])
    return [(level, draw(level, rng)) for level in range(1, LEVELS + 1) for _ in range(3)]


# -------------------------------------------------------------------- slips

SUM_SLIPS = 0.015
"""Chance of a slip in a sum or a difference."""

PRODUCT_SLIPS = {2: 0.03, 3: 0.04, 4: 0.08, 6: 0.15, 7: 0.2, 8: 0.2, 9: 0.2}
"""Chance of a slip in a product, by its factor."""

TRAP = 0.95
"""Chance of a slip in a product with 8 or 9 of a number that ends in 8 or 9."""

USUAL = 0.6
"""Share of slips that are the usual one of their step; others are off by a little."""

OFF_BY = (1, -1, 2, -2, 10, -10)


def slip_chance(value: int, operation: Operation) -> float:
    """How often a step goes wrong, by what it is."""
    sign, k = operation
    if sign != "*":
        return SUM_SLIPS
    return TRAP if k >= 8 and value % 10 >= 8 else PRODUCT_SLIPS[k]


def usual_slip(value: int, operation: Operation) -> int:
    """The slip that a step usually suffers: a carry forgotten, or the entry before it in the table of products."""
    sign, k = operation
    return (result(value, operation) + {"+": -10, "-": 10, "*": -k}[sign]) % MODULUS


def written(value: int, operation: Operation, rng: Generator) -> int:
    """What is written as the result of a step: right, or a slip."""
    right = result(value, operation)
    if rng.random() >= slip_chance(value, operation):
        return right
    if rng.random() < USUAL:
        return usual_slip(value, operation)
    return (right + OFF_BY[rng.integers(len(OFF_BY))]) % MODULUS


# -------------------------------------------------------------------- branches

WHOLE = 0.25
"""Share of checks that are meant to go to the last line; others to one that is drawn, if all is as before."""

LOST_AFTER, LOST_CHANCE = 3, 0.025
"""Passes, all with different answers, after which a branch may get lost, and the chance that it does."""


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
    before: list[int] = []  # the values of the last pass, line by line
    answers: list[int] = []
    lost, ended = False, False

    def add(hint: int, *more: str) -> None:
        words.extend(more)
        implied.extend([hint] * len(more))

    add(problem.start, FROM, state(problem.start))
    while not ended and len(words) < limit:
        goal = steps if not answers or rng.random() < WHOLE else int(rng.integers(1, steps))
        value = problem.start
        values: list[int] = []
        for i, operation in enumerate(problem.operations):
            if i >= goal and values == before[:i]:
                add(answers[-1], SAME)
                value, values = answers[-1], before
                break
            hint = answers[-1] if answers else result(value, operation) if i == steps - 1 else value
            value = written(value, operation, rng)
            values.append(value)
            add(hint, label(i), spelled(operation), NOW, state(value))
        before = values
        add(answers[-1] if answers else value, SO, str(value))
        agreed = value in answers
        answers.append(value)
        if len(answers) == LOST_AFTER and len(set(answers)) == LOST_AFTER and rng.random() < LOST_CHANCE:
            lost = True
            add(value, LOST)
        ended = not lost and rng.random() < end_chance(steps, len(answers), agreed, value == right)
        if ended:
            add(value, PROBE, str(value), CLOSING)
        else:
            add(value, AGAIN, state(problem.start))
    implied.append(answers[-1])
    whole = ended and len(words) <= limit
    return Branch(words[:limit], implied[: limit + 1], answers[-1] if whole else None)


def end_chance(steps: int, passes: int, agreed: bool, right: bool) -> float:
    """How readily a branch ends after a pass; short problems are checked more often.

    Args:
        steps: operations of the problem.
        passes: finished ones, this one included.
        agreed: whether an earlier pass came to the same answer.
        right: whether the answer is right, which a writer feels, and a model can see in the lines.
    """
    readiness = min(1.0, (steps + 7) / 18)
    if passes == 1:
        return 0.1 * readiness if right else 0.0
    if right:
        return readiness * (min(1.0, 0.3 + 0.25 * passes) if agreed else 0.25)
    return readiness * min(1.0, (0.2 if agreed else 0.0) + 0.07 * passes)
