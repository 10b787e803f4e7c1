"""Endpoints: what they ask of servers, what they make of what comes, and which failures are waited for."""

import asyncio
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web
from scripted import EOS, Scripted, branch_text, serving

from autotts_gym.models import (
    GREEDY,
    Completion,
    ContextError,
    Endpoint,
    EndpointError,
    Patience,
    Request,
    RetryableError,
    Sampling,
    complete,
    open_endpoint,
)
from autotts_gym.models.llama_cpp import LlamaCpp

QUICK = Patience(retries=3, loading=3.0, first_wait=0.01, longest_wait=0.05)
KINDS = ("llama.cpp", "vllm", "openai")


def ask(server: Scripted, work: Callable[[Endpoint], Any], **options: Any) -> Any:
    """Do some work with the server's endpoint."""

    async def run() -> Any:
        async with await open_endpoint(server.address, patience=QUICK, **options) as endpoint:
            return await work(endpoint)

    return asyncio.run(run())


def prompt_of(kind: str, text: str) -> Any:
    return text if kind == "openai" else tuple(map(ord, text))


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_of_a_server_is_found(kind):
    with serving(kind=kind) as server:
        found = ask(server, lambda endpoint: endpoint.capabilities())
    assert found.server == kind
    assert found.model == "chars"
    assert found.ids == (kind != "openai")
    assert found.logprobs == 20
    assert found.context == (None if kind == "openai" else 4096)
    assert found.cached == (kind == "llama.cpp")
    text = " ".join(found.lines())
    assert ("token ids" in text) == (kind != "openai")
    assert ("text only" in text) == (kind == "openai")


@pytest.mark.parametrize("kind", KINDS)
def test_a_branch_is_the_stream(kind):
    with serving(kind=kind) as server:
        request = Request(prompt_of(kind, "How many?"), 500, 5, Sampling(), top_logprobs=4)
        done: Completion = ask(server, lambda endpoint: complete(endpoint, request, QUICK))
    text = branch_text("How many?", 5)
    assert done.text == text
    assert done.finish == "stop"
    if kind == "openai":
        assert not done.ids
        assert len(done.ends) == len(text)
        assert done.total_tokens == len(text) + 1
    else:
        assert done.ids.tolist() == [*map(ord, text), EOS]
        assert len(done.ends) == len(text) + 1
    assert [text[a:b] for a, b in zip([0, *done.ends], done.ends, strict=False)] == [*text, *[""] * (kind != "openai")]
    assert len(done.logprobs) >= len(text)
    assert done.confidence[: len(text)].tolist() == pytest.approx([0.25] * len(text))


@pytest.mark.parametrize("kind", KINDS)
def test_all_sampling_parameters_are_sent(kind):
    sampling = Sampling(temperature=0.6, top_k=20, top_p=0.95, min_p=0.01, repeat_penalty=1.1)
    with serving(kind=kind) as server:
        request = Request(prompt_of(kind, "x"), 3, 9, sampling)
        ask(server, lambda endpoint: complete(endpoint, request, QUICK))
        body = server.asked[-1]
    sent = {"temperature": 0.6, "top_p": 0.95, "seed": 9}
    if kind == "llama.cpp":
        sent |= {"top_k": 20, "min_p": 0.01, "repeat_penalty": 1.1, "mirostat": 0, "dry_multiplier": 0.0}
    if kind == "vllm":
        sent |= {"top_k": 20, "min_p": 0.01, "repetition_penalty": 1.1, "n": 1, "return_token_ids": True}
    assert {name: body.get(name) for name in sent} == sent


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ["429", "500", "cut", "garbage", "error"])
def test_failures_that_pass_are_waited_for(kind, fault):
    with serving(kind=kind) as server:
        endpoint_asks = []

        async def work(endpoint: Endpoint) -> Completion:
            first = len(server.asked)
            server.fault = lambda number, prompt: fault if number < first + 2 else None
            request = Request(prompt_of(kind, "q"), 400, 1, Sampling())
            return await complete(endpoint, request, QUICK, notice=endpoint_asks.append)

        done = ask(server, work)
    assert done.text == branch_text("q", 1)
    assert len(endpoint_asks) == 2
    assert all("again in" in line for line in endpoint_asks)
    if fault in ("cut", "error"):
        assert done.lost_tokens == 10
    if fault == "429":
        assert all("0.1 s" in line for line in endpoint_asks)


