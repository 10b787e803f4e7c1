"""From the text that names an endpoint to the endpoint."""

import os
from collections.abc import Awaitable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from autotts_gym.errors import plain, quote
from autotts_gym.models.base import Endpoint, counted
from autotts_gym.models.failures import EndpointError, Notice, Patience, quiet
from autotts_gym.models.fleet import open_fleet
from autotts_gym.models.http import Connection
from autotts_gym.models.llama_cpp import LlamaCpp
from autotts_gym.models.local import SHIPPED, file_hash, model_file, serve
from autotts_gym.models.openai import OpenAI, served_models

KEY = "AUTOTTS_API_KEY"
"""The environment variable that holds the key of a server that asks for one."""


class _Local(LlamaCpp):
    """A llama.cpp server inside this process, held as long as it is used."""

    server: Any = None

    async def close(self) -> None:
        """Close the connections and end the server."""
        await super().close()
        self.server = None


async def open_endpoint(
    spec: str | Sequence[str],
    *,
    model: str = "",
    server: str = "auto",
    timeout: float = 300.0,
    patience: Patience | None = None,
    slots: int = 16,
    context: int = 4096,
    notice: Notice = quiet,
) -> Endpoint:
    """Open an endpoint.

    Of several servers, those that cannot be reached are left out, if one works; each is named to ``notice``.

    Args:
        spec: ``http://host:port/v1``, ``local:PATH`` (a .gguf file, served in this process), the name of a model that
            ships (``tiny``), or several addresses of servers of one model.
        model: name of the model at a server that has several; for the others, its name in stores.
        server: "auto" (ask it), "llama.cpp", "vllm", "sglang", or "openai" (by text).
        timeout: seconds without a byte after which a request counts as lost.
        patience: how long a server that still loads is waited for.
        slots: of a local server: requests at once.
        context: of a local server: the most tokens of prompt and answer together.
        notice: gets a line on each failure that another call follows.

    Raises:
        EndpointError: there is no such server, file or model.
    """
    patience = patience or Patience()
    specs = [spec] if isinstance(spec, str) else list(spec)
    if not specs:
        raise EndpointError("endpoint: expected at least one, got none")
    if len(specs) > 1:

        def member(spec: str, patience: Patience) -> Awaitable[Endpoint]:
            return open_endpoint(
                spec,
                model=model,
                server=server,
                timeout=timeout,
                patience=patience,
                slots=slots,
                context=context,
                notice=notice,
            )

        return await open_fleet(specs, member, patience, notice)
    (text,) = specs
    if text in SHIPPED or text.startswith("local:"):
        path = model_file(text) if text in SHIPPED else Path(text.removeprefix("local:")).expanduser()
        running, address = serve(path, slots=slots, context=context)
        connection = Connection(address, timeout=timeout)
        try:
            props = await patience.call(lambda: connection.get("/props"), notice)
        except BaseException:
            await connection.close()
            raise
        props["build_info"] = f"of xllamacpp {version('xllamacpp')}"  # its build has no number of its own
        local = _Local(connection, props, model=model or path.stem, hashes={"file_sha256": file_hash(path)})
        local.server = running
        return local
    if server not in ("auto", "llama.cpp", "vllm", "sglang", "openai"):
        raise EndpointError(f"server: expected auto, llama.cpp, vllm, sglang or openai, got {quote(server)}")
    address = text.rstrip("/").removesuffix("/v1")
    connection = Connection(address, key=os.environ.get(KEY, ""), timeout=timeout)
    try:
        return await patience.call(lambda: _remote(connection, model, server), notice)
    except BaseException:
        await connection.close()
        raise


async def _remote(connection: Connection, model: str, server: str) -> Endpoint:
    """The endpoint of a server at an address: each kind has a page that the others have not."""
    if server in ("auto", "llama.cpp"):
        props = await connection.find("/props")
        if isinstance(props, dict) and "default_generation_settings" in props:
            return LlamaCpp(connection, props, model)
        if server == "llama.cpp":
            raise EndpointError(f"{connection.address}: /props: expected llama.cpp's, got {quote(props)}")
    rows = await served_models(connection)
    names = [str(row.get("id")) for row in rows]
    if model and model not in names:
        raise EndpointError(f"{connection.address}: expected the model {quote(model)}, got {plain(', '.join(names))}")
    if not model and len(names) != 1:
        raise EndpointError(
            f"{connection.address}: expected --model-name, since it has {len(names)} models: {plain(', '.join(names))}"
        )
    row = rows[names.index(model)] if model else rows[0]
    name = str(row.get("id"))
    context = row.get("max_model_len")
    kind, number = await _kind(connection, row) if server == "auto" else (server, "unknown")
    if context is None and kind == "sglang":
        info = await connection.find("/get_server_info")
        context = info.get("context_length") if isinstance(info, dict) else None
    context = context if counted(context) > 0 else None
    ids = kind in ("vllm", "sglang") and await _gives_ids(connection, name)
    return OpenAI(connection, kind, number, name, context, ids)


async def _kind(connection: Connection, row: dict[str, Any]) -> tuple[str, str]:
    """The kind and the version of a server that speaks OpenAI's protocol, by the owner that it names for its models."""
    owner = str(row.get("owned_by"))
    pages = ("/version", "/get_server_info", "/server_info") if owner == "sglang" else ("/version",)
    number = "unknown"
    for page in pages:
        info = await connection.find(page)
        if isinstance(info, dict) and "version" in info:
            number = str(info["version"])
            break
    return (owner if owner in ("vllm", "sglang") else "openai"), number


async def _gives_ids(connection: Connection, model: str) -> bool:
    """Whether a server takes token ids, gives them back, and tokenizes: older releases do not."""
    try:
        tokens = (await connection.post("/tokenize", {"model": model, "prompt": "1"}))["tokens"]
        body = {"model": model, "prompt": tokens, "max_tokens": 1, "temperature": 0.0, "return_token_ids": True}
        reply = await connection.post("/v1/completions", body)
        return isinstance(reply["choices"][0].get("token_ids"), list)
    except (EndpointError, KeyError, IndexError, TypeError, AttributeError):
        return False
