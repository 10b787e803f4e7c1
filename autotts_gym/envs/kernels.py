"""Compiled face of the environments: a step with its reward, and the observation."""

import numpy as np

from autotts_gym.engine.handle import call_reward, unpack
from autotts_gym.engine.jit import inline, kernel
from autotts_gym.engine.kernels import act, aggregated, begin, is_right, play_round
from autotts_gym.engine.layout import ACTIVE, BRANCH, FINISHED, FIRST_DEEPEN, PRUNED, RUNNING, TRUNCATED, UNLIMITED
from autotts_gym.envs.features import (
    COST_WEIGHT_SCALE,
    COUNT_SCALE,
    DEPTH_SCALE,
    EVIDENCE_FEATURES,
    HELD_SCALE,
    LATENCY_WEIGHT_SCALE,
    PRICE_SCALE,
    SEQUENTIAL_SCALE,
    TOKENS_SCALE,
    VOTES_SCALE,
)

EVIDENCE = len(EVIDENCE_FEATURES)
TIE = 1e-9
STUBBORN = 24
"""Answers in a row off the leader after which a branch is stubborn."""


@inline
def _squash(x, scale):
    return x / (x + scale)


@inline
def _share(part, whole):
    return part / whole if whole > 0 else 0.0


@inline
def _still_active(s, n, answer):
    """Active branches whose latest answer it is."""
    return s.answers[n, answer].votes - s.answers[n, answer].finished_votes if answer >= 0 else 0


@inline
def _encode_pool(s, n, cost_weight, latency_weight, confidence, out):
    """Write the pool features of an episode, in the order of features.POOL_FEATURES."""
    pool = s.pools[n]
    slots = 1.0 / s.rules[0].max_branches
    interval = np.float64(pool.interval_tokens)
    top = pool.leader_votes
    second = top
    if top > 0 and s.tally[n, top] == 1:
        second -= 1
        while second > 0 and s.tally[n, second] == 0:
            second -= 1
    voters = 1.0 / max(pool.voters, 1)
    finished_voters = 1.0 / max(pool.finished_voters, 1)
    paid = (cost_weight * pool.total_tokens + latency_weight * pool.sequential_tokens) * 1e-6
    left = 1.0
    if pool.budget != UNLIMITED:
        left = _share(np.float64(pool.budget - pool.total_tokens), np.float64(pool.budget))
    active = 1.0 / max(pool.active, 1)
    out[0] = _squash(np.float64(pool.total_tokens), TOKENS_SCALE)
    out[1] = _squash(np.float64(pool.sequential_tokens), SEQUENTIAL_SCALE)
    out[2] = min(paid, 1.0)
    out[3] = left
    out[4] = pool.opened * slots
    out[5] = pool.active * slots
    out[6] = pool.finished * slots
    out[7] = pool.pruned * slots
    out[8] = s.admissible[n, BRANCH]
    out[9] = top * voters
    out[10] = second * voters
    out[11] = confidence[top, second]
    out[12] = pool.distinct * voters
    out[13] = pool.finished_leader_votes * finished_voters
    out[14] = pool.finished_runner_up * finished_voters
    out[15] = confidence[pool.finished_leader_votes, pool.finished_runner_up]
    out[16] = pool.finished_distinct * finished_voters
    out[17] = 1.0 if pool.leader >= 0 and pool.leader == pool.finished_leader else 0.0
    out[18] = _still_active(s, n, pool.leader) * active
    out[19] = _still_active(s, n, pool.finished_leader) * active
    out[20] = (pool.finished_leader_votes - pool.finished_runner_up) * slots
    out[21] = _squash(np.float64(pool.total_tokens - pool.leader_since), HELD_SCALE)
    out[22] = _squash(np.float64(pool.finished - pool.finished_since), COUNT_SCALE)
    out[23] = _squash(pool.active_depth * active * interval, DEPTH_SCALE)
    out[24] = _squash(_share(pool.finished_depth * interval, np.float64(pool.finished)), DEPTH_SCALE)
    out[25] = _squash(pool.deepest * interval, DEPTH_SCALE)
    out[26] = _squash(pool.active_run * active, COUNT_SCALE)
    out[27] = _squash(cost_weight, COST_WEIGHT_SCALE)
    out[28] = _squash(latency_weight, LATENCY_WEIGHT_SCALE)


