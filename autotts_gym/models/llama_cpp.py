"""llama.cpp's server, by token ids: its own ``/completion``, since ``/v1/completions`` gives no ids back."""

import hashlib
import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from autotts_gym.errors import quote
from autotts_gym.models.base import Capabilities, Endpoint, Message, Piece, Prompt, Request, Sampling, are_ids, counted
from autotts_gym.models.failures import EndpointError, LostIdsError, Notice, Patience, RetryableError, quiet
from autotts_gym.models.http import Connection
from autotts_gym.models.openai import served_models
from autotts_gym.models.trial import Trial
from autotts_gym.models.uncertainty import largest, logprob

_FINISH = {"eos": "stop", "word": "stop", "limit": "length", "none": "length"}


class LlamaCpp(Endpoint):
    """A llama.cpp server.

    Args:
        connection: to it.
        props: what it said at ``/props`` when the work began.
        model: name of the model, for the store; empty: as the server calls it.
        hashes: what is known of the model besides, such as the hash of its file.
    """

    def __init__(
        self, connection: Connection, props: Mapping[str, Any], model: str = "", hashes: Mapping[str, str] | None = None
    ) -> None:
        self.name = connection.address
        self._connection = connection
        connection.closes_streams = True
        self._props = dict(props)
        self._model = model or _model_name(props)
        self._hashes = dict(hashes or {})

    async def close(self) -> None:
        """Close its connections."""
        await self._connection.close()

    async def identity(self) -> dict[str, Any]:
        """What must stay the same: file, context and build, as ``/props`` says."""
        props = await self._connection.get("/props")
        if not isinstance(props, dict) or "default_generation_settings" not in props:
            raise RetryableError(f"{self.name}: expected /props of llama.cpp, got {quote(props)}")
        return _identity(props) | self._hashes

    async def capabilities(self, patience: Patience | None = None, notice: Notice = quiet) -> Capabilities:
        """Ask ``/props`` and try a few tokens."""
        trial = Trial(self, patience or Patience(), notice)
        identity = await trial.call(self.identity)
        trial.prompt = await trial.call(lambda: self.tokenize("1 2 3", begins=True)) or (1,)
        settings = self._props["default_generation_settings"]
        own = settings.get("n_ctx") if isinstance(settings, dict) else None
        lengths = [counted(each) for each in (own, await trial.call(self._trained_context))]
        slots = counted(self._props.get("total_slots"))
        return Capabilities(
            server="llama.cpp",
            version=str(self._props.get("build_info", "unknown")),
            model=self._model,
            ids=await trial.gives_ids(),
            logprobs=await trial.most_logprobs(),
            context=min((each for each in lengths if each > 0), default=None),
            seed=await trial.same_seed_same_tokens(),
            chat=bool(self._props.get("chat_template")),
            cached=await trial.tells_cached(),
            slots=slots if slots > 0 else None,
            identity=identity,
        )

    async def _trained_context(self) -> Any:
        """The context that the model was trained for: the server takes a longer one, with a warning in its log."""
        rows = await served_models(self._connection)
        meta = rows[0].get("meta") if rows else None
        return meta.get("n_ctx_train") if isinstance(meta, dict) else None

    async def tokenize(self, text: str, begins: bool = False) -> tuple[int, ...]:
        """The token ids of a text, by ``/tokenize``."""
        reply = await self._connection.post(
            "/tokenize", {"content": text, "add_special": begins, "parse_special": True}
        )
        tokens = reply.get("tokens") if isinstance(reply, dict) else None
        if not are_ids(tokens):
            raise RetryableError(f"{self.name}: /tokenize: expected tokens, got {quote(reply)}")
        return tuple(tokens)

    async def render(self, messages: Sequence[Message], options: Mapping[str, Any]) -> tuple[Prompt, str]:
        """The token ids of a chat, by ``/apply-template`` and ``/tokenize``."""
        body: dict[str, Any] = {"messages": list(messages)}
        if options:
            body["chat_template_kwargs"] = dict(options)
        reply = await self._connection.post("/apply-template", body)
        text = reply.get("prompt") if isinstance(reply, dict) else None
        if not isinstance(text, str):
            raise EndpointError(f"{self.name}: /apply-template: expected a prompt, got {quote(reply)}")
        bos = self._props.get("bos_token")
        ids = await self.tokenize(text, begins=True)
        if (
            isinstance(bos, str) and bos and text.startswith(bos)
        ):  # the template begins with it, and so does every prompt that is tokenized
            twice = await self.tokenize(bos, begins=True)
            ids = ids[1:] if len(twice) == 2 and twice == ids[:2] else ids
        return ids, text

    async def generate(self, request: Request) -> AsyncGenerator[Piece, None]:
        """Generate tokens by ``/completion``."""
        body = {
            "prompt": list(request.prompt) if isinstance(request.prompt, tuple) else request.prompt,
            "n_predict": request.max_tokens,
            "seed": request.seed,
            "stream": not request.whole,
            "return_tokens": True,
            "n_probs": request.top_logprobs,
            "cache_prompt": True,
            "timings_per_token": request.counts,
            "id_slot": request.place[0] if request.place else -1,
            **_sampling(request.sampling),
        }
        if request.whole:
            yield self._last(await self._connection.post("/completion", body), request)
            return
        came, ended = 0, False
        events = self._connection.events("/completion", body, lambda event: event.get("stop") is True)
        async with aclosing(events):
            async for event in events:
                if event.get("stop") is True:
                    last = self._last(event, request)
                    last.count = max(min(last.total_tokens, request.max_tokens) - came, 0)  # of an unfinished character
                    ended = True
                    yield last
                    continue
                piece = self._piece(event)
                new = counted(event.get("tokens_predicted")) - came
                if new > piece.count:
                    piece = await self._with_lost_ids(piece, new)
                came += piece.count
                yield piece
        if not ended:
            raise RetryableError(f"{self.name}: expected a last event, but the stream ended without one")

    def _piece(self, event: Mapping[str, Any]) -> Piece:
        ids, text = event.get("tokens"), event.get("content")
        probabilities = event.get("completion_probabilities", [])
        if not are_ids(ids) or not isinstance(text, str) or not isinstance(probabilities, list):
            raise RetryableError(f"{self.name}: expected tokens and content, got {quote(event)}")
        piece = Piece(ids=ids, text=text, count=len(ids))
        timings = event.get("timings")
        if isinstance(timings, dict):
            cached, fresh = counted(timings.get("cache_n")), counted(timings.get("prompt_n"))
            if min(cached, fresh) >= 0:
                piece.prompt_tokens, piece.cached_tokens = cached + fresh, cached
        if probabilities:
            piece.logprobs, piece.tops = _logprobs(self.name, probabilities, len(ids))
        return piece

    def _last(self, event: Any, request: Request) -> Piece:
        """The piece of a last event, or of an answer in one piece."""
        if not isinstance(event, dict):
            raise RetryableError(f"{self.name}: expected an answer, got {quote(event)}")
        piece = self._piece(event)
        reason = event.get("stop_type")
        if not isinstance(reason, str) or reason not in _FINISH:
            raise RetryableError(f"{self.name}: stop_type: expected one of {', '.join(_FINISH)}, got {quote(reason)}")
        piece.finish = _FINISH[reason]
        piece.total_tokens = counted(event.get("tokens_predicted"))
        if piece.finish == "length" and 0 <= piece.total_tokens < request.max_tokens:
            piece.finish = "context"
        slot = counted(event.get("id_slot"))
        piece.place = (slot,) if slot >= 0 else None
        return piece

    async def _with_lost_ids(self, piece: Piece, count: int) -> Piece:
        """A piece with the ids that the stream left out.

        The server holds the tokens of an unfinished character back, and then sends the last one's id alone. The text
        of the piece, tokenized, has all of them, unless it is tokenized otherwise than it was generated.

        Raises:
            LostIdsError: so it is.
        """
        ids = await self.tokenize(piece.text)
        if len(ids) != count or list(ids[-len(piece.ids) :]) != list(piece.ids):
            raise LostIdsError(f"{self.name}: the ids of {quote(piece.text)} were left out of the stream", count)
        unknown = count - len(piece.ids)
        if piece.tops:
            piece.logprobs = [math.nan] * unknown + list(piece.logprobs)
            piece.tops = [[]] * unknown + list(piece.tops)
        piece.ids, piece.count = ids, count
        return piece


