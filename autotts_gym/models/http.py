"""HTTP to a model server: requests, streams of events, and which failures may pass."""

import asyncio
import json
import re
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import aiohttp

from autotts_gym.errors import plain, quote
from autotts_gym.models.failures import ContextError, EndpointError, RetryableError

LONGEST_EVENT = 1 << 24
"""Bytes of one event or one answer; a server that sends more sends garbage."""

_LONGEST_WAIT = 600.0
"""Seconds of a Retry-After that are heeded."""

_LONGEST_END = 5.0
"""Seconds between the last event of a stream and its end."""

_MAY_PASS = {408, 409, 425, 429}


class Connection:
    """Talks to one server.

    Args:
        address: ``http://host:port``, perhaps with a path or a user (``http://user:password@host:port``), without a
            slash at the end.
        key: for the header Authorization; empty: none.
        timeout: seconds without a byte after which a request counts as lost.
        connections: the most at a time.

    Attributes:
        address: without the user.
        closes_streams: whether the server closes the connection after a stream, and says nothing about it.

    Raises:
        EndpointError: the address is none, or no header can hold the key or the user.
    """

    def __init__(self, address: str, key: str = "", timeout: float = 300.0, connections: int = 1024) -> None:
        parts, key = split_address(address), key.strip()
        user, at, host = parts.netloc.rpartition("@")
        self.address = parts._replace(netloc=host).geturl()
        self.closes_streams = False
        self._secrets: list[str] = []
        self._headers: dict[str, str] = {}
        if key and at:
            raise EndpointError(f"{self.address}: expected a key or a user in the address, got both")
        if key:
            if not (key.isascii() and key.isprintable()):
                raise EndpointError(f"{self.address}: expected a key of printable ASCII characters, got others in it")
            self._headers, self._secrets = {"Authorization": f"Bearer {key}"}, [key]
        elif at:
            name, colon, password = map(unquote, user.partition(":"))
            basic = b64encode(f"{name}:{password}".encode()).decode()
            self._headers, self._secrets = {"Authorization": f"Basic {basic}"}, [basic, name + colon + password]
            self._secrets += [password] * bool(password)
        self._timeout = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=15.0, sock_read=timeout)
        self._limit = connections
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, path: str) -> Any:
        """The JSON value at a path.

        Raises:
            EndpointError: the server refuses.
            RetryableError: it cannot be reached, is busy, or sends no JSON.
        """
        async with self._answer("GET", path) as response:
            return await self._value(response)

    async def find(self, path: str) -> Any:
        """The JSON value at a path; None: the server has nothing there.

        Raises:
            RetryableError: it cannot be reached, or is busy.
        """
        try:
            async with self._answer("GET", path) as response:
                body = await self._body(response)
        except EndpointError:
            return None
        try:
            return json.loads(body)
        except (ValueError, RecursionError):  # a page for people
            return None

    async def post(self, path: str, body: Any) -> Any:
        """The JSON value that answers a request.

        Raises:
            EndpointError: the server refuses.
            RetryableError: it cannot be reached, is busy, or sends no JSON.
        """
        async with self._answer("POST", path, body) as response:
            return await self._value(response)

    async def events(
        self, path: str, body: Any, last: Callable[[dict[str, Any]], bool] = lambda event: False
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The events of a stream (server-sent events), each a JSON object, until the server closes it.

        Args:
            path: at the server.
            body: of the request.
            last: whether an event is the last one, where that is known by more than ``[DONE]``.

        Raises:
            EndpointError: the server refuses.
            RetryableError: it cannot be reached, is busy, breaks off, or sends garbage.
        """
        headers = {"Connection": "close"} if self.closes_streams else None
        async with self._answer("POST", path, body, headers) as response:
            if response.content_type == "application/json":  # no stream: most often an error
                answer = await self._body(response)
                self._parsed(answer)
                raise self._garbage(answer, "events")
            async for line in self._lines(response):
                if not line or line.startswith((b":", b"event:", b"id:", b"retry:")):
                    continue
                if not line.startswith(b"data:"):
                    raise self._garbage(line, "events")
                data = line[5:].strip()
                if data == b"[DONE]":
                    await _drain(response)
                    return
                event = self._parsed(data)
                if not isinstance(event, dict):
                    raise self._garbage(data, "an object")
                yield event
                if last(event):
                    await _drain(response)
                    return

    async def _lines(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """The lines of a body, without blanks around them."""
        rest = b""
        async for chunk in response.content.iter_any():
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > LONGEST_EVENT:
                raise self._garbage(rest, "events")
            for line in lines:
                yield line.strip()
        yield rest.strip()

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer of the server, once it is a good one."""
        try:
            async with self._opened().request(method, self.address + path, json=body, headers=headers) as response:
                if response.status != 200:
                    text = await self._body(response)
                    raise self._refusal(response.status, _json_or_text(text), response.headers.get("Retry-After"))
                yield response
        except (aiohttp.InvalidURL, UnicodeError) as error:
            raise EndpointError(f"{self.address}: expected an address, got one that is none: {plain(error)}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise RetryableError(f"{self.address}: {self._shown(_reason(error))}") from error

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=self._limit, keepalive_timeout=4.0)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=self._timeout, headers=self._headers, auto_decompress=True
            )
        return self._session

    async def _value(self, response: aiohttp.ClientResponse) -> Any:
        return self._parsed(await self._body(response))

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > LONGEST_EVENT:
                raise self._garbage(bytes(body), "less")
        return bytes(body)

    def _parsed(self, data: bytes) -> Any:
        """The JSON value of some data.

        Raises:
            EndpointError, RetryableError: it is none, or an error that the server tells.
        """
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            raise self._garbage(data, "JSON") from None
        if isinstance(value, dict) and value.get("error"):
            raise self._refusal(500, value)
        return value

    def _garbage(self, data: bytes, expected: str) -> RetryableError:
        shown = self._shown(data.decode(errors="replace"))
        return RetryableError(f"{self.address}: expected {expected}, got {quote(shown)}")

    def _shown(self, text: str) -> str:
        """A foreign text as messages may show it: servers and proxies give keys and passwords back."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def _refusal(self, status: int, body: Any, retry_after: str | None = None) -> Exception:
        """The error of an answer that is not a good one."""
        error = body.get("error", body) if isinstance(body, dict) else body
        details = error if isinstance(error, dict) else {}
        message = plain(self._shown(str(details.get("message", error)))) or "no reason given"
        kind = str(details.get("type", ""))
        if isinstance(details.get("code"), int) and 400 <= details["code"] < 600:
            status = details["code"]  # of an error inside a stream, whose own status is good
        text = f"{self.address}: HTTP {status}: {message}"
        if status >= 500 or status in _MAY_PASS:
            loading = status == 503 and "loading" in message.lower()
            return RetryableError(text, _seconds(retry_after), loading)
        if "exceed_context" in kind or (status in (400, 413) and _of_context(message)):
            return ContextError(text)
        return EndpointError(text)


def split_address(text: str) -> SplitResult:
    """The parts of an address.

    Raises:
        EndpointError: it is none of HTTP.
    """
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        good = good and not parts.query and not parts.fragment
    except ValueError:  # such as a bracket that is not closed, or a port that is no number
        good = False
    if not good:
        shown = re.sub(r"//[^/]*@", "//***@", text)
        raise EndpointError(
            f"endpoint: expected http://host:port/v1, local:FILE.gguf, tiny or micro, got {quote(shown)}"
        )
    return parts


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Read the end of a stream that has said all, so that its connection can be used again."""
    with suppress(aiohttp.ClientError, TimeoutError, OSError):
        await asyncio.wait_for(response.content.read(), _LONGEST_END)


def _of_context(message: str) -> bool:
    """Whether a refusal is about the context: servers say so in words of their own."""
    lowered = message.lower()
    return "context" in lowered and any(word in lowered for word in ("length", "size", "exceed", "maximum", "longer"))


def _json_or_text(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return data.decode(errors="replace")


def _reason(error: BaseException) -> str:
    if isinstance(error, asyncio.TimeoutError):
        return "no answer in time"
    return f"{type(error).__name__}: {plain(error)}" if not isinstance(error, aiohttp.ClientOSError) else plain(error)


def _seconds(retry_after: str | None) -> float:
    """The seconds that a Retry-After asks for: a number, or a date."""
    if not retry_after:
        return 0.0
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return 0.0
    return min(max(seconds, 0.0), _LONGEST_WAIT) if seconds == seconds else 0.0
