"""One run of a collection: what it asks, where it goes on, and what it leaves."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from autotts_gym.collection.accounts import Budget
from autotts_gym.collection.building import same_answer
from autotts_gym.collection.collector import Collector
from autotts_gym.collection.extraction import extractor
from autotts_gym.collection.index import Index, Key
from autotts_gym.collection.journal import JournalError, JournalWriter, Record
from autotts_gym.collection.logs import LogBranch
from autotts_gym.collection.probing import TaskPrompt, answer_part
from autotts_gym.collection.prompts import THINK_BEGIN, THINK_END
from autotts_gym.collection.questions import Task, digest
from autotts_gym.collection.settings import Settings, difference, stored_name
from autotts_gym.errors import plain
from autotts_gym.models import Capabilities, Endpoint, EndpointError, Patience
from autotts_gym.models.prices import Price
from autotts_gym.progress import Progress

FORM = 1
"""Version of the records."""

DRY_QUESTIONS = 8
"""Questions of which a dry run collects one branch each."""


@dataclass(frozen=True)
class Limits:
    """What a run may use.

    Attributes:
        concurrency: requests at a time.
        tokens: the most tokens that the whole collection generates; None: no limit.
        usd: the most that it costs; None: no limit.
        price: of the model; None: unknown.
        patience: how long failures are waited for.
    """

    concurrency: int = 16
    tokens: int | None = None
    usd: float | None = None
    price: Price | None = None
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True)
class Outcome:
    """What a run did.

    Attributes:
        index: what the journal holds now.
        stopped: whether a budget ended it.
        asked: branches that the collection is of.
        seconds: that it took.
        tokens: generated in this run.
    """

    index: Index
    stopped: bool
    asked: int
    seconds: float
    tokens: int


class Tally:
    """What is there so far, for the progress.

    Args:
        tasks: the questions.
        extract: the extractor of answers.
        equivalence: which answers are one.
    """

    def __init__(self, tasks: Sequence[Task], extract: str, equivalence: str) -> None:
        self._tasks = tasks
        self._extract = extractor(extract)
        self._same = same_answer(equivalence)
        self._answers: list[dict[str | None, int]] = [{} for _ in tasks]
        self._verdicts: list[dict[str, bool]] = [{} for _ in tasks]
        self._right = [0] * len(tasks)
        self._branches = [0] * len(tasks)
        self._done = [0] * len(tasks)

    def add(self, question: int, text: str, finished: bool) -> None:
        """Count a branch that was sampled."""
        answer = self._extract(answer_part(text)) if finished else None
        answers, verdicts, gold = self._answers[question], self._verdicts[question], self._tasks[question].answer
        answers[answer] = answers.get(answer, 0) + 1
        self._branches[question] += 1
        if answer is not None and gold is not None:
            if answer not in verdicts:
                verdicts[answer] = self._same(answer, gold)
            self._right[question] += verdicts[answer]

    def complete(self, question: int) -> None:
        """Count a branch that has all its probes."""
        self._done[question] += 1

    @property
    def done(self) -> int:
        """Branches that have all their probes."""
        return sum(self._done)

    def note(self, branches: int) -> str:
        """Questions done, pass@1 and agreement so far, in words.

        Args:
            branches: of each question.
        """
        begun = [q for q, count in enumerate(self._branches) if count]
        words = [f"{sum(done >= branches for done in self._done)} questions done"]
        right = [self._right[q] / self._branches[q] for q in begun if self._tasks[q].answer is not None]
        if right:
            words.append(f"pass@1 {np.mean(right):.1%}")
        most = [max((n for a, n in self._answers[q].items() if a is not None), default=0) for q in begun]
        if begun:
            shares = [count / self._branches[q] for q, count in zip(begun, most, strict=True)]
            words.append(f"agreement {np.mean(shares):.1%}")
        return ", ".join(words)


async def prepare_prompts(
    endpoint: Endpoint, capabilities: Capabilities, settings: Settings, tasks: Sequence[Task], patience: Patience
) -> dict[int, TaskPrompt]:
    """The prompts of all questions.

    Raises:
        AutottsError: a template fails, or the server has none.
    """
    prompts = {}
    for number, task in enumerate(tasks):
        prompt, thinking = await patience.call(partial(settings.prompt.prompt, endpoint, capabilities, task))
        prompts[number] = TaskPrompt(prompt, thinking)
    return prompts


async def run(
    endpoint: Endpoint,
    capabilities: Capabilities,
    path: Path,
    settings: Settings,
    tasks: Sequence[Task],
    *,
    benchmark: str,
    limits: Limits | None = None,
    shard: tuple[int, int] = (1, 1),
    sample: bool = True,
    probe: bool = True,
    dry: bool = False,
    logs: Mapping[int, Sequence[LogBranch]] | None = None,
    prompts: Mapping[int, TaskPrompt] | None = None,
    extract: str = "boxed",
    equivalence: str = "math",
    show: bool = False,
) -> Outcome:
    """Collect what a journal lacks.

    Args:
        endpoint: the server.
        capabilities: of it.
        path: of the journal; a new one begins if there is none.
        settings: of the collection.
        tasks: the questions.
        benchmark: name of the benchmark.
        limits: what it may use.
        shard: (K, N), only every N-th question, from the K-th on.
        sample: whether to sample branches.
        probe: whether to probe branches.
        dry: only one branch of some questions.
        logs: branches that exist, by question; they are tokenized and put into the journal.
        prompts: of all questions, as a journal has them; None: they are made.
        extract: the extractor, for the progress.
        equivalence: for the progress.
        show: whether to show the progress.

    Raises:
        EndpointError: the server refuses, failed too often, changed its model, or has no token ids for logs.
        JournalError: the journal is in use, damaged, of another collection, or cannot be written.
        AutottsError: a setting or a template is wrong.
    """
    limits = limits or Limits()
    if logs is not None and not capabilities.ids:
        raise EndpointError(
            f"{endpoint.name}: expected a server of token ids, since the intervals of a log are counted in them, got "
            "one of text; use vLLM, SGLang or llama.cpp"
        )
    tally = Tally(tasks, extract, equivalence)
    if prompts is None:
        prompts = await prepare_prompts(endpoint, capabilities, settings, tasks, limits.patience)
    header = await _header(endpoint, capabilities, settings, tasks, prompts, benchmark, shard, limits.patience)
    chosen = list(range(len(tasks)))[shard[0] - 1 :: shard[1]]
    if dry:
        chosen = chosen[:: max(1, len(chosen) // DRY_QUESTIONS)][:DRY_QUESTIONS]
    index = Index(path)

    def known(record: Record, place: int) -> None:
        index.add(record, place)
        if record.kind == "settings":
            _check_same(path, index.header, header)
        elif record.kind == "branch":
            tally.add(int(record.values["question"]), str(record.values["text"]), record.values["finish"] == "stop")

    with JournalWriter(path, known) as journal:
        if not index.header:
            index.add(settings_record := Record("settings", header), journal.add(settings_record))
        session = Record("session", _session(settings, dry))
        index.add(session, journal.add(session))
        if logs is not None:
            await _add_logs(endpoint, index, journal, tally, prompts, logs, limits.patience)
        before, began = index.accounts.generated, time.monotonic()
        branches = 1 if dry else settings.branches
        total = len(chosen) * branches
        with Progress("collecting", total, show=show) as progress:
            came = 0

            def on_tokens(count: int) -> None:
                nonlocal came
                came += count

            among = set(chosen)
            for question, branch in index.tokens:
                wanted = question in among and branch < branches
                if wanted and _is_complete(index, (question, branch), settings, probe):
                    tally.complete(question)

            def note() -> None:
                speed = came / max(time.monotonic() - began, 1e-9)
                progress.update(tally.done, f"{speed:,.0f} tokens/s, {tally.note(branches)}")

            async def show_notes() -> None:
                while True:
                    note()
                    await asyncio.sleep(1.0)

            collector = Collector(
                endpoint,
                capabilities,
                replace(settings, branches=branches),
                tasks,
                chosen,
                prompts,
                journal,
                index,
                Budget(index.accounts, limits.tokens, limits.usd, limits.price),
                concurrency=limits.concurrency,
                patience=limits.patience,
                notice=progress.say,
                on_branch=tally.add,
                on_complete=tally.complete,
                on_tokens=on_tokens,
            )
            notes = asyncio.create_task(show_notes())
            try:
                await collector.run(sample=sample, probe=probe)
            finally:
                notes.cancel()
            note()
    return Outcome(index, collector.stopped, total, time.monotonic() - began, index.accounts.generated - before)


def _is_complete(index: Index, key: Key, settings: Settings, probe: bool) -> bool:
    """Whether all that is asked of a branch is there."""
    return index.ready(key, settings.positions(index.tokens[key]) if probe else range(0))


def _plain(prompt: Any) -> Any:
    return list(prompt) if isinstance(prompt, tuple) else prompt


async def _header(
    endpoint: Endpoint,
    capabilities: Capabilities,
    settings: Settings,
    tasks: Sequence[Task],
    prompts: Mapping[int, TaskPrompt],
    benchmark: str,
    shard: tuple[int, int],
    patience: Patience,
) -> dict[str, Any]:
    """The values of a journal's first record."""
    suffix: dict[str, Any] = {}
    for name, text in (("open", settings.closing + settings.suffix), ("closed", settings.suffix)):
        suffix[name] = list(await patience.call(partial(endpoint.tokenize, text))) if capabilities.ids else text
    return {
        "form": FORM,
        "model": stored_name(capabilities.model),
        "benchmark": benchmark,
        "settings": settings.fixed(),
        "questions_sha256": digest(tasks),
        "tasks": [task.to_dict() for task in tasks],
        "capabilities": capabilities.to_dict(),
        "prompts": {str(n): [_plain(each.prompt), each.thinking] for n, each in prompts.items()},
        "suffix": suffix,
        "shard": list(shard),
    }


