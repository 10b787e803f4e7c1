"""Forking a branch to ask what it would answer now."""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from autotts_gym.collection import signals
from autotts_gym.collection.extraction import matching_brace
from autotts_gym.collection.prompts import THINK_BEGIN, THINK_END
from autotts_gym.collection.settings import Settings
from autotts_gym.models import GREEDY, Capabilities, Completion, Endpoint, Patience, Place, Prompt, Request

FEW = 8
"""The most tokens of a probe that is asked for in one piece: what a stream saves by an early end is less than it takes.
"""


@dataclass(frozen=True)
class TaskPrompt:
    """The prompt of a question.

    Attributes:
        prompt: ids or text.
        thinking: whether it ends inside a thinking block.
    """

    prompt: Prompt
    thinking: bool


@dataclass(frozen=True)
class SampledBranch:
    """A branch as far as it was sampled.

    Attributes:
        ids: (T,) its token ids; None from a server of text.
        ends: (T,) characters of its text up to and with each token.
        text: its text.
        think_begin: tokens up to where a thinking block begins; -1: none does.
        think_end: tokens up to where it ends; -1: it does not.
    """

    ids: NDArray[np.int32] | None
    ends: NDArray[np.int64]
    text: str
    think_begin: int
    think_end: int

    @classmethod
    def of(cls, ids: NDArray[np.int32] | None, ends: NDArray[np.int64], text: str, thinking: bool) -> Self:
        """Find the thinking block of a branch whose prompt ends inside of one, or not."""
        begin = 0 if thinking else _after(ends, text.find(THINK_BEGIN), len(THINK_BEGIN))
        return cls(ids, ends, text, begin, _after(ends, text.find(THINK_END), len(THINK_END)))

    def thinking(self, at: int) -> bool:
        """Whether a thinking block is open after so many tokens."""
        return 0 <= self.think_begin <= at and not 0 <= self.think_end <= at

    def prefix(self, prompt: Prompt, at: int) -> Prompt:
        """The prompt and the first tokens of the branch."""
        if isinstance(prompt, str):
            return prompt + self.text[: self.ends[at - 1] if at else 0]
        assert self.ids is not None
        return (*prompt, *self.ids[:at].tolist())


def _after(ends: NDArray[np.int64], start: int, length: int) -> int:
    """Tokens up to and with the mark that begins at a character; -1: it is not there."""
    return -1 if start < 0 else int(np.searchsorted(ends, start + length)) + 1


class Prober:
    """Makes the requests of probes, and reads what comes back.

    Args:
        settings: of the collection.
        capabilities: of the server.
    """

    def __init__(self, settings: Settings, capabilities: Capabilities) -> None:
        self._settings = settings
        self._logprobs = min(capabilities.logprobs, 1)
        self._ids = capabilities.ids
        self._boxed = settings.suffix.rstrip().endswith("{")
        self._tails: dict[bool, Prompt] = {}

    async def prepare(
        self, endpoint: Endpoint, patience: Patience, notice: Callable[[str], None] = lambda line: None
    ) -> None:
        """Tokenize what probes ask with.

        Raises:
            EndpointError: the server cannot.
        """
        for thinking in (False, True):
            text = self._settings.closing * thinking + self._settings.suffix
            if not self._ids:
                self._tails[thinking] = text
                continue

            async def tokenize(text: str = text) -> Prompt:
                return await endpoint.tokenize(text)

            self._tails[thinking] = await patience.call(tokenize, notice)

    @property
    def tail(self) -> int:
        """The most tokens (of text: characters) that a probe adds to a branch, without its answer."""
        return max(map(len, self._tails.values()))

    def request(self, prompt: Prompt, drawn: SampledBranch, at: int, seed: int, place: Place) -> Request:
        """The probe of a branch after so many tokens."""
        prefix, tail = drawn.prefix(prompt, at), self._tails[drawn.thinking(at)]
        by_text = isinstance(prefix, str) or isinstance(tail, str)
        return Request(
            f"{prefix}{tail}" if by_text else (*prefix, *tail),
            self._settings.probe_tokens,
            seed,
            GREEDY,
            top_logprobs=self._logprobs,
            whole=self._settings.probe_tokens <= FEW,
            place=place,
            counts=True,
        )

    @property
    def until(self) -> Callable[[str], bool] | None:
        """What ends a probe early: its brace is closed."""
        return _closed if self._boxed else None

    def certainty(self, done: Completion) -> float:
        """The certainty of the answer; see ``signals.certainty``."""
        end = matching_brace(done.text) if self._boxed else len(done.text)
        count = bisect_left(done.ends, end) + 1 if end >= 0 else len(done.ends)
        return signals.certainty(done.logprobs, min(count, len(done.ends)))


def asked_text(suffix: str, text: str) -> str:
    """What a probe asked with and what came back, up to the brace that closes it, where the suffix opens one."""
    end = matching_brace(text) if suffix.rstrip().endswith("{") else -1
    return suffix + (text[: end + 1] if end >= 0 else text)


def answer_part(text: str) -> str:
    """A branch's text after its thinking block; all of it where none is closed."""
    return text[text.rfind(THINK_END) + len(THINK_END) :] if THINK_END in text else text


def _closed(text: str) -> bool:
    return matching_brace(text) >= 0
