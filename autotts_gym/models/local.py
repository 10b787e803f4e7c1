"""A model file served by llama.cpp inside this process, on loopback (package xllamacpp)."""

import hashlib
import os
from pathlib import Path
from typing import Any

from autotts_gym.errors import plain, quote
from autotts_gym.models.failures import EndpointError

SHIPPED = ("tiny", "micro")
"""Models that ship with this package."""


def model_file(name: str) -> Path:
    """The file of a model that ships.

    Raises:
        EndpointError: none has this name.
    """
    if name not in SHIPPED:
        raise EndpointError(f"model: expected one of {', '.join(SHIPPED)}, got {quote(name)}")
    return Path(__file__).parent / "weights" / f"{name}.gguf"


def serve(path: Path, *, slots: int, context: int, threads: int = 1) -> tuple[Any, str]:
    """Start a server of a model file on a free port of 127.0.0.1.

    Args:
        path: a .gguf file.
        slots: requests that it works on at once.
        context: the most tokens of prompt and answer together.
        threads: of the processor, for generating.

    Returns:
        The server, which ends when it is no longer held, and its address.

    Raises:
        EndpointError: the file is absent or no model, or xllamacpp is not installed.
    """
    if not path.is_file():
        raise EndpointError(f"{plain(path)}: expected a .gguf file, got none")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise EndpointError(f"{plain(path)}: expected a .gguf file, got another")
    try:
        import xllamacpp
    except ImportError:
        raise EndpointError(
            "local: expected the package xllamacpp, which is not installed; try: pip install 'autotts_gym[local]'"
        ) from None
    params = xllamacpp.CommonParams()
    params.model.path = os.fspath(path)
    params.model_alias = {path.stem}
    params.n_parallel = slots
    params.n_ctx = context * slots
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.endpoint_slots = True
    params.endpoint_props = True
    params.warmup = False
    params.cache_ram_mib = 0  # the probes of a branch find it in its own slot; a copy of the slot would cost more
    params.n_ctx_checkpoints = 0
    params.verbosity = -1
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        raise EndpointError(f"{plain(path)}: cannot be served: {plain(error)}") from error
    return server, server.listening_address


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
