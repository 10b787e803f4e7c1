"""Refuse work that cannot fit into memory before any memory is taken."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from autotts_gym.errors import AutottsError

_SMALL = 2**24  # bytes; less than what was loaded to get here, and not worth the dozen files that say what is left
_CGROUPS = Path("/sys/fs/cgroup")


def require_memory(what: str, size: int) -> None:
    """Refuse a piece of work whose estimated need is above the memory that is available.

    Args:
        what: the arguments that the need follows from, with their values, such as ``"seeds: 5000 orders"``.
        size: the estimate, in bytes; counted in Python's whole numbers, which do not overflow.

    Raises:
        AutottsError: it does not fit.
    """
    if size <= _SMALL:
        return
    available = available_memory()
    if size > available:
        raise AutottsError(
            f"{what}: expected to fit into the memory available, {_amount(available)}, got a need of about "
            f"{_amount(size)}"
        )


def available_memory() -> int:
    """Bytes that this process can still take: what the machine has, within the limits that are set for the process.

    Where the system reports none of them, what a process can address.
    """
    return min([sys.maxsize, *_machine(), *_cgroups(), *_limits()])


def _machine() -> Iterator[int]:
    """What the machine has left; where it does not say, what it has."""
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024
            return
    if hasattr(os, "sysconf") and {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= os.sysconf_names.keys():
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _cgroups() -> Iterator[int]:
    """What is left in each control group that the process is in; pages of files count as left, as they can go."""
    for line in _lines(Path("/proc/self/cgroup")):
        _, controllers, place = line.split(":", 2)
        if controllers == "":
            root, names = _CGROUPS, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root = _CGROUPS / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        folder = root / place.strip("/")
        for group in (folder, *folder.parents):
            if group.is_relative_to(root):
                yield from _left(group, *names)


def _left(group: Path, limit: str, used: str, files: str) -> Iterator[int]:
    top, now = _lines(group / limit), _lines(group / used)
    if top and now and top[0].isdigit():
        fields = dict(line.split(maxsplit=1) for line in _lines(group / "memory.stat"))
        yield max(int(top[0]) - int(now[0]) + int(fields.get(files, 0)), 0)


def _limits() -> Iterator[int]:
    """What is left of the limit on the process's addresses, as of ``ulimit -v``; all of it where that is not known."""
    if sys.platform != "win32":
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            taken = [int(line.split()[0]) * resource.getpagesize() for line in _lines(Path("/proc/self/statm"))]
            yield max(soft - sum(taken), 0)


def _lines(file: Path) -> list[str]:
    """The lines of a file of the system; none where there is no such file or it may not be read."""
    try:
        return file.read_text().splitlines()
    except OSError:
        return []


def _amount(size: int) -> str:
    """Bytes as text, such as ``1.5 GiB``."""
    value, units = size, ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    unit = units.pop(0)
    while value >= 1024 * 1024 and units:  # whole numbers: an estimate may be beyond all floats
        value, unit = value // 1024, units.pop(0)
    if value >= 1024 and units:
        return f"{value / 1024:.1f} {units[0]}"
    return f"{value:,} {unit}" if value < 10**9 else f"over {10**9:,} {unit}"
