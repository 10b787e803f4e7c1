"""What made a result: commit, command, versions of packages, and what the stores hold; without torch."""

import hashlib
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from autotts_gym.errors import AutottsError
from autotts_gym.replay import ReplayStore


def git_commit() -> str:
    """The commit that the checkout is at, with ``-dirty`` where files differ from it; "unknown" outside of git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def command_line(module: str) -> str:
    """The command that runs this process, as it would be typed."""
    return shlex.join(["python", "-m", module, *sys.argv[1:]])


def versions(packages: Sequence[str], extra: str) -> dict[str, str]:
    """The versions of Python, the platform and some packages.

    Args:
        packages: their names.
        extra: the extra of autotts_gym that installs them.

    Raises:
        AutottsError: one is not installed.
    """
    try:
        found = {name: version(name) for name in packages}
    except PackageNotFoundError as error:
        raise AutottsError(f"{error.name}: expected it installed; try: pip install '.[{extra}]'") from error
    return {"python": platform.python_version(), "platform": platform.platform(), **found}


def digest_of(store: ReplayStore) -> str:
    """A digest of everything that a replay of a store depends on."""
    digest = hashlib.sha256(str(store.interval_tokens).encode())
    for column in ("branch_offsets", "probe_offsets", "answer_offsets", "probes", "tokens", "finals", "gold"):
        digest.update(np.ascontiguousarray(getattr(store, column)).tobytes())
    return digest.hexdigest()
