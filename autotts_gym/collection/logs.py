"""Branches that exist: rows of logs with their texts, and perhaps their token ids."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autotts_gym.collection.questions import Columns, Task, distinct_tasks, read_rows, task_of
from autotts_gym.errors import StoreError, plain, quote
from autotts_gym.validation import integers, is_integer

LISTS = ("generations", "responses", "outputs", "completions", "samples")
SINGLES = ("generation", "response", "output", "completion")
"""Columns that are looked for, in this order: of many branches, and of one."""


@dataclass(frozen=True)
class LogBranch:
    """A branch of a log.

    Attributes:
        text: its text.
        ids: its token ids; empty: unknown.
        finish: "stop", or "length" where it was cut off.
    """

    text: str
    ids: tuple[int, ...] = ()
    finish: str = "stop"

    @property
    def most_tokens(self) -> int:
        """The most tokens that it can have: each takes a byte at least, and an end may follow."""
        return len(self.ids) or len(self.text.encode()) + 1


def read_logs(
    source: str, columns: Columns | None = None, branches: str = ""
) -> tuple[list[Task], dict[int, list[LogBranch]]]:
    """Read a log: a question a row with a list of branches, or a branch a row.

    A branch is a text, or an object with ``text`` and perhaps ``token_ids`` and ``finish_reason`` (as vLLM's
    ``RequestOutput`` has them). ``finish_reasons`` beside a list of texts is heeded (as OpenR1 has it).

    Args:
        source: as ``autotts_gym.collection.questions.read_rows`` takes it.
        columns: names of the columns of the question.
        branches: name of the column with the branches; empty: the first of the usual ones that any row has.

    Returns:
        The questions, and the branches of each by its number.

    Raises:
        StoreError: there is no such file or column, or a row is none.
    """
    rows = read_rows(source)
    where = plain(source)
    if not rows:
        raise StoreError(f"{where}: expected at least one row, got none")
    names = list(dict.fromkeys(name for row in rows for name in row))
    name = branches or next((each for each in (*LISTS, *SINGLES) if each in names), "")
    if name not in names:
        raise StoreError(
            f"{where}: expected a column of branches, one of {', '.join((*LISTS, *SINGLES))}, got "
            f"{plain(', '.join(map(str, names)))}; name it with --branches-column"
        )
    columns = (columns or Columns()).found(where, rows)
    grouped: dict[tuple[str, str], tuple[Mapping[str, Any], list[LogBranch]]] = {}
    for number, row in enumerate(rows):
        value = row.get(name)
        items = value if isinstance(value, list) else [value]
        reasons = row.get("finish_reasons") if isinstance(row.get("finish_reasons"), list) else None
        if not items or (reasons is not None and len(reasons) != len(items)):
            raise StoreError(f"{where}: row {number}: {plain(name)}: expected branches, each with a reason, got others")
        found = [
            _branch(f"{where}: row {number}: {plain(name)}", item, reasons[i] if reasons else row.get("finish_reason"))
            for i, item in enumerate(items)
        ]
        key = (str(row.get(columns.id)) if columns.id else "", task_of(where, number, row, columns).text)
        grouped.setdefault(key, (row, []))[1].extend(found)
    return (
        distinct_tasks(where, [row for row, _ in grouped.values()], columns),
        {number: found for number, (_, found) in enumerate(grouped.values())},
    )


def _branch(where: str, item: Any, reason: Any) -> LogBranch:
    ids: Any = ()
    text = item
    if isinstance(item, dict):
        text, reason = item.get("text"), item.get("finish_reason", reason)
        ids = item.get("token_ids") or ()
    if not isinstance(text, str) or not text:
        raise StoreError(f"{where}: expected a text, got {quote(item)}")
    if not isinstance(ids, list | tuple) or not all(map(is_integer, ids)):
        raise StoreError(f"{where}: token_ids: expected {integers()}, each, got {quote(ids)}")
    if reason not in (None, "stop", "length", "eos"):
        raise StoreError(f"{where}: finish_reason: expected stop or length, got {quote(reason)}")
    return LogBranch(text.encode(errors="replace").decode(), tuple(ids), "length" if reason == "length" else "stop")