def test_a_failure_that_stays_ends_the_work():
    with serving() as server:

        async def work(endpoint: Endpoint) -> None:
            server.fault = lambda number, prompt: "500"
            with pytest.raises(EndpointError, match=r"HTTP 500.*oops.*after 4 calls"):
                await complete(endpoint, Request((65,), 4, 1, GREEDY), QUICK)
            server.fault = lambda number, prompt: "400"
            before = len(server.asked)
            with pytest.raises(EndpointError, match="no such sampler"):
                await complete(endpoint, Request((65,), 4, 1, GREEDY), QUICK)
            assert len(server.asked) == before + 1

        ask(server, work)


def test_a_server_that_loads_is_waited_for_longer_than_retries():
    with serving() as server:

        async def work(endpoint: Endpoint) -> None:
            first, began = len(server.asked), time.monotonic()
            server.fault = lambda number, prompt: "loading" if number < first + 2 else None
            done = await complete(endpoint, Request((65,), 400, 1, GREEDY), Patience(retries=0, loading=20.0))
            assert done.finish == "stop"
            assert time.monotonic() - began < 15
            server.fault = lambda number, prompt: "loading"
            with pytest.raises(EndpointError, match="Loading model"):
                await complete(endpoint, Request((65,), 400, 1, GREEDY), Patience(retries=0, loading=0.5))

        ask(server, work)


def test_silence_ends_a_request():
    with serving() as server:

        async def work(endpoint: Endpoint) -> Completion:
            first = len(server.asked)
            server.fault = lambda number, prompt: "hang" if number == first else None
            return await complete(endpoint, Request((65,), 400, 1, GREEDY), QUICK)

        began = time.monotonic()
        assert ask(server, work, timeout=0.5).finish == "stop"
        assert time.monotonic() - began < 20


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_beyond_the_context_is_refused_as_such(kind):
    with serving(kind=kind, context=64) as server:
        request = Request(prompt_of(kind, "q" * 100), 10, 1, GREEDY)

        async def work(endpoint: Endpoint) -> None:
            with pytest.raises(ContextError, match="64"):
                await complete(endpoint, request, QUICK)

        ask(server, work)


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_may_be_ended_early(kind):
    with serving(kind=kind, delay=0.005) as server:

        async def work(endpoint: Endpoint) -> Completion:
            request = Request(prompt_of(kind, "q"), 4000, 1, GREEDY, counts=True)
            done = await complete(endpoint, request, QUICK, until=lambda text: "is" in text)
            await asyncio.sleep(0.3)
            return done

        done = ask(server, work)
        assert done.text == "Perhaps it is"
        assert done.finish == "cut"
        assert server.cancelled >= 1 or server.running == 0
        if kind == "llama.cpp":
            assert (done.prompt_tokens, done.cached_tokens) == (1, 0)


def test_wrong_usage_is_not_believed():
    with serving(kind="openai") as server:
        server.fault = lambda number, prompt: "usage"
        done = ask(server, lambda endpoint: complete(endpoint, Request("q", 400, 1, GREEDY), QUICK))
    assert done.prompt_tokens == -1
    assert len(done.ends) == len(done.text)


