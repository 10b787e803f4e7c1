"""Playing controllers on stores: the round loop, over seeds and questions, on one process or several."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence, Sized
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import Any, NamedTuple, TypeGuard

import numpy as np
from numpy.typing import NDArray

from autotts_gym.controllers import Controller, HandWritten, check_stores
from autotts_gym.controllers.base import as_controller
from autotts_gym.engine import Bank, PoolState, RoundPlan, Rules, play_out
from autotts_gym.engine.functions import Aggregator
from autotts_gym.engine.play import MAX_ROUNDS
from autotts_gym.errors import AutottsError
from autotts_gym.evaluation.results import EvaluationResult
from autotts_gym.evaluation.sources import Source
from autotts_gym.evaluation.workers import worker_pool
from autotts_gym.memory import require_memory
from autotts_gym.progress import Progress
from autotts_gym.replay import ReplayStore, StoreLike, resolve_stores
from autotts_gym.validation import MAX_INTEGER, check, integer

_BYTES_PER_SEED = 80
_BYTES_PER_EPISODE = 64
"""What an evaluation keeps of each episode: first in parts, then joined."""

_END = object()


def play(controller: Controller, state: PoolState, watch: Callable[[RoundPlan], None] | None = None) -> None:
    """Let a controller play all running episodes of a state to their ends.

    Args:
        controller: decides each round.
        state: episodes that have begun.
        watch: called after each round with what was planned.

    Raises:
        ControllerError: it names an answer that it has not seen, or does not stop.
    """
    controller = as_controller(controller)
    batch = controller.together(state.bank.problems[state.questions])
    for _ in _rounds(controller, state, batch, watch):
        pass


def _rounds(
    controller: Controller, state: PoolState, batch: Any, watch: Callable[[RoundPlan], None] | None = None
) -> Generator[None]:
    """Play the episodes of a batch round by round.

    Unless they are watched, controllers that come with the project play them in one go. No other is handed the state.
    """
    memory = controller.begin_batch(state.revealed, batch)
    try:
        yield
        if watch is None and plays_by_rule(controller):
            controller.play_through(state, memory, MAX_ROUNDS)
            if not state.running.any():
                return
        yield from play_out(
            controller.name,
            state,
            lambda revealed, plan: controller.decide(revealed, memory, plan),
            lambda revealed: controller.look(revealed, memory),
            watch,
        )
    finally:
        controller.close(memory)


def plays_by_rule(controller: Controller) -> TypeGuard[HandWritten]:
    """Whether a controller comes with the project and decides by its compiled rule, not by another method."""
    if not isinstance(controller, HandWritten):
        return False
    replaced = "decide" in vars(controller) or type(controller).decide is not HandWritten.decide
    return type(controller).__module__.startswith("autotts_gym.") and not replaced


def play_chunk(
    controller: Controller,
    bank: Bank,
    rules: Rules,
    seeds: NDArray[np.int64],
    questions: NDArray[np.int64],
    answers: bool,
    since: float | None = None,
    spare: list[PoolState] | None = None,
) -> dict[str, NDArray[Any]]:
    """Play episodes, one a pair of seed and question; those that a controller has played twice must have equal results.

    Args:
        controller: decides each round.
        bank: the stores.
        rules: of all episodes.
        seeds: (N,) int64.
        questions: (N,) int64, numbered through the bank.
        answers: whether to keep the answers given.
        since: when the evaluation began, by ``time.monotonic``; None: now.
        spare: a state of the same bank and rules whose episodes have ended, if there is one: its memory is used again.

    Returns:
        The fields of an ``EvaluationResult``, each (N,).
    """
    controller = as_controller(controller)
    batches = controller.batches(bank.problems[questions], since)
    alone = spare is not None and len(batches) == 1
    states = [
        _begin_episodes(bank, rules, seeds[batch.rows], questions[batch.rows], spare if alone else None)
        for batch in batches
    ]
    with ExitStack() as stack:
        playing = [
            stack.enter_context(closing(_rounds(controller, state, batch)))
            for batch, state in zip(batches, states, strict=True)
        ]
        while playing:
            playing = [rounds for rounds in playing if next(rounds, _END) is not _END]
    every = join_fields([outcomes(state, answers) for state in states])
    rows = np.concatenate([batch.rows for batch in batches])
    _, firsts = np.unique(rows, return_index=True)
    fields = {name: values[firsts] for name, values in every.items()}
    controller.audit({name: values[rows] for name, values in fields.items()}, every, seeds[rows], questions[rows])
    return fields


def _begin_episodes(
    bank: Bank,
    rules: Rules,
    seeds: NDArray[np.int64],
    questions: NDArray[np.int64],
    spare: list[PoolState] | None,
) -> PoolState:
    """Begin episodes in the spare state if it has the right size, else in a new one, which becomes the spare state."""
    if spare and spare[0].episodes == len(questions):
        spare[0].restart(seeds, questions)
        return spare[0]
    state = PoolState.begun(bank, rules, seeds, questions)
    if spare is not None:
        spare[:] = [state]
    return state


def outcomes(state: PoolState, answers: bool) -> dict[str, NDArray[Any]]:
    """The fields of an ``EvaluationResult`` of episodes that have ended, (N,) each; see ``PoolState.outcomes``."""
    fields = state.outcomes(answers)
    return fields if state.bank.labelled else {**fields, "agreed": state.agreed()}


def evaluate(
    controller: Controller,
    store: StoreLike | Source = None,
    *,
    seeds: Sequence[int] = range(100),
    max_branches: int = 64,
    accounting: str = "exact",
    token_budget: int | None = None,
    token_unit: int | None = None,
    answers: bool = False,
    aggregator: Aggregator | str | None = None,
    workers: int = 1,
    progress: bool = False,
) -> EvaluationResult:
    """Play every question of a store under every seed with one controller.

    For seed s the order of a pool of B branches is that of ``random.Random(s).shuffle(list(range(B)))``. The result is
    the same for any number of workers.

    Args:
        controller: made by ``make_controller``, or anything that follows the ``Controller`` protocol.
        store: a name, a path, a ``ReplayStore``; None: the store that ships; or a ``Source``, such as a served model
            (``autotts_gym.live.LiveSource``), whose episodes are played in this process.
        seeds: whole numbers, each an order of the pools; of a served model, what its branches are drawn with.
        max_branches: branch slots of an episode.
        accounting: "exact", or "autotts": what the published code charges.
        token_budget: total tokens an episode may spend; None: no limit.
        token_unit: tokens that a price is for, and features of tokens are scaled by; None: that of the store.
        answers: also keep the answers given.
        aggregator: a way of one's own to answer where a controller leaves that open, or a reference to it; see
            ``autotts_gym.aggregator``.
        workers: processes; 1: this one.
        progress: show how far it is, on standard error.

    Raises:
        AutottsError: an argument is out of its range, or the store is not one store.
        ControllerError: the controller names an answer that it has not seen, does not stop, or needs probes
            on a store that has none.
    """
    rules = Rules(
        max_branches=max_branches,
        accounting=accounting,
        token_budget=token_budget,
        token_unit=token_unit,
        aggregator=aggregator,
    )
    if isinstance(store, Source):
        return _evaluate_source(
            controller, store, checked_seeds(seeds, store.num_questions, 1), rules, answers, progress
        )
    stores = resolve_stores(store)
    if len(stores) != 1:
        raise AutottsError(f"store: expected one store, got {len(stores)}; evaluate_all takes several")
    (result,) = evaluate_all(
        [controller], stores, seeds=seeds, rules=rules, answers=answers, workers=workers, progress=progress
    )
    return result


def evaluate_all(
    controllers: Sequence[Controller],
    stores: Sequence[ReplayStore],
    *,
    seeds: Sequence[int] = range(100),
    rules: Rules | None = None,
    answers: bool = False,
    workers: int = 1,
    progress: bool = False,
) -> list[EvaluationResult]:
    """Evaluate every controller on every store; arguments as for ``evaluate``.

    Returns:
        One result a pair: all controllers on the first store, then all on the second, ...
    """
    seeds = checked_seeds(seeds, sum(store.num_questions for store in stores), len(controllers))
    rules = rules or Rules()
    workers = integer("workers", workers, 1)
    for controller in controllers:
        check_stores(controller, stores)
    job = _Job(tuple(controllers), tuple(Bank([store]) for store in stores), rules, seeds, answers, {}, {})
    tasks = [
        _Task(c, s, first, min(first + size, len(seeds) * bank.num_questions))
        for s, bank in enumerate(job.banks)
        for c, controller in enumerate(controllers)
        for size in (chunk_size(controller, bank),)
        for first in range(0, len(seeds) * bank.num_questions, size)
    ]
    parts: dict[tuple[int, int], list[dict[str, NDArray[Any]]]] = {}
    with _mapper(job, min(workers, len(tasks))) as run, Progress("evaluating", len(tasks), progress) as bar:
        for task, fields in zip(tasks, run(tasks), strict=True):
            parts.setdefault((task.controller, task.store), []).append(fields)
            bar.advance()
    return [
        _result(controller, store, rules, seeds, join_fields(parts[c, s]))
        for s, store in enumerate(stores)
        for c, controller in enumerate(controllers)
    ]


def _evaluate_source(
    controller: Controller, source: Source, seeds: tuple[int, ...], rules: Rules, answers: bool, progress: bool
) -> EvaluationResult:
    """Play every question of a source under every seed."""
    controller = as_controller(controller)
    source.check(controller)
    rows, questions = np.divmod(np.arange(len(seeds) * source.num_questions), source.num_questions)
    with Progress("evaluating", len(rows), progress) as bar:
        fields = source.play(controller, rules, np.array(seeds)[rows], questions, answers, bar.advance)
    return _result(controller, source, rules, seeds, fields)


def _result(
    controller: Controller,
    store: ReplayStore | Source,
    rules: Rules,
    seeds: tuple[int, ...],
    fields: dict[str, NDArray[Any]],
) -> EvaluationResult:
    """The result of episodes, one a pair of seed and question."""
    return EvaluationResult(
        controller=controller.name,
        params=controller.params,
        store=store.name,
        model=store.model,
        benchmark=store.benchmark,
        accounting=rules.accounting,
        max_branches=rules.max_branches,
        seeds=seeds,
        synthetic=isinstance(store, ReplayStore) and store.synthetic,
        token_unit=rules.token_unit or store.token_unit,
        **{name: values.reshape(len(seeds), -1) for name, values in fields.items()},
    )


def checked_seeds(seeds: Sequence[int], questions: int, settings: int) -> tuple[int, ...]:
    """Check that these are seeds, and that the episodes played under them fit into memory.

    Args:
        seeds: whole numbers.
        questions: how many questions are played under each.
        settings: how many controllers play them.

    Raises:
        AutottsError: there is none, one is no whole number, or the episodes do not fit.
    """
    wanted: Any = seeds
    several = isinstance(wanted, Iterable) and not isinstance(wanted, str) and getattr(wanted, "ndim", 1) == 1
    check("seeds", wanted, several, "several whole numbers, such as range(100)")
    if isinstance(seeds, Sized):  # before anything is made of a range
        size = len(seeds) * (_BYTES_PER_SEED + settings * questions * _BYTES_PER_EPISODE)
        require_memory(f"seeds: {len(seeds)} orders of {questions} questions for each of {settings} settings", size)
    given = tuple(seeds)
    if not given:
        raise AutottsError("seeds: expected at least one, got none")
    return tuple(integer("seeds", seed, -MAX_INTEGER) for seed in given)


def chunk_size(controller: Controller, bank: Bank) -> int:
    """Episodes to play side by side."""
    return as_controller(controller).chunk(bank.num_problems)


def join_fields(parts: Sequence[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """The fields of consecutive episodes."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


