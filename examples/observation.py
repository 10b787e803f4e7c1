"""An observation of your own, in one file: a list of features.

    gym.make("AutoTTS-ReplayRounds-v0", observation="examples/observation.py:DOUBT")
    python -m agents.train --config maskable_ppo --observation examples/observation.py:DOUBT

Features that are built in go by group and name (docs/environment.md has them all), those of your own as the decorator
makes them, or by ``file.py:name``.
"""

from autotts_gym import feature


@feature("tokens of the deepest active branch / those of the deepest branch")
def frontier(revealed, n):
    """1 while the deepest branch is still being grown."""
    deepest = 0
    for i in range(revealed.pools[n].opened):
        if revealed.slots[n, i].status == 1:  # active
            deepest = max(deepest, revealed.slots[n, i].depth)
    return deepest / max(revealed.pools[n].deepest, 1)


@feature("how far a branch is ahead of the mean of the active ones, in intervals", low=-8, high=8)
def lead(revealed, n, i):
    """Of a branch slot: three parameters."""
    pool = revealed.pools[n]
    return revealed.slots[n, i].depth - pool.active_depth / max(pool.active, 1)


DOUBT = [
    *("evidence.price", "evidence.weighted_margin", "evidence.opened", "evidence.can_open"),
    *("pool.confidence", "pool.active_on_leader", frontier, "branches.active", lead),
]
