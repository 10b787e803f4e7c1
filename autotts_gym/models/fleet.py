"""Several servers of one model, used as one."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from autotts_gym.errors import plain
from autotts_gym.models.base import (
    Capabilities,
    Endpoint,
    EndpointError,
    Message,
    Piece,
    Place,
    Prompt,
    Request,
    RetryableError,
)

_REST = 5.0
"""Seconds that a server is left alone after a failure."""


class Fleet(Endpoint):
    """Servers of one model: each request goes to the one with the fewest requests among those that work.

    A request with a place goes where its place is, if that server works and is not far busier than another. A server
    that failed is left alone for seconds, twice as long each time in a row.

    Args:
        members: the servers.
    """

    def __init__(self, members: Sequence[Endpoint]) -> None:
        self.name = f"{len(members)} servers ({', '.join(member.name for member in members)})"
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
        found: dict[str, Any] | None = None
        failure: RetryableError | None = None
        for index, member in enumerate(self._members):
            try:
                identity = await member.identity()
            except RetryableError as error:
                failure = error
                self._failed(index, error)
                continue
            self._works(index)
            if found is not None and found != identity:
                raise EndpointError(f"{member.name}: expected the model of the other servers, got another")
            found = identity
        if found is None:
            assert failure is not None
            raise failure
        return found

    async def capabilities(self) -> Capabilities:
        """What all of them can do.

        Raises:
            EndpointError: they have different models, or one speaks in token ids and another does not.
        """
        all_of = await asyncio.gather(*(member.capabilities() for member in self._members))
        first = all_of[0]
        for member, each in zip(self._members, all_of, strict=True):
            if (each.model, each.ids, each.identity) != (first.model, first.ids, first.identity):
                raise EndpointError(f"{member.name}: expected the model of {plain(self._members[0].name)}, got another")
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
            self._failed(index, error)
            raise

    async def render(self, messages: Sequence[Message], options: Mapping[str, Any]) -> tuple[Prompt, str]:
        """The prompt of a chat, by one that works."""
        index = self._pick(None)
        try:
            return await self._members[index].render(messages, options)
        except RetryableError as error:
            self._failed(index, error)
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
            self._failed(index, error)
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

    def _failed(self, index: int, error: RetryableError) -> None:
        self._failures[index] += 1
        rest = min(_REST * 2 ** (self._failures[index] - 1), 300.0)
        self._back[index] = time.monotonic() + max(rest, error.wait)
