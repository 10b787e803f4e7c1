"""Controllers written as programs: a file each, played in the sandbox."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotts_gym.controllers.base import controller_families, share
from autotts_gym.engine import Bank, Revealed, RoundPlan, Rules
from autotts_gym.sandbox import Fleet, Sandbox, Source, read_source
from autotts_gym.sandbox.checks import audit_episodes

COMPANIES = 25
"""Processes of a lane: enough to keep processors busy, few enough for their caches."""


class Program:
    """A program file as a controller; the file is read once, here.

    Attributes:
        name: the file's name without ``.py``, unless that is the name of a hand-written family.
        path: the file.
        source: its text, checked.
        beta: budget knob in [0, 1].
        limits: the sandbox.

    Args:
        path: the file; ``schedule(beta)`` and ``solve(session, beta)``, or a published class with ``solve(question)``.
        beta: the budget knob.
        sandbox: limits and required layers; None: the defaults.

    Raises:
        ProgramError: the text does not pass the static checks.
        ControllerError: the knob is out of range.
    """

    lanes = 2

    def __init__(self, path: str | os.PathLike[str], beta: float = 0.5, sandbox: Sandbox | None = None) -> None:
        self.path = os.fspath(path)
        file = Path(self.path)
        self.name = file.name if file.stem in controller_families() else file.stem
        share(self.name, "beta", beta)
        self.beta = float(beta)
        self.limits = sandbox or Sandbox()
        self.source: Source = read_source(self.path, self.limits.packages)

    @property
    def params(self) -> dict[str, Any]:
        """The knob."""
        return {"beta": self.beta}

    def __eq__(self, other: object) -> bool:
        """The same text, knob and sandbox."""
        return isinstance(other, Program) and vars(self) == vars(other)

    def __hash__(self) -> int:
        """Of what is compared."""
        return hash((self.source, self.beta, self.limits))

    def chunk(self, questions: int) -> int:
        """Episodes to play side by side on a store of so many questions: one of each in every process."""
        return self.lanes * COMPANIES * questions

    def begin(self, revealed: Revealed) -> Fleet:
        """Start the processes; no process holds two episodes of a question, whose branches it could pool."""
        return Fleet(self.source, self.beta, revealed, self.limits, revealed.cohorts())

    def decide(self, revealed: Revealed, memory: Fleet, plan: RoundPlan) -> None:
        """Write what the processes ask for."""
        memory.decide(revealed, plan)

    def audit(
        self,
        bank: Bank,
        rules: Rules,
        seeds: NDArray[np.int64],
        questions: NDArray[np.int64],
        fields: dict[str, NDArray[Any]],
    ) -> None:
        """Play a sample of episodes again, in other company."""
        audit_episodes(self, bank, rules, seeds, questions, fields)