def test_a_server_without_ids_back_is_one_of_text():
    with serving(kind="vllm", ids=False) as server:
        found = ask(server, lambda endpoint: endpoint.capabilities())
    assert not found.ids
    assert found.server == "vllm"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("ftp://x", "expected http"),
        ("nonsense", "expected http"),
        ("http://[::1/v1", "expected http"),
        ("http://h:99999/v1", "expected http"),
        ("http://h:abc/v1", "expected http"),
        ("http://:80/v1", "expected http"),
        ("http://h/v1?x=1", "expected http"),
        (f"http://{'a' * 300}/v1", "expected an address"),
        ("local:/no/such/file.gguf", "expected a .gguf file, got none"),
        (f"local:{__file__}", "expected a .gguf file, got another"),
        ([], "at least one"),
    ],
)
def test_bad_names_of_endpoints(spec, message):
    with pytest.raises(EndpointError, match=message):
        asyncio.run(open_endpoint(spec, patience=QUICK))


def test_nobody_at_an_address():
    with serving() as server:
        address = server.address
    with pytest.raises(EndpointError, match=r"after 4 calls"):
        asyncio.run(open_endpoint(address, patience=QUICK))


class Telling(Scripted):
    """A server of text that refuses everybody, and says what came."""

    async def _models(self, request: web.Request) -> web.Response:
        seen = request.headers.get("Authorization", "")
        return web.json_response({"error": {"message": f"{'x' * 150} no such key: {seen}"}}, status=401)


@pytest.mark.parametrize(
    ("key", "user", "message"),
    [
        (" sk-SECRET\n", "", r"no such key: Bearer \*\*\*$"),
        ("", "me:SECRET@", r"no such key: Basic \*\*\*$"),
        ("sk-SECRET", "me:SECRET@", "expected a key or a user in the address, got both"),
        ("sk-\tSECRET", "", "expected a key of printable ASCII characters"),
        ("SECRÉT", "", "expected a key of printable ASCII characters"),
        ("", "SECRET:SECRET@[", "expected http"),
    ],
)
def test_keys_and_passwords_are_never_shown(monkeypatch, key, user, message):
    monkeypatch.setenv("AUTOTTS_API_KEY", key)
    with serving(Telling(kind="openai")) as server, pytest.raises(EndpointError, match=message) as caught:
        asyncio.run(open_endpoint(server.address.replace("//", f"//{user}"), patience=QUICK))
    assert not any(word in str(caught.value) for word in ("SECR", "U0VDUkVU", "OlNF"))


def test_a_user_in_an_address_is_sent():
    with serving(kind="openai") as server:
        address = server.address.replace("//", "//me:pass%40word@")

        async def run() -> tuple[str, dict[str, str]]:
            async with await open_endpoint(address, patience=QUICK) as endpoint:
                return endpoint.name, endpoint._connection._headers

        name, headers = asyncio.run(run())
    assert "pass" not in name
    assert headers == {"Authorization": "Basic bWU6cGFzc0B3b3Jk"}


@dataclass
class Odd(Scripted):
    """A server that answers a stream with something else, after its first requests."""

    body: bytes = b""
    form: str = "application/json"

    async def _answer(
        self, request: web.Request, body: dict[str, Any], prompt: str, fault: str | None
    ) -> web.StreamResponse:
        return web.Response(body=self.body, content_type=self.form)


@pytest.mark.parametrize("form", ["application/json", "text/event-stream"])
@pytest.mark.parametrize(
    ("error", "calls", "message"),
    [
        ({"message": "credits exhausted", "code": 402}, 1, "HTTP 402: credits exhausted"),
        ("busy", 4, "HTTP 500: busy"),
        (None, 4, "expected .*weather"),
    ],
)
def test_an_error_in_the_place_of_a_stream_is_told(form, error, calls, message):
    with serving(Odd(kind="openai", form=form)) as server:
        value = json.dumps({"error": error} if error else "weather").encode()
        server.body = value if form == "application/json" else b"data: " + value  # without the end of the line

        async def work(endpoint: Endpoint) -> None:
            with pytest.raises(EndpointError, match=message):
                await complete(endpoint, Request("q", 4, 1, GREEDY), QUICK)
            assert len(server.asked) == calls

        ask(server, work)


