"""Compiled macro actions: what each writes into a plan, and where it would change something."""

from autotts_gym.engine.addresses import unpack
from autotts_gym.engine.jit import inline, kernel
from autotts_gym.engine.layout import ACTIVE, BRANCH, FIRST_DEEPEN
from autotts_gym.engine.summaries import overdue, weighted_votes

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
NOT_BUILT_IN = -1


@inline
def _deeper(slots_n, i, opened):
    """How many active branches are deeper than branch i, ties to the one opened first."""
    count = 0
    for j in range(opened):
        deeper = slots_n[j].depth > slots_n[i].depth or (slots_n[j].depth == slots_n[i].depth and j < i)
        count += slots_n[j].status == ACTIVE and deeper
    return count


@inline
def _concerns(pool, slots_n, i, code, amount):
    """Whether a macro concerns an active branch."""
    slot = slots_n[i]
    if code == MACRO_ALL:
        return True
    if code == MACRO_LEADER:
        return slot.answer >= 0 and slot.answer == pool.leader
    if code == MACRO_OTHERS:
        return slot.answer < 0 or slot.answer != pool.leader
    if code == MACRO_FURTHEST:
        return 4 * _deeper(slots_n, i, pool.opened) < pool.active
    if code == MACRO_DISSENTERS:
        return slot.off_leader >= amount
    if code == MACRO_LEAST:
        return 4 * (pool.active - 1 - _deeper(slots_n, i, pool.opened)) < pool.active
    return overdue(pool, slot)


@inline
def write_row(revealed, n, code, amount, plan):
    """Write a built-in macro into the empty row of a plan."""
    pool, slots_n = revealed.pools[n], revealed.slots[n]
    if code == MACRO_STOP:
        plan.stop[n] = True
    elif code == MACRO_STOP_WEIGHTED:
        plan.stop[n] = True
        plan.answer[n] = weighted_votes(revealed, n)[0]
    elif code == MACRO_OPEN:
        plan.open[n] = min(amount, pool.slots - pool.opened)
    elif code == MACRO_READ:
        plan.read[n] = min(amount, pool.slots - pool.opened)
    else:
        for i in range(pool.opened):
            if slots_n[i].status == ACTIVE and _concerns(pool, slots_n, i, code, amount):
                if code >= MACRO_DISSENTERS:
                    plan.prune[n, i] = True
                else:
                    plan.deepen[n, i] = amount


@kernel
def write_built_in(addresses, built_in, rows, actions, plan):
    """Write the built-in macros that episodes take into an empty plan; see macros.MACROS.

    ``built_in`` (K, 2) int64 holds code and amount of every macro (code NOT_BUILT_IN: of which nothing is written),
    ``rows`` (R,) int64 the episodes and ``actions`` (R,) int64 the macro of each.
    """
    revealed = unpack(addresses)
    for r in range(len(rows)):
        code, amount = built_in[actions[r], 0], built_in[actions[r], 1]
        if code != NOT_BUILT_IN:
            write_row(revealed, rows[r], code, amount, plan)


@inline
def _changes_something(revealed, n, code, amount):
    """Whether a built-in macro would change something; what ``mark_effective`` would say of its plan."""
    pool = revealed.pools[n]
    if code in (MACRO_STOP, MACRO_STOP_WEIGHTED):
        return True
    if code in (MACRO_OPEN, MACRO_READ):
        return revealed.admissible[n, BRANCH] != 0
    shift = FIRST_DEEPEN + (revealed.slots.shape[1] if code >= MACRO_DISSENTERS else 0)
    for i in range(pool.opened):
        if revealed.admissible[n, shift + i] != 0:
            some = code in (MACRO_FURTHEST, MACRO_LEAST)
            if some or _concerns(pool, revealed.slots[n], i, code, amount):
                return True
    return False


@inline
def mark_row(revealed, n, built_in, masks):
    """Write to row n of masks where built-in macros would change something; 0 for the others."""
    for k in range(len(built_in)):
        code = built_in[k, 0]
        masks[n, k] = code != NOT_BUILT_IN and _changes_something(revealed, n, code, built_in[k, 1])


@kernel
def mark_built_in(addresses, built_in, masks):
    """Write to masks (N, K) int8 where the built-in ones of K macros would change something; see write_built_in."""
    revealed = unpack(addresses)
    for n in range(len(masks)):
        mark_row(revealed, n, built_in, masks)


@kernel
def mark_effective(admissible, max_branches, plan, masks, column):
    """Write to a column of masks (N, K) int8 where a plan would change something."""
    for n in range(len(admissible)):
        effective = plan.stop[n] or ((plan.open[n] > 0 or plan.read[n] > 0) and admissible[n, BRANCH] != 0)
        for i in range(max_branches):
            if effective:
                break
            effective = plan.deepen[n, i] > 0 and admissible[n, FIRST_DEEPEN + i] != 0
            effective = effective or (plan.prune[n, i] and admissible[n, FIRST_DEEPEN + max_branches + i] != 0)
        masks[n, column] = effective
