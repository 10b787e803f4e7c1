"""Files that are either whole or absent."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autotts_gym.errors import AutottsError, plain


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path beside ``path`` and moves it there when the block succeeds.

    Whatever interrupts the block, ``path`` keeps what it had (or stays absent) and the temporary file goes.
    Missing parent folders are made.

    Raises:
        AutottsError: if the folder or the file cannot be written.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise AutottsError(f"{target}: cannot be written: {plain(error)}") from error


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes a file so that it is there whole or not at all.

    Raises:
        AutottsError: if the folder or the file cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)