def test_an_odd_answer_while_the_model_is_watched_may_pass():
    class Busy(Scripted):
        async def _models(self, request: web.Request) -> web.Response:
            return web.json_response({"detail": "busy"}) if self.delay else await super()._models(request)

    with serving(Busy(kind="vllm")) as server:

        async def work(endpoint: Endpoint) -> None:
            server.delay = 1.0
            with pytest.raises(RetryableError, match="expected a list of models"):
                await endpoint.identity()

        ask(server, work)


def test_an_unknown_model_is_refused():
    with serving(kind="vllm") as server, pytest.raises(EndpointError, match=r"expected the model 'other', got chars"):
        asyncio.run(open_endpoint(server.address, model="other", patience=QUICK))


def test_a_fleet_spreads_requests_and_goes_on_without_one():
    with serving() as one, serving() as two:

        async def run() -> list[Completion]:
            async with await open_endpoint([one.address, two.address], patience=QUICK) as endpoint:
                found = await endpoint.capabilities()
                assert found.slots == 16
                asked = (len(one.asked), len(two.asked))
                first = await asyncio.gather(
                    *(complete(endpoint, Request((65,), 400, seed, GREEDY), QUICK) for seed in range(10))
                )
                assert len(one.asked) - asked[0] == len(two.asked) - asked[1] == 5
                place = first[0].place
                assert place is not None
                held = (one, two)[place[0]]
                before = len(held.asked)
                await complete(endpoint, Request((65,), 400, 1, GREEDY, place=place), QUICK)
                assert len(held.asked) == before + 1
                one.fault = lambda number, prompt: "500"
                asked = (len(one.asked), len(two.asked))
                rest = await asyncio.gather(
                    *(complete(endpoint, Request((65,), 400, seed, GREEDY), QUICK) for seed in range(10))
                )
                assert len(two.asked) - asked[1] >= 10
                return rest

        done = asyncio.run(run())
    assert [each.text for each in done] == [branch_text("A", seed) for seed in range(10)]


def test_a_fleet_of_two_models_is_none():
    with serving() as one, serving(model="other") as two:

        async def run() -> None:
            async with await open_endpoint([one.address, two.address], patience=QUICK) as endpoint:
                with pytest.raises(EndpointError, match="got another"):
                    await endpoint.capabilities()

        asyncio.run(run())


@dataclass
class Leaving(Scripted):
    """A server that may be away."""

    away: bool = True

    async def _props(self, request: web.Request) -> web.Response:
        return web.Response(status=503) if self.away else await super()._props(request)


def test_a_fleet_begins_without_one_that_is_away_and_takes_it_back():
    with serving() as one, serving(Leaving()) as two:
        lines: list[str] = []
        away = Patience(retries=1, first_wait=0.01)

        async def run() -> None:
            async with await open_endpoint([one.address, two.address], patience=away, notice=lines.append) as endpoint:
                assert "left out" in lines[-1]
                assert two.address.removesuffix("/v1") in lines[-1]
                assert (await endpoint.capabilities(away)).slots == 8
                before = await endpoint.identity()
                two.away = False
                assert await endpoint.identity() == before
                asked = len(two.asked)
                done = [complete(endpoint, Request((65,), 400, seed, GREEDY), QUICK) for seed in range(4)]
                await asyncio.gather(*done)
                assert len(two.asked) == asked + 2

        asyncio.run(run())


