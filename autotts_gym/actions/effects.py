"""Compiled macro actions: what each writes into a plan, and where it would change something.

A macro is a pair of numbers: the code of a rule that is built in and its amount; ``OWN`` and the address of a user's
function; or ``PLAIN`` and 0: one in plain Python, of which nothing is written here.
"""

import numpy as np

from autotts_gym.engine.addresses import call_macro, unpack
from autotts_gym.engine.jit import called, inline, kernel
from autotts_gym.engine.layout import ACTIVE, BRANCH, FIRST_DEEPEN
from autotts_gym.engine.summaries import overdue, weighted_votes
from autotts_gym.engine.transition import clear_row

(
    MACRO_STOP,
    MACRO_ALL,
    MACRO_LEADER,
    MACRO_OTHERS,
    MACRO_FURTHEST,
    MACRO_OPEN,
    MACRO_DISSENTERS,
    MACRO_LEAST,
    MACRO_LONGEST,
    MACRO_STOP_WEIGHTED,
    MACRO_READ,
) = range(11)
PLAIN, OWN = -1, -2


@inline
def _concerns(pool, slot, code, amount, ahead):
    """Whether a macro concerns an active branch; ``ahead``: it is among the deepest ones, see ``_cut``."""
    if code == MACRO_ALL:
        return True
    if code == MACRO_LEADER:
        return slot.answer >= 0 and slot.answer == pool.leader
    if code == MACRO_OTHERS:
        return slot.answer < 0 or slot.answer != pool.leader
    if code == MACRO_FURTHEST:
        return ahead
    if code == MACRO_DISSENTERS:
        return slot.off_leader >= amount
    if code == MACRO_LEAST:
        return not ahead
    return overdue(pool, slot)


@called
def _cut(pool, slots_n, count):
    """Where the deepest active branches end, so many in number, ties to those opened first.

    Returns:
        (a depth, how many branches of just that depth are among them; all deeper ones are).
    """
    low, high, ties = np.int64(-1), np.int64(pool.deepest), count
    while high - low > 1:  # at most count branches are deeper than high, ties less than that; more than low
        depth = (low + high) // 2
        deeper = 0
        for i in range(pool.opened):
            deeper += (slots_n[i].status == ACTIVE) & (slots_n[i].depth > depth)
        if deeper <= count:
            high, ties = depth, count - deeper
        else:
            low = depth
    return high, ties


@called
def write_row(revealed, n, code, amount, plan):
    """Write a compiled macro into the empty row of a plan."""
    pool, slots_n = revealed.pools[n], revealed.slots[n]
    if code == OWN:
        call_macro(amount, revealed, n, plan)
        if plan.answer[n] < -1 or plan.answer[n] >= pool.answers_seen:
            raise ValueError("macro: expected plan.answer to be the id of an answer that the episode has seen, or -1")
    elif code == MACRO_STOP:
        plan.stop[n] = True
    elif code == MACRO_STOP_WEIGHTED:
        plan.stop[n] = True
        plan.answer[n] = weighted_votes(revealed, n)[0]
    elif code == MACRO_OPEN:
        plan.open[n] = min(amount, pool.slots - pool.opened)
    elif code == MACRO_READ:
        plan.read[n] = min(amount, pool.slots - pool.opened)
    else:
        depth, ties = np.int64(0), np.int64(0)
        if code in (MACRO_FURTHEST, MACRO_LEAST):
            quarter = np.int64(pool.active + 3) // 4
            depth, ties = _cut(pool, slots_n, quarter if code == MACRO_FURTHEST else pool.active - quarter)
        for i in range(pool.opened):
            slot = slots_n[i]
            if slot.status != ACTIVE:
                continue
            ahead = slot.depth > depth or (slot.depth == depth and ties > 0)
            ties -= slot.depth == depth
            if _concerns(pool, slot, code, amount, ahead):
                if code >= MACRO_DISSENTERS:
                    plan.prune[n, i] = True
                else:
                    plan.deepen[n, i] = amount


