"""What a program may use, and which layers must confine it."""

from dataclasses import dataclass
from math import inf
from numbers import Real
from typing import Any

from autotts_gym.errors import AutottsError, quote
from autotts_gym.sandbox.protocol import LAYERS

REQUIRED = ("rlimits", "no_new_privs", "seccomp")
"""The layers that every Linux of the last ten years has."""


@dataclass(frozen=True)
class Sandbox:
    """Limits of the processes that a program runs in, and the layers without which it does not run.

    Every layer that the machine offers is used, required or not.

    Attributes:
        require: layers that must be there, of ``rlimits``, ``no_new_privs``, ``seccomp``, ``landlock``, ``namespaces``,
            ``clock``; () runs a program even where nothing confines it.
        memory_mib: memory of a process beyond what the interpreter takes.
        cpu_seconds: processor time of a process.
        round_seconds: wall-clock time from one look to the next, for the episodes of a process.
        seconds: wall-clock time of all episodes together.
        audit_share: of the episodes of an evaluation, those that are played again beside other episodes.
        packages: installed packages that a program may import beside the standard library's modules, and modules of
            them that they do not load by themselves, such as ``scipy.signal``; loaded for programs that import them.
    """

    require: tuple[str, ...] = REQUIRED
    memory_mib: int = 64
    cpu_seconds: int = 300
    round_seconds: float = 10.0
    seconds: float = 600.0
    audit_share: float = 0.02
    packages: tuple[str, ...] = ("numpy", "scipy")

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            AutottsError: naming the field, what was expected and what came.
        """
        if not set(self.require) <= set(LAYERS):
            raise AutottsError(f"Sandbox.require: expected some of {', '.join(LAYERS)}, got {quote(self.require)}")
        for name in ("memory_mib", "cpu_seconds"):
            value = getattr(self, name)
            good = isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**31
            _check(name, value, good, "a whole number of at least 1")
        for name in ("round_seconds", "seconds"):
            value = getattr(self, name)
            _check(name, value, isinstance(value, Real) and 0 < float(value) < inf, "a positive number")
        share: Any = self.audit_share
        _check("audit_share", share, isinstance(share, Real) and 0 <= float(share) <= 1, "a number in [0, 1]")


def _check(name: str, value: Any, good: bool, expected: str) -> None:
    if not good:
        raise AutottsError(f"Sandbox.{name}: expected {expected}, got {quote(value)}")