def test_a_fleet_of_nobody_or_of_a_wrong_address_closes_what_it_opened(monkeypatch):
    closed: list[str] = []
    close = LlamaCpp.close

    async def counted(self: LlamaCpp) -> None:
        closed.append(self.name)
        await close(self)

    monkeypatch.setattr(LlamaCpp, "close", counted)
    with serving() as one:
        with pytest.raises(EndpointError, match="expected http"):
            asyncio.run(open_endpoint([one.address, "nonsense"], patience=QUICK))
        assert closed == [one.address.removesuffix("/v1")]
        address = one.address
    with pytest.raises(EndpointError, match="after 4 calls"):
        asyncio.run(open_endpoint([address, address], patience=QUICK))


def test_patience_is_heeded_while_a_server_is_tried():
    with serving(kind="openai", fault=lambda number, prompt: "500") as server:
        lines: list[str] = []

        async def work(endpoint: Endpoint) -> None:
            with pytest.raises(EndpointError, match="HTTP 500"):
                await endpoint.capabilities(Patience(retries=1, first_wait=0.01), lines.append)

        ask(server, work)
        assert len(server.asked) == 2
        assert len(lines) == 1


def test_a_server_that_is_away_does_not_pass_for_one_of_few_logprobs():
    def fault(number: int, prompt: str) -> str | None:
        return "500" if server.asked[number].get("logprobs") == 20 else None

    with serving(kind="openai") as server:
        server.fault = fault

        async def work(endpoint: Endpoint) -> None:
            with pytest.raises(EndpointError, match="HTTP 500"):
                await endpoint.capabilities(QUICK)
            server.fault = lambda number, prompt: "400" if server.asked[number].get("logprobs") == 20 else None
            assert (await endpoint.capabilities(QUICK)).logprobs == 5

        ask(server, work)


@dataclass
class Bent(Scripted):
    """A server whose events a test bends."""

    bend: Callable[[dict[str, Any], dict[str, Any]], None] = lambda body, event: None

    def _piece(self, body: dict[str, Any], prompt: str, each: int, place: int) -> dict[str, Any]:
        event = super()._piece(body, prompt, each, place)
        self.bend(body, event)
        return event

    def _last(self, body: dict[str, Any], prompt: str, ids: list[int], finish: str, fault: Any) -> dict[str, Any]:
        event = super()._last(body, prompt, ids, finish, fault)
        self.bend(body, event)
        return event


def put(**values: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    """Replace values that an event has, or the first of its choices."""

    def bend(body: dict[str, Any], event: dict[str, Any]) -> None:
        for part in (event, *event.get("choices", [])):
            part.update({name: value for name, value in values.items() if name in part})

    return bend


@pytest.mark.parametrize(
    ("kind", "bend", "message"),
    [
        ("vllm", put(finish_reason=[]), "finish_reason: expected stop or length"),
        ("llama.cpp", put(stop_type=[]), "stop_type: expected one of"),
        ("vllm", put(token_ids=[2**40]), "expected text and token_ids"),
        ("vllm", put(token_ids=[True]), "expected text and token_ids"),
        ("llama.cpp", put(tokens=[2**40]), "expected tokens and content"),
        ("llama.cpp", put(tokens=[True]), "expected tokens and content"),
        ("llama.cpp", put(timings=[1]), None),
        ("llama.cpp", put(id_slot=10**30), None),
        ("openai", put(usage=[1]), None),
    ],
)
def test_values_that_cannot_be(kind, bend, message):
    with serving(Bent(kind=kind)) as server:

        async def work(endpoint: Endpoint) -> None:
            server.bend = bend
            request = Request(prompt_of(kind, "q"), 400, 1, GREEDY)
            if message is None:
                assert (await complete(endpoint, request, QUICK)).text == branch_text("q", 1)
            else:
                with pytest.raises(EndpointError, match=message):
                    await complete(endpoint, request, QUICK)

        ask(server, work)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("value", "kept"), [(1000.0, None), (math.inf, None), (10**400, None), (1e-6, 0.0)])