@inline
def _deviation(pool):
    """Standard deviation of the depths of the finished branches, in intervals."""
    count, depth = np.int64(pool.finished), np.int64(pool.finished_depth)
    return _share(np.sqrt(np.float64(count * pool.finished_squares - depth * depth)), np.float64(count))


@inline
def _weighted_votes(s, n):
    """Votes of the finished branches: an answer counts less, the longer its branches and the more have abandoned it.

    An answer with v branches counts v exp(-c z) / sqrt(1 + x). Its branches are on average z standard deviations deeper
    than all that finished, and c = 1.25 F / (F + 8) with F finished: the fewer, the less is known of how long branches
    are. x branches have shown it and show another or none now: an answer easily come to gathers votes by chance.

    Returns:
        (leader, ties to the answer finished first, -1: none; its votes; the runner-up's; all votes), scaled to one vote
        a branch on average.
    """
    pool = s.pools[n]
    pull = 1.25 * pool.finished / (pool.finished + 8.0) / (_deviation(pool) + 1.0)
    mean = _share(np.float64(pool.finished_depth), np.float64(pool.finished))
    leader, top, second, total = np.int32(-1), 0.0, 0.0, 0.0
    for k in range(pool.finished_distinct):
        answer = s.finished_answers[n, k]
        given = s.answers[n, answer]
        deeper = given.finished_depth / given.finished_votes - mean
        votes = given.finished_votes * np.exp(-pull * deeper) / np.sqrt(1.0 + given.abandoned)
        total += votes
        if votes > top * (1.0 + TIE):  # votes that differ only by rounding are a tie
            leader, top, second = answer, votes, top
        else:
            top, second = max(top, votes), max(second, min(top, votes))
    scale = _share(np.float64(pool.finished_voters), total)
    return leader, top * scale, second * scale, total * scale


@inline
def _overdue(pool, slot):
    """Whether a branch is more than half as deep again as the finished ones on average."""
    return pool.finished > 0 and 2 * slot.depth * pool.finished > 3 * pool.finished_depth


@inline
def _encode_evidence(s, n, cost_weight, latency_weight, confidence, out):
    """Write the evidence of an episode, in the order of features.EVIDENCE_FEATURES."""
    pool = s.pools[n]
    slots_n = s.slots[n]
    interval = np.float64(pool.interval_tokens)
    leader, top, second, total = _weighted_votes(s, n)
    finished_depth = _share(np.float64(pool.finished_depth), np.float64(pool.finished))
    active = 1.0 / max(pool.active, 1)
    active_depth = pool.active_depth * active
    finished_voters = 1.0 / max(pool.finished_voters, 1)
    overdue, stubborn = 0, 0
    for i in range(pool.opened if pool.active > 0 else 0):
        if slots_n[i].status == ACTIVE:
            overdue += _overdue(pool, slots_n[i])
            stubborn += slots_n[i].off_leader >= STUBBORN
    length = finished_depth if pool.finished > 0 else np.float64(pool.deepest)
    out[0] = _squash(cost_weight * length * interval * 1e-6, PRICE_SCALE)
    out[1] = _squash(cost_weight, COST_WEIGHT_SCALE)
    out[2] = _squash(latency_weight, LATENCY_WEIGHT_SCALE)
    out[3] = np.float64(pool.opened) / s.rules[0].max_branches
    out[4] = s.admissible[n, BRANCH]
    out[5] = _squash(np.float64(pool.active), COUNT_SCALE)
    out[6] = _squash(np.float64(pool.finished), COUNT_SCALE)
    out[7] = _share(top, total)
    out[8] = _share(second, total)
    out[9] = _squash(top - second, VOTES_SCALE)
    out[10] = pool.finished_leader_votes * finished_voters
    out[11] = confidence[pool.finished_leader_votes, pool.finished_runner_up]
    out[12] = pool.finished_distinct * finished_voters
    out[13] = _squash(np.float64(pool.finished - pool.finished_since), COUNT_SCALE)
    out[14] = 1.0 if leader >= 0 and leader == pool.finished_leader else 0.0
    out[15] = _still_active(s, n, leader) * active
    out[16] = _still_active(s, n, pool.leader) * active
    out[17] = _squash(finished_depth * interval, DEPTH_SCALE)
    out[18] = _squash(_share(_deviation(pool), finished_depth), 1.0)
    out[19] = _squash(active_depth * interval, DEPTH_SCALE)
    out[20] = _share(active_depth, active_depth + finished_depth)
    out[21] = overdue * active
    out[22] = stubborn * active
    out[23] = _squash(pool.active_run * active, COUNT_SCALE)


