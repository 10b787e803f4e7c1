"""Running a program that is not trusted: confined processes that are sent only what their actions reveal."""

from autotts_gym.sandbox.checks import Checked, audit, check_program
from autotts_gym.sandbox.config import Sandbox
from autotts_gym.sandbox.lockstep import Lockstep
from autotts_gym.sandbox.processes import close_fork_servers, layers
from autotts_gym.sandbox.static import Source, read_source

__all__ = [
    "Checked",
    "Lockstep",
    "Sandbox",
    "Source",
    "audit",
    "check_program",
    "close_fork_servers",
    "layers",
    "read_source",
]
