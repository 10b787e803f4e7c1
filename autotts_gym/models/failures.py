"""What fails at a model server, and how long it is waited for."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from autotts_gym.errors import AutottsError

T = TypeVar("T")

Notice = Callable[[str], None]
"""Gets a line on each failure that another call follows."""


def quiet(line: str) -> None:
    """The notice that tells nobody."""


class EndpointError(AutottsError):
    """A model server refused something, or is not as expected; asking again does not help."""


class ContextError(EndpointError):
    """A request does not fit the context of the model."""


class GaveUpError(EndpointError):
    """Something failed too often, each time in a way that may pass."""


class ModelChangedError(EndpointError):
    """The server has another model than when the work began."""


class RetryableError(AutottsError):
    """A request failed in a way that may pass.

    Attributes:
        wait: seconds that the server asks to wait; 0: it does not say.
        loading: whether the server says that it still loads its model.
    """

    def __init__(self, message: str, wait: float = 0.0, loading: bool = False) -> None:
        super().__init__(message)
        self.wait, self.loading = wait, loading


class LostIdsError(RetryableError):
    """A stream left token ids out, and they cannot be found again; an answer in one piece has them.

    Attributes:
        tokens: that were generated since the last one whose id came.
    """

    def __init__(self, message: str, tokens: int) -> None:
        super().__init__(message)
        self.tokens = tokens


@dataclass(frozen=True)
class Patience:
    """How long failures that may pass are waited for.

    Attributes:
        retries: calls after the first that failed.
        loading: seconds that a server may take to load its model.
        first_wait: seconds before the second call; twice as long each time, with jitter, up to ``longest_wait``.
        longest_wait: in seconds.
    """

    retries: int = 8
    loading: float = 600.0
    first_wait: float = 0.5
    longest_wait: float = 60.0

    async def call(self, work: Callable[[], Awaitable[T]], notice: Notice = quiet) -> T:
        """Do some work, again where it fails in a way that may pass.

        Args:
            work: what to do.
            notice: gets a line on each failure that another call follows.

        Raises:
            GaveUpError: it failed too often.
            EndpointError: it failed in a way that does not pass.
        """
        failures, began = 0, time.monotonic()
        while True:
            try:
                return await work()
            except RetryableError as error:
                waited = time.monotonic() - began
                if error.loading and waited < self.loading:
                    seconds = max(error.wait, min(1.0, self.loading - waited))
                else:
                    failures += 1
                    if failures > self.retries:
                        raise GaveUpError(f"{error} (after {failures} calls)") from error
                    backoff = min(self.first_wait * 2 ** (failures - 1), self.longest_wait)
                    seconds = max(error.wait, backoff * random.uniform(0.5, 1.0))
                notice(f"{error}; again in {seconds:.1f} s")
            await asyncio.sleep(seconds)
