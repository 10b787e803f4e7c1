"""Playing controllers on stores: the round loop, over seeds and questions, on one process or several."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from autotts_gym.controllers import Controller
from autotts_gym.engine import Bank, PoolState, RoundPlan, Rules
from autotts_gym.errors import AutottsError, ControllerError
from autotts_gym.evaluation.results import EvaluationResult
from autotts_gym.replay import ReplayStore, StoreLike, pool_order, resolve_stores

CHUNK_EPISODES = 300
"""Episodes played side by side: enough to hide the cost of a call, few enough to stay in the processor's cache."""

MAX_ROUNDS = 100_000


def play(controller: Controller, state: PoolState) -> None:
    """Let a controller play all running episodes of a state to their ends.

    Raises:
        ControllerError: it names an answer that it has not seen, or does not stop.
    """
    revealed = state.revealed
    memory = controller.begin(revealed)
    plan = RoundPlan.empty(state.episodes, state.rules.max_branches)
    for _ in range(MAX_ROUNDS):
        plan.clear()
        controller.decide(revealed, memory, plan)
        if not state.play(plan):
            return
    raise ControllerError(f"{controller.name}: expected to stop within {MAX_ROUNDS} rounds, but episodes still run")


def play_chunk(
    controller: Controller, bank: Bank, rules: Rules, seeds: Sequence[int], answers: bool
) -> dict[str, NDArray[Any]]:
    """Play every question of a bank under every seed.

    Returns:
        The fields of an ``EvaluationResult``, each (seeds, questions).
    """
    questions = np.tile(np.arange(bank.num_questions), len(seeds))
    state = PoolState(bank, len(questions), rules)
    every = np.ones(len(questions), np.bool_)
    state.begin(every, questions)
    state.deal(every, pool_orders(bank, seeds, rules.max_branches))
    play(controller, state)
    shape = (len(seeds), bank.num_questions)
    fields = {
        "correct": state.correct.copy(),
        "total_tokens": state.pools["total_tokens"].copy(),
        "sequential_tokens": state.pools["sequential_tokens"].copy(),
        "branches_opened": state.pools["opened"].copy(),
        "branches_pruned": state.pools["pruned"].copy(),
    }
    if answers:
        fields["answers"] = np.empty(len(questions), object)
        fields["answers"][:] = state.answer_texts(np.arange(len(questions)), state.pools["answer"])
    return {name: values.reshape(shape) for name, values in fields.items()}


def pool_orders(bank: Bank, seeds: Sequence[int], max_branches: int) -> NDArray[np.int32]:
    """The orders of all questions' pools under each seed in turn, (seeds x questions, M) int32."""
    sizes = bank.questions["branches"]
    orders = np.zeros((len(seeds), bank.num_questions, max_branches), np.int32)
    for size in np.unique(sizes):
        held = min(int(size), max_branches)
        dealt = np.stack([pool_order(seed, int(size))[:held] for seed in seeds])
        orders[:, sizes == size, :held] = dealt[:, None, :]
    return orders.reshape(-1, max_branches)


def evaluate(
    controller: Controller,
    store: StoreLike = None,
    *,
    seeds: Sequence[int] = range(100),
    max_branches: int = 64,
    accounting: str = "exact",
    token_budget: int | None = None,
    answers: bool = False,
    workers: int = 1,
    progress: bool = False,
) -> EvaluationResult:
    """Play every question of a store under every seed with one controller.

    For seed s the order of a pool of B branches is that of ``random.Random(s).shuffle(list(range(B)))``. The result is
    the same for any number of workers.

    Args:
        controller: made by ``make_controller``, or anything that follows the ``Controller`` protocol.
        store: a name, a path, a ``ReplayStore``; None: the store that ships.
        seeds: whole numbers, each an order of the pools.
        max_branches: branch slots of an episode.
        accounting: "exact", or "autotts": what the published code charges.
        token_budget: total tokens an episode may spend; None: no limit.
        answers: also keep the answers given.
        workers: processes; 1: this one.
        progress: show a progress bar.

    Raises:
        AutottsError: an argument is out of its range, or the store is not one store.
        ControllerError: the controller names an answer that it has not seen, or does not stop.
    """
    stores = resolve_stores(store)
    if len(stores) != 1:
        raise AutottsError(f"store: expected one store, got {len(stores)}; evaluate_all takes several")
    rules = Rules(max_branches=max_branches, accounting=accounting, token_budget=token_budget)
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
    seeds = tuple(seeds)
    rules = rules or Rules()
    if not seeds:
        raise AutottsError("seeds: expected at least one, got none")
    if workers < 1:
        raise AutottsError(f"workers: expected at least 1, got {workers}")
    job = _Job(tuple(controllers), tuple(Bank([store]) for store in stores), rules, answers)
    tasks = [
        (c, s, seeds[first : first + chunk])
        for s, bank in enumerate(job.banks)
        for chunk in [max(1, CHUNK_EPISODES // bank.num_questions)]
        for c in range(len(controllers))
        for first in range(0, len(seeds), chunk)
    ]
    parts: dict[tuple[int, int], list[dict[str, NDArray[Any]]]] = {}
    with _mapper(job, workers) as run, _progress(len(tasks), progress) as advance:
        for (c, s, _), fields in zip(tasks, run(tasks), strict=True):
            parts.setdefault((c, s), []).append(fields)
            advance()
    return [
        EvaluationResult(
            controller=controller.name,
            params=controller.params,
            store=store.name,
            model=store.model,
            benchmark=store.benchmark,
            accounting=rules.accounting,
            max_branches=rules.max_branches,
            seeds=seeds,
            **{name: np.concatenate([part[name] for part in parts[c, s]]) for name in parts[c, s][0]},
        )
        for s, store in enumerate(stores)
        for c, controller in enumerate(controllers)
    ]


class _Job(NamedTuple):
    """What all tasks of an evaluation share; sent to a worker once."""

    controllers: tuple[Controller, ...]
    banks: tuple[Bank, ...]
    rules: Rules
    answers: bool

    def play(self, task: tuple[int, int, tuple[int, ...]]) -> dict[str, NDArray[Any]]:
        """Play one controller on some seeds of one store."""
        controller, store, seeds = task
        return play_chunk(self.controllers[controller], self.banks[store], self.rules, seeds, self.answers)


_jobs: list[_Job] = []
"""The job of a worker process."""


def _receive(job: _Job) -> None:
    _jobs.append(job)


def _play_in_worker(task: tuple[int, int, tuple[int, ...]]) -> dict[str, NDArray[Any]]:
    return _jobs[0].play(task)


@contextmanager
def _mapper(job: _Job, workers: int) -> Iterator[Callable[[Iterable[Any]], Iterator[dict[str, NDArray[Any]]]]]:
    """A map of the job over tasks, in their order: in this process, or in so many fresh ones."""
    if workers == 1:
        yield partial(map, job.play)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), _receive, (job,)) as pool:
        try:
            yield partial(pool.map, _play_in_worker)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


@contextmanager
def _progress(total: int, show: bool) -> Iterator[Callable[[], None]]:
    """A progress bar on standard error, or none."""
    if not show:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("evaluating", total=total)
        yield lambda: bar.advance(task)
