"""Running a program that nobody trusts: confined processes that are told only what their actions reveal."""

from autotts_gym.sandbox.checks import Checked, audit, check_program
from autotts_gym.sandbox.config import Sandbox
from autotts_gym.sandbox.fleet import Fleet, close_nurseries, layers
from autotts_gym.sandbox.static import Source, read_source

__all__ = [
    "Checked",
    "Fleet",
    "Sandbox",
    "Source",
    "audit",
    "check_program",
    "close_nurseries",
    "layers",
    "read_source",
]