def _model_name(props: Mapping[str, Any]) -> str:
    path = str(props.get("model_alias") or props.get("model_path") or "model")
    return path.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".gguf") or "model"


def _identity(props: Mapping[str, Any]) -> dict[str, Any]:
    """What of ``/props`` must stay the same; of the path only the name, which is the same on every machine."""
    template = hashlib.sha256(str(props.get("chat_template")).encode()).hexdigest()
    path = str(props.get("model_path", "")).replace("\\", "/").rsplit("/", 1)[-1]
    return {
        "file": path,
        "quantization": props.get("model_ftype"),
        "build": props.get("build_info"),
        "chat_template_sha256": template,
    }


def _sampling(sampling: Sampling) -> dict[str, Any]:
    """A sampling in the server's spelling; what it would do by itself besides is turned off."""
    return {
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repeat_penalty": sampling.repeat_penalty,
        "typical_p": 1.0,
        "top_n_sigma": -1.0,
        "xtc_probability": 0.0,
        "dry_multiplier": 0.0,
        "dynatemp_range": 0.0,
        "mirostat": 0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
    }


def _logprobs(name: str, items: list[Any], count: int) -> tuple[list[float], list[list[float]]]:
    try:
        own = [logprob(item["logprob"]) for item in items]
        tops = [largest(top["logprob"] for top in item["top_logprobs"]) for item in items]
    except (TypeError, KeyError, ValueError):
        raise RetryableError(f"{name}: expected log-probabilities, got {quote(items)}") from None
    unknown = count - len(own)
    if unknown < 0:
        own, tops, unknown = own[-count:], tops[-count:], 0
    return [math.nan] * unknown + own, [[]] * unknown + tops
