"""Models behind HTTP, end to end: the official clients against a server on this machine that speaks their protocols."""

import gzip
import json
import subprocess
import sys
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from asking import files, recorded, request
from attacks import ATTACK
from model_server import CLOSE, CUT, Answer, Anthropic, OpenAI, model_server, refusal, streamed

from agents.explorer.proposers.anthropic_api import AnthropicProposer
from agents.explorer.proposers.base import ProposerError, Usage
from agents.explorer.proposers.endpoint import MAX_STREAM_BYTES, TEMPLATE_TOKENS
from agents.explorer.proposers.openai_api import OpenAIProposer
from agents.explorer.proposers.replies import MAX_REPLY_BYTES, extract_program
from agents.explorer.proposers.retry import RateLimit
from autotts_gym.errors import AutottsError

KEY = "sk-secret-0123456789"
CLASSES = {OpenAI: OpenAIProposer, Anthropic: AnthropicProposer}
PROTOCOLS = [pytest.param(OpenAI, id="openai"), pytest.param(Anthropic, id="anthropic")]
REPORTED = Usage(1, 1000, 200, 300)
RECORDED = recorded("momentum")

both = pytest.mark.parametrize("protocol", PROTOCOLS)


@pytest.fixture
def server():
    with model_server() as running:
        yield running


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("BASE_URL", "AUTH_TOKEN"):
        monkeypatch.delenv(f"OPENAI_{name}", raising=False)
        monkeypatch.delenv(f"ANTHROPIC_{name}", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)


def proposer(protocol, server, **options):
    options = {"first_wait": 0.01, "max_tokens": 500, "timeout": 30.0, **options}
    return CLASSES[protocol]("test-model", base_url=server.url + protocol.prefix, **options)


def ask(protocol, server, folder, script, **options):
    """Propose with a scripted server; returns the proposal and what was shown."""
    server.script[:] = script
    shown = []
    proposal = proposer(protocol, server, **options).propose(request(folder), shown.append)
    assert server.script == [], "expected as many requests as are scripted"
    return proposal, "".join(shown)


def fail(protocol, server, folder, script, **options):
    """Propose in vain; returns the error."""
    server.script[:] = script
    with pytest.raises(ProposerError) as caught:
        proposer(protocol, server, **options).propose(request(folder), lambda _: None)
    assert server.script == [], "expected as many requests as are scripted"
    assert KEY not in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


@both
def test_a_recorded_reply_streams_in_and_its_program_is_found(protocol, server, tmp_path):
    proposal, shown = ask(protocol, server, tmp_path, [streamed(protocol, RECORDED)])
    assert proposal.reply == RECORDED == shown
    assert proposal.source == extract_program(RECORDED) != ""
    assert proposal.usage == REPORTED
    assert proposal.model == "test-model"
    (received,) = server.received
    assert received.path == protocol.path
    assert received.body["messages"] == [{"role": "user", "content": "Write a controller."}]
    assert received.body["stream"] is True
    assert received.body["max_tokens"] == 500
    assert "temperature" not in received.body


@both
def test_text_is_shown_as_it_arrives(protocol, server, tmp_path):
    first = threading.Event()
    server.script[:] = [Answer(parts=[*protocol.start(), *protocol.text("early"), 20.0, *protocol.end()])]
    asking = threading.Thread(
        target=lambda: proposer(protocol, server).propose(request(tmp_path), lambda text: first.set())
    )
    asking.start()
    assert first.wait(15), "expected text before the end of the stream"
    assert asking.is_alive()
    server.closing.set()
    asking.join(15)
    assert not asking.is_alive()


@both
def test_options_go_into_the_request(protocol, server, tmp_path):
    ask(protocol, server, tmp_path, [streamed(protocol, "x")], temperature=0.5, extra_body={"top_k": 5})
    assert server.received[0].body["temperature"] == 0.5
    assert server.received[0].body["top_k"] == 5


def test_the_seed_goes_to_servers_that_take_one(server, tmp_path):
    ask(OpenAI, server, tmp_path, [streamed(OpenAI, "x")], seeded=True)
    ask(OpenAI, server, tmp_path, [streamed(OpenAI, "x")])
    assert server.received[0].body["seed"] == 3
    assert "seed" not in server.received[1].body


