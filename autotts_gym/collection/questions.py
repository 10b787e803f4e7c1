"""Questions to collect branches for: files and data sets, by the names of their columns."""

import csv
import gzip
import hashlib
import io
import json
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from autotts_gym.errors import StoreError, plain, quote
from autotts_gym.validation import integer

QUESTION_COLUMNS = ("question", "problem", "prompt", "input")
ANSWER_COLUMNS = ("answer", "gold", "target", "expected_answer", "label")
ID_COLUMNS = ("id", "problem_id", "unique_id", "index")
"""Columns that are looked for, in this order, where none is named."""


_ENDING = re.compile(r"(\.(jsonl|json|csv|parquet))?(\.gz)?$", re.IGNORECASE)


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
    """The names of the columns; empty: the first of the usual names that any row has.

    Attributes:
        question: of the question.
        answer: of the gold answer; "none": there is none.
        id: of the id.
    """

    question: str = ""
    answer: str = ""
    id: str = ""

    def found(self, where: str, rows: Sequence[Mapping[str, Any]]) -> Self:
        """The names in these rows; empty: none of them has answers, or ids.

        Raises:
            StoreError: no row has a column that is named, or that of the questions.
        """
        names = list(dict.fromkeys(name for row in rows for name in row))
        return type(self)(
            _column(where, "question", self.question, QUESTION_COLUMNS, names, needed=True),
            "" if self.answer == "none" else _column(where, "answer", self.answer, ANSWER_COLUMNS, names),
            _column(where, "id", self.id, ID_COLUMNS, names),
        )


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
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise StoreError(f"{plain(source)}: cannot be read: {plain(error)}") from error
    if form == ".csv":
        csv.field_size_limit(max(csv.field_size_limit(), len(text)))
        table = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        try:
            header = list(table.fieldnames or ())
            rows = list(table)
        except csv.Error as error:
            raise StoreError(f"{plain(source)}: expected a table, got {plain(error)}") from error
        if twice := next((name for name in header if header.count(name) > 1), None):
            raise StoreError(f"{plain(source)}: expected each column once, got {quote(twice)} twice")
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


def source_name(source: str) -> str:
    """The name of a file or of a data set, without its ending, as benchmarks are named."""
    name = source.split(":")[1] if source.startswith("hf:") else source
    return file_name(_ENDING.sub("", Path(name).name)) or "questions"


def file_name(text: str) -> str:
    """A name without what no file's name has."""
    return "".join(each if each.isprintable() and each not in '/\\:*?"<>|' else "_" for each in text.strip(". "))


def read_tasks(source: str, columns: Columns | None = None, limit: int | None = None) -> list[Task]:
    """Read questions.

    Args:
        source: as ``read_rows`` takes it.
        columns: names of the columns.
        limit: only so many, from the beginning; None: all.

    Raises:
        StoreError: there is no such file or column, a row lacks something, two have one id, or there is no question.
    """
    if limit is not None:
        integer("limit", limit, 1)
    rows, where = read_rows(source)[:limit], plain(source)
    if not rows:
        raise StoreError(f"{where}: expected at least one question, got none")
    return distinct_tasks(where, rows, (columns or Columns()).found(where, rows))


def distinct_tasks(where: str, rows: Sequence[Mapping[str, Any]], columns: Columns) -> list[Task]:
    """The questions of rows, by columns that were found.

    Raises:
        StoreError: a row lacks something, or two have one id.
    """
    tasks = [task_of(where, number, row, columns) for number, row in enumerate(rows)]
    seen: set[str] = set()
    for number, task in enumerate(tasks):
        if task.id in seen:
            raise StoreError(f"{where}: row {number}: {columns.id}: expected each id once, got {quote(task.id)} twice")
        seen.add(task.id)
    return tasks


def task_of(where: str, number: int, row: Mapping[str, Any], columns: Columns) -> Task:
    """The question of a row, by columns that were found.

    Raises:
        StoreError: it has no question, or what is no answer.
    """
    text, gold, name = (row.get(each) if each else None for each in (columns.question, columns.answer, columns.id))
    if not isinstance(text, str) or not text.strip():
        raise StoreError(f"{where}: row {number}: {columns.question}: expected a text, got {quote(text)}")
    if isinstance(gold, float) and math.isnan(gold):  # how tables write that there is none
        gold = None
    if isinstance(gold, bool) or not isinstance(gold, str | int | float | None) or gold in (math.inf, -math.inf):
        raise StoreError(f"{where}: row {number}: {columns.answer}: expected a text or a number, got {quote(gold)}")
    answer = None if gold is None else _whole(str(gold).strip()) or None
    return Task(_whole(str(number if name is None else name)), _whole(text), answer, row)


def _whole(text: str) -> str:
    """The text without halves of characters, which no file holds."""
    return text.encode(errors="replace").decode()


def _column(where: str, what: str, named: str, usual: Sequence[str], names: Sequence[str], needed: bool = False) -> str:
    found = next((name for name in ([named] if named else usual) if name in names), "")
    if not found and named:
        raise StoreError(f"{where}: {what}: expected a column {quote(named)}, got {plain(', '.join(map(str, names)))}")
    if not found and needed:
        raise StoreError(
            f"{where}: expected a column for the {what}, one of {', '.join(usual)}, got "
            f"{plain(', '.join(map(str, names)))}; name it with --{what}-column"
        )
    return found


def digest(tasks: Sequence[Task]) -> str:
    """SHA-256 of the questions, in hexadecimal."""
    text = json.dumps([task.to_dict() for task in tasks], ensure_ascii=True, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
