"""Published replay data as JSON, in and out.

Two forms are read, from `.json` and `.json.gz`:

- "autotts", the AutoTTS release: a list of `{question, final_answers_trace, each_branch, gold_answer, probe_freq}`,
  where `each_branch` lists `[probes, tokens, final answer]`;
- "parallel-probe", the raw Parallel-Probe release: a list of `{probe_matrix_mxn, branch_tokens,
  final_answers_trace, gold_answer, probe_freq}` and perhaps `question`; each row of `probe_matrix_mxn` is a branch.
  Trailing nulls of a row are padding, nulls inside mean "no answer yet". A row of nothing but nulls is an error:
  nothing tells its padding from its probes, so its depth is unknown.

A null probe or final answer in the AutoTTS form means "no answer yet" and "no answer"; the export writes the same.
"""

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from autotts_gym.errors import StoreError, plain, quote
from autotts_gym.files import write_atomically
from autotts_gym.replay.records import Branch, Question, build_store
from autotts_gym.replay.store import MAX_TOKENS, ReplayStore


def import_json(
    path: str | os.PathLike[str],
    *,
    model: str | None = None,
    benchmark: str | None = None,
    equivalence: str = "exact",
    layout: str = "auto",
) -> ReplayStore:
    """Imports one JSON file.

    Args:
        path: a `.json` or `.json.gz` file.
        model: name of the model; by default the name of the file's folder.
        benchmark: name of the benchmark; by default the name of the file.
        equivalence: which answers are one: "exact" or "math"; see `autotts_gym.replay.equivalence`.
        layout: "autotts", "parallel-probe", or "auto" to tell them by their fields.

    Returns:
        A store in memory. Its attributes name the source file, its SHA-256, the layout and this package's version.

    Raises:
        StoreError: naming the file, the question, the branch and the field, what was expected and what came.
    """
    path = Path(path)
    data = _read_bytes(path)
    items = _parse(path, data)
    if layout == "auto":
        layout = _detect(path, items)
    if layout not in _READERS:
        raise StoreError(f"layout: expected auto, {' or '.join(_READERS)}, got {quote(layout)}")
    interval_tokens = _interval(path, items)
    read = _READERS[layout]
    questions = [read(f"{path}: question {index}", item) for index, item in enumerate(items)]
    try:
        return build_store(
            questions,
            model=model or path.absolute().parent.name,
            benchmark=benchmark or _benchmark_of(path),
            interval_tokens=interval_tokens,
            equivalence=equivalence,
            attributes={
                "source": path.name,
                "source_sha256": hashlib.sha256(data).hexdigest(),
                "importer": layout,
                "package_version": version("autotts_gym"),
                "synthetic": False,
            },
        )
    except StoreError as error:
        raise StoreError(f"{path}: {error}") from error


def tree_targets(folder: str | os.PathLike[str], destination: str | os.PathLike[str]) -> dict[Path, Path]:
    """Returns which `<model>/<benchmark>.json[.gz]` of ``folder`` becomes which `.h5` under ``destination``.

    Raises:
        StoreError: if there is none, or two files would become one store.
    """
    folder, destination = Path(folder), Path(destination)
    targets: dict[Path, Path] = {}
    for source in sorted([*folder.glob("*/*.json"), *folder.glob("*/*.json.gz")]):
        target = destination / source.parent.name / f"{_benchmark_of(source)}.h5"
        if target in targets.values():
            raise StoreError(f"{source}: expected one file per store, got a second one for {target}")
        targets[source] = target
    if not targets:
        raise StoreError(f"{folder}: expected files <model>/<benchmark>.json or .json.gz, got none")
    return targets


def import_tree(
    folder: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    equivalence: str = "exact",
    layout: str = "auto",
    force: bool = False,
) -> Iterator[tuple[Path, ReplayStore]]:
    """Imports `<model>/<benchmark>.json[.gz]` to `<model>/<benchmark>.h5`, one store after the other.

    Args:
        folder: the folder that holds a folder per model.
        destination: the folder for the stores.
        equivalence: see `import_json`.
        layout: see `import_json`.
        force: replace stores that exist.

    Yields:
        The path and the content of each store, once it is saved.

    Raises:
        StoreError: as `import_json` does, or before anything is read if a store exists and ``force`` is false.
    """
    targets = tree_targets(folder, destination)
    for target in targets.values():
        refuse_existing(target, force)
    for source, target in targets.items():
        store = import_json(source, equivalence=equivalence, layout=layout)
        yield store.save(target), store


def refuse_existing(path: Path, force: bool) -> None:
    """Raises a StoreError if something is at ``path``, unless ``force``."""
    if not force and path.exists():
        raise StoreError(f"{path}: exists already; --force (force=True) replaces it")


def _benchmark_of(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".json")


def export_json(store: ReplayStore, path: Path) -> Path:
    """Writes ``store`` in the AutoTTS form, gzipped if ``path`` ends in `.gz`; whole or not at all.

    Raises:
        StoreError: if it cannot be written.
    """
    items = [_exported(store, index, text) for index, text in enumerate(store.questions)]
    data = json.dumps(items, ensure_ascii=False, indent=2).encode()
    write_atomically(path, gzip.compress(data, mtime=0) if path.name.endswith(".gz") else data)
    return path


