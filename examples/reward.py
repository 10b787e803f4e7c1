"""A reward of your own, in one file: a right answer is worth less, the later it comes.

    gym.make("AutoTTS-Replay-v0", reward="examples/reward.py:patience")
    gym.make_vec("AutoTTS-Replay-v0", num_envs=1024, reward="examples/reward.py:patience")
    python -m agents.train --config maskable_ppo --reward examples/reward.py:patience

It is compiled, and called by the kernels that step the environments: at their speed, with any number of them.
"""

from autotts_gym import reward

HALF_LIFE = 0.2
"""Token units (of 10^6 tokens on published data) after which a right answer is worth half."""


@reward
def patience(before, after, was_right, is_right):
    """Nothing but a right answer at the end counts, and its worth halves every ``HALF_LIFE`` token units."""
    stopped = after.stop_reason == 1 or after.stop_reason == 2  # by STOP, or since nothing else was left
    return is_right * 0.5 ** (after.total_tokens / (HALF_LIFE * after.token_unit)) if stopped else 0.0
