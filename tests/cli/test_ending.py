"""How commands end when standard output, standard error or the system fail them."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from autotts_gym.cli import ending
from autotts_gym.errors import AutottsError
from autotts_gym.files import replacing

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs the shell and the devices of Linux")

COMMAND = f"{sys.executable} -m autotts_gym.cli.main"


def shell(line: str) -> subprocess.CompletedProcess[str]:
    """A line of a shell; PROGRAM is the command."""
    return subprocess.run(["bash", "-c", line.replace("PROGRAM", COMMAND)], capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("arguments", ["info synthetic/search", "info synthetic/search --json", "--help", "--version"])
def test_a_full_output_is_reported(arguments: str) -> None:
    done = shell(f"PROGRAM {arguments} > /dev/full")
    message = "autotts: error: standard output: cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (2, message)


def test_a_closed_output_is_reported() -> None:
    done = shell("PROGRAM info synthetic/search >&-")
    message = "autotts: error: standard output: expected an open one, got a closed one; try: > /dev/null\n"
    assert (done.returncode, done.stderr) == (2, message)


@pytest.mark.parametrize("errors", ["2>&-", "2>/dev/full"])
def test_errors_that_cannot_be_printed_still_end_with_exit_code_2(errors: str) -> None:
    done = shell(f"PROGRAM info missing {errors}")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
def test_closed_input_and_errors_do_no_harm(closed: str) -> None:
    done = shell(f"PROGRAM info synthetic/search {closed}")
    assert done.returncode == 0
    assert done.stdout.startswith("store")


def test_an_output_that_cannot_show_all_characters_shows_escapes(tmp_path: Path) -> None:
    done = shell(
        f"cd {tmp_path} && PROGRAM synth -o é.h5 --questions 1 --branches 1 > /dev/null && "
        "PYTHONIOENCODING=ascii PROGRAM info é.h5"
    )
    assert done.returncode == 0
    assert "\\xe9" in done.stdout


def test_sigterm_ends_what_is_being_done_with_nothing_left(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def work() -> int:
        with replacing(tmp_path / "folder") as folder:
            folder.mkdir()
            signal.raise_signal(signal.SIGTERM)
        return 0

    assert ending.run(work, "x") == 143
    assert capsys.readouterr().err == "x: terminated\n"
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (AutottsError("a: b"), "x: error: a: b\n"),
        (MemoryError(), "x: error: memory: expected enough for this, but it ran out: MemoryError\n"),
        (OSError(24, "Too many open files"), "x: error: the system: Too many open files; raise this limit"),
        (FileNotFoundError(2, "No such file or directory", "f"), "x: error: f: No such file or directory\n"),
    ],
)
def test_what_the_system_refuses_is_one_line(
    error: Exception, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> int:
        raise error

    assert ending.run(work, "x") == 2
    assert capsys.readouterr().err.startswith(message)


@pytest.mark.parametrize("handles", [64, 14, 9, 5])
def test_an_evaluation_with_few_open_files_works_or_says_so(handles: int) -> None:
    stores = "synthetic/search synthetic/heldout"
    done = shell(f"ulimit -n {handles}; PROGRAM evaluate {stores} --controller sc --beta 0 --seeds 2 --workers 2")
    if handles == 64:
        assert done.returncode == 0, done.stderr
    if done.returncode:
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert "Too many open files" in done.stderr


def test_an_evaluation_needs_no_proc() -> None:
    hidden = shell("unshare -rm mount -t tmpfs none /proc")
    if hidden.returncode:
        pytest.skip(f"/proc cannot be hidden here: {hidden.stderr.strip()}")
    play = "PROGRAM evaluate synthetic/search synthetic/heldout --controller sc --beta 0 --seeds 2 --workers 2"
    done = shell(f"unshare -rm sh -c 'mount -t tmpfs none /proc && {play}'")
    assert done.returncode == 0, done.stderr


def test_an_interrupt_says_what_to_do_after_it(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        raise KeyboardInterrupt

    assert ending.run(work, after=lambda: "go on") == 130
    assert capsys.readouterr().err == "interrupted; go on\n"


def test_a_fault_of_the_code_is_not_hidden() -> None:
    def work() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ending.run(work)
