"""The journal of a collection: an append-only file, from which the store is made.

It begins with a line that names the form. Then come records, each with a head of 12 bytes (length of the body, CRC-32
of the body, CRC-32 of these 8 bytes; unsigned, little-endian) and a body: JSON and arrays, compressed with zlib. The
first record holds the settings. A journal that ends in the middle of a record was cut off there: that record was in
flight, and the next writer removes what there is of it. Any other flaw is damage, and is refused.

One process at a time writes a journal: it holds the lock of a hidden file beside it.
"""

import json
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import filelock
import numpy as np
from numpy.typing import NDArray

from autotts_gym.errors import AutottsError, plain

FORM = b"autotts-journal 1\n"
"""The first bytes of every journal."""

_HEAD = struct.Struct("<III")
_LARGEST = 1 << 30
"""Bytes of a body."""

_SYNC_SECONDS = 1.0
"""Seconds after which what was written is made safe on the disk."""


class JournalError(AutottsError):
    """A journal is damaged, in use, or of another collection."""


@dataclass(frozen=True)
class Record:
    """One entry.

    Attributes:
        kind: what it is: "settings", "session", "branch", "probe" …
        values: its JSON-able values.
        arrays: its arrays, by name.
    """

    kind: str
    values: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def packed(self) -> bytes:
        """The record as the bytes of a journal."""
        arrays = {name: np.ascontiguousarray(array) for name, array in self.arrays.items()}
        head = {
            "kind": self.kind,
            "values": dict(self.values),
            "arrays": {name: [array.dtype.str, array.size] for name, array in arrays.items()},
        }
        text = json.dumps(head, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode(
            errors="surrogatepass"
        )
        body = zlib.compress(b"".join([text, b"\n", *(array.tobytes() for array in arrays.values())]), 6)
        sums = struct.pack("<II", len(body), zlib.crc32(body))
        return sums + struct.pack("<I", zlib.crc32(sums)) + body

    @classmethod
    def unpacked(cls, where: str, body: bytes) -> Self:
        """The record of a body.

        Raises:
            JournalError: it is none.
        """
        try:
            data = zlib.decompress(body)
            text, _, rest = data.partition(b"\n")
            head = json.loads(text.decode(errors="surrogatepass"))
            arrays: dict[str, NDArray[Any]] = {}
            begin = 0
            for name, (dtype, size) in head["arrays"].items():
                kind = np.dtype(dtype)
                end = begin + kind.itemsize * size
                arrays[name] = np.frombuffer(rest[begin:end], kind)
                begin = end
            if begin != len(rest):
                raise ValueError("the arrays have another size")
            return cls(str(head["kind"]), dict(head["values"]), arrays)
        except (zlib.error, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise JournalError(f"{where}: expected a record, got {plain(error)}") from error


def read_journal(path: Path) -> Iterator[tuple[Record, int]]:
    """Read the records of a journal, in order, each with the place where it begins.

    What is left of a record that was cut off is none.

    Raises:
        JournalError: the file is absent, none, or damaged.
    """
    try:
        with path.open("rb") as file:
            yield from ((record, begin) for record, begin, _ in _records(path, file))
    except OSError as error:
        raise JournalError(f"{plain(path)}: cannot be read: {plain(error)}") from error


def _records(path: Path, file: BinaryIO) -> Iterator[tuple[Record, int, int]]:
    """Records, each with the places where it begins and ends."""
    form = file.read(len(FORM))
    if form != FORM:
        if FORM.startswith(form):  # cut off in its first line
            return
        raise JournalError(f"{plain(path)}: expected a journal of a collection, got another file")
    end = len(FORM)
    while True:
        where = f"{plain(path)}: at byte {end}"
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return
        length, checksum, of_head = _HEAD.unpack(head)
        if zlib.crc32(head[:8]) != of_head or length > _LARGEST:
            if not any(head) and not any(any(block) for block in iter(lambda: file.read(1 << 16), b"")):
                return  # the file grew, but what was written did not reach the disk before the power went
            raise JournalError(f"{where}: expected a record, but the journal is damaged there")
        body = file.read(length)
        if len(body) < length:
            return
        if zlib.crc32(body) != checksum:
            raise JournalError(f"{where}: expected a record as it was written, but it is damaged")
        begin, end = end, end + _HEAD.size + length
        yield Record.unpacked(where, body), begin, end


def lock_file(path: Path) -> Path:
    """The file whose lock the writer of a journal holds."""
    return path.with_name(f".{path.name}.lock")


class JournalWriter:
    """Adds records to a journal; used as ``with``.

    A record is handed to the system at once, so that it outlives this process, and reaches the disk within about a
    second. Where it cannot be written whole, as on a full disk, the journal is left as it was before.

    Args:
        path: of the journal; made with its folders unless it is there.
        on_record: gets the records that are there already, in order, and where each begins.

    Raises:
        JournalError: another process writes it, it is damaged, or it cannot be opened.
    """

    def __init__(self, path: Path, on_record: Callable[[Record, int], None] = lambda record, place: None) -> None:
        self.path = path
        self._synced = time.monotonic()
        self._lock = filelock.FileLock(lock_file(path), timeout=0)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except filelock.Timeout:
            raise JournalError(f"{plain(path)}: another process writes this journal; wait for it, or end it") from None
        except OSError as error:
            raise JournalError(f"{plain(path)}: cannot be written: {plain(error)}") from error
        try:
            self._file = path.open("r+b" if path.exists() else "w+b", buffering=0)
        except OSError as error:
            self._lock.release()
            raise JournalError(f"{plain(path)}: cannot be opened: {plain(error)}") from error
        try:
            self._end = self._keep(on_record)
        except BaseException:
            self._file.close()
            self._lock.release()
            raise

    def _keep(self, on_record: Callable[[Record, int], None]) -> int:
        """Read what is there, remove what was cut off, and return where the journal ends."""
        end = 0
        with self.path.open("rb") as file:
            for record, begin, next_record in _records(self.path, file):
                on_record(record, begin)
                end = next_record
        if not end:
            self._file.truncate(0)
            self._file.write(FORM)
            end = len(FORM)
        self._file.truncate(end)
        self._file.seek(end)
        return end

    def add(self, record: Record) -> int:
        """Add a record, and return where it begins.

        Raises:
            JournalError: it cannot be written; the journal is as it was.
        """
        left = memoryview(record.packed())
        size = len(left)
        try:
            while left:
                left = left[self._file.write(left) :]
        except BaseException as error:
            self._file.truncate(self._end)
            self._file.seek(self._end)
            if isinstance(error, OSError):
                raise JournalError(f"{plain(self.path)}: cannot be written: {plain(error)}") from error
            raise
        begin = self._end
        self._end += size
        if time.monotonic() - self._synced >= _SYNC_SECONDS:
            self.sync()
        return begin

    def read(self, place: int) -> Record:
        """The record that begins at a place.

        Raises:
            JournalError: it cannot be read.
        """
        where = f"{plain(self.path)}: at byte {place}"
        try:
            with self.path.open("rb") as file:
                file.seek(place)
                length, checksum, _ = _HEAD.unpack(file.read(_HEAD.size))
                body = file.read(length)
        except (OSError, struct.error) as error:
            raise JournalError(f"{where}: cannot be read: {plain(error)}") from error
        if zlib.crc32(body) != checksum:
            raise JournalError(f"{where}: expected a record as it was written, but it is damaged")
        return Record.unpacked(where, body)

    def sync(self) -> None:
        """Make what was written safe on the disk.

        Raises:
            JournalError: the system cannot.
        """
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise JournalError(f"{plain(self.path)}: cannot be written: {plain(error)}") from error
        self._synced = time.monotonic()

    def close(self) -> None:
        """Make all safe on the disk and let others write."""
        try:
            self.sync()
        finally:
            self._file.close()
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