@inline
def _encode_branches(s, n, out):
    """Write the features of an episode's branch slots, in the order of features.BRANCH_FEATURES."""
    pool = s.pools[n]
    interval = np.float32(pool.interval_tokens)
    voters = np.float32(1.0) / max(pool.voters, 1)
    finished_voters = np.float32(1.0) / max(pool.finished_voters, 1)
    places = np.float32(1.0) / s.rules[0].max_branches
    count = np.float32(COUNT_SCALE)
    for i in range(pool.opened):
        slot = s.slots[n, i]
        depth = slot.depth * interval
        answer = slot.answer
        out[i, 0] = slot.status == ACTIVE
        out[i, 1] = slot.status == FINISHED
        out[i, 2] = slot.status == PRUNED
        out[i, 3] = depth / (depth + np.float32(DEPTH_SCALE))
        out[i, 4] = answer >= 0 and answer == pool.leader
        out[i, 5] = answer >= 0 and answer == pool.finished_leader
        out[i, 6] = s.answers[n, answer].votes * voters if answer >= 0 else np.float32(0.0)
        out[i, 7] = s.answers[n, answer].finished_votes * finished_voters if answer >= 0 else np.float32(0.0)
        out[i, 8] = np.float32(slot.run) / (np.float32(slot.run) + count)
        out[i, 9] = np.float32(slot.changes) / np.float32(max(slot.revealed, 1))
        out[i, 10] = np.float32(slot.off_leader) / (np.float32(slot.off_leader) + count)
        out[i, 11] = np.float32(1.0) - slot.rank * places if slot.status == FINISHED else np.float32(0.0)
    out[pool.opened :] = 0.0


@inline
def _encode_under(s, n, cost_weight, latency_weight, confidence, pool_out, branches_out):
    """Encode an episode under weights of one's own, into arrays that have room for what is observed."""
    if pool_out.shape[1] == EVIDENCE:
        _encode_evidence(s, n, cost_weight, latency_weight, confidence, pool_out[n])
    else:
        _encode_pool(s, n, cost_weight, latency_weight, confidence, pool_out[n])
    if branches_out.shape[1] > 0:
        _encode_branches(s, n, branches_out[n])


@inline
def _encode(s, n, confidence, pool_out, branches_out):
    pool = s.pools[n]
    _encode_under(s, n, pool.cost_weight, pool.latency_weight, confidence, pool_out, branches_out)


@inline
def _standing(s, n):
    """1 where the answer that STOP would give is right, or, at the end, the one that was given; else 0."""
    if s.pools[n].stop_reason == RUNNING:
        return np.float64(is_right(s, n, aggregated(s, n)))
    return np.float64(s.hidden_pools[n].correct)


@inline
def _worth(s, n):
    """What correctness has been rewarded with so far.

    Without shaping 1 for a right answer at the end. With shaping also before the end, for the answer that STOP would
    give: shaping by a potential, which leaves all returns as they are (Ng, Harada & Russell 1999).
    """
    if s.rules[0].shaping or s.reward != 0:
        return _standing(s, n)
    return np.float64(s.hidden_pools[n].correct)


@inline
def _keep(s, n):
    """Keep the record of an episode as it is before a step, for a reward that asks for it."""
    if s.reward != 0:
        s.before[n] = s.pools[n]


@inline
def _reward(s, n, total, sequential, worth):
    """Reward of a transition from so many total and sequential tokens, and from such a worth."""
    pool = s.pools[n]
    if s.reward != 0:
        return call_reward(s.reward, s.before[n], pool, worth, _worth(s, n))
    cost = pool.cost_weight * (pool.total_tokens - total) + pool.latency_weight * (pool.sequential_tokens - sequential)
    return _worth(s, n) - worth - cost * 1e-6


