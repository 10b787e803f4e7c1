"""From questions and branches as an importer reads them to the columns of a store."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from autotts_gym.errors import StoreError, quote
from autotts_gym.replay.columns import Columns, StringTable
from autotts_gym.replay.equivalence import merger
from autotts_gym.replay.store import MAX_TOKENS, ReplayStore


@dataclass(frozen=True)
class Branch:
    """One reasoning trajectory.

    Attributes:
        probes: the answer at each depth, None where there is no answer yet; none if it ended before the first one.
        tokens: total tokens, at least 1.
        final: the final answer, None if it gave none.
        signals: by name, a number for each probe: of the interval before it, such as its mean log-probability.

    Raises:
        StoreError: if the tokens are out of range, or a signal has not one number for each probe.
    """

    probes: Sequence[str | None]
    tokens: int
    final: str | None
    signals: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= self.tokens <= MAX_TOKENS:
            raise StoreError(f"tokens: expected 1 to {MAX_TOKENS}, got {self.tokens}")
        for name, values in self.signals.items():
            if len(values) != len(self.probes):
                raise StoreError(
                    f"signal {quote(name)}: expected {len(self.probes)} numbers, one per probe, got {len(values)}"
                )


@dataclass(frozen=True)
class Question:
    """One task with the pool of branches that was collected for it.

    Attributes:
        text: the question.
        gold: the gold answer; None: the question is unlabelled.
        branches: the pool, at least one branch.
    """

    text: str
    gold: str | None
    branches: Sequence[Branch]


def build_store(
    questions: Iterable[Question],
    *,
    model: str,
    benchmark: str,
    interval_tokens: int,
    equivalence: str = "exact",
    attributes: Mapping[str, object] | None = None,
) -> ReplayStore:
    """Make a store in memory.

    Answer ids are numbered by first appearance, branch by branch (the probes of a branch, then its final answer);
    the gold answer comes last if no branch gives it, and is -1 where there is none.

    Args:
        questions: the questions, in order.
        model: name of the model.
        benchmark: name of the benchmark.
        interval_tokens: Δ, tokens between probes.
        equivalence: which answers are one: "exact" (the same string) or "math"
            (see ``autotts_gym.replay.equivalence``).
        attributes: provenance; ``equivalence`` and ``merged_answers``, how many answer ids it merged, are added. With
            ``probes`` "none", of a store without probes, every probe is None (see ``ReplayStore.has_probes``).

    Raises:
        StoreError: if a value breaks a rule of the store, or ``equivalence`` is unknown or not installed.
    """
    merge = merger(equivalence)
    probes: list[np.ndarray[tuple[int], np.dtype[np.int32]]] = []
    lengths: list[int] = []
    pools: list[int] = []
    tokens: list[int] = []
    finals: list[int] = []
    gold: list[int] = []
    texts: list[str] = []
    tables: list[list[str]] = []
    signals: dict[str, list[float]] | None = None
    merged = 0
    for question in questions:
        ids: dict[str | None, int] = {None: -1}
        pool: list[int] = []
        ends: list[int] = []
        for branch in question.branches:
            pool.extend(ids.setdefault(answer, len(ids) - 1) for answer in branch.probes)
            ends.append(ids.setdefault(branch.final, len(ids) - 1))
            lengths.append(len(branch.probes))
            tokens.append(branch.tokens)
            signals = {name: [] for name in branch.signals} if signals is None else signals
            if branch.signals.keys() != signals.keys():
                raise StoreError(
                    f"signals: expected {quote(sorted(signals))}, as the first branch has, of every branch, "
                    f"got {quote(sorted(branch.signals))}"
                )
            for name, values in branch.signals.items():
                signals[name].extend(values)
        gold_id = ids.setdefault(question.gold, len(ids) - 1)
        table = [text for text in ids if text is not None]
        new_ids = np.append(merge(table), -1).astype(np.int32)  # the last entry keeps -1 what it is
        kept = [table[i] for i in np.unique(new_ids[:-1], return_index=True)[1]]
        merged += len(table) - len(kept)
        probes.append(new_ids[np.array(pool, np.int64)])
        finals.extend(new_ids[ends].tolist())
        gold.append(int(new_ids[gold_id]))
        pools.append(len(question.branches))
        texts.append(question.text)
        tables.append(kept)
    return ReplayStore(
        Columns(
            branch_offsets=_offsets(pools),
            probe_offsets=_offsets(lengths),
            answer_offsets=_offsets([len(table) for table in tables]),
            probes=np.concatenate(probes) if probes else np.zeros(0, np.int32),
            tokens=np.array(tokens, np.int32),
            finals=np.array(finals, np.int32),
            gold=np.array(gold, np.int32),
        ),
        StringTable.of(f"{model}/{benchmark}: answers", (text for table in tables for text in table)),
        StringTable.of(f"{model}/{benchmark}: questions", texts),
        model=model,
        benchmark=benchmark,
        interval_tokens=interval_tokens,
        attributes={**(attributes or {}), "equivalence": equivalence, "merged_answers": merged},
        signals={name: np.array(values, np.float32) for name, values in (signals or {}).items()},
    )


def _offsets(lengths: Sequence[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
