"""The layers that confine a process, each a function that applies it to the calling process for good.

Standard library only: the process that is confined loads this file by itself, without the rest of the package.
"""

import ctypes
import errno
import os
import resource
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

_libc = ctypes.CDLL(None, use_errno=True)

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_TSC, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 26, 38
_PR_TSC_SIGSEGV = 2
_SECCOMP_MODE_FILTER = 2
_FAILED = ctypes.c_void_p(-1).value  # of mmap
_KILL_PROCESS, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000

# The calls that a running interpreter needs if it opens no file, starts no process and knows no other: for its socket,
# its memory, its signals and its end. AUDIT_ARCH and the numbers of the calls, by machine.
_CALLS: dict[str, tuple[int, dict[str, int]]] = {
    "x86_64": (
        0xC000003E,
        {
            "read": 0,
            "write": 1,
            "close": 3,
            "mmap": 9,
            "mprotect": 10,
            "munmap": 11,
            "brk": 12,
            "rt_sigaction": 13,
            "rt_sigprocmask": 14,
            "rt_sigreturn": 15,
            "mremap": 25,
            "madvise": 28,
            "exit": 60,
            "sigaltstack": 131,
            "futex": 202,
            "restart_syscall": 219,
            "exit_group": 231,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "close": 57,
            "read": 63,
            "write": 64,
            "exit": 93,
            "exit_group": 94,
            "futex": 98,
            "restart_syscall": 128,
            "sigaltstack": 132,
            "rt_sigaction": 134,
            "rt_sigprocmask": 135,
            "rt_sigreturn": 139,
            "brk": 214,
            "munmap": 215,
            "mremap": 216,
            "mmap": 222,
            "mprotect": 226,
            "madvise": 233,
        },
    ),
}

# Calls that are allowed with some arguments only: for each test the offset of the argument's lower half, what it is
# compared by, the operand, and which outcome is allowed. Of the futex calls a process with one thread needs only
# those that wake no thread. Processes that map the same file can exchange messages by a futex that is not private, and
# a wait for a futex has a deadline, which is a clock. Huge pages come from a pool that all processes share,
# merged pages show by their delay what others hold, and memory that can be executed holds code that no Python wrote.
_EQUAL, _ANY_BIT = 0x15, 0x45
_EXECUTABLE = (32, _ANY_BIT, 4, False)  # PROT_EXEC
_ARGUMENTS: dict[str, tuple[tuple[int, int, int, bool], ...]] = {
    "futex": ((24, _EQUAL, 0x81, True),),  # FUTEX_WAKE | FUTEX_PRIVATE_FLAG
    "mmap": (_EXECUTABLE, (40, _ANY_BIT, 0x40000, False)),  # MAP_HUGETLB
    "mprotect": (_EXECUTABLE,),
    "madvise": ((32, _EQUAL, 12, False),),  # MADV_MERGEABLE
}


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _prctl(option: int, value: int, more: object = 0) -> None:
    zero = ctypes.c_ulong(0)
    _checked(_libc.prctl(option, ctypes.c_ulong(value), more or zero, zero, zero), f"prctl {option}")


def die_with_parent(signal: int) -> None:
    """Have the kernel send a signal when the thread that forked this process ends."""
    _prctl(_PR_SET_PDEATHSIG, signal)


def mapped() -> tuple[int, int]:
    """Bytes of address space that this process takes, and of memory of its own among them."""
    with open("/proc/self/statm", "rb") as file:
        pages = file.read().split()
    return int(pages[0]) * resource.getpagesize(), int(pages[5]) * resource.getpagesize()


def find_number() -> set[int]:
    """Where the C library may keep the number of this process: words behind its thread that are equal to it."""
    return {k for k, word in enumerate(_thread_words()) if word == os.getpid()}


def forget_number(places: set[int]) -> None:
    """Overwrite the number of this process, which grows from one to the next and so shows how many came before."""
    words = _thread_words()
    for k in places & find_number():
        words[k] = 2


def _thread_words() -> Any:
    """The first KiB of what the C library knows of this thread."""
    _libc.pthread_self.restype = ctypes.c_void_p
    return (ctypes.c_int32 * 256).from_address(_libc.pthread_self())


