"""Where compiled code is kept: the user's cache folder, never beside the sources.

::

    <cache>/<version>-<python>-<numba>-<digest>/
      transition.act_all-….nbc  the machine code of a kernel for one signature
      seconds                the longest that a process has compiled for this folder
      said-<pid>             that process, or one that it started, has said that code is being compiled

``<cache>`` is ``autotts_gym/kernels`` in the user's cache folder (``~/.cache`` on Linux), or where that variable is set
``$NUMBA_CACHE_DIR/autotts_gym-kernels``. The digest is that of everything that machine code depends on: the sources of
all kernels, which call each other across files, the versions of Python, Numba, LLVM and NumPy, the processor, and
Numba's settings.

Loading machine code is running it. So a folder is used only if this user or root owns it and no other user may write
to it. The same is required of each file once it is open.
"""

import atexit
import contextlib
import hashlib
import os
import pickle
import platform
import secrets
import shutil
import stat
import sys
import time
from functools import lru_cache
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
import platformdirs
from llvmlite import binding
from numba.core import config
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile, _CacheLocator
from numba.core.runtime.nrt import rtsys

from autotts_gym.engine.frozen import digest_of
from autotts_gym.version import __version__

KEPT = 16
"""How many folders are kept when a new one is made: the ones used last."""

_CURE = "set NUMBA_CACHE_DIR to a folder of yours that can be written"
"""What to do where there is no folder."""

_PATIENCE = 3600.0
"""Seconds for which a message of another process counts as said; longer than any compilation."""

_IMPORTED = time.time()

_SETTINGS = (
    *("BOUNDSCHECK", "CPU_FEATURES", "CPU_NAME", "DEBUGINFO_DEFAULT", "ENABLE_AVX", "LLVM_REFPRUNE_PASS"),
    *("LOOP_VECTORIZE", "OPT", "SLP_VECTORIZE"),
)
"""Settings of Numba that change machine code, and are not in the keys of its own cache."""


_PACKAGE = Path(__file__).resolve().parent.parent

_COMPILED = (
    *("actions/effects.py", "controllers/decisions.py", "engine/*.py", "envs/steps.py", "evaluation/hindsight.py"),
    *("observation/*.py", "sandbox/messages.py", "sandbox/protocol.py", "units.py", "version.py"),
)
"""The packages with code and constants that are compiled."""