def _session(settings: Settings, dry: bool) -> dict[str, Any]:
    packages = ("autotts_gym", "numpy", "aiohttp")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "branches": settings.branches,
        "probes": settings.probes,
        "dry": dry,
        "versions": {name: version(name) for name in packages},
    }


def _check_same(path: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Refuse to go on with another model, other questions or other settings.

    Raises:
        JournalError: they differ.
    """
    pairs = [
        (name, {name: ours[name]}, {name: theirs.get(name)})
        for name in ("form", "model", "benchmark", "settings", "questions_sha256", "prompts", "suffix", "shard")
    ]
    for name in ("ids", "identity"):
        pairs.append((name, {name: ours["capabilities"][name]}, {name: theirs["capabilities"][name]}))
    for _, mine, other in pairs:
        if told := difference(mine, other):
            raise JournalError(
                f"{plain(path)}: expected the collection that it was begun with; {told}; use another --out for another "
                f"collection"
            )


async def _add_logs(
    endpoint: Endpoint,
    index: Index,
    journal: JournalWriter,
    tally: Tally,
    prompts: Mapping[int, TaskPrompt],
    logs: Mapping[int, Sequence[LogBranch]],
    patience: Patience,
) -> None:
    """Put branches that exist into the journal."""
    for question, found in logs.items():
        for branch, log in enumerate(found):
            if (question, branch) in index.tokens:
                continue
            record = await _logged(endpoint, question, branch, log, prompts[question].thinking, patience)
            index.add(record, journal.add(record))
            tally.add(question, log.text, log.finish == "stop")


async def _logged(
    endpoint: Endpoint,
    question: int,
    branch: int,
    log: LogBranch,
    thinking: bool,
    patience: Patience,
) -> Record:
    """The record of a branch of a log. Of ids alone nobody knows which characters are whose: the text is the last's."""
    begin, end = (0 if thinking else -1), -1
    ids = log.ids or await patience.call(lambda: endpoint.tokenize(log.text))
    widths = np.zeros(max(len(ids), 1), np.int32)
    widths[-1] = len(log.text)

    async def after(mark: str) -> int:
        place = log.text.find(mark)
        prefix = log.text[: place + len(mark)]
        return len(await patience.call(lambda: endpoint.tokenize(prefix))) if place >= 0 else -1

    begin = begin if begin == 0 else await after(THINK_BEGIN)
    end = await after(THINK_END)
    values = {
        "question": question,
        "branch": branch,
        "seed": -1,
        "finish": log.finish,
        "tokens": int(widths.size),
        "generated": 0,
        "prompt_tokens": 0,
        "cached_tokens": 0,
        "unknown": False,
        "text": log.text,
        "think_begin": begin,
        "think_end": end,
        "seconds": 0.0,
        "logged": True,
    }
    return Record("branch", values, {"widths": widths, "ids": np.array(ids or (0,), np.int32)})


def saved_prompts(index: Index) -> dict[int, TaskPrompt]:
    """The prompts of a journal."""
    return {
        int(number): TaskPrompt(tuple(prompt) if isinstance(prompt, list) else prompt, bool(thinking))
        for number, (prompt, thinking) in index.header["prompts"].items()
    }
