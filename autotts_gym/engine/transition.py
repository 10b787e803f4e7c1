"""The transition: what opening, deepening, probing, pruning and stopping do to an episode and to its ledger.

Every interface of the project acts through ``act`` (one primitive action) or ``play_round`` (a round), which are two
ways to call the same five verbs. Inner functions take the state of N episodes (see addresses.py) and the index of one
of them; kernels, which Python calls, take its addresses.
"""

import numpy as np

from autotts_gym.engine.addresses import call_aggregator, call_begin, call_perform, call_round, unpack
from autotts_gym.engine.jit import called, inline, kernel
from autotts_gym.engine.layout import (
    ACTIVE,
    BLANK_ANSWER,
    BLANK_POOL,
    BLANK_SIGNAL,
    BLANK_SLOT,
    BRANCH,
    EXHAUSTED,
    FINISHED,
    FIRST_DEEPEN,
    PRUNED,
    RUNNING,
    STOP,
    STOPPED,
    TAIL_MILLIONTHS,
    TRUNCATED,
    UNLIMITED,
)
from autotts_gym.units import MILLION


@inline
def _at(index):
    """An index that is not negative, as the compiler can't know: one that may be costs a check at every access."""
    return np.uint64(index)


# ---------------------------------------------------------------------------------------------------- random numbers


@inline
def mix(x):
    """Finaliser of SplitMix64 (Steele, Lea & Flood 2014): 64 bits to 64 bits."""
    x = np.uint64(x)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@inline
def _draw(hidden, bound):
    """Integer in [0, bound) from the episode's generator (SplitMix64)."""
    hidden.random += np.uint64(0x9E3779B97F4A7C15)
    return np.int64(mix(hidden.random) % np.uint64(bound))


