"""What the proposers that call a model over HTTP share: one guarded connection, one meaning of each failure.

Imported only where an official client is, whose HTTP library (httpx2) this uses.
"""

import json
import math
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar
from urllib.parse import quote as url_quote
from urllib.parse import urlsplit

import httpx2

from agents.explorer.proposers.arguments import number, text
from agents.explorer.proposers.base import Proposal, Request, Usage
from agents.explorer.proposers.replies import MAX_REPLY_BYTES, clean, displayable, extract_program, one_line
from agents.explorer.proposers.retry import CallError, RateLimit, Retry
from autotts_gym.errors import LONGEST_QUOTE, AutottsError, plain, quote
from autotts_gym.validation import check as require
from autotts_gym.validation import integer, is_real

MAX_STREAM_BYTES = 32 * MAX_REPLY_BYTES
"""Of a response as it is sent: an event of a stream wraps a few characters of the reply in some hundred bytes."""

TEMPLATE_TOKENS = 256
"""At most so many tokens are put around a prompt of one message."""

_RETRIED = (408, 409, 429, 529)
_RETRIED_TYPES = ("api_error", "overloaded_error", "rate_limit_error", "timeout_error")
_SPENT = ("insufficient_quota", "billing_hard_limit_reached")
_NO_MODEL = ("model_not_found", "not_found_error")
_UNSENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)
_HOPELESS = (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)
_MALFORMED = (ValueError, TypeError, AttributeError, LookupError, RecursionError)
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?")


@dataclass
class Reply:
    """What has arrived of a reply.

    Attributes:
        text: the answer.
        finished: whether the model came to an end.
        usage: what the provider reports, once it has.
    """

    text: list[str] = field(default_factory=list)
    finished: bool = False
    usage: Usage | None = None


