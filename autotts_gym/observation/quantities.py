"""Compiled quantities that several features need: a feature asks for one by the name of a parameter."""

import numpy as np

from autotts_gym.engine.jit import inline
from autotts_gym.engine.layout import ACTIVE
from autotts_gym.engine.summaries import STUBBORN, overdue, weighted_votes

# Of tokens, in millionths of the token unit: tokens where that is 10^6.
TOKENS_SCALE = 500_000.0
SEQUENTIAL_SCALE = 20_000.0
HELD_SCALE = 50_000.0
DEPTH_SCALE = 10_000.0

COUNT_SCALE = 8.0
COST_WEIGHT_SCALE = 0.25
LATENCY_WEIGHT_SCALE = 1.0
PRICE_SCALE = 0.005
VOTES_SCALE = 4.0


@inline
def squash(x, scale):
    """Squash a quantity without an upper end into [0, 1): monotone, and small values stay apart."""
    return x / (x + scale)


@inline
def active_votes(s, n, answer):
    """Active branches whose latest answer it is."""
    return s.answers[n, answer].votes - s.answers[n, answer].finished_votes if answer >= 0 else 0


@inline
def top_two(s, n):
    """The two highest numbers of votes among the latest answers of branches not pruned."""
    pool = s.pools[n]
    top = pool.leader_votes
    second = top
    if top > 0 and s.tally[n, top] == 1:
        second -= 1
        while second > 0 and s.tally[n, second] == 0:
            second -= 1
    return top, second


@inline
def late(s, n):
    """How many active branches are overdue, and how many are stubborn."""
    pool, slots = s.pools[n], s.slots[n]
    behind, stubborn = 0, 0
    for i in range(pool.opened if pool.active > 0 else 0):
        if slots[i].status == ACTIVE:
            behind += overdue(pool, slots[i])
            stubborn += slots[i].off_leader >= STUBBORN
    return behind, stubborn


@inline
def millionth(s, n):
    """Tokens of a millionth of the token unit."""
    return s.pools[n].token_unit / 1e6


@inline
def units(s, n):
    """Of branches: tokens of an interval, a vote among all, a vote among the finished ones, a place of M."""
    pool, one = s.pools[n], np.float32(1.0)
    return (
        np.float32(pool.interval_tokens),
        one / max(pool.voters, 1),
        one / max(pool.finished_voters, 1),
        one / s.rules[0].max_branches,
    )


QUANTITIES = {
    "millionth": millionth,
    "top_two": top_two,
    "weighted": weighted_votes,
    "late": late,
    "units": units,
}
"""Each is computed once an episode, where a feature that is observed asks for it."""
