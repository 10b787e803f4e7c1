"""Judging programs: the checks, the screen, the sweep with its audit and diagnosis, and the validation.

A judge works in this process or in several that live as long as the run does, one program each at a time. What a
program does wrong comes back as a ``Failure``, never as an exception.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from agents.explorer.objective import Objective
from autotts_gym.controllers.programs import Program, ProgramSweep
from autotts_gym.engine import Bank, Rules
from autotts_gym.errors import ControllerError, ProgramError
from autotts_gym.evaluation import EvaluationResult, Frontier
from autotts_gym.evaluation.diagnosis import diagnose
from autotts_gym.evaluation.runner import join_fields, play_chunk
from autotts_gym.evaluation.workers import WorkerLostError, WorkerPool, worker_pool
from autotts_gym.replay import ReplayStore
from autotts_gym.replay.variants import twin
from autotts_gym.sandbox import check_program


@dataclass(frozen=True)
class Failure:
    """What a program did wrong.

    Attributes:
        stage: where: "program", "screen", "sweep", "twin" or "validation".
        kind: as ``ProgramError.kind`` has it.
        message: in one line.
        line: of the program, where that is known.
    """

    stage: str
    kind: str
    message: str
    line: int | None = None

    @classmethod
    def at(cls, stage: str, error: ControllerError) -> "Failure":
        """What an error says."""
        kind, line = getattr(error, "kind", "answer"), getattr(error, "line", None)
        return cls(stage, kind, " ".join(str(getattr(error, "message", error)).split()), line)


@dataclass(frozen=True, eq=False)
class Sweep:
    """What a program's sweep gave.

    Attributes:
        results: every setting on every store.
        shares: what went wrong, by name, at the setting that is best at the middle cost weight.
        diagnosis: the same in full, JSON.
        told: the same for a proposer to read.
    """

    results: list[EvaluationResult]
    shares: dict[str, float] = field(default_factory=dict)
    diagnosis: dict[str, Any] = field(default_factory=dict)
    told: str = ""


@dataclass(frozen=True, eq=False)
class Terms:
    """What all judgements of a run have in common.

    Attributes:
        search: the search questions.
        held: the validation questions; empty: there are none.
        rules: what holds in every episode.
        sweep: values of beta of a sweep.
        seeds: orders of the pools in it.
        screen: values of beta of a screen.
        screen_seeds: orders of the pools in it.
        diagnosis_seeds: orders of the pools in a diagnosis.
        objective: by which the diagnosed setting is chosen.
        twin_seed: of the twins' draws.
    """

    search: tuple[ReplayStore, ...]
    held: tuple[ReplayStore, ...]
    rules: Rules
    sweep: tuple[float, ...]
    seeds: int
    screen: tuple[float, ...]
    screen_seeds: int
    diagnosis_seeds: int
    objective: Objective
    twin_seed: int = 0

    @cached_property
    def bank(self) -> Bank:
        """The search questions, as the engine reads them."""
        return Bank(self.search)

    @cached_property
    def twin_bank(self) -> Bank:
        """The search questions on the twins of their stores, which no table of their branches fits."""
        return Bank([twin(store, self.twin_seed) for store in self.search])

    @cached_property
    def held_bank(self) -> Bank:
        """The validation questions."""
        return Bank(self.held)


class Judge(Protocol):
    """Judges programs, several side by side."""

    def begin(self, stage: str, path: Path) -> Callable[[], Any]:
        """Begin to judge a program.

        Args:
            stage: "screen", "sweep", "twin" or "validation": what ``_STAGES`` holds under it.
            path: the program.

        Returns:
            What waits for the answer and returns it.
        """

    def close(self) -> None:
        """Leave nothing behind."""


def screen(terms: Terms, path: Path) -> list[EvaluationResult] | Failure:
    """Check a program and play the few episodes of a screen; a program that ignores beta fails."""
    try:
        check_program(path)
    except ProgramError as error:  # any other error is about the sandbox, and ends the run
        return Failure.at("program", error)
    results = _play(terms, path, "screen", terms.bank, terms.screen, terms.screen_seeds)
    if not isinstance(results, Failure) and ignores_beta(results):
        betas = ", ".join(f"{beta:g}" for beta in terms.screen)
        return Failure("screen", "schedule", f"beta is ignored: the same episodes at {betas}")
    return results


def sweep(terms: Terms, path: Path) -> Sweep | Failure:
    """Play all search questions at every beta, and say what went wrong."""
    results = _play(terms, path, "sweep", terms.bank, terms.sweep, terms.seeds)
    if isinstance(results, Failure):
        return results
    beta = terms.sweep[terms.objective.best_setting(Frontier.from_results(path.stem, results))]
    try:
        found = diagnose(Program(path, beta), terms.search, seeds=range(terms.diagnosis_seeds), rules=terms.rules)
    except ControllerError as error:
        return Failure.at("sweep", error)
    return Sweep(results, dict(found.shares), found.as_dict(), found.prompt())


def play_twin(terms: Terms, path: Path) -> list[EvaluationResult] | Failure:
    """Play the twins of all search questions at every beta."""
    return _play(terms, path, "twin", terms.twin_bank, terms.sweep, terms.seeds)


def validate(terms: Terms, path: Path) -> list[EvaluationResult] | Failure:
    """Play all validation questions at every beta."""
    return _play(terms, path, "validation", terms.held_bank, terms.sweep, terms.seeds)


def _play(
    terms: Terms, path: Path, stage: str, bank: Bank, betas: Sequence[float], seeds: int
) -> list[EvaluationResult] | Failure:
    try:
        return play_program(path, bank, betas, seeds, terms.rules)
    except ControllerError as error:
        return Failure.at(stage, error)


def play_program(path: Path, bank: Bank, betas: Sequence[float], seeds: int, rules: Rules) -> list[EvaluationResult]:
    """What ``evaluate_all`` gives of a program, audit included, but with the stores and the settings side by side.

    The time of a short evaluation goes into starting processes, whose number does not depend on how many of them each
    plays.

    Raises:
        ProgramError: the program failed.
    """
    program = Program(path)
    shape = len(betas), seeds, bank.num_questions
    settings, rows, questions = np.unravel_index(np.arange(math.prod(shape)), shape)
    size = program.chunk(bank.num_problems)
    parts = []
    for first in range(0, len(settings), size):
        some = slice(first, first + size)
        sweep = ProgramSweep(program, np.asarray(betas)[settings[some]])
        parts.append(play_chunk(sweep, bank, rules, rows[some], questions[some], answers=False))
    fields = {name: values.reshape(shape) for name, values in join_fields(parts).items()}
    return [
        EvaluationResult(
            controller=program.name,
            params={"beta": beta},
            store=store.name,
            model=store.model,
            benchmark=store.benchmark,
            accounting=rules.accounting,
            max_branches=rules.max_branches,
            seeds=tuple(range(seeds)),
            synthetic=store.synthetic,
            **{
                name: values[k, :, bank.first_questions[i] : bank.first_questions[i + 1]]
                for name, values in fields.items()
            },
        )
        for i, store in enumerate(bank.stores)
        for k, beta in enumerate(betas)
    ]


def ignores_beta(results: Sequence[EvaluationResult]) -> bool:
    """Whether all settings play the same episodes on every store."""
    by_store: dict[str, set[str]] = {}
    for result in results:
        by_store.setdefault(result.store, set()).add(fingerprint([result]))
    return all(len(found) == 1 for found in by_store.values())


def fingerprint(results: Sequence[EvaluationResult]) -> str:
    """A digest of what was done in every episode: what it cost, what was opened and pruned, and what came of it."""
    digest = hashlib.sha256()
    for result in results:
        for name in ("correct", "total_tokens", "branches_opened", "branches_pruned"):
            digest.update(np.ascontiguousarray(getattr(result, name)).tobytes())
    return digest.hexdigest()


# -------------------------------------------------------------------- one process or several

_STAGES: dict[str, Callable[[Terms, Path], Any]] = {
    "screen": screen,
    "sweep": sweep,
    "twin": play_twin,
    "validation": validate,
}


class LocalJudge:
    """Judges in this process.

    Args:
        terms: of all judgements.
    """

    def __init__(self, terms: Terms) -> None:
        self.terms = terms

    def begin(self, stage: str, path: Path) -> Callable[[], Any]:
        """See ``Judge``; the answer is there at once."""
        answer = _STAGES[stage](self.terms, path)
        return lambda: answer

    def close(self) -> None:
        """Nothing is left behind."""


_terms: list[Terms] = []
"""The terms of a worker process."""


def _receive(terms: Terms) -> None:
    _terms.append(terms)


def _work(stage: str, path: Path) -> Any:
    return _STAGES[stage](_terms[0], path)


class PoolJudge:
    """Judges in several processes; should one die, its program is judged once more, alone, and then fails.

    Args:
        terms: of all judgements.
        workers: processes.
    """

    def __init__(self, terms: Terms, workers: int) -> None:
        self.terms = terms
        self.workers = workers
        self._pool = self._fresh(workers)

    def _fresh(self, workers: int) -> WorkerPool:
        return worker_pool(workers, _receive, self.terms)

    def begin(self, stage: str, path: Path) -> Callable[[], Any]:
        """See ``Judge``."""
        try:
            future = self._pool.submit(_work, stage, path)
        except WorkerLostError:
            self._pool = self._fresh(self.workers)
            future = self._pool.submit(_work, stage, path)

        def wait() -> Any:
            try:
                return future.result()
            except WorkerLostError:
                return self._alone(stage, path)

        return wait

    def _alone(self, stage: str, path: Path) -> Any:
        with self._fresh(1) as pool:
            try:
                return pool.submit(_work, stage, path).result()
            except WorkerLostError:
                return Failure(stage, "killed", "the process that judged it died twice")

    def close(self) -> None:
        """End the processes."""
        self._pool.close()


def make_judge(terms: Terms, workers: int) -> Judge:
    """A judge with so many processes; 1: this one."""
    return LocalJudge(terms) if workers == 1 else PoolJudge(terms, workers)
