"""Published replay data as JSON, in and out.

Two forms are read, from JSON and JSON Lines (one question a line), plain or gzipped:

- "autotts", the AutoTTS release: a list of ``{question, each_branch, gold_answer, probe_freq}``, where ``each_branch``
  lists ``[probes, tokens, final answer]``; ``final_answers_trace``, which repeats the final answers, may be there too;
- "parallel-probe", the raw Parallel-Probe release: a list of
  ``{probe_matrix_mxn, branch_tokens, final_answers_trace, gold_answer, probe_freq}`` and perhaps ``question``; each row
  of ``probe_matrix_mxn`` is a branch. Trailing nulls of a row are padding, nulls inside mean "no answer yet".

In both a null probe or final answer means "no answer yet" and "no answer", and so does a blank one; the export writes
null. A null gold answer means an unlabelled question.

**Probes must fit the tokens** (``replay/probing.py``): a log in which most probes are missing would show answers for
fewer tokens than they cost. Rows of the AutoTTS form that end with nulls beyond that are padded ones, as the first
step of Parallel-Probe's preprocessing writes them, and are trimmed. A log without any probes is imported as such: a
branch then shows its answer when it finishes (``ReplayStore.has_probes``).

What was trimmed, left out or looks like a mistake is counted in the attributes of the store and logged as a warning.
"""

import gzip
import hashlib
import json
import logging
import os
import re
import stat
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import numpy as np

from autotts_gym import validation
from autotts_gym.errors import StoreError, plain, quote
from autotts_gym.extensions import is_reference, load
from autotts_gym.files import write_atomically
from autotts_gym.replay.columns import DTYPES
from autotts_gym.replay.probing import least_probes, most_probes
from autotts_gym.replay.records import Branch, Question, build_store
from autotts_gym.replay.store import MAX_TOKENS, ReplayStore

LARGEST = float(np.finfo(np.float32).max)
"""The largest number of a signal."""

PROBES = ("checked", "unchecked", "none")
"""How an importer treats probes: it takes those that fit the tokens, all, or none."""

logger = logging.getLogger(__name__)


def import_json(
    path: str | os.PathLike[str],
    *,
    model: str | None = None,
    benchmark: str | None = None,
    equivalence: str = "exact",
    layout: str = "auto",
    probes: str = "checked",
    no_answer: Sequence[str] = (),
    labelled_only: bool = False,
) -> ReplayStore:
    """Import one file.

    Args:
        path: a ``.json`` or ``.jsonl`` file, perhaps with ``.gz`` behind.
        model: name of the model; by default that in a raw Parallel-Probe name
            (``<model>__<benchmark>__br128__....jsonl``) or the name of the file's folder.
        benchmark: name of the benchmark; by default that in a raw Parallel-Probe name or the name of the file.
        equivalence: which answers are one: "exact" or "math"; see ``autotts_gym.replay.equivalence``.
        layout: "autotts", "parallel-probe", or "auto" to recognise them by their fields; or a reference such as
            "file.py:name" to an ``Importer`` of one's own. "auto" asks those that installed packages bring first.
        probes: "checked" (their number must fit the tokens, or there is none in the file), "unchecked" (taken as
            they are), or "none" (left out: the answer of a branch shows when it finishes).
        no_answer: texts that mean "no answer", beside blank ones.
        labelled_only: leave questions without a gold answer out.

    Returns:
        A store in memory. Its attributes name the source file, its SHA-256, the layout and this package's version, and
        count what was trimmed or looks like a mistake: ``padded_rows`` and ``padding`` (nulls), ``identical_branches``
        (of one question), ``repeated_questions``, ``unlabelled_left_out``.

    Raises:
        StoreError: naming the file, the question, the branch and the field, what was expected and what came.
    """
    path = validation.path("path", path, StoreError)
    if not is_reference(layout):
        _check_choice("layout", layout, LAYOUTS)
    _check_choice("probes", probes, PROBES)
    named_model, named_benchmark = _names(path)
    data = _read_bytes(path)
    own = _own_importer(layout, path, data)
    if own is not None:
        given = {"probes": probes != "checked", "no_answer": bool(no_answer), "labelled_only": labelled_only}
        if any(given.values()):
            names = ", ".join(name for name, value in given.items() if value)
            raise StoreError(f"{path}: {names}: not for files that an importer of one's own reads ({plain(own.name)})")
        return _imported(own, path, data, model or named_model, benchmark or named_benchmark, equivalence)
    items = _parse(path, data)
    if layout == "auto":
        layout = _detect(path, items)
    has_matrix = any("probe_matrix_mxn" in item for item in items)
    log = _Log(str(path), _shared(path, items, "probe_freq"), _no_answers(no_answer), has_matrix)
    for index, item in enumerate(items):
        log.questions.append(_READERS[layout](log, f"{path}: question {index}", item))
    if labelled_only:
        log.keep_labelled()
    if layout == "autotts":
        log.trim_padding()
    questions = log.finished(probes)
    try:
        return build_store(
            questions,
            model=named_model if model is None else model,
            benchmark=named_benchmark if benchmark is None else benchmark,
            interval_tokens=log.interval_tokens,
            equivalence=equivalence,
            attributes={
                "source": path.name,
                "source_sha256": hashlib.sha256(data).hexdigest(),
                "importer": layout,
                "package_version": version("autotts_gym"),
                "synthetic": False,
                **_token_unit(path, items),
                **log.counts,
            },
        )
    except StoreError as error:
        raise StoreError(f"{path}: {error}") from error