def rlimits(memory: int, data: int, cpu_seconds: int) -> None:
    """Bound address space, memory of its own (bytes) and CPU time; no files, no processes, no core. Lower limits stay.

    The address space alone is not enough, as a process can unmap its libraries and use their space.
    """
    for limit, *wanted in (
        (resource.RLIMIT_AS, memory, memory),
        (resource.RLIMIT_DATA, data, data),
        (resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + 1),
        (resource.RLIMIT_NPROC, 0, 0),
        (resource.RLIMIT_FSIZE, 0, 0),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_NOFILE, 4, 4),
    ):
        _, most = resource.getrlimit(limit)
        soft, hard = (each if most == resource.RLIM_INFINITY else min(each, most) for each in wanted)
        resource.setrlimit(limit, (soft, hard))


def no_new_privs() -> None:
    """Nothing that is executed gains privileges; and no other process of the user may look into this one."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)


class Vdso(NamedTuple):
    """The code that the kernel maps into every process to read the clock without a call, and the pages with the time.

    Attributes:
        clocks: address and bytes of each mapping that holds the time.
        start: address of the code.
        mute: the code, in which every function is replaced by one that fails.
    """

    clocks: tuple[tuple[int, int], ...]
    start: int
    mute: bytes


def find_vdso() -> Vdso:
    """Where this process, and each that it forks, would read the clock.

    Raises:
        OSError: it can't be found here.
        ValueError: its functions can't be distinguished.
    """
    machine = os.uname().machine
    if machine != "x86_64":
        raise OSError(errno.ENOSYS, f"clock: expected a processor of x86_64, whose clock can be taken, got {machine}")
    places: dict[str, list[tuple[int, int]]] = {}
    with open("/proc/self/maps", encoding="ascii", errors="replace") as file:
        for line in file:
            where, *_, name = line.split()
            first, end = (int(each, 16) for each in where.split("-"))
            places.setdefault(name[:5], []).append((first, end - first))
    if len(places.get("[vdso", ())) != 1:
        raise OSError(errno.ENOENT, "clock: expected one mapping named [vdso]")
    ((start, size),) = places["[vdso"]
    image = bytearray(ctypes.string_at(start, size))
    functions = _functions(image)
    if not functions:
        raise ValueError("clock: expected functions in the mapping named [vdso]")
    for at in functions:
        image[at : at + 8] = b"\x48\xc7\xc0\xff\xff\xff\xff\xc3"  # return -EPERM
    return Vdso(tuple(places.get("[vvar", ())), start, bytes(image))


def _functions(image: bytes | bytearray) -> list[int]:
    """Where the functions of an ELF image of 64 bits begin."""
    try:
        table, entry, count = struct.unpack_from("<Q", image, 40)[0], *struct.unpack_from("<HH", image, 58)
        found = []
        for at in range(table, table + entry * count, entry):
            (kind,), (first, length) = (
                struct.unpack_from("<I", image, at + 4),
                struct.unpack_from("<QQ", image, at + 24),
            )
            if kind == 11:  # symbols, each: name, type, ..., value, size
                symbols = struct.iter_unpack("<IBBHQQ", image[first : first + length])
                found += [value for _, symbol, _, _, value, _ in symbols if symbol & 15 == 2]
    except struct.error as error:
        raise ValueError(f"clock: expected an ELF image in the mapping named [vdso], got {error}") from error
    return found


_PROT_READ, _PROT_WRITE, _PROT_EXEC, _MAP_PRIVATE, _MAP_ANONYMOUS = 1, 2, 4, 2, 32
_MREMAP_MAYMOVE, _MREMAP_FIXED = 1, 2


def clock(vdso: Vdso) -> None:
    """Reading the processor's counter or the kernel's pages ends the process; the vDSO's functions fail with EPERM.

    In every round all processes wait for the slowest. A process that could measure its wait would know of others.
    """
    for name in ("mmap", "mremap"):
        getattr(_libc, name).restype = ctypes.c_void_p
    size = ctypes.c_size_t(len(vdso.mute))
    _prctl(_PR_SET_TSC, _PR_TSC_SIGSEGV)
    new = _libc.mmap(None, size, _PROT_READ | _PROT_WRITE, _MAP_PRIVATE | _MAP_ANONYMOUS, -1, ctypes.c_long(0))
    _checked(-1 if new == _FAILED else 0, "mmap")
    ctypes.memmove(new, vdso.mute, len(vdso.mute))
    _checked(_libc.mprotect(ctypes.c_void_p(new), size, _PROT_READ | _PROT_EXEC), "mprotect")
    flags = _MREMAP_MAYMOVE | _MREMAP_FIXED
    moved = _libc.mremap(ctypes.c_void_p(new), size, size, flags, ctypes.c_void_p(vdso.start))
    _checked(-1 if moved == _FAILED else 0, "mremap")
    for start, length in vdso.clocks:
        _checked(_libc.munmap(ctypes.c_void_p(start), ctypes.c_size_t(length)), "munmap")


def _instruction(code: int, if_true: int, if_false: int, value: int) -> bytes:
    """One instruction of classic BPF."""
    return struct.pack("=HBBI", code, if_true, if_false, value)


def seccomp() -> None:
    """Allow the calls of the list; others fail with EPERM, and one of another architecture ends the process."""
    machine = os.uname().machine
    if machine not in _CALLS:
        raise OSError(errno.ENOSYS, f"seccomp: no list of system calls for {machine}")
    architecture, calls = _CALLS[machine]
    load, ret = 0x20, 0x06
    program = _instruction(load, 0, 0, 4) + _instruction(_EQUAL, 1, 0, architecture)
    program += _instruction(ret, 0, 0, _KILL_PROCESS) + _instruction(load, 0, 0, 0)
    others = sorted(number for name, number in calls.items() if name not in _ARGUMENTS)
    left = sum(1 + 2 * len(tests) for tests in _ARGUMENTS.values()) + len(others)  # before: to refuse, and to allow
    for name, tests in _ARGUMENTS.items():
        left -= 1
        program += _instruction(_EQUAL, 0, 2 * len(tests), calls[name])
        for k, (offset, test, operand, allowed) in enumerate(tests):
            left -= 2
            good, bad = (left + 1 if k + 1 == len(tests) else 0), left
            program += _instruction(load, 0, 0, offset)
            program += _instruction(test, *((good, bad) if allowed else (bad, good)), operand)
    for number in others:
        left -= 1
        program += _instruction(_EQUAL, left + 1, 0, number)
    program += _instruction(ret, 0, 0, _ERRNO | errno.EPERM) + _instruction(ret, 0, 0, _ALLOW)

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    held = ctypes.create_string_buffer(program, len(program))
    filtered = Program(len(program) // 8, ctypes.cast(held, ctypes.c_char_p))
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(filtered))


_LANDLOCK_CREATE, _LANDLOCK_RESTRICT = 444, 446


def landlock() -> None:
    """No path of any file system can be opened, made or executed; from ABI 4 on no TCP, from 6 on no signals out."""
    abi = _checked(_libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1), "landlock")
    file_rights = {1: 13, 2: 14, 3: 15, 4: 15}.get(abi, 16)
    rules = [(1 << file_rights) - 1]
    if abi >= 4:
        rules.append(0b11)  # bind and connect TCP
    if abi >= 6:
        rules.append(0b11)  # abstract sockets and signals
    attributes = struct.pack(f"={len(rules)}Q", *rules)
    ruleset = _checked(
        _libc.syscall(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0), "landlock_create_ruleset"
    )
    try:
        _checked(_libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0), "landlock_restrict_self")
    finally:
        os.close(ruleset)


_NEW_NS, _NEW_UTS, _NEW_IPC, _NEW_USER, _NEW_PID, _NEW_NET = (
    0x00020000,
    0x04000000,
    0x08000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
_MS_REC, _MS_PRIVATE, _MS_RDONLY = 0x4000, 0x40000, 1


def namespaces() -> None:
    """Users, mounts, network, IPC and host name of its own; children forked from now on have their own process ids."""
    _checked(_libc.unshare(_NEW_USER | _NEW_PID | _NEW_NET | _NEW_IPC | _NEW_UTS | _NEW_NS), "unshare")


def empty_root() -> None:
    """In a mount namespace of its own: replace every file by an empty, read-only folder."""
    _checked(_libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None), "mount")
    _checked(_libc.mount(b"none", b"/tmp", b"tmpfs", _MS_RDONLY, b"size=4k"), "mount")
    os.chroot("/tmp")
    os.chdir("/")


def confine(limits: tuple[int, int, int], wanted: frozenset[str], vdso: Vdso | None = None) -> dict[str, str]:
    """Apply the wanted layers of a process that is about to run a program.

    Args:
        limits: those of ``rlimits``.
        wanted: names of layers.
        vdso: what ``clock`` takes.

    Returns:
        Why not, for each that could not be applied.
    """
    steps: tuple[tuple[str, Callable[[], None]], ...] = (
        ("no_new_privs", no_new_privs),
        ("landlock", landlock),
        ("rlimits", lambda: rlimits(*limits)),
        *((("clock", lambda: clock(vdso)),) if vdso else ()),
        ("seccomp", seccomp),
    )
    failed: dict[str, str] = {}
    for name, apply in steps:
        if name in wanted:
            try:
                apply()
            except (OSError, ValueError) as error:
                failed[name] = str(error)
    return failed
