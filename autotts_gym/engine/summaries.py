"""Compiled rules of what an episode has revealed; observations and macro actions both use them."""

import numpy as np

from autotts_gym.engine.jit import inline

TIE = 1e-9
"""Relative difference of votes that may come from rounding alone."""

STUBBORN = 24
"""Answers in a row off the leader after which a branch is stubborn."""


@inline
def ratio(part, total):
    """The ratio of a part to the total; 0 where there is nothing."""
    return part / total if total > 0 else 0.0


@inline
def deviation(pool):
    """Standard deviation of the depths of the finished branches, in intervals."""
    count, depth = np.int64(pool.finished), np.int64(pool.finished_depth)
    return ratio(np.sqrt(np.float64(count * pool.finished_squares - depth * depth)), np.float64(count))


@inline
def weighted_votes(s, n):
    """Votes of the finished branches: an answer counts less, the longer its branches and the more have abandoned it.

    An answer with v branches counts v exp(-c z) / sqrt(1 + x). Its branches are on average z standard deviations deeper
    than all that finished, and c = 1.25 F / (F + 8) with F finished: the fewer, the less is known of how long branches
    are. x branches have shown it and show another or none now: an answer that branches reach easily gets votes by
    chance.

    Returns:
        (leader, ties to the answer finished first, -1: none; its votes; the runner-up's; all votes), scaled to one vote
        a branch on average.
    """
    pool = s.pools[n]
    pull = 1.25 * pool.finished / (pool.finished + 8.0) / (deviation(pool) + 1.0)
    mean = ratio(np.float64(pool.finished_depth), np.float64(pool.finished))
    leader, top, second, total = np.int32(-1), 0.0, 0.0, 0.0
    for k in range(pool.finished_distinct):
        answer = s.finished_answers[n, k]
        given = s.answers[n, answer]
        deeper = given.finished_depth / given.finished_votes - mean
        votes = given.finished_votes * np.exp(-pull * deeper) / np.sqrt(1.0 + given.abandoned)
        total += votes
        if votes > top * (1.0 + TIE):
            leader, top, second = answer, votes, top
        else:
            top, second = max(top, votes), max(second, min(top, votes))
    scale = ratio(np.float64(pool.finished_voters), total)
    return leader, top * scale, second * scale, total * scale


@inline
def overdue(pool, slot):
    """Whether a branch is more than 1.5 times as deep as the finished ones on average."""
    return pool.finished > 0 and 2 * slot.depth * pool.finished > 3 * pool.finished_depth
