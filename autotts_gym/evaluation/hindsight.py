"""Compiled hindsight on episodes: the standing answer after each round, and what would have helped at the end.

It reads what no controller may, so it runs where episodes are evaluated and nowhere else.
"""

import numpy as np

from autotts_gym.engine.addresses import unpack
from autotts_gym.engine.jit import inline, kernel
from autotts_gym.engine.layout import FINISHED, PRUNED
from autotts_gym.engine.transition import aggregated, is_right

RIGHT, LOST_TIE, OVERRULED, STOPPED_EARLY, PRUNED_RIGHT, OUTVOTED, NEVER_OPENED, OUT_OF_SLOTS, OUT_OF_REACH = range(9)
"""Outcomes of an episode; diagnosis.py says what each means."""

EPISODE = np.dtype(
    [
        ("total_tokens", np.int64),
        ("settled_tokens", np.int64),  # total tokens when the standing answer last changed; 0: there never was one
        ("cheapest_tokens", np.int64),  # total tokens of the first stop that would have been right; -1: none
        ("standing", np.int32),  # what STOP would answer, a local id; -1: nothing
        ("outcome", np.int32),  # RIGHT, or why it is not
        ("deeper", np.bool_),  # right by the vote of the branches kept, all read to their ends
        ("unpruned", np.bool_),  # right by the vote of the branches opened, all read to their ends
        ("wider", np.bool_),  # right by the vote of all slots, all read to their ends
        ("opened_knew", np.bool_),  # the final answer of a branch opened is right
        ("pruned_knew", np.bool_),  # the final answer of a branch pruned is right
        ("slots_knew", np.bool_),  # the final answer of a branch that has a slot is right
        ("pool_knew", np.bool_),  # the final answer of a branch of the pool is right
    ],
    align=True,
)
"""Hindsight on one episode."""

_KEPT, _OPENED, _SLOTS = 0, 1, 2


@kernel
def note_round(addresses, episodes):
    """Note the standing answer after a round, in episodes (N,) EPISODE; an episode that has ended changes no more."""
    s = unpack(addresses)
    for k in range(len(episodes)):
        n = np.uint64(k)
        tokens = s.pools[n].total_tokens
        standing = aggregated(s, n)
        if standing != episodes[n].standing:
            episodes[n].standing = standing
            episodes[n].settled_tokens = tokens
        if episodes[n].cheapest_tokens < 0 and is_right(s, n, standing):
            episodes[n].cheapest_tokens = tokens


@inline
def _finish_order(s, n, i):
    """When a branch finishes if all are deepened side by side from the end of the episode; equals go by slot."""
    slot = s.slots[n, i]
    if slot.status == FINISHED:
        return np.int64(slot.rank)
    branch = s.hidden_slots[n, i].branch
    probes = s.branches[branch].probes
    behind = not s.rules[0].exact or s.branches[branch].tokens > probes * np.int64(s.pools[n].interval_tokens)
    return s.slots.shape[1] + probes - slot.depth + behind


@inline
def _full_vote(s, n, group, votes):
    """The answer of a group of branches, all read to their ends: the majority, a stored id; ties: finished first."""
    votes[:] = 0
    top = np.int32(0)
    winner, first = np.int32(-1), np.int64(0)
    slots = s.pools[n].slots if group == _SLOTS else s.pools[n].opened
    for i in range(slots):
        final = s.branches[s.hidden_slots[n, i].branch].final
        if final >= 0 and (group != _KEPT or s.slots[n, i].status != PRUNED):
            votes[final] += 1
            top = max(top, votes[final])
    for i in range(slots):
        final = s.branches[s.hidden_slots[n, i].branch].final
        if final >= 0 and votes[final] == top and (group != _KEPT or s.slots[n, i].status != PRUNED):
            order = _finish_order(s, n, i)
            if winner < 0 or order < first:
                winner, first = final, order
    return winner


@inline
def _lost_tie(s, n, answer):
    """Whether the right answer had as many votes as the one given, in the vote that this one led."""
    pool = s.pools[n]
    gold = s.local_ids[n, s.hidden_pools[n].gold] - 1
    if answer < 0 or gold < 0:
        return False
    if pool.finished_leader_votes > 0 and s.answers[n, answer].finished_votes == pool.finished_leader_votes:
        return s.answers[n, gold].finished_votes == pool.finished_leader_votes
    if pool.leader_votes > 0 and s.answers[n, answer].votes == pool.leader_votes:
        return s.answers[n, gold].votes == pool.leader_votes
    return False


@inline
def _outcome(s, n, episode):
    """RIGHT, or the first that holds of what went wrong."""
    if s.hidden_pools[n].correct:
        return RIGHT
    if _lost_tie(s, n, s.pools[n].answer):
        return LOST_TIE
    if is_right(s, n, episode.standing):
        return OVERRULED
    if episode.deeper:
        return STOPPED_EARLY
    if episode.unpruned:
        return PRUNED_RIGHT
    if episode.opened_knew:
        return OUTVOTED
    if episode.slots_knew:
        return NEVER_OPENED
    return OUT_OF_SLOTS if episode.pool_knew else OUT_OF_REACH


@kernel
def judge(addresses, episodes):
    """Complete episodes (N,) EPISODE that have ended, whose orders were dealt and whose rounds were noted."""
    s = unpack(addresses)
    votes = np.empty(s.answers.shape[1], np.int32)
    for k in range(len(episodes)):
        n = np.uint64(k)
        pool, hidden, episode = s.pools[n], s.hidden_pools[n], episodes[n]
        gold = hidden.gold
        episode.total_tokens = pool.total_tokens
        if hidden.correct and episode.cheapest_tokens < 0:  # by an answer that the controller named
            episode.cheapest_tokens = pool.total_tokens
        episode.deeper = _full_vote(s, n, _KEPT, votes) == gold
        episode.unpruned = _full_vote(s, n, _OPENED, votes) == gold
        episode.wider = _full_vote(s, n, _SLOTS, votes) == gold
        for i in range(pool.slots):
            if s.branches[s.hidden_slots[n, i].branch].final == gold:
                episode.slots_knew = True
                episode.opened_knew |= i < pool.opened
                episode.pruned_knew |= s.slots[n, i].status == PRUNED
        for branch in range(hidden.first_branch, hidden.first_branch + hidden.branches):
            episode.pool_knew |= s.branches[branch].final == gold
        episode.outcome = _outcome(s, n, episode)
