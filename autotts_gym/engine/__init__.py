"""What an action does: the state of N episodes, the rounds that advance it, and the one transition."""

from autotts_gym.engine.bank import Bank
from autotts_gym.engine.plan import RoundPlan
from autotts_gym.engine.state import PoolState, Revealed, Rules

__all__ = ["Bank", "PoolState", "Revealed", "RoundPlan", "Rules"]
