"""A served model and questions, in the place of a store."""

import json
import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from autotts_gym.collection.extraction import extractor
from autotts_gym.collection.prompts import PromptForm
from autotts_gym.collection.questions import Columns, Task, read_tasks, source_name
from autotts_gym.collection.settings import Settings, stored_name
from autotts_gym.controllers import Controller
from autotts_gym.controllers.base import as_controller
from autotts_gym.engine import RoundPlan, Rules
from autotts_gym.errors import AutottsError, ControllerError, quote
from autotts_gym.evaluation.runner import outcomes, play, plays_by_rule
from autotts_gym.evaluation.sources import Source
from autotts_gym.live.background import Background
from autotts_gym.live.bank import RANGES, LiveBank, Origin
from autotts_gym.live.branches import Interval, LivePool, ServedModel
from autotts_gym.live.recording import Outcome, Recorder, streams
from autotts_gym.live.state import LiveState
from autotts_gym.models import Capabilities, Endpoint, EndpointError, Patience, Sampling, open_endpoint
from autotts_gym.models.local import SHIPPED
from autotts_gym.replay.catalog import shipped_folder
from autotts_gym.replay.equivalence import merger
from autotts_gym.validation import check, integer

UNIT_INTERVALS = 2000
"""Intervals in a token unit, where none is given: 64 branches of 31 intervals, as in the published stores."""

TINY: dict[str, Any] = {
    "interval": 6,
    "max_tokens": 540,
    "sampling": Sampling(temperature=1.0),
    "suffix": "\n**Final Answer** \\boxed{",
    "probe_tokens": 4,
}
"""The settings of the models that ship, see docs/reasoner.md."""