@inline
def _draw_unit(hidden):
    """Float in [0, 1) from the episode's generator."""
    hidden.random += np.uint64(0x9E3779B97F4A7C15)
    return np.float64(mix(hidden.random) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@inline
def _deal(s, n, i):
    """Decide which branch of the pool slot i is: the i-th step of a Fisher-Yates shuffle that is never written out."""
    hidden = s.hidden_pools[n]
    slot = s.hidden_slots[n, i]
    if slot.branch < 0:
        # Swap positions i and one drawn behind it: the last swap that drew that one moved what is there now.
        position = np.int32(i + _draw(hidden, hidden.branches - i))
        here, there = np.int32(i), position
        for k in range(i):
            if s.drawn[n, k] == i:
                here = s.displaced[n, k]
            if s.drawn[n, k] == position:
                there = s.displaced[n, k]
        s.drawn[n, i] = position
        s.displaced[n, i] = here
        slot.branch = hidden.first_branch + there


# ------------------------------------------------------------------------------------------------------------- votes


@called
def _elect(s, n):
    """The answer with most votes; ties go to the branch opened first."""
    pool = s.pools[n]
    top = pool.leader_votes
    if top == 0:
        return np.int32(-1)
    if pool.leader >= 0 and s.tally[n, _at(top)] == 1 and s.answers[n, _at(pool.leader)].votes == top:
        return pool.leader
    for i in range(pool.opened):
        slot = s.slots[n, i]
        if slot.status != PRUNED and slot.answer >= 0 and s.answers[n, _at(slot.answer)].votes == top:
            return slot.answer
    return np.int32(-1)


@inline
def _move_vote(s, n, old, new):
    """A branch's vote goes from one answer to another (-1: none); its slot already says so."""
    pool = s.pools[n]
    top = pool.leader_votes
    contested = False
    if old >= 0:
        votes = s.answers[n, _at(old)].votes
        s.answers[n, _at(old)].votes = votes - 1
        s.tally[n, _at(votes)] -= 1
        s.tally[n, _at(votes - 1)] += 1
        pool.voters -= 1
        if votes == 1:
            pool.distinct -= 1
        contested = votes == top
    if new >= 0:
        votes = s.answers[n, _at(new)].votes + 1
        s.answers[n, _at(new)].votes = votes
        s.tally[n, _at(votes - 1)] -= 1
        s.tally[n, _at(votes)] += 1
        pool.voters += 1
        if votes == 1:
            pool.distinct += 1
        contested = contested or votes >= top
        top = max(top, votes)
    if contested:
        while top > 0 and s.tally[n, _at(top)] == 0:
            top -= 1
        pool.leader_votes = top
        leader = _elect(s, n)
        if leader != pool.leader:
            pool.leader = leader
            pool.leader_since = pool.total_tokens


@called
def _finished_first(s, n, a, b):
    """Of two answers, the one that a finished branch gave first."""
    for k in range(s.pools[n].finished_distinct):
        given = s.finished_answers[n, k]
        if given in (a, b):
            return given
    return b


@inline
def _count_finished(s, n, answer, depth):
    """A finished branch of a depth votes; finished votes are never taken back."""
    pool = s.pools[n]
    given = s.answers[n, _at(answer)]
    votes = given.finished_votes + 1
    given.finished_votes = votes
    given.finished_depth += depth
    pool.finished_voters += 1
    if votes == 1:
        s.finished_answers[n, _at(pool.finished_distinct)] = answer
        pool.finished_distinct += 1
    leader = pool.finished_leader
    if answer == leader:
        pool.finished_leader_votes = votes
        return
    if votes > pool.finished_leader_votes:
        pool.finished_runner_up = pool.finished_leader_votes
        pool.finished_leader_votes = votes
        leader = answer
    else:
        pool.finished_runner_up = max(pool.finished_runner_up, votes)
        if votes == pool.finished_leader_votes:
            leader = _finished_first(s, n, answer, leader)
    if leader != pool.finished_leader:
        pool.finished_leader = leader
        pool.finished_since = pool.finished


@called
def _showed(s, n, i, stored):
    """Whether a branch has revealed an answer (a stored id) before the depth that it is at."""
    start, before = s.hidden_slots[n, i].start, max(s.slots[n, i].depth - 1, 0)
    count = 0
    if s.rules[0].explicit:
        for k in range(before):
            count += s.probes[_at(start + k)] == stored and s.probed[n, i, k]
    else:
        for k in range(before):  # to its end, so that it compiles to vectors
            count += s.probes[_at(start + k)] == stored
    return count > 0


@inline
def _record(s, n, i, answer, depth):
    """Note in the history that a branch shows another answer (a local id; -1: none) than before."""
    pool = s.pools[n]
    slot = s.slots[n, i]
    k = pool.recorded
    change = s.history[n, _at(k)]
    change.answer = answer
    change.depth = depth
    change.before = slot.newest
    slot.newest = k
    pool.recorded = k + 1


@inline
def _reveal(s, n, i, stored, depth):
    """A branch shows an answer (a stored id; -1: no answer yet) at a depth."""
    pool = s.pools[n]
    slot = s.slots[n, i]
    answer = np.int32(-1)
    if stored >= 0:
        if s.local_ids[n, _at(stored)] == 0:
            s.stored_ids[n, _at(pool.answers_seen)] = stored
            pool.answers_seen += 1
            s.local_ids[n, _at(stored)] = pool.answers_seen
        answer = np.int32(s.local_ids[n, _at(stored)] - 1)
    old = slot.answer
    if slot.revealed > 0 and answer == old:
        slot.run += 1
        pool.active_run += 1
    else:
        pool.active_run += 1 - slot.run
        slot.run = 1
        if slot.revealed > 0:
            slot.changes += 1
        _record(s, n, i, answer, depth)
    slot.revealed += 1
    if answer != old:
        slot.answer = answer
        if old >= 0:
            s.answers[n, _at(old)].abandoned += 1
        if answer >= 0 and s.answers[n, _at(answer)].abandoned > 0 and _showed(s, n, i, stored):
            s.answers[n, _at(answer)].abandoned -= 1
        _move_vote(s, n, old, answer)
    slot.off_leader = 0 if answer == pool.leader else slot.off_leader + 1


@called
def _show_signals(s, n, i, before):
    """A branch that has grown from a depth shows the signals of the intervals since."""
    slot = s.slots[n, i]
    first = s.hidden_slots[n, i].start
    pool = s.pools[n]
    tail_intervals = TAIL_MILLIONTHS * pool.token_unit // (MILLION * np.int64(pool.interval_tokens))
    among = min(np.int64(slot.depth), max(tail_intervals, 1))
    for j in range(s.signals.shape[2]):
        signal = s.signals[n, i, j]
        for k in range(before, slot.depth):
            value = s.signal_values[first + k, j]
            s.signal_history[n, i, k, j] = value
            signal.total += value
            signal.minimum = min(signal.minimum, value) if k > 0 else value
        signal.latest = s.signal_values[first + slot.depth - 1, j]
        signal.mean = signal.total / slot.depth
        tail = 0.0
        for k in range(slot.depth - among, slot.depth):
            tail += s.signal_values[first + k, j]
        signal.tail = tail / among


# ---------------------------------------------------------------------------------------------------------- the verbs


@inline
def _close(s, n, i):
    """A branch leaves the active ones."""
    pool = s.pools[n]
    slot = s.slots[n, i]
    pool.active -= 1
    pool.active_depth -= slot.depth
    pool.active_run -= slot.run
    max_branches = s.rules[0].max_branches
    s.admissible[n, FIRST_DEEPEN + i] = 0
    s.admissible[n, FIRST_DEEPEN + max_branches + i] = 0
    if s.rules[0].explicit:
        s.admissible[n, FIRST_DEEPEN + 2 * max_branches + i] = 0


@inline
def _finish(s, n, i):
    pool = s.pools[n]
    slot = s.slots[n, i]
    final = s.hidden_slots[n, i].final
    shown = slot.answer == (s.local_ids[n, _at(final)] - 1 if final >= 0 else -1)
    unseen = final >= 0 and s.local_ids[n, _at(final)] == 0
    if slot.revealed == 0 or unseen or not shown:
        _reveal(s, n, i, final, slot.depth + 1)  # which is behind its last probe
    _close(s, n, i)
    slot.status = FINISHED
    slot.rank = pool.finished
    pool.finished += 1
    pool.finished_depth += slot.depth
    pool.finished_squares += slot.depth * slot.depth
    if slot.answer >= 0:
        _count_finished(s, n, slot.answer, slot.depth)


@inline
def _charge(s, n, i, cost):
    """Pay tokens for a branch; a budget of less than the cost is spent to the end. Returns the tokens paid."""
    pool = s.pools[n]
    paid = min(cost, pool.budget - pool.total_tokens)
    pool.total_tokens += paid
    s.slots[n, i].tokens += paid
    return paid


@called
def _withdraw(s, n):
    """Withdraw the actions that the budget no longer covers (an interval counts with its full length)."""
    pool = s.pools[n]
    rules = s.rules[0]
    left = pool.budget - pool.total_tokens
    if left < pool.interval_tokens:
        s.admissible[n, BRANCH] = 0
        for i in range(pool.opened):
            s.admissible[n, FIRST_DEEPEN + i] = 0
    if rules.explicit and left < rules.probe_cost:
        for i in range(pool.opened):
            s.admissible[n, FIRST_DEEPEN + 2 * rules.max_branches + i] = 0


@inline
def _deepen(s, n, i, exact):
    """Grow a branch by one interval or, behind its last one, finish it. Returns the tokens paid."""
    pool = s.pools[n]
    rules = s.rules[0]
    slot = s.slots[n, i]
    hidden = s.hidden_slots[n, i]
    interval = np.int64(pool.interval_tokens)
    behind = np.int64(hidden.tokens) - slot.depth * interval
    if slot.depth == hidden.probes:
        cost = max(behind, 0)
        paid = _charge(s, n, i, cost)
        ends = paid == cost
    else:
        paid = _charge(s, n, i, min(max(behind, 0), interval) if exact else interval)
        slot.depth += 1
        if s.signals.shape[2] > 0:
            _show_signals(s, n, i, slot.depth - 1)
        pool.active_depth += 1
        pool.deepest = max(pool.deepest, slot.depth)
        if rules.explicit:
            s.admissible[n, FIRST_DEEPEN + 2 * rules.max_branches + i] = 1
        else:
            _reveal(s, n, i, s.probes[_at(hidden.start + slot.depth - 1)], np.int64(slot.depth))
        ends = exact and slot.depth == hidden.probes and behind <= interval
    if ends:
        _finish(s, n, i)
    if pool.budget != UNLIMITED:
        _withdraw(s, n)
    return paid


@inline
def _repeat(s, n, i, steps, exact):
    """Grow a branch in one go by as many of the next intervals as show the answer that it shows already.

    Only counters change then, so this is what as many calls of ``_deepen`` do. Returns the number of intervals.
    """
    pool = s.pools[n]
    slot = s.slots[n, i]
    hidden = s.hidden_slots[n, i]
    interval = np.int64(pool.interval_tokens)
    if s.rules[0].explicit or slot.revealed == 0:
        return np.int64(0)
    most = min(steps, np.int64(hidden.probes) - 1 - slot.depth)  # the last interval may finish the branch
    stored = s.stored_ids[n, _at(slot.answer)] if slot.answer >= 0 else np.int32(-1)
    first, count = hidden.start + slot.depth, np.int64(0)
    while count < most and s.probes[_at(first + count)] == stored:
        count += 1
    left = pool.budget - pool.total_tokens
    if exact:
        left = min(left, max(np.int64(hidden.tokens) - slot.depth * interval, 0))
    if count * interval > left:
        count = left // interval  # full intervals only
    if count == 0:
        return count
    slot.depth += count
    if s.signals.shape[2] > 0:
        _show_signals(s, n, i, slot.depth - count)
    slot.revealed += count
    slot.run += count
    slot.tokens += count * interval
    slot.off_leader = 0 if slot.answer == pool.leader else slot.off_leader + count
    pool.active_depth += count
    pool.active_run += count
    pool.deepest = max(pool.deepest, slot.depth)
    pool.total_tokens += count * interval
    if pool.budget != UNLIMITED:
        _withdraw(s, n)
    return count


@inline
def _grow(s, n, i, steps, exact):
    """Deepen a branch so many steps, or until it finishes or the budget ends. Returns the tokens paid."""
    spent = np.int64(0)
    while steps > 0 and s.admissible[n, FIRST_DEEPEN + i] != 0:
        spent += _deepen(s, n, i, exact)
        steps -= 1
        if steps > 0 and s.admissible[n, FIRST_DEEPEN + i] != 0:
            repeated = _repeat(s, n, i, steps, exact)
            spent += repeated * s.pools[n].interval_tokens
            steps -= repeated
    return spent


@inline
def _open(s, n):
    """Open the next slot, whose first interval is then to be generated. Returns its index.

    The slot behind it is dealt too, which depends on no action.
    """
    pool = s.pools[n]
    i = pool.opened
    if i == 0:
        _deal(s, n, i)
    slot = s.hidden_slots[n, i]
    stored = s.branches[slot.branch]
    slot.start = stored.start
    slot.probes = stored.probes
    slot.tokens = stored.tokens
    slot.final = stored.final
    pool.opened += 1
    if pool.opened < pool.slots:
        _deal(s, n, pool.opened)
    pool.active += 1
    s.slots[n, i].status = ACTIVE
    s.admissible[n, FIRST_DEEPEN + i] = 1
    s.admissible[n, FIRST_DEEPEN + s.rules[0].max_branches + i] = 1
    if pool.opened == pool.slots:
        s.admissible[n, BRANCH] = 0
    return i


@inline
def _prune(s, n, i):
    _close(s, n, i)
    slot = s.slots[n, i]
    slot.status = PRUNED
    s.pools[n].pruned += 1
    _move_vote(s, n, slot.answer, np.int32(-1))


@inline
def _probe(s, n, i):
    """Reveal a branch's answer at its depth. Returns the tokens paid."""
    slot = s.slots[n, i]
    hidden = s.hidden_slots[n, i]
    rules = s.rules[0]
    s.admissible[n, FIRST_DEEPEN + 2 * rules.max_branches + i] = 0
    s.probed[n, i, slot.depth - 1] = True
    paid = _charge(s, n, i, rules.probe_cost)
    _reveal(s, n, i, s.probes[_at(hidden.start + slot.depth - 1)], np.int64(slot.depth))
    _withdraw(s, n)
    return paid


@inline
def aggregated(s, n):
    """The env's aggregator: the finished branches' majority or, without one, that of the latest answers; -1: none.

    Or a user's, in its place.
    """
    pool = s.pools[n]
    if s.aggregator != 0:
        answer = call_aggregator(s.aggregator, s, n)
        return np.int32(answer) if 0 <= answer < pool.answers_seen else np.int32(-1)
    return pool.finished_leader if pool.finished_leader >= 0 else pool.leader


@inline
def is_right(s, n, answer):
    """Whether an answer (a local id; -1: none) is the gold one."""
    return answer >= 0 and s.stored_ids[n, _at(answer)] == s.hidden_pools[n].gold


@inline
def _stop(s, n, answer, reason):
    """End the episode with an answer (a local id; -1: the aggregator's)."""
    pool = s.pools[n]
    if answer < 0:
        answer = aggregated(s, n)
    pool.stop_reason = reason
    pool.answer = answer
    s.hidden_pools[n].correct = is_right(s, n, answer)
    s.admissible[n, :] = 0
    s.admissible[n, STOP] = 1


@inline
def _exhausted(s, n):
    """Whether STOP is all that is left."""
    return s.pools[n].active == 0 and s.admissible[n, BRANCH] == 0


# -------------------------------------------------------------------------------------------------- begin, act, round


@inline
def begin(s, n, question):
    """Begin the next episode of a stream: on a question (-1: draw one), in the order given before or drawn.

    Clears what the last episode changed and nothing else; its history is never read again.
    """
    pool = s.pools[n]
    hidden = s.hidden_pools[n]
    rules = s.rules[0]
    for answer in range(pool.answers_seen):
        s.local_ids[n, s.stored_ids[n, answer]] = 0
        s.answers[n, answer] = BLANK_ANSWER[0]
    s.finished_answers[n, : pool.finished_distinct] = -1
    s.tally[n, :] = 0
    if hidden.ordered:
        for i in range(rules.max_branches):
            s.hidden_slots[n, i].branch = -1
        hidden.ordered = False
    for i in range(pool.opened):
        s.slots[n, i] = BLANK_SLOT[0]
        s.probed[n, i, :] = False
        for j in range(s.signals.shape[2]):
            s.signals[n, i, j] = BLANK_SIGNAL[0]
    for i in range(min(pool.opened + 1, rules.max_branches)):
        s.hidden_slots[n, i].branch = -1
    hidden.random = mix(hidden.stream + mix(np.uint64(hidden.episode) + np.uint64(0x9E3779B97F4A7C15)))
    hidden.episode += 1
    if question < 0:
        question = np.int64(n) if rules.own_pools else _draw(hidden, s.questions.shape[0])
    source = s.questions[question]
    hidden.question = question
    hidden.first_branch = source.first_branch
    hidden.branches = source.branches
    hidden.answers = source.answers
    hidden.gold = source.gold
    hidden.correct = False
    s.pools[n] = BLANK_POOL[0]
    pool.interval_tokens = source.interval_tokens
    pool.slots = min(np.int64(rules.max_branches), source.branches)
    pool.budget = rules.token_budget
    pool.latency_weight = rules.latency_weight
    pool.token_unit = rules.token_unit if rules.token_unit > 0 else source.token_unit
    pool.cost_weight = rules.cost_weight_low
    if rules.cost_weight_high > rules.cost_weight_low:
        ratio = np.log(rules.cost_weight_high / rules.cost_weight_low)
        pool.cost_weight = rules.cost_weight_low * np.exp(ratio * _draw_unit(hidden))
    s.admissible[n, :] = 0
    s.admissible[n, STOP] = 1
    s.admissible[n, BRANCH] = np.int8(pool.budget >= pool.interval_tokens)


@inline
def _end_step(s, n):
    """What ends an episode by itself after a transition that did not stop it."""
    pool = s.pools[n]
    pool.steps += 1
    if pool.stop_reason == RUNNING:
        if s.rules[0].auto_stop and _exhausted(s, n):
            _stop(s, n, np.int32(-1), EXHAUSTED)
        elif pool.steps >= s.rules[0].max_steps:
            pool.stop_reason = TRUNCATED


@inline
def perform(s, n, action):
    """What a primitive action does that is admissible."""
    pool = s.pools[n]
    max_branches = s.rules[0].max_branches
    exact = s.rules[0].exact
    spent = np.int64(0)
    if action == STOP:
        _stop(s, n, np.int32(-1), STOPPED)
    elif action < FIRST_DEEPEN + max_branches:
        i = _open(s, n) if action == BRANCH else action - FIRST_DEEPEN
        spent = _deepen(s, n, i, exact)
    elif action < FIRST_DEEPEN + 2 * max_branches:
        _prune(s, n, action - FIRST_DEEPEN - max_branches)
    else:
        spent = _probe(s, n, action - FIRST_DEEPEN - 2 * max_branches)
    pool.sequential_tokens += spent


@inline
def act(s, n, action):
    """One primitive action, which is a round of its own. Returns whether it was admissible; if not, it does nothing."""
    valid = s.admissible[n, action] != 0
    if valid:
        call_perform(s.perform, s, n, action)
    _end_step(s, n)
    return valid


@inline
def play_round(s, n, plan):
    """One round: prune, deepen, open, stop. Inadmissible parts do nothing."""
    pool = s.pools[n]
    rules = s.rules[0]
    opened, finished, pruned, before = pool.opened, pool.finished, pool.pruned, pool.total_tokens
    longest = np.int64(0)
    among = opened if pool.active > 0 else 0  # the slots that active branches are in
    for i in range(among):
        if plan.prune[n, i] and s.admissible[n, FIRST_DEEPEN + rules.max_branches + i] != 0:
            _prune(s, n, i)
    # In one loop, so that the code that grows a branch is part of this function once.
    deepened_or_opened = among + max(np.int64(plan.open[n]), 0)
    for k in range(deepened_or_opened + max(np.int64(plan.read[n]), 0)):
        if k >= among and s.admissible[n, BRANCH] == 0:
            break
        i, steps, exact = np.int64(k), np.int64(1), rules.exact
        if k < among:
            steps = np.int64(plan.deepen[n, i])
            if steps == 0 and not rules.explicit:
                continue
        else:
            i = np.int64(_open(s, n))
            if k >= deepened_or_opened:
                steps, exact = np.int64(UNLIMITED), True
        spent = _grow(s, n, i, steps, exact)
        probe = rules.explicit and k < deepened_or_opened and plan.probe[n, i]
        if probe and s.admissible[n, FIRST_DEEPEN + 2 * rules.max_branches + i] != 0:
            spent += _probe(s, n, i)
        longest = max(longest, spent)
    pool.sequential_tokens += longest
    if plan.stop[n]:
        _stop(s, n, plan.answer[n], STOPPED)
    elif _exhausted(s, n):
        # An actor that still has its answer to name sees how a round ended; only one that then does nothing is ended.
        spent = pool.total_tokens > before or pool.opened > opened
        if not spent and pool.finished == finished and pool.pruned == pruned:
            _stop(s, n, np.int32(-1), EXHAUSTED)
    _end_step(s, n)


@inline
def clear_row(s, n, plan):
    """Blank the row of a plan, as far as a round of the episode would read it."""
    plan.open[n] = 0
    plan.stop[n] = False
    plan.answer[n] = -1
    plan.read[n] = 0
    if s.pools[n].active > 0:
        plan.prune[n, :] = False
        plan.deepen[n, :] = 0
    if s.rules[0].explicit:
        plan.probe[n, :] = False


@kernel
def begin_all(addresses, chosen, questions):
    """Begin an episode in every chosen row (N,) bool, on the questions (N,) int64 (-1: draw one)."""
    s = unpack(addresses)
    for n in range(chosen.shape[0]):
        if chosen[n]:
            call_begin(s.begin, s, n, questions[n])


@kernel
def deal_all(addresses, chosen, orders):
    """Give chosen episodes, just begun, the order of their pools: (N, M) int32 positions within the question's pool."""
    s = unpack(addresses)
    for n in range(chosen.shape[0]):
        if not chosen[n]:
            continue
        hidden = s.hidden_pools[n]
        hidden.ordered = True
        for i in range(s.pools[n].slots):
            s.hidden_slots[n, i].branch = hidden.first_branch + orders[n, i]


@kernel
def act_all(addresses, actions, valid):
    """One primitive action (N,) int64 in every running episode; writes valid (N,) bool."""
    s = unpack(addresses)
    for n in range(actions.shape[0]):
        valid[n] = s.pools[n].stop_reason == RUNNING and act(s, np.uint64(n), actions[n])


@kernel
def play_rounds(addresses, plan):
    """One round of every running episode.

    Returns:
        How many episodes still run; -(n + 1), and nothing done, if episode n is stopped with an answer it has not seen.
    """
    s = unpack(addresses)
    for n in range(s.pools.shape[0]):
        known = -1 <= plan.answer[n] < s.pools[n].answers_seen
        if plan.stop[n] and s.pools[n].stop_reason == RUNNING and not known:
            return -(n + 1)
    running = 0
    for n in range(s.pools.shape[0]):
        if s.pools[n].stop_reason == RUNNING:
            call_round(s.play_round, s, n, plan)
            running += s.pools[n].stop_reason == RUNNING
    return running


@inline
def _write_history(revealed, n, i, start, out):
    """Write the answers that a branch revealed at depths start + 1, start + 2, ... to its depth; -1: none."""
    end = np.int64(revealed.slots[n, i].depth)
    out[: end - start] = -1
    k = revealed.slots[n, i].newest
    while k >= 0 and end > start:
        change = revealed.history[n, k]
        first = max(np.int64(change.depth) - 1, start)
        for depth in range(first, end):
            if not revealed.rules[0].explicit or revealed.probed[n, i, depth]:
                out[depth - start] = change.answer
        end = min(end, first)
        k = change.before


@kernel
def reveals(addresses, rows, slots, starts, out):
    """Write the answers revealed on branches beyond a depth, one after the other to out int32.

    As local ids; -1: none, or not probed. ``rows``, ``slots`` and ``starts`` (K,) int64: an episode each, a branch of
    it, and a depth from 0 to the branch's own.
    """
    revealed = unpack(addresses)
    at = 0
    for r in range(len(rows)):
        size = revealed.slots[rows[r], slots[r]].depth - starts[r]
        _write_history(revealed, rows[r], slots[r], starts[r], out[at : at + size])
        at += size
