"""The agents are tested from the checkout, where they live; without their extra, not at all."""

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

MISSING = [name for name in ("torch", "sb3_contrib", "tensorboard") if find_spec(name) is None]
collect_ignore_glob = ["test_*.py"] if MISSING else []


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
