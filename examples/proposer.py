"""A proposer of your own, in one file: it scales one number of the best program so far.

    python -m agents.explorer --proposer examples/proposer.py:Scale --rounds 2 --out runs/scale

It is asked for a program by a ``Request``, which has a prompt for language models, the programs to build on, and a
seed. What it costs is charged to the budget of the run; this one is free.
"""

import random
import re
from collections.abc import Callable

from agents.explorer.proposers.base import Proposal, ProposerError, Request, Usage

NUMBER = re.compile(r"(?<![\w.])\d+\.\d+(?![\w.])")
"""A number with a decimal point."""


class Scale:
    """Multiplies a number of the first parent by up to ``factor``, or divides it by that."""

    name = "examples/proposer.py:Scale"

    def __init__(self, factor: float = 1.5) -> None:
        self.factor = factor

    def bound(self, request: Request) -> Usage:
        """The most that a call can use: nothing."""
        return Usage()

    def propose(self, request: Request, progress: Callable[[str], None]) -> Proposal:
        """A program, and what was done in words."""
        draw = random.Random(request.seed)
        source = request.parents[0].source
        places = list(NUMBER.finditer(source, source.index("def ")))  # behind what the docstring says
        if not places:
            raise ProposerError("the parent has no number to scale")
        place = draw.choice(places)
        number = round(float(place[0]) * self.factor ** draw.uniform(-1, 1), 4)
        progress(f"{place[0]} becomes {number}")
        changed = f"{source[: place.start()]}{number}{source[place.end() :]}"
        return Proposal(changed, f"{place[0]} becomes {number}")
