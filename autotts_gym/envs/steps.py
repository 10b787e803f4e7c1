"""Compiled steps of the environments: a step with its reward and what is observed after it."""

import numpy as np

from autotts_gym.actions.effects import PLAIN, mark_row, write_row
from autotts_gym.engine.addresses import call_begin, call_encoder, call_reward, call_round, unpack
from autotts_gym.engine.jit import inline, kernel
from autotts_gym.engine.layout import RUNNING, TRUNCATED
from autotts_gym.engine.prefetch import fetch_steps
from autotts_gym.engine.transition import act, aggregated, clear_row, is_right


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
    return _worth(s, n) - worth - cost * (1.0 / pool.token_unit)  # in this order the reward of 10^6 has its old bits


@inline
def _advance(s, n, action):
    """Take a primitive action; returns its reward and whether it was admissible."""
    pool = s.pools[n]
    total, sequential, worth = pool.total_tokens, pool.sequential_tokens, _worth(s, n)
    _keep(s, n)
    valid = act(s, n, action)
    return _reward(s, n, total, sequential, worth), valid


@inline
def _write_outcome(s, n, outcomes):
    """Write to column n of outcomes (7, N) what is reported of an episode that has ended, in the order of OUTCOME."""
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
        _write_outcome(s, n, results.outcomes)
    return reason != RUNNING


@kernel
def step_one(addresses, action, encoder, out):
    """Step episode 0 and encode it.

    Returns:
        (reward, whether the action was admissible, stop reason).
    """
    s = unpack(addresses)
    n = np.uint64(0)
    reward, valid = _advance(s, n, action)
    call_encoder(encoder, s, n, out)
    return reward, valid, s.pools[n].stop_reason


@kernel
def write_outcome(addresses, outcomes):
    """Write what is reported of episode 0, which has ended, to outcomes (7, 1)."""
    _write_outcome(unpack(addresses), np.uint64(0), outcomes)


@inline
def _step(s, n, action, restart, again, encoder, results):
    """Step an episode; see step_all. Returns whether it has ended."""
    reward, valid = 0.0, restart
    if restart:
        call_begin(s.begin, s, n, np.int64(-1))
    elif s.pools[n].stop_reason == RUNNING:  # a live episode may have been ended by its server
        reward, valid = _advance(s, n, action)
    ended = _conclude(s, n, reward, valid, results)
    if ended and again:
        call_encoder(encoder, s, n, results.last)
        for k in range(results.last_masks.shape[1]):
            results.last_masks[n, k] = s.admissible[n, k]
        call_begin(s.begin, s, n, np.int64(-1))
    call_encoder(encoder, s, n, results.observed)
    return ended


@kernel
def step_all(addresses, first, end, actions, restart, again, encoder, results, ahead):
    """Step episodes first .. end - 1 of N, but begin the next one where ``restart``; encode them.

    With ``again`` the next episode begins at once where one ends, which leaves its last mask and observation in
    ``results``, an ``episodes.Results``. The actions (N,) are in the action space; for ``ahead`` see ``fetch_steps``.
    Returns how many have ended.
    """
    s = unpack(addresses)
    ended = 0
    for k in range(first, end):
        n = np.uint64(k)  # see addresses.ROW
        fetch_steps(s, k, end, actions, ahead)
        ended += _step(s, n, actions[n], restart[n], again, encoder, results)
    return ended


@inline
def _step_round(s, n, action, restart, again, encoder, compiled, plan, masks_before, masks_after, results):
    """Play the macro of an episode; see step_rounds. Returns whether it has ended."""
    reward, valid = 0.0, restart
    if restart:
        call_begin(s.begin, s, n, np.int64(-1))
    elif s.pools[n].stop_reason == RUNNING:
        valid = masks_before[n, action] != 0
        code = compiled[action, 0] if valid else PLAIN
        if code != PLAIN or not valid:
            clear_row(s, n, plan)
        if code != PLAIN:
            write_row(s, n, code, compiled[action, 1], plan)
        total, sequential, worth = s.pools[n].total_tokens, s.pools[n].sequential_tokens, _worth(s, n)
        _keep(s, n)
        call_round(s.play_round, s, n, plan)
        reward = _reward(s, n, total, sequential, worth)
    ended = _conclude(s, n, reward, valid, results)
    if ended and again:
        call_encoder(encoder, s, n, results.last)
        mark_row(s, n, compiled, plan, results.last_masks)
        call_begin(s.begin, s, n, np.int64(-1))
    call_encoder(encoder, s, n, results.observed)
    mark_row(s, n, compiled, plan, masks_after)
    return ended


@kernel
def step_rounds(
    addresses, first, end, actions, restart, again, encoder, compiled, plan, masks_before, masks_after, results
):
    """Play the macros of episodes first .. end - 1 of N as rounds; all else as in ``step_all``.

    ``compiled`` is that of ``write_compiled``; the macros in plain Python are in their rows of the plan. A macro that
    is not admissible by ``masks_before`` (N, K) int8 is an empty round. Writes masks of the compiled macros to
    ``masks_after`` (N, K) int8.
    """
    s = unpack(addresses)
    ended = 0
    for k in range(first, end):
        n = np.uint64(k)
        ended += _step_round(
            s, n, actions[n], restart[n], again, encoder, compiled, plan, masks_before, masks_after, results
        )
    return ended
