"""What one evaluation measured: a setting of a controller on one store, over seeds and questions."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autotts_gym.errors import AutottsError, quote
from autotts_gym.evaluation.resampling import Interval, percentile_interval, resample
from autotts_gym.files import write_atomically
from autotts_gym.units import MILLION

_DTYPES: dict[str, type[np.generic]] = {
    "correct": np.bool_,
    "total_tokens": np.int64,
    "sequential_tokens": np.int64,
    "branches_opened": np.int32,
    "branches_pruned": np.int32,
}


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """Every episode of one controller setting on one store.

    All arrays have the shape (seeds, questions); they are converted to the dtypes below and made read-only.

    Attributes:
        controller: name of the controller family, such as ``"cmc"``.
        params: the knobs of this setting, such as ``{"beta": 0.5}``; values that JSON can hold.
        store: name of the store, such as ``"Qwen3-4B/aime24"``.
        model: the model whose branches the store holds.
        benchmark: the benchmark the questions come from.
        accounting: token accounting, ``"exact"`` or ``"autotts"``.
        max_branches: number of branch slots of an episode.
        seeds: the branch-order seeds, one per row.
        correct: bool; whether the answer equals the gold answer; False where a question is unlabelled.
        total_tokens: int64; tokens generated in the episode.
        sequential_tokens: int64; tokens on the critical path, at most ``total_tokens``.
        branches_opened: int32; at most ``max_branches``.
        branches_pruned: int32; at most ``branches_opened``.
        answers: object; the answer given (str), or None where there was none. May be left out.
        synthetic: whether the store's branches are drawn from a statistical model, not by a language model.
        agreed: bool; whether the answer is the majority of the question's whole pool, or of the branches that an
            episode on a served model opened. Only where questions are unlabelled, so that there is no accuracy.
        token_unit: tokens that a price was for.

    Raises:
        AutottsError: if shapes differ, a dtype is of the wrong kind, or a count is out of its range.
    """

    controller: str
    params: Mapping[str, object]
    store: str
    model: str
    benchmark: str
    accounting: str
    max_branches: int
    seeds: tuple[int, ...]
    correct: npt.NDArray[np.bool_]
    total_tokens: npt.NDArray[np.int64]
    sequential_tokens: npt.NDArray[np.int64]
    branches_opened: npt.NDArray[np.int32]
    branches_pruned: npt.NDArray[np.int32]
    answers: npt.NDArray[np.object_] | None = None
    synthetic: bool = False
    agreed: npt.NDArray[np.bool_] | None = None
    token_unit: int = MILLION

    def __post_init__(self) -> None:
        object.__setattr__(self, "params", dict(self.params))
        object.__setattr__(self, "seeds", tuple(int(seed) for seed in self.seeds))
        shape = np.shape(self.correct)
        if len(shape) != 2 or shape[0] != len(self.seeds) or 0 in shape:
            raise AutottsError(
                f"{self.label} on {self.store}: correct: expected shape ({len(self.seeds)} seeds, questions >= 1), "
                f"got {shape}"
            )
        for name, dtype in _DTYPES.items():
            self._freeze(name, dtype, shape)
        if self.answers is not None:
            self._freeze("answers", np.object_, shape)
        if self.agreed is not None:
            self._freeze("agreed", np.bool_, shape)
        self._check_counts("sequential_tokens", self.total_tokens, "total_tokens")
        self._check_counts("branches_opened", np.asarray(self.max_branches), "max_branches")
        self._check_counts("branches_pruned", self.branches_opened, "branches_opened")

    def _freeze(self, name: str, dtype: type[np.generic], shape: tuple[int, ...]) -> None:
        array = np.asarray(getattr(self, name))
        if array.shape != shape:
            raise AutottsError(
                f"{self.label} on {self.store}: {name}: expected shape {shape} like correct, got {array.shape}"
            )
        if not np.can_cast(array.dtype, dtype, "same_kind"):
            raise AutottsError(
                f"{self.label} on {self.store}: {name}: expected {np.dtype(dtype)}, got dtype {array.dtype}"
            )
        array = array.astype(dtype)
        array.setflags(write=False)
        object.__setattr__(self, name, array)

    def _check_counts(self, name: str, limit: npt.NDArray[Any], limit_name: str) -> None:
        counts = getattr(self, name)
        wrong = (counts < 0) | (counts > limit)
        if wrong.any():
            seed, question = (int(i) for i in np.argwhere(wrong)[0])
            raise AutottsError(
                f"{self.label} on {self.store}: {name}: expected 0 to {limit_name}, "
                f"got {counts[seed, question]} at row {seed}, question {question}"
            )

    @property
    def accuracy(self) -> float:
        """Share of correct episodes, in [0, 1].

        Raises:
            AutottsError: if the store has unlabelled questions.
        """
        self.require_gold("accuracy")
        return float(self.correct.mean())

    @property
    def agreement(self) -> float | None:
        """Share of episodes whose answer is the majority of the question's whole pool, in [0, 1].

        Only for a store with unlabelled questions; None for others.
        """
        return None if self.agreed is None else float(self.agreed.mean())

    def require_gold(self, purpose: str) -> None:
        """Check that every question has a gold answer.

        Raises:
            AutottsError: if one has none; it says what to do.
        """
        if self.agreed is not None:
            raise AutottsError(
                f"{self.label} on {self.store}: {purpose}: expected a gold answer for every question, got unlabelled "
                "ones (gold_answer null); agreement and mean_tokens are known, and a store imported with "
                "--labelled-only, or store.select(numpy.flatnonzero(store.labelled)), has an accuracy"
            )

    @property
    def mean_tokens(self) -> float:
        """Total tokens of an episode, on average."""
        return float(self.total_tokens.mean())

    @property
    def mean_sequential_tokens(self) -> float:
        """Sequential tokens of an episode, on average."""
        return float(self.sequential_tokens.mean())

    def mean_return(self, cost_weight: float, latency_weight: float = 0.0) -> float:
        """Return of an episode, on average: accuracy less what its tokens cost.

        Args:
            cost_weight: reward per token unit of total tokens.
            latency_weight: reward per token unit of sequential tokens.

        Raises:
            AutottsError: if the store has unlabelled questions.
        """
        unit = self.token_unit
        paid, waited = cost_weight * self.mean_tokens / unit, latency_weight * self.mean_sequential_tokens / unit
        return self.accuracy - paid - waited

    @property
    def label(self) -> str:
        """The setting in words, such as ``cmc(beta=0.5)``; the same for every order of the knobs."""
        return setting_label(self.controller, self.params)

    def summary(self) -> dict[str, object]:
        """Return the setting and its averages as values that JSON can hold.

        The accuracy comes with its 95 % interval over questions; see ``mean_accuracy``. With unlabelled questions they
        are None, and ``agreement`` is there.
        """
        seeds, questions = self.correct.shape
        return {
            "controller": self.controller,
            "params": dict(self.params),
            "store": self.store,
            "model": self.model,
            "benchmark": self.benchmark,
            "synthetic": self.synthetic,
            "accounting": self.accounting,
            "max_branches": self.max_branches,
            "token_unit": self.token_unit,
            "seeds": seeds,
            "questions": questions,
            **self._quality(),
            "mean_tokens": self.mean_tokens,
            "mean_sequential_tokens": self.mean_sequential_tokens,
            "mean_branches_opened": float(self.branches_opened.mean()),
            "mean_branches_pruned": float(self.branches_pruned.mean()),
        }

    def _quality(self) -> dict[str, float | None]:
        if self.agreed is not None:
            return {"accuracy": None, "accuracy_low": None, "accuracy_high": None, "agreement": self.agreement}
        interval = mean_accuracy([self])
        return {"accuracy": self.accuracy, "accuracy_low": interval.low, "accuracy_high": interval.high}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the result to one ``.npz`` file; a file that is there is replaced in one step."""
        meta = {
            field.name: getattr(self, field.name) for field in fields(self) if field.name not in (*_DTYPES, "agreed")
        }
        if self.answers is not None:
            meta["answers"] = self.answers.tolist()
        arrays: dict[str, Any] = {name: getattr(self, name) for name in _DTYPES}
        if self.agreed is not None:
            arrays["agreed"] = self.agreed
        buffer = io.BytesIO()
        np.savez_compressed(buffer, meta=np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8), **arrays)
        write_atomically(path, buffer.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> EvaluationResult:
        """Read what ``save`` wrote.

        Raises:
            AutottsError: if the file is not such a file.
            OSError: if it cannot be read at all.
        """
        data = io.BytesIO(Path(path).read_bytes())
        try:
            with np.load(data, allow_pickle=False) as archive:
                meta = json.loads(archive["meta"].tobytes())
                arrays = {name: archive[name] for name in (*_DTYPES, "agreed") if name != "agreed" or name in archive}
            if meta["answers"] is not None:
                meta["answers"] = np.array(meta["answers"], dtype=np.object_)
            return cls(**meta, **arrays)
        except Exception as error:  # zipfile, numpy and json each have errors of their own for a damaged file
            raise AutottsError(f"{os.fspath(path)}: expected a saved evaluation result, got {quote(error)}") from error


def mean_accuracy(
    results: Sequence[EvaluationResult], *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Return the mean accuracy of one setting over stores, with its bootstrap interval over questions.

    Every store weighs the same. Stores of one benchmark hold the same questions and share the drawn questions, as
    ``autotts_gym.evaluation.resampling`` describes; seeds are averaged, not drawn.

    Args:
        results: of one setting, one for each store.
        level: nominal coverage in (0, 1).
        resamples: number of resamples.
        seed: seed of the resamples; the same seed gives the same interval.

    Raises:
        AutottsError: if there is no result, a store has unlabelled questions, or a number is out of its range.
    """
    if not results:
        raise AutottsError("accuracy: expected at least one result, got none")
    for result in results:
        result.require_gold("accuracy")
    each = [result.correct.mean(axis=0) for result in results]
    strata = [(result.benchmark, right.size) for result, right in zip(results, each, strict=True)]
    counts = {key: resample(key, resamples, seed) for key in strata}
    means = [counts[key] @ right / right.size for key, right in zip(strata, each, strict=True)]
    return percentile_interval(np.mean(means, axis=0), level)


def setting_label(controller: str, params: Mapping[str, object]) -> str:
    """Return a setting in words, knobs in alphabetical order, such as ``asc(branches=8, threshold=0.95)``."""
    return f"{controller}({', '.join(f'{name}={value}' for name, value in sorted(params.items()))})"
