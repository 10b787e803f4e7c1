"""A model that writes the branches of a store: what it is asked live must be what a replay of the store shows."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import numpy as np

from autotts_gym.collection.questions import Task
from autotts_gym.engine import Bank, PoolState, Rules
from autotts_gym.live.branches import ServedModel
from autotts_gym.live.source import LiveSource
from autotts_gym.models import (
    Capabilities,
    ContextError,
    Endpoint,
    EndpointError,
    Patience,
    Piece,
    Prompt,
    Request,
    RetryableError,
)
from autotts_gym.models.base import Message
from autotts_gym.models.failures import Notice, quiet
from autotts_gym.replay import Branch, Question, ReplayStore, build_store

LETTERS = ("1", "2", "3", "4")
TAIL, BRANCH, WORD = 7, 1000, 8
"""Ids: the suffix of a probe; the first token of branch b is ``BRANCH + b``; all others."""


def random_store(seed: int, interval: int = 5, questions: int = 3, pool: int = 6, longest: int = 40) -> ReplayStore:
    """A store as a collection makes it: probes at every interval before the end, no matter what they show."""
    rng = np.random.default_rng(seed)
    letters = np.array([*LETTERS, None], object)

    def branch() -> Branch:
        tokens = int(rng.integers(1, longest))
        probes = rng.choice(letters, len(range(interval, tokens, interval))).tolist()
        return Branch(probes, tokens, rng.choice(letters))

    made = [Question(f"q{q}", str(rng.choice(letters[:-1])), [branch() for _ in range(pool)]) for q in range(questions)]
    return build_store(made, model="m", benchmark="b", interval_tokens=interval, attributes={"token_unit": 1000})


class Written(Endpoint):
    """Writes branch b of question q whatever the seed, as it knows them by the calls of ``LiveSource``."""

    name = "written"

    def __init__(self, store: ReplayStore, delay: float = 0.0, break_every: int = 0) -> None:
        self.store, self.delay, self.break_every = store, delay, break_every
        self.asked = 0
        self.open = 0
        self.cancelled = 0
        self.generated = 0
        self.dead: set[int] = set()
        """Questions that it fails."""
        self.context = 10**9
        """Tokens of prompt and answer together; it does not say how many."""
        self.seeds: dict[int, int] = {}
        """The branch of each seed of a first chunk."""

    async def capabilities(self, patience: Patience | None = None, notice: Notice = quiet) -> Capabilities:
        return Capabilities("written", "1", "m", True, 0, None, True, False, True)

    async def identity(self) -> dict[str, Any]:
        return {}

    async def tokenize(self, text: str, begins: bool = False) -> tuple[int, ...]:
        return (int(text[1:]),) if begins else (TAIL,)

    async def render(self, messages: Sequence[Message], options: Mapping[str, Any]) -> tuple[Prompt, str]:
        raise EndpointError("none")

    async def close(self) -> None:
        pass

    async def generate(self, request: Request) -> AsyncGenerator[Piece, None]:
        question, *written = request.prompt
        self.asked += 1
        self.open += 1
        ended = False
        try:
            await asyncio.sleep(self.delay)
            if question in self.dead:
                raise EndpointError("written: it is dead")
            if len(request.prompt) + request.max_tokens > self.context:
                raise ContextError("written: too long")
            probe = bool(written) and written[-1] == TAIL
            written = written[: -1 if probe else None]
            branch = written[0] - BRANCH if written else self.seeds[request.seed]
            row = int(self.store.branch_offsets[question]) + branch
            if probe:
                depth = len(written) // self.store.interval_tokens
                place = int(self.store.probe_offsets[row]) + depth - 1
                assert len(written) == depth * self.store.interval_tokens
                text = self._answer(question, int(self.store.probes[place]))
                self.generated += 1
                yield Piece(ids=[WORD], text=f"{text}}}", count=1, finish="stop", total_tokens=1, place=(branch,))
                ended = True
                return
            left = int(self.store.tokens[row]) - len(written)
            for k in range(min(left, request.max_tokens)):
                if self.break_every and self.asked % self.break_every == 0 and k == 2:
                    raise RetryableError("written: a broken stream")
                last = k + 1 == left
                text = f"\\boxed{{{self._answer(question, int(self.store.finals[row]))}}}" if last else "x"
                self.generated += 1
                over = last or k + 1 == request.max_tokens
                yield Piece(
                    ids=[WORD if written or k else BRANCH + branch],
                    text=text,
                    count=1,
                    finish=("stop" if last else "length") if over else None,
                    total_tokens=k + 1 if over else -1,
                    place=(branch,),
                )
                if self.delay:
                    await asyncio.sleep(self.delay)
            ended = True
        finally:
            self.open -= 1
            self.cancelled += not ended

    def _answer(self, question: int, answer: int) -> str:
        return self.store.answer(question, answer) if answer >= 0 else ""


def source_of(store: ReplayStore, endpoint: Written | None = None, **options: Any) -> LiveSource:
    """A source whose branches are those of a store, in their order."""
    endpoint = endpoint or Written(store)
    tasks = [
        Task(str(q), f"q{q}", store.answer(q, int(gold)) if gold >= 0 else None) for q, gold in enumerate(store.gold)
    ]
    options = {
        "interval": store.interval_tokens,
        "max_tokens": int(store.tokens.max()) + 3 * store.interval_tokens,
        "token_unit": store.token_unit,
        "patience": Patience(retries=3, first_wait=0.001),
        "equivalence": "exact",
        "prompt": "text",
        "benchmark": store.benchmark,
    } | options
    source = _Knowing(endpoint, tasks, **options)
    source.endpoint, source.pool = endpoint, int(np.diff(store.branch_offsets).min())
    return source


class _Knowing(LiveSource):
    """A source that tells its endpoint the seeds of all first chunks."""

    endpoint: Written
    pool: int

    def served(self, probing: bool = True) -> ServedModel:
        """The model, once the endpoint knows the seeds."""
        found = super().served(probing)
        for task in self.tasks:
            for episode in range(20):
                for branch in range(self.pool):
                    self.endpoint.seeds[found.seed(task, episode, branch, 0)] = branch
        return found


def replayed(store: ReplayStore, rules: Rules, questions: np.ndarray) -> PoolState:
    """Replay of the same branches in the order in which live episodes open them."""
    state = PoolState(Bank([store]), len(questions), rules)
    every = np.ones(len(questions), np.bool_)
    state.seed(np.zeros(len(questions), np.uint64), every)
    state.begin(every, questions)
    state.deal(every, np.tile(np.arange(rules.max_branches, dtype=np.int32), (len(questions), 1)))
    return state
