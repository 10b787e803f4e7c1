"""Controllers on a served model: a store that is written just before it is read."""

from autotts_gym.live.recording import Outcome, Recording
from autotts_gym.live.solve import Solution, solve, solve_async
from autotts_gym.live.source import LiveSettings, LiveSource

__all__ = ["LiveSettings", "LiveSource", "Outcome", "Recording", "Solution", "solve", "solve_async"]
