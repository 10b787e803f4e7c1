"""Messages between the engine and confined processes, for all of them at once; protocol.py has their layout."""

from autotts_gym.engine.jit import inline, kernel
from autotts_gym.engine.layout import ACTIVE, FINISHED, RUNNING
from autotts_gym.sandbox.protocol import ASK, GO_ON, STOP

# What may be wrong with a request.
FINE, TORN, ROW, NUMBER, SLOT, ANSWER, SILENT, OWED = 0, 1, 2, 3, 4, 5, 6, 7


@inline
def _wrong(pool, verb, answer, opens, prunes, deepens, words, max_branches, sure):
    """What is wrong with a request of an episode, of whose lists so many words are left; FINE, if nothing is."""
    if not (-1 <= answer < pool.answers_seen) or (answer >= 0 and verb != STOP):
        return ANSWER
    if not (0 <= prunes <= pool.opened and 0 <= deepens <= pool.opened) or words < prunes + 2 * deepens:
        return TORN
    if verb == ASK:
        return TORN if prunes or deepens else FINE
    return OWED if sure < max_branches and pool.opened + opens < sure else FINE


@kernel
def read_requests(words, ends, processes, members, firsts, awaited, pools, max_branches, sure, asking, max_steps, plan):
    """Write the requests of all processes into an empty plan.

    Args:
        words: int64, the contents of the messages of some processes, one after the other.
        ends: int64, where the message of each of them ends.
        processes: int64, their numbers.
        members: int64, the rows of the episodes of process 0, then of process 1, ...
        firsts: int64, where the episodes of each process begin there, and where the last one's end.
        awaited: (N,) bool by row, episodes that must ask for something; those that did are cleared.
        pools: (N,) POOL.
        max_branches: the most that one episode may open.
        sure: (N,) int64, branches that a program was promised to be able to open; updated where it asks.
        asking: (N,) bool, written: set for episodes that ask.
        max_steps: the most steps of one branch.
        plan: the arrays of a plan.

    Returns:
        FINE, or what is wrong.
    """
    at = 0
    for m in range(len(ends)):
        end = ends[m]
        c = processes[m]
        while at < end:
            if end - at < 7:
                return TORN
            episode, verb, answer, opens, reads = words[at], words[at + 1], words[at + 2], words[at + 3], words[at + 4]
            prunes, deepens = words[at + 5], words[at + 6]
            at += 7
            if not 0 <= episode < firsts[c + 1] - firsts[c]:
                return ROW
            n = members[firsts[c] + episode]
            if not awaited[n]:
                return ROW
            awaited[n] = False
            pool = pools[n]
            if not (GO_ON <= verb <= ASK and 0 <= opens <= max_branches and 0 <= reads <= max_branches):
                return NUMBER
            wrong = _wrong(pool, verb, answer, opens + reads, prunes, deepens, end - at, max_branches, sure[n])
            if wrong:
                return wrong
            if verb == ASK:
                # What the budget cannot pay is not promised: the program need not open it, but would learn the size.
                paid = (pool.budget - pool.total_tokens) // pool.interval_tokens
                sure[n] = max(sure[n], min(pool.opened + min(opens + reads, paid), pool.slots))
                asking[n] = True
                continue
            plan.stop[n] = verb == STOP
            plan.answer[n] = answer
            plan.open[n] = opens
            plan.read[n] = reads
            for k in range(prunes):
                i = words[at + k]
                if not 0 <= i < pool.opened:
                    return SLOT
                plan.prune[n, i] = True
            at += prunes
            for k in range(deepens):
                i, steps = words[at + k], words[at + deepens + k]
                if not (0 <= i < pool.opened and 1 <= steps <= max_steps):
                    return SLOT
                plan.deepen[n, i] = steps
            at += 2 * deepens
        for k in range(firsts[c], firsts[c + 1]):
            if awaited[members[k]]:
                return SILENT
    return FINE


@kernel
def find_growth(pools, slots, rows, known_depth, rows_out, slots_out, starts_out):
    """Find the branches that are deeper than last reported, and take note of their depths.

    Args:
        pools: (N,) POOL.
        slots: (N, M) SLOT.
        rows: int64, episodes to look at.
        known_depth: (N, M) int32, as last reported; updated.
        rows_out: int64, written: the row of each such branch.
        slots_out: int64, written: its slot.
        starts_out: int64, written: the depth last reported.

    Returns:
        How many there are.
    """
    count = 0
    for n in rows:
        for i in range(pools[n].opened):
            depth = slots[n, i].depth
            if depth != known_depth[n, i]:
                rows_out[count] = n
                slots_out[count] = i
                starts_out[count] = known_depth[n, i]
                count += 1
                known_depth[n, i] = depth
    return count


@kernel
def write_reveals(
    pools, slots, history, rows, numbers, sure, grown_rows, grown_slots, starts, answers, words, floats, ends
):
    """Write what every running episode is sent after a round.

    Args:
        pools: (N,) POOL.
        slots: (N, M) SLOT.
        history: (N, M, D, S) float32, the signals by depth.
        rows: int64, episodes in the order of their messages; one that has ended is sent nothing.
        numbers: int64, the number that each has in its process.
        sure: (N,) int64, branches that each can surely open.
        grown_rows: int64, the branches that ``find_growth`` found,
        grown_slots: their slots,
        starts: and the depths last reported.
        answers: int32, what they revealed beyond those, one after the other.
        words: int64, written: the messages.
        floats: the same memory as float64.
        ends: int64, written: where the message of each of ``rows`` ends.
    """
    at, grown, shown = 0, 0, 0
    for r in range(len(rows)):
        n = rows[r]
        pool = pools[n]
        new, first = 0, grown
        while grown < len(grown_rows) and grown_rows[grown] == n:
            new += slots[n, grown_slots[grown]].depth - starts[grown]
            grown += 1
        if pool.stop_reason == RUNNING:
            words[at] = numbers[r]
            words[at + 1] = pool.total_tokens
            words[at + 2] = pool.answers_seen
            words[at + 3] = pool.opened
            words[at + 4] = pool.active
            words[at + 5] = pool.finished
            words[at + 6] = sure[n]
            words[at + 7] = new
            latest = at + 8
            depths = latest + pool.opened
            active = depths + pool.opened
            finished = active + pool.active
            at = finished + pool.finished
            for i in range(pool.opened):
                slot = slots[n, i]
                words[latest + i] = slot.answer
                words[depths + i] = slot.depth
                if slot.status == ACTIVE:
                    words[active] = i
                    active += 1
                elif slot.status == FINISHED:
                    words[finished + slot.rank] = i
            for k in range(new):
                words[at + k] = answers[shown + k]
            at += new
            for g in range(first, grown):
                for depth in range(starts[g], slots[n, grown_slots[g]].depth):
                    for j in range(history.shape[3]):
                        floats[at] = history[n, grown_slots[g], depth, j]
                        at += 1
        shown += new
        ends[r] = at
