"""Worker processes: what they are given, and that none outlives the process it works for."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autotts_gym.errors import AutottsError, ProgramError
from autotts_gym.evaluation.workers import WorkerLostError, worker_pool

heard: list[str] = []


def listen(*words: str) -> None:
    heard.extend(words)


def repeat(_: int) -> list[str]:
    return heard


def test_each_worker_begins_with_the_arguments_once() -> None:
    with worker_pool(1, listen, "a", "b") as pool:
        assert list(pool.map(repeat, range(2))) == [["a", "b"], ["a", "b"]]
    assert heard == []


def test_results_come_in_the_order_of_the_items() -> None:
    with worker_pool(2, listen) as pool:
        assert list(pool.map(str, range(20))) == [str(i) for i in range(20)]
        calls = [pool.submit(divmod, i, 3) for i in range(5)]
        assert [call.result() for call in reversed(calls)] == [divmod(i, 3) for i in reversed(range(5))]


def fail(kind: str) -> object:
    if kind == "ours":
        raise ProgramError("p.py", "timeout", "too slow", 3)
    if kind == "theirs":
        raise KeyError("missing")
    return lambda: None


def test_what_a_worker_raises_is_raised_here_and_the_pool_goes_on() -> None:
    with worker_pool(1, listen) as pool:
        with pytest.raises(ProgramError, match=r"^p\.py:3: timeout: too slow$"):
            pool.submit(fail, "ours").result()
        with pytest.raises(KeyError, match="missing") as caught:
            pool.submit(fail, "theirs").result()
        assert "in fail" in "".join(caught.value.__notes__)
        with pytest.raises(AutottsError, match=r"expected what can be sent between processes, got .*lambda"):
            pool.submit(fail, "unsendable").result()
        assert pool.submit(str, 1).result() == "1"


def die(how: str) -> None:
    if how == "exit":
        os._exit(3)
    if how != "kill" and os.fork() == 0:  # how: a file
        while not Path(how).exists():  # as long as this lives, the pipes that it has from its parent stay open
            time.sleep(0.05)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(sys.platform == "win32", reason="kills as POSIX does")
@pytest.mark.parametrize("when", ["at work", "with a descendant", "at its beginning"])
def test_a_worker_that_is_killed_is_an_error_at_once_and_ends_the_others(when: str, tmp_path: Path) -> None:
    file = tmp_path / "end"
    how = str(file) if when == "with a descendant" else "kill"
    try:
        with worker_pool(2, *((die, how) if when == "at its beginning" else (listen,))) as pool:
            pids = [worker.process.pid for worker in pool._workers]
            with pytest.raises(WorkerLostError, match="killed by SIGKILL, as the system does where memory runs out"):
                list(pool.map(die, [how] * 3))
            assert not any(running(pid) for pid in pids)
            with pytest.raises(WorkerLostError, match="SIGKILL"):
                pool.submit(str, 1)
    finally:
        file.touch()
    with worker_pool(1, listen) as pool:
        assert pool.submit(str, 1).result() == "1"


def test_a_worker_that_exits_is_an_error() -> None:
    with worker_pool(1, listen) as pool, pytest.raises(WorkerLostError, match="exit code 3 before its work was done"):
        pool.submit(die, "exit").result()


def test_a_script_that_starts_workers_unguarded_is_refused_whatever_is_sent_to_them(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("from autotts_gym.evaluation.workers import worker_pool\nworker_pool(2, len, bytes(1 << 22))\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "WorkerLostError: workers: a process ended with exit code 1" in done.stderr.splitlines()[-1]
    assert "below `if __name__ == '__main__':`" in done.stderr.splitlines()[-1]


def test_more_workers_than_memory_are_refused() -> None:
    with pytest.raises(
        AutottsError, match=r"^workers: 2147483647 processes: expected to fit into the memory available"
    ):
        worker_pool(2**31 - 1, listen)


SCRIPT = """\
import os, time
from autotts_gym.evaluation.workers import worker_pool
def begun():
    os.write(1, f"{os.getpid()}\\n".encode())
if __name__ == "__main__":
    pool = worker_pool(2, begun)
    for _ in range(4):
        pool.submit(time.sleep, 600)
    time.sleep(600)
"""


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals a process that its parent has died")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_process_that_is_killed(number: signal.Signals, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        workers = [int(process.stdout.readline()) for _ in range(2)]
        assert len(set(workers)) == 2
        assert all(running(pid) for pid in workers)
        os.kill(process.pid, number)
        process.wait()
    deadline = time.monotonic() + 20
    while any(running(pid) for pid in workers):
        assert time.monotonic() < deadline, "a worker outlived the process it worked for"
        time.sleep(0.05)
