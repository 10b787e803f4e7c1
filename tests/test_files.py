"""Files are written whole or not at all, and what is no file is written to, not replaced."""

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from autotts_gym.errors import AutottsError
from autotts_gym.files import append, replacing, write_atomically

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs the devices and limits of Linux")
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_made_with_its_folders_and_nothing_else(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a" / "b" / "file", b"new")
    assert (tmp_path / "a" / "b" / "file").read_bytes() == b"new"
    assert entries(tmp_path / "a" / "b") == ["file"]


def test_a_new_file_has_the_permissions_that_the_process_gives(tmp_path: Path) -> None:
    earlier = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", b"x")
    finally:
        os.umask(earlier)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_a_file_that_is_replaced_passes_its_permissions_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "file").chmod(0o604)
    write_atomically(tmp_path / "file", b"new", durable=True)
    assert (tmp_path / "file").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o604


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_what_it_leads_to_is_written(there: bool, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    target, link = tmp_path / "data" / "file", tmp_path / "link"
    if there:
        target.write_bytes(b"old")
    link.symlink_to(Path("data") / "file")
    write_atomically(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert (entries(tmp_path), entries(tmp_path / "data")) == (["data", "link"], ["file"])


@LINUX
def test_a_device_is_written_to_and_stays_a_device() -> None:
    for name in ("/dev/null", "/dev/zero"):
        before = os.stat(name)
        write_atomically(name, b"x" * 10_000)
        after = os.stat(name)
        assert stat.S_ISCHR(after.st_mode)
        assert (before.st_ino, before.st_rdev) == (after.st_ino, after.st_rdev)


@LINUX
def test_a_link_to_a_device_leaves_the_device(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/null")
    write_atomically(tmp_path / "link", b"x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert (tmp_path / "link").is_symlink()


@LINUX
def test_a_full_device_is_reported() -> None:
    with pytest.raises(AutottsError, match=r"^/dev/full: cannot be written: No space left on device$"):
        write_atomically("/dev/full", b"x")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


@LINUX
def test_a_named_pipe_is_written_to(tmp_path: Path) -> None:
    pipe, data = tmp_path / "pipe", os.urandom(300_000)
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_atomically(pipe, data)
    reader.join(timeout=60)
    assert read == [data]
    assert pipe.is_fifo()
    assert entries(tmp_path) == ["pipe"]


WORDS = """\
import sys
from autotts_gym.files import write_atomically
print("before")
write_atomically(sys.argv[1], b"written\\n")
print("after")
"""


@LINUX
@pytest.mark.parametrize("name", ["/dev/stdout", "/proc/self/fd/1", "/dev/fd/1", "out"])
def test_what_the_process_prints_to_is_printed_to(name: str, tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        subprocess.run([sys.executable, "-c", WORDS, name], stdout=out, check=True, cwd=tmp_path)
    assert (tmp_path / "out").read_text() == "before\nwritten\nafter\n"
    piped = subprocess.run([sys.executable, "-c", WORDS, "/dev/stdout"], capture_output=True, check=True)
    assert piped.stdout == b"before\nwritten\nafter\n"
    assert entries(tmp_path) == ["out"]


def refused(path: Path) -> str:
    with pytest.raises(AutottsError, match="cannot be written") as caught:
        write_atomically(path, b"new")
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) <= 300
    return message


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("folder", "Is a directory"),
        ("file/below", "Not a directory"),
        ("a" * 300, "File name too long"),
        ("b/" * 3000 + "c", "File name too long"),
        ("loop", "symbolic link"),
        ("null\0byte", "null byte"),
        ("half \udcff\ud800", "surrogates"),
    ],
)
def test_what_cannot_be_written_is_reported_and_nothing_is_left(place: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    assert reason in refused(tmp_path / place)
    assert entries(tmp_path) == ["file", "folder", "loop"]
    assert entries(tmp_path / "folder") == []


def test_the_longest_name_that_the_system_takes_can_be_written(tmp_path: Path) -> None:
    write_atomically(tmp_path / ("a" * 255), b"x")
    assert entries(tmp_path) == ["a" * 255]


@pytest.mark.skipif(ROOT, reason="root may write everywhere")
def test_permissions_are_heeded(tmp_path: Path) -> None:
    (tmp_path / "file").touch(0o444)
    assert "Permission denied" in refused(tmp_path / "file")
    (tmp_path / "folder").mkdir(0o555)
    assert "Permission denied" in refused(tmp_path / "folder" / "file")


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    def fill(error: type[BaseException] | None) -> None:
        with replacing(tmp_path / "runs" / "one") as folder:
            folder.mkdir()
            (folder / "part").write_bytes(b"x")
            if error is not None:
                raise error

    for error in (OSError, KeyboardInterrupt):
        with pytest.raises((AutottsError, KeyboardInterrupt)):
            fill(error)
        assert entries(tmp_path / "runs") == []
    fill(None)
    assert entries(tmp_path / "runs") == ["one"]


def test_lines_are_added_at_the_end(tmp_path: Path) -> None:
    append(tmp_path / "new" / "lines", b"one\n")
    append(tmp_path / "new" / "lines", b"two\n", durable=True)
    assert (tmp_path / "new" / "lines").read_bytes() == b"one\ntwo\n"


# ------------------------------------------------------------------------------------------------- disks that are full

LIMIT = 8192
"""Bytes that a file may have in the processes below: a limit of the process stands in for a disk that is full."""

PREAMBLE = f"""\
import os, resource, signal, sys
from pathlib import Path
def fill():
    "From here on no file grows beyond the limit."
    resource.setrlimit(resource.RLIMIT_FSIZE, ({LIMIT}, {LIMIT}))
from autotts_gym.errors import AutottsError
folder = Path(sys.argv[1])
def refused(write):
    before = {{path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}}
    fill()
    try:
        write()
    except AutottsError as error:
        print(error)
    else:
        sys.exit("nothing was refused")
    after = {{path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}}
    assert before == after, (sorted(before), sorted(after))
"""

WRITERS: dict[str, str] = {
    "bytes": """
from autotts_gym.files import write_atomically
refused(lambda: write_atomically(folder / "file", os.urandom(10000)))""",
    "bytes over a file": """
from autotts_gym.files import write_atomically
write_atomically(folder / "file", b"old")
refused(lambda: write_atomically(folder / "file", os.urandom(10000)))""",
    "lines at the end of a file": """
from autotts_gym.files import append
append(folder / "file", b"x" * 8000)
refused(lambda: append(folder / "file", b"y" * 1000))""",
    "a folder": """
from autotts_gym.files import replacing
def write():
    with replacing(folder / "a" / "b") as temporary:
        temporary.mkdir()
        (temporary / "file").write_bytes(os.urandom(10000))
refused(write)""",
    "a store": """
from autotts_gym.replay.synthetic import synthesize
store = synthesize(questions=4, branches=64)
refused(lambda: store.save(folder / "store.h5"))""",
    "a store over a store": """
from autotts_gym.replay.synthetic import synthesize
store = synthesize(questions=4, branches=64)
store.save(folder / "store.h5")
refused(lambda: store.save(folder / "store.h5"))""",
    "JSON of a store": """
from autotts_gym.replay.synthetic import synthesize
store = synthesize(questions=4, branches=64)
refused(lambda: store.to_autotts_json(folder / "store.json"))
store = synthesize(questions=40, branches=64)
refused(lambda: store.to_autotts_json(folder / "store.json.gz"))""",
    "TensorBoard's events": """
from autotts_gym.evaluation.tensorboard import EventLog
log = EventLog(folder / "run")
log.scalars({"a": 1.0}, 0)
log.flush()
def write():
    for i in range(1000):
        log.scalars({"a": 1.0}, i)
    log.flush()
refused(write)
refused(log.close)""",
}


@LINUX
@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_reported_and_leaves_what_was_there(name: str, tmp_path: Path) -> None:
    if name == "TensorBoard's events":
        pytest.importorskip("tensorboard")
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", PREAMBLE + WRITERS[name], tmp_path],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert all(line.endswith("cannot be written: File too large") for line in ended.stdout.splitlines())


@LINUX
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_is_killed_while_it_writes_leaves_the_earlier_file(end: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    code = (
        "import os, sys, time; from autotts_gym.files import write_atomically\n"
        "replace = os.replace\n"
        "def wait(*names): os.write(1, b'x'); time.sleep(600)\n"
        "os.replace = wait\n"
        "write_atomically(sys.argv[1], b'new')"
    )
    with subprocess.Popen([sys.executable, "-c", code, tmp_path / "file"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        process.send_signal(end)
        process.wait()
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A disk of 40 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount: Callable[..., subprocess.CompletedProcess[bytes]] = subprocess.run
    try:
        mounted = mount(["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", folder], capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no mount here; a limit on the size of files stands in for it above")
    if mounted.returncode:
        pytest.skip("a disk cannot be mounted here; a limit on the size of files stands in for it above")
    return folder


@LINUX
def test_a_store_does_not_fit_on_a_small_disk(small_disk: Path) -> None:
    code = (
        "import sys; from autotts_gym.errors import AutottsError\n"
        "from autotts_gym.replay.synthetic import synthesize\n"
        "try: synthesize(questions=100, branches=128).save(sys.argv[1])\n"
        "except AutottsError as error: print(error)\n"
    )
    try:
        ended = subprocess.run(
            [sys.executable, "-c", code, small_disk / "store.h5"], capture_output=True, text=True, timeout=300
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout == f"{small_disk / 'store.h5'}: cannot be written: No space left on device\n"
        assert entries(small_disk) == []
    finally:
        subprocess.run(["umount", small_disk], check=True)
