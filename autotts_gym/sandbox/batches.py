"""Which episodes of a program share a process, and which of them are played twice.

No process holds two episodes of one question, whose branches the program could pool. Everything else is drawn from
fresh entropy of this process. An honest program does not depend on it, and no program can know it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SERVERS = 2
"""Fork servers of a batch, new for every chunk.

Addresses of objects differ from one server to the next. A server that has forked before has traces of that in freed
memory and in the interpreter's counters, and its children would inherit them.
"""


@dataclass(frozen=True)
class Batch:
    """Episodes that are played side by side.

    Attributes:
        rows: (n,) int64, which episodes.
        processes: (n,) int64, the process of each.
        places: (n,) float64, the lowest of a process begins first.
        servers: how many fork servers the processes come from.
        since: when the evaluation began, by ``time.monotonic``; None: now.
    """

    rows: NDArray[np.int64]
    processes: NDArray[np.int64]
    places: NDArray[np.float64]
    servers: int = 1
    since: float | None = None


def alone(episodes: int) -> Batch:
    """Every episode in a process of its own."""
    rows = np.arange(episodes)
    return Batch(rows, rows, np.zeros(episodes))


def assign(problems: NDArray[np.int64], batches: int, repeats: int, since: float | None = None) -> list[Batch]:
    """Divide episodes into batches and, within each, into processes of different sizes.

    An episode that is played twice is in two batches, and so in processes of two fork servers. In one of the two, by
    chance, it begins before all others of its process, so that no earlier episode could leave anything for it; in the
    other it has any place. Nothing shows a process which of its episodes are played twice.

    Args:
        problems: (N,) int64, equal for episodes that may not share a process.
        batches: in how many parts they are played by turns.
        repeats: how many are played twice; needs two batches.
        since: when the evaluation began, by ``time.monotonic``.
    """
    rng = np.random.default_rng()
    episodes = len(problems)
    _, problem = np.unique(problems, return_inverse=True)
    shifts = rng.integers(batches, size=episodes)[problem]
    home = (_ranks(problem, rng) + shifts) % batches  # each batch has about as many of every problem
    twice = rng.permutation(episodes)[:repeats]
    begins = np.full(episodes, -1)
    begins[twice] = rng.integers(batches, size=len(twice))  # the batch in which it begins its process
    made = []
    for k in range(batches):
        copies = twice[(home[twice] + 1) % batches == k]
        rows = np.concatenate([np.flatnonzero(home == k), copies])
        if not len(rows):
            continue
        ranks = _ranks(problem[rows], rng)
        count = int(ranks.max()) + 1
        count += max(1, count // 8)
        weights = rng.uniform(0.5, 1.5, count)  # so that processes differ in size
        order = np.argsort(rng.exponential(size=(int(problem.max()) + 1, count)) / weights, axis=1)
        places = rng.random(len(rows)) - (begins[rows] == k)
        made.append(Batch(rows, order[problem[rows], ranks], places, SERVERS, since))
    return made


def _ranks(problem: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """The number of each episode among those of its problem, by chance."""
    order = np.lexsort((rng.random(len(problem)), problem))
    _, firsts, counts = np.unique(problem[order], return_index=True, return_counts=True)
    ranks = np.empty(len(problem), np.int64)
    ranks[order] = np.arange(len(problem)) - np.repeat(firsts, counts)
    return ranks
