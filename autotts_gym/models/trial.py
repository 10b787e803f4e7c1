"""What can only be learned of a server by trying it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from autotts_gym.models.base import GREEDY, Endpoint, Prompt, Request, Sampling
from autotts_gym.models.completion import Completion, complete
from autotts_gym.models.failures import EndpointError, GaveUpError, Notice, Patience

T = TypeVar("T")


@dataclass
class Trial:
    """Tries a server.

    Attributes:
        endpoint: the server.
        patience: how long failures are waited for.
        notice: gets a line on each failure that another call follows.
        prompt: what it is asked to continue.
    """

    endpoint: Endpoint
    patience: Patience
    notice: Notice
    prompt: Prompt = "1 2 3"

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do some work, again where it fails in a way that may pass.

        Raises:
            EndpointError: it failed too often, or in a way that does not pass.
        """
        return await self.patience.call(work, self.notice)

    async def _ask(self, most: int, seed: int = 1, sampling: Sampling = GREEDY, logprobs: int = 0) -> Completion:
        request = Request(self.prompt, most, seed, sampling, top_logprobs=logprobs)
        return await complete(self.endpoint, request, self.patience, notice=self.notice)

    async def gives_ids(self) -> bool:
        """Whether token ids come back with all tokens."""
        done = await self._ask(2)
        return len(done.ids) == len(done.ends) > 0

    async def tells_cached(self) -> bool:
        """Whether the server tells how many tokens it had in its cache."""
        return (await self._ask(1)).cached_tokens >= 0

    async def same_seed_same_tokens(self) -> bool:
        """Whether the same seed gives the same tokens twice, and another seed others.

        With a temperature so high that two seeds agree by chance on few prompts.
        """
        texts = []
        for seed in (11, 11, 12, 13, 14):
            done = await self._ask(8, seed, Sampling(temperature=2.0))
            texts.append((done.ids.tolist(), done.text))
        return texts[0] == texts[1] and any(text != texts[0] for text in texts[2:])

    async def most_logprobs(self) -> int:
        """The most log-probabilities that come with each token: 20, 5 or 0, as servers have different limits."""
        for count in (20, 5):
            try:
                done = await self._ask(2, logprobs=count)
            except GaveUpError:
                raise
            except EndpointError:  # a server that has fewer refuses
                continue
            if done.logprobs:
                return count
        return 0