# -------------------------------------------------------------------- importers of users

ENTRY_POINTS = "autotts_gym.importers"
"""Group of entry points by which packages bring an ``Importer``."""


@dataclass(frozen=True)
class Importer:
    """Reads files of a user's own form; see ``examples/importer.py``.

    Attributes:
        name: of the form; stores keep it.
        detect: called with the path and the bytes of a file; whether they are of this form.
        read: called with the same; returns Δ, the tokens between probes, and the questions.
    """

    name: str
    detect: Callable[[Path, bytes], bool]
    read: Callable[[Path, bytes], tuple[int, Iterable[Question]]]


def _own_importer(layout: str, path: Path, data: bytes) -> Importer | None:
    """The importer that a reference names, or that detects a file; None: it is one of the forms above."""
    if is_reference(layout):
        found = load("layout", layout)
        if not isinstance(found, Importer):
            raise StoreError(f"layout: expected {plain(layout)} to be an Importer, got {type(found).__name__}")
        return found
    if layout != "auto":
        return None
    brought = [each.load() for each in entry_points(group=ENTRY_POINTS)]
    return next((each for each in brought if each.detect(path, data)), None)


def _imported(own: Importer, path: Path, data: bytes, model: str, benchmark: str, equivalence: str) -> ReplayStore:
    """A store of what a user's importer reads.

    Raises:
        StoreError: it reads nothing, or something else than questions, or fails.
    """
    try:
        interval_tokens, questions = own.read(path, data)
        questions = list(questions)
        if not all(isinstance(question, Question) for question in questions):
            raise TypeError("expected questions of autotts_gym.replay.Question")
        return build_store(
            questions,
            model=model,
            benchmark=benchmark,
            interval_tokens=interval_tokens,
            equivalence=equivalence,
            attributes={
                "source": path.name,
                "source_sha256": hashlib.sha256(data).hexdigest(),
                "importer": own.name,
                "package_version": version("autotts_gym"),
                "synthetic": False,
            },
        )
    except StoreError as error:
        raise StoreError(f"{path}: {error}") from error
    except Exception as error:
        raise StoreError(f"{path}: {plain(own.name)} failed: {type(error).__name__}: {plain(error)}") from error


# -------------------------------------------------------------------- what a file says


@dataclass
class _Row:
    """A branch as it is in the file; ``at`` says where, for errors."""

    at: str
    column: str
    probes: list[str | None]
    tokens: int
    final: str | None
    signals: dict[str, list[float | None]] = field(default_factory=dict)

    def trim(self, probes: list[str | None]) -> None:
        """Remove the probes that are padding, and their signals."""
        self.probes = probes
        self.signals = {name: values[: len(probes)] for name, values in self.signals.items()}

    def branch(self) -> Branch:
        """The branch.

        Raises:
            StoreError: a signal has not one number for each probe.
        """
        signals = {}
        for name, values in self.signals.items():
            numbers = [value for value in values if value is not None]
            if not len(numbers) == len(values) == len(self.probes):
                raise StoreError(
                    f"{self.at}: signal {quote(name)}: expected {len(self.probes)} numbers, one per probe, "
                    f"got {len(numbers)}"
                )
            signals[name] = numbers
        return Branch(self.probes, self.tokens, self.final, signals)


