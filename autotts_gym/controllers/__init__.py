"""Policies over revealed state: the controller protocol and the hand-written controllers."""

from autotts_gym.controllers import probing, whole
from autotts_gym.controllers.base import (
    Controller,
    HandWritten,
    check_probes,
    controller_families,
    make_controller,
    needs_probes,
)

__all__ = [
    "Controller",
    "HandWritten",
    "check_probes",
    "controller_families",
    "make_controller",
    "needs_probes",
    "probing",
    "whole",
]
