"""What made a result: the commit that the checkout is at, and the command; without torch."""

import shlex
import subprocess
import sys
from pathlib import Path


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
