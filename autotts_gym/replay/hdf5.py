"""Stores on disk: HDF5, format "autotts-replay", version 1.

Root attributes: ``format``, ``version``, ``model``, ``benchmark``, ``interval_tokens``, ``attributes`` (JSON text);
``extensions`` (names, separated by blanks), if the store makes use of one:

- ``unlabelled``: ``gold`` may be -1, and the answer table of such a question empty;
- ``unprobed``: a branch may have no probe;
- ``probeless``: the branches were not probed (``attributes`` has ``probes`` "none", and every probe is -1).

Datasets: the columns of ``autotts_gym.replay.columns.DTYPES``; ``answers/offsets`` and ``questions/offsets`` (int64)
with ``answers/bytes`` and ``questions/bytes`` (UTF-8 as uint8); ``signals/<name>`` (float32), one value per probe.

Every dataset has a Fletcher checksum, and the file is written in HDF5's own checksummed layout (1.10 on), with
attributes of fixed length inside it: a flipped bit is found, whichever part it hits.
"""

import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from autotts_gym.errors import StoreError, plain, quote
from autotts_gym.files import written
from autotts_gym.replay.columns import DTYPES, Columns, Signal, StringTable, check_offsets
from autotts_gym.replay.store import ReplayStore

FORMAT = "autotts-replay"
VERSION = 1
EXTENSIONS = ("unlabelled", "unprobed", "probeless")

_CHUNK = 1 << 18
_MAX_DEFLATE_RATIO = 1100
"""Deflate shrinks at most 1032 times; a dataset that claims more than its file can hold is never allocated."""

Fingerprint = tuple[int, int, int]


# -------------------------------------------------------------------- writing


def write_store(store: ReplayStore, path: Path) -> Path:
    """Write ``store`` to ``path``, whole or not at all; the same content gives the same bytes.

    Raises:
        StoreError: if it cannot be written.
    """
    # HDF5 ends the process where a disk is full: so it writes to memory.
    with written(path) as image, h5py.File(image, "w", libver=("v110", "v110")) as file:
        file.attrs["format"] = _fixed(FORMAT)
        file.attrs["version"] = np.int64(VERSION)
        file.attrs["model"] = _fixed(store.model)
        file.attrs["benchmark"] = _fixed(store.benchmark)
        file.attrs["interval_tokens"] = np.int64(store.interval_tokens)
        file.attrs["attributes"] = _fixed(json.dumps(dict(store.attributes), ensure_ascii=False))
        if extensions := _used(store):
            file.attrs["extensions"] = _fixed(" ".join(extensions))
        for name in DTYPES:
            _write(file, name, getattr(store, name))
        for name, table in (("answers", store._answers), ("questions", store._questions)):
            _write(file, f"{name}/offsets", table.offsets)
            _write(file, f"{name}/bytes", np.frombuffer(table.data, np.uint8))
        for name, signal in store.signals.items():
            _write(file, f"signals/{name}", signal)
    return path


def _used(store: ReplayStore) -> list[str]:
    """Return the extensions that ``store`` makes use of; older releases read a store that uses none."""
    used = (not store.labelled.all(), not np.diff(store.probe_offsets).all(), not store.has_probes)
    return [name for name, use in zip(EXTENSIONS, used, strict=True) if use]


def _fixed(text: str) -> NDArray[np.void]:
    """Return ``text`` as a fixed-length UTF-8 attribute: one of variable length lies outside the checksums."""
    data = text.encode()
    return np.array(data, dtype=h5py.string_dtype("utf-8", len(data)))


def _write(file: h5py.File, name: str, array: NDArray[Any]) -> None:
    file.create_dataset(
        name,
        data=array,
        chunks=(min(max(array.size, 1), _CHUNK),),
        maxshape=(max(array.size, 1),),
        compression="gzip",
        compression_opts=6,
        shuffle=True,
        fletcher32=True,
    )


# -------------------------------------------------------------------- reading


def read_store(path: Path) -> ReplayStore:
    """Open the store at ``path``, check it, read its numbers, and close it.

    Raises:
        StoreError: naming file and field, what was expected and what came.
    """
    path = Path(os.path.abspath(path))
    fingerprint = _fingerprint(path)
    with _opened(path) as file:
        _check_header(path, file)
        extensions = _extensions(path, file)
        columns = Columns(**{name: _read(path, file, name, dtype) for name, dtype in DTYPES.items()})
        columns.check(str(path), unlabelled="unlabelled" in extensions, unprobed="unprobed" in extensions)
        attributes = _attributes(path, file)
        if ("probeless" in extensions) != (attributes.get("probes") == "none"):
            raise StoreError(
                f'{path}: extensions: expected probeless where attributes have probes "none" and only there, '
                f"got {quote(' '.join(extensions))} and {quote(attributes.get('probes'))}"
            )
        probes = columns.probes.size
        return ReplayStore(
            columns,
            _strings(path, file, "answers", fingerprint),
            _strings(path, file, "questions", fingerprint),
            model=_text(path, file, "model"),
            benchmark=_text(path, file, "benchmark"),
            interval_tokens=_integer(path, file, "interval_tokens"),
            attributes=attributes,
            signals={name: _signal(path, file, name, probes, fingerprint) for name in _signal_names(path, file)},
            path=path,
        )