@inline
def _advance(s, n, action):
    """Take a primitive action; returns its reward and whether it was admissible."""
    pool = s.pools[n]
    total, sequential, worth = pool.total_tokens, pool.sequential_tokens, _worth(s, n)
    _keep(s, n)
    valid = act(s, n, action)
    return _reward(s, n, total, sequential, worth), valid


@inline
def _tell(s, n, outcomes):
    """Write to column n of outcomes (7, N) what is told of an episode that has ended, in the order of OUTCOME."""
    pool, hidden = s.pools[n], s.hidden_pools[n]
    answer = np.int64(-1)
    if pool.answer >= 0:
        answer = s.questions[hidden.question].first_answer + s.stored_ids[n, pool.answer]
    outcomes[0, n] = answer
    outcomes[1, n] = hidden.correct
    outcomes[2, n] = pool.total_tokens
    outcomes[3, n] = pool.sequential_tokens
    outcomes[4, n] = pool.opened
    outcomes[5, n] = pool.pruned
    outcomes[6, n] = pool.stop_reason


@inline
def _conclude(s, n, reward, valid, results):
    """Write what a step gives but the observation; returns whether the episode has ended."""
    reason = s.pools[n].stop_reason
    results.rewards[n] = reward
    results.invalid[n] = not valid
    results.terminations[n] = reason != RUNNING and reason != TRUNCATED
    results.truncations[n] = reason == TRUNCATED
    if reason != RUNNING:
        _tell(s, n, results.outcomes)
    return reason != RUNNING


@kernel
def step_one(handle, action, confidence, pool_out, branches_out):
    """Step episode 0 and encode it.

    Returns:
        (reward, whether the action was admissible, stop reason).
    """
    s = unpack(handle)
    reward, valid = _advance(s, 0, action)
    _encode(s, 0, confidence, pool_out, branches_out)
    return reward, valid, s.pools[0].stop_reason


@kernel
def tell_one(handle, outcomes):
    """Write what is told of episode 0, which has ended, to outcomes (7, 1)."""
    _tell(unpack(handle), 0, outcomes)


@inline
def _step(s, n, action, restart, again, confidence, results):
    """Step an episode; see step_all. Returns whether it has ended."""
    reward, valid = 0.0, True
    if restart:
        begin(s, n, np.int64(-1))
    else:
        reward, valid = _advance(s, n, action)
    ended = _conclude(s, n, reward, valid, results)
    if ended and again:
        _encode(s, n, confidence, results.last_pool, results.last_branches)
        for k in range(results.last_masks.shape[1]):
            results.last_masks[n, k] = s.admissible[n, k]
        begin(s, n, np.int64(-1))
    _encode(s, n, confidence, results.pool, results.branches)
    return ended


@kernel
def step_all(handle, first, end, actions, restart, again, confidence, results):
    """Step episodes first .. end - 1 of N, but begin the next one where ``restart``; encode them.

    With ``again`` the next episode begins at once where one ends, which leaves its last mask and observation in
    ``results``, a ``features.Results``. The actions (N,) are in the action space. Returns how many have ended.
    """
    s = unpack(handle)
    ended = 0
    for n in range(end):  # from 0: an index that may be negative costs a check at every access
        if n >= first:
            ended += _step(s, n, actions[n], restart[n], again, confidence, results)
    return ended


@kernel
def encode_all(handle, chosen, confidence, pool_out, branches_out):
    """Encode the chosen episodes (N,) bool."""
    s = unpack(handle)
    for n in range(len(chosen)):
        if chosen[n]:
            _encode(s, n, confidence, pool_out, branches_out)


@kernel
def observe(handle, cost_weight, latency_weight, confidence, pool_out, branches_out):
    """Encode running episodes from what is revealed of them, under weights of one's own."""
    revealed = unpack(handle)
    for n in range(len(revealed.pools)):
        if revealed.pools[n].stop_reason == RUNNING:
            _encode_under(revealed, n, cost_weight, latency_weight, confidence, pool_out, branches_out)


