"""The folder of one proposal: what a coding agent or an executable finds there, and what is taken from it."""

import json
import os
import re
import stat
from collections.abc import Collection
from dataclasses import asdict

from agents.explorer.proposers.base import Parent, ProposerError, Request
from agents.explorer.proposers.replies import MAX_REPLY_BYTES, clean, decoded, extract_program
from autotts_gym.files import write_atomically

PROMPT = "prompt.md"
PROGRAM = "program.py"
PARENTS = "parents"


def furnish(request: Request, instructions: str = "") -> None:
    """Write what a proposer may see into its workspace.

    ::

        prompt.md           the prompt
        parents/<id>.py     the programs to build on
        parents/<id>.json   their figures: objective, frontier, diagnosis

    Args:
        request: what is asked for.
        instructions: put at the end of the prompt.

    Raises:
        AutottsError: the folder cannot be written.
    """
    prompt = request.prompt if not instructions else f"{request.prompt.rstrip()}\n\n{instructions}"
    write_atomically(request.workspace / PROMPT, prompt.encode("utf-8", "replace"))
    (request.workspace / PROGRAM).unlink(missing_ok=True)  # of an attempt that was cut off
    for rank, parent in enumerate(request.parents):
        stem = request.workspace / PARENTS / _stem(parent, rank)
        write_atomically(stem.with_name(f"{stem.name}.py"), parent.source.encode("utf-8", "replace"))
        write_atomically(stem.with_name(f"{stem.name}.json"), (json.dumps(_figures(parent), indent=2) + "\n").encode())


def _stem(parent: Parent, rank: int) -> str:
    plain = re.fullmatch(r"\w[\w.-]{0,99}", parent.id, re.ASCII)
    return parent.id if plain else f"parent-{rank}"


def _figures(parent: Parent) -> dict[str, object]:
    figures = asdict(parent)
    frontier = [{"beta": beta, "accuracy": accuracy, "tokens": tokens} for beta, accuracy, tokens in parent.frontier]
    return {"id": parent.id, "objective": parent.objective, "frontier": frontier, "diagnosis": figures["diagnosis"]}


def program_of(request: Request, reply: str, secrets: Collection[str]) -> str:
    """The program of a proposal: the file in the workspace or, where there is none, what the reply holds.

    Args:
        request: whose workspace it is.
        reply: what was answered.
        secrets: keys that must not be in it.

    Raises:
        ProposerError: the file is no plain file, or too long.
    """
    written = _written_program(request)
    return extract_program(reply) if written is None else clean(decoded(written, PROGRAM), secrets)


def _written_program(request: Request) -> bytes | None:
    """The program a proposer has written into its workspace; None if it wrote none.

    Only a plain file counts: a link could lead to a file that the proposer may not read, a pipe would block.

    Raises:
        ProposerError: it is no plain file, or too long.
    """
    path = request.workspace / PROGRAM
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ProposerError(f"{PROGRAM}: expected a plain file, got {error.strerror}") from error
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise ProposerError(f"{PROGRAM}: expected a plain file, got another kind")
        if status.st_nlink != 1:
            raise ProposerError(f"{PROGRAM}: expected a plain file, got a hard link to another")
        data = file.read(MAX_REPLY_BYTES + 1)
    if len(data) > MAX_REPLY_BYTES:
        raise ProposerError(f"{PROGRAM}: expected at most {MAX_REPLY_BYTES} bytes, got more")
    return data
