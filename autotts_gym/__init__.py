"""The AutoTTS replay as a Gymnasium environment; importing the package registers its environments."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gymnasium.envs.registration import register

from autotts_gym.version import __version__

if TYPE_CHECKING:
    from autotts_gym.controllers import Controller, make_controller
    from autotts_gym.engine.functions import Aggregator, Reward, aggregator, reward
    from autotts_gym.evaluation import EvaluationResult, Frontier, evaluate
    from autotts_gym.observation.features import Feature, feature
    from autotts_gym.replay import ReplayStore, list_stores, load_store, synthesize

_HOMES = {
    "Aggregator": "autotts_gym.engine.functions",
    "Controller": "autotts_gym.controllers",
    "EvaluationResult": "autotts_gym.evaluation",
    "Feature": "autotts_gym.observation.features",
    "Frontier": "autotts_gym.evaluation",
    "ReplayStore": "autotts_gym.replay",
    "Reward": "autotts_gym.engine.functions",
    "aggregator": "autotts_gym.engine.functions",
    "evaluate": "autotts_gym.evaluation",
    "feature": "autotts_gym.observation.features",
    "list_stores": "autotts_gym.replay",
    "load_store": "autotts_gym.replay",
    "macro": "autotts_gym.actions.macros",
    "make_controller": "autotts_gym.controllers",
    "reward": "autotts_gym.engine.functions",
    "synthesize": "autotts_gym.replay",
}

__all__ = [
    "Aggregator",
    "Controller",
    "EvaluationResult",
    "Feature",
    "Frontier",
    "ReplayStore",
    "Reward",
    "__version__",
    "aggregator",
    "evaluate",
    "feature",
    "list_stores",
    "load_store",
    "macro",
    "make_controller",
    "reward",
    "synthesize",
]


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that importing the package stays fast."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


register(
    id="AutoTTS-Replay-v0",
    entry_point="autotts_gym.envs.single:ReplayEnv",
    vector_entry_point="autotts_gym.envs.vector:ReplayVectorEnv",
)
register(
    id="AutoTTS-ReplayRounds-v0",
    entry_point="autotts_gym.envs.rounds:ReplayRoundsEnv",
    vector_entry_point="autotts_gym.envs.rounds:ReplayRoundsVectorEnv",
)
register(
    id="AutoTTS-Live-v0",
    entry_point="autotts_gym.envs.live:LiveEnv",
    vector_entry_point="autotts_gym.envs.live:LiveVectorEnv",
)
register(
    id="AutoTTS-LiveRounds-v0",
    entry_point="autotts_gym.envs.live:LiveRoundsEnv",
    vector_entry_point="autotts_gym.envs.live:LiveRoundsVectorEnv",
)
