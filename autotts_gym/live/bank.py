"""The bank of live episodes: its branches are written just before the transition reads them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotts_gym.engine import Bank
from autotts_gym.engine.layout import QUESTION, STORED_BRANCH
from autotts_gym.validation import integer

RANGES = {"certainty": (0.0, 1.0), "confidence": (0.0, 20.0), "entropy": (0.0, 3.0), "logprob": (-3.0, 0.0)}
"""Where signals are observed: nats of a token but for certainty, a probability; ln 20 = 3.0 is the highest entropy of
20 tokens."""

Merge = Callable[[Sequence[str]], list[int]]
"""Which answers are one; see ``replay.equivalence.merger``."""


@dataclass(frozen=True)
class Origin:
    """What a live bank has in place of a store: where its branches come from.

    Attributes:
        model: name of the model.
        benchmark: name of the questions.
    """

    model: str
    benchmark: str

    @property
    def name(self) -> str:
        """Both, as names of stores are."""
        return f"{self.model}/{self.benchmark}"


class LiveBank(Bank):
    """Pools of branches, one a live episode, written by depth as they come.

    A branch that has not ended is one that ends at the limit of its tokens and has no final answer, which is all that
    is known of it. So nothing that the transition reads is ever later than what was written, except where an episode is
    played to find out what it needs, see ``LiveState``.

    Args:
        pools: P, how many.
        branches: M, of each.
        interval: Δ, tokens between probes.
        max_tokens: the most tokens of a branch.
        token_unit: tokens that a price is for.
        origin: where the branches come from.
        signals: names of the signals of an interval, sorted.
        probing: whether intervals are probed.
        labelled: whether all questions have gold answers.
    """

    def __init__(
        self,
        pools: int,
        branches: int,
        *,
        interval: int,
        max_tokens: int,
        token_unit: int,
        origin: Origin,
        signals: tuple[str, ...] = (),
        probing: bool = True,
        labelled: bool = True,
    ) -> None:
        self.stores = ()
        self.origin = origin
        self.interval, self.max_tokens = interval, max_tokens
        self.depths = len(range(interval, max_tokens, interval))
        """D, the most probes of a branch."""
        self.pool_branches = branches
        self.max_branches = branches
        self.max_probes = self.depths
        self.max_answers = branches * (self.depths + 1) + 1
        self.probing = probing
        self.unlabelled = () if labelled else (origin.name,)
        self.probeless = () if probing else (origin.name,)
        self.signal_names = tuple(sorted(signals))
        rows = np.arange(pools)
        self.questions = np.zeros(pools, QUESTION)
        self.questions["first_branch"] = rows * branches
        self.questions["branches"] = branches
        self.questions["answers"] = self.max_answers
        self.questions["gold"] = -1
        self.questions["interval_tokens"] = interval
        self.questions["token_unit"] = token_unit
        self.branches = np.zeros(pools * branches, STORED_BRANCH)
        self.branches["start"] = np.arange(pools * branches) * self.depths
        self.probes = np.full(pools * branches * self.depths, -1, np.int32)
        self.signal_values = np.zeros((len(self.probes), len(self.signal_names)), np.float32)
        self.problems = np.zeros(pools, np.int64)
        self._answers: list[list[str]] = [[] for _ in range(pools)]
        self._strings: dict[int, str] = {}
        self._old: list[list[int]] = [[] for _ in range(pools)]
        self._ranges = 0
        for pool in range(pools):
            self.clear(pool, 0, None)

    @property
    def signal_ranges(self) -> dict[str, tuple[float, float]]:
        """The range in which each signal is observed, by name; what is beyond counts as its end."""
        return {name: RANGES[name] for name in self.signal_names}

    def changes(self, max_branches: int) -> int:
        """How often the branches of an episode of so many slots can show another answer, at the most."""
        return integer("max_branches", max_branches, 1) * (self.depths + 2)

    def locate(self, question: int) -> tuple[Any, int]:
        """Where the branches of a pool come from, and the number of its question."""
        return self.origin, int(self.problems[question])

    def answer_texts(self, answers: NDArray[np.int64]) -> NDArray[np.object_]:
        """The strings of answers, numbered through the bank, (K,) object; None for -1."""
        texts = np.full(answers.shape, None, object)
        for k, answer in enumerate(answers.tolist()):
            texts[k] = self._strings.get(answer)
        return texts

    # ---------------------------------------------------------------- writing

    def order(self, episodes: int) -> NDArray[np.int32]:
        """The order of the pools of so many episodes, (N, M): slot i holds branch i."""
        return np.tile(np.arange(self.pool_branches, dtype=np.int32), (episodes, 1))

    def clear(self, pool: int, problem: int, gold: str | None) -> None:
        """Begin a pool anew, for a question with perhaps a gold answer; it is the answer 0.

        The answers of its last episode can still be read, as those that have just ended are reported after the next
        ones have begun.
        """
        first = pool * self.pool_branches
        rows = self.branches[first : first + self.pool_branches]
        rows["tokens"], rows["probes"], rows["final"] = self.max_tokens, self.depths, -1
        self.probes[first * self.depths : (first + self.pool_branches) * self.depths] = -1
        for number in self._old[pool]:
            del self._strings[number]
        first_answer = int(self.questions["first_answer"][pool])
        self._old[pool] = [first_answer + k for k in range(len(self._answers[pool]))]
        self._answers[pool] = []
        self.questions["first_answer"][pool] = self._ranges * self.max_answers
        self._ranges += 1
        self.problems[pool] = problem
        self.questions["gold"][pool] = -1 if gold is None else self._add(pool, gold)

    def number(self, pool: int, answer: str | None, merge: Merge) -> int:
        """The number of an answer of a pool, by the rule of which answers are one; -1: none."""
        if answer is None:
            return -1
        known = self._answers[pool]
        if answer in known:
            return known.index(answer)
        number = merge([*known, answer])[-1]
        return self._add(pool, answer) if number == len(known) else number

    def _add(self, pool: int, text: str) -> int:
        known = self._answers[pool]
        self._strings[int(self.questions["first_answer"][pool]) + len(known)] = text
        known.append(text)
        return len(known) - 1

    def write(self, pool: int, branch: int, depth: int, answer: int, signals: dict[str, float]) -> None:
        """Write what a branch shows at a depth, from 1 on: a number of ``number``, and signals by name."""
        place = int(self.branches["start"][pool * self.pool_branches + branch]) + depth - 1
        self.probes[place] = answer
        self.signal_values[place] = [signals[name] for name in self.signal_names]

    def end(self, pool: int, branch: int, tokens: int, probes: int, final: int) -> None:
        """Write how a branch ends: its tokens, its probes, and its final answer; -1: none."""
        row = self.branches[pool * self.pool_branches + branch]
        row["tokens"], row["probes"], row["final"] = tokens, probes, final