@dataclass(frozen=True)
class LiveSettings:
    """How live branches are drawn, probed and read.

    Attributes:
        generation: as in a collection; its ``branches`` and ``probes`` are not used.
        extractor: of answers, as ``autotts collect`` takes it.
        equivalence: which answers are one, "exact" or "math".
        concurrency: requests at a time.
        side_by_side: episodes at a time, which go on round by round together.
        record: a file to record the episodes of ``evaluate`` in; None: none.
        ahead: whether the next interval of a branch is begun while its probe is answered.
        token_unit: tokens that a price is for; None: 2,000 intervals.
        patience: how long failures are waited for.
    """

    generation: Settings = field(default_factory=Settings)
    extractor: str = "boxed"
    equivalence: str = "math"
    concurrency: int = 16
    side_by_side: int = 16
    record: str | os.PathLike[str] | None = None
    ahead: bool = False
    token_unit: int | None = None
    patience: Patience = field(default_factory=Patience)

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            AutottsError: one is out of range.
        """
        integer("concurrency", self.concurrency, 1, 4096)
        integer("side_by_side", self.side_by_side, 1, 4096)
        if self.token_unit is not None:
            integer("token_unit", self.token_unit, 1)
        extractor(self.extractor)
        merger(self.equivalence)

    @property
    def unit(self) -> int:
        """Tokens that a price is for."""
        return self.token_unit or UNIT_INTERVALS * self.generation.interval


def live_settings(endpoint: Any, options: Mapping[str, Any]) -> LiveSettings:
    """The settings that options of ``LiveSource`` mean; those of a model that ships have defaults of their own.

    Raises:
        AutottsError: there is no such option, or it is out of range.
    """
    given = dict(options)
    generation = dict(TINY) if isinstance(endpoint, str) and endpoint in SHIPPED else {}

    def taken(*names: str) -> dict[str, Any]:
        return {name: given.pop(name) for name in names if name in given}

    if of_sampling := taken("temperature", "top_k", "top_p", "min_p", "repeat_penalty"):
        generation["sampling"] = replace(generation.get("sampling", Sampling()), **of_sampling)
    form = {"form": given.pop("prompt")} if "prompt" in given else {}
    if of_prompt := form | taken("template", "system", "thinking"):
        generation["prompt"] = PromptForm(**of_prompt)
    generation |= taken("interval", "max_tokens", "seed", "suffix", "closing", "probe_tokens")
    own = taken("extractor", "equivalence", "concurrency", "side_by_side", "record", "ahead", "token_unit", "patience")
    if given:
        raise AutottsError(f"LiveSource: expected no option {quote(next(iter(given)))}")
    return LiveSettings(Settings(**generation), **own)


@dataclass
class _Held:
    """What must be closed."""

    background: Background | None = None
    endpoint: Endpoint | None = None

    def close(self) -> None:
        """Close it; may be called twice."""
        background, endpoint = self.background, self.endpoint
        self.background, self.endpoint = None, None
        if background is not None:
            if endpoint is not None:
                background.run(endpoint.close())
            background.close()

    def drop(self) -> None:
        """Close it, wherever the garbage collector happens to run."""
        if self.background is not None and self.background.here:
            threading.Thread(target=self.close).start()  # the loop would wait for itself
        else:
            self.close()


class _Opened:
    """A server that is opened when it is needed, and its event loop; sources that ask other questions share it."""

    def __init__(self, spec: Any, model: str, server: str, timeout: float, settings: LiveSettings) -> None:
        self._spec, self._model, self._server, self._timeout, self._settings = spec, model, server, timeout, settings
        self._held = _Held()
        self._capabilities: Capabilities | None = None
        self._served: dict[bool, ServedModel] = {}
        weakref.finalize(self, _Held.drop, self._held)  # for callers that do not close

    def close(self) -> None:
        """Close the connections; a server that was given stays open."""
        self._held.close()
        self._served = {}

    @property
    def background(self) -> Background:
        """The loop in which the server is asked."""
        if self._held.background is None:
            self._held.background = Background()
        return self._held.background

    def served(self, probing: bool) -> ServedModel:
        """The model, which is asked what it can do first."""
        if probing not in self._served:
            self._served[probing] = self.background.run(self._open(probing))
        return self._served[probing]

    async def _open(self, probing: bool) -> ServedModel:
        settings = self._settings
        endpoint = self._spec if isinstance(self._spec, Endpoint) else self._held.endpoint
        if endpoint is None:
            endpoint = self._held.endpoint = await open_endpoint(
                self._spec,
                model=self._model,
                server=self._server,
                timeout=self._timeout,
                patience=settings.patience,
                slots=settings.concurrency,
                context=settings.generation.max_tokens + 1024,
            )
        if self._capabilities is None:
            self._capabilities = await endpoint.capabilities(settings.patience)
        assert self._capabilities is not None
        served = ServedModel(
            endpoint,
            self._capabilities,
            settings.generation,
            extract=extractor(settings.extractor),
            merge=merger(settings.equivalence),
            concurrency=settings.concurrency,
            patience=settings.patience,
            probing=probing,
            ahead=settings.ahead,
        )
        await served.prepare()
        return served


class LiveSource(Source):
    """A served model and questions, which ``evaluate`` takes in the place of a store.

    It may be used as ``with LiveSource(…) as source``; the connections, and a server in this process, are closed then.

    Args:
        endpoint: ``http://host:port/v1``, ``local:FILE.gguf``, ``tiny`` or ``micro``, several addresses of servers of
            one model, or an ``Endpoint``.
        questions: a file, as ``autotts collect`` takes it, texts, or ``Task`` objects; None: those of ``tiny/search``.
        model: name of the model at a server that has several.
        server: kind of the server, as in ``open_endpoint``.
        benchmark: name of the questions; empty: that of the file.
        limit: only the first so many questions.
        columns: names of the columns of the file.
        timeout: seconds of silence that end a request.
        **options: fields of ``LiveSettings``, of ``collection.Settings``, and of their sampling and prompt, by name.

    Raises:
        AutottsError: an option or a question is wrong.
    """

    def __init__(
        self,
        endpoint: str | Sequence[str] | Endpoint = "tiny",
        questions: str | os.PathLike[str] | Sequence[str | Task] | None = None,
        *,
        model: str = "",
        server: str = "auto",
        benchmark: str = "",
        limit: int | None = None,
        columns: Columns | None = None,
        timeout: float = 300.0,
        **options: Any,
    ) -> None:
        self.settings = live_settings(endpoint, options)
        self.tasks, name = _tasks(questions, columns, limit)
        self.benchmark = benchmark or name
        self.token_unit = self.settings.unit
        self.outcomes: list[Outcome] = []
        """Of all episodes that were played, in their order."""
        self._opened = _Opened(endpoint, model, server, timeout, self.settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; may be called twice."""
        self._opened.close()

    @property
    def background(self) -> Background:
        """The loop in which the server is asked."""
        return self._opened.background

    @property
    def capabilities(self) -> Capabilities:
        """What the server can do.

        Raises:
            EndpointError: there is no such server or model.
        """
        return self.served().capabilities

    def asking(self, question: str) -> Self:
        """The same served model for another question."""
        other = copy(self)
        other.tasks, other.outcomes = [Task("0", question, None)], []
        return other

    def served(self, probing: bool = True) -> ServedModel:
        """The model, opened and asked what it can do.

        Raises:
            EndpointError: there is no such server or model.
        """
        return self._opened.served(probing)

    @property
    def model(self) -> str:
        """Name of the model."""
        return stored_name(self.capabilities.model)

    @property
    def num_questions(self) -> int:
        """How many questions there are."""
        return len(self.tasks)

    def check(self, controller: Controller) -> None:
        """Refuse a controller that needs a signal which the server does not give."""
        have = self.served(reads_probes(controller)).signal_names
        for signal in as_controller(controller).needs_signals:
            if signal not in have:
                raise ControllerError(
                    f"{controller.name}: expected a server that gives the signal {quote(signal)}, got "
                    f"{', '.join(have) or 'one of none'}"
                )
        for signal in as_controller(controller).nonnegative_signals:
            if RANGES.get(signal, (0.0, 0.0))[0] < 0:
                raise ControllerError(
                    f"{controller.name}: expected a signal that is never negative, where more is surer, got "
                    f"{quote(signal)}"
                )

    def play(
        self,
        controller: Controller,
        rules: Rules,
        seeds: NDArray[np.int64],
        questions: NDArray[np.int64],
        answers: bool,
        advance: Callable[[], None],
    ) -> dict[str, NDArray[Any]]:
        """Play episodes, some side by side; ``outcomes`` tells more of each.

        Raises:
            EndpointError: the server failed some; the others were played to their ends, and are in ``outcomes``.
        """
        controller = as_controller(controller)
        parts, failed = [], []
        with self._recorder(rules) as recorder:
            for first in range(0, len(seeds), self.settings.side_by_side):
                part = slice(first, first + self.settings.side_by_side)
                state, ended = self._play_some(controller, rules, seeds[part], questions[part], recorder)
                parts.append(outcomes(state, answers))
                self.outcomes += ended
                failed += [each.failure for each in ended if each.failure]
                for _ in ended:
                    advance()
        if failed:
            raise EndpointError(f"{len(failed)} of {len(seeds)} episodes were ended by the server: {failed[0]}")
        return {name: np.concatenate([each[name] for each in parts]) for name in parts[0]}

    def _recorder(self, rules: Rules) -> "Recorder | nullcontext[None]":
        """The recording that is asked for.

        Raises:
            AutottsError: rules hold a function that no file can name.
            JournalError: the file is of something else.
        """
        settings = self.settings
        if settings.record is None:
            return nullcontext()
        for name in ("reward", "aggregator"):
            value = getattr(rules, name)
            check(
                name, value, value is None or isinstance(value, str), "a reference to it (file.py:name), to be recorded"
            )
        return Recorder(
            Path(settings.record),
            {
                "model": self.model,
                "benchmark": self.benchmark,
                "tasks": [task.to_dict() for task in self.tasks],
                "interval": settings.generation.interval,
                "max_tokens": settings.generation.max_tokens,
                "token_unit": self.token_unit,
                "equivalence": settings.equivalence,
                "extractor": settings.extractor,
                "generation": plain_values(settings.generation.fixed()),
                "identity": dict(self.capabilities.identity),
            },
        )

    def _play_some(
        self,
        controller: Controller,
        rules: Rules,
        seeds: NDArray[np.int64],
        questions: NDArray[np.int64],
        recorder: Recorder | None,
    ) -> tuple[LiveState, list[Outcome]]:
        """Play some episodes side by side."""
        probing = reads_probes(controller)
        numbers = []
        if recorder is not None:
            values = {
                "controller": controller.name,
                "params": dict(controller.params),
                "rules": rules.to_dict(),
                "probing": probing,
                "signals": list(self.served(probing and rules.probe == "auto").signal_names),
            }
            numbers = [
                recorder.begin({"question": question, "seed": seed, **values})
                for question, seed in zip(questions.tolist(), seeds.tolist(), strict=True)
            ]

        def watch(row: int, interval: Interval) -> None:
            if recorder is not None:
                recorder.add(numbers[row], interval)

        state = self.begin(rules, questions, seeds, probing, watch)
        try:
            play(controller, state, watch=_nothing)
        finally:
            state.close()
        ended = state.ended(controller, seeds.tolist())
        if recorder is not None:
            for number, outcome in zip(numbers, ended, strict=True):
                recorder.end(number, outcome)
        return state, ended

    # ---------------------------------------------------------------- episodes

    def state(self, episodes: int, rules: Rules, probing: bool = True) -> LiveState:
        """Live episodes, none of which has begun.

        Args:
            episodes: N.
            rules: of all episodes.
            probing: whether intervals are probed; where it is explicit, only those are that an action asks for.
        """
        served = self.served(probing and rules.probe == "auto")
        bank = LiveBank(
            episodes,
            rules.max_branches,
            interval=self.settings.generation.interval,
            max_tokens=self.settings.generation.max_tokens,
            token_unit=self.settings.unit,
            origin=Origin(self.model, self.benchmark),
            signals=served.signal_names,
            probing=probing,
            labelled=all(task.answer is not None for task in self.tasks),
        )
        return LiveState(bank, rules, self.background)

    def pools(
        self,
        state: LiveState,
        rows: Sequence[int],
        questions: Sequence[int],
        seeds: Sequence[int],
        watch: Callable[[int, Interval], None] | None = None,
    ) -> dict[int, LivePool]:
        """Fresh live pools for rows of a state.

        Args:
            state: made by ``state``.
            rows: which episodes.
            questions: the number of the question of each.
            seeds: of each.
            watch: gets the row and every interval as it is written.
        """
        served = self.served(state.bank.probing and state.rules.probe == "auto")
        prompts = self.background.run(self._prompts(served, questions))
        found = {}
        for row, question, seed in zip(rows, questions, seeds, strict=True):
            told = None if watch is None else partial(watch, row)
            task = self.tasks[question]
            found[row] = LivePool(served, state.bank, row, question, task, prompts[question], seed, told)
        return found

    async def _prompts(self, served: ServedModel, questions: Sequence[int]) -> dict[int, Any]:
        return {question: await served.prompt(self.tasks[question]) for question in sorted(set(questions))}

    def begin(
        self,
        rules: Rules,
        questions: NDArray[np.int64],
        seeds: NDArray[np.int64],
        probing: bool = True,
        watch: Callable[[int, Interval], None] | None = None,
    ) -> LiveState:
        """Live episodes that have begun, one a pair of question and seed, (N,) each."""
        state = self.state(len(questions), rules, probing)
        pools = self.pools(state, range(len(questions)), questions.tolist(), seeds.tolist(), watch)
        every = np.ones(len(questions), np.bool_)
        state.seed(streams(seeds, questions), every)
        state.begin(every, np.arange(len(questions)))
        state.adopt(pools)
        return state


