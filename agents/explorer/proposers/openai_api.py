"""Models behind an OpenAI-compatible endpoint: OpenAI itself, and servers such as vLLM, Ollama and OpenRouter."""

import os
from collections.abc import Generator, Mapping
from typing import Any
from urllib.parse import urlsplit

from agents.explorer.proposers.base import Request, Usage
from autotts_gym.errors import AutottsError

try:
    import httpx2
    import openai

    from agents.explorer.proposers import endpoint
except ModuleNotFoundError as error:
    if error.name not in ("httpx2", "openai", "tenacity"):
        raise
    raise AutottsError(
        f"openai:MODEL: expected the package {error.name}, which is not installed: pip install 'autotts_gym[explorer]'"
    ) from error

OPENAI_URL = "https://api.openai.com/v1"


class OpenAIProposer(endpoint.EndpointProposer):
    """Asks by chat completions, as a stream.

    Args:
        model: as the endpoint knows it.
        key_variable: environment variable that holds the key; an endpoint other than OpenAI's may need none.
        base_url: by default ``$OPENAI_BASE_URL``, or else OpenAI.
        seeded: whether the request carries the seed of the proposal, for servers that can repeat themselves.
        options: those of every endpoint: see ``EndpointProposer``.

    Raises:
        AutottsError: an argument is wrong, or there is no key.
    """

    kind = "openai"
    error = openai.OpenAIError

    def __init__(
        self,
        model: str,
        *,
        key_variable: str = "OPENAI_API_KEY",
        base_url: str | None = None,
        seeded: bool = False,
        **options: Any,
    ) -> None:
        base_url = base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL
        api_key = os.environ.get(key_variable, "").strip()
        self._official = urlsplit(endpoint.checked_url(self.kind, base_url)).hostname == urlsplit(OPENAI_URL).hostname
        if not api_key:
            if self._official:
                raise AutottsError(f"openai:{model}: expected a key in ${key_variable}, got none")
            api_key = "no-key-was-given"
        self.seeded = seeded
        super().__init__(model, api_key=api_key, base_url=base_url, **options)

    def _stream(self, http: httpx2.Client, request: Request, reply: endpoint.Reply) -> Generator[str, None, None]:
        client = openai.OpenAI(api_key=self._key, base_url=self.base_url, max_retries=0, http_client=http)
        # OpenAI's newer models know only the one name, many servers only the other.
        limit = "max_completion_tokens" if self._official else "max_tokens"
        body: dict[str, Any] = {limit: self.max_tokens, **self.extra_body}
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if self.seeded:
            body["seed"] = request.seed
        with client.chat.completions.create(
            model=self.model,
            messages=[{"role": "user", "content": request.prompt}],
            stream=True,
            stream_options={"include_usage": True},
            extra_body=body,
        ) as answer:
            if endpoint.is_one_message(answer.response):
                yield self._take(endpoint.message_of(answer.response.read()), reply, complete=True)
                return
            for data in endpoint.events(answer.response):
                if data.strip() == "[DONE]":
                    reply.finished = True
                    return
                yield self._take(endpoint.message_of(data), reply)

    def _take(self, message: Mapping[str, Any], reply: endpoint.Reply, complete: bool = False) -> str:
        """Take in a chunk of a stream, or a whole message; returns what to show of it."""
        shown = ""
        for choice in (message.get("choices") or ())[:1]:
            said = choice.get("delta") or choice.get("message") or {}
            # Servers of open models send what a model thinks under either of these names.
            thought = said.get("reasoning_content") or said.get("reasoning") or ""
            text = endpoint.text_of(said.get("content")) + endpoint.text_of(said.get("refusal"))
            reply.text.append(text)
            shown = endpoint.text_of(thought) + text
            reply.finished = reply.finished or complete or bool(choice.get("finish_reason"))
        reply.usage = self._reported(message) or reply.usage
        return shown

    def _reported(self, body: Mapping[str, Any]) -> Usage | None:
        reported = body.get("usage") or {}
        if reported.get("prompt_tokens") is None or reported.get("completion_tokens") is None:
            return None
        details = reported.get("prompt_tokens_details") or {}
        read = endpoint.count(reported["prompt_tokens"])
        return Usage(
            1,
            read,
            min(read, endpoint.count(details.get("cached_tokens"))),
            endpoint.count(reported["completion_tokens"]),
            endpoint.dollars(reported.get("cost")),  # OpenRouter's, in USD
        )

    @property
    def _models(self) -> tuple[str, dict[str, str]]:
        return f"{self.base_url.rstrip('/')}/models", {"Authorization": f"Bearer {self._key}"}
