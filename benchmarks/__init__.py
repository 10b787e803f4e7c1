"""Speed, memory and what votes are worth, measured side by side; see README.md here."""

import sys
from collections.abc import Callable

from autotts_gym.errors import AutottsError


def run(main: Callable[[], None]) -> None:
    """Run a benchmark; what is wrong with its arguments is one line, and exit code 2."""
    try:
        main()
    except AutottsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
