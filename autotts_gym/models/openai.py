"""Servers that speak OpenAI's protocol: vLLM and SGLang by token ids, any other by text."""

import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from autotts_gym.errors import quote
from autotts_gym.models.base import Capabilities, Endpoint, Message, Piece, Prompt, Request, Sampling, are_ids, counted
from autotts_gym.models.failures import EndpointError, Notice, Patience, RetryableError, quiet
from autotts_gym.models.http import Connection
from autotts_gym.models.trial import Trial
from autotts_gym.models.uncertainty import largest, logprob

_FINISH = {"stop": "stop", "eos": "stop", "length": "length", "abort": None}


class OpenAI(Endpoint):
    """A server with ``/v1/completions``.

    Args:
        connection: to it; its address ends before ``/v1``.
        server: "vllm", "sglang" or "openai".
        version: of it, as it says.
        model: the model's name there.
        context: the most tokens of prompt and answer together, as it says; None: it does not say.
        ids: whether to speak in token ids.
    """

    def __init__(
        self, connection: Connection, server: str, version: str, model: str, context: int | None, ids: bool
    ) -> None:
        self.name = connection.address
        self._connection = connection
        self._server, self._version, self._model, self._context, self._ids = server, version, model, context, ids

    async def close(self) -> None:
        """Close its connections."""
        await self._connection.close()

    async def identity(self) -> dict[str, Any]:
        """What must stay the same: what ``/v1/models`` says of the model, and the server's version."""
        for row in await served_models(self._connection):
            if row.get("id") == self._model:
                kept = ("id", "root", "parent", "max_model_len")
                return {name: row[name] for name in kept if name in row} | {"version": self._version}
        raise EndpointError(f"{self.name}: /v1/models: expected the model {quote(self._model)}, got others")

    async def capabilities(self, patience: Patience | None = None, notice: Notice = quiet) -> Capabilities:
        """Try a few tokens."""
        trial = Trial(self, patience or Patience(), notice)
        identity = await trial.call(self.identity)
        chat = self._server in ("vllm", "sglang") and await trial.call(self._renders)
        if self._ids:
            trial.prompt = await trial.call(lambda: self.tokenize("1 2 3", begins=True))
        return Capabilities(
            server=self._server,
            version=self._version,
            model=self._model,
            ids=self._ids and await trial.gives_ids(),
            logprobs=await trial.most_logprobs(),
            context=self._context,
            seed=await trial.same_seed_same_tokens(),
            chat=chat,
            cached=await trial.tells_cached(),
            identity=identity,
        )

    async def _renders(self) -> bool:
        try:
            await self.render([{"role": "user", "content": "1"}], {})
        except EndpointError:
            return False
        return True

    async def tokenize(self, text: str, begins: bool = False) -> tuple[int, ...]:
        """The token ids of a text, by ``/tokenize``."""
        return await self._tokenized({"prompt": text, "add_special_tokens": begins})

    async def render(self, messages: Sequence[Message], options: Mapping[str, Any]) -> tuple[Prompt, str]:
        """The token ids of a chat, by ``/tokenize``, which applies the chat template."""
        body: dict[str, Any] = {
            "messages": list(messages),
            "add_generation_prompt": True,
            "add_special_tokens": False,
        }
        if options:
            body["chat_template_kwargs"] = dict(options)
        ids = await self._tokenized(body)
        reply = await self._connection.post("/detokenize", {"model": self._model, "tokens": list(ids)})
        text = reply.get("prompt", reply.get("text")) if isinstance(reply, dict) else None
        if not isinstance(text, str):
            raise EndpointError(f"{self.name}: /detokenize: expected a text, got {quote(reply)}")
        return ids, text

    async def _tokenized(self, body: Mapping[str, Any]) -> tuple[int, ...]:
        reply = await self._connection.post("/tokenize", {"model": self._model, **body})
        tokens = reply.get("tokens") if isinstance(reply, dict) else None
        if not are_ids(tokens):
            raise EndpointError(f"{self.name}: /tokenize: expected tokens, got {quote(reply)}")
        return tuple(tokens)

    async def generate(self, request: Request) -> AsyncGenerator[Piece, None]:
        """Generate tokens by ``/v1/completions``."""
        body = self._body(request)
        if request.whole:
            reply = await self._connection.post("/v1/completions", body)
            piece = self._piece(reply, request)
            if piece.finish is None:
                raise RetryableError(f"{self.name}: finish_reason: expected one, got {quote(reply)}")
            _add_usage(piece, reply)
            yield piece
            return
        last: Piece | None = None
        events = self._connection.events("/v1/completions", body)
        async with aclosing(events):
            async for event in events:
                if last is not None:  # only the usage comes after the last piece
                    _add_usage(last, event)
                    continue
                piece = self._piece(event, request)
                _add_usage(piece, event)
                if piece.finish is not None:
                    last = piece
                elif piece.text or piece.ids:
                    yield piece
        if last is None:
            raise RetryableError(f"{self.name}: expected a finish_reason, but the stream ended without one")
        yield last

    def _body(self, request: Request) -> dict[str, Any]:
        sampling: Sampling = request.sampling
        body: dict[str, Any] = {
            "model": self._model,
            "prompt": list(request.prompt) if isinstance(request.prompt, tuple) else request.prompt,
            "max_tokens": request.max_tokens,
            "seed": request.seed,
            "n": 1,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "stream": not request.whole,
        }
        if not request.whole:
            body["stream_options"] = {"include_usage": True}
            if request.counts and self._server in ("vllm", "sglang"):
                body["stream_options"]["continuous_usage_stats"] = True
        if self._server in ("vllm", "sglang"):
            body |= {
                "top_k": sampling.top_k or -1,
                "min_p": sampling.min_p,
                "repetition_penalty": sampling.repeat_penalty,
            }
        if self._ids:
            body["return_token_ids"] = True
        if request.top_logprobs:
            body["logprobs"] = request.top_logprobs
        return body

    def _piece(self, event: Any, request: Request) -> Piece:
        choices = event.get("choices") if isinstance(event, dict) else None
        if isinstance(choices, list) and not choices:  # an event with the usage alone
            return Piece()
        if not isinstance(choices, list) or not isinstance(choices[0], dict):
            raise RetryableError(f"{self.name}: expected choices, got {quote(event)}")
        choice = choices[0]
        text, ids = choice.get("text") or "", choice.get("token_ids") or []
        if not isinstance(text, str) or not are_ids(ids):
            raise RetryableError(f"{self.name}: expected text and token_ids, got {quote(choice)}")
        reason = choice.get("finish_reason")
        finish = _FINISH.get(reason) if isinstance(reason, str) else None
        if self._ids and text and not ids:
            raise RetryableError(f"{self.name}: token_ids: expected those of {quote(text)}, got none")
        if reason is not None and finish is None:
            raise RetryableError(f"{self.name}: finish_reason: expected stop or length, got {quote(reason)}")
        logprobs = choice.get("logprobs")
        own, tops = _logprobs(self.name, logprobs) if logprobs else ([], [])
        tops = [top[: request.top_logprobs] for top in tops]  # vLLM adds the token that was drawn
        count = len(ids) if self._ids else max(len(own), 1 if text else 0)
        if own and len(own) != count:
            own, tops = ([math.nan] * count + own)[-count:] if count else [], ([[]] * count + tops)[-count:]
        return Piece(
            ids=ids if self._ids else (),
            text=text,
            count=count,
            logprobs=own,
            tops=tops,
            finish=finish,
        )