def test_log_probabilities_above_zero(kind, value, kept):
    def bend(body: dict[str, Any], event: dict[str, Any]) -> None:
        for choice in event.get("choices", []):
            if "logprobs" in choice:
                choice["logprobs"] = {"token_logprobs": [value], "top_logprobs": [{"a": value}]}
        if "completion_probabilities" in event:
            event["completion_probabilities"] = [{"logprob": value, "top_logprobs": [{"logprob": value}]}]

    with serving(Bent(kind=kind)) as server:

        async def work(endpoint: Endpoint) -> Completion:
            server.bend = bend
            return await complete(endpoint, Request(prompt_of(kind, "q"), 4, 1, GREEDY, top_logprobs=1), QUICK)

        done = ask(server, work)
    assert list(done.logprobs) == ([] if kept is None else [kept] * 4)


@dataclass
class Deaf(Scripted):
    """A server that does not heed the most tokens."""

    async def _answer(
        self, request: web.Request, body: dict[str, Any], prompt: str, fault: str | None
    ) -> web.StreamResponse:
        name = "n_predict" if self.kind == "llama.cpp" else "max_tokens"
        return await super()._answer(request, body | {name: 1000}, prompt, fault)


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_beyond_the_most_are_not_kept(kind):
    with serving(Deaf(kind=kind)) as server:

        async def work(endpoint: Endpoint) -> None:
            done = await complete(endpoint, Request(prompt_of(kind, "q"), 7, 1, GREEDY), QUICK)
            assert (done.finish, done.text) == ("length", branch_text("q", 1)[:7])
            assert len(done.ends) == 7
            request = Request(prompt_of(kind, "q"), 7, 1, GREEDY, whole=True)
            if kind != "openai":  # whose pieces may be of any number of tokens
                with pytest.raises(EndpointError, match="expected at most 7 tokens, got"):
                    await complete(endpoint, request, QUICK)

        ask(server, work)


@dataclass
class Forgetful(Scripted):
    """A llama.cpp that leaves ids out of every stream after some tokens, and is silent before a long whole answer."""

    after: int = 6

    def _piece(self, body: dict[str, Any], prompt: str, each: int, place: int) -> dict[str, Any]:
        event = super()._piece(body, prompt, each, place)
        if self.after and place == self.after:
            event["tokens_predicted"] += 1
        return event

    async def _answer(
        self, request: web.Request, body: dict[str, Any], prompt: str, fault: str | None
    ) -> web.StreamResponse:
        if not body["stream"]:
            await asyncio.sleep(0.002 * body["n_predict"])
        return await super()._answer(request, body, prompt, fault)


@pytest.mark.parametrize("resume", [False, True])
def test_ids_that_a_stream_leaves_out_are_asked_for_in_a_short_piece(resume):
    texts = []
    for _ in range(2):
        with serving(Forgetful()) as server:
            lost: list[int] = []
            came: list[int] = []

            async def work(
                endpoint: Endpoint, server: Forgetful = server, lost: list[int] = lost, came: list[int] = came
            ) -> Completion:
                request = Request(tuple(map(ord, "q")), 300, 1, Sampling(), top_logprobs=4)
                options = {"resume": resume, "on_lost": lost.append, "on_tokens": came.append}
                return await complete(endpoint, request, Patience(retries=0), **options)

            done = ask(server, work, timeout=0.4)
        assert done.finish == "length"
        assert done.ids.tolist() == [*map(ord, done.text)]
        assert len(done.ends) == len(done.logprobs) == len(done.ids) == done.total_tokens == 300
        assert sum(came) == 300 + sum(lost)  # what is left out was generated, too
        assert [body["stream"] for body in server.asked] == [True, False] * 8
        assert all(body["n_predict"] <= 32 for body in server.asked if not body["stream"])
        assert all(body["n_predict"] + len(body["prompt"]) <= 301 for body in server.asked)
        assert lost == [2] * 8
        assert done.lost_tokens == 16
        texts.append(done.text)
    assert texts[0] == texts[1]
