"""Compiled rules of the hand-written controllers: each says what one episode does next, from what it has revealed.

A rule is ``(s, n, memory, knobs, plan)``: the state, of which it reads revealed arrays only; the episode; the arrays in
which it remembers episodes; its knobs and tables, a tuple; and the ``PlanArrays`` whose row n is blank and becomes the
next round. The decorator ``rule`` makes it the kernel that a controller calls.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from autotts_gym.engine.addresses import call_round, unpack
from autotts_gym.engine.jit import inline, kernel
from autotts_gym.engine.layout import ACTIVE, BRANCH, FINISHED, FIRST_DEEPEN, RUNNING
from autotts_gym.engine.transition import clear_row

FULL_DEPTH = 127
"""Steps that read on as far as one round can (int8)."""


@inline
def _advance(s, n, plan, left):
    """Play the round that was planned for an episode and blank its plan, if rounds are left to play."""
    if left == 0:
        return False
    call_round(s.play_round, s, n, plan)
    clear_row(s, n, plan)
    return True


_LOOP = """
def {name}(addresses, memory, knobs, plan, rounds):
    s = unpack(addresses)
    for k in range(len(s.pools)):
        n, left = row(k), rounds
        while s.pools[n].stop_reason == RUNNING:
            decide(s, n, memory, knobs, plan)
            if not advance(s, n, plan, left):
                break
            left -= 1
