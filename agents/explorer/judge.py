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
from typing import Any

import numpy as np

from agents.explorer.config import Config
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
        trace: the same for a proposer to read.
    """

    results: list[EvaluationResult]
    shares: dict[str, float] = field(default_factory=dict)
    diagnosis: dict[str, Any] = field(default_factory=dict)
    trace: str = ""


@dataclass(frozen=True, eq=False)
class Terms:
    """What all judgements of a run have in common.

    Attributes:
        config: of the run.
        search: the search questions.
        held: the validation questions; empty: there are none.
    """

    config: Config
    search: tuple[ReplayStore, ...]
    held: tuple[ReplayStore, ...]

    @property
    def objective(self) -> Objective:
        """By which programs are selected, and the diagnosed setting is chosen."""
        return Objective(self.config.weights)

    @cached_property
    def bank(self) -> Bank:
        """The search questions, as the engine reads them."""
        return Bank(self.search)

    @cached_property
    def twin_bank(self) -> Bank:
        """The search questions on the twins of their stores, which no table of their branches fits."""
        return Bank([twin(store, self.config.seed) for store in self.search])

    @cached_property
    def held_bank(self) -> Bank:
        """The validation questions."""
        return Bank(self.held)


def judge(terms: Terms, stage: str, path: Path) -> Any:
    """Judge a program.

    Args:
        terms: of all judgements.
        stage: "screen": it is checked, and plays few episodes, which must depend on beta; "sweep": it plays all search
            questions at every beta, and what went wrong is found; "twin": it plays their twins; "validation": it plays
            the validation questions.
        path: the program.

    Returns:
        A ``Sweep`` of a sweep, else a list of results; or a ``Failure``.
    """
    config = terms.config
    betas, seeds = (config.screen, config.screen_seeds) if stage == "screen" else (config.sweep, config.seeds)
    bank = terms.twin_bank if stage == "twin" else terms.held_bank if stage == "validation" else terms.bank
    try:
        if stage == "screen":
            check_program(path)
    except ProgramError as error:  # any other error is about the sandbox, and ends the run
        return Failure.at("program", error)
    try:
        results = play_program(path, bank, betas, seeds, config.rules)
        if stage == "screen" and ignores_beta(results):
            shown = ", ".join(f"{beta:g}" for beta in betas)
            return Failure("screen", "schedule", f"beta is ignored: the same episodes at {shown}")
        if stage != "sweep":
            return results
        beta = betas[terms.objective.best_setting(Frontier.from_results(path.stem, results))]
        found = diagnose(Program(path, beta), terms.search, seeds=range(config.diagnosis_seeds), rules=config.rules)
    except ControllerError as error:
        return Failure.at(stage, error)
    return Sweep(results, dict(found.shares), found.as_dict(), found.prompt())


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
            token_unit=rules.token_unit or store.token_unit,
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

_terms: list[Terms] = []
"""The terms of a worker process."""


def _receive(terms: Terms) -> None:
    _terms.append(terms)


def _work(stage: str, path: Path) -> Any:
    return judge(_terms[0], stage, path)


class Judge:
    """Judges programs, in this process or in several; should one die, its program is judged once more, alone.

    Args:
        terms: of all judgements.
        workers: processes; 1: this one.
    """

    def __init__(self, terms: Terms, workers: int) -> None:
        self.terms = terms
        self.workers = workers
        self._pool = self._fresh(workers) if workers > 1 else None

    def _fresh(self, workers: int) -> WorkerPool:
        return worker_pool(workers, _receive, self.terms)

    def begin(self, stage: str, path: Path) -> Callable[[], Any]:
        """Begin to judge a program; returns what waits for the answer of ``judge`` and returns it."""
        if self._pool is None:
            answer = judge(self.terms, stage, path)
            return lambda: answer
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
        if self._pool is not None:
            self._pool.close()
