"""Questions and logs: every form of file, and clear errors."""

import csv
import gzip
import json

import pytest

from autotts_gym.collection.logs import read_logs
from autotts_gym.collection.questions import Columns, digest, read_tasks
from autotts_gym.errors import StoreError

ROWS = [
    {"id": "a", "question": "1+1?", "answer": 2, "level": 1},
    {"id": "b", "question": "ü?", "answer": "x", "level": 2},
]


def written(path, rows=ROWS):
    name = path.name
    if name.endswith(".jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "\n")
    elif name.endswith(".json"):
        path.write_text(json.dumps(rows))
    elif name.endswith(".jsonl.gz"):
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    elif name.endswith(".csv"):
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
    else:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(
            pyarrow.Table.from_pylist([row | {"answer": str(row["answer"])} for row in rows]), path
        )
    return str(path)


@pytest.mark.parametrize("name", ["q.jsonl", "q.json", "q.jsonl.gz", "q.csv", "q.parquet"])
def test_forms_of_files(tmp_path, name):
    tasks = read_tasks(written(tmp_path / name))
    assert [(task.id, task.text, task.answer) for task in tasks] == [("a", "1+1?", "2"), ("b", "ü?", "x")]
    assert str(tasks[1].columns["level"]) == "2"
    assert [task.id for task in read_tasks(str(tmp_path / name), limit=1)] == ["a"]


def test_usual_and_named_columns(tmp_path):
    path = written(tmp_path / "q.jsonl", [{"problem": "p", "target": "t", "other": "o"}])
    (task,) = read_tasks(path)
    assert (task.id, task.text, task.answer) == ("0", "p", "t")
    (task,) = read_tasks(path, Columns(question="other", answer="problem", id="target"))
    assert (task.id, task.text, task.answer) == ("t", "o", "p")
    (task,) = read_tasks(path, Columns(answer="none"))
    assert task.answer is None
    with pytest.raises(StoreError, match="expected a column 'x'"):
        read_tasks(path, Columns(question="x"))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("q.jsonl", "", "at least one question"),
        ("q.jsonl", '{"question": "x"', "line 1"),
        ("q.jsonl", "[1]", "expected an object"),
        ("q.json", "[1]", "row 0: expected an object"),
        ("q.jsonl", '{"text": "x"}', "--question-column"),
        ("q.jsonl", '{"question": " "}', "row 0: question: expected a text"),
        ("q.jsonl", '{"question": "x", "answer": [1]}', "answer: expected a text or a number"),
        ("q.jsonl", '{"question": "x", "id": 1}\n{"question": "y", "id": 1}', "each id once"),
        ("q.csv", "question,answer\na\n", "row 2"),
        ("q.csv", "question,answer,answer\na,1,2\n", "each column once, got 'answer' twice"),
        ("q.jsonl", '{"question": "x", "answer": 1e400}', "row 0: answer: expected a text or a number, got inf"),
        ("q.txt", "x", "expected a .jsonl"),
        ("q.jsonl", "[" * 99_999, "cannot be read"),
        ("q.parquet", "x", "cannot be read"),
        ("q.jsonl.gz", "x", "cannot be read"),
    ],
)
def test_bad_files(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(StoreError, match=message):
        read_tasks(str(path))


def test_columns_are_looked_for_in_all_rows(tmp_path):
    rows = [{"question": "a"}, {"question": "b", "id": "x", "answer": "1"}, {"question": "c", "answer": float("nan")}]
    tasks = read_tasks(written(tmp_path / "q.jsonl", rows))
    assert [(task.id, task.answer) for task in tasks] == [("0", None), ("x", "1"), ("2", None)]
    rows = [{"question": "a", "note": "n"}, {"question": "b", "response": "x", "answer": 1}]
    with pytest.raises(StoreError, match="row 0: response: expected a text, got None"):
        read_logs(written(tmp_path / "l.jsonl", rows))
    rows[0]["response"] = "y"
    tasks, _ = read_logs(written(tmp_path / "l.jsonl", rows))
    assert [task.answer for task in tasks] == [None, "1"]


def test_a_long_field_of_a_table(tmp_path):
    (task,) = read_tasks(written(tmp_path / "q.csv", [{"question": "a" * 300_000, "answer": 1}]))
    assert len(task.text) == 300_000


def test_a_damaged_archive(tmp_path):
    path = tmp_path / "q.jsonl.gz"
    data = bytearray(gzip.compress(b'{"question": "How a?"}\n' * 200))
    for place in range(20, len(data) - 8):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        with pytest.raises(StoreError):
            read_tasks(str(path))


def test_no_file():
    with pytest.raises(StoreError, match="cannot be read"):
        read_tasks("/no/such.jsonl")


def test_half_characters_become_whole(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text('{"question": "a\\ud83d", "id": "\\ud800"}')
    (task,) = read_tasks(str(path))
    (task.text + task.id).encode()
    assert len(digest([task])) == 64


def test_logs_of_many_and_of_one_branch_a_row(tmp_path):
    rows = [
        {"problem": "p", "answer": "1", "generations": ["x", "yy"], "finish_reasons": ["stop", "length"]},
        {"problem": "q", "answer": "2", "generations": ["z"], "finish_reasons": ["stop"]},
    ]
    tasks, logs = read_logs(written(tmp_path / "l.jsonl", rows))
    assert [task.text for task in tasks] == ["p", "q"]
    assert [(each.text, each.finish) for each in logs[0]] == [("x", "stop"), ("yy", "length")]
    rows = [
        {"id": 1, "question": "p", "response": {"text": "x", "token_ids": [5, 6], "finish_reason": "length"}},
        {"id": 2, "question": "q", "response": "z"},
        {"id": 1, "question": "p", "response": "y"},
    ]
    tasks, logs = read_logs(written(tmp_path / "m.jsonl", rows))
    assert [task.id for task in tasks] == ["1", "2"]
    assert [each.ids for each in logs[0]] == [(5, 6), ()]
    with pytest.raises(StoreError, match="--branches-column"):
        read_logs(written(tmp_path / "n.jsonl", ROWS))
    with pytest.raises(StoreError, match="expected a text"):
        read_logs(written(tmp_path / "o.jsonl", [{"question": "p", "output": 3}]))
    for ids in ([2**33], [True, False], "1"):
        with pytest.raises(StoreError, match="token_ids: expected"):
            read_logs(written(tmp_path / "p.jsonl", [{"question": "p", "output": {"text": "a", "token_ids": ids}}]))
    with pytest.raises(StoreError, match="finish_reason"):
        read_logs(written(tmp_path / "q.jsonl", [{"question": "p", "output": "a", "finish_reason": []}]))


def test_rows_of_one_id_are_branches_of_one_question(tmp_path):
    rows = [{"problem_id": number, "question": "p", "output": "a"} for number in ("0", "1", "0")]
    tasks, logs = read_logs(written(tmp_path / "l.jsonl", rows))
    assert [task.id for task in tasks] == ["0", "1"]
    assert [len(logs[number]) for number in (0, 1)] == [2, 1]
    tasks, _ = read_logs(written(tmp_path / "l.jsonl", rows), Columns(answer="none"))
    assert [task.answer for task in tasks] == [None, None]