async def served_models(connection: Connection) -> list[dict[str, Any]]:
    """The models of a server, as ``/v1/models`` lists them.

    Raises:
        EndpointError: it refuses.
        RetryableError: it cannot be reached, or sends no list.
    """
    reply = await connection.get("/v1/models")
    rows = reply.get("data") if isinstance(reply, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise RetryableError(f"{connection.address}: /v1/models: expected a list of models, got {quote(reply)}")
    return rows


def _add_usage(piece: Piece, event: Mapping[str, Any]) -> None:
    usage = event.get("usage")
    if not isinstance(usage, dict):
        return
    piece.prompt_tokens = counted(usage.get("prompt_tokens"))
    piece.total_tokens = counted(usage.get("completion_tokens"))
    details = usage.get("prompt_tokens_details")
    piece.cached_tokens = counted(details.get("cached_tokens")) if isinstance(details, dict) else -1


def _logprobs(name: str, logprobs: Any) -> tuple[list[float], list[list[float]]]:
    """Log-probabilities, in the legacy shape or in that of chats."""
    try:
        if "content" in logprobs:
            items = logprobs["content"]
            own = [logprob(item["logprob"]) for item in items]
            tops = [largest(top["logprob"] for top in item["top_logprobs"]) for item in items]
        else:
            own = [logprob(each) for each in logprobs["token_logprobs"]]
            rows = logprobs.get("top_logprobs") or [{}] * len(own)
            tops = [largest((row or {}).values()) for row in rows]
        if len(own) != len(tops):
            raise ValueError("lengths differ")
    except (TypeError, KeyError, ValueError, AttributeError):
        raise RetryableError(f"{name}: expected log-probabilities, got {quote(logprobs)}") from None
    return own, tops
