"""Macros of your own, in one file: widen only while the leader is in doubt, grow only what agrees with it.

    gym.make("AutoTTS-ReplayRounds-v0", macros=["stop", "deepen_all", "examples/macro.py:widen_in_doubt"])
    python -m agents.train --config maskable_ppo --macros stop deepen_all examples/macro.py:widen_in_doubt

A macro writes the round of the episodes that take it. It is admissible exactly where it would change something.
"""

import numpy as np
from numpy.typing import NDArray

from autotts_gym import macro
from autotts_gym.actions.macros import Macro
from autotts_gym.engine import Revealed, RoundPlan


def _write(revealed: Revealed, rows: NDArray[np.int64], plan: RoundPlan) -> None:
    """Open two branches where the leader has less than two thirds of the votes."""
    pools = revealed.pools[rows]
    doubt = 3 * pools["leader_votes"] < 2 * pools["voters"]
    plan.open[rows] = np.where(doubt | (pools["voters"] == 0), 2, 0)


widen_in_doubt = Macro("widen_in_doubt", "open two branches while the leader has less than two thirds", _write)


@macro("one interval of the branches that agree with the leader")
def grow_leader(revealed, n, plan):
    """Compiled, so that a vector environment needs no Python for it."""
    pool = revealed.pools[n]
    for i in range(pool.opened):
        if pool.leader >= 0 and revealed.slots[n, i].answer == pool.leader:
            plan.deepen[n, i] = 1