def test_the_key_comes_from_the_variable_it_should(server, tmp_path, monkeypatch):
    ask(OpenAI, server, tmp_path, [streamed(OpenAI, "x")])
    ask(Anthropic, server, tmp_path, [streamed(Anthropic, "x")])
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "token-1")
    ask(Anthropic, server, tmp_path, [streamed(Anthropic, "x")])
    monkeypatch.setenv("OTHER_KEY", "other-1")
    ask(OpenAI, server, tmp_path, [streamed(OpenAI, "x")], key_variable="OTHER_KEY")
    keys = ["\n".join(each.headers.values()) for each in server.received]  # each client has a header of its own
    for sent, key in zip(keys, [KEY, KEY, "token-1", "other-1"], strict=True):
        assert key in sent
        assert sum(sent.count(other) for other in (KEY, "token-1", "other-1")) == 1


def test_what_a_model_thinks_is_shown_and_is_no_part_of_the_reply(server, tmp_path):
    thought = {"type": "thinking_delta", "thinking": "hmm "}
    parts = [*Anthropic.start(), Anthropic.event("content_block_delta", index=0, delta=thought)]
    proposal, shown = ask(Anthropic, server, tmp_path, [Answer(parts=[*parts, *Anthropic.text("x"), *Anthropic.end()])])
    assert (proposal.reply, shown) == ("x", "hmm x")
    for name in ("reasoning_content", "reasoning"):
        parts = [*OpenAI.start(), OpenAI.event({name: "hmm "}), *OpenAI.text("x"), *OpenAI.end()]
        proposal, shown = ask(OpenAI, server, tmp_path, [Answer(parts=parts)])
        assert (proposal.reply, shown) == ("x", "hmm x")


def message(protocol, text, **more):
    """A whole message, as servers answer that do not stream."""
    if protocol is OpenAI:
        usage = {"prompt_tokens": 1000, "completion_tokens": 300, "prompt_tokens_details": {"cached_tokens": 200}}
        choices = [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]
        return {"object": "chat.completion", "choices": choices, "usage": usage, **more}
    usage = {"input_tokens": 800, "cache_read_input_tokens": 200, "output_tokens": 300}
    content = [{"type": "text", "text": text}]
    return {"type": "message", "content": content, "stop_reason": "end_turn", "usage": usage, **more}


def plain_answer(body, kind="application/json"):
    data = json.dumps(body).encode()
    return Answer(headers={"Content-Type": kind}, parts=[data[i : i + 50] for i in range(0, len(data), 50)])


@both
@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
def test_a_server_that_ignores_streaming_is_read_as_it_answers(protocol, kind, server, tmp_path):
    proposal, shown = ask(protocol, server, tmp_path, [plain_answer(message(protocol, RECORDED), kind)])
    assert proposal.reply == RECORDED == shown
    assert proposal.usage == REPORTED
    assert proposal.usage.assumed == 0


@both
def test_a_whole_message_without_usage_is_counted_at_the_bound(protocol, server, tmp_path):
    proposal, _ = ask(protocol, server, tmp_path, [plain_answer(message(protocol, "x", usage=None))])
    assert proposal.usage == Usage(1, len("Write a controller.") + TEMPLATE_TOKENS, 0, 500)
    assert proposal.usage.assumed == 1


@both
def test_a_whole_message_that_is_an_error_or_cut_off_is_none(protocol, server, tmp_path):
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": "too long"}}
    assert "too long" in str(fail(protocol, server, tmp_path, [plain_answer(error)]))
    cut = plain_answer(message(protocol, "x" * 500))
    cut.parts = [*cut.parts[:3], CUT]
    failed = fail(protocol, server, tmp_path, [cut], paid_attempts=1)
    assert "charged at the bound, as no usage was reported" in str(failed)
    assert failed.usage.assumed == 1


@both
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_stream_may_be_cut_anywhere_end_its_lines_otherwise_and_hold_comments(protocol, size, server, tmp_path):
    text = RECORDED[:300] + " Größe € 漢字 \u2028 \U0001f642"
    data = b": keep-alive\r\n\r\n".join([*protocol.start(), *protocol.text(text), *protocol.end()])
    data = data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n").replace(b"data: [DONE]\r\n\r\n", b"")
    parts = [data[i : i + size] for i in range(0, len(data), size)]
    proposal, _ = ask(protocol, server, tmp_path, [Answer(parts=parts)])
    assert proposal.reply == text
    assert proposal.usage == REPORTED


