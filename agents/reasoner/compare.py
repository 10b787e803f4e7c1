"""Put the branches of stores side by side: ``python -m agents.reasoner.compare --store tiny/search --range …``.

Every measure is taken for each store, averaged over its questions. ``--range`` names the stores whose smallest and
largest value are the range that the others are held against; a value outside of it is marked.
"""

import math
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln
from scipy.stats import rankdata

from agents.settings import Settings, one_of, read_command_line, setting
from autotts_gym.cli import ending
from autotts_gym.cli.screen import show
from autotts_gym.errors import AutottsError
from autotts_gym.evaluation.tables import Column, Table
from autotts_gym.replay import ReplayStore, load_store
from autotts_gym.replay.profile import majority_accuracy, probe_agreement

Floats = NDArray[np.float64]

VOTES = (4, 16, 64)
"""Branches that vote."""

POOL = 64
"""Branches of each pool from which wrong answers are counted: their number grows with the pool."""

DEPTHS = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Parts of a branch's probes after which probe and final answer are compared."""

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Of pass@1 over questions: by difficulty."""


@dataclass(frozen=True)
class Pool:
    """The branches of one question.

    Attributes:
        finals: (B,) int32 final answers; -1: none.
        tokens: (B,) int32 lengths, in tokens.
        right: (B,) bool.
        gold: the right answer.
    """

    finals: NDArray[np.int32]
    tokens: NDArray[np.int32]
    right: NDArray[np.bool_]
    gold: int


def pools_of(store: ReplayStore) -> list[Pool]:
    """The pools of a store, a question each."""
    pools = []
    for q, gold in enumerate(store.gold.tolist()):
        part = slice(*store.branch_offsets[q : q + 2].tolist())
        finals = store.finals[part]
        pools.append(Pool(finals, store.tokens[part], (finals == gold) & (finals >= 0), gold))
    return pools


def coverage_at(pool: Pool, k: int) -> float:
    """How likely k different branches of a pool hold a right one; in [0, 1]."""
    size, wrong = pool.right.size, int((~pool.right).sum())
    if wrong < k:
        return 1.0
    logs = gammaln(wrong + 1) - gammaln(wrong - k + 1) - gammaln(size + 1) + gammaln(size - k + 1)
    return float(1 - math.exp(logs))


def _mixed(pools: Sequence[Pool]) -> list[Pool]:
    """Pools of at least three right and three wrong branches."""
    return [pool for pool in pools if 3 <= pool.right.sum() <= pool.right.size - 3]


def _longer(pool: Pool) -> float:
    return float(pool.tokens[~pool.right].mean() / pool.tokens[pool.right].mean())


def _rank_correlation(pool: Pool) -> float:
    return float(np.corrcoef(rankdata(pool.tokens), pool.right)[0, 1])


def _leader(pool: Pool) -> float:
    finished = pool.finals[pool.finals >= 0]
    return float(np.bincount(finished).max() / finished.size) if finished.size else 0.0


def _wrong(pool: Pool) -> NDArray[np.int64]:
    """How many of the first branches give each wrong answer."""
    finals = pool.finals[:POOL]
    return np.bincount(finals[(finals >= 0) & ~pool.right[:POOL]], minlength=1)


def first_probes(store: ReplayStore) -> tuple[float, float]:
    """How far the first probes of a question agree, and how often they are right together.

    Returns:
        Means over questions: the share of the branches that show the most frequent answer at their first probe, and
        how often that answer is right; each in [0, 1].
    """
    begins, probes = store.probe_offsets[:-1], np.diff(store.probe_offsets)
    shares, right = [], []
    for q, gold in enumerate(store.gold.tolist()):
        part = slice(*store.branch_offsets[q : q + 2].tolist())
        shown = store.probes[begins[part][probes[part] > 0]]
        if votes := Counter(shown[shown >= 0].tolist()).most_common(1):
            shares.append(votes[0][1] / shown.size)
            right.append(float(votes[0][0] == gold))
    return _mean(shares), _mean(right)


def _clustering(pools: Sequence[Pool]) -> float:
    """Share of wrong votes on the most frequent wrong answer."""
    wrong = [votes for pool in pools if (votes := _wrong(pool)).sum() >= 2]
    return float(np.mean([votes.max() / votes.sum() for votes in wrong])) if wrong else math.nan


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _ratio(value: float) -> str:
    return f"{value:.2f}"


def _count(value: float) -> str:
    return f"{value:.1f}"


Measure = tuple[str, float, Callable[[float], str]]
"""What is measured, its value, and how it reads."""


def measures(store: ReplayStore) -> list[Measure]:
    """Everything that is compared.

    Raises:
        StoreError: a question has no gold answer.
    """
    store.require_gold("agents.reasoner.compare")
    pools = pools_of(store)
    majority = majority_accuracy(store, VOTES).tolist()
    agreement = probe_agreement(store, DEPTHS).tolist()
    chances = np.array([pool.right.mean() for pool in pools])
    tokens, probes = store.tokens, np.diff(store.probe_offsets)
    means = [float(pool.tokens.mean()) for pool in pools]
    agree, together = first_probes(store)
    return [
        ("pass@1", float(chances.mean()), _percent),
        *(
            (f"pass@1, {100 * at:.0f} % quantile of questions", float(np.quantile(chances, at)), _percent)
            for at in QUANTILES
        ),
        *((f"majority@{k}", share, _percent) for k, share in zip(VOTES, majority, strict=True)),
        ("coverage@64", _mean([coverage_at(pool, min(64, pool.right.size)) for pool in pools]), _percent),
        *(
            (f"probe = final answer at {100 * at:.0f} % of depth", share, _percent)
            for at, share in zip(DEPTHS, agreement, strict=True)
        ),
        ("first probes on their most frequent answer", agree, _percent),
        ("that answer is right", together, _percent),
        ("wrong branches longer than right ones, ratio of means", _mean([_longer(p) for p in _mixed(pools)]), _ratio),
        ("rank correlation of length and correctness", _mean([_rank_correlation(p) for p in _mixed(pools)]), _ratio),
        ("branches without a final answer", float((store.finals < 0).mean()), _percent),
        ("branches within 5 % of the longest", float((tokens >= 0.95 * tokens.max()).mean()), _percent),
        ("share of finished votes for the leader", _mean([_leader(pool) for pool in pools]), _percent),
        ("wrong answers in 64 branches", _mean([float(np.count_nonzero(_wrong(pool))) for pool in pools]), _count),
        ("share of wrong votes on the most frequent one", _clustering(pools), _percent),
        ("length: standard deviation / mean", float(tokens.std() / tokens.mean()), _ratio),
        ("the same within a question", _mean([float(p.tokens.std() / p.tokens.mean()) for p in pools]), _ratio),
        ("the same of the questions' means", float(np.std(means) / np.mean(means)), _ratio),
        ("length: 95 % quantile / median", float(np.quantile(tokens, 0.95) / np.median(tokens)), _ratio),
        ("probes per branch", float(probes.mean()), _count),
        ("tokens per branch", float(tokens.mean()), _count),
    ]


@dataclass(frozen=True)
class Options(Settings):
    """Options of the command; ``--help`` lists them."""

    store: tuple[str, ...] = setting("names or paths of the stores to compare", ())
    range: tuple[str, ...] = setting("stores that give the range; none: no range", ())
    format: Annotated[str, one_of("text", "markdown", "csv", "json")] = setting("how the table is written", "text")


def comparison(stores: Sequence[ReplayStore], references: Sequence[ReplayStore]) -> Table:
    """Every measure in a row: the range of some stores, and the value of others.

    Args:
        stores: a column each; ``*`` marks a value outside of the range.
        references: what gives the range.
    """
    taken = [measures(store) for store in stores]
    ranged = [measures(store) for store in references]
    rows = []
    for i, (name, _, show_value) in enumerate((taken or ranged)[0]):
        values = [each[i][1] for each in ranged]
        low, high = min(values, default=-math.inf), max(values, default=math.inf)
        between = [f"{show_value(low)} to {show_value(high)}"] if ranged else []
        cells = [show_value(v) + ("" if low <= v <= high or math.isnan(v) else " *") for v in (t[i][1] for t in taken)]
        rows.append((name, *between, *cells))
    columns = [Column("measure", ("measure",))]
    if references:
        columns.append(Column("range", (f"range of {len(references)}",)))
    columns += [Column(store.name, (store.name,)) for store in stores]
    return Table(
        "Branches side by side" + (" (* outside of the range)" if references else ""), tuple(columns), tuple(rows)
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; see ``autotts_gym.cli.ending.run``."""

    def work() -> int:
        options = Options(**read_command_line("agents.reasoner.compare", __doc__, Options, {}, arguments))
        if not (options.store or options.range):
            raise AutottsError("--store, --range: expected a store, got none")
        table = comparison([load_store(name) for name in options.store], [load_store(name) for name in options.range])
        if options.format == "text":
            show(table)
        else:
            print(getattr(table, f"to_{options.format}")(), end="")
        return 0

    return ending.run(work)


if __name__ == "__main__":
    sys.exit(main())
