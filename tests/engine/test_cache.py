"""Compiled code is kept in the user's cache folder, and nowhere else."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import autotts_gym
from autotts_gym.engine import cache

if os.environ.get("NUMBA_BOUNDSCHECK") == "1":
    pytest.skip("tests no access to arrays: they run once, without the checks of bounds", allow_module_level=True)

PACKAGE = Path(autotts_gym.__file__).parent
MODULE = """
import sys
from autotts_gym.engine.jit import kernel

@kernel
def double(x):
    return 2 * x

def twice(x):
    return double(x)

if __name__ == "__main__":
    print([double(eval(each)) for each in sys.argv[1:]])
"""
COMPILING = re.compile(r"autotts_gym: compiling its code for this machine, once, which (.*)\n")
posix = pytest.mark.skipif(os.name != "posix", reason="needs owners and modes of files")


@pytest.fixture
def module(tmp_path):
    path = tmp_path / "doubling.py"
    path.write_text(MODULE)
    return path


def environment(**variables):
    """The environment of a user whose caches are only where these variables say."""
    own = ("XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "HOME")
    return {name: value for name, value in os.environ.items() if name not in own} | {
        name: str(value) for name, value in variables.items()
    }


def start(module, *arguments, **variables):
    command = (sys.executable, module, *arguments)
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment(**variables))


def run(module, *arguments, **variables):
    """Runs the module in a process of its own; returns what it wrote to stdout and stderr."""
    process = start(module, *arguments, **variables)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out.strip(), err


def kept(folder):
    """The files of compiled code below a folder."""
    return sorted(path for path in Path(folder).rglob("*") if path.suffix in (".nbc", ".nbi"))


def test_code_is_compiled_once_and_said_to_be_once(module, tmp_path):
    out, err = run(module, "1", "2", "2.5", XDG_CACHE_HOME=tmp_path / "user")
    assert out == "[2, 4, 5.0]"
    assert COMPILING.fullmatch(err)[1] == "can take a minute"
    files = kept(tmp_path)
    assert len(files) == 2  # a file a signature
    assert all(path.is_relative_to(tmp_path / "user" / "autotts_gym" / "kernels") for path in files)
    assert run(module, "1", "2.5", XDG_CACHE_HOME=tmp_path / "user") == ("[2, 5.0]", "")
    assert kept(tmp_path) == files


def test_the_line_tells_how_long_it_took_last_time(module, tmp_path):
    run(module, "1", XDG_CACHE_HOME=tmp_path / "user")
    (record,) = tmp_path.rglob("seconds")
    assert 0 < float(record.read_text()) < 600
    record.write_text("37.2\n")
    _, err = run(module, "2.5", XDG_CACHE_HOME=tmp_path / "user")
    assert COMPILING.fullmatch(err)[1] == "took 37 s last time"
    assert record.read_text() == "37.2\n"  # the longest of one process
    (tmp_path / "user" / "autotts_gym" / "kernels" / cache.folder_name()).rename(
        record.parent.with_name("an older version")
    )
    _, err = run(module, "1", XDG_CACHE_HOME=tmp_path / "user")
    assert COMPILING.fullmatch(err)[1] == "took 37 s last time"


def test_a_damaged_record_of_the_time_does_no_harm(module, tmp_path):
    run(module, "1", XDG_CACHE_HOME=tmp_path / "user")
    (record,) = tmp_path.rglob("seconds")
    record.write_text("nonsense")
    out, err = run(module, "2.5", XDG_CACHE_HOME=tmp_path / "user")
    assert out == "[5.0]"
    assert COMPILING.fullmatch(err)


def test_the_folder_that_numba_is_given_is_used(module, tmp_path):
    run(module, "1", NUMBA_CACHE_DIR=tmp_path / "chosen", XDG_CACHE_HOME=tmp_path / "user")
    assert len(kept(tmp_path / "chosen" / "autotts_gym-kernels")) == 1
    assert not (tmp_path / "user").exists()


@posix
def test_without_xdg_the_folder_is_in_the_home_folder(module, tmp_path):
    run(module, "1", HOME=tmp_path)
    below = "Library/Caches" if sys.platform == "darwin" else ".cache"
    assert len(kept(tmp_path / below / "autotts_gym" / "kernels")) == 1


@posix
@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"HOME": "/there/is/none"}, "there is no home folder /there/is/none"),
        ({"XDG_CACHE_HOME": "/dev/null/cache"}, "/dev/null"),
        ({"NUMBA_CACHE_DIR": "/dev/null/cache"}, "/dev/null"),
    ],
    ids=str,
)
def test_without_a_folder_code_is_compiled_in_memory_and_that_is_said_once(module, variables, reason):
    out, err = run(module, "1", "2.5", **variables)
    assert out == "[2, 5.0]"
    assert err.count("\n") == 1
    assert "every process compiles it anew" in err
    assert reason in err
    assert "NUMBA_CACHE_DIR" in err
    assert not Path("/there").exists()


@posix
def test_a_folder_that_cannot_be_written_to_is_said_once(module, tmp_path):
    full = "import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"  # as a full disk, even for root
    command = (sys.executable, "-c", f"{full}; runpy.run_path({str(module)!r}, run_name='__main__')", "1", "2.5")
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment(XDG_CACHE_HOME=tmp_path / "user")
    )
    said = done.stderr.splitlines()
    assert len(said) == 2
    assert "compiling its code" in said[0]
    assert "cannot be kept, and will be compiled anew" in said[1]
    assert kept(tmp_path) == []
    assert not list(tmp_path.rglob("*.tmp"))


@posix
@pytest.mark.parametrize(
    ("folder", "mode"),
    [
        ("autotts_gym", 0o777),
        ("autotts_gym/kernels", 0o1777),
        (f"autotts_gym/kernels/{cache.folder_name()}", 0o775),
    ],
    ids=["the package's", "all", "this version's"],
)
def test_a_folder_that_others_may_write_to_is_not_used(module, tmp_path, folder, mode):
    folder = tmp_path / "user" / folder
    folder.mkdir(parents=True)
    folder.chmod(mode)
    out, err = run(module, "1", XDG_CACHE_HOME=tmp_path / "user")
    assert out == "[2]"
    assert f"others may write to {folder}" in err
    assert kept(tmp_path) == []


@posix
@pytest.mark.skipif(os.name == "posix" and os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_not_used(module, tmp_path):
    folder = tmp_path / "user" / "autotts_gym"
    folder.mkdir(parents=True)
    os.chown(folder, 12345, 12345)
    out, err = run(module, "1", XDG_CACHE_HOME=tmp_path / "user")
    assert out == "[2]"
    assert f"{folder} belongs to another user" in err
    assert kept(tmp_path) == []


@posix
def test_a_file_that_others_could_have_written_is_compiled_again(module, tmp_path):
    run(module, "1", XDG_CACHE_HOME=tmp_path / "user")
    (file,) = kept(tmp_path)
    file.chmod(0o666)
    out, err = run(module, "1", XDG_CACHE_HOME=tmp_path / "user")
    assert out == "[2]"
    assert COMPILING.fullmatch(err)
    assert file.stat().st_mode & 0o022 == 0


@posix
def test_the_umask_opens_the_cache_to_nobody(module, tmp_path):
    before = os.umask(0)
    try:
        run(module, "1", XDG_CACHE_HOME=tmp_path / "user")
    finally:
        os.umask(before)
    made = [*(tmp_path / "user").rglob("*"), tmp_path / "user"]
    assert [path for path in made if path.stat().st_mode & 0o022] == []
    assert run(module, "1", XDG_CACHE_HOME=tmp_path / "user") == ("[2]", "")


@pytest.mark.parametrize("damage", [b"", b"\0" * 64, None], ids=["empty", "zeros", "cut"])
def test_a_damaged_file_is_compiled_again(module, tmp_path, damage):
    run(module, "1", XDG_CACHE_HOME=tmp_path / "user")
    (file,) = kept(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[:-7] if damage is None else damage)
    out, err = run(module, "1", XDG_CACHE_HOME=tmp_path / "user")
    assert out == "[2]"
    assert COMPILING.fullmatch(err)
    assert run(module, "1", XDG_CACHE_HOME=tmp_path / "user") == ("[2]", "")


def test_a_change_of_a_file_makes_its_code_stale(module, tmp_path):
    run(module, "1", XDG_CACHE_HOME=tmp_path / "user")
    module.write_text(MODULE.replace("2 * x", "3 * x"))
    assert run(module, "1", XDG_CACHE_HOME=tmp_path / "user")[0] == "[3]"


def test_settings_that_change_the_code_have_a_folder_of_their_own(module, tmp_path):
    run(module, "1", XDG_CACHE_HOME=tmp_path / "user", NUMBA_BOUNDSCHECK="0")
    _, err = run(module, "1", XDG_CACHE_HOME=tmp_path / "user", NUMBA_BOUNDSCHECK="1")
    assert COMPILING.fullmatch(err)
    assert len({file.parent for file in kept(tmp_path)}) == 2


def test_processes_that_compile_at_the_same_time_disturb_nothing(module, tmp_path):
    arguments = [("1",), ("2.5",), ("True",), ("1j",), ("1", "2.5"), ("2.5", "1")]
    processes = [start(module, *each, XDG_CACHE_HOME=tmp_path / "user") for each in arguments]
    for each, process in zip(arguments, processes, strict=True):
        out, err = process.communicate()
        assert process.returncode == 0, err
        assert out.strip() == str([2 * eval(value) for value in each])
    files = kept(tmp_path)
    assert len(files) == 4
    assert not list(tmp_path.rglob("*.tmp"))
    assert run(module, "1", "2.5", "True", "1j", XDG_CACHE_HOME=tmp_path / "user") == ("[2, 5.0, 2, 2j]", "")


def test_folders_of_old_versions_do_not_pile_up(module, tmp_path):
    kernels = tmp_path / "user" / "autotts_gym" / "kernels"
    now = time.time()
    for k in range(cache.KEPT + 5):
        (kernels / f"old-{k}").mkdir(parents=True)
        (kernels / f"old-{k}" / "code.nbc").write_bytes(b"code")
        os.utime(kernels / f"old-{k}", (now - 100 * k, now - 100 * k))
    for each in (kernels, kernels.parent):
        each.chmod(0o755)
    run(module, "1", XDG_CACHE_HOME=tmp_path / "user")
    left = {path.name for path in kernels.iterdir()}
    assert left == {cache.folder_name(), *(f"old-{k}" for k in range(cache.KEPT - 1))}


WORKERS = """
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

sys.path.insert(0, {folder!r})
import doubling

if __name__ == "__main__":
    if {first}:
        doubling.double(1)
    with ProcessPoolExecutor(3, get_context({method!r})) as pool:
        print(list(pool.map(doubling.twice, [1, 2, 3, 2.5, 3.5, 4.5, True, 1j])))
"""


@pytest.mark.parametrize(("method", "first"), [("spawn", True), ("spawn", False), ("fork", False)])
def test_worker_processes_do_not_each_say_that_they_compile(module, tmp_path, method, first):
    if os.name != "posix" and method != "spawn":
        pytest.skip("starts processes by spawn alone")
    script = tmp_path / "workers.py"
    script.write_text(WORKERS.format(folder=str(module.parent), method=method, first=first))
    out, err = run(script, XDG_CACHE_HOME=tmp_path / "user")
    assert out == "[2, 4, 6, 5.0, 7.0, 9.0, 2, 2j]"
    assert COMPILING.fullmatch(err), err
    assert run(script, XDG_CACHE_HOME=tmp_path / "user") == (out, "")


def test_no_kernel_of_the_package_is_kept_beside_the_code():
    assert kept(PACKAGE) == []
