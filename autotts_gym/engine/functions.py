"""Functions of users that kernels call: compiled once, when they are first used, and called by their address.

So a step with a user's reward or aggregator runs at the speed of the default one, and no kernel is compiled anew for
it.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar, Self, TypeVar

from numba import types
from numba.core import event
from numba.core.ccallback import CFunc
from numba.core.compiler import Compiler
from numba.core.errors import NumbaError
from numba.np import numpy_support

from autotts_gym.engine.addresses import REVEALED_STATE
from autotts_gym.engine.cache import KernelCache
from autotts_gym.engine.frozen import UnknownValueError
from autotts_gym.engine.jit import ApartCompiler
from autotts_gym.engine.layout import POOL
from autotts_gym.errors import AutottsError, plain, quote
from autotts_gym.extensions import is_reference, load

_RECORD = numpy_support.from_dtype(POOL)


class _Native(CFunc):
    """A function that is compiled by itself; Numba reports its compilation as it reports a kernel's."""

    def _compile_uncached(self) -> Any:
        with event.trigger_event("numba:compile", data={"dispatcher": self}):
            return super()._compile_uncached()  # type: ignore[misc]


_kept: list[Any] = []
"""Libraries of machine code: code that is called by its address is kept until the process ends."""


def machine_code(function: Callable[..., Any], signature: Any, what: str, apart: bool = False) -> int:
    """Compile a function, or load it from the cache; returns where its machine code is.

    Args:
        function: to be compiled.
        signature: the types of its arguments, and of what it returns.
        what: it is, for messages.
        apart: whether its arguments never overlap, see ``ApartCompiler``.

    Raises:
        AutottsError: it cannot be compiled.
    """
    compiled: Any = _Native(function, signature, {}, {"error_model": "numpy"}, ApartCompiler if apart else Compiler)
    with suppress(UnknownValueError):  # then it is compiled in every process, and never stale
        compiled._cache = KernelCache(function)
    try:
        compiled.compile()
    except (NumbaError, TypeError) as error:  # a TypeError where the parameters are others
        reason = next((line for line in str(error).splitlines()[1:] if line.strip()), str(error))
        raise AutottsError(f"{what}: Numba cannot compile it: {plain(reason)}") from error
    _kept.append(compiled._library)
    # The function itself, not its wrapper for C, which would print what it raises and go on.
    address: int = compiled._library.get_pointer_to_function(compiled.native_name.removeprefix("cfunc."))
    return address


class Compiled:
    """A user's function as a decorator makes it.

    Attributes:
        function: the function.
    """

    kind: ClassVar[str]
    _signature: Any

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.__name__ = self.__qualname__ = getattr(function, "__qualname__", "")
        self.__module__ = function.__module__
        self.__doc__ = function.__doc__
        self._address: int | None = None

    def __call__(self, *arguments: Any) -> Any:
        """Call the function in plain Python."""
        return self.function(*arguments)

    def __repr__(self) -> str:
        """Show module and name."""
        return f"<{self.kind} {self.__module__}.{self.__qualname__}>"

    def __reduce__(self) -> str:
        """Pickle by module and name, as functions do."""
        return self.__qualname__

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        """Return itself: it holds no state of an episode."""
        return self

    @property
    def address(self) -> int:
        """Where its machine code is, which is compiled or loaded when this is first asked for.

        Raises:
            AutottsError: it cannot be compiled.
        """
        if self._address is None:
            self._address = machine_code(self.function, self._signature, f"{self.kind} {self.__qualname__}")
        return self._address


class Reward(Compiled):
    """The reward of a step, as the decorator ``reward`` makes it."""

    kind = "reward"
    _signature = ((_RECORD, _RECORD, types.float64, types.float64), types.float64)


class Aggregator(Compiled):
    """How STOP answers, as the decorator ``aggregator`` makes it."""

    kind = "aggregator"
    _signature = ((REVEALED_STATE, types.int64), types.int64)


def reward(function: Callable[[Any, Any, float, float], float]) -> Reward:
    """Decorator: a function that gives the reward of a step, compiled by Numba.

    ::

        @reward
        def no_free_lunch(before, after, was_right, is_right):
            spent = after.total_tokens - before.total_tokens
            return (after.stop_reason == 1) * is_right - after.cost_weight * spent / after.token_unit

        gym.make("AutoTTS-Replay-v0", reward=no_free_lunch)  # or reward="path/to/file.py:no_free_lunch"

    Args:
        function: of four arguments. ``before`` and ``after`` are records of the episode before and after the step, with
            the fields of ``autotts_gym.engine.layout.POOL``; ``was_right`` and ``is_right`` are 1.0 where the answer
            that STOP would give then is right (after the end: the answer that was given), else 0.0. Returns a float.
            It may call other functions that Numba has compiled. Define it at the top level of a module.
    """
    return Reward(function)


def aggregator(function: Callable[[Any, int], int]) -> Aggregator:
    """Decorator: a function that says which answer STOP gives, compiled by Numba.

    ::

        @aggregator
        def latest_leader(revealed, n):
            return revealed.pools[n].leader

        gym.make("AutoTTS-Replay-v0", aggregator=latest_leader)  # or "path/to/file.py:latest_leader"
        evaluate(controller, store, aggregator=latest_leader)

    Args:
        function: of two arguments. ``revealed`` has the revealed arrays of ``autotts_gym.engine.layout.TABLE`` by name,
            such as ``revealed.slots[n, i].answer``, for reading; ``n`` is the episode. Returns the id of an answer that
            was seen; anything else is no answer. Define it at the top level of a module.
    """
    return Aggregator(function)


_Kind = TypeVar("_Kind", bound=Compiled)


def choose(family: type[_Kind], chosen: "_Kind | str | None") -> _Kind | None:
    """A user's function as it is or by reference; None: the default.

    Raises:
        AutottsError: it is none.
    """
    if chosen is None or isinstance(chosen, family):
        return chosen
    kind = family.kind
    if not is_reference(chosen):
        raise AutottsError(
            f"{kind}: expected None, what the decorator autotts_gym.{kind} makes, or a reference to it such as "
            f"file.py:name, got {quote(chosen)}"
        )
    found = load(kind, str(chosen))
    if not isinstance(found, family):
        raise AutottsError(f"{kind}: expected {plain(chosen)} to have the decorator autotts_gym.{kind}")
    return found