def test_a_stream_may_end_by_done_alone(server, tmp_path):
    proposal, _ = ask(OpenAI, server, tmp_path, [Answer(parts=[*OpenAI.text("x"), b"data: [DONE]\n\n", CUT])])
    assert proposal.reply == "x"


def test_a_reply_that_broke_off_is_charged_what_was_reported_of_it(server, tmp_path):
    usage = {"prompt_tokens": 11, "completion_tokens": 5}
    cut = Answer(parts=[*OpenAI.start(), *OpenAI.text("half"), OpenAI.event(None, usage=usage), CUT])
    error = fail(OpenAI, server, tmp_path, [cut], paid_attempts=1)
    assert error.usage == Usage(1, 11, 0, 5)
    assert error.usage.assumed == 0
    assert "charged as reported: 11 tokens read and 5 written" in str(error)
    body = json.dumps({"error": {"message": "gone"}, "usage": usage}).encode()
    error = fail(OpenAI, server, tmp_path, [Answer(504, {}, [body])], retries=0)
    assert error.usage == Usage(1, 11, 0, 5)


class Page(BaseHTTPRequestHandler):
    """Lists models; asking for anything else is a mistake."""

    models = ("clay-1",)

    def do_GET(self):
        if self.path.endswith("/models"):
            body = {"data": [{"id": name} for name in self.models]}
        else:
            body = {"error": {"code": "not_here", "message": "Not Found"}}
        data = json.dumps(body).encode()
        self.send_response(200 if "data" in body else 404)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        """Keep quiet."""


@both
def test_a_model_that_the_endpoint_does_not_list_is_refused_before_a_run(protocol):
    http = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        url = f"http://127.0.0.1:{http.server_port}{protocol.prefix}"
        CLASSES[protocol]("clay-1", base_url=url).verify()
        CLASSES[protocol]("loam", base_url=url, check=False).verify()
        with pytest.raises(AutottsError, match=r"has no model 'loam'; it has clay-1\. .*--option check=false"):
            CLASSES[protocol]("loam", base_url=url).verify()
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
    with pytest.raises(AutottsError, match=r"127\.0\.0\.1:\d+ cannot be reached: .*; check base_url"):
        CLASSES[protocol]("clay-1", base_url=url).verify()


@both
def test_an_endpoint_that_lists_nothing_says_nothing(protocol, server):
    proposer(protocol, server).verify()


def test_openrouter_reports_the_cost(server, tmp_path):
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "cost": 0.0125}
    parts = [*OpenAI.text("x"), OpenAI.event({}, "stop"), OpenAI.event(None, usage=usage), b"data: [DONE]\n\n"]
    proposal, _ = ask(OpenAI, server, tmp_path, [Answer(parts=parts)])
    assert proposal.usage == Usage(1, 10, 0, 5, 0.0125)


@both
@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_failures_that_pass_are_repeated_and_cost_nothing(protocol, status, server, tmp_path):
    script = [refusal(status, "try later"), streamed(protocol, RECORDED)]
    proposal, shown = ask(protocol, server, tmp_path, script)
    assert proposal.usage == REPORTED
    assert f"HTTP {status}: try later; again in" in shown


@both
@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 413, 422])
def test_failures_that_stay_are_not_repeated(protocol, status, server, tmp_path):
    error = fail(protocol, server, tmp_path, [refusal(status, "no good", Location="http://127.0.0.1:1/")])
    assert str(error) == f"{CLASSES[protocol].kind}:test-model: HTTP {status}: no good"
    assert error.usage == Usage()
    assert len(server.received) == 1, "expected no redirect to be followed"


@both
def test_a_spent_quota_is_not_repeated(protocol, server, tmp_path):
    fail(protocol, server, tmp_path, [refusal(429, "You exceeded your quota", "insufficient_quota")])


