"""Fresh processes that work for this one."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from typing import Any


def worker_pool(workers: int, begin: Callable[..., None], *arguments: Any) -> ProcessPoolExecutor:
    """A pool of fresh processes that leave interrupts to this one and, on Linux, are killed when it dies.

    Args:
        workers: processes.
        begin: called once in each with the arguments.
        arguments: sent to each once.
    """
    return ProcessPoolExecutor(workers, get_context("spawn"), _begin, (begin, *arguments))


def _begin(begin: Callable[..., None], *arguments: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        parent = parent_process()
        if parent is not None and os.getppid() != parent.pid:  # it died before that
            os._exit(1)
    begin(*arguments)
