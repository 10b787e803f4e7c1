"""What has been seen for and against stopping, in units that are the same for every question and model.

*Weighted votes* are those of the macro ``stop_weighted``: an answer counts the less, the longer its finished branches
are and the more branches have abandoned it.
"""

import numpy as np

from autotts_gym.engine.summaries import deviation, ratio
from autotts_gym.observation import pool
from autotts_gym.observation.features import Group
from autotts_gym.observation.quantities import COUNT_SCALE, PRICE_SCALE, VOTES_SCALE, active_votes, squash

GROUP = Group("evidence")
FEATURES = GROUP.features


@GROUP.define("reward that a branch as deep as the finished ones (without them: the deepest) costs, squashed")
def price(s, n):
    episode = s.pools[n]
    length = ratio(np.float64(episode.finished_depth), np.float64(episode.finished))
    if episode.finished == 0:
        length = np.float64(episode.deepest)
    paid = episode.cost_weight * length * np.float64(episode.interval_tokens) * (1.0 / episode.token_unit)
    return squash(paid, PRICE_SCALE)


GROUP.repeat(pool.cost_weight)
GROUP.repeat(pool.latency_weight)
GROUP.repeat(pool.opened)
GROUP.repeat(pool.can_open)


@GROUP.define("active branches, squashed at 8")
def active(s, n):
    return squash(np.float64(s.pools[n].active), COUNT_SCALE)


@GROUP.define("finished branches, squashed at 8")
def finished(s, n):
    return squash(np.float64(s.pools[n].finished), COUNT_SCALE)


@GROUP.define("the leader's share of the finished branches' weighted votes")
def weighted_top_share(s, n, weighted):
    return ratio(weighted[1], weighted[3])


@GROUP.define("the second answer's share of them")
def weighted_runner_up_share(s, n, weighted):
    return ratio(weighted[2], weighted[3])


@GROUP.define("the difference of both in votes, squashed at 4")
def weighted_margin(s, n, weighted):
    return squash(weighted[1] - weighted[2], VOTES_SCALE)


GROUP.repeat(pool.finished_top_share, "the finished branches' leader's share when all count the same")
GROUP.repeat(pool.finished_confidence, "Beta confidence of the two top counts of the same")
GROUP.repeat(pool.finished_distinct, "distinct answers / votes of finished branches")
GROUP.repeat(pool.finished_leader_held)


@GROUP.define("1 if weighted and equal votes of the finished branches have the same leader")
def leaders_agree(s, n, weighted):
    return 1.0 if weighted[0] >= 0 and weighted[0] == s.pools[n].finished_leader else 0.0


@GROUP.define("active branches on the weighted votes' leader / active branches")
def active_on_weighted_leader(s, n, weighted):
    return active_votes(s, n, weighted[0]) * (1.0 / max(s.pools[n].active, 1))


GROUP.repeat(pool.active_on_leader, "active branches on the leader of all latest answers / active branches")
GROUP.repeat(pool.finished_depth)


@GROUP.define("standard deviation of their depths / their mean depth, squashed at 1")
def finished_deviation(s, n):
    episode = s.pools[n]
    return squash(
        ratio(deviation(episode), ratio(np.float64(episode.finished_depth), np.float64(episode.finished))), 1.0
    )


GROUP.repeat(pool.active_depth)


@GROUP.define("mean depth of the active branches, squashed at that of the finished ones")
def active_ahead(s, n):
    episode = s.pools[n]
    depth = episode.active_depth * (1.0 / max(episode.active, 1))
    return ratio(depth, depth + ratio(np.float64(episode.finished_depth), np.float64(episode.finished)))


@GROUP.define("active branches more than 1.5 times as deep as the finished ones on average / active branches")
def overdue(s, n, late):
    return late[0] * (1.0 / max(s.pools[n].active, 1))


@GROUP.define("active branches off the leader for 24 answers in a row / active branches")
def stubborn(s, n, late):
    return late[1] * (1.0 / max(s.pools[n].active, 1))


GROUP.repeat(pool.active_stability)