@both
def test_a_server_may_say_that_repeating_is_no_use(protocol, server, tmp_path):
    fail(protocol, server, tmp_path, [refusal(503, "gone for good", x_should_retry="false")])


@both
def test_retry_after_is_honoured(protocol, server, tmp_path):
    script = [refusal(429, "slow down", Retry_After="0.3"), streamed(protocol, "x")]
    _, shown = ask(protocol, server, tmp_path, script)
    assert "slow down; again in 0.3 s" in shown


@both
def test_a_retry_after_past_the_timeout_is_not_waited_for(protocol, server, tmp_path):
    error = fail(protocol, server, tmp_path, [refusal(429, "slow down", Retry_After="3600")])
    assert "next call would be in 3600 s, past the timeout of 30 s" in str(error)


@both
@pytest.mark.parametrize("chunked", [True, False])
def test_a_stream_that_breaks_off_is_repeated_and_counted_at_its_bound(protocol, chunked, server, tmp_path):
    cut = Answer(parts=[*protocol.start(), *protocol.text("half a rep"), CUT], chunked=chunked)
    proposal, shown = ask(protocol, server, tmp_path, [cut, streamed(protocol, RECORDED)])
    read = len("Write a controller.") + TEMPLATE_TOKENS
    assert proposal.usage == Usage(2, 1000 + read, 200, 300 + 500)
    assert proposal.reply == RECORDED
    assert "broke off" in shown


@both
def test_streams_that_keep_breaking_off_stop_costing_money(protocol, server, tmp_path):
    cut = Answer(parts=[*protocol.start(), *protocol.text("half"), CUT])
    error = fail(protocol, server, tmp_path, [cut, cut])
    assert "not repeated, as 2 were paid" in str(error)
    assert error.usage == proposer(protocol, server).bound(request(tmp_path))


@both
def test_a_stream_that_ends_without_an_end_is_cut_off(protocol, server, tmp_path):
    short = Answer(parts=[*protocol.start(), *protocol.text(RECORDED)])
    closed = Answer(parts=[*protocol.start(), *protocol.text(RECORDED), CLOSE], chunked=False)
    assert "the reply broke off" in str(fail(protocol, server, tmp_path, [short, closed]))


@both
def test_a_complete_reply_is_kept_though_its_usage_never_came(protocol, server, tmp_path):
    end = protocol.end(written=None) if protocol is Anthropic else protocol.end()[:1]
    parts = [*protocol.start(), *protocol.text(RECORDED), *end[:2], CUT]
    if protocol is Anthropic:
        parts[0] = Anthropic.start(read=None)[0]
    proposal, shown = ask(protocol, server, tmp_path, [Answer(parts=parts)])
    assert proposal.source == extract_program(RECORDED)
    assert proposal.usage == Usage(1, len("Write a controller.") + TEMPLATE_TOKENS, 0, 500)
    assert "counted at the bound" in shown


def test_a_server_that_reports_no_usage_is_counted_at_the_bound(server, tmp_path):
    parts = [*OpenAI.text(RECORDED), OpenAI.event({}, "stop"), b"data: [DONE]\n\n"]
    proposal, shown = ask(OpenAI, server, tmp_path, [Answer(parts=parts)])
    assert proposal.usage == Usage(1, len("Write a controller.") + TEMPLATE_TOKENS, 0, 500)
    assert "did not say what was used" in shown


@both
@pytest.mark.parametrize("lie", [-1000, 1.5, "many", float("nan")])
def test_a_usage_that_is_none_is_not_believed(protocol, lie, server, tmp_path):
    parts = [*protocol.start(), *protocol.text("x"), *protocol.end(written=lie)]
    proposal, _ = ask(protocol, server, tmp_path, [Answer(parts=parts)])
    assert proposal.usage == Usage(1, len("Write a controller.") + TEMPLATE_TOKENS, 0, 500)


def test_more_cannot_come_from_a_cache_than_was_read(server, tmp_path):
    parts = [*OpenAI.text("x"), *OpenAI.end(read=10, cached=10**9)]
    proposal, _ = ask(OpenAI, server, tmp_path, [Answer(parts=parts)])
    assert proposal.usage == Usage(1, 10, 10, 300)