def _digest() -> str:
    """Digest of every source file whose code or constants are compiled into kernels."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in _COMPILED for path in _PACKAGE.glob(pattern)}):
        digest.update(path.read_bytes())
    return digest.hexdigest()


DIGEST = _digest()


def folder_name() -> str:
    """The name of the folder for the code of these sources on this machine with these versions and settings."""
    depends_on = (
        DIGEST,
        platform.python_version(),
        numba.__version__,
        llvmlite.__version__,
        np.__version__,
        platform.machine(),
        binding.get_host_cpu_name(),
        binding.get_host_cpu_features().flatten(),
        [(name, str(getattr(config, name, None))) for name in _SETTINGS],
    )
    digest = hashlib.sha256(repr(depends_on).encode()).hexdigest()[:16]
    python = f"py{platform.python_version()}"
    return f"{__version__}-{python}-numba{numba.__version__}-{digest}"


@lru_cache(1)
def folder() -> tuple[Path | None, str]:
    """The folder of this process, which is made if it is missing; or None, and why there is none."""
    try:
        root, ours = _root()
        current = root / folder_name()
        new = not current.exists()
        _make(current)
        for each in (ours, root, current):
            _check_owner(each, each.stat())
        if new:
            _clean(root, current)
        else:
            with contextlib.suppress(OSError):  # a folder that cannot be written is used as it is
                os.utime(current)
    except OSError as error:
        return None, str(error)
    return current, ""


def _root() -> tuple[Path, Path]:
    """The folder of all folders of kernels, and the first on the way to it that is this package's.

    Raises:
        OSError: there is no place for it.
    """
    chosen: str = getattr(config, "CACHE_DIR")  # noqa: B009 (Numba sets its settings at run time)
    if chosen:
        root = Path(chosen).absolute() / "autotts_gym-kernels"  # not the name of a package, as it may be anywhere
        return root, root
    ours = platformdirs.user_cache_path("autotts_gym", appauthor=False)
    if not ours.is_absolute():  # as where the home folder is not known
        raise FileNotFoundError(f"expected an absolute path of the user's cache folder, got {ours}")
    home = Path(os.path.expanduser("~"))
    if ours.is_relative_to(home) and not home.is_dir():
        raise FileNotFoundError(f"there is no home folder {home}")
    return ours / "kernels", ours


def _make(path: Path) -> None:
    """Make a folder and those above it, which only this user may write to, whatever the umask is."""
    for each in (*reversed(path.parents), path):
        with contextlib.suppress(FileExistsError):
            if not each.exists():
                each.mkdir(0o755)


def _check_owner(path: Path, status: os.stat_result) -> None:
    """Refuse a path that another user could have written.

    Raises:
        PermissionError: naming path and reason.
    """
    if not hasattr(os, "geteuid"):  # Windows, where the folder is in the user's profile, closed to others
        return
    if status.st_uid not in (0, os.geteuid()):
        raise PermissionError(f"{path} belongs to another user")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"others may write to {path}")


def _clean(root: Path, current: Path) -> None:
    """Remove the folders used longest ago, so that old versions do not fill the disk."""
    used = []
    for each in root.iterdir():
        with contextlib.suppress(OSError):  # another process may be cleaning
            if each != current and each.is_dir():
                used.append((each.stat().st_mtime, each))
    for _, each in sorted(used, reverse=True)[KEPT - 1 :]:
        shutil.rmtree(each, ignore_errors=True)  # likewise; the next cleaning removes what is left


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, which only this user may write to."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, 0o644)) as file:
            file.write(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def say(message: str) -> None:
    """Write a line to stderr, where there is one."""
    if sys.stderr is not None:
        print(f"autotts_gym: {message}", file=sys.stderr, flush=True)


# ---------------------------------------------------------------------------------------------------- how long it took


def last_seconds() -> float | None:
    """How long a process has compiled at most: for this folder or, before any has, for the one used last before it."""
    current, _ = folder()
    if current is None:
        return None
    records = {}
    for path in current.parent.glob("*/seconds"):
        with contextlib.suppress(OSError, ValueError):  # removed meanwhile, or damaged
            records[path.parent == current, path.stat().st_mtime] = float(path.read_text())
    return records[max(records)] if records else None


def record_seconds(seconds: float) -> None:
    """Keep how long this process has compiled so far, if none has longer."""
    current, _ = folder()
    if current is None:
        return
    path = current / "seconds"
    with contextlib.suppress(OSError, ValueError):  # it is worth no failure; ``save`` says what cannot be kept
        if not path.exists() or float(path.read_text()) < seconds:
            _write(path, f"{seconds:.3f}\n".encode())


def say_once(message: str) -> None:
    """Say something unless this process, the one that started it, or another that that one started, has said it."""
    current, _ = folder()
    if current is None:
        return
    parent = parent_process()
    path = current / f"said-{os.getpid() if parent is None else parent.pid}"
    since = _IMPORTED if parent is None else time.time() - _PATIENCE
    with contextlib.suppress(OSError):  # nothing has been said yet
        if path.stat().st_mtime < since:  # by an earlier process of this number, which was killed
            path.unlink()
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return
    except OSError:
        if parent is not None:
            return
    else:
        if parent is None:
            atexit.register(_forget, os.getpid(), path)
    say(message)


@lru_cache(1)
def say_uncached() -> None:
    """Say once, where there is no folder, that every process compiles anew; this one, not those that it starts."""
    current, reason = folder()
    if current is None and parent_process() is None:
        say(f"compiled code cannot be kept, so every process compiles it anew: {reason}; {_CURE}")


@lru_cache(1)
def _say_unwritable(reason: str) -> None:
    if parent_process() is None:
        say(f"compiled code cannot be kept, and will be compiled anew: {reason}; {_CURE}")


def _forget(process: int, path: Path) -> None:
    if os.getpid() == process:
        with contextlib.suppress(OSError):  # it is empty, and its folder is removed later
            path.unlink()


# ------------------------------------------------------------------------------------------------------ Numba's cache


class _Locator(_CacheLocator):
    """Gives Numba the folder, in place of its own locators, which begin with the folder of the source."""

    def __init__(self, function: Any, file: str) -> None:
        self._function, self._file = function, file

    def ensure_cache_path(self) -> None:
        _make(Path(self.get_cache_path()))  # another process may have cleaned it away

    def get_cache_path(self) -> str:
        return str(folder()[0] or "")

    def get_source_stamp(self) -> tuple[str, str]:
        file = Path(self._file).resolve()
        return DIGEST, _digest_of(file) if file.is_relative_to(_PACKAGE) else digest_of(self._function)

    def get_disambiguator(self) -> str:
        return f"{self._function.__module__}-{self._function.__code__.co_firstlineno}"

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> "_Locator":
        return cls(py_func, py_file)


@lru_cache
def _digest_of(source: Path) -> str:
    """Digest of a file of this package."""
    return hashlib.sha256(source.read_bytes()).hexdigest()


class _Impl(CompileResultCacheImpl):
    """Numba's way to turn compiled code into bytes and back."""

    _locator_classes = [_Locator]  # noqa: RUF012 (as the base class has it)


