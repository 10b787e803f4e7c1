"""Functions of users that kernels call: compiled once, when they are first used, and called by their address.

So a step with a user's reward runs at the speed of the default one, and no kernel is compiled anew for it.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.ccallback import CFunc
from numba.core.errors import NumbaError
from numba.extending import intrinsic
from numba.np import numpy_support

from autotts_gym.engine.cache import KernelCache
from autotts_gym.engine.layout import POOL
from autotts_gym.errors import AutottsError, plain, quote
from autotts_gym.extensions import is_reference, load

_RECORD = numpy_support.from_dtype(POOL)


class Reward:
    """The reward of a step, by a function of one's own, as the decorator ``reward`` makes it.

    Attributes:
        function: ``(before, after, was_right, is_right) -> float``; see ``reward``.
    """

    _signature = ((_RECORD, _RECORD, types.float64, types.float64), types.float64)

    def __init__(self, function: Callable[[Any, Any, float, float], float]) -> None:
        self.function = function
        self.__name__ = self.__qualname__ = getattr(function, "__qualname__", "")
        self.__module__ = function.__module__
        self.__doc__ = function.__doc__
        self._compiled: Any = None

    def __call__(self, before: Any, after: Any, was_right: float, is_right: float) -> float:
        """The reward of a step, in plain Python."""
        return self.function(before, after, was_right, is_right)

    def __repr__(self) -> str:
        """By module and name."""
        return f"<reward {self.__module__}.{self.__qualname__}>"

    def __reduce__(self) -> str:
        """Pickles by module and name, as functions do."""
        return self.__qualname__

    def __deepcopy__(self, memo: dict[int, object]) -> "Reward":
        """It holds no state of an episode: a copy is itself."""
        return self

    @property
    def address(self) -> int:
        """Where its machine code is, which is compiled or loaded when this is first asked for.

        Raises:
            AutottsError: it cannot be compiled.
        """
        if self._compiled is None:
            compiled: Any = CFunc(self.function, self._signature, {}, {"error_model": "numpy"})
            compiled._cache = KernelCache(self.function)
            try:
                compiled.compile()
            except NumbaError as error:
                first = next((line for line in str(error).splitlines()[1:] if line.strip()), str(error))
                raise AutottsError(f"reward {self.__qualname__}: Numba cannot compile it: {plain(first)}") from error
            self._compiled = compiled
        address: int = self._compiled.address
        return address


def reward(function: Callable[[Any, Any, float, float], float]) -> Reward:
    """Decorator: a function that gives the reward of a step, compiled by Numba.

    ::

        @reward
        def no_free_lunch(before, after, was_right, is_right):
            spent = after.total_tokens - before.total_tokens
            return (after.stop_reason == 1) * is_right - after.cost_weight * spent / 1e6

        gym.make("AutoTTS-Replay-v0", reward=no_free_lunch)  # or reward="path/to/file.py:no_free_lunch"

    Args:
        function: of four arguments. ``before`` and ``after`` are records of the episode before and after the step, with
            the fields of ``autotts_gym.engine.layout.POOL``; ``was_right`` and ``is_right`` are 1.0 where the answer
            that STOP would give then is right (after the end: the answer that was given), else 0.0. Returns a float.
            It may call other functions that Numba has compiled. Stands at the top of a module, so that it has a name.
    """
    return Reward(function)


def choose_reward(chosen: "Reward | str | None") -> Reward | None:
    """A reward as it is or by reference; None: the default one.

    Raises:
        AutottsError: it is none.
    """
    if chosen is None or isinstance(chosen, Reward):
        return chosen
    if not is_reference(chosen):
        raise AutottsError(
            "reward: expected None, what the decorator autotts_gym.reward makes, or a reference to it such as "
            f"file.py:name, got {quote(chosen)}"
        )
    found = load("reward", chosen)
    if not isinstance(found, Reward):
        raise AutottsError(f"reward: expected {plain(chosen)} to have the decorator autotts_gym.reward")
    return found


@intrinsic
def call_reward(_context: Any, address: Any, before: Any, after: Any, was_right: Any, is_right: Any) -> Any:
    """Call a reward by its address, inside a kernel."""

    def codegen(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        double = ir.DoubleType()
        kind = ir.FunctionType(double, [arguments[1].type, arguments[2].type, double, double])
        return builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), arguments[1:])

    return types.float64(types.int64, before, after, types.float64, types.float64), codegen
