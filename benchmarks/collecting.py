"""What the client of ``autotts collect`` adds: streams against a server on loopback that answers at once.

The server sends events that were made before, in a process of its own, as fast as the client reads them. Time is the
processor time of the client's process, which reads, checks and keeps every token and its log-probabilities.
"""

import argparse
import asyncio
import json
import multiprocessing
import resource
import time
from multiprocessing.connection import Connection as Pipe

from autotts_gym.models import GREEDY, Request, complete, open_endpoint

TOP = 20


def _events(kind: str, tokens: int, start: int) -> bytes:
    """A stream of so many tokens."""
    lines = []
    for place in range(tokens):
        if kind == "llama.cpp":
            tops = [{"id": k, "token": " x", "bytes": [32, 120], "logprob": -0.1 * (k + 1)} for k in range(TOP)]
            own = {"id": 7, "token": " x", "bytes": [32, 120], "logprob": -0.1, "top_logprobs": tops}
            event: object = {
                "index": 0,
                "content": " x",
                "tokens": [7],
                "stop": False,
                "tokens_predicted": start + place + 1,
                "completion_probabilities": [own],
            }
        else:
            tops_by_token = {f"t{k}": -0.1 * (k + 1) for k in range(TOP)}
            logprobs = {"tokens": [" x"], "token_logprobs": [-0.1], "top_logprobs": [tops_by_token]}
            choice = {"index": 0, "text": " x", "token_ids": [7], "logprobs": logprobs, "finish_reason": None}
            event = {"id": "cmpl", "object": "text_completion", "model": "m", "choices": [choice]}
        lines.append(b"data: " + json.dumps(event).encode() + b"\n\n")
    return b"".join(lines)


def _serve(kind: str, tokens: int, pipe: Pipe) -> None:
    """Answer every request with the same stream."""
    from aiohttp import web

    parts = [_events(kind, 1, place) for place in range(tokens)]
    if kind == "llama.cpp":
        timings = {"cache_n": 0, "prompt_n": 1}
        end: object = {
            "content": "",
            "tokens": [],
            "stop": True,
            "stop_type": "limit",
            "tokens_predicted": tokens,
            "timings": timings,
        }
        parts.append(b"data: " + json.dumps(end).encode() + b"\n\n")
    else:
        end = {"choices": [{"index": 0, "text": "", "token_ids": [], "finish_reason": "length"}]}
        parts.append(b"data: " + json.dumps(end).encode() + b"\n\ndata: [DONE]\n\n")

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        few = body.get("max_tokens", body.get("n_predict")) < tokens
        for part in parts[-2:] if few else parts:
            await response.write(part)
        return response

    async def props(request: web.Request) -> web.Response:
        return web.json_response({"default_generation_settings": {"n_ctx": 10**6}, "model_alias": "m"})

    async def models(request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 10**6}]})

    async def tokenize(request: web.Request) -> web.Response:
        return web.json_response({"tokens": [7], "version": "0"})

    async def whole(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if body.get("stream"):
            return await answer(request)
        return web.json_response({"choices": [{"index": 0, "text": " x", "token_ids": [7], "finish_reason": "stop"}]})

    async def main() -> None:
        app = web.Application()
        if kind == "llama.cpp":
            app.router.add_get("/props", props)
        app.router.add_get("/v1/models", models)
        app.router.add_get("/version", tokenize)
        app.router.add_post("/tokenize", tokenize)
        app.router.add_post("/completion", answer)
        app.router.add_post("/v1/completions", whole)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
        await site.start()
        pipe.send(runner.addresses[0][1])
        while not pipe.poll():
            await asyncio.sleep(0.1)
        await runner.cleanup()

    asyncio.run(main())


async def _ask(address: str, streams: int, requests: int, tokens: int) -> tuple[int, float, float]:
    """Keep so many streams running until all requests are answered; tokens, processor time and time."""
    async with await open_endpoint(address) as endpoint:
        left = iter(range(requests))
        came = 0

        async def work() -> None:
            nonlocal came
            for seed in left:
                done = await complete(endpoint, Request((1, 2, 3), tokens, seed, GREEDY, top_logprobs=TOP))
                assert len(done.ids) == tokens
                came += tokens

        processor, began = time.process_time(), time.monotonic()
        await asyncio.gather(*(work() for _ in range(streams)))
        return came, time.process_time() - processor, time.monotonic() - began


def main() -> None:
    """Print what a token chunk costs the client, and what memory it takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 16, 256])
    parser.add_argument("--tokens", type=int, default=500, help="of each answer")
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    for kind in ("llama.cpp", "vllm"):
        here, there = context.Pipe()
        server = context.Process(target=_serve, args=(kind, arguments.tokens, there), daemon=True)
        server.start()
        address = f"http://127.0.0.1:{here.recv()}/v1"
        print(f"{kind}: answers of {arguments.tokens} tokens, {TOP} log-probabilities each")
        for streams in arguments.streams:
            requests = max(40, 2 * streams)
            count, processor, seconds = asyncio.run(_ask(address, streams, requests, arguments.tokens))
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                f"  {streams:4d} streams  {1e3 * processor / count:6.3f} ms of the processor a token, "
                f"{count / seconds:8,.0f} tokens/s with the server beside it, at most {memory:4.0f} MB so far"
            )
        here.send(None)
        server.join(10)


if __name__ == "__main__":
    main()
