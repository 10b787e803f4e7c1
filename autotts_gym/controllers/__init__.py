"""Policies over revealed state: the base class of controllers and the hand-written ones."""

from autotts_gym.controllers import confidence, probing, self_consistency
from autotts_gym.controllers.base import Controller, HandWritten
from autotts_gym.controllers.families import controller_families
from autotts_gym.controllers.registry import check_stores, lacks, make_controller, needs_probes

__all__ = [
    "Controller",
    "HandWritten",
    "check_stores",
    "confidence",
    "controller_families",
    "lacks",
    "make_controller",
    "needs_probes",
    "probing",
    "self_consistency",
]
