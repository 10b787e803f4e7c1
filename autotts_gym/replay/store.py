"""One collected (model, benchmark) pair: every branch of every question, with its probes."""

import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from autotts_gym import validation
from autotts_gym.errors import StoreError, quote
from autotts_gym.replay import formats
from autotts_gym.replay.columns import (
    DTYPES,
    Columns,
    Ids,
    Offsets,
    Signal,
    Signals,
    StringTable,
    checked_signal,
)
from autotts_gym.units import MILLION
from autotts_gym.validation import integer, is_integer

MAX_TOKENS = 2**31 - 1
"""Largest number of tokens, and largest Δ, that a store holds (int32)."""

BYTES_PER_BRANCH = 128
"""Memory that a branch of usual length takes, at the least."""


def default_token_unit(tokens: ArrayLike) -> int:
    """The token unit of a collected store: 64 times its mean branch, as much as SC@64 spends.

    Args:
        tokens: (NB,) integers, total tokens of each branch.

    Raises:
        StoreError: there is no branch.
    """
    lengths = np.asarray(tokens)
    good = lengths.ndim == 1 and lengths.size > 0
    validation.check("tokens", tokens, good, "the tokens of at least one branch", StoreError)
    return min(max(round(64 * int(lengths.sum(dtype=np.int64)) / lengths.size), 1), MAX_TOKENS)