def _fingerprint(path: Path) -> Fingerprint:
    """Return what changes when the file is replaced or written to."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be opened: {plain(error)}") from error
    return status.st_ino, status.st_size, status.st_mtime_ns


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """Open ``path`` for reading and turn every error of HDF5 about a damaged file into a StoreError."""
    try:
        with _file(path) as file:
            yield file
    except StoreError:
        raise
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, MemoryError) as error:
        raise StoreError(f"{path}: expected a readable HDF5 store, got: {plain(error)}") from error


def _file(path: Path) -> h5py.File:
    # A store is replaced, never written in place, so readers need no lock (and some file systems have none).
    try:
        return h5py.File(path, "r", locking=False)
    except OSError:
        # Perhaps this process has it open under other locking flags, as a notebook has. HDF5 would join both, and
        # refuses; what it reads through a Python file it takes for another one.
        return h5py.File(io.BytesIO(path.read_bytes()), "r")


def _check_header(path: Path, file: h5py.File) -> None:
    if (found := _text(path, file, "format")) != FORMAT:
        raise StoreError(f"{path}: format: expected {quote(FORMAT)}, got {quote(found)}")
    if (version := _integer(path, file, "version")) != VERSION:
        raise StoreError(f"{path}: version: expected {VERSION}, got {version} (made by another release?)")


def _extensions(path: Path, file: h5py.File) -> list[str]:
    if "extensions" not in file.attrs:
        return []
    extensions = _text(path, file, "extensions").split()
    if unknown := sorted(set(extensions) - set(EXTENSIONS)):
        raise StoreError(
            f"{path}: extensions: expected some of {', '.join(EXTENSIONS)}, got {plain(', '.join(unknown))} (made by "
            "another release?)"
        )
    return extensions


def _attribute(path: Path, file: h5py.File, name: str) -> Any:
    if name not in file.attrs:
        raise StoreError(f"{path}: {name}: expected this attribute, got none")
    return file.attrs[name]


def _text(path: Path, file: h5py.File, name: str) -> str:
    value = _attribute(path, file, name)
    if isinstance(value, str):
        return value
    if not isinstance(value, bytes):
        raise StoreError(f"{path}: {name}: expected text, got {quote(value)}")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise StoreError(f"{path}: {name}: expected UTF-8, got {quote(value)}") from error


def _integer(path: Path, file: h5py.File, name: str) -> int:
    value = _attribute(path, file, name)
    if not isinstance(value, np.integer):
        raise StoreError(f"{path}: {name}: expected an integer, got {quote(value)}")
    return int(value)


def _attributes(path: Path, file: h5py.File) -> dict[str, object]:
    text = _text(path, file, "attributes")
    try:
        attributes = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path}: attributes: expected JSON, got {quote(text[:80])}") from error
    if not isinstance(attributes, dict):
        raise StoreError(f"{path}: attributes: expected a JSON object, got {quote(text[:80])}")
    return attributes


def _dataset(path: Path, file: h5py.File, name: str, dtype: np.dtype[Any]) -> h5py.Dataset:
    try:
        dataset = file[name]
    except KeyError as error:
        raise StoreError(f"{path}: {name}: expected a dataset, got none that can be read") from error
    if not isinstance(dataset, h5py.Dataset):
        raise StoreError(f"{path}: {name}: expected a dataset, got a group")
    if dataset.dtype != dtype:
        raise StoreError(f"{path}: {name}: expected dtype {dtype}, got {dataset.dtype}")
    if dataset.ndim != 1:
        raise StoreError(f"{path}: {name}: expected 1 dimension, got {dataset.ndim}")
    if dataset.nbytes > (most := _MAX_DEFLATE_RATIO * path.stat().st_size):
        raise StoreError(f"{path}: {name}: expected at most {most} bytes in a file of this size, got {dataset.nbytes}")
    return dataset


def _read(path: Path, file: h5py.File, name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
    dataset = _dataset(path, file, name, dtype)
    try:
        array: NDArray[Any] = dataset[()]
    except (OSError, RuntimeError) as error:
        raise StoreError(f"{path}: {name}: expected readable data, got: {plain(error)}") from error
    return array


def _strings(path: Path, file: h5py.File, name: str, fingerprint: Fingerprint) -> StringTable:
    offsets = _read(path, file, f"{name}/offsets", np.dtype(np.int64))
    blob = _dataset(path, file, f"{name}/bytes", np.dtype(np.uint8))
    check_offsets(f"{path}: {name}/offsets", offsets, blob.size)
    read = _later(path, f"{name}/bytes", blob.dtype, fingerprint)
    return StringTable(f"{path}: {name}", offsets, lambda: read().tobytes())


def _signal_names(path: Path, file: h5py.File) -> list[str]:
    if "signals" not in list(file):  # names only: `in file` is also false for a group that is damaged
        return []
    group = file["signals"]
    if not isinstance(group, h5py.Group):
        raise StoreError(f"{path}: signals: expected a group, got another object")
    return list(group)


def _signal(path: Path, file: h5py.File, name: str, probes: int, fingerprint: Fingerprint) -> Callable[[], Signal]:
    dataset = _dataset(path, file, f"signals/{name}", np.dtype(np.float32))
    if dataset.size != probes:
        raise StoreError(f"{path}: signals/{name}: expected length {probes}, got {dataset.size}")
    return _later(path, f"signals/{name}", dataset.dtype, fingerprint)


def _later(path: Path, name: str, dtype: np.dtype[Any], fingerprint: Fingerprint) -> Callable[[], NDArray[Any]]:
    """Return a function that opens ``path`` again and reads one dataset."""

    def read() -> NDArray[Any]:
        if _fingerprint(path) != fingerprint:
            raise StoreError(f"{path}: {name}: expected the file as it was when opened, got a changed one")
        with _opened(path) as file:
            return _read(path, file, name, dtype)

    return read
