"""Speed, memory and what votes are worth, measured side by side; see README.md here."""

import sys
from collections.abc import Callable

from autotts_gym.cli import ending


def run(main: Callable[[], None]) -> None:
    """Run a benchmark; what is wrong with its arguments is one line, and exit code 2."""

    def work() -> int:
        main()
        return 0

    if code := ending.run(work):
        sys.exit(code)