@dataclass(frozen=True)
class StoreSummary:
    """What ``autotts info`` prints about a store.

    Attributes:
        name: ``<model>/<benchmark>``.
        questions: number of questions.
        branches: number of branches, all questions together.
        branches_min: size of the smallest pool.
        branches_max: size of the largest pool.
        probes: number of probes, all branches together.
        answers: number of different answers, summed over questions.
        interval_tokens: Δ, in tokens.
        total_tokens: tokens of all branches.
        mean_tokens: tokens of a branch, on average.
        pass_at_1: share of right final answers, averaged over labelled questions; in [0, 1]; None if there is none.
        majority_accuracy: share of labelled questions whose majority of the pool's final answers is right (ties go to
            the answer seen first, in pool order); in [0, 1]; None if there is none.
        coverage: share of labelled questions with at least one right final answer; in [0, 1]; None if there is none.
        signals: names of the per-probe signals.
        attributes: provenance, licence, sampling settings.
        unlabelled: number of questions without a gold answer.
        agreement: share of a pool's branches that give the answer of its majority, averaged over unlabelled questions;
            in [0, 1]; None if there is none.
        has_probes: whether the branches were probed.
        token_unit: tokens that a price is for.
    """

    name: str
    questions: int
    branches: int
    branches_min: int
    branches_max: int
    probes: int
    answers: int
    interval_tokens: int
    total_tokens: int
    mean_tokens: float
    pass_at_1: float | None
    majority_accuracy: float | None
    coverage: float | None
    signals: tuple[str, ...]
    attributes: dict[str, Any]
    unlabelled: int = 0
    agreement: float | None = None
    has_probes: bool = True
    token_unit: int = MILLION

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON-able values."""
        return asdict(self) | {"signals": list(self.signals)}


class ReplayStore:
    """A pool of branches for each question of one benchmark, collected once from one model. Read-only.

    Q questions, NB branches and NP probes lie in flat arrays, without padding; answers are ids within their
    question. Numbers are in memory from the start; texts and signals of a store on disk are read when first used.
    No file stays open, so a store may be shared with forked and spawned processes: one that came from a file is
    pickled as its path.

    Args:
        columns: the numeric columns.
        answers: all answer tables, one after the other; question q's lies at ``answer_offsets[q]``.
        questions: (Q,) question texts.
        model: name of the model.
        benchmark: name of the benchmark.
        interval_tokens: Δ, tokens between probes.
        attributes: JSON-able provenance, licence, sampling settings; ``probes`` "none" says that the store has none,
            ``token_unit`` how many tokens a price is for.
        signals: (NP,) float32 signals (log-probability, entropy …), or functions that read them, by printable names
            without a slash.
        path: the file that holds exactly this content, if there is one.

    Raises:
        StoreError: naming the field that is wrong, what was expected and what came.
    """

    def __init__(
        self,
        columns: Columns,
        answers: StringTable,
        questions: StringTable,
        *,
        model: str,
        benchmark: str,
        interval_tokens: int,
        attributes: Mapping[str, object] | None = None,
        signals: Mapping[str, NDArray[Any] | Callable[[], Signal]] | None = None,
        path: Path | None = None,
    ):
        where = str(path) if path else f"store {model}/{benchmark}"
        for field, text in (("model", model), ("benchmark", benchmark)):
            if not isinstance(text, str) or not text or not text.isprintable():
                raise StoreError(f"{where}: {field}: expected a printable name, got {quote(text)}")
        interval_tokens = integer(f"{where}: interval_tokens", interval_tokens, 1, MAX_TOKENS, StoreError)
        columns.check(where)
        if len(answers) != (expected := int(columns.answer_offsets[-1])):
            raise StoreError(f"{where}: answers: expected {expected} strings, got {len(answers)}")
        if len(questions) != columns.gold.size:
            raise StoreError(f"{where}: questions: expected {columns.gold.size} strings, got {len(questions)}")
        self._where = where
        self._columns = columns
        self._answers = answers
        self._questions = questions
        self._model = model
        self._benchmark = benchmark
        self._interval_tokens = interval_tokens
        self._attributes = MappingProxyType(_plain(where, attributes or {}))
        unit = self._attributes.get("token_unit", MILLION)
        self._token_unit = integer(f"{where}: token_unit", unit, 1, error=StoreError)
        if not self.has_probes and (shown := np.flatnonzero(columns.probes >= 0)).size:
            raise StoreError(
                f"{where}: probes[{shown[0]}]: expected -1 in a store without probes, got {columns.probes[shown[0]]}"
            )
        for name in signals or {}:
            if not isinstance(name, str) or not name.isprintable() or "/" in name or not name.strip("."):
                raise StoreError(f"{where}: signals: expected printable names without a slash, got {quote(name)}")
        self._signals = Signals(
            {name: self._signal_reader(name, signal) for name, signal in sorted((signals or {}).items())}
        )
        self._path = path

    def _signal_reader(self, name: str, signal: NDArray[Any] | Callable[[], Signal]) -> Callable[[], Signal]:
        where, size = f"{self._where}: signals/{name}", self.num_probes
        if callable(signal):
            return lambda: checked_signal(where, signal(), size)
        values = checked_signal(where, signal, size)
        return lambda: values

    # ---------------------------------------------------------------- sources

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "ReplayStore":
        """Open the store at ``path`` and check it; texts and signals are checked when they are first read.

        Raises:
            StoreError: if the file is absent, damaged, of another format or version, or inconsistent.
        """
        store: ReplayStore = formats.module("hdf5").read_store(validation.path("path", path, StoreError))
        return store

    @classmethod
    def from_autotts_json(
        cls,
        path: str | os.PathLike[str],
        model: str | None = None,
        benchmark: str | None = None,
        equivalence: str = "exact",
        probes: str = "checked",
        no_answer: Sequence[str] = (),
    ) -> "ReplayStore":
        """Import the published AutoTTS form; see ``autotts_gym.replay.importers.import_json``."""
        return cls._from_json(path, model, benchmark, equivalence, "autotts", probes, no_answer)

    @classmethod
    def from_parallel_probe_json(
        cls,
        path: str | os.PathLike[str],
        model: str | None = None,
        benchmark: str | None = None,
        equivalence: str = "exact",
        probes: str = "checked",
        no_answer: Sequence[str] = (),
    ) -> "ReplayStore":
        """Import the raw Parallel-Probe release; see ``autotts_gym.replay.importers.import_json``."""
        return cls._from_json(path, model, benchmark, equivalence, "parallel-probe", probes, no_answer)

    @staticmethod
    def _from_json(
        path: str | os.PathLike[str],
        model: str | None,
        benchmark: str | None,
        equivalence: str,
        layout: str,
        probes: str,
        no_answer: Sequence[str],
    ) -> "ReplayStore":
        store: ReplayStore = formats.module("json").import_json(
            path,
            model=model,
            benchmark=benchmark,
            equivalence=equivalence,
            layout=layout,
            probes=probes,
            no_answer=no_answer,
        )
        return store

    # ---------------------------------------------------------------- fields

    @property
    def model(self) -> str:
        """Name of the model that was sampled."""
        return self._model

    @property
    def benchmark(self) -> str:
        """Name of the benchmark."""
        return self._benchmark

    @property
    def name(self) -> str:
        """``<model>/<benchmark>``, the name under which a catalog finds the store."""
        return f"{self._model}/{self._benchmark}"

    @property
    def interval_tokens(self) -> int:
        """Δ: tokens between probes."""
        return self._interval_tokens

    @property
    def token_unit(self) -> int:
        """Tokens that a price is for, by which features and levels of tokens are scaled: see ``autotts_gym.units``.

        The attribute ``token_unit``; 10^6 in a store without it.
        """
        return self._token_unit

    @property
    def attributes(self) -> Mapping[str, object]:
        """Provenance, licence, sampling settings; read-only."""
        return self._attributes

    @property
    def synthetic(self) -> bool:
        """Whether branches are drawn from a statistical model; results on them say nothing about language models."""
        return bool(self._attributes.get("synthetic"))

    @property
    def path(self) -> Path | None:
        """The file that the store came from; None for a store made in memory."""
        return self._path

    @property
    def branch_offsets(self) -> Offsets:
        """(Q + 1,) int64: question q owns branches [branch_offsets[q], branch_offsets[q + 1])."""
        return self._columns.branch_offsets

    @property
    def probe_offsets(self) -> Offsets:
        """(NB + 1,) int64: branch b owns probes [probe_offsets[b], probe_offsets[b + 1]); perhaps none."""
        return self._columns.probe_offsets

    @property
    def answer_offsets(self) -> Offsets:
        """(Q + 1,) int64: question q has answer_offsets[q + 1] - answer_offsets[q] different answers."""
        return self._columns.answer_offsets

    @property
    def probes(self) -> Ids:
        """(NP,) int32: answer id within the question at each depth; -1 where there is no answer yet."""
        return self._columns.probes

    @property
    def tokens(self) -> Ids:
        """(NB,) int32: total tokens of each branch, at least 1."""
        return self._columns.tokens

    @property
    def finals(self) -> Ids:
        """(NB,) int32: id of each branch's final answer; -1 where it gave none."""
        return self._columns.finals

    @property
    def gold(self) -> Ids:
        """(Q,) int32: id of each question's gold answer, in the table even if no branch gives it; -1: unlabelled."""
        return self._columns.gold

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """(Q,) bool: whether each question has a gold answer."""
        labelled: NDArray[np.bool_] = self.gold >= 0
        return labelled

    @property
    def has_probes(self) -> bool:
        """Whether the branches were probed.

        If not, a branch has one probe of no answer (-1) for each full interval of its tokens, so that it can be grown
        by intervals, each of which costs what was generated; its answer shows when it finishes.
        """
        return self.attributes.get("probes") != "none"

    def require_gold(self, purpose: str) -> None:
        """Check that every question has a gold answer.

        Args:
            purpose: what needs the accuracy, for the error.

        Raises:
            StoreError: if one has none; it says what to do.
        """
        if count := int(np.count_nonzero(~self.labelled)):
            raise StoreError(
                f"{self._where}: {purpose}: expected a gold answer for every question, as accuracy is asked for, but "
                f"{count} of {self.num_questions} have none (gold_answer null): evaluate reports agreement and cost "
                "instead; import with --labelled-only, or store.select(numpy.flatnonzero(store.labelled)), keeps the "
                "others"
            )

    @property
    def signals(self) -> Mapping[str, Signal]:
        """Optional per-probe signals by name, each (NP,) float32."""
        return self._signals

    @property
    def questions(self) -> list[str]:
        """(Q,) texts of the questions."""
        return self._questions[:]

    @property
    def num_questions(self) -> int:
        """The number Q of questions."""
        return self.gold.size

    @property
    def num_branches(self) -> int:
        """The number NB of branches, all questions together."""
        return self.tokens.size

    @property
    def num_probes(self) -> int:
        """The number NP of probes, all branches together."""
        return self.probes.size

    def answers(self, question: int) -> list[str]:
        """Return the answer table of a question; an answer id is an index into it.

        Raises:
            IndexError: if there is no such question.
            StoreError: if the texts on disk are damaged, or two ids have the same string.
        """
        low, high = self._answer_range(question)
        table = self._answers[low:high]
        if len(set(table)) != len(table):
            twice = next(text for i, text in enumerate(table) if text in table[:i])
            raise StoreError(
                f"{self._where}: answers of question {question}: expected each once, got {quote(twice)} twice"
            )
        return table

    def answer(self, question: int, answer_id: int) -> str | None:
        """Return the string of an answer id of a question; None for -1.

        Raises:
            IndexError: if the question has no such answer id, or there is no such question.
            StoreError: if the texts on disk are damaged.
        """
        low, high = self._answer_range(question)
        if answer_id == -1:
            return None
        if not 0 <= answer_id < high - low:
            raise IndexError(f"expected an answer id from -1 to {high - low - 1}, got {answer_id}")
        return self._answers[low + answer_id]

    def _answer_range(self, question: int) -> tuple[int, int]:
        if not 0 <= question < self.num_questions:
            raise IndexError(f"expected a question from 0 to {self.num_questions - 1}, got {question}")
        return int(self.answer_offsets[question]), int(self.answer_offsets[question + 1])

    # ---------------------------------------------------------------- derived

    def summary(self) -> StoreSummary:
        """Count the store and score its pools; see ``StoreSummary``."""
        pools = np.diff(self.branch_offsets)
        labelled = self.labelled
        majority = self.majority()
        right = self._share(self.gold)[labelled]
        leading = self._share(majority)[~labelled]
        total = int(self.tokens.sum(dtype=np.int64))
        return StoreSummary(
            name=self.name,
            questions=self.num_questions,
            branches=self.num_branches,
            branches_min=int(pools.min()),
            branches_max=int(pools.max()),
            probes=self.num_probes,
            answers=len(self._answers),
            interval_tokens=self.interval_tokens,
            total_tokens=total,
            mean_tokens=total / self.num_branches,
            pass_at_1=_mean(right),
            majority_accuracy=_mean((majority == self.gold)[labelled]),
            coverage=_mean(right > 0),
            signals=tuple(self.signals),
            attributes=dict(self.attributes),
            unlabelled=int(np.count_nonzero(~labelled)),
            agreement=_mean(leading),
            has_probes=self.has_probes,
            token_unit=self.token_unit,
        )

    def _share(self, answers: Ids) -> NDArray[np.float64]:
        """Return (Q,) the share of each pool whose final answer is the given one of its question; 0 for -1."""
        pools = np.diff(self.branch_offsets)
        given = (self.finals == np.repeat(answers, pools)) & (self.finals >= 0)
        share: NDArray[np.float64] = np.add.reduceat(given, self.branch_offsets[:-1], dtype=np.int64) / pools
        return share

    def majority(self) -> Ids:
        """Return (Q,) int32 the leader of each pool's final answers, ties to the first seen; -1: none answered."""
        return np.array([self._majority(q) for q in range(self.num_questions)], np.int32)

    def _majority(self, question: int) -> int:
        finals = self.finals[self.branch_offsets[question] : self.branch_offsets[question + 1]]
        finals = finals[finals >= 0]
        if not finals.size:
            return -1
        votes = np.bincount(finals)
        return int(finals[np.argmax(votes[finals] == votes.max())])

    def select(self, questions: Sequence[int]) -> "ReplayStore":
        """Return a store in memory with the given questions, in the given order.

        ``attributes["selection"]`` keeps their indices in the store that was first selected from.

        Raises:
            StoreError: if there is none, one occurs twice, or there is no such question.
        """
        last = self.num_questions - 1
        good = isinstance(questions, Collection) and all(is_integer(question, 0, last) for question in questions)
        chosen = [int(question) for question in questions] if good else []
        if not chosen or len(set(chosen)) < len(chosen):
            raise StoreError(
                f"{self._where}: questions: expected different numbers from 0 to {last}, got {quote(questions)}"
            )
        branches = _run_indices(self.branch_offsets, np.array(chosen))
        probes = _run_indices(self.probe_offsets, branches)
        answers = _run_indices(self.answer_offsets, np.array(chosen))
        earlier = self.attributes.get("selection")
        selection = [earlier[q] for q in chosen] if isinstance(earlier, list) else chosen
        return ReplayStore(
            Columns(
                branch_offsets=_picked_offsets(self.branch_offsets, np.array(chosen)),
                probe_offsets=_picked_offsets(self.probe_offsets, branches),
                answer_offsets=_picked_offsets(self.answer_offsets, np.array(chosen)),
                probes=self.probes[probes],
                tokens=self.tokens[branches],
                finals=self.finals[branches],
                gold=self.gold[chosen],
            ),
            StringTable.of("answers", (self._answers[i] for i in answers.tolist())),
            StringTable.of("questions", (self._questions[q] for q in chosen)),
            model=self.model,
            benchmark=self.benchmark,
            interval_tokens=self.interval_tokens,
            attributes={**self.attributes, "selection": selection},
            signals={name: signal[probes] for name, signal in self.signals.items()},
        )

    def same_content(self, other: "ReplayStore") -> bool:
        """Return whether both stores hold the same, wherever they came from. Reads all of both."""
        return (
            (self.name, self.interval_tokens, dict(self.attributes), set(self.signals))
            == (other.name, other.interval_tokens, dict(other.attributes), set(other.signals))
            and all(np.array_equal(getattr(self, name), getattr(other, name)) for name in DTYPES)
            and self.questions == other.questions
            and self._answers[:] == other._answers[:]
            and all(np.array_equal(self.signals[name], other.signals[name]) for name in self.signals)
        )

    # ---------------------------------------------------------------- output

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the store to ``path`` as HDF5, whole or not at all, and return the path.

        Raises:
            StoreError: if it cannot be written.
        """
        written: Path = formats.module("hdf5").write_store(self, validation.path("path", path, StoreError))
        return written

    def to_autotts_json(self, path: str | os.PathLike[str]) -> Path:
        """Write the store in the published AutoTTS form (null for "no answer yet"), gzipped if so named.

        A name in ``.jsonl`` gives JSON Lines. Branches without probes have ``[]`` for them, unlabelled questions null
        for their gold answer.

        Raises:
            StoreError: if it cannot be written.
        """
        written: Path = formats.module("json").export_json(self, validation.path("path", path, StoreError))
        return written

    def __reduce__(self) -> tuple[Callable[..., "ReplayStore"], tuple[Any, ...]]:
        if self._path is not None:
            return ReplayStore.load, (self._path,)
        return _rebuild, (
            [getattr(self, name) for name in DTYPES],
            [(table.offsets, table.data) for table in (self._answers, self._questions)],
            dict(self.signals),
            (self.model, self.benchmark, self.interval_tokens, dict(self.attributes)),
        )

    def __repr__(self) -> str:
        unlabelled = int(np.count_nonzero(~self.labelled))
        notes = (f", {unlabelled} unlabelled" if unlabelled else "") + ("" if self.has_probes else ", without probes")
        return f"<ReplayStore {self.name}: {self.num_questions} questions, {self.num_branches} branches{notes}>"


def _rebuild(
    columns: list[NDArray[Any]],
    texts: list[tuple[Offsets, bytes]],
    signals: dict[str, Signal],
    header: tuple[str, str, int, dict[str, object]],
) -> ReplayStore:
    """Make a store from what ``ReplayStore.__reduce__`` packed."""
    model, benchmark, interval_tokens, attributes = header
    answers, questions = texts
    return ReplayStore(
        Columns(**dict(zip(DTYPES, columns, strict=True))),
        StringTable.packed("answers", *answers),
        StringTable.packed("questions", *questions),
        model=model,
        benchmark=benchmark,
        interval_tokens=interval_tokens,
        attributes=attributes,
        signals=signals,
    )


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if values.size else None


def _plain(where: str, attributes: Mapping[str, object]) -> dict[str, object]:
    """Return ``attributes`` as they come back from a file, so that a saved store equals the one in memory."""
    try:
        plain: dict[str, object] = json.loads(json.dumps(dict(attributes), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(f"{where}: attributes: expected JSON-able values, got {quote(error)}") from error
    return plain


def _run_indices(offsets: Offsets, runs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the indices of all items of the given runs, run after run."""
    lengths = offsets[runs + 1] - offsets[runs]
    ends = np.cumsum(lengths)
    return np.repeat(offsets[runs] - (ends - lengths), lengths) + np.arange(ends[-1])


def _picked_offsets(offsets: Offsets, runs: NDArray[np.int64]) -> Offsets:
    """Return the offsets of the given runs laid one after the other."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(offsets[runs + 1] - offsets[runs])])