# ------------------------------------------------------------------------------------------------------ macro actions

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
    return _overdue(pool, slot)


@inline
def _write_built_in(revealed, n, code, amount, plan):
    """Write a built-in macro into the empty row of a plan."""
    pool, slots_n = revealed.pools[n], revealed.slots[n]
    if code == MACRO_STOP:
        plan.stop[n] = True
    elif code == MACRO_STOP_WEIGHTED:
        plan.stop[n] = True
        plan.answer[n] = _weighted_votes(revealed, n)[0]
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
def write_built_in(handle, built_in, rows, actions, plan):
    """Write the built-in macros that episodes take into an empty plan; see macros.MACROS.

    ``built_in`` (K, 2) int64 holds code and amount of every macro (code NOT_BUILT_IN: of which nothing is written),
    ``rows`` (R,) int64 the episodes and ``actions`` (R,) int64 the macro of each.
    """
    revealed = unpack(handle)
    for r in range(len(rows)):
        code, amount = built_in[actions[r], 0], built_in[actions[r], 1]
        if code != NOT_BUILT_IN:
            _write_built_in(revealed, rows[r], code, amount, plan)


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
def _mark_built_in(revealed, n, built_in, masks):
    """Write to row n of masks where built-in macros would change something; 0 for the others."""
    for k in range(len(built_in)):
        code = built_in[k, 0]
        masks[n, k] = code != NOT_BUILT_IN and _changes_something(revealed, n, code, built_in[k, 1])


@kernel
def mark_built_in(handle, built_in, masks):
    """Write to masks (N, K) int8 where the built-in ones of K macros would change something; see write_built_in."""
    revealed = unpack(handle)
    for n in range(len(masks)):
        _mark_built_in(revealed, n, built_in, masks)


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


@inline
def _clear(s, n, plan):
    """Empty the row of a plan, as far as a round of the episode would read it."""
    plan.open[n] = 0
    plan.stop[n] = False
    plan.answer[n] = -1
    plan.read[n] = 0
    if s.pools[n].active > 0:
        plan.prune[n, :] = False
        plan.deepen[n, :] = 0
    if s.rules[0].explicit:
        plan.probe[n, :] = False


@inline
def _step_round(s, n, action, restart, again, confidence, built_in, plan, masks_before, masks_after, results):
    """Play the macro of an episode; see step_rounds. Returns whether it has ended."""
    reward, valid = 0.0, True
    if restart:
        begin(s, n, np.int64(-1))
    else:
        valid = masks_before[n, action] != 0
        code = built_in[action, 0] if valid else NOT_BUILT_IN
        if code != NOT_BUILT_IN or not valid:
            _clear(s, n, plan)
        if code != NOT_BUILT_IN:
            _write_built_in(s, n, code, built_in[action, 1], plan)
        total, sequential, worth = s.pools[n].total_tokens, s.pools[n].sequential_tokens, _worth(s, n)
        _keep(s, n)
        play_round(s, n, plan)
        reward = _reward(s, n, total, sequential, worth)
    ended = _conclude(s, n, reward, valid, results)
    if ended and again:
        _encode(s, n, confidence, results.last_pool, results.last_branches)
        _mark_built_in(s, n, built_in, results.last_masks)
        begin(s, n, np.int64(-1))
    _encode(s, n, confidence, results.pool, results.branches)
    _mark_built_in(s, n, built_in, masks_after)
    return ended


@kernel
def step_rounds(
    handle, first, end, actions, restart, again, confidence, built_in, plan, masks_before, masks_after, results
):
    """Play the macros of episodes first .. end - 1 of N as rounds; all else as in ``step_all``.

    ``built_in`` is that of ``write_built_in``; the macros that are not built in are in their rows of the plan. A macro
    that is not admissible by ``masks_before`` (N, K) int8 is an empty round. Writes masks of the built-in macros to
    ``masks_after`` (N, K) int8.
    """
    s = unpack(handle)
    ended = 0
    for n in range(end):  # from 0, as in step_all
        if n >= first:
            ended += _step_round(
                s, n, actions[n], restart[n], again, confidence, built_in, plan, masks_before, masks_after, results
            )
    return ended
