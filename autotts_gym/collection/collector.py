"""Sampling branches and probing them, many at a time, into a journal."""

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotts_gym.collection import signals
from autotts_gym.collection.accounts import Budget, BudgetReachedError
from autotts_gym.collection.index import Index, Key
from autotts_gym.collection.journal import JournalWriter, Record
from autotts_gym.collection.probing import Prober, SampledBranch, TaskPrompt
from autotts_gym.collection.questions import Task
from autotts_gym.collection.settings import Settings
from autotts_gym.errors import plain
from autotts_gym.models import (
    Capabilities,
    Completion,
    ContextError,
    Endpoint,
    EndpointError,
    ModelChangedError,
    Patience,
    Place,
    Prompt,
    Request,
    RetryableError,
    complete,
)

WATCH_SECONDS = 30.0
"""Seconds between two looks at whether the server still has the same model."""


class Collector:
    """Collects the branches and probes that a journal lacks.

    Args:
        endpoint: the server.
        capabilities: of it.
        settings: of the collection.
        tasks: all questions.
        chosen: the numbers of the questions to collect.
        prompts: of the chosen questions, by number.
        journal: to write to.
        index: what the journal holds.
        budget: of the whole collection.
        concurrency: requests at a time.
        patience: how long failures are waited for.
        notice: gets a line on each failure that another call follows.
        on_branch: gets question, text and whether it finished, of each new branch.
        on_complete: gets the question of each branch that has all that was asked for.
        on_tokens: gets numbers of tokens as they come.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        capabilities: Capabilities,
        settings: Settings,
        tasks: Sequence[Task],
        chosen: Sequence[int],
        prompts: Mapping[int, TaskPrompt],
        journal: JournalWriter,
        index: Index,
        budget: Budget,
        *,
        concurrency: int = 16,
        patience: Patience | None = None,
        notice: Callable[[str], None] = lambda line: None,
        on_branch: Callable[[int, str, bool], None] = lambda question, text, finished: None,
        on_complete: Callable[[int], None] = lambda question: None,
        on_tokens: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._endpoint, self._capabilities = endpoint, capabilities
        self._settings, self._tasks, self._chosen, self._prompts = settings, tasks, chosen, prompts
        self._journal, self._index, self._budget = journal, index, budget
        self._concurrency, self._patience = concurrency, patience or Patience()
        self._notice, self._on_branch, self._on_tokens = notice, on_branch, on_tokens
        self._on_complete = on_complete
        self._rooms: dict[int, int] = {}
        """The most tokens of the branches of questions of which the server said that they do not fit."""
        self._prober = Prober(settings, capabilities)
        self.stopped = False
        """Whether a budget ended the work."""

    async def run(self, *, sample: bool = True, probe: bool = True) -> None:
        """Collect what is missing, or as much as the budget allows.

        Args:
            sample: whether to sample branches that are missing.
            probe: whether to probe branches.

        Raises:
            EndpointError: the server refuses, failed too often, or has another model now.
            JournalError: the journal cannot be written.
        """
        await self._prober.prepare(self._endpoint, self._patience, self._notice)
        jobs = self._jobs(sample, probe)
        begun = dict(self._capabilities.identity)
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(self._watch(begun))
                workers = [group.create_task(self._work(jobs, sample, probe)) for _ in range(self._workers)]
                await asyncio.gather(*workers)
                watch.cancel()
            await self._check(begun)
        except BaseExceptionGroup as failures:
            error = _first(failures)
            if isinstance(error, ModelChangedError):
                self._add(Record("changed", {}))
            raise error from None
        except ModelChangedError:
            self._add(Record("changed", {}))
            raise

    @property
    def _workers(self) -> int:
        """Branches at a time; more than the server works on would only take each other's places in its cache."""
        return min(self._concurrency, self._capabilities.slots or self._concurrency)

    def _jobs(self, sample: bool, probe: bool) -> Iterator[Key]:
        """Branches that lack something, question after question, so that prompts stay in the server's cache."""
        for question in self._chosen:
            for branch in range(self._settings.branches):
                tokens = self._index.tokens.get((question, branch))
                if tokens is None:
                    if sample and (question, branch) not in self._index.refused:
                        yield question, branch
                elif probe and not self._index.ready((question, branch), self._settings.positions(tokens)):
                    yield question, branch

    async def _work(self, jobs: Iterator[Key], sample: bool, probe: bool) -> None:
        """Branch after branch, at one place of the server's cache."""
        place: Place = None
        for key in jobs:
            if self.stopped:
                return
            try:
                tokens = self._index.tokens.get(key)
                drawn, place = await self._sample(key, probe, place) if tokens is None else (self._again(key), place)
                if probe:
                    place = await self._probe_all(key, drawn, place)
                self._on_complete(key[0])
            except BudgetReachedError:
                self.stopped = True
                return
            except ContextError as error:
                self._notice(f"question {plain(self._tasks[key[0]].id)}, branch {key[1]}: left out: {error}")
                self._add(Record("refused", {"question": key[0], "branch": key[1], "reason": str(error)}))
            except EndpointError as error:
                task = self._tasks[key[0]]
                raise type(error)(f"question {plain(task.id)}, branch {key[1]}: {error}") from error

    async def _watch(self, begun: dict[str, Any]) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            await self._check(begun)

    async def _check(self, begun: dict[str, Any]) -> None:
        """Refuse a server that has another model than when this began; one that is away shows it by its requests."""
        before = self._index.unchecked
        try:
            now = await self._endpoint.identity()
        except RetryableError:
            return
        if now != begun:
            changed = sorted(name for name in begun.keys() | now.keys() if begun.get(name) != now.get(name))
            raise ModelChangedError(
                f"{self._endpoint.name}: expected the model of the beginning, but it has another: {', '.join(changed)} "
                f"changed; what came since it was last seen is left out. Go on with the first model, or begin a "
                f"collection of its own"
            )
        self._add(Record("checked", {"newer": self._index.unchecked - before}))

    # ---------------------------------------------------------------- sampling

    async def _sample(self, key: Key, probe: bool, place: Place) -> tuple[SampledBranch, Place]:
        question, branch = key
        task, prompt = self._tasks[question], self._prompts[question]
        seed = self._settings.branch_seed(task.id, branch)
        began = time.monotonic()
        while True:
            most = self._room(question)
            request = Request(
                prompt.prompt,
                most,
                seed,
                self._settings.sampling,
                top_logprobs=min(self._capabilities.logprobs, signals.TOP),
                place=place,
            )
            aside = self._budget.set_aside(*self._most(prompt.prompt, most, probe))
            try:
                done = await self._ask(request)
                break
            except ContextError:  # a server of text, or one that did not say how long its context is
                counted = self._capabilities.context is not None and not isinstance(prompt.prompt, str)
                if counted or most == 1:
                    raise
                self._rooms[question] = min(self._rooms.get(question, most), most // 2)
            finally:
                self._budget.free(aside)
        if done.finish == "length" and most < self._settings.max_tokens:
            done.finish = "context"
        widths, source = _spread(done, self._settings.max_tokens)
        ids = np.array(done.ids, np.int32) if done.ids else None
        drawn = SampledBranch.of(ids, np.cumsum(widths, dtype=np.int64), done.text, prompt.thinking)
        values = {
            "question": question,
            "branch": branch,
            "seed": seed,
            "finish": done.finish,
            "tokens": widths.size,
            "generated": max(widths.size, done.total_tokens),
            **_read(done, request),
            "text": done.text,
            "think_begin": drawn.think_begin,
            "think_end": drawn.think_end,
            "seconds": round(time.monotonic() - began, 3),
        }
        arrays: dict[str, NDArray[Any]] = {"widths": widths}
        if drawn.ids is not None:
            arrays["ids"] = drawn.ids
        if done.logprobs and len(done.logprobs) == len(done.ends):
            known = {"logprob": done.logprobs, "entropy": done.entropy, "confidence": done.confidence}
            arrays |= signals.of_tokens(
                {name: [row[each] if each >= 0 else math.nan for each in source] for name, row in known.items()}
            )
        self._add(Record("branch", values, arrays))
        self._on_branch(question, done.text, done.finish == "stop")
        return drawn, done.place or place

    def _room(self, question: int) -> int:
        """The most tokens that a branch may have: its last probe must fit the context, too."""
        context, prompt = self._capabilities.context, self._prompts[question].prompt
        most = self._rooms.get(question, self._settings.max_tokens)
        if context is None or isinstance(prompt, str):
            return most
        tail = self._prober.tail + self._settings.probe_tokens
        room = min(most, context - len(prompt) - tail)
        if room < 1:
            raise ContextError(
                f"expected room for a branch: prompt {len(prompt)}, probe {tail}, context {context} tokens"
            )
        return room

    def _again(self, key: Key) -> SampledBranch:
        """A branch of an earlier run, to be probed."""
        record = self._journal.read(self._index.places[key])
        values = record.values
        ids = record.arrays.get("ids")
        ends = np.cumsum(record.arrays["widths"], dtype=np.int64)
        return SampledBranch(ids, ends, values["text"], values["think_begin"], values["think_end"])

    # ---------------------------------------------------------------- probing

    async def _probe_all(self, key: Key, drawn: SampledBranch, place: Place) -> Place:
        """Probe a branch, the deepest first: what the server has in its cache is then never too short.

        Returns:
            Where the server has it in its cache.
        """
        known: Mapping[int, int] = self._index.probes.get(key, {})
        missing = [at for at in reversed(self._settings.positions(len(drawn.ends))) if at not in known]
        prompt = len(self._prompts[key[0]].prompt)
        asides = [
            self._budget.set_aside(self._settings.probe_tokens, prompt + at + self._prober.tail) for at in missing
        ]
        try:
            for at in missing:
                place = await self._probe(key, drawn, at, place) or place
                self._budget.free(asides.pop(0))
        finally:
            for aside in asides:
                self._budget.free(aside)
        return place

    def _most(self, prompt: Prompt, tokens: int, probe: bool) -> tuple[int, int]:
        """The most tokens that a branch of at most so many tokens and its probes may generate, and read."""
        probes = self._settings.positions(tokens) if probe else range(0)
        read = len(prompt) + sum(len(prompt) + at + self._prober.tail for at in probes)
        return tokens + self._settings.probe_tokens * len(probes), read

    async def _probe(self, key: Key, drawn: SampledBranch, at: int, place: Place) -> Place:
        question, branch = key
        task = self._tasks[question]
        seed = self._settings.branch_seed(task.id, branch)
        request = self._prober.request(self._prompts[question].prompt, drawn, at, seed, place)
        try:
            done = await self._ask(request, self._prober.until)
        except ContextError:
            done = Completion(finish="context")  # no room to ask in: the branch has no answer yet
        values = {
            "question": question,
            "branch": branch,
            "at": at,
            "text": done.text,
            "finish": done.finish,
            "certainty": round(self._prober.certainty(done), 6),
            "generated": max(len(done.ends), done.total_tokens),
            **_read(done, request),
        }
        self._add(Record("probe", values))
        return done.place

    # ---------------------------------------------------------------- both

    async def _ask(self, request: Request, until: Callable[[str], bool] | None = None) -> Completion:
        came = 0

        def count(tokens: int) -> None:
            nonlocal came
            came += tokens
            self._on_tokens(tokens)

        def lose(tokens: int) -> None:
            nonlocal came
            came -= tokens
            if tokens:
                self._add(Record("lost", {"tokens": tokens, "prompt_tokens": len(request.prompt)}))
                self._budget.check()

        try:
            return await complete(
                self._endpoint, request, self._patience, until=until, on_tokens=count, on_lost=lose, notice=self._notice
            )
        except BaseException:
            if came:
                self._add(Record("lost", {"tokens": came, "prompt_tokens": len(request.prompt)}))
            raise

    def _add(self, record: Record) -> None:
        self._index.add(record, self._journal.add(record))


def _read(done: Completion, request: Request) -> dict[str, Any]:
    """What a request read: as the server says, or the most that it can have been (of text, a token a character)."""
    unknown = done.prompt_tokens < 0
    return {
        "prompt_tokens": len(request.prompt) if unknown else done.prompt_tokens,
        "cached_tokens": max(done.cached_tokens, 0),
        "unknown": unknown,
    }


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error of several that says most: not that other work was cancelled."""
    flat: list[BaseException] = []
    rest: list[BaseException] = [failures]
    while rest:
        each = rest.pop(0)
        if isinstance(each, BaseExceptionGroup):
            rest.extend(each.exceptions)
        else:
            flat.append(each)
    return next((each for each in flat if isinstance(each, ModelChangedError)), flat[0])


def _spread(done: Completion, most: int) -> tuple[NDArray[np.int32], list[int]]:
    """(T,) characters of each token, and which piece of the stream ended with it; -1: none did.

    A server of text streams pieces, each of which may be several tokens. Where its own count is one that can be, the
    pieces are spread over so many tokens, of which the last is the one that ends the branch.
    """
    ends = np.array(done.ends or [len(done.text)], np.int64)
    source = list(range(len(done.ends))) or [-1]
    if not done.ids and ends.size < done.total_tokens <= most:
        last = done.finish == "stop"
        count = done.total_tokens - last
        pieces = np.arange(1, count + 1) * ends.size // count  # that are written after each token
        begun = np.diff(pieces, prepend=0) > 0
        source = [piece - 1 if new else -1 for piece, new in zip(pieces.tolist(), begun.tolist(), strict=True)]
        source += [-1] * last
        ends = np.append(np.concatenate([[0], ends])[pieces], [ends[-1]] * last)
    return np.diff(ends, prepend=0).astype(np.int32), source
