"""Every episode of evaluations: in a file, and of several parts of the questions as one; without torch."""

import json
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from autotts_gym.errors import AutottsError, quote
from autotts_gym.evaluation import EvaluationResult
from autotts_gym.files import written

ARRAYS = ("correct", "total_tokens", "sequential_tokens", "branches_opened", "branches_pruned")
"""The fields of a result that have a value for every episode."""


def save_results(path: Path, results: Sequence[EvaluationResult]) -> None:
    """Write every episode of several results to one file."""
    names = [item.name for item in fields(EvaluationResult) if item.name not in (*ARRAYS, "answers")]
    about = [{name: getattr(result, name) for name in names} for result in results]
    arrays: dict[str, Any] = {
        f"{name}_{i}": getattr(result, name) for i, result in enumerate(results) for name in ARRAYS
    }
    with written(path) as file:
        np.savez_compressed(file, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)


def load_results(path: Path) -> list[EvaluationResult]:
    """Read what ``save_results`` wrote.

    Raises:
        AutottsError: the file is not such a file.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            about = json.loads(archive["about"].tobytes())
            return [
                EvaluationResult(**values, **{name: archive[f"{name}_{i}"] for name in ARRAYS})
                for i, values in enumerate(about)
            ]
    except Exception as error:  # zipfile, numpy and json each have errors of their own for a damaged file
        raise AutottsError(f"{path}: expected the episodes of a program, got {quote(error)}") from error


def joined(search: Sequence[EvaluationResult], held: Sequence[EvaluationResult]) -> list[EvaluationResult]:
    """Results on search questions and on validation questions as results on both."""
    others = {(result.label, result.store): result for result in held}

    def both(result: EvaluationResult) -> EvaluationResult:
        other = others[result.label, result.store]
        arrays: dict[str, Any] = {
            name: np.concatenate([getattr(result, name), getattr(other, name)], axis=1) for name in ARRAYS
        }
        return replace(result, answers=None, **arrays)

    return [both(result) for result in search]
