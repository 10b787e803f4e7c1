"""When to ask again, and when no more: back-off, what the server asks for, what has been paid, and the time left.

The official clients retry by themselves, but not streams that break off, and without a word of what was paid. So their
retries are turned off and this is the only place that asks again. Tenacity has the loop.
"""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential

from agents.explorer.proposers.base import ProposerError, Usage

T = TypeVar("T")

LONGEST_WAIT = 60.0
"""Seconds that back-off alone comes to at most; a server may ask for more."""


class CallError(Exception):
    """One call failed.

    Attributes:
        again: whether another call may do better.
        wait: seconds the server asked to wait, or None.
        usage: what was paid, or may have been.
    """

    def __init__(self, message: str, *, again: bool, wait: float | None = None, usage: Usage | None = None) -> None:
        super().__init__(message)
        self.again = again
        self.wait = wait
        self.usage = usage or Usage()


class RateLimit:
    """Spaces calls evenly, over all threads.

    Args:
        per_minute: calls a minute; None: no limit.
        clock: seconds, monotonic.
        sleep: waits.
    """

    def __init__(
        self,
        per_minute: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._interval = 60.0 / per_minute if per_minute else 0.0
        self._clock = clock
        self._sleep = sleep
        self._next = float("-inf")
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Return when the next call may be made."""
        with self._lock:
            now = self._clock()
            at = max(now, self._next)
            self._next = at + self._interval
        if at > now:
            self._sleep(at - now)


@dataclass(frozen=True, kw_only=True)
class Retry:
    """Makes a call until it succeeds or there is no point in going on.

    Attributes:
        retries: calls after the first.
        paid_attempts: calls that may have been paid, the last included: a stream that broke off costs money, a
            refusal does not.
        timeout: seconds for all of it, waits included, from the first call on.
        first_wait: seconds of the first back-off; each later one is twice as long.
        rate: spaces the calls.
        clock: seconds, monotonic.
        sleep: waits.
    """

    retries: int = 5
    paid_attempts: int = 2
    timeout: float = 900.0
    first_wait: float = 1.0
    rate: RateLimit = field(default_factory=RateLimit)
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def run(self, call: Callable[[float], T], seed: int, notice: Callable[[str], None]) -> tuple[T, Usage]:
        """Make the call, again where that may help.

        Args:
            call: gets the time, by the clock, at which it must be over.
            seed: of the jitter.
            notice: gets a line on each failure that another call follows.

        Returns:
            What the call returned, and what the failed ones before it used.

        Raises:
            ProposerError: the last failure, with what all of them used.
        """
        jitter, backoff = random.Random(seed), wait_exponential(self.first_wait, LONGEST_WAIT)
        failures: list[CallError] = []
        reason = ""
        self.rate.wait()
        deadline = self.clock() + self.timeout

        def attempt() -> T:
            try:
                return call(deadline)
            except CallError as failure:
                failures.append(failure)
                raise

        def spent() -> Usage:
            return sum((failure.usage for failure in failures), Usage())

        def wait(state: RetryCallState) -> float:
            # Equal jitter, so that proposals side by side do not come back all at once.
            return max(backoff(state) * jitter.uniform(0.5, 1.0), failures[-1].wait or 0.0)

        def stop(state: RetryCallState) -> bool:
            nonlocal reason
            if not failures[-1].again or len(failures) > self.retries:
                return True
            if spent().calls >= self.paid_attempts:
                reason = f"; not repeated, as {spent().calls} were paid"
            elif self.clock() + state.upcoming_sleep >= deadline:
                late = f"past the timeout of {self.timeout:g} s"
                reason = f"; the next call would be in {state.upcoming_sleep:.0f} s, {late}"
            return bool(reason)

        retrying = Retrying(
            retry=retry_if_exception_type(CallError),
            wait=wait,
            stop=stop,
            before=lambda _: self.rate.wait() if failures else None,
            before_sleep=lambda state: notice(f"[{failures[-1]}; again in {state.upcoming_sleep:.1f} s]\n"),
            sleep=self.sleep,
            reraise=True,
        )
        try:
            return retrying(attempt), spent()
        except CallError as failure:
            calls = f" (after {len(failures)} calls)" if len(failures) > 1 else ""
            raise ProposerError(f"{failure}{calls}{reason}", spent()) from None