@kernel
def write_compiled(addresses, compiled, rows, actions, plan):
    """Write the compiled macros that episodes take into an empty plan; see macros.MACROS.

    ``compiled`` (K, 2) int64 holds the pair of every macro, ``rows`` (R,) int64 the episodes and ``actions`` (R,) int64
    the macro of each.
    """
    revealed = unpack(addresses)
    for r in range(len(rows)):
        code, amount = compiled[actions[r], 0], compiled[actions[r], 1]
        if code != PLAIN:
            write_row(revealed, np.uint64(rows[r]), code, amount, plan)


@inline
def _first_concerned(revealed, n):
    """The branches that rules concern if they concern any; -1: there is none.

    Returns:
        Of the branches that can be deepened (one on the leader, one off it); of those that can be pruned (the one that
        has been off the leader for longest, the deepest).
    """
    pool = revealed.pools[n]
    on, off, longest_off, deepest = -1, -1, -1, -1
    most_off, most_depth = -1, -1
    if pool.active > 0:
        for i in range(pool.opened):
            slot = revealed.slots[n, i]
            if revealed.admissible[n, FIRST_DEEPEN + i] != 0:
                if _concerns(pool, slot, MACRO_LEADER, 0, False):
                    on = i
                else:
                    off = i
            if revealed.admissible[n, FIRST_DEEPEN + revealed.slots.shape[1] + i] != 0:
                if slot.off_leader > most_off:
                    longest_off, most_off = i, slot.off_leader
                if slot.depth > most_depth:
                    deepest, most_depth = i, slot.depth
    return on, off, longest_off, deepest


@inline
def _changes_something(revealed, n, code, amount, first):
    """Whether a built-in macro would change something; what ``mark_effective`` would say of its plan."""
    on, off, longest_off, deepest = first
    if code in (MACRO_STOP, MACRO_STOP_WEIGHTED):
        return True
    if code in (MACRO_OPEN, MACRO_READ):
        return revealed.admissible[n, BRANCH] != 0
    if code in (MACRO_ALL, MACRO_FURTHEST):  # a quarter of some branches is at least one
        return on >= 0 or off >= 0
    if code == MACRO_LEAST:
        return deepest >= 0
    if code == MACRO_LEADER:
        return on >= 0
    if code == MACRO_OTHERS:
        return off >= 0
    i = longest_off if code == MACRO_DISSENTERS else deepest
    return i >= 0 and _concerns(revealed.pools[n], revealed.slots[n, i], code, amount, False)


@called
def _effective(admissible, n, max_branches, plan):
    """Whether the row of a plan would change something."""
    effective = plan.stop[n] or ((plan.open[n] > 0 or plan.read[n] > 0) and admissible[n, BRANCH] != 0)
    explicit = admissible.shape[1] > FIRST_DEEPEN + 2 * max_branches
    for i in range(max_branches):
        if effective:
            break
        effective = plan.deepen[n, i] > 0 and admissible[n, FIRST_DEEPEN + i] != 0
        effective = effective or (plan.prune[n, i] and admissible[n, FIRST_DEEPEN + max_branches + i] != 0)
        if explicit:
            effective = effective or (plan.probe[n, i] and admissible[n, FIRST_DEEPEN + 2 * max_branches + i] != 0)
    return effective


@called
def mark_row(revealed, n, compiled, plan, masks):
    """Write to row n of masks where compiled macros would change something; 0 for the others.

    The row of the plan is where macros of users say what they would do; it is left blank.
    """
    first = _first_concerned(revealed, n)
    for k in range(len(compiled)):
        code, amount = compiled[k, 0], compiled[k, 1]
        if code == OWN:
            clear_row(revealed, n, plan)
            write_row(revealed, n, code, amount, plan)
            masks[n, k] = _effective(revealed.admissible, n, revealed.slots.shape[1], plan)
            clear_row(revealed, n, plan)
        else:
            masks[n, k] = code != PLAIN and _changes_something(revealed, n, code, amount, first)


@kernel
def mark_compiled(addresses, compiled, plan, masks):
    """Write to masks (N, K) int8 where the compiled ones of K macros would change something; see write_compiled."""
    revealed = unpack(addresses)
    for n in range(len(masks)):
        mark_row(revealed, np.uint64(n), compiled, plan, masks)


@kernel
def mark_effective(admissible, max_branches, plan, masks, column):
    """Write to a column of masks (N, K) int8 where a plan would change something."""
    for n in range(len(admissible)):
        masks[n, column] = _effective(admissible, np.uint64(n), max_branches, plan)
