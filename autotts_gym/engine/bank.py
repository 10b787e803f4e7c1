"""The branches of one or several stores side by side, as the kernels read them."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from autotts_gym.engine.layout import QUESTION, STORED_BRANCH
from autotts_gym.errors import AutottsError
from autotts_gym.validation import check, integer, shaped, within

if TYPE_CHECKING:
    from autotts_gym.replay import ReplayStore


class Bank:
    """Read-only columns of the stores' questions, branches and probes; the probes of one store are not copied.

    Attributes:
        stores: the stores, in order; their questions are numbered through.
        questions: (Q,) QUESTION.
        branches: (B,) STORED_BRANCH.
        probes: (probes,) int32, stored answer ids; -1: no answer yet.
        problems: (Q,) int64, equal where stores of one benchmark hold the same question, whichever model answered it.
        max_answers: the largest number of distinct answers of a question.
        max_probes: the largest number of probes of a branch.
        probeless: names of the stores without probes.
        unlabelled: names of the stores with questions that have no gold answer.
        max_branches: the largest number of branches of a question.
        signal_names: the signals that all stores have, sorted.
        signal_values: (probes, signals) float32.
    """

    def __init__(self, stores: "Sequence[ReplayStore]") -> None:
        """Lay the columns out.

        Raises:
            AutottsError: there is no store, or something else in its place.
        """
        from autotts_gym.replay import ReplayStore

        good = isinstance(stores, Sequence) and all(isinstance(store, ReplayStore) for store in stores)
        check("Bank", stores, good, "a sequence of stores")
        if not stores:
            raise AutottsError("Bank: expected at least one store, got none")
        self.stores = tuple(stores)
        self.first_questions = [0, *accumulate(store.num_questions for store in stores)]
        probes = [store.probes for store in stores]
        self.probes = probes[0] if len(stores) == 1 else np.concatenate(probes)
        self.branches = np.zeros(sum(store.num_branches for store in stores), STORED_BRANCH)
        counts = np.concatenate([np.diff(store.probe_offsets) for store in stores])
        self.branches["start"] = np.cumsum(counts) - counts
        self.branches["probes"] = counts
        self.branches["tokens"] = np.concatenate([store.tokens for store in stores])
        self.branches["final"] = np.concatenate([store.finals for store in stores])
        self.questions = np.zeros(self.first_questions[-1], QUESTION)
        first_branches = np.cumsum([0] + [store.num_branches for store in stores])
        for store, question, branch in zip(stores, self.first_questions, first_branches, strict=False):
            rows = self.questions[question : question + store.num_questions]
            rows["first_branch"] = store.branch_offsets[:-1] + branch
            rows["branches"] = np.diff(store.branch_offsets)
            rows["gold"] = store.gold
            rows["interval_tokens"] = store.interval_tokens
            rows["token_unit"] = store.token_unit
        numbers: dict[tuple[str, str], int] = {}
        posed = [(store.benchmark, str(question)) for store in stores for question in _numbers(store)]
        self.problems = np.array([numbers.setdefault(key, len(numbers)) for key in posed], np.int64)
        answers = np.concatenate([np.diff(store.answer_offsets) for store in stores])
        self.max_answers = int(answers.max())
        # The answers of all questions in a row, read from the stores when they are asked for, and None at the end.
        self.questions["first_answer"] = np.cumsum(answers) - answers
        self.questions["answers"] = answers
        self._texts = np.full(int(answers.sum()) + 1, None, object)
        self._unread = np.ones(len(self._texts), np.bool_)
        self._unread[-1] = False
        self.max_probes = int(counts.max())
        self.probeless = tuple(store.name for store in stores if not store.has_probes)
        self.unlabelled = tuple(store.name for store in stores if not store.labelled.all())
        self.max_branches = int(self.questions["branches"].max())
        self.signal_names = tuple(sorted(set.intersection(*(set(store.signals) for store in stores))))
        columns = [np.concatenate([store.signals[name] for store in stores]) for name in self.signal_names]
        self.signal_values = np.zeros((len(self.probes), 0), np.float32)
        if columns:
            self.signal_values = np.ascontiguousarray(np.stack(columns, axis=1))
        for array in (self.questions, self.problems, self.branches, self.probes, self.signal_values):
            array.setflags(write=False)

    @cached_property
    def signal_ranges(self) -> dict[str, tuple[float, float]]:
        """The least and the most that each signal is in any interval, by name; 0 and 0 where there is no interval."""
        if not len(self.signal_values):
            return dict.fromkeys(self.signal_names, (0.0, 0.0))
        least, most = self.signal_values.min(axis=0), self.signal_values.max(axis=0)
        return dict(zip(self.signal_names, zip(least.tolist(), most.tolist(), strict=True), strict=True))

    def __deepcopy__(self, memo: dict[int, object]) -> "Bank":
        """Return itself: a bank is read-only."""
        return self

    def __reduce__(self) -> tuple[type["Bank"], tuple[tuple["ReplayStore", ...]]]:
        """Pickle as its stores; those on disk pickle as their paths."""
        return Bank, (self.stores,)

    @property
    def num_questions(self) -> int:
        """The number of questions of all stores together."""
        return len(self.questions)

    @property
    def num_problems(self) -> int:
        """The number of different questions among them."""
        return int(self.problems.max()) + 1

    @property
    def labelled(self) -> bool:
        """Whether every question has a gold answer."""
        return not self.unlabelled

    @cached_property
    def majorities(self) -> NDArray[np.int32]:
        """The majority of each question's whole pool, (Q,) stored ids; ties to the first seen; -1: no answer."""
        return np.concatenate([store.majority() for store in self.stores])

    def changes(self, max_branches: int) -> int:
        """How often the branches of an episode of so many slots can show another answer than before, at the most.

        Raises:
            AutottsError: it is no number of slots.
        """
        integer("max_branches", max_branches, 1)
        every, largest = self._changes
        return int(np.minimum(every, max_branches * largest).max())

    @cached_property
    def _changes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of each question the changes of answers that all its branches show, and the most that one shows, (Q,) each.

        A branch that is read shows its probes, or some of them, and its final answer: no more changes than these have.
        """
        start, count = self.branches["start"], self.branches["probes"]
        probed = count > 0
        changed = np.empty(len(self.probes), np.bool_)
        changed[:-1] = self.probes[1:] != self.probes[:-1]
        ends = (start + count - 1)[probed]
        changed[ends] = self.probes[ends] != self.branches["final"][probed]
        changes = np.ones(len(self.branches), np.int64)
        changes[probed] += np.add.reduceat(changed, start[probed], dtype=np.int64) if len(ends) else 0
        first = self.questions["first_branch"]
        return np.add.reduceat(changes, first), np.maximum.reduceat(changes, first)

    def locate(self, question: int) -> "tuple[ReplayStore, int]":
        """The store that a question of the bank comes from, and its number there.

        Raises:
            AutottsError: there is no such question.
        """
        integer("question", question, 0, self.num_questions - 1)
        store = bisect_right(self.first_questions, question) - 1
        return self.stores[store], question - self.first_questions[store]

    def answer_texts(self, answers: NDArray[np.int64]) -> NDArray[np.object_]:
        """The strings of answers, (K,) object; None for -1.

        Args:
            answers: (K,) integers, numbered through the bank: a stored id counts from its question's ``first_answer``.

        Raises:
            AutottsError: there is no such answer.
        """
        answers = shaped("answers", answers, np.int64, None)
        within("answers", answers, -1, len(self._texts) - 2)
        unread = self._unread[answers]
        for answer in answers[unread].tolist() if np.count_nonzero(unread) else ():
            question = int(np.searchsorted(self.questions["first_answer"], answer, side="right")) - 1
            store, number = self.locate(question)
            self._texts[answer] = store.answer(number, answer - int(self.questions["first_answer"][question]))
            self._unread[answer] = False
        texts: NDArray[np.object_] = self._texts[answers]
        return texts


def _numbers(store: "ReplayStore") -> Iterable[object]:
    """The numbers that a store's questions have in their benchmark."""
    selection = store.attributes.get("selection")
    if isinstance(selection, list) and len(selection) == store.num_questions:
        return selection
    return range(store.num_questions)
