"""What the machine code of a user's function is made of: its code, and the values that Numba freezes into it.

The text of its file does not say it: a constant may come from another file or from the environment, and the file may
have been edited since it was imported.
"""

import hashlib
from collections.abc import Iterator
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
from numba.core.dispatcher import Dispatcher

_KNOWN = ("autotts_gym", "builtins", "cmath", "math", "numba", "numpy")
"""Packages whose functions are known by their names: their versions or sources are part of every key of the cache."""


class UnknownValueError(Exception):
    """A function uses a value of which nothing says whether it is the same in another process."""


def digest_of(function: FunctionType) -> str:
    """Digest of a function's code, of the values of its globals, closure and defaults, and of all that it calls.

    Raises:
        UnknownValueError: a value is neither a number, a text, an array, a tuple of such, a module nor a function.
    """
    digest = hashlib.sha256()
    for part in _of_function(function, set()):
        digest.update(repr(part).encode())
    return digest.hexdigest()


def _of_function(function: FunctionType, seen: set[int]) -> Iterator[Any]:
    if id(function) in seen:  # it calls itself
        yield "again"
        return
    seen.add(id(function))
    names = set(_names(function.__code__))
    yield from _of_code(function.__code__)
    for name in sorted(names & function.__globals__.keys()):
        yield name
        yield from _of_value(function.__globals__[name], names, seen)
    cells: tuple[CellType, ...] = function.__closure__ or ()
    for value in (*(cell.cell_contents for cell in cells), *(function.__defaults__ or ())):
        yield from _of_value(value, names, seen)


def _names(code: CodeType) -> Iterator[str]:
    """The names of globals and attributes in a code object and those within it."""
    yield from code.co_names
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _names(each)


def _of_code(code: CodeType) -> Iterator[Any]:
    yield code.co_code, code.co_exceptiontable, code.co_names, code.co_varnames, code.co_freevars, code.co_argcount
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _of_code(each)
        else:
            yield each


def _of_value(value: Any, names: set[str], seen: set[int]) -> Iterator[Any]:
    """The parts of a value; of a module, the attributes with one of the names."""
    kind = type(value)
    yield kind.__name__
    if value is None or kind in (bool, int, float, complex, str, bytes):
        yield value
    elif isinstance(value, np.ndarray | np.generic):
        yield value.dtype.descr if value.dtype.names else value.dtype.str, value.shape, value.tobytes()
    elif isinstance(value, np.dtype):
        yield value.descr if value.names else value.str
    elif kind is tuple:
        for each in value:
            yield from _of_value(each, names, seen)
    elif isinstance(value, Dispatcher):
        yield sorted((name, repr(option)) for name, option in value.targetoptions.items())
        yield from _of_function(value.py_func, seen)
    elif isinstance(value, FunctionType) and not _is_known(value):
        yield from _of_function(value, seen)
    elif isinstance(value, ModuleType):
        yield value.__name__
        if not _is_known(value) and id(value) not in seen:
            seen.add(id(value))
            for name in sorted(names & vars(value).keys()):
                yield name
                yield from _of_value(getattr(value, name), names, seen)
    elif isinstance(value, np.ufunc):
        yield value.__name__
    elif isinstance(value, type | FunctionType | BuiltinFunctionType) and _is_known(value):
        yield value.__module__, value.__qualname__
    else:
        raise UnknownValueError(kind.__name__)


def _is_known(value: Any) -> bool:
    """Whether a module, or the module that a function or a class comes from, is one of those that are known."""
    name = value.__name__ if isinstance(value, ModuleType) else value.__module__
    return str(name).partition(".")[0] in _KNOWN
