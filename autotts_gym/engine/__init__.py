"""What an action does: the state of N episodes, the rounds that advance it, and the one transition."""

from autotts_gym.engine.bank import Bank
from autotts_gym.engine.plan import RoundPlan
from autotts_gym.engine.play import play_out
from autotts_gym.engine.revealed import EpisodeRecord, Revealed
from autotts_gym.engine.rules import Rules
from autotts_gym.engine.state import PoolState

__all__ = ["Bank", "EpisodeRecord", "PoolState", "Revealed", "RoundPlan", "Rules", "play_out"]
