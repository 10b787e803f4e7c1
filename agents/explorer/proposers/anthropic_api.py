"""Models behind Anthropic's API."""

import os
from collections.abc import Generator, Mapping
from typing import Any

from agents.explorer.proposers.base import Request, Usage
from autotts_gym.errors import AutottsError

try:
    import anthropic
    import httpx2

    from agents.explorer.proposers import endpoint
except ModuleNotFoundError as error:
    if error.name not in ("httpx2", "anthropic", "tenacity"):
        raise
    raise AutottsError(
        f"anthropic:MODEL: expected the package {error.name}, which is not installed: "
        "pip install 'autotts_gym[explorer]'"
    ) from error

ANTHROPIC_URL = "https://api.anthropic.com"


class AnthropicProposer(endpoint.EndpointProposer):
    """Asks by messages, as a stream.

    Args:
        model: as the API knows it.
        key_variable: environment variable that holds the key; if it is not set, ``$ANTHROPIC_AUTH_TOKEN`` is sent as a
            bearer token.
        base_url: by default ``$ANTHROPIC_BASE_URL``, or else Anthropic.
        options: those of every endpoint: see ``EndpointProposer``.

    Raises:
        AutottsError: an argument is wrong, or there is no key.
    """

    kind = "anthropic"
    error = anthropic.AnthropicError

    def __init__(
        self,
        model: str,
        *,
        key_variable: str = "ANTHROPIC_API_KEY",
        base_url: str | None = None,
        **options: Any,
    ) -> None:
        base_url = base_url or os.environ.get("ANTHROPIC_BASE_URL") or ANTHROPIC_URL
        key = os.environ.get(key_variable, "").strip()
        token = "" if key else os.environ.get("ANTHROPIC_AUTH_TOKEN", "").strip()
        if not key and not token:
            raise AutottsError(f"anthropic:{model}: expected a key in ${key_variable}, got none")
        self._bearer = bool(token)
        super().__init__(model, api_key=key or token, base_url=base_url, **options)

    def _stream(self, http: httpx2.Client, request: Request, reply: endpoint.Reply) -> Generator[str, None, None]:
        credential: dict[str, Any] = {"auth_token" if self._bearer else "api_key": self._key}
        client = anthropic.Anthropic(base_url=self.base_url, max_retries=0, http_client=http, **credential)
        body = dict(self.extra_body)
        if self.temperature is not None:
            body["temperature"] = self.temperature
        with client.messages.create(
            model=self.model,
            max_tokens=self.max_tokens,
            messages=[{"role": "user", "content": request.prompt}],
            stream=True,
            extra_body=body,
        ) as answer:
            if endpoint.is_one_message(answer.response):
                yield self._message(endpoint.message_of(answer.response.read()), reply)
                return
            counts: dict[str, int] = {}
            for data in endpoint.events(answer.response):
                yield self._take(endpoint.message_of(data), reply, counts)

    def _take(self, event: Mapping[str, Any], reply: endpoint.Reply, counts: dict[str, int]) -> str:
        """Take in an event; returns what to show of it."""
        kind = event.get("type")
        if kind == "message_start":
            _count(counts, event["message"].get("usage"))
        elif kind == "content_block_delta":
            delta = event["delta"]
            if delta.get("type") == "text_delta":
                reply.text.append(endpoint.text_of(delta["text"]))
                return reply.text[-1]
            if delta.get("type") == "thinking_delta":
                return endpoint.text_of(delta["thinking"])
        elif kind == "message_delta":
            reply.finished = reply.finished or bool(event["delta"].get("stop_reason"))
            _count(counts, event.get("usage"))
            reply.usage = _usage(counts)
        return ""

    def _message(self, message: Mapping[str, Any], reply: endpoint.Reply) -> str:
        """Take in a whole message; returns what to show of it."""
        thoughts = [block for block in message["content"] if block.get("type") == "thinking"]
        reply.text.append(endpoint.text_of(message["content"]))
        reply.finished = True
        reply.usage = self._reported(message)
        return "".join(endpoint.text_of(block.get("thinking")) for block in thoughts) + reply.text[-1]

    def _reported(self, body: Mapping[str, Any]) -> Usage | None:
        counts: dict[str, int] = {}
        _count(counts, body.get("usage"))
        return _usage(counts)

    @property
    def _models(self) -> tuple[str, dict[str, str]]:
        credential = {"Authorization": f"Bearer {self._key}"} if self._bearer else {"x-api-key": self._key}
        return f"{self.base_url.rstrip('/')}/v1/models", {"anthropic-version": "2023-06-01", **credential}


_FIELDS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")


def _count(counts: dict[str, int], reported: Mapping[str, Any] | None) -> None:
    """Take over what an event reports: counts so far, some of them absent."""
    for name in _FIELDS:
        if (reported or {}).get(name) is not None:
            counts[name] = endpoint.count((reported or {})[name])


def _usage(counts: dict[str, int]) -> Usage | None:
    """The usage; None where it was not reported in full."""
    if "input_tokens" not in counts or "output_tokens" not in counts:
        return None
    new, written, cached, output = (counts.get(name, 0) for name in _FIELDS)
    return Usage(1, new + written + cached, cached, output)