class _Task(NamedTuple):
    """Some episodes of one controller on one store, numbered question by question under each seed in turn."""

    controller: int
    store: int
    first: int
    end: int


class _Job(NamedTuple):
    """What all tasks of an evaluation share; sent to a worker once."""

    controllers: tuple[Controller, ...]
    banks: tuple[Bank, ...]
    rules: Rules
    seeds: tuple[int, ...]
    answers: bool
    since: dict[tuple[int, int], float]
    """When this process began to play each controller on each store."""
    spare: dict[int, list[PoolState]]
    """The state of its last episodes on each store: to allocate so much memory is slow."""

    def play(self, task: _Task) -> dict[str, NDArray[Any]]:
        """Play the episodes of a task."""
        bank = self.banks[task.store]
        rows, questions = np.divmod(np.arange(task.first, task.end), bank.num_questions)
        seeds = np.array(self.seeds)[rows]
        controller = self.controllers[task.controller]
        since = self.since.setdefault((task.controller, task.store), time.monotonic())
        spare = self.spare.setdefault(task.store, [])
        return play_chunk(controller, bank, self.rules, seeds, questions, self.answers, since, spare)


_jobs: list[_Job] = []
"""The job of a worker process."""


def _receive(job: _Job) -> None:
    _jobs.append(job)


def _play_in_worker(task: _Task) -> dict[str, NDArray[Any]]:
    return _jobs[0].play(task)


@contextmanager
def _mapper(job: _Job, workers: int) -> Iterator[Callable[[Iterable[Any]], Iterator[dict[str, NDArray[Any]]]]]:
    """A map of the job over tasks, in their order: in this process, or in so many fresh ones."""
    if workers == 1:
        yield partial(map, job.play)
        return
    with worker_pool(workers, _receive, job) as pool:
        yield partial(pool.map, _play_in_worker)
