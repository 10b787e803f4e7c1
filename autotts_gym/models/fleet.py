"""Several servers of one model, used as one."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from autotts_gym.models.base import Capabilities, Endpoint, Message, Piece, Place, Prompt, Request
from autotts_gym.models.failures import EndpointError, GaveUpError, Notice, Patience, RetryableError, quiet

_REST = 5.0
"""Seconds that a server is left alone after a failure."""


T = TypeVar("T")

Opener = Callable[[str, Patience], Awaitable[Endpoint]]
"""Opens a server by its address."""


async def open_fleet(specs: Sequence[str], opener: Opener, patience: Patience, notice: Notice = quiet) -> "Fleet":
    """Open servers of one model, all at once. Those that cannot be reached are left out, if one works.

    Args:
        specs: their addresses.
        opener: opens one.
        patience: how long failures are waited for.
        notice: gets a line on each that is left out.

    Raises:
        EndpointError: one is no such server, or none can be reached.
    """
    tasks = [asyncio.ensure_future(opener(spec, patience)) for spec in specs]
    try:
        found = await _those_that_work(tasks, notice)
    except BaseException:
        opened = [task.result() for task in tasks if task.done() and not task.cancelled() and not task.exception()]
        await asyncio.gather(*(member.close() for member in opened))
        raise
    away = [spec for spec, each in zip(specs, found, strict=True) if each is None]
    return Fleet([each for each in found if each is not None], away, opener)


async def _those_that_work(work: Sequence[Awaitable[T]], notice: Notice) -> list[T | None]:
    """What came of work at several servers; None where one failed too often.

    Raises:
        EndpointError: all of them did, or one failed otherwise.
    """
    found = await asyncio.gather(*work, return_exceptions=True)
    failures = [each for each in found if isinstance(each, BaseException)]
    others = [each for each in failures if not isinstance(each, GaveUpError)]
    if others or len(failures) == len(found):
        raise (others or failures)[0]
    for each in failures:
        notice(f"{each}; left out until it works")
    return [None if isinstance(each, BaseException) else each for each in found]


class Fleet(Endpoint):
    """Servers of one model: each request goes to the one with the fewest requests among those that work.

    A request with a place goes where its place is, if that server works and is not far busier than another. A server
    that failed is left alone for seconds, twice as long each time in a row.

    Args:
        members: the servers that could be opened.
        away: addresses of others; ``identity`` opens them once they can be.
        opener: opens one.
    """

    def __init__(self, members: Sequence[Endpoint], away: Sequence[str], opener: Opener) -> None:
        self.name = f"{len(members)} servers ({', '.join(member.name for member in members)})"
        self._away, self._opener = list(away), opener
        self._members = list(members)
        self._running = [0] * len(members)
        self._failures = [0] * len(members)
        self._back = [0.0] * len(members)

    async def close(self) -> None:
        """Close all of them."""
        await asyncio.gather(*(member.close() for member in self._members))

    async def identity(self) -> dict[str, Any]:
        """That of the first that works; all others that work must have the same.

        Raises:
            EndpointError: two of them have different models.
            RetryableError: none works.
        """
        for spec in tuple(self._away):
            with suppress(GaveUpError):
                self._members.append(await self._opener(spec, Patience(retries=0, loading=0.0)))
                self._away.remove(spec)
                self._running.append(0)
                self._failures.append(0)
                self._back.append(0.0)
        found: dict[str, Any] | None = None
        failure: RetryableError | None = None
        for index, member in enumerate(self._members):
            try:
                identity = await member.identity()
            except RetryableError as error:
                failure = error
                self._failed(index, error.wait)
                continue
            self._works(index)
            if found is not None and found != identity:
                raise EndpointError(f"{member.name}: expected the model of the other servers, got another")
            found = identity
        if found is None:
            assert failure is not None
            raise failure
        return found

    async def capabilities(self, patience: Patience | None = None, notice: Notice = quiet) -> Capabilities:
        """What all of them can do.

        Raises:
            EndpointError: they have different models, or one speaks in token ids and another does not.
        """
        told = await _those_that_work([member.capabilities(patience, notice) for member in self._members], notice)
        all_of = [each for each in told if each is not None]
        first = all_of[0]
        for index, (member, each) in enumerate(zip(self._members, told, strict=True)):
            if each is None:
                self._failed(index)
            elif (each.model, each.ids, each.identity) != (first.model, first.ids, first.identity):
                raise EndpointError(f"{member.name}: expected the model of the other servers, got another")
        contexts = [each.context for each in all_of if each.context is not None]
        slots = [each.slots for each in all_of if each.slots is not None]
        return replace(
            first,
            logprobs=min(each.logprobs for each in all_of),
            context=min(contexts, default=None),
            seed=all(each.seed for each in all_of),
            chat=all(each.chat for each in all_of),
            cached=all(each.cached for each in all_of),
            slots=sum(slots) if len(slots) == len(all_of) else None,
        )

    async def tokenize(self, text: str, begins: bool = False) -> tuple[int, ...]:
        """The token ids of a text, by one that works."""
        index = self._pick(None)
        try:
            return await self._members[index].tokenize(text, begins)
        except RetryableError as error:
            self._failed(index, error.wait)
            raise

    async def render(self, messages: Sequence[Message], options: Mapping[str, Any]) -> tuple[Prompt, str]:
        """The prompt of a chat, by one that works."""
        index = self._pick(None)
        try:
            return await self._members[index].render(messages, options)
        except RetryableError as error:
            self._failed(index, error.wait)
            raise

    async def generate(self, request: Request) -> AsyncGenerator[Piece, None]:
        """Generate tokens at one of them."""
        index = self._pick(request.place)
        place = request.place[1:] if request.place and request.place[0] == index else None
        stream = self._members[index].generate(replace(request, place=place or None))
        self._running[index] += 1
        try:
            async for piece in stream:
                if piece.finish is not None:
                    piece.place = (index, *(piece.place or ()))
                    self._works(index)
                yield piece
        except RetryableError as error:
            self._failed(index, error.wait)
            raise
        finally:
            self._running[index] -= 1
            await stream.aclose()

    def _pick(self, place: Place) -> int:
        now = time.monotonic()
        if place and self._back[place[0]] <= now and self._running[place[0]] <= 2 * min(self._running) + 2:
            return place[0]
        return min(
            range(len(self._members)),
            key=lambda index: (max(self._back[index] - now, 0.0), self._running[index]),
        )

    def _works(self, index: int) -> None:
        self._failures[index], self._back[index] = 0, 0.0

    def _failed(self, index: int, wait: float = 0.0) -> None:
        self._failures[index] += 1
        rest = min(_REST * 2 ** (self._failures[index] - 1), 300.0)
        self._back[index] = time.monotonic() + max(rest, wait)
