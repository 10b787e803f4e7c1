"""A model server of tests, on loopback, with a model of its own: token ids are the numbers of characters.

A branch is a few sentences drawn by its seed and then ``\\boxed{…}``; after the probe suffix the model answers with
what it has written so far. It speaks as llama.cpp, as vLLM, or as a server of text, and fails as a test asks.
"""

import asyncio
import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

SUFFIX = "\n\n**Final Answer**\n\\boxed{"
EOS = 0

Fault = Callable[[int, str], str | None]
"""From the number of a request for tokens, from 0, and its prompt's text, to what goes wrong; None: nothing."""


def branch_text(prompt: str, seed: int) -> str:
    """The branch that the model writes."""
    rng = random.Random(f"{prompt}\n{seed}")
    answer = 40 + rng.choice([0, 0, 0, 1, 2])
    sentences = [f"Perhaps it is {rng.choice([answer, 7])}. " for _ in range(rng.randint(1, 4))]
    return "".join(sentences) + f"So it is \\boxed{{{answer}}}."


def next_text(prompt: str, seed: int) -> str:
    """What the model writes after a prompt."""
    if prompt.endswith(SUFFIX):
        words = prompt[: -len(SUFFIX)].split("Perhaps it is ")
        return (words[-1].split(".")[0] if len(words) > 1 and "." in words[-1] else "?") + "} and more, and more"
    return branch_text(prompt, seed)


