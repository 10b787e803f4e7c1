"""A way to answer of your own, in one file: short branches count more.

    autotts evaluate tiny/search --controller sc --aggregator examples/aggregator.py:short_votes
    gym.make("AutoTTS-Replay-v0", aggregator="examples/aggregator.py:short_votes")
    evaluate(controller, store, aggregator="examples/aggregator.py:short_votes")

It is compiled, and asked wherever STOP leaves the answer open.
"""

import numpy as np

from autotts_gym import aggregator
from autotts_gym.engine.layout import FINISHED


@aggregator
def short_votes(revealed, n):
    """The answer whose finished branches have the largest sum of 1 / depth; ties to the one finished first."""
    pool, slots = revealed.pools[n], revealed.slots[n]
    best, most = -1, 0.0
    for k in range(pool.finished_distinct):  # in the order in which they were first given
        answer = revealed.finished_answers[n, k]
        votes = 0.0
        for i in range(pool.opened):
            if slots[i].status == FINISHED and slots[i].answer == answer:
                votes += 1.0 / max(np.int64(slots[i].depth), 1)
        if votes > most:
            best, most = answer, votes
    return best
