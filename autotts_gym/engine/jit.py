"""The one decorator of compiled code: Numba, cached on disk, and recompiled when any kernel of the package changes."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba


def _digest() -> str:
    """Digest of every source file whose code or constants are compiled into kernels."""
    package = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    others = ("engine/handle.py", "engine/jit.py", "engine/layout.py", "engine/plan.py", "envs/features.py")
    for path in sorted([*package.rglob("kernels.py"), *(package / name for name in others)]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


_DIGEST = _digest()


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function to machine code, without the interpreter lock, cached on disk.

    Numba keys its cache by the file of the function alone, so that a kernel keeps the old code of the kernels that it
    calls from other files; the digest of all of them in the cache's stamp makes such an entry stale.
    """
    dispatcher: Any = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    cache_file = dispatcher._cache._cache_file
    cache_file._source_stamp = (cache_file._source_stamp, _DIGEST)
    compiled: Callable[..., Any] = dispatcher
    return compiled


def inline(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that is part of the code of the kernels that call it.

    It must not allocate: it borrows its arrays from the kernel without counting references, which would otherwise be
    done for every array of the state at every call and cost several times the transition itself.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "forceinline": True, "_nrt": False}
    compiled: Callable[..., Any] = numba.njit(**options)(function)
    return compiled
