"""A feature of your own, in one file: how often the answers have changed.

    gym.make("AutoTTS-Replay-v0", observation=["pool.top_share", "examples/feature.py:restlessness"])

It is compiled, and called by the encoder that is generated from the list: at the speed of the features that are built
in, in single and vector environments, and in the policies that were trained on it.
"""

from autotts_gym import feature


@feature("changes of the branches' answers so far, squashed at 8")
def restlessness(revealed, n):
    """From 0, where no branch has changed its mind, towards 1."""
    changes = 0
    for i in range(revealed.pools[n].opened):
        changes += revealed.slots[n, i].changes
    return changes / (changes + 8.0)
