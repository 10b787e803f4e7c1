import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotts_gym.errors import AutottsError
from autotts_gym.evaluation.results import EvaluationResult
from autotts_gym.files import write_atomically


def result(**changes: Any) -> EvaluationResult:
    values: dict[str, Any] = {
        "controller": "asc",
        "params": {"threshold": 0.95, "branches": 8},
        "store": "Qwen3-4B/aime24",
        "model": "Qwen3-4B",
        "benchmark": "aime24",
        "accounting": "autotts",
        "max_branches": 64,
        "seeds": range(2),
        "correct": np.array([[True, False, True], [True, False, False]]),
        "total_tokens": np.array([[100, 200, 300], [400, 500, 600]]),
        "sequential_tokens": np.array([[10, 20, 30], [40, 50, 60]]),
        "branches_opened": np.array([[1, 2, 3], [4, 5, 6]]),
        "branches_pruned": np.array([[0, 0, 1], [1, 0, 0]]),
    }
    return EvaluationResult(**(values | changes))


def test_averages_are_over_seeds_and_questions() -> None:
    got = result()
    assert got.accuracy == 0.5
    assert got.mean_tokens == 350.0
    assert got.mean_sequential_tokens == 35.0


def test_label_does_not_depend_on_the_order_of_the_knobs() -> None:
    assert result().label == "asc(branches=8, threshold=0.95)"
    assert result(params={"branches": 8, "threshold": 0.95}).label == result().label
    assert result(params={}).label == "asc()"


def test_summary_survives_json() -> None:
    summary = json.loads(json.dumps(result().summary()))
    assert summary["seeds"] == 2
    assert summary["questions"] == 3
    assert summary["accuracy"] == 0.5
    assert summary["mean_branches_opened"] == 3.5
    assert summary["mean_branches_pruned"] == pytest.approx(1 / 3)


def test_arrays_have_the_documented_dtypes_and_are_read_only_copies() -> None:
    tokens = np.array([[100, 200, 300], [400, 500, 600]], dtype=np.int32)
    got = result(total_tokens=tokens)
    tokens[0, 0] = 7
    assert got.total_tokens.dtype == np.int64
    assert got.branches_opened.dtype == np.int32
    assert got.total_tokens[0, 0] == 100
    with pytest.raises(ValueError, match="read-only"):
        got.total_tokens[0, 0] = 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": range(3)}, r"correct: expected shape \(3 seeds, questions >= 1\), got \(2, 3\)"),
        ({"correct": np.zeros((2, 0), bool)}, "questions >= 1"),
        ({"correct": np.zeros(2, bool)}, "correct: expected shape"),
        ({"total_tokens": np.ones((2, 2), int)}, r"total_tokens: expected shape \(2, 3\) like correct, got \(2, 2\)"),
        ({"answers": np.array(["1"])}, "answers: expected shape"),
        ({"correct": np.ones((2, 3), int)}, "correct: expected bool, got dtype int64"),
        ({"total_tokens": np.full((2, 3), 1e6)}, "total_tokens: expected int64, got dtype float64"),
        (
            {"sequential_tokens": np.full((2, 3), 101)},
            "sequential_tokens: expected 0 to total_tokens, got 101 at row 0",
        ),
        ({"sequential_tokens": np.full((2, 3), -1)}, "sequential_tokens: expected 0 to total_tokens, got -1"),
        ({"max_branches": 5}, "branches_opened: expected 0 to max_branches, got 6 at row 1, question 2"),
        ({"branches_pruned": np.full((2, 3), 2)}, "branches_pruned: expected 0 to branches_opened, got 2"),
    ],
)
def test_wrong_arrays_are_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(AutottsError, match=message):
        result(**changes)


@pytest.mark.parametrize("answers", [None, np.array([["1", None, "é"], ["", "2", "x"]], dtype=object)])
def test_a_saved_result_comes_back_whole(tmp_path: Path, answers: Any) -> None:
    before = result(answers=answers)
    before.save(tmp_path / "new" / "result.npz")
    after = EvaluationResult.load(tmp_path / "new" / "result.npz")
    for field in dataclasses.fields(EvaluationResult):
        one, two = getattr(before, field.name), getattr(after, field.name)
        if isinstance(one, np.ndarray):
            assert one.dtype == two.dtype
            assert one.tolist() == two.tolist()
        else:
            assert one == two


@pytest.mark.parametrize("content", [b"", b"no archive at all", b"PK\x03\x04 truncated"])
def test_loading_something_else_names_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.npz"
    path.write_bytes(content)
    with pytest.raises(AutottsError, match=r"other\.npz: expected a saved evaluation result"):
        EvaluationResult.load(path)
    with pytest.raises(FileNotFoundError):
        EvaluationResult.load(tmp_path / "absent.npz")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.csv"
    write_atomically(path, b"old")

    def fail(source: Path, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(AutottsError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