def _exported(store: ReplayStore, index: int, text: str) -> dict[str, Any]:
    answers: list[str | None] = [*store.answers(index), None]  # id -1 is the last
    branches = [
        [
            [answers[i] for i in store.probes[store.probe_offsets[b] : store.probe_offsets[b + 1]]],
            int(store.tokens[b]),
            answers[store.finals[b]],
        ]
        for b in range(int(store.branch_offsets[index]), int(store.branch_offsets[index + 1]))
    ]
    return {
        "question": text,
        "final_answers_trace": [branch[2] for branch in branches],
        "each_branch": branches,
        "gold_answer": answers[store.gold[index]],
        "probe_freq": store.interval_tokens,
    }


# -------------------------------------------------------------------- parsing


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file") from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from error


def _parse(path: Path, data: bytes) -> list[dict[str, Any]]:
    """Returns the questions of a file as JSON objects, at least one."""
    try:
        text = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    except (OSError, EOFError, zlib.error) as error:
        raise StoreError(f"{path}: expected whole gzip data, got: {plain(error)}") from error
    try:
        items = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path}: expected JSON, got: {plain(error)}") from error
    if not isinstance(items, list) or not items:
        raise StoreError(f"{path}: expected a list of questions, got {_shown(items)}")
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise StoreError(f"{path}: question {index}: expected an object, got {_shown(item)}")
    return items


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name}, which is not a number in JSON")


def _detect(path: Path, items: list[dict[str, Any]]) -> str:
    for layout, field in (("autotts", "each_branch"), ("parallel-probe", "probe_matrix_mxn")):
        if field in items[0]:
            return layout
    raise StoreError(f"{path}: question 0: expected each_branch or probe_matrix_mxn, got {_shown(list(items[0]))}")


def _interval(path: Path, items: list[dict[str, Any]]) -> int:
    """Returns Δ, which all questions share."""
    first = 0
    for index, item in enumerate(items):
        where = f"{path}: question {index}"
        value = _integer(f"{where}: probe_freq", _field(where, item, "probe_freq"))
        first = first or value
        if value != first:
            raise StoreError(f"{where}: probe_freq: expected {first} as in question 0, got {value}")
    return first


def _read_autotts(where: str, item: dict[str, Any]) -> Question:
    branches = []
    for index, row in enumerate(_list(f"{where}: each_branch", _field(where, item, "each_branch"))):
        at = f"{where}, branch {index}"
        if not isinstance(row, list) or len(row) != 3:
            raise StoreError(f"{at}: each_branch: expected [probes, tokens, final answer], got {_shown(row)}")
        probes, tokens, final = row
        branches.append(
            Branch(
                probes=_probes(at, "probes", probes),
                tokens=_integer(f"{at}: tokens", tokens),
                final=_answer(f"{at}: final answer", final),
            )
        )
    trace = _list(f"{where}: final_answers_trace", _field(where, item, "final_answers_trace"), len(branches))
    for index, (branch, final) in enumerate(zip(branches, trace, strict=True)):
        if final != branch.final:
            raise StoreError(
                f"{where}, branch {index}: final_answers_trace: expected {quote(branch.final)} as in each_branch, "
                f"got {_shown(final)}"
            )
    return Question(_string(where, item, "question"), _string(where, item, "gold_answer"), branches)


def _read_parallel_probe(where: str, item: dict[str, Any]) -> Question:
    rows = _list(f"{where}: probe_matrix_mxn", _field(where, item, "probe_matrix_mxn"))
    tokens = _list(f"{where}: branch_tokens", _field(where, item, "branch_tokens"), len(rows))
    finals = _list(f"{where}: final_answers_trace", _field(where, item, "final_answers_trace"), len(rows))
    branches = []
    for index, row in enumerate(rows):
        at = f"{where}, branch {index}"
        probes = _probes(at, "probe_matrix_mxn", row)
        while probes and probes[-1] is None:
            probes.pop()
        if not probes:
            raise StoreError(f"{at}: probe_matrix_mxn: expected at least one answer, got only nulls")
        branches.append(
            Branch(
                probes,
                _integer(f"{at}: branch_tokens", tokens[index]),
                _answer(f"{at}: final_answers_trace", finals[index]),
            )
        )
    text = _string(where, item, "question") if "question" in item else ""
    return Question(text, _string(where, item, "gold_answer"), branches)


_READERS: dict[str, Callable[[str, dict[str, Any]], Question]] = {
    "autotts": _read_autotts,
    "parallel-probe": _read_parallel_probe,
}
LAYOUTS = ("auto", *_READERS)


def _field(where: str, item: dict[str, Any], name: str) -> Any:
    if name not in item:
        raise StoreError(f"{where}: {name}: expected this field, got {_shown(list(item))}")
    return item[name]


def _string(where: str, item: dict[str, Any], name: str) -> str:
    value = _field(where, item, name)
    if not isinstance(value, str):
        raise StoreError(f"{where}: {name}: expected a string, got {_shown(value)}")
    return value


def _answer(where: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise StoreError(f"{where}: expected a string or null, got {_shown(value)}")
    return value


def _list(where: str, value: Any, length: int | None = None) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise StoreError(f"{where}: expected a list that is not empty, got {_shown(value)}")
    if length is not None and len(value) != length:
        raise StoreError(f"{where}: expected {length} entries, one per branch, got {len(value)}")
    return value


def _probes(at: str, field: str, value: Any) -> list[str | None]:
    return [_answer(f"{at}: {field}[{depth}]", probe) for depth, probe in enumerate(_list(f"{at}: {field}", value))]


def _integer(where: str, value: Any) -> int:
    # bool is an int to Python, never to the data.
    if type(value) is not int or not 1 <= value <= MAX_TOKENS:
        raise StoreError(f"{where}: expected a whole number from 1 to {MAX_TOKENS}, got {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    """Returns ``value`` as JSON, cut to a length that fits a message."""
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