class EndpointProposer(ABC):
    """A model behind an HTTP endpoint.

    Args:
        model: as the endpoint knows it.
        api_key: for the endpoint.
        base_url: where it is.
        max_tokens: tokens that a reply may have, thinking included.
        temperature: of sampling; None: the endpoint's own.
        timeout: seconds for a proposal, retries and waits included.
        connect_timeout: seconds to connect.
        read_timeout: seconds of silence in a stream.
        retries: calls after the first.
        paid_attempts: calls that may have been paid, the last included.
        requests_per_minute: of this proposer, over all threads; None: no limit.
        first_wait: seconds of the first back-off.
        extra_body: further fields of the request, such as ``{"reasoning_effort": "high"}``.
        check: whether ``verify`` asks the endpoint for its models; for one whose list is not true.

    Attributes:
        kind: the word before the colon of its name.
        error: what the official client raises.

    Raises:
        AutottsError: an argument is wrong, or there is no key.
    """

    kind: ClassVar[str]
    error: ClassVar[type[Exception]]

    def __init__(
        self,
        model: str,
        *,
        api_key: str,
        base_url: str,
        max_tokens: int = 16384,
        temperature: float | None = None,
        timeout: float = 900.0,
        connect_timeout: float = 10.0,
        read_timeout: float = 120.0,
        retries: int = 5,
        paid_attempts: int = 2,
        requests_per_minute: float | None = None,
        first_wait: float = 1.0,
        extra_body: Mapping[str, Any] | None = None,
        check: bool = True,
    ) -> None:
        kind = self.kind
        if not text(f"{kind}: model", model):
            raise AutottsError(f"{kind}: expected a model, {kind}:MODEL, got none")
        if not api_key.isascii() or not api_key.isprintable() or " " in api_key:
            raise AutottsError(f"{kind}: expected a key of plain characters, got one with others")
        require(f"{kind}: extra_body", extra_body, isinstance(extra_body or {}, Mapping), "an object")
        require(f"{kind}: check", check, isinstance(check, bool), "true or false")
        self.model = model
        self.check = check
        self.base_url = checked_url(kind, base_url)
        self.max_tokens = integer(f"{kind}: max_tokens", max_tokens, 1)
        self.temperature = None if temperature is None else number(f"{kind}: temperature", temperature, zero=True)
        self.connect_timeout = number(f"{kind}: connect_timeout", connect_timeout)
        self.read_timeout = number(f"{kind}: read_timeout", read_timeout)
        self.extra_body = dict(extra_body or {})
        self._key = api_key
        rate = None if requests_per_minute is None else number(f"{kind}: requests_per_minute", requests_per_minute)
        self._retry = Retry(
            retries=integer(f"{kind}: retries", retries, 0),
            paid_attempts=integer(f"{kind}: paid_attempts", paid_attempts, 1),
            timeout=number(f"{kind}: timeout", timeout),
            first_wait=number(f"{kind}: first_wait", first_wait, zero=True),
            rate=RateLimit(rate),
        )

    @property
    def name(self) -> str:
        """As given to ``--proposer``."""
        return f"{self.kind}:{self.model}"

    def bound(self, request: Request) -> Usage:
        """The most that one proposal can use.

        A token is at least a byte, so a prompt has no more tokens than bytes; and as many calls as may be paid.
        """
        call = self._bound(request)
        times = self._retry.paid_attempts
        return Usage(times, times * call.input_tokens, 0, times * call.output_tokens)

    def _bound(self, request: Request) -> Usage:
        """The most that one call can use; what a call counts as where nobody says what it used."""
        return Usage(1, len(request.prompt.encode("utf-8", "replace")) + TEMPLATE_TOKENS, 0, self.max_tokens)

    def propose(self, request: Request, progress: Callable[[str], None]) -> Proposal:
        """Ask the model, again where a call fails and another may help.

        Raises:
            ProposerError: no answer came.
        """

        def say(text: str) -> None:
            shown = displayable(text, (self._key,))
            if shown:
                progress(shown)

        reply, spent = self._retry.run(lambda deadline: self._call(request, deadline, say), request.seed, say)
        text = clean("".join(reply.text), (self._key,))
        usage = reply.usage
        if usage is None:
            usage = self._assumed(request)
            say(f"\n[the endpoint did not say what was used: counted at the bound, {usage.output_tokens} tokens]\n")
        return Proposal(extract_program(text), text, spent + usage, self.model)

    def _call(self, request: Request, deadline: float, say: Callable[[str], None]) -> Reply:
        reply = Reply()
        left = deadline - self._retry.clock()
        if left <= 0:
            raise CallError(f"{self.name}: timed out after {self._retry.timeout:g} s", again=False)
        limits = httpx2.Timeout(min(self.read_timeout, left), connect=min(self.connect_timeout, left))
        guard = _Guard(deadline, self._retry.clock)
        # No redirects: they would carry the key elsewhere. No compression: a small body could unpack to a huge one.
        http = httpx2.Client(
            timeout=limits,
            follow_redirects=False,
            headers={"Accept-Encoding": "identity"},
            event_hooks={"response": [guard]},
        )
        failures: tuple[type[Exception], ...] = (httpx2.HTTPError, CallError, StreamError, self.error, *_MALFORMED)
        size = 0
        with http:
            pieces = self._stream(http, request, reply)
            while True:
                try:
                    piece = next(pieces, None)
                    if piece is None:
                        break
                    size += len(piece.encode("utf-8", "replace"))
                except failures as error:
                    if reply.finished:  # what was still to come is the usage
                        return reply
                    raise self._failure(error, request, reply) from None
                if size > MAX_REPLY_BYTES:
                    pieces.close()
                    what = f"expected a reply of at most {MAX_REPLY_BYTES} bytes, got more"
                    raise self._undelivered(what, request, reply, again=False)
                say(piece)
        if not reply.finished:
            raise self._undelivered("the reply broke off", request, reply)
        return reply

    @property
    @abstractmethod
    def _models(self) -> tuple[str, dict[str, str]]:
        """Where the endpoint lists its models, and the headers that it wants."""

    @abstractmethod
    def _stream(self, http: httpx2.Client, request: Request, reply: Reply) -> Generator[str, None, None]:
        """Make one call through ``http``, fill in ``reply`` and yield text as it arrives."""

    @abstractmethod
    def _reported(self, body: Mapping[str, Any]) -> Usage | None:
        """The usage that a whole message reports; None: none, or not in full."""

    # ------------------------------------------------------------ before a run

    def verify(self) -> None:
        """Ask for the model, which costs nothing; an endpoint that knows no such question says nothing by it.

        Raises:
            AutottsError: the endpoint cannot be reached, refuses the key, or has no such model.
        """
        if not self.check:
            return
        url, headers = self._models
        limits = httpx2.Timeout(min(self.read_timeout, 10.0), connect=self.connect_timeout)
        with httpx2.Client(timeout=limits, follow_redirects=False, headers=headers) as http:
            status, said = self._get(http, f"{url}/{url_quote(self.model, safe='')}")
            if status == 200 and "data" not in said:
                return
            kind, text = _error_of(said)
            if status == 401 and "scope" not in text:
                raise AutottsError(f"{self.name}: {self._where}: HTTP 401: {self._shown(text)}")
            denied = status == 404 and (kind in _NO_MODEL or self.model in text)
            status, said = self._get(http, url)
        known = _ids(said) if status == 200 else []
        if f"{self.model}:latest" in known or self.model in known or not (known or denied):
            return
        listed = f"; it has {plain(', '.join(known))}" if known else ""
        raise AutottsError(
            f"{self.name}: {self._where} has no model {quote(self.model)}{listed}. Where it takes the name all the "
            "same, give --option check=false"
        )

    def _get(self, http: httpx2.Client, url: str) -> tuple[int, Mapping[str, Any]]:
        """Status and JSON of a page; 0 and nothing where it gives no answer in time or one that is none."""
        try:
            with http.stream("GET", url) as response:
                data = bytearray()
                for chunk in response.iter_bytes():
                    data += chunk
                    if len(data) > MAX_REPLY_BYTES:
                        return 0, {}
        except (*_UNSENT, *_HOPELESS, httpx2.InvalidURL) as error:
            raise AutottsError(
                f"{self.name}: {self._where} cannot be reached: {self._shown(str(error))}; check base_url"
            ) from error
        except httpx2.HTTPError:
            return 0, {}
        try:
            said = json.loads(data)
        except (ValueError, RecursionError):
            said = {}
        return response.status_code, said if isinstance(said, Mapping) else {}

    # ------------------------------------------------------------ what failed

    def _shown(self, text: str) -> str:
        """Foreign text as a message may have it."""
        return one_line(text, (self._key,), LONGEST_QUOTE)

    @property
    def _where(self) -> str:
        """The endpoint's host, without credentials."""
        return urlsplit(self.base_url).netloc.rpartition("@")[2]

    def _assumed(self, request: Request) -> Usage:
        """What a call counts as whose use nobody reported: the most it can have used."""
        return replace(self._bound(request), assumed=1)

    def _undelivered(self, what: str, request: Request, reply: Reply, again: bool = True) -> CallError:
        """A call whose reply did not come, though it may have been paid: it is charged what was reported of it."""
        usage = reply.usage or self._assumed(request)
        how = "at the bound, as no usage was reported" if reply.usage is None else "as reported"
        tokens = f"{usage.input_tokens} tokens read and {usage.output_tokens} written"
        message = f"{self.name}: {self._shown(what)}; charged {how}: {tokens}"
        return CallError(message, again=again, usage=usage)

    def _failure(self, error: Exception, request: Request, reply: Reply) -> CallError:
        """What an error means."""
        guarded = error if isinstance(error, CallError) else error.__cause__
        if isinstance(guarded, CallError):
            return self._undelivered(str(guarded), request, reply, again=False)
        response = getattr(error, "response", None)
        if isinstance(response, httpx2.Response) and not response.is_success:
            return self._status(response, getattr(error, "body", None))
        cause = error.__cause__ if isinstance(error.__cause__, httpx2.HTTPError) else error
        if isinstance(cause, _UNSENT):
            said = self._shown(str(cause)) or type(cause).__name__
            return CallError(f"{self.name}: {self._where} cannot be reached: {said}", again=True)
        if isinstance(cause, _HOPELESS):
            return CallError(f"{self.name}: {self._where}: {self._shown(str(cause))}", again=False)
        if isinstance(cause, httpx2.TimeoutException):
            what = f"no answer from {self._where} for {self.read_timeout:g} s (option read_timeout)"
            return self._undelivered(what, request, reply)
        if isinstance(cause, httpx2.HTTPError):
            return self._undelivered(f"the reply broke off: {cause}", request, reply)
        if isinstance(error, StreamError):
            kind, text = _error_of(error.body)
            again = not kind or kind in _RETRIED_TYPES or kind == "server_error"
            return self._undelivered(text or "an error came in the reply", request, reply, again)
        return self._undelivered(f"malformed reply: {type(error).__name__}: {error}", request, reply)

    def _status(self, response: httpx2.Response, body: object) -> CallError:
        """What a status other than success means; such a call costs nothing unless the server says what it used."""
        code = response.status_code
        kind, text = _error_of(body)
        again = (code in _RETRIED or code >= 500) and kind not in _SPENT
        if response.headers.get("x-should-retry") == "false":
            again = False
        said = self._shown(text or response.reason_phrase)
        wait = asked_wait(response.headers) if again else None
        try:
            message = response.json()
            usage = self._reported(message) if isinstance(message, Mapping) else None
        except (*_MALFORMED, httpx2.StreamError):  # most errors report nothing, and many are no JSON
            usage = None
        if usage is not None:
            said += f"; charged as reported: {usage.input_tokens} tokens read and {usage.output_tokens} written"
        return CallError(f"{self.name}: HTTP {code}: {said}", again=again, wait=wait, usage=usage)


