"""The one decorator of compiled code: Numba, cached on disk, and recompiled when any kernel of the package changes."""

import time
from collections.abc import Callable
from typing import Any

import numba
from numba.core import event
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler

from autotts_gym.engine import cache


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function to machine code, without the interpreter lock, cached on disk; see ``engine/cache.py``."""
    dispatcher: Any = numba.njit(nogil=True, error_model="numpy")(function)
    dispatcher._cache = cache.KernelCache(function)  # what ``cache=True`` does, with a cache beside the source
    compiled: Callable[..., Any] = dispatcher
    return compiled


def inline(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that is part of the code of the kernels that call it, and of nothing else.

    It must not allocate: it borrows its arrays from the kernel without counting references, which would otherwise be
    done for every array of the state at every call and cost several times the transition itself.
    """
    return _part(function, forceinline=True)


def called(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function as ``inline`` does, but not anew for each place that it is called from.

    For what is large, called in several places and seldom done: copies of it take long to compile.
    """
    return _part(function, forceinline=False)


def _part(function: Callable[..., Any], forceinline: bool) -> Callable[..., Any]:
    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        "forceinline": forceinline,
        "_nrt": False,
        "no_cpython_wrapper": True,
        "no_cfunc_wrapper": True,
        "pipeline_class": _PartCompiler,
    }
    compiled: Callable[..., Any] = numba.njit(**options)(function)
    return compiled


class _PartLibrary(JITCodeLibrary):
    """Code that is neither optimised nor turned into machine code until it is part of a kernel's.

    Numba does both for every function by itself, with all that it calls in it: at each level of calls once more, which
    takes most of the time of a compilation.
    """

    def finalize(self) -> None:
        """Link what the function calls, and leave it at that."""
        self._raise_if_finalized()
        for library in dict.fromkeys(self._linking_libraries):
            self._reload_init.update(library._reload_init)
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalize_dynamic_globals()
        self._finalized = True

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout


class _PartCompiler(Compiler):
    """Compiles to a ``_PartLibrary``."""

    def _compile_core(self) -> Any:
        state = self.state
        state.library = _PartLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        state.flags.no_compile = True
        result = super()._compile_core()
        # Numba finds the code by an object of its own, of the type that Python would call; it is never called.
        nothing: dict[str, Any] = {}
        entry = nothing.__getitem__
        state.targetctx.insert_user_function(entry, result.fndesc, [result.library])
        return result._replace(entry_point=entry)


class ApartCompiler(Compiler):
    """Compiles a function whose arguments do not overlap: what it writes to one is not read through another.

    So the compiler need not read the state again after each number that is written.
    """

    def _compile_core(self) -> Any:
        self.state.flags.noalias = True
        return super()._compile_core()


class _Stopwatch(event.Listener):
    """Says that code is being compiled, and keeps how long that takes.

    Numba reports every compilation of the process, one at a time; kernels that a kernel calls are compiled within it.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._start = 0.0
        self._seconds = 0.0

    def on_start(self, event: Any) -> None:
        if not self._depth and not isinstance(event.data["dispatcher"]._cache, cache.KernelCache):
            return  # a function of another package
        if not self._depth:
            if not self._seconds:
                _announce()
            self._start = time.perf_counter()
        self._depth += 1

    def on_end(self, event: Any) -> None:
        if not self._depth:
            return
        self._depth -= 1
        if not self._depth:
            self._seconds += time.perf_counter() - self._start
            cache.record_seconds(self._seconds)


def _announce() -> None:
    cache.say_uncached()
    seconds = cache.last_seconds()
    last = "can take a minute" if seconds is None else f"took {seconds:.0f} s last time"
    cache.say_once(f"compiling its code for this machine, once, which {last}")


event.register("numba:compile", _Stopwatch())
