"""Files that are written whole or not at all."""

import io
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autotts_gym.errors import AutottsError, plain


def write_atomically(path: str | os.PathLike[str], data: bytes, *, durable: bool = False) -> None:
    """Write a file so that it is there whole or not at all.

    Whatever interrupts this, ``path`` keeps what it had (or stays absent), and no other file is left. Missing parent
    folders are made. A link stays, and its target is written. The new file gets the permissions of the one that it
    replaces. A device, a named pipe, and a file that this process prints to are written to and never replaced.

    Args:
        path: where to.
        data: all of the file.
        durable: return only when it is safe on the disk.

    Raises:
        AutottsError: the folder or the file cannot be written.
    """
    with _system_errors(path):
        if (descriptor := _stream(path)) is not None:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            return
        target = Path(os.path.realpath(path))
        mode = _mode(target)
        with _temporary_path(target) as temporary:
            with temporary.open("xb") as file:
                file.write(data)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            if mode is not None:
                temporary.chmod(mode)
            os.replace(temporary, target)


@contextmanager
def written(path: str | os.PathLike[str]) -> Iterator[io.BytesIO]:
    """Yield a file in memory, and write it as ``write_atomically`` does when the block succeeds.

    So code that writes to it never sees a full disk. Missing parent folders are made before the block.

    Raises:
        AutottsError: the folder or the file cannot be written.
    """
    with _system_errors(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    file = io.BytesIO()
    yield file
    write_atomically(path, file.getvalue())


def append(path: str | os.PathLike[str], data: bytes, *, durable: bool = False) -> None:
    """Add data to the end of a file, all of it or, where that fails, nothing.

    Args:
        path: where to; made with its folders unless it is there.
        data: what to add.
        durable: return only when it is safe on the disk.

    Raises:
        AutottsError: the folder or the file cannot be written.
    """
    with _system_errors(path):
        file_path = Path(path)
        file_path.parent.mkdir(parents=True, exist_ok=True)
        new = not file_path.exists()
        with file_path.open("ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            try:
                left = memoryview(data)
                while left:
                    left = left[file.write(left) :]
                if durable:
                    os.fsync(file.fileno())
            except BaseException:
                file.truncate(size)
                if new:
                    file_path.unlink()
                raise


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path beside ``path``, for a folder, and move it there when the block succeeds.

    Whatever interrupts the block, ``path`` keeps what it had (or stays absent) and the folder beside it goes. Missing
    parent folders are made.

    Raises:
        AutottsError: it cannot be written.
    """
    target = Path(path)
    with _system_errors(target), _temporary_path(target) as temporary:
        yield temporary
        os.replace(temporary, target)


@contextmanager
def _system_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn an error of the system about a path into one for the user."""
    try:
        yield
    except AutottsError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte, or without a form on this disk
        raise AutottsError(f"{plain(path)}: cannot be written: {plain(error)}") from error


@contextmanager
def _temporary_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of a target; it goes if the block fails."""
    temporary = target.with_name(f".{os.getpid()}.{secrets.token_hex(4)}.tmp")  # a long name may leave no room for more
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
    except BaseException:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
        raise


def _mode(target: Path) -> int | None:
    """The permissions of a file that is to be replaced; None: there is none.

    Raises:
        OSError: there is something that must not be replaced.
    """
    try:
        status = target.stat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError("Is a directory")
    if not os.access(target, os.W_OK):
        raise PermissionError("Permission denied")
    return stat.S_IMODE(status.st_mode)


def _stream(path: str | os.PathLike[str]) -> int | None:
    """A new descriptor of the existing file, if it is to be written to rather than replaced; else None."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    for stream in (sys.stdout, sys.stderr):
        try:
            number = stream.fileno()
            same = os.path.samestat(status, os.fstat(number))
        except (OSError, ValueError, AttributeError):  # closed, or none of the system's
            continue
        if same:
            stream.flush()  # what was printed before comes first
            return os.dup(number)
    if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
        return None
    return os.open(path, os.O_WRONLY)
