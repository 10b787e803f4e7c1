"""Features of an episode: its tokens, its branches and their votes, in the order of the arrays."""

import numpy as np

from autotts_gym.engine.layout import BRANCH, UNLIMITED
from autotts_gym.engine.summaries import ratio
from autotts_gym.observation.features import Group
from autotts_gym.observation.quantities import (
    COST_WEIGHT_SCALE,
    COUNT_SCALE,
    DEPTH_SCALE,
    HELD_SCALE,
    LATENCY_WEIGHT_SCALE,
    SEQUENTIAL_SCALE,
    TOKENS_SCALE,
    active_votes,
    squash,
)

GROUP = Group("pool")
FEATURES = GROUP.features


@GROUP.define("total tokens, squashed at 0.5 token units")
def spent(s, n, millionth):
    return squash(np.float64(s.pools[n].total_tokens), TOKENS_SCALE * millionth)


@GROUP.define("sequential tokens, squashed at 0.02 token units")
def spent_sequential(s, n, millionth):
    return squash(np.float64(s.pools[n].sequential_tokens), SEQUENTIAL_SCALE * millionth)


@GROUP.define("reward paid for tokens so far, at most 1")
def cost_paid(s, n):
    pool = s.pools[n]
    paid = pool.cost_weight * pool.total_tokens + pool.latency_weight * pool.sequential_tokens
    return min(paid * (1.0 / pool.token_unit), 1.0)


@GROUP.define("share of the token budget that is left; 1 without a budget")
def budget_left(s, n):
    pool = s.pools[n]
    if pool.budget == UNLIMITED:
        return 1.0
    return ratio(np.float64(pool.budget - pool.total_tokens), np.float64(pool.budget))


@GROUP.define("opened branches / max_branches")
def opened(s, n):
    return s.pools[n].opened * (1.0 / s.rules[0].max_branches)


@GROUP.define("active branches / max_branches")
def active(s, n):
    return s.pools[n].active * (1.0 / s.rules[0].max_branches)


@GROUP.define("finished branches / max_branches")
def finished(s, n):
    return s.pools[n].finished * (1.0 / s.rules[0].max_branches)


@GROUP.define("pruned branches / max_branches")
def pruned(s, n):
    return s.pools[n].pruned * (1.0 / s.rules[0].max_branches)


@GROUP.define("1 if BRANCH is admissible")
def can_open(s, n):
    return s.admissible[n, BRANCH]


@GROUP.define("the leader's share of the latest answers of branches not pruned")
def top_share(s, n, top_two):
    return top_two[0] * (1.0 / max(s.pools[n].voters, 1))


@GROUP.define("the second most frequent answer's share of them")
def runner_up_share(s, n, top_two):
    return top_two[1] * (1.0 / max(s.pools[n].voters, 1))


@GROUP.define("1 - BetaCDF(1/2; v1 + 1, v2 + 1) of their two top counts; 0 without votes")
def confidence(s, n, top_two):
    return s.confidence[top_two[0], top_two[1]]


@GROUP.define("distinct answers / votes among them")
def distinct(s, n):
    return s.pools[n].distinct * (1.0 / max(s.pools[n].voters, 1))


@GROUP.define("the same of finished branches: their leader's share")
def finished_top_share(s, n):
    pool = s.pools[n]
    return pool.finished_leader_votes * (1.0 / max(pool.finished_voters, 1))


@GROUP.define("the second most frequent answer's share")
def finished_runner_up_share(s, n):
    pool = s.pools[n]
    return pool.finished_runner_up * (1.0 / max(pool.finished_voters, 1))


@GROUP.define("Beta confidence of the two top counts")
def finished_confidence(s, n):
    return s.confidence[s.pools[n].finished_leader_votes, s.pools[n].finished_runner_up]


@GROUP.define("distinct answers / votes")
def finished_distinct(s, n):
    pool = s.pools[n]
    return pool.finished_distinct * (1.0 / max(pool.finished_voters, 1))


@GROUP.define("1 if both leaders exist and are the same answer")
def leaders_agree(s, n):
    pool = s.pools[n]
    return 1.0 if pool.leader >= 0 and pool.leader == pool.finished_leader else 0.0


@GROUP.define("active branches on the leader / active branches")
def active_on_leader(s, n):
    pool = s.pools[n]
    return active_votes(s, n, pool.leader) * (1.0 / max(pool.active, 1))


@GROUP.define("active branches on the finished branches' leader / active branches")
def active_on_finished_leader(s, n):
    pool = s.pools[n]
    return active_votes(s, n, pool.finished_leader) * (1.0 / max(pool.active, 1))


@GROUP.define("votes by which the finished branches' leader leads / max_branches")
def finished_margin(s, n):
    pool = s.pools[n]
    return (pool.finished_leader_votes - pool.finished_runner_up) * (1.0 / s.rules[0].max_branches)


@GROUP.define("tokens spent since the leader last changed, squashed at 0.05 token units")
def leader_held(s, n, millionth):
    pool = s.pools[n]
    return squash(np.float64(pool.total_tokens - pool.leader_since), HELD_SCALE * millionth)


@GROUP.define("branches finished since their leader last changed, squashed at 8")
def finished_leader_held(s, n):
    pool = s.pools[n]
    return squash(np.float64(pool.finished - pool.finished_since), COUNT_SCALE)


@GROUP.define("mean depth of the active branches in tokens, squashed at 0.01 token units")
def active_depth(s, n, millionth):
    pool = s.pools[n]
    tokens = pool.active_depth * (1.0 / max(pool.active, 1)) * np.float64(pool.interval_tokens)
    return squash(tokens, DEPTH_SCALE * millionth)


@GROUP.define("mean depth of the finished branches in tokens, squashed at 0.01 token units")
def finished_depth(s, n, millionth):
    pool = s.pools[n]
    tokens = pool.finished_depth * np.float64(pool.interval_tokens)
    return squash(ratio(tokens, np.float64(pool.finished)), DEPTH_SCALE * millionth)


@GROUP.define("largest depth reached in tokens, squashed at 0.01 token units")
def deepest(s, n, millionth):
    return squash(s.pools[n].deepest * np.float64(s.pools[n].interval_tokens), DEPTH_SCALE * millionth)


@GROUP.define("mean run of equal answers of the active branches, squashed at 8")
def active_stability(s, n):
    pool = s.pools[n]
    return squash(pool.active_run * (1.0 / max(pool.active, 1)), COUNT_SCALE)


@GROUP.define("reward per token unit of total tokens, squashed at 0.25")
def cost_weight(s, n):
    return squash(s.pools[n].cost_weight, COST_WEIGHT_SCALE)


@GROUP.define("reward per token unit of sequential tokens, squashed at 1")
def latency_weight(s, n):
    return squash(s.pools[n].latency_weight, LATENCY_WEIGHT_SCALE)