def _nothing(plan: RoundPlan) -> None:
    """With it a controller plays round by round, see ``evaluation.runner.play``."""


def plain_values(values: Mapping[str, Any]) -> Any:
    """Values as JSON gives them back."""
    return json.loads(json.dumps(values))


def reads_probes(controller: Controller) -> bool:
    """Whether a controller may look at probes; no probes are asked for one that cannot.

    Only of the rules that come with the project is that known.
    """
    controller = as_controller(controller)
    uses = controller.needs_probes or bool(controller.use_of_probes) or bool(controller.needs_signals)
    return uses or not plays_by_rule(controller)


def _tasks(questions: Any, columns: Columns | None, limit: int | None) -> tuple[list[Task], str]:
    """The questions, and a name for them."""
    if questions is None:
        questions = shipped_folder() / "tiny" / "search.jsonl"
    if isinstance(questions, str | os.PathLike):
        path = os.fspath(questions)
        return read_tasks(path, columns or Columns(), limit), source_name(path)
    tasks = [each if isinstance(each, Task) else Task(str(i), each, None) for i, each in enumerate(questions)]
    if not tasks or not all(isinstance(task.text, str) and task.text for task in tasks):
        raise AutottsError(f"questions: expected a file, or at least one text, got {quote(questions)}")
    if limit is not None:
        integer("limit", limit, 1)
    return tasks[:limit], "questions"
