"""A model server on this machine that speaks the real protocols: OpenAI's chat completions and Anthropic's messages.

It answers request after request with what a test has scripted, byte for byte: streams of server-sent events in HTTP
chunks, statuses with headers, streams that stall, break off or are no protocol at all.
"""

import json
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CUT = object()
"""Breaks the connection off."""
CLOSE = object()
"""Ends the response by closing the connection, without an end of the stream."""

Part = bytes | float | object


@dataclass
class Answer:
    """What the server does with one request.

    Attributes:
        status: of the response.
        headers: beside those that the protocol wants.
        parts: bytes sent as one chunk each, seconds of silence, CUT or CLOSE.
        chunked: whether the stream is sent in chunks or ended by closing the connection.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    parts: Sequence[Part] = ()
    chunked: bool = True


@dataclass
class Received:
    """A request as it came."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that has gone is no news."""


class ModelServer:
    """Answers requests in the scripted order; one too many is answered with 418."""

    def __init__(self) -> None:
        self.script: list[Answer] = []
        self.received: list[Received] = []
        self.closing = threading.Event()
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with server._lock:
                    server.received.append(Received(self.path, dict(self.headers.items()), json.loads(body)))
                    answer = server.script.pop(0) if server.script else Answer(418)
                try:
                    server._send(self, answer)
                except OSError:  # the client has gone
                    self.close_connection = True

        self._http = _Quiet(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = False
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def _send(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        handler.send_response(answer.status)
        headers = {"Content-Type": "text/event-stream" if answer.status == 200 else "application/json"}
        for name, value in {**headers, **answer.headers}.items():
            handler.send_header(name, value)
        handler.send_header(*(("Transfer-Encoding", "chunked") if answer.chunked else ("Connection", "close")))
        handler.end_headers()
        for part in answer.parts:
            if part is CUT or part is CLOSE:
                handler.close_connection = True
                handler.wfile.flush()
                handler.connection.shutdown(socket.SHUT_RDWR)
                return
            if isinstance(part, float):
                self.closing.wait(part)
            elif isinstance(part, bytes):
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part) if answer.chunked else part)
        if answer.chunked:
            handler.wfile.write(b"0\r\n\r\n")

    def stop(self) -> None:
        """Stop answering; stalled streams end."""
        self.closing.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@contextmanager
def model_server() -> Iterator[ModelServer]:
    """A server for the time of a test."""
    server = ModelServer()
    try:
        yield server
    finally:
        server.stop()


def refusal(status: int, message: str, kind: str = "some_error", **headers: str) -> Answer:
    """An error, in the form both providers give it."""
    body = json.dumps({"type": "error", "error": {"type": kind, "code": kind, "message": message}}).encode()
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, [body])


def pieces(text: str, size: int = 37) -> list[str]:
    """Text as a model sends it, some characters at a time."""
    return [text[i : i + size] for i in range(0, len(text), size)]


class OpenAI:
    """Chat completions as they are streamed."""

    path = "/v1/chat/completions"
    prefix = "/v1"

    @staticmethod
    def event(delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> bytes:
        choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
        chunk = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1764000000,
            "model": "test-model-2025-11-01",
            "choices": choices,
            **more,
        }
        return f"data: {json.dumps(chunk)}\n\n".encode()

    @classmethod
    def text(cls, text: str) -> list[bytes]:
        return [cls.event({"content": piece}) for piece in pieces(text)]

    @classmethod
    def start(cls) -> list[bytes]:
        return [cls.event({"role": "assistant", "content": "", "refusal": None})]

    @classmethod
    def end(cls, read: Any = 1000, written: Any = 300, cached: Any = 200, finish: str = "stop") -> list[bytes]:
        usage = {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": 0,
            "prompt_tokens_details": {"cached_tokens": cached},
        }
        return [cls.event({}, finish), cls.event(None, usage=usage), b"data: [DONE]\n\n"]

    @staticmethod
    def error(kind: str, message: str) -> bytes:
        return f"data: {json.dumps({'error': {'type': kind, 'message': message}})}\n\n".encode()


class Anthropic:
    """Messages as they are streamed."""

    path = "/v1/messages"
    prefix = ""

    @staticmethod
    def event(kind: str, **fields: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()

    @classmethod
    def text(cls, text: str) -> list[bytes]:
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces(text)]
        return [cls.event("content_block_delta", index=0, delta=delta) for delta in deltas]

    @classmethod
    def start(cls, read: Any = 700, written_to_cache: Any = 100, cached: Any = 200) -> list[bytes]:
        usage = {
            "input_tokens": read,
            "cache_creation_input_tokens": written_to_cache,
            "cache_read_input_tokens": cached,
            "output_tokens": 1,
        }
        message = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "test-model-20251101",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
        return [
            cls.event("message_start", message=message),
            cls.event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
            cls.event("ping"),
        ]

    @classmethod
    def end(cls, written: Any = 300, finish: str = "end_turn") -> list[bytes]:
        return [
            cls.event("content_block_stop", index=0),
            cls.event(
                "message_delta", delta={"stop_reason": finish, "stop_sequence": None}, usage={"output_tokens": written}
            ),
            cls.event("message_stop"),
        ]

    @staticmethod
    def error(kind: str, message: str) -> bytes:
        body = {"type": "error", "error": {"type": kind, "message": message}}
        return f"event: error\ndata: {json.dumps(body)}\n\n".encode()


def streamed(protocol: type[OpenAI] | type[Anthropic], text: str) -> Answer:
    """A reply as it should be."""
    return Answer(parts=[*protocol.start(), *protocol.text(text), *protocol.end()])