@dataclass
class Scripted:
    """A running server.

    Attributes:
        kind: "llama.cpp", "vllm" or "openai".
        address: http://127.0.0.1:port/v1.
        model: its name.
        context: tokens of prompt and answer together.
        fault: what goes wrong.
        asked: the bodies of all requests for tokens.
        cancelled: requests for tokens that the client closed.
        running: requests for tokens that are being answered, and the most at a time.
    """

    kind: str = "llama.cpp"
    address: str = ""
    model: str = "chars"
    context: int = 4096
    logprobs: bool = True
    ids: bool = True
    chat: bool = False
    delay: float = 0.0
    fault: Fault = lambda number, prompt: None
    asked: list[dict[str, Any]] = field(default_factory=list)
    cancelled: int = 0
    running: int = 0
    most_running: int = 0

    def app(self) -> web.Application:
        """The routes of the kind."""
        app = web.Application(client_max_size=1 << 26)
        app.router.add_get("/v1/models", self._models)
        if self.kind == "llama.cpp":
            app.router.add_get("/props", self._props)
            app.router.add_post("/tokenize", self._tokenize)
            app.router.add_post("/apply-template", self._template)
            app.router.add_post("/completion", self._completion)
        else:
            app.router.add_post("/v1/completions", self._completion)
        if self.kind == "vllm":
            app.router.add_get("/version", self._version)
            app.router.add_post("/tokenize", self._tokenize)
            app.router.add_post("/detokenize", self._detokenize)
        return app

    async def _props(self, request: web.Request) -> web.Response:
        settings = {"n_ctx": self.context, "params": {}}
        return web.json_response(
            {
                "default_generation_settings": settings,
                "total_slots": 8,
                "model_alias": self.model,
                "model_path": f"/models/{self.model}.gguf",
                "model_ftype": "F16",
                "build_info": "scripted",
                "chat_template": "{{ messages }}" if self.chat else "",
                "bos_token": "",
            }
        )

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "0.0.scripted"})

    async def _models(self, request: web.Request) -> web.Response:
        row: dict[str, Any] = {"id": self.model, "object": "model"}
        if self.kind == "vllm":
            row |= {"owned_by": "vllm", "max_model_len": self.context, "root": self.model}
        return web.json_response({"object": "list", "data": [row]})

    async def _tokenize(self, request: web.Request) -> web.Response:
        body = await request.json()
        text = body.get("content", body.get("prompt"))
        if text is None and not self.chat:
            return web.json_response({"error": {"message": "no chat template"}}, status=400)
        if text is None:
            text = "".join(f"<{m['role']}>{m['content']}" for m in body["messages"]) + "<assistant>"
        return web.json_response({"tokens": [ord(each) for each in text]})

    async def _detokenize(self, request: web.Request) -> web.Response:
        body = await request.json()
        return web.json_response({"prompt": "".join(map(chr, body["tokens"]))})

    async def _template(self, request: web.Request) -> web.Response:
        body = await request.json()
        text = "".join(f"<{m['role']}>{m['content']}" for m in body["messages"])
        thinking = body.get("chat_template_kwargs", {}).get("enable_thinking")
        return web.json_response({"prompt": text + "<assistant>" + ("<think>\n" if thinking else "")})

    async def _completion(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        number = len(self.asked)
        self.asked.append(body)
        given = body["prompt"]
        prompt = given if isinstance(given, str) else "".join(map(chr, given))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            return await self._answer(request, body, prompt, self.fault(number, prompt))
        except ConnectionResetError:
            self.cancelled += 1
            raise asyncio.CancelledError from None  # the client has gone, which is no news
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    async def _answer(
        self, request: web.Request, body: dict[str, Any], prompt: str, fault: str | None
    ) -> web.StreamResponse:
        most = body.get("n_predict", body.get("max_tokens"))
        if fault == "429":
            return web.json_response({"error": {"message": "slow down"}}, status=429, headers={"Retry-After": "0.1"})
        if fault == "loading":
            return web.json_response({"error": {"message": "Loading model", "code": 503}}, status=503)
        if fault == "500":
            return web.Response(text="<html>oops</html>", status=500)
        if fault == "400":
            return web.json_response({"error": {"message": "no such sampler", "type": "BadRequest"}}, status=400)
        if (len(prompt) + most > self.context and self.kind != "llama.cpp") or len(prompt) >= self.context:
            message = f"This model's maximum context length is {self.context} tokens."
            return web.json_response({"error": {"message": message, "type": "invalid_request_error"}}, status=400)
        if fault == "hang":
            await asyncio.sleep(60)
        if fault == "garbage":
            return web.Response(text="no stream at all", content_type="text/event-stream")
        text = next_text(prompt, body.get("seed", 0))
        ids = [*(ord(each) for each in text), EOS][:most]
        finish = "stop" if ids[-1:] == [EOS] else "length"
        if not body.get("stream"):
            return web.json_response(self._whole(body, prompt, ids, finish))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for place, each in enumerate(ids):
            if fault in ("cut", "error") and place == min(5, len(ids) - 1):
                if fault == "error":
                    await response.write(b'data: {"error": {"message": "out of memory", "code": 500}}\n\n')
                    return response
                await response.write('data: {"content": "é'.encode()[:-1])  # in the middle of a character
                assert request.transport is not None
                request.transport.close()
                return response
            if self.delay:
                await asyncio.sleep(self.delay)
            await response.write(_event(self._piece(body, prompt, each, place)))
        await response.write(_event(self._last(body, prompt, ids, finish, fault)))
        if self.kind != "llama.cpp":
            await response.write(b"data: [DONE]\n\n")
        return response

    def _piece(self, body: dict[str, Any], prompt: str, each: int, place: int) -> dict[str, Any]:
        text = "" if each == EOS else chr(each)
        if self.kind == "llama.cpp":
            event: dict[str, Any] = {"content": text, "tokens": [each], "stop": False, "tokens_predicted": place + 1}
            if body.get("n_probs"):
                tops = [{"id": each, "logprob": -0.1 * (k + 1)} for k in range(body["n_probs"])]
                event["completion_probabilities"] = [{"id": each, "logprob": -0.1, "top_logprobs": tops}]
            if body.get("timings_per_token"):
                event["timings"] = {"cache_n": len(prompt) - 1, "prompt_n": 1}
            return event
        choice: dict[str, Any] = {"index": 0, "text": text, "finish_reason": None}
        if self.kind == "vllm" and self.ids and body.get("return_token_ids"):
            choice["token_ids"] = [each]
        if body.get("logprobs") and self.logprobs:
            tops = {f"t{k}": -0.1 * (k + 1) for k in range(body["logprobs"])}
            choice["logprobs"] = {"tokens": [text], "token_logprobs": [-0.1], "top_logprobs": [tops]}
        return {"id": "cmpl", "model": self.model, "choices": [choice]}

    def _last(
        self, body: dict[str, Any], prompt: str, ids: list[int], finish: str, fault: str | None
    ) -> dict[str, Any]:
        if self.kind == "llama.cpp":
            return {
                "content": "",
                "tokens": [],
                "stop": True,
                "id_slot": max(body.get("id_slot", -1), 0),
                "stop_type": "eos" if finish == "stop" else "limit",
                "tokens_predicted": len(ids),
                "timings": {"cache_n": len(prompt) - 1, "prompt_n": 1},
            }
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(ids)}
        if fault == "usage":
            usage = {"prompt_tokens": -5, "completion_tokens": 10**9}
        return {"id": "cmpl", "choices": [{"index": 0, "text": "", "finish_reason": finish}], "usage": usage}

    def _whole(self, body: dict[str, Any], prompt: str, ids: list[int], finish: str) -> dict[str, Any]:
        last = self._last(body, prompt, ids, finish, None)
        text = "".join(chr(each) for each in ids if each != EOS)
        if self.kind == "llama.cpp":
            return last | {"content": text, "tokens": ids}
        choice: dict[str, Any] = {"index": 0, "text": text, "finish_reason": finish}
        if self.kind == "vllm" and self.ids and body.get("return_token_ids"):
            choice["token_ids"] = ids
        return last | {"choices": [choice]}


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


@contextmanager
def serving(server: Scripted | None = None, **options: Any) -> Iterator[Scripted]:
    """Run a server in a thread, and end it with the block."""
    server = server or Scripted(**options)
    ready, loop = threading.Event(), asyncio.new_event_loop()
    end = asyncio.Event()

    async def serve() -> None:
        runner = web.AppRunner(server.app(), handler_cancellation=True, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.address = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        ready.set()
        await end.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(10)
        loop.close()
