"""The ``autotts`` command."""

import sys
from collections.abc import Sequence
from importlib.metadata import version

from autotts_gym.cli import collection, diagnosis, evaluation, live, stores
from autotts_gym.cli.arguments import LineParser
from autotts_gym.cli.ending import run

COMMANDS = (stores, collection, evaluation, diagnosis, live)
"""Modules with ``add_parsers(subparsers)``, each of whose parsers sets ``run``, a function from arguments to exit
code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``autotts`` and return its exit code, which ``autotts_gym.cli.ending.run`` explains.

    Args:
        argv: arguments after the program's name; by default those of the process.
    """
    parser = LineParser(prog="autotts", description="Replay environments for spending rules of language models.")
    parser.add_argument("--version", action="version", version=f"autotts {version('autotts_gym')}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in COMMANDS:
        module.add_parsers(subparsers)

    def work() -> int:
        arguments = parser.parse_args(argv)
        code: int = arguments.run(arguments)
        return code

    return run(work, "autotts")


if __name__ == "__main__":
    sys.exit(main())
