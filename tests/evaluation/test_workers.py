"""Worker processes: what they are given, and that none outlives the process it works for."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autotts_gym.evaluation.workers import worker_pool

told: list[str] = []


def listen(*words: str) -> None:
    told.extend(words)


def repeat(_: int) -> list[str]:
    return told


def test_each_worker_begins_with_the_arguments_once() -> None:
    with worker_pool(1, listen, "a", "b") as pool:
        assert list(pool.map(repeat, range(2))) == [["a", "b"], ["a", "b"]]
    assert told == []


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


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
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