@dataclass
class _Item:
    """A question as it is in the file."""

    at: str
    text: str
    gold: str | None
    rows: list[_Row]


@dataclass
class _Log:
    """All questions of a file, and what was noticed about them.

    Attributes:
        path: of the file, for messages.
        interval_tokens: tokens between probes.
        no_answers: texts that mean "no answer".
        has_matrix: whether a question has a matrix of probes.
        questions: in the order of the file.
        counts: attributes of the store that say what was noticed.
    """

    path: str
    interval_tokens: int
    no_answers: frozenset[str]
    has_matrix: bool
    questions: list[_Item] = field(default_factory=list)
    counts: dict[str, object] = field(default_factory=dict)

    def rows(self) -> Iterator[_Row]:
        for question in self.questions:
            yield from question.rows

    def answer(self, where: str, value: Any) -> str | None:
        """Return an answer, None for none."""
        if value is not None and not isinstance(value, str):
            raise StoreError(f"{where}: expected a string or null, got {_shown(value)}")
        return None if value is None or _bare(value) in self.no_answers else value

    def gold(self, where: str, item: dict[str, Any]) -> str | None:
        """Return the gold answer; None where it is null."""
        value = _field(where, item, "gold_answer")
        if value is not None and not isinstance(value, str):
            raise StoreError(f"{where}: gold_answer: expected a string or null, got {_shown(value)}")
        if value is not None and _bare(value) in self.no_answers:
            raise StoreError(
                f"{where}: gold_answer: expected an answer, or null for an unlabelled question, got {_shown(value)}, "
                "which is none"
            )
        return value

    def keep_labelled(self) -> None:
        """Leaves unlabelled questions out."""
        kept = [question for question in self.questions if question.gold is not None]
        if not kept:
            raise StoreError(f"{self.path}: expected a question with a gold answer, got {len(self.questions)} without")
        if left := len(self.questions) - len(kept):
            self.counts["unlabelled_left_out"] = left
            logger.warning("%s: left out %d questions without a gold answer", self.path, left)
        self.questions = kept

    def trim_padding(self) -> None:
        """Remove the trailing nulls that fill rows up to one length.

        A row is surely padded if it ends with nulls and has more probes than its tokens allow. Where there is one, so
        are all rows of each question whose rows have the same length: they are a matrix.
        """
        padded = [row for row in self.rows() if self.over(row)]
        if not padded:
            return
        rows = nulls = 0
        for question in self.questions:
            matrix = len(question.rows) > 1 and len({len(row.probes) for row in question.rows}) == 1
            for row in question.rows:
                if matrix or self.over(row):
                    trimmed = _trimmed(row.probes)
                    rows += len(trimmed) < len(row.probes)
                    nulls += len(row.probes) - len(trimmed)
                    row.trim(trimmed)
        self.counts |= {"padded_rows": rows, "padding": nulls}
        logger.warning(
            "%s: trimmed %d trailing nulls from %d branches, as rows are longer than their tokens allow: padding",
            self.path,
            nulls,
            rows,
        )

    def over(self, row: _Row) -> bool:
        """Return whether a row ends with nulls beyond what its tokens allow."""
        return len(row.probes) > most_probes(row.tokens, self.interval_tokens) and row.probes[-1] is None

    def finished(self, probes: str) -> list[Question]:
        """Return the questions, their probes checked or left out."""
        bare = not any(row.probes for row in self.rows())
        if (
            probes == "checked"
            and bare
            and any(least_probes(row.tokens, self.interval_tokens) > 0 for row in self.rows())
        ):
            logger.warning("%s: no branch has a probe: the answer of each shows when it finishes", self.path)
            probes = "none"
        if probes == "none":
            self.counts["probes"] = "none"
            for row in self.rows():
                row.probes = [None] * (row.tokens // self.interval_tokens)
        else:
            self.note_identical()
        if probes == "checked":
            for row in self.rows():
                self.check(row)
        self.note_repeated()
        return [
            Question(question.text, question.gold, [row.branch() for row in question.rows])
            for question in self.questions
        ]

    def check(self, row: _Row) -> None:
        """Check that a branch has as many probes as its tokens say."""
        low = least_probes(row.tokens, self.interval_tokens)
        high = most_probes(row.tokens, self.interval_tokens)
        if not low <= len(row.probes) <= high:
            raise StoreError(
                f"{row.at}: {row.column}: expected {low} to {high} probes for {row.tokens} tokens with probe_freq "
                f"{self.interval_tokens}, got {len(row.probes)}; a log without probes is imported with --probes none "
                "(probes='none'), one that was probed otherwise with --probes unchecked"
            )

    def note_identical(self) -> None:
        """Count the branches that repeat another one of their question, as sampling twice from one seed gives them."""
        repeats: list[_Row] = []
        for question in self.questions:
            seen: set[tuple[tuple[str | None, ...], int, str | None]] = set()
            for row in question.rows:
                key = (tuple(row.probes), row.tokens, row.final)
                if row.probes and key in seen:
                    repeats.append(row)
                seen.add(key)
        if repeats:
            self.counts["identical_branches"] = len(repeats)
            logger.warning(
                "%s: %d branches are identical to another one of their question (sampled with equal seeds?), the first "
                "at %s",
                self.path,
                len(repeats),
                repeats[0].at.removeprefix(f"{self.path}: "),
            )

    def note_repeated(self) -> None:
        """Count the questions that are posed before in the file."""
        seen: set[str] = set()
        repeats: list[_Item] = []
        for question in self.questions:
            text = _bare(question.text)
            if text and text in seen:
                repeats.append(question)
            seen.add(text)
        if repeats:
            self.counts["repeated_questions"] = len(repeats)
            logger.warning(
                "%s: %d questions have the text of an earlier one, the first is %s",
                self.path,
                len(repeats),
                repeats[0].at.removeprefix(f"{self.path}: "),
            )


def _trimmed(probes: list[str | None]) -> list[str | None]:
    end = len(probes)
    while end and probes[end - 1] is None:
        end -= 1
    return probes[:end]


_NO_WIDTH = dict.fromkeys((0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF))


def _bare(text: str) -> str:
    """Return ``text`` without blanks around it and invisible characters."""
    return text.translate(_NO_WIDTH).strip()


def _no_answers(texts: Sequence[str]) -> frozenset[str]:
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, Collection) or not all(isinstance(text, str) for text in texts):
        raise StoreError(f"no_answer: expected texts, got {quote(texts)}")
    return frozenset(["", *map(_bare, texts)])


