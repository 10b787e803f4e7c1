"""Inside a confined process: the modules that programs import, loaded before the process is forked.

Standard library only at import. A confined process can open no file, so the fork server must have loaded all modules
that a package loads when it is first used.
"""

import importlib
import random
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from autotts_gym.sandbox.protocol import ALLOWED_MODULES

LAZY = {
    "numpy": (
        *("numpy.char", "numpy.ctypeslib", "numpy.dtypes", "numpy.exceptions", "numpy.fft", "numpy.lib.scimath"),
        *("numpy.lib.stride_tricks", "numpy.linalg", "numpy.ma", "numpy.polynomial", "numpy.random", "numpy.rec"),
        *("numpy.strings", "numpy.typing"),
    ),
    "scipy": ("scipy.special", "scipy.stats"),
}
"""Modules that a package does not load by itself, but programs expect."""


def preload(packages: list[str]) -> None:
    """Load the modules of the standard library that programs may import, and these packages.

    Entropy is always the same, as a confined process has none: what seeds itself by it, such as
    ``numpy.random.default_rng()``, always gets the same seed.
    """
    random._urandom = bytes  # type: ignore[attr-defined]
    for name in [*sorted(ALLOWED_MODULES | {"collections.abc"}), *packages]:
        importlib.import_module(name)
        for more in LAZY.get(name, ()):
            importlib.import_module(more)


def importer(packages: frozenset[str]) -> Callable[..., Any]:
    """An ``__import__`` for one episode: of the list only, and with random numbers that are the episode's own.

    Args:
        packages: what may be imported beside the modules of the standard library.
    """
    own: dict[str, ModuleType] = {}

    def guarded(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        package = name.partition(".")[0]
        if level or package not in ALLOWED_MODULES | packages:
            raise ImportError(f"a program may not import {'.' * level}{name}")
        if name == "random":
            return own.get(name) or own.setdefault(name, own_random())
        module = __import__(name, {}, {}, fromlist, 0)
        if package != "numpy":
            return module
        numpy = own.get(package) or own.setdefault(package, own_numpy())
        if not fromlist or name == "numpy":
            return numpy
        return numpy.random if name == "numpy.random" else module

    return guarded


def own_random() -> ModuleType:
    """The module ``random`` with a generator of its own, always with the same seed."""
    module = ModuleType("random")
    generator = _Random()
    for name in random.__all__:
        bound = getattr(random, name)
        setattr(module, name, bound if isinstance(bound, type) else getattr(generator, name))
    vars(module)["Random"] = _Random
    return module


class _Random(random.Random):
    """``random.Random`` which, without a seed, always has the same one: there is neither entropy nor a clock."""

    def seed(self, a: Any = None, version: int = 2) -> None:
        super().seed(0 if a is None else a, version)


def own_numpy() -> ModuleType:
    """The module ``numpy`` whose ``random`` has a generator of its own, made when it is first asked for."""
    numpy = sys.modules["numpy"]
    module = ModuleType("numpy")
    vars(module).update(vars(numpy))
    vars(module).pop("random", None)

    def absent(name: str) -> Any:
        if name != "random":
            return getattr(numpy, name)
        vars(module)[name] = own_numpy_random()
        return vars(module)[name]

    vars(module)["__getattr__"] = absent
    return module


def own_numpy_random() -> ModuleType:
    """The module ``numpy.random``; its functions always have the same seed."""
    shared = sys.modules["numpy.random"]
    module = ModuleType("numpy.random")
    generator = vars(shared)["RandomState"](0)
    own = {name: getattr(generator, name) for name in vars(shared)["__all__"] if hasattr(generator, name)}
    vars(module).update(vars(shared), **own, ranf=generator.random_sample, sample=generator.random_sample)
    return module