class _Entries(IndexDataCacheFile):
    """A file for each signature of a kernel, found by its name.

    Numba's own files have an index, which two processes that compile at the same time write over each other, so that an
    entry is lost, or leads to the code of another signature.
    """

    def flush(self) -> None:
        for path in Path(self._cache_path).glob(f"{self._index_name.removesuffix('.nbi')}.*.nbc"):
            path.unlink(missing_ok=True)

    def path(self, key: Any) -> Path:
        """The file of a signature."""
        name = hashlib.sha256(repr((self._source_stamp, key)).encode()).hexdigest()[:16]
        return Path(self._cache_path) / f"{self._index_name.removesuffix('.nbi')}.{name}.nbc"

    def load(self, key: Any) -> Any:
        """What was saved; None: nothing, or something that is damaged or that others could have written."""
        path = self.path(key)
        try:
            with path.open("rb") as file:
                _check_owner(path, os.fstat(file.fileno()))
                content = file.read()
        except OSError:
            return None
        digest, data = content[:32], content[32:]
        if hashlib.sha256(data).digest() != digest:  # as after a power cut
            return None
        saved, reduced = pickle.loads(data)
        return reduced if saved == (self._source_stamp, key) else None

    def save(self, key: Any, data: Any) -> None:
        content = self._dump(((self._source_stamp, key), data))
        _write(self.path(key), hashlib.sha256(content).digest() + content)


class KernelCache(FunctionCache):
    """The compiled code of one function, in ``folder``; where there is none, or it is full, in memory alone.

    Raises:
        UnknownValueError: it is a user's, and of something that it uses nothing says what it is.
    """

    _impl_class = _Impl

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        self._cache_file = _Entries(self._cache_path, self._impl.filename_base, self._impl.locator.get_source_stamp())
        if folder()[0] is None:
            self.disable()

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What was kept for a signature; None: nothing.

        Numba loads its complete compiler first, and SciPy with it, which takes as long as all the rest of a first step.
        Machine code needs none of that but the counting of references.
        """
        rtsys.initialize(target_context)
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled, if that is possible."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _say_unwritable(str(error))