"""


def rule(decide: Callable[..., None]) -> Callable[..., None]:
    """Make a rule for one episode the kernel ``(addresses, memory, knobs, plan, rounds)`` for all that run.

    With ``rounds`` 0 the kernel writes the next round of each into the plan. Else it plays each, so many rounds at the
    most, one after the other, each in the processor's first cache: the addresses are then those of a state.
    """
    known: dict[str, Any] = {"unpack": unpack, "advance": _advance, "RUNNING": RUNNING, "row": np.uint64}
    known["decide"] = inline(decide)
    name = decide.__name__
    exec(compile(_LOOP.format(name=name), str(Path(__file__)), "exec"), known)
    loop: Callable[..., None] = known[name]
    loop.__module__ = __name__
    loop.__doc__ = decide.__doc__
    return kernel(loop)


# ---------------------------------------------------------------------------------------- complete branches, one by one


@rule
def self_consistency(s, n, memory, knobs, plan):
    """Read the first branches whole, then stop."""
    (branches,) = knobs
    pool = s.pools[n]
    if pool.opened < branches and s.admissible[n, BRANCH]:
        plan.read[n] = branches - pool.opened
    else:
        plan.stop[n] = True


@inline
def _entropy_certainty(slots_n, answers_n, opened, voters):
    """1 - H / log(voters) of the finished answers' shares; each slot carries its share of its answer's term."""
    if voters < 2:
        return 0.0
    entropy = 0.0
    for i in range(opened):
        slot = slots_n[i]
        if slot.status == FINISHED and slot.answer >= 0:
            entropy -= np.log(answers_n[slot.answer].finished_votes / voters) / voters
    return 1.0 - entropy / np.log(voters)


@inline
def _dirichlet_certainty(slots_n, answers_n, opened, leader, log_cdf, density):
    """P(the leader's probability is the largest) under a Dirichlet(1 + votes) posterior over the answers seen.

    The largest of independent Gamma(1 + votes) variables has the same index; density is that of the leader on the grid
    of log_cdf, whose row v is the log CDF of Gamma(1 + v).
    """
    total = 0.0
    top = answers_n[leader].finished_votes
    for k in range(log_cdf.shape[1]):
        weight = density[top, k]
        if weight > 0.0:
            logs = 0.0
            for i in range(opened):
                slot = slots_n[i]
                if slot.status == FINISHED and slot.answer >= 0 and slot.answer != leader:
                    votes = answers_n[slot.answer].finished_votes
                    logs += log_cdf[votes, k] / votes
            total += weight * np.exp(logs)
    return min(total, 1.0)


BETA, DIRICHLET, ENTROPY, MAJORITY = 0, 1, 2, 3


@rule
def adaptive_consistency(s, n, memory, knobs, plan):
    """Read branches one by one; from the second on, stop when the criterion on their counts exceeds the threshold."""
    branches, criterion, threshold, log_cdf, density = knobs
    pool = s.pools[n]
    certainty = 0.0
    if pool.opened >= 2 and pool.finished_voters > 0:
        if criterion == BETA:
            certainty = s.confidence[pool.finished_leader_votes, pool.finished_runner_up]
        elif criterion == DIRICHLET:
            certainty = _dirichlet_certainty(
                s.slots[n], s.answers[n], pool.opened, pool.finished_leader, log_cdf, density
            )
        elif criterion == ENTROPY:
            certainty = _entropy_certainty(s.slots[n], s.answers[n], pool.opened, pool.finished_voters)
        else:
            certainty = pool.finished_leader_votes / pool.finished_voters
    if certainty <= threshold and pool.opened < branches and s.admissible[n, BRANCH]:
        plan.read[n] = 1
    else:
        plan.stop[n] = True


@rule
def early_stopping(s, n, memory, knobs, plan):
    """Read windows of complete branches; a unanimous window ends the episode with its answer."""
    branches, window = knobs
    windows = branches // window
    pool = s.pools[n]
    if pool.opened > 0 and pool.opened % window == 0:
        answer = s.slots[n, pool.opened - 1].answer
        unanimous = answer >= 0
        for i in range(pool.opened - window, pool.opened):
            unanimous = unanimous and s.slots[n, i].status == FINISHED and s.slots[n, i].answer == answer
        if unanimous:
            plan.stop[n] = True
            plan.answer[n] = answer
            return
    if pool.opened < windows * window and s.admissible[n, BRANCH]:
        plan.read[n] = window
    else:
        plan.stop[n] = True


@rule
def doubling(s, n, memory, knobs, plan):
    """Read branches until there are first, 2 first, 4 first, ...; stop when the top share reaches the threshold."""
    first, branches, threshold = knobs
    pool = s.pools[n]
    sure = pool.finished_voters > 0 and pool.finished_leader_votes >= threshold * pool.finished_voters
    if sure or pool.opened >= branches or not s.admissible[n, BRANCH]:
        plan.stop[n] = True
    else:
        plan.read[n] = min(max(first, 2 * pool.opened), branches) - pool.opened


# ----------------------------------------------------------------------------------------------- branches side by side


@rule
def answer_consistency(s, n, memory, knobs, plan):
    """Deepen every branch until it has shown the same answer so many times in a row; answer by majority."""
    branches, patience = knobs
    pool = s.pools[n]
    if pool.opened < branches and s.admissible[n, BRANCH]:
        plan.open[n] = branches - pool.opened
        return
    growing = False
    for i in range(pool.opened):
        slot = s.slots[n, i]
        if s.admissible[n, FIRST_DEEPEN + i] and (slot.answer < 0 or slot.run < patience):
            plan.deepen[n, i] = 1
            growing = True
    if not growing:
        plan.stop[n] = True
        plan.answer[n] = pool.leader


@rule
def short_m(s, n, memory, knobs, plan):
    """Deepen all branches until enough have finished; majority of the shortest of them, ties to the shortest."""
    branches, finishes = knobs
    pool = s.pools[n]
    if pool.opened < branches and s.admissible[n, BRANCH]:
        plan.open[n] = branches - pool.opened
        return
    growing = False
    if pool.finished < finishes:
        for i in range(pool.opened):
            if s.admissible[n, FIRST_DEEPEN + i]:
                plan.deepen[n, i] = 1
                growing = True
    if not growing:
        plan.stop[n] = True
        plan.answer[n] = _shortest_majority(s.slots[n], pool.opened, finishes)


@inline
def _shorter(slots_n, i, j):
    """Whether finished branch i comes before j: fewer tokens, ties to the one opened first."""
    return slots_n[i].tokens < slots_n[j].tokens or (slots_n[i].tokens == slots_n[j].tokens and i < j)


@inline
def _shortest_majority(slots_n, opened, finishes):
    best, best_votes, best_first = np.int32(-1), 0, -1
    for i in range(opened):
        if not _among_shortest(slots_n, opened, finishes, i) or slots_n[i].answer < 0:
            continue
        votes, first = 0, i
        for j in range(opened):
            if slots_n[j].answer == slots_n[i].answer and _among_shortest(slots_n, opened, finishes, j):
                votes += 1
                if _shorter(slots_n, j, first):
                    first = j
        if votes > best_votes or (votes == best_votes and _shorter(slots_n, first, best_first)):
            best, best_votes, best_first = slots_n[i].answer, votes, first
    return best


@inline
def _among_shortest(slots_n, opened, finishes, i):
    if slots_n[i].status != FINISHED:
        return False
    shorter = 0
    for j in range(opened):
        if slots_n[j].status == FINISHED and _shorter(slots_n, j, i):
            shorter += 1
    return shorter < finishes


OPENING, DEEPENED, PRUNING = 0, 1, 2

PROBE_MEMORY = np.dtype(
    [("phase", np.int32), ("round", np.int32), ("stable", np.int32), ("leader", np.int32)], align=True
)


@inline
def _deepen_active(s, n, plan):
    for i in range(s.pools[n].opened):
        if s.slots[n, i].status == ACTIVE:
            plan.deepen[n, i] = 1


@rule
def parallel_probe(s, n, memory, knobs, plan):
    """All branches in step; those off the leader for long are pruned; a leader stable for long is the answer."""
    branches, stable_rounds, prune_patience, warm_up, max_rounds = knobs
    episodes, off = memory
    pool = s.pools[n]
    own = episodes[n]
    if own.phase == OPENING:
        if pool.opened < branches and s.admissible[n, BRANCH]:
            plan.open[n] = branches - pool.opened
            return
    elif own.phase == DEEPENED and own.round >= warm_up:
        left = pool.opened - pool.pruned
        for i in range(pool.opened):
            slot = s.slots[n, i]
            if left > 1 and slot.status == ACTIVE:
                off[n, i] = off[n, i] + 1 if slot.answer != pool.leader else 0
                if off[n, i] >= prune_patience:
                    plan.prune[n, i] = True
                    left -= 1
                    own.phase = PRUNING
        if own.phase == PRUNING:
            return
    if own.phase != OPENING:
        own.stable = own.stable + 1 if pool.leader >= 0 and pool.leader == own.leader else 0
        own.leader = pool.leader
        own.round += 1
        growing = False
        for i in range(pool.opened):
            if s.admissible[n, FIRST_DEEPEN + i] != 0:
                growing = True
                break
        if own.stable >= stable_rounds or not growing or own.round >= max_rounds:
            plan.stop[n] = True
            plan.answer[n] = pool.leader
            return
    own.phase = DEEPENED
    _deepen_active(s, n, plan)


MOMENTUM_MEMORY = np.dtype(
    [
        ("phase", np.int32),
        ("round", np.int32),
        ("done", np.int32),  # finished branches ranked so far
        ("leader", np.int32),
        ("kept", np.int32),  # entries of the trend's window
        ("ema", np.float64),
    ],
    align=True,
)


@inline
def _momentum_leader(pool, slots_n, order_n):
    """Majority of the finished branches' answers; ties to the one that the controller saw complete first."""
    if pool.finished_leader_votes != pool.finished_runner_up:
        return pool.finished_leader
    first, leader = len(slots_n) + 1, np.int32(-1)
    for i in range(pool.opened):
        slot = slots_n[i]
        if slot.status == FINISHED and slot.answer >= 0 and order_n[i] < first:
            votes = 0
            for j in range(pool.opened):
                votes += slots_n[j].status == FINISHED and slots_n[j].answer == slot.answer
            if votes == pool.finished_leader_votes:
                first, leader = order_n[i], slot.answer
    return leader


@inline
def _rank_finished(pool, slots_n, order_n, before_n, own):
    """Number the branches that finished in the last round: in the order in which they were deepened, deepest first."""
    while own.done < pool.finished:
        pick = -1
        for i in range(pool.opened):
            if slots_n[i].status == FINISHED and order_n[i] < 0 and (pick < 0 or before_n[i] > before_n[pick]):
                pick = i
        order_n[pick] = own.done
        own.done += 1


@inline
def _drop_dissenters(pool, slots_n, off_n, leader, abandon, prune_n):
    """Count rounds off the leader; drop those at the limit, most persistent first, while two branches stay active."""
    for i in range(pool.opened):
        if slots_n[i].status == ACTIVE:
            off_n[i] = off_n[i] + 1 if slots_n[i].answer != leader else 0
    active = pool.active
    while active > 2:
        pick = -1
        for i in range(pool.opened):
            if (
                slots_n[i].status == ACTIVE
                and not prune_n[i]
                and off_n[i] >= abandon
                and (pick < 0 or off_n[i] > off_n[pick])
            ):
                pick = i
        if pick < 0:
            break
        prune_n[pick] = True
        active -= 1


@rule
def confidence_momentum(s, n, memory, knobs, plan):
    """The discovered Confidence Momentum Controller; see ``ConfidenceMomentum`` for its rule."""
    counts, reals = knobs
    episodes, trends, off, order, before = memory
    n_init, max_open, warm_up, abandon, window, burst, widen, min_done, max_rounds = counts
    alpha, threshold, slack, trend = reals
    pool = s.pools[n]
    own = episodes[n]
    if own.phase == OPENING and pool.opened == 0:
        plan.open[n] = n_init
        return
    _rank_finished(pool, s.slots[n], order[n], before[n], own)
    sure = s.confidence[pool.finished_leader_votes, pool.finished_runner_up]
    leader = _momentum_leader(pool, s.slots[n], order[n])
    if own.phase == DEEPENED:
        own.ema = (1.0 - alpha) * own.ema + alpha * sure
        trends[n, own.kept - 1] = own.ema
        delta = trends[n, own.kept - 1] - trends[n, 0] if own.kept >= 2 else 0.0
        settled = pool.finished >= min_done and own.ema >= threshold and delta >= -slack
        if own.round >= warm_up and settled:
            plan.stop[n] = True
            plan.answer[n] = leader
            return
        widening = delta <= trend and own.round >= max(1, warm_up // 2) and own.ema < threshold
        widening = widening and pool.opened < max_open and pool.active > 0
        own.round += 1
        own.phase = OPENING
        if widening and pool.opened < pool.slots:
            plan.open[n] = min(widen, max_open - pool.opened)
            if own.round < max_rounds:
                return
    if pool.active == 0 or own.round >= max_rounds:
        plan.stop[n] = True
        plan.answer[n] = leader if pool.finished > 0 else pool.leader
        return
    own.ema = (1.0 - alpha) * own.ema + alpha * sure
    if own.kept == window:
        for k in range(1, trends.shape[1]):  # an assignment of slices takes seconds to compile
            trends[n, k - 1] = trends[n, k]
    else:
        own.kept += 1
    trends[n, own.kept - 1] = own.ema
    if own.round >= warm_up and leader >= 0:
        _drop_dissenters(pool, s.slots[n], off[n], leader, abandon, plan.prune[n])
    for i in range(pool.opened):
        if s.slots[n, i].status == ACTIVE:
            before[n, i] = s.slots[n, i].depth
            faster = own.round >= warm_up and leader >= 0 and s.slots[n, i].answer == leader
            plan.deepen[n, i] = burst if faster else 1
    own.phase = DEEPENED


@inline
def _weight(s, n, i, column, weight):
    """The confidence by which a branch votes; see ``confidence.WEIGHTS``."""
    signal = s.signals[n, i, column]
    if weight == 0:
        return np.float64(signal.minimum)
    return np.float64(signal.tail) if weight == 1 else np.float64(signal.mean)


@inline
def _threshold(s, n, column, keep, weight, sorted_n):
    """The least confidence among the most confident ``keep`` of the finished branches, as ``numpy.percentile`` does."""
    count = 0
    for i in range(s.pools[n].opened):
        if s.slots[n, i].status == FINISHED:
            value = _weight(s, n, i, column, weight)
            k = count
            while k > 0 and sorted_n[k - 1] > value:
                sorted_n[k] = sorted_n[k - 1]
                k -= 1
            sorted_n[k] = value
            count += 1
    if count == 0:
        return -np.inf
    place = (1.0 - keep) * (count - 1)
    low = np.int64(place)
    high = min(low + 1, count - 1)
    return sorted_n[low] + (place - low) * (sorted_n[high] - sorted_n[low])


@inline
def _elect_confident(s, n, column, by, weight, threshold, weights_n):
    """Weighted votes of the finished branches that are at or above a threshold by one measure of their confidence.

    Returns:
        (the leader, ties to the one finished first, -1: none; its share of all weights).
    """
    pool = s.pools[n]
    weights_n[: pool.answers_seen] = 0.0
    total = 0.0
    for i in range(pool.opened):
        slot = s.slots[n, i]
        if slot.status == FINISHED and slot.answer >= 0 and _weight(s, n, i, column, by) >= threshold:
            own = max(_weight(s, n, i, column, weight), 0.0)
            weights_n[slot.answer] += own
            total += own
    leader, top = np.int32(-1), 0.0
    for k in range(pool.finished_distinct):
        answer = s.finished_answers[n, k]
        if weights_n[answer] > top:
            leader, top = answer, weights_n[answer]
    return leader, top / total if total > 0 else 0.0


@rule
def deepconf(s, n, memory, knobs, plan):
    """DeepConf; see ``confidence.DeepConf`` for its rule."""
    column, branches, keep, warm_up, weight, consensus = knobs
    thresholds, ordered, weights = memory
    by = weight if warm_up >= branches else 0  # only a lowest confidence can stop a branch that still grows
    pool = s.pools[n]
    most = min(np.int64(branches), np.int64(pool.slots))
    if pool.opened < min(np.int64(warm_up), most) and s.admissible[n, BRANCH] != 0:
        plan.read[n] = min(np.int64(warm_up), most) - pool.opened
        return
    if np.isnan(thresholds[n]):
        thresholds[n] = _threshold(s, n, column, keep, by, ordered)
    leader, _ = _elect_confident(s, n, column, by, weight, thresholds[n], weights)
    _, share = _elect_confident(s, n, column, by, weight, -np.inf, weights)
    growing = False
    if share < consensus:
        if pool.opened < most and s.admissible[n, BRANCH] != 0:
            plan.open[n] = most - pool.opened
            growing = True
        for i in range(pool.opened):
            if s.slots[n, i].status == ACTIVE:
                if s.signals[n, i, column].minimum < thresholds[n]:
                    plan.prune[n, i] = True
                elif s.admissible[n, FIRST_DEEPEN + i] != 0:
                    plan.deepen[n, i] = 1
                    growing = True
    if not growing:
        plan.stop[n] = True
        plan.answer[n] = leader


@rule
def deer(s, n, memory, knobs, plan):
    """Grow every branch until its probe has an answer of which the model is sure; answer by majority."""
    column, branches, threshold = knobs
    pool = s.pools[n]
    if pool.opened < branches and s.admissible[n, BRANCH] != 0:
        plan.open[n] = branches - pool.opened
        return
    growing = False
    for i in range(pool.opened):
        sure = s.slots[n, i].answer >= 0 and s.signals[n, i, column].latest >= threshold
        if s.admissible[n, FIRST_DEEPEN + i] != 0 and not sure:
            plan.deepen[n, i] = 1
            growing = True
    if not growing:
        plan.stop[n] = True
        plan.answer[n] = pool.leader
