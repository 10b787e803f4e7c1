"""Questions to collect branches for: files and data sets, by the names of their columns."""

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotts_gym.errors import StoreError, plain, quote

QUESTION_COLUMNS = ("question", "problem", "prompt", "input")
ANSWER_COLUMNS = ("answer", "gold", "target", "expected_answer", "label")
ID_COLUMNS = ("id", "problem_id", "unique_id", "index")
"""Columns that are looked for, in this order, where none is named."""


@dataclass(frozen=True)
class Task:
    """A question as it is collected.

    Attributes:
        id: what names it; its place among the questions where the file has no ids.
        text: the question.
        answer: the gold answer; None: unlabelled.
        columns: all columns of its row, for prompt templates.
    """

    id: str
    text: str
    answer: str | None
    columns: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """What a journal keeps of it."""
        return {"id": self.id, "text": self.text, "answer": self.answer}


@dataclass(frozen=True)
class Columns:
    """The names of the columns; empty: the first of the usual names that is there.

    Attributes:
        question: of the question.
        answer: of the gold answer; "none": there is none.
        id: of the id.
    """

    question: str = ""
    answer: str = ""
    id: str = ""


def read_rows(source: str) -> list[dict[str, Any]]:
    """Read the rows of a file (.jsonl, .json, .csv, .parquet; the first three perhaps with .gz) or of a data set.

    Args:
        source: a path; or ``hf:NAME``, ``hf:NAME:SPLIT``, ``hf:NAME:CONFIG:SPLIT``, a Hugging Face data set.

    Raises:
        StoreError: there is no such file, or it holds no rows.
    """
    if source.startswith("hf:"):
        return _data_set(source)
    path = Path(source).expanduser()
    suffixes = [each.lower() for each in path.suffixes]
    form = suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else (suffixes or [""])[-1]
    if form == ".parquet":
        return _parquet(path)
    if form not in (".jsonl", ".json", ".csv"):
        raise StoreError(f"{plain(source)}: expected a .jsonl, .json, .csv or .parquet file, or hf:NAME, got another")
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if suffixes[-1] == ".gz" else data).decode("utf-8-sig")
    except (OSError, EOFError, ValueError) as error:
        raise StoreError(f"{plain(source)}: cannot be read: {plain(error)}") from error
    if form == ".csv":
        try:
            rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
        except csv.Error as error:
            raise StoreError(f"{plain(source)}: expected a table, got {plain(error)}") from error
        for number, row in enumerate(rows, 2):
            if None in row or None in row.values():
                raise StoreError(f"{plain(source)}: row {number}: expected as many values as the header has names")
        return [dict(row) for row in rows]
    return _json_rows(source, text, lines=form == ".jsonl")


def _json_rows(source: str, text: str, lines: bool) -> list[dict[str, Any]]:
    parts = (
        [(f"line {n}", line) for n, line in enumerate(text.split("\n"), 1) if line.strip()] if lines else [("", text)]
    )
    rows: list[Any] = []
    for where, part in parts:
        try:
            value = json.loads(part)
        except (ValueError, RecursionError) as error:
            raise StoreError(f"{plain(source)}: {where or 'JSON'}: cannot be read: {plain(error)}") from None
        rows.extend(value if not lines and isinstance(value, list) else [value])
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise StoreError(f"{plain(source)}: row {number}: expected an object, got {quote(row)}")
    return rows


def _parquet(path: Path) -> list[dict[str, Any]]:
    try:
        import pyarrow.parquet
    except ImportError:
        raise StoreError(
            f"{plain(path)}: expected the package pyarrow for .parquet files; try: pip install pyarrow"
        ) from None
    try:
        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise StoreError(f"{plain(path)}: cannot be read: {plain(error)}") from error
    return rows


def _data_set(source: str) -> list[dict[str, Any]]:
    try:
        import datasets
    except ImportError:
        raise StoreError(f"{plain(source)}: expected the package datasets; try: pip install datasets") from None
    name, *rest = source.removeprefix("hf:").split(":")
    split = rest[-1] if rest else "test"
    try:
        return [dict(row) for row in datasets.load_dataset(name, *rest[:-1], split=split)]
    except Exception as error:  # whatever the hub, the disk or the data set's own code raises
        raise StoreError(f"{plain(source)}: cannot be loaded: {plain(error)}") from error


def read_tasks(source: str, columns: Columns | None = None, limit: int | None = None) -> list[Task]:
    """Read questions.

    Args:
        source: as ``read_rows`` takes it.
        columns: names of the columns.
        limit: only so many, from the beginning; None: all.

    Raises:
        StoreError: there is no such file or column, a row lacks something, two have one id, or there is no question.
    """
    return tasks_of(source, read_rows(source), columns or Columns(), limit)


def tasks_of(source: str, rows: Sequence[Mapping[str, Any]], columns: Columns, limit: int | None = None) -> list[Task]:
    """The questions of rows; see ``read_tasks``."""
    rows = rows[:limit]
    if not rows:
        raise StoreError(f"{plain(source)}: expected at least one question, got none")
    where = plain(source)
    question = _column(where, "question", columns.question, QUESTION_COLUMNS, rows[0], needed=True)
    answer = "" if columns.answer == "none" else _column(where, "answer", columns.answer, ANSWER_COLUMNS, rows[0])
    identifier = _column(where, "id", columns.id, ID_COLUMNS, rows[0])
    tasks = []
    seen: set[str] = set()
    for number, row in enumerate(rows):
        text = row.get(question)
        if not isinstance(text, str) or not text.strip():
            raise StoreError(f"{where}: row {number}: {question}: expected a text, got {quote(text)}")
        gold = row.get(answer) if answer else None
        if isinstance(gold, bool) or not isinstance(gold, str | int | float | None):
            raise StoreError(f"{where}: row {number}: {answer}: expected a text or a number, got {quote(gold)}")
        label = str(row.get(identifier, number)) if identifier else str(number)
        if label in seen:
            raise StoreError(f"{where}: row {number}: {identifier}: expected each id once, got {quote(label)} twice")
        seen.add(label)
        written = None if gold is None else str(gold).strip() or None
        tasks.append(Task(label, _whole(text), None if written is None else _whole(written), row))
    return tasks


def _whole(text: str) -> str:
    """The text without halves of characters, which no file holds."""
    return text.encode(errors="replace").decode()


def _column(
    where: str, what: str, named: str, usual: Sequence[str], row: Mapping[str, Any], needed: bool = False
) -> str:
    if named:
        if named not in row:
            raise StoreError(
                f"{where}: {what}: expected a column {quote(named)}, got {plain(', '.join(map(str, row)))}"
            )
        return named
    found = next((name for name in usual if name in row), "")
    if needed and not found:
        raise StoreError(
            f"{where}: expected a column for the {what}, one of {', '.join(usual)}, got "
            f"{plain(', '.join(map(str, row)))}; name it with --{what}-column"
        )
    return found


def digest(tasks: Sequence[Task]) -> str:
    """SHA-256 of the questions, in hexadecimal."""
    text = json.dumps([task.to_dict() for task in tasks], ensure_ascii=True, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