@both
@pytest.mark.parametrize(
    "nonsense",
    [
        b"event: message_start\ndata: {not json\n\n",
        b"event: message_start\ndata: [1, 2]\n\n",
        b"event: message_start\ndata: " + b"[" * 100_000 + b"\n\n",
        b'event: content_block_delta\ndata: {"type": "content_block_delta", "choices": [{"delta": 7}], "delta": 7}\n\n',
        b'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 0, "choices": [{"delta": '
        b'{"content": {"a": 1}}}], "delta": {"type": "text_delta", "text": {"a": 1}}}\n\n',
        b"event: message_start\ndata: \xff\xfe{}\n\n",
        b"<html>Bad gateway</html>",
        b"",
    ],
    ids=["json", "list", "deep", "delta", "text", "utf-8", "html", "empty"],
)
def test_a_malformed_reply_is_repeated_and_counted(protocol, nonsense, server, tmp_path):
    parts = [nonsense] if nonsense else []
    proposal, _ = ask(protocol, server, tmp_path, [Answer(parts=parts), streamed(protocol, RECORDED)])
    assert proposal.reply == RECORDED
    assert proposal.usage.calls == 2


@both
def test_an_error_in_the_stream_is_repeated_if_it_may_pass(protocol, server, tmp_path):
    broken = Answer(parts=[*protocol.start(), protocol.error("overloaded_error", "Overloaded")])
    proposal, shown = ask(protocol, server, tmp_path, [broken, streamed(protocol, "x")])
    assert proposal.usage.calls == 2
    assert "Overloaded" in shown
    hopeless = Answer(parts=[*protocol.start(), protocol.error("invalid_request_error", "too long")])
    assert fail(protocol, server, tmp_path, [hopeless]).usage.calls == 1


@both
def test_a_silent_stream_is_given_up(protocol, server, tmp_path):
    stalled = Answer(parts=[*protocol.start(), *protocol.text("well"), 60.0])
    error = fail(protocol, server, tmp_path, [stalled], read_timeout=0.2, paid_attempts=1)
    assert "for 0.2 s" in str(error)
    assert error.usage.calls == 1


@both
def test_a_stream_that_drips_for_ever_ends_at_the_timeout(protocol, server, tmp_path):
    drip = Answer(parts=[*protocol.start(), *[part for _ in range(600) for part in (b": still there\n\n", 0.05)]])
    error = fail(protocol, server, tmp_path, [drip], timeout=0.5)
    assert "timed out in the middle of the reply" in str(error)
    assert error.usage.calls == 1


@both
def test_a_gigantic_reply_is_refused(protocol, server, tmp_path):
    line = protocol.text("x" * 37)[0]
    huge = protocol.text("y" * 37)[0].replace(b"y" * 37, b"y" * (MAX_REPLY_BYTES + 1))
    assert len(line) < 1000
    error = fail(protocol, server, tmp_path, [Answer(parts=[*protocol.start(), huge])])
    assert f"expected a reply of at most {MAX_REPLY_BYTES} bytes, got more" in str(error)


