"""Fixtures that several folders of tests share."""

import os
import signal
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that take minutes begin first, so that no worker is left with one when the others are done."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def _published(folder: str) -> Path:
    root = os.environ.get("AUTOTTS_TEST_REPLAY")
    if not root:
        pytest.skip("needs the published data: set AUTOTTS_TEST_REPLAY to the folder that holds replay/ and reference/")
    path = Path(root) / folder
    assert path.is_dir(), f"AUTOTTS_TEST_REPLAY: expected a folder with {folder}/, got {root}"
    return path


@pytest.fixture(scope="session")
def replay_root() -> Path:
    """The published branches: `<model>/<benchmark>.json.gz`."""
    return _published("replay")


@pytest.fixture(scope="session")
def reference_root() -> Path:
    """The published results, episode by episode: `<model>_<benchmark>.npz`."""
    return _published("reference")


@pytest.fixture(scope="session", autouse=True)
def _interrupts_are_heeded():
    """A shell without job control starts what it runs in the background with SIGINT ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
