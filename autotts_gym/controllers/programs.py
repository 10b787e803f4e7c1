"""Controllers written as programs: each is one file, which is played in the sandbox."""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotts_gym.controllers.base import Controller, fraction, require
from autotts_gym.controllers.families import controller_families
from autotts_gym.engine import Revealed, RoundPlan
from autotts_gym.engine.plan import arrays_of
from autotts_gym.sandbox import Lockstep, Sandbox, Source, read_source
from autotts_gym.sandbox.batches import Batch, alone, assign
from autotts_gym.sandbox.checks import compare

BATCHES = 2

PROCESSES = 25
"""Episodes of a question that a batch plays side by side, each in another process: enough to keep processors busy."""

AUDIT_LEAST, AUDIT_MOST = 8, 64
"""The least and the most episodes of a chunk that are played twice, unless there are fewer or all are to be."""


class Program(Controller):
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

    use_of_probes = "may look at answers and history"

    def __init__(self, path: str | os.PathLike[str], beta: float = 0.5, sandbox: Sandbox | None = None) -> None:
        self.path = os.fspath(path)
        file = Path(self.path)
        self.name = file.name if file.stem in controller_families() else file.stem
        fraction(self.name, "beta", beta)
        good = sandbox is None or isinstance(sandbox, Sandbox)
        require(self.name, "sandbox", sandbox, good, "a Sandbox, as Python makes one, or None")
        self.beta = float(beta)
        self.limits = sandbox or Sandbox()
        self.source: Source = read_source(self.path, self.limits.packages)

    @property
    def params(self) -> dict[str, Any]:
        """The knob by its name."""
        return {"beta": self.beta}

    def __eq__(self, other: object) -> bool:
        """The same text, knob and sandbox."""
        return isinstance(other, Program) and vars(self) == vars(other)

    def __hash__(self) -> int:
        """Of what is compared."""
        return hash((self.source, self.beta, self.limits))

    def chunk(self, questions: int) -> int:
        """Episodes to play side by side on a store of so many questions."""
        return BATCHES * PROCESSES * questions

    def batches(self, problems: NDArray[np.int64], since: float | None = None) -> list[Batch]:
        """Two, so that the processes of one work while a round of the other is played; some episodes are in both."""
        return assign(problems, BATCHES, self._repeats(len(problems)), since)

    def _repeats(self, episodes: int) -> int:
        """How many of so many episodes of one setting are played twice."""
        share = self.limits.audit_share
        if share in (0, 1):
            return episodes * int(share)
        return max(AUDIT_LEAST, min(AUDIT_MOST, math.ceil(share * episodes)))

    def together(self, problems: NDArray[np.int64]) -> Batch:
        """All episodes side by side, each once."""
        (batch,) = assign(problems, 1, 0)
        return batch

    def begin(self, revealed: Revealed) -> Lockstep:
        """Prepare a process for every episode; the processes start with the first round."""
        return self.begin_batch(revealed, alone(revealed.episodes))

    def begin_batch(self, revealed: Revealed, batch: Batch) -> Lockstep:
        """Start the fork servers of a batch, whose processes start with its first round."""
        return Lockstep(self.source, self._betas(batch.rows), revealed, self.limits, batch)

    def _betas(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """The knob of each of these episodes."""
        return np.full(len(rows), self.beta)

    def decide(self, revealed: Revealed, memory: Lockstep, plan: RoundPlan) -> None:
        """Write what the processes ask for."""
        arrays_of(plan, revealed.slots.shape)
        memory.decide(revealed, plan)

    def look(self, revealed: Revealed, memory: Lockstep) -> None:
        """Send the processes what the round revealed."""
        memory.look(revealed)

    def close(self, memory: Lockstep) -> None:
        """End the processes."""
        memory.close()

    def audit(
        self,
        fields: dict[str, NDArray[Any]],
        again: dict[str, NDArray[Any]],
        seeds: NDArray[np.int64],
        questions: NDArray[np.int64],
    ) -> None:
        """Compare the episodes that were played twice."""
        compare(self.source, fields, again, seeds, questions)


class ProgramSweep(Program):
    """A program at several settings side by side.

    The time of a short evaluation goes into starting processes, whose number does not depend on how many settings are
    played.

    Args:
        program: the program; its own knob is not used.
        betas: (N,) float64 in [0, 1], the knob in each of the N episodes that ``play_chunk`` is called with.
    """

    def __init__(self, program: Program, betas: NDArray[np.float64]) -> None:
        vars(self).update(vars(program), beta=math.nan)
        self.swept = betas

    def batches(self, problems: NDArray[np.int64], since: float | None = None) -> list[Batch]:
        """As many episodes are played twice as if each setting were played by itself."""
        _, episodes = np.unique(self.swept, return_counts=True)
        return assign(problems, BATCHES, sum(map(self._repeats, episodes.tolist())), since)

    def _betas(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        betas: NDArray[np.float64] = self.swept[rows]
        return betas
