"""Policies over revealed state: the controller protocol and the hand-written controllers."""

from autotts_gym.controllers import probing, whole
from autotts_gym.controllers.base import Controller, HandWritten, controller_families, make_controller

__all__ = ["Controller", "HandWritten", "controller_families", "make_controller", "probing", "whole"]
