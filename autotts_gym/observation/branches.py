"""Features of a branch slot, in the order of the arrays; all 0 where the slot is closed."""

import numpy as np

from autotts_gym.engine.layout import ACTIVE, FINISHED, PRUNED
from autotts_gym.observation.features import Group
from autotts_gym.observation.quantities import COUNT_SCALE, DEPTH_SCALE, squash

GROUP = Group("branches")
FEATURES = GROUP.features


@GROUP.define("1 if the branch is active")
def active(s, n, i):
    return s.slots[n, i].status == ACTIVE


@GROUP.define("1 if it has finished")
def finished(s, n, i):
    return s.slots[n, i].status == FINISHED


@GROUP.define("1 if it was pruned; a slot with all three 0 is closed, and so are all its features")
def pruned(s, n, i):
    return s.slots[n, i].status == PRUNED


@GROUP.define("depth in tokens, squashed at 0.01 token units")
def depth(s, n, i, units, millionth):
    return squash(s.slots[n, i].depth * units[0], np.float32(DEPTH_SCALE * millionth))


@GROUP.define("1 if its latest answer is the leader")
def agrees(s, n, i):
    answer = s.slots[n, i].answer
    return answer >= 0 and answer == s.pools[n].leader


@GROUP.define("1 if its latest answer is the finished branches' leader")
def agrees_finished(s, n, i):
    answer = s.slots[n, i].answer
    return answer >= 0 and answer == s.pools[n].finished_leader


@GROUP.define("share of its latest answer among those of branches not pruned")
def vote_share(s, n, i, units):
    answer = s.slots[n, i].answer
    return s.answers[n, answer].votes * units[1] if answer >= 0 else np.float32(0.0)


@GROUP.define("share of its latest answer among those of finished branches")
def finished_share(s, n, i, units):
    answer = s.slots[n, i].answer
    return s.answers[n, answer].finished_votes * units[2] if answer >= 0 else np.float32(0.0)


@GROUP.define("length of its newest run of equal answers, squashed at 8")
def stability(s, n, i):
    return squash(np.float32(s.slots[n, i].run), np.float32(COUNT_SCALE))


@GROUP.define("changes of its answer / answers it has revealed")
def changes(s, n, i):
    slot = s.slots[n, i]
    return np.float32(slot.changes) / np.float32(max(slot.revealed, 1))


@GROUP.define("how many of its newest answers in a row were not the leader's, squashed at 8")
def off_leader(s, n, i):
    return squash(np.float32(s.slots[n, i].off_leader), np.float32(COUNT_SCALE))


@GROUP.define("1 - (place in the order of completion) / max_branches if it has finished, else 0")
def finished_early(s, n, i, units):
    slot = s.slots[n, i]
    return np.float32(1.0) - slot.rank * units[3] if slot.status == FINISHED else np.float32(0.0)
