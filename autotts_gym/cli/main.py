"""The `autotts` command."""

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from autotts_gym.cli import diagnosis, evaluation, stores
from autotts_gym.cli.arguments import LineParser
from autotts_gym.errors import AutottsError

COMMANDS = (stores, evaluation, diagnosis)
"""Modules with `add_parsers(subparsers)`, each of whose parsers sets `run`, a function from arguments to exit code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `autotts` and returns its exit code: 0 on success, 2 on bad use, 130 when interrupted.

    Args:
        argv: arguments after the program's name; by default those of the process.
    """
    parser = LineParser(prog="autotts", description="Replay environments for spending rules of language models.")
    parser.add_argument("--version", action="version", version=f"autotts {version('autotts_gym')}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in COMMANDS:
        module.add_parsers(subparsers)
    arguments = parser.parse_args(argv)
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except AutottsError as error:
        print(f"autotts: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("autotts: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader went away (`autotts … | head`). Python flushes stdout once more at exit: give it somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return code


if __name__ == "__main__":
    sys.exit(main())
