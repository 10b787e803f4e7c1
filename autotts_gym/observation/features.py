"""What a feature is: one number of an observation, with its name, meaning, range and compiled function."""

import inspect
from collections.abc import Callable
from copy import copy
from typing import Any, ClassVar

from numba import types

from autotts_gym.engine.addresses import REVEALED_STATE
from autotts_gym.engine.functions import Compiled
from autotts_gym.engine.jit import inline
from autotts_gym.errors import AutottsError
from autotts_gym.validation import check, is_real


class Feature(Compiled):
    """A feature of a user's, as the decorator ``feature`` makes it.

    Attributes:
        name: that of its function.
        meaning: what it shows, in a line.
        low: the least that it can be.
        high: the most.
        of_branch: whether it is of a branch slot, else of the episode.
    """

    kind = "feature"

    def __init__(self, function: Callable[..., Any], meaning: str, low: float, high: float) -> None:
        check("feature", function, callable(function), "a function")
        super().__init__(function)
        self.name = self.__name__
        self.meaning = meaning
        for end, value in (("low", low), ("high", high)):
            check(f"feature {self.name}: {end}", value, is_real(value), "a finite number")
        check(f"feature {self.name}: high", high, low < high, f"a number above low, which is {low}")
        self.low, self.high = float(low), float(high)
        given = list(inspect.signature(function).parameters)
        if given[:2] != ["revealed", "n"] or given[2:] not in ([], ["i"]):
            raise AutottsError(
                f"feature {self.name}: expected the parameters (revealed, n), or (revealed, n, i) of a branch, "
                f"got ({', '.join(given)})"
            )
        self.of_branch = len(given) == 3

    @property
    def label(self) -> str:
        """Its name among those of an observation."""
        return self.name

    @property
    def _signature(self) -> Any:
        return (REVEALED_STATE, types.int64, *[types.int64] * self.of_branch), types.float64


class BuiltIn:
    """A feature that is compiled into the encoders that have it.

    Attributes:
        group: "pool", "evidence" or "branches".
        name: that of its function.
        meaning: what it shows, in a line.
        part: its function.
        uses: the quantities of ``observation.quantities`` that it asks for.
    """

    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 1.0

    def __init__(self, group: str, meaning: str, function: Callable[..., Any]) -> None:
        self.group = group
        self.name = function.__name__
        self.meaning = meaning
        self.part = inline(function)
        parameters = list(inspect.signature(function).parameters)
        self.of_branch = parameters[2:3] == ["i"]
        self.uses = tuple(parameters[2 + self.of_branch :])

    @property
    def label(self) -> str:
        """Its name among those of an observation: ``pool.spent``."""
        return f"{self.group}.{self.name}"

    def __repr__(self) -> str:
        """Show the label."""
        return f"<feature {self.label}>"


class Group:
    """Features that are built in, in the order in which they are defined.

    Attributes:
        name: of the group.
        features: those defined so far.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.features: list[BuiltIn] = []

    def define(self, meaning: str) -> Callable[[Callable[..., Any]], BuiltIn]:
        """Decorator: a function becomes the next feature.

        It takes the state, the number of the episode, ``i`` if it is of a branch slot, and any quantities of
        ``observation.quantities`` by their names; it returns a number in [0, 1].
        """

        def add(function: Callable[..., Any]) -> BuiltIn:
            self.features.append(BuiltIn(self.name, meaning, function))
            return self.features[-1]

        return add

    def repeat(self, feature: BuiltIn, meaning: str = "") -> None:
        """A feature of another group is the next one of this group too, under the same name."""
        again = copy(feature)
        again.group, again.meaning = self.name, meaning or feature.meaning
        self.features.append(again)


def feature(meaning: str, low: float = 0.0, high: float = 1.0) -> Callable[[Callable[..., Any]], Feature]:
    """Decorator: a function that gives one number of an observation, compiled by Numba.

    ::

        @feature("changes of the answers so far, squashed at 8")
        def restlessness(revealed, n):
            changes = revealed.pools[n].recorded
            return changes / (changes + 8)

        gym.make("AutoTTS-Replay-v0", observation=["evidence.price", "pool.top_share", restlessness])

    Args:
        meaning: what it shows, in a line.
        low: the least that it can be; less counts as this.
        high: the most; more counts as this.

    The function has the parameters ``(revealed, n)``, or ``(revealed, n, i)`` for a feature of every branch slot that
    is opened (0 for the others). ``revealed`` has the revealed arrays of ``autotts_gym.engine.layout.TABLE`` by name,
    such as ``revealed.slots[n, i].depth``, for reading; ``n`` is the episode. Define the function at the top level of
    a module. Where it gives no number (NaN), the step raises ``ValueError``.

    Raises:
        AutottsError: the parameters are others, or the range is none.
    """
    check("feature: meaning", meaning, isinstance(meaning, str) and bool(meaning), "a line that says what it shows")

    def decorate(function: Callable[..., Any]) -> Feature:
        return Feature(function, meaning, low, high)

    return decorate