def _check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise StoreError(f"{name}: expected {', '.join(choices[:-1])} or {choices[-1]}, got {quote(value)}")


# -------------------------------------------------------------------- trees

_SUFFIX = re.compile(r"\.jsonl?(?:\.gz)?$")
_RAW_NAME = re.compile(r"(?P<model>.+)__(?P<benchmark>.+?)__br\d+(?:__.*)?")


def _names(path: Path) -> tuple[str, str]:
    """Return the model and the benchmark that a path names."""
    stem = _SUFFIX.sub("", path.name)
    if raw := _RAW_NAME.fullmatch(stem):
        return raw["model"], raw["benchmark"]
    return path.absolute().parent.name, stem


def tree_targets(
    folder: str | os.PathLike[str], destination: str | os.PathLike[str], *, layout: str = "auto"
) -> dict[Path, Path]:
    """Return which file below ``folder`` becomes which ``.h5`` under ``destination``.

    Files are ``<model>/<benchmark>.json``, ``.jsonl`` or one of both with ``.gz``, at any depth, or have raw
    Parallel-Probe names. Others of that kind that hold no branches are left out, with a warning that says so, and
    hidden folders are not entered. Of copies with the same content the first is imported.

    Raises:
        StoreError: if there is none, a name is no folder's, or two files with different content have one name.
    """
    _check_choice("layout", layout, LAYOUTS)
    folder, destination = Path(folder), Path(destination)
    targets: dict[Path, Path] = {}
    contents: dict[Path, tuple[Path, str]] = {}
    strays: list[str] = []
    for source in _json_files(folder):
        text = _text_with_branches(source)
        if text is None:
            strays.append(source.relative_to(folder).as_posix())
            continue
        model, benchmark = _names(source)
        for name in (model, benchmark):
            if name in ("", ".", "..") or not name.isprintable():
                raise StoreError(f"{source}: expected a path that names model and benchmark, got {quote(name)} for one")
        target = destination / model / f"{benchmark}.h5"
        digest = hashlib.sha256(text).hexdigest()
        if target not in contents:
            contents[target] = source, digest
            targets[source] = target
        elif contents[target][1] != digest and not _same_branches(contents[target][0], source, layout):
            raise StoreError(
                f"{source}: expected one file per store, got a second one for {target}, with other content than "
                f"{contents[target][0]}; remove or rename one"
            )
    if strays:
        shown = ", ".join(strays[:3]) + (", ..." if len(strays) > 3 else "")
        logger.warning("%s: left out %d JSON files without branches: %s", folder, len(strays), shown)
    if not targets:
        raise StoreError(
            f"{folder}: expected files <model>/<benchmark>.json, .jsonl or these with .gz, with each_branch or "
            f"probe_matrix_mxn in them, got none{f' (but {len(strays)} other JSON files)' if strays else ''}"
        )
    return targets