class StreamError(Exception):
    """A server said in the middle of its reply, or instead of it, that something failed.

    Attributes:
        body: what it said.
    """

    def __init__(self, body: object) -> None:
        super().__init__("an error came in the reply")
        self.body = body


def is_one_message(response: httpx2.Response) -> bool:
    """Whether a server has answered a request for a stream by one whole message, as some do: its type decides."""
    return "json" in response.headers.get("content-type", "").partition(";")[0].lower()


def events(response: httpx2.Response) -> Generator[str, None, None]:
    """The data of server-sent events, however the bytes are cut and lines are ended; comments are passed over."""
    data: list[bytes] = []
    for line in _lines(response.iter_bytes()):
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif not line and data:
            yield b"\n".join(data).decode("utf-8")
            data = []
    if data:
        yield b"\n".join(data).decode("utf-8")


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Lines that end in CR LF, LF or CR."""
    begun: list[bytes] = []  # parts of the line that has not ended
    after_return = False
    for chunk in chunks:
        if after_return:  # whose line feed, if it is in this chunk, ends no line of its own
            chunk = chunk.removeprefix(b"\n")
        after_return = chunk.endswith(b"\r")
        *ended, rest = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in ended:
            yield b"".join(begun) + line
            begun = []
        begun.append(rest)
    yield b"".join(begun)


def message_of(data: str | bytes) -> Mapping[str, Any]:
    """The JSON object of an event, or of a reply that comes in one piece.

    Raises:
        StreamError: it is an error.
        ValueError: it is none.
    """
    body = json.loads(data)
    if not isinstance(body, Mapping):
        raise ValueError(f"expected a JSON object, got {quote(body)}")
    if body.get("error"):
        raise StreamError(body["error"])
    return body


def text_of(content: object) -> str:
    """Text as servers give it: a string, nothing, or a list of parts with a ``text`` each.

    Raises:
        ValueError: it is none of these.
    """
    if content is None:
        return ""
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, Mapping) and part.get("type", "text") == "text"]
        return "".join(text_of(part.get("text")) for part in parts)
    if not isinstance(content, str):
        raise ValueError(f"expected text, got {quote(content)}")
    return content


class _Guard:
    """Watches over every response: so many bytes at most, and none after the deadline, however slowly they drip."""

    def __init__(self, deadline: float, clock: Callable[[], float]) -> None:
        self.deadline = deadline
        self.clock = clock

    def __call__(self, response: httpx2.Response) -> None:
        if response.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
            raise CallError("expected a response that is not compressed, got a compressed one", again=False)
        assert isinstance(response.stream, httpx2.SyncByteStream)
        response.stream = _Guarded(response.stream, self)


class _Guarded(httpx2.SyncByteStream):
    def __init__(self, stream: httpx2.SyncByteStream, guard: _Guard) -> None:
        self._stream = stream
        self._guard = guard

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for chunk in self._stream:
            size += len(chunk)
            if size > MAX_STREAM_BYTES:
                raise CallError(f"expected a response of at most {MAX_STREAM_BYTES} bytes, got more", again=False)
            if self._guard.clock() > self._guard.deadline:
                raise CallError("timed out in the middle of the reply", again=False)
            yield chunk

    def close(self) -> None:
        self._stream.close()


def checked_url(kind: str, url: str) -> str:
    """The address of an endpoint, once it is checked.

    Raises:
        AutottsError: it is none.
    """
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except (ValueError, AttributeError, TypeError):
        valid = False
    if not valid:
        raise AutottsError(f"{kind}: base_url: expected http://… or https://…, got {quote(str(url))}")
    return url


def count(value: object) -> int:
    """A number of tokens as a provider reports it.

    Raises:
        ValueError: it is none; such a report cannot be trusted.
    """
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"expected a number of tokens, got {quote(value)}")
    return value


def dollars(value: Any) -> float | None:
    """A cost as some providers report it; None if this is none."""
    return float(value) if is_real(value, 0.0) else None


def asked_wait(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """The seconds a server asks to wait: ``Retry-After``, or else until a used-up limit is reset.

    Args:
        headers: of the response.
        now: seconds since 1970; None: the present.
    """
    now = time.time() if now is None else now
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    after = headers.get("retry-after")
    if after is not None:
        seconds = _number(after)
        return seconds if seconds is not None else _until(after, now)
    waits = [
        _until(value, now)
        for name, value in headers.items()
        if "ratelimit" in name.lower() and "reset" in name.lower()
        if headers.get(name.lower().replace("reset", "remaining")) == "0"
    ]
    return max((wait for wait in waits if wait is not None), default=None)


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return number if 0 <= number < math.inf else None


def _until(text: str, now: float) -> float | None:
    """Seconds until a time as headers give it: ``6m0s``, RFC 3339, or an HTTP date."""
    duration = _DURATION.fullmatch(text.strip())
    if duration and any(duration.groups()):
        hours, minutes, seconds, milliseconds = (float(part or 0) for part in duration.groups())
        return 3600 * hours + 60 * minutes + seconds + milliseconds / 1000
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = parse(text.strip())
        except (ValueError, TypeError, OverflowError):
            continue
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, moment.timestamp() - now)
    return None


def _ids(listed: Mapping[str, Any]) -> list[str]:
    """The names in a list of models."""
    rows = listed.get("data")
    names = [row.get("id") for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
    return [name for name in names if isinstance(name, str)]


def _error_of(body: object) -> tuple[str, str]:
    """The kind and the message of an error, from its body; both may be empty."""
    error = body.get("error", body) if isinstance(body, Mapping) else body
    if not isinstance(error, Mapping):
        return "", str(error) if isinstance(error, str) else ""
    kinds = [str(error[name]) for name in ("code", "type") if error.get(name)]
    kind = next((kind for kind in kinds if kind in _SPENT), kinds[-1] if kinds else "")
    message = error.get("message")
    return kind, message if isinstance(message, str) else json.dumps(error, default=str)