@both
def test_a_response_without_end_is_refused_before_it_fills_memory(protocol, server, tmp_path):
    flood = [b"x" * (1 << 20)] * (MAX_STREAM_BYTES // (1 << 20) + 2)
    error = fail(protocol, server, tmp_path, [Answer(parts=[b"data: ", *flood])])
    assert "expected a response of at most" in str(error)


@both
def test_a_compressed_response_is_refused(protocol, server, tmp_path):
    bomb = gzip.compress(bytes(1 << 20))
    error = fail(protocol, server, tmp_path, [Answer(parts=[bomb], headers={"Content-Encoding": "gzip"})])
    assert "got a compressed one" in str(error)


@both
def test_a_reply_that_attacks_does_nothing(protocol, server, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("OWNED", str(tmp_path / "owned"))
    proposal, shown = ask(protocol, server, tmp_path, [streamed(protocol, ATTACK + KEY)])
    assert files(tmp_path) == {"home", "workspace"}
    assert "raise SystemExit" in proposal.source
    assert proposal.usage == REPORTED
    assert proposal.meta == {}
    assert KEY not in proposal.reply + proposal.source
    assert not set("\x1b\x9b\x07\r\u202e") & set(shown)
    proposal.reply.encode()
    proposal.source.encode()


@both
def test_a_server_that_echoes_the_key_does_not_get_it_into_a_message(protocol, server, tmp_path):
    error = fail(protocol, server, tmp_path, [refusal(401, f"Incorrect API key provided: {KEY}. \x1b[31m\nBye")])
    assert "provided: ***. [31m Bye" in str(error)
    assert KEY not in repr(proposer(protocol, server))


@both
def test_a_server_that_is_not_there_is_named(protocol, server, tmp_path):
    made = proposer(protocol, server, retries=1)
    server.stop()
    with pytest.raises(ProposerError, match=r"127\.0\.0\.1:\d+ cannot be reached: .* \(after 2 calls\)") as caught:
        made.propose(request(tmp_path), lambda _: None)
    assert caught.value.usage == Usage()


@both
def test_the_bound_covers_every_call_that_may_be_paid(protocol, server, tmp_path):
    made = proposer(protocol, server, paid_attempts=3)
    prompt = "Größe €" * 100
    bound = made.bound(request(tmp_path, prompt))
    assert bound == Usage(3, 3 * (len(prompt.encode()) + TEMPLATE_TOKENS), 0, 1500)


@both
def test_requests_are_spaced(protocol, server, tmp_path, monkeypatch):
    waits = []
    patient = partial(RateLimit, sleep=waits.append)
    monkeypatch.setattr("agents.explorer.proposers.endpoint.RateLimit", patient)
    server.script[:] = [streamed(protocol, "x")] * 3
    made = proposer(protocol, server, requests_per_minute=0.5)
    for _ in range(3):
        made.propose(request(tmp_path), lambda _: None)
    assert len(waits) == 2
    assert 60 < waits[0] <= 120 < waits[1] <= 240


@pytest.mark.parametrize("family", [OpenAIProposer, AnthropicProposer])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": 0}, "max_tokens: expected a whole number from 1 to .*, got 0"),
        ({"max_tokens": "many"}, "max_tokens: expected a whole number"),
        ({"retries": -1}, "retries: expected a whole number from 0"),
        ({"timeout": float("nan")}, "timeout: expected a number above 0"),
        ({"temperature": "hot"}, "temperature: expected a number of at least 0"),
        ({"requests_per_minute": 0}, "requests_per_minute: expected a number above 0"),
        ({"base_url": "localhost:8000"}, "base_url: expected http"),
        ({"base_url": "http://[::1"}, "base_url: expected http"),
        ({"extra_body": 3}, "extra_body: expected an object"),
    ],
)
def test_wrong_options_are_named(family, options, message):
    with pytest.raises(AutottsError, match=message):
        family("m", **options)


def test_a_missing_key_is_named(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    with pytest.raises(AutottsError, match=r"expected a key in \$OPENAI_API_KEY, got none"):
        OpenAIProposer("m")
    with pytest.raises(AutottsError, match=r"expected a key in \$ANTHROPIC_API_KEY, got none"):
        AnthropicProposer("m")
    assert OpenAIProposer("m", base_url="http://127.0.0.1:1/v1").name == "openai:m"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-with\nnewline")
    with pytest.raises(AutottsError, match="expected a key of plain characters") as caught:
        OpenAIProposer("m")
    assert "newline" not in str(caught.value)


def test_openais_own_endpoint_gets_the_name_of_the_limit_that_it_knows(server, tmp_path, monkeypatch):
    monkeypatch.setattr("agents.explorer.proposers.openai_api.OPENAI_URL", server.url + "/v1")
    ask(OpenAI, server, tmp_path, [streamed(OpenAI, "x")])
    assert server.received[0].body["max_completion_tokens"] == 500
    assert "max_tokens" not in server.received[0].body


@pytest.mark.parametrize(("module", "package"), [("openai_api", "openai"), ("anthropic_api", "anthropic")])
def test_a_missing_package_is_one_line_that_says_what_to_install(module, package):
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from autotts_gym.errors import AutottsError\n"
        f"try: import agents.explorer.proposers.{module}\n"
        "except AutottsError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"the package {package}, which is not installed: pip install 'autotts_gym[explorer]'" in done.stdout
    assert done.stdout.count("\n") == 1