def _json_files(folder: Path) -> Iterator[Path]:
    """Return the files with names of JSON below a folder, those in its upper folders first, sorted."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            if _SUFFIX.search(name) and path.is_file():
                yield path


def _text_with_branches(path: Path) -> bytes | None:
    """Return the text of a file that has a field of branches in it; None for one that has not."""
    text = _unpacked(path, _read_bytes(path))
    return text if any(mark in text for mark in (b'"each_branch"', b'"probe_matrix_mxn"', b'"branch_tokens"')) else None


def _same_branches(one: Path, other: Path, layout: str) -> bool:
    """Return whether two files hold the same questions and branches, in whichever form."""
    # Imported without warnings: they come when the file that counts is imported.
    disabled, logger.disabled = logger.disabled, True
    try:
        first, second = (import_json(path, layout=layout, probes="unchecked") for path in (one, other))
    finally:
        logger.disabled = disabled
    questions = range(first.num_questions)
    return (
        first.interval_tokens == second.interval_tokens
        and all(np.array_equal(getattr(first, name), getattr(second, name)) for name in DTYPES)
        and all(first.answers(q) == second.answers(q) for q in questions)
        and all(a == b or not a or not b for a, b in zip(first.questions, second.questions, strict=True))
    )


def import_tree(
    folder: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    equivalence: str = "exact",
    layout: str = "auto",
    probes: str = "checked",
    no_answer: Sequence[str] = (),
    labelled_only: bool = False,
    force: bool = False,
    targets: Mapping[Path, Path] | None = None,
) -> Iterator[tuple[Path, ReplayStore]]:
    """Import every file of ``tree_targets`` to ``<model>/<benchmark>.h5``, one store after the other.

    Args:
        folder: the folder to search, such as a checkout of the published repository.
        destination: the folder for the stores.
        equivalence: see ``import_json``.
        layout: see ``import_json``.
        probes: see ``import_json``.
        no_answer: see ``import_json``.
        labelled_only: see ``import_json``.
        force: replace stores that exist.
        targets: what ``tree_targets`` returned, if it was called before.

    Yields:
        The path and the content of each store, once it is saved.

    Raises:
        StoreError: as ``import_json`` and ``tree_targets`` do, or before anything is imported if a store exists and
            ``force`` is false.
    """
    if targets is None:
        targets = tree_targets(folder, destination, layout=layout)
    for target in targets.values():
        refuse_existing(target, force)
    for source, target in targets.items():
        store = import_json(
            source,
            equivalence=equivalence,
            layout=layout,
            probes=probes,
            no_answer=no_answer,
            labelled_only=labelled_only,
        )
        yield store.save(target), store


def refuse_existing(path: Path, force: bool) -> None:
    """Raise a StoreError if something is at ``path``, unless ``force``."""
    if not force and path.exists():
        raise StoreError(f"{path}: exists already; --force (force=True) replaces it")


# -------------------------------------------------------------------- export


def export_json(store: ReplayStore, path: Path) -> Path:
    """Write ``store`` in the AutoTTS form, whole or not at all.

    Args:
        store: what to write.
        path: a name in ``.jsonl`` or ``.jsonl.gz`` gives JSON Lines, one in ``.gz`` is gzipped.

    Raises:
        StoreError: if it cannot be written.
    """
    items = (_exported(store, index, text) for index, text in enumerate(store.questions))
    if _is_lines(path):
        text = "".join(f"{json.dumps(item, ensure_ascii=False)}\n" for item in items)
    else:
        text = json.dumps(list(items), ensure_ascii=False, indent=2)
    data = text.encode()
    write_atomically(path, gzip.compress(data, mtime=0) if path.name.endswith(".gz") else data)
    return path


def _exported(store: ReplayStore, index: int, text: str) -> dict[str, Any]:
    answers: list[str | None] = [*store.answers(index), None]  # id -1 is the last
    branches = []
    for b in range(int(store.branch_offsets[index]), int(store.branch_offsets[index + 1])):
        own = slice(*store.probe_offsets[b : b + 2])
        probes = [answers[i] for i in store.probes[own]] if store.has_probes else []
        branches.append([probes, int(store.tokens[b]), answers[store.finals[b]]])
        if store.signals:
            branches[-1].append({name: signal[own].tolist() for name, signal in store.signals.items()})
    return {
        "question": text,
        "final_answers_trace": [branch[2] for branch in branches],
        "each_branch": branches,
        "gold_answer": answers[store.gold[index]],
        "probe_freq": store.interval_tokens,
        **({"token_unit": store.token_unit} if "token_unit" in store.attributes else {}),
    }


# -------------------------------------------------------------------- parsing

_GZIP = b"\x1f\x8b"


def _read_bytes(path: Path) -> bytes:
    try:
        if stat.S_ISCHR(path.stat().st_mode):  # it may have no end
            raise StoreError(f"{path}: expected a file, got a device")
        return path.read_bytes()
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file") from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from error


def _unpacked(path: Path, data: bytes) -> bytes:
    try:
        return gzip.decompress(data) if data.startswith(_GZIP) else data
    except (OSError, EOFError, zlib.error) as error:
        raise StoreError(f"{path}: expected complete gzip data, got: {plain(error)}") from error


def _is_lines(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith(".jsonl")


def _parse(path: Path, data: bytes) -> list[dict[str, Any]]:
    """Return the questions of a file as JSON objects, at least one."""
    text = _unpacked(path, data)
    start = text.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if start == b"{" and (_is_lines(path) or _many_lines(text)):
        items: Any = _lines(path, text)
    else:
        items = _json(f"{path}", text)
    if not isinstance(items, list) or not items:
        raise StoreError(f"{path}: expected a list of questions, got {_shown(items)}")
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise StoreError(f"{path}: question {index}: expected an object, got {_shown(item)}")
    return items


def _many_lines(text: bytes) -> bool:
    """Return whether the first of several lines is JSON by itself."""
    first, _, rest = text.strip().partition(b"\n")
    try:
        _json("", first)
    except StoreError:
        return False
    return bool(rest)


def _lines(path: Path, text: bytes) -> list[Any]:
    # Split at line feeds alone: JSON strings may hold the other characters that Python takes for ends of lines.
    return [_json(f"{path}: line {number}", line) for number, line in enumerate(text.split(b"\n"), 1) if line.strip()]


def _json(where: str, text: bytes) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{where}: expected JSON, got: {plain(error)}") from error


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name}, which is not a number in JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    item = dict(pairs)
    if len(item) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the field {_shown(next(name for name in names if names.count(name) > 1))} twice")
    return item


def _detect(path: Path, items: list[dict[str, Any]]) -> str:
    fields = (("autotts", "each_branch"), ("parallel-probe", "probe_matrix_mxn"), ("parallel-probe", "branch_tokens"))
    for layout, name in fields:
        if name in items[0]:
            return layout
    raise StoreError(f"{path}: question 0: expected each_branch or probe_matrix_mxn, got {_shown(list(items[0]))}")


def _shared(path: Path, items: list[dict[str, Any]], name: str) -> int:
    """Return a number that all questions share, such as Δ."""
    first = 0
    for index, item in enumerate(items):
        where = f"{path}: question {index}"
        value = _integer(f"{where}: {name}", _field(where, item, name))
        first = first or value
        if value != first:
            raise StoreError(f"{where}: {name}: expected {first} as in question 0, got {value}")
    return first


def _token_unit(path: Path, items: list[dict[str, Any]]) -> dict[str, int]:
    """Return the attribute of a store that was exported with one."""
    has_unit = any("token_unit" in item for item in items)
    return {"token_unit": _shared(path, items, "token_unit")} if has_unit else {}


def _read_autotts(log: _Log, where: str, item: dict[str, Any]) -> _Item:
    rows = []
    for index, row in enumerate(_list(f"{where}: each_branch", _field(where, item, "each_branch"))):
        at = f"{where}, branch {index}"
        if not isinstance(row, list) or len(row) not in (3, 4):
            raise StoreError(
                f"{at}: each_branch: expected [probes, tokens, final answer] or, with signals, a fourth entry, "
                f"got {_shown(row)}"
            )
        rows.append(
            _Row(
                at,
                "probes",
                _probes(log, at, "probes", row[0]),
                _integer(f"{at}: tokens", row[1]),
                log.answer(f"{at}: final answer", row[2]),
                _signals(at, row[3]) if len(row) > 3 else {},
            )
        )
    if item.get("final_answers_trace") is not None:
        trace = _list(f"{where}: final_answers_trace", item["final_answers_trace"], len(rows))
        for row, value in zip(rows, trace, strict=True):
            if log.answer(f"{row.at}: final_answers_trace", value) != row.final:
                raise StoreError(
                    f"{row.at}: final_answers_trace: expected {quote(row.final)} as in each_branch, got {_shown(value)}"
                )
    return _Item(where, _string(where, item, "question"), log.gold(where, item), rows)


def _read_parallel_probe(log: _Log, where: str, item: dict[str, Any]) -> _Item:
    if "probe_matrix_mxn" in item or log.has_matrix or "branch_tokens" not in item:
        matrix = _list(f"{where}: probe_matrix_mxn", _field(where, item, "probe_matrix_mxn"))
        tokens = _list(f"{where}: branch_tokens", _field(where, item, "branch_tokens"), len(matrix))
    else:
        tokens = _list(f"{where}: branch_tokens", item["branch_tokens"])
        matrix = [[] for _ in tokens]
    finals = _list(f"{where}: final_answers_trace", _field(where, item, "final_answers_trace"), len(matrix))
    rows = []
    for index, row in enumerate(matrix):
        at = f"{where}, branch {index}"
        rows.append(
            _Row(
                at,
                "probe_matrix_mxn",
                _trimmed(_probes(log, at, "probe_matrix_mxn", row)),
                _integer(f"{at}: branch_tokens", tokens[index]),
                log.answer(f"{at}: final_answers_trace", finals[index]),
            )
        )
    text = _string(where, item, "question") if "question" in item else ""
    return _Item(where, text, log.gold(where, item), rows)


_READERS: dict[str, Callable[[_Log, str, dict[str, Any]], _Item]] = {
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


def _list(where: str, value: Any, length: int | None = None) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise StoreError(f"{where}: expected a list that is not empty, got {_shown(value)}")
    if length is not None and len(value) != length:
        raise StoreError(f"{where}: expected {length} entries, one per branch, got {len(value)}")
    return value


def _probes(log: _Log, at: str, field: str, value: Any) -> list[str | None]:
    """Return the probes of a branch; it has none where they are an empty list or null."""
    if value is not None and not isinstance(value, list):
        raise StoreError(
            f"{at}: {field}: expected a list that is not empty, or [] for a branch without probes, got {_shown(value)}"
        )
    return [log.answer(f"{at}: {field}[{depth}]", probe) for depth, probe in enumerate(value or [])]


def _signals(at: str, value: Any) -> dict[str, list[float | None]]:
    """Return the signals of a branch by name; null stands where a probe is padding."""
    if not isinstance(value, dict):
        raise StoreError(f"{at}: signals: expected an object of lists of numbers by name, got {_shown(value)}")
    for name, values in value.items():
        good = isinstance(values, list) and all(
            each is None or (type(each) in (int, float) and abs(each) <= LARGEST) for each in values
        )
        if not name or not good:
            raise StoreError(
                f"{at}: signal {quote(name)}: expected a list of numbers of float32, one per probe, "
                f"got {_shown(values)}"
            )
    return value


def _integer(where: str, value: Any) -> int:
    # bool is an int to Python, never to the data.
    if type(value) is not int or not 1 <= value <= MAX_TOKENS:
        raise StoreError(f"{where}: expected a whole number from 1 to {MAX_TOKENS}, got {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    """Return ``value`` as JSON, cut to a length that fits a message."""
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
