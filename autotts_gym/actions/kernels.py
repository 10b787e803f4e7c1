"""Compiled macro actions: what each writes into a plan, and where it would change something.

A macro is a pair of numbers: the code of a rule that is built in and its amount; ``OWN`` and the address of a user's
function; or ``PLAIN`` and 0: one in plain Python, of which nothing is written here.
"""

from autotts_gym.engine.addresses import call_macro, unpack
from autotts_gym.engine.jit import inline, kernel
from autotts_gym.engine.kernels import clear_row
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
PLAIN, OWN = -1, -2


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
        for i in range(pool.opened):
            if slots_n[i].status == ACTIVE and _concerns(pool, slots_n, i, code, amount):
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
def _effective(admissible, n, max_branches, plan):
    """Whether the row of a plan would change something."""
    effective = plan.stop[n] or ((plan.open[n] > 0 or plan.read[n] > 0) and admissible[n, BRANCH] != 0)
    for i in range(max_branches):
        if effective:
            break
        effective = plan.deepen[n, i] > 0 and admissible[n, FIRST_DEEPEN + i] != 0
        effective = effective or (plan.prune[n, i] and admissible[n, FIRST_DEEPEN + max_branches + i] != 0)
    return effective


@inline
def mark_row(revealed, n, compiled, plan, masks):
    """Write to row n of masks where compiled macros would change something; 0 for the others.

    The row of the plan is where macros of users say what they would do; it is left blank.
    """
    for k in range(len(compiled)):
        code, amount = compiled[k, 0], compiled[k, 1]
        if code == OWN:
            clear_row(revealed, n, plan)
            write_row(revealed, n, code, amount, plan)
            masks[n, k] = _effective(revealed.admissible, n, revealed.slots.shape[1], plan)
            clear_row(revealed, n, plan)
        else:
            masks[n, k] = code != PLAIN and _changes_something(revealed, n, code, amount)


@kernel
def mark_compiled(addresses, compiled, plan, masks):
    """Write to masks (N, K) int8 where the compiled ones of K macros would change something; see write_compiled."""
    revealed = unpack(addresses)
    for n in range(len(masks)):
        mark_row(revealed, n, compiled, plan, masks)


@kernel
def mark_effective(admissible, max_branches, plan, masks, column):
    """Write to a column of masks (N, K) int8 where a plan would change something."""
    for n in range(len(admissible)):
        masks[n, column] = _effective(admissible, n, max_branches, plan)
