"""What the arguments of several commands have in common; the commands of ``agents`` use it too."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from autotts_gym.errors import LONGEST_QUOTE, AutottsError, plain, quote

if TYPE_CHECKING:
    from autotts_gym.controllers import Controller
    from autotts_gym.engine import Rules
    from autotts_gym.replay import ReplayStore

Subparsers = Any
"""What ``ArgumentParser.add_subparsers`` returns; argparse gives it no public type."""

LARGEST = 2**31 - 1
"""The largest whole number of an argument: the engine's counts have 32 bits."""


class LineParser(argparse.ArgumentParser):
    """A parser whose error messages fit in one line."""

    _words: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the arguments as ``argparse`` does."""
        self._words = sys.argv[1:] if args is None else list(args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """End the process with exit code 2."""
        for word in self._words:  # as argparse shows it, with or without quotation marks
            for part in (word, word.partition("=")[2]):
                if len(part) > LONGEST_QUOTE or not part.isprintable():
                    message = message.replace(repr(part), quote(part)).replace(part, plain(part)) if part else message
        self.exit(2, f"{self.prog}: error: {plain(message, 1000)} (see {self.prog} --help)\n")


def integer(text: str) -> int:
    """Read a whole number up to ``LARGEST``."""
    try:
        number = int(text)
    except ValueError:  # of more digits than Python reads, too
        raise argparse.ArgumentTypeError(f"expected a whole number, got {quote(text)}") from None
    if abs(number) > LARGEST:
        raise argparse.ArgumentTypeError(f"expected a whole number up to {LARGEST}, got {quote(text)}")
    return number


integer.__name__ = "whole number"  # as argparse names it: invalid whole number value: 'x'


def label(text: str) -> str:
    """Read a name of something that is stored."""
    if not text.strip() or not text.isprintable():
        raise argparse.ArgumentTypeError(f"expected a printable name, got {quote(text)}")
    return text


def file_label(text: str) -> str:
    """Read a name of something that is stored in a file of this name."""
    if text.startswith(".") or "/" in text or "\\" in text:
        raise argparse.ArgumentTypeError(f"expected a name without slashes, and no dot in front, got {quote(text)}")
    return label(text)


def knob(text: str) -> tuple[str, Any]:
    """Read ``NAME=VALUE``; a value that is a JSON scalar is that, any other is a string."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {quote(text)}")
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return name, value
    return name, value if isinstance(parsed, list | dict) else parsed


def add_controller(parser: argparse.ArgumentParser) -> None:
    """Add ``--controller`` and its knobs."""
    parser.add_argument(
        "--controller",
        metavar="NAME",
        required=True,
        help="sc, asc, esc, parallel_probe, cmc, ...; or the path of a program (.py) or of a trained policy (.zip); "
        "or a class of yours (file.py:Class or module:Class)",
    )
    parser.add_argument("--beta", metavar="B", type=float, help="the budget knob, from 0 (little) to 1 (much)")
    parser.add_argument(
        "--param",
        metavar="K=V",
        type=knob,
        action="append",
        default=[],
        help="a knob of the controller, such as branches=16; may be repeated",
    )


def add_rules(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the rules, which hold in every episode."""
    parser.add_argument(
        "--accounting",
        choices=("exact", "autotts"),
        default="exact",
        help="what tokens are charged: those generated, or what the published code charges (default: %(default)s)",
    )
    parser.add_argument(
        "--max-branches",
        metavar="M",
        type=integer,
        default=64,
        help="branch slots of an episode (default: %(default)s)",
    )
    parser.add_argument(
        "--token-budget", metavar="T", type=integer, help="total tokens of an episode (default: no limit)"
    )
    parser.add_argument(
        "--token-unit",
        metavar="U",
        type=integer,
        help="tokens that a price is for, as policies observe it (default: that of each store)",
    )
    parser.add_argument(
        "--aggregator",
        metavar="FILE.py:NAME",
        help="a function of yours that says which answer STOP gives (default: the majority)",
    )


def read_controller(arguments: argparse.Namespace) -> "Controller":
    """Return the controller that ``add_controller``'s arguments name.

    Raises:
        AutottsError: there is none, or a knob is wrong.
    """
    from autotts_gym.controllers import make_controller

    given = [*arguments.param, *([("beta", arguments.beta)] if arguments.beta is not None else [])]
    params = dict(given)
    if len(params) < len(given):
        raise AutottsError(
            f"{arguments.controller}: expected every knob once, got {plain(', '.join(name for name, _ in given))}"
        )
    return make_controller(arguments.controller, **params)


def read_rules(arguments: argparse.Namespace) -> "Rules":
    """Return the rules that ``add_rules``'s arguments name.

    Raises:
        AutottsError: one is out of range.
    """
    from autotts_gym import validation
    from autotts_gym.engine import Rules

    if arguments.token_budget is not None:  # a budget of nothing is for tests of environments
        validation.integer("token_budget", arguments.token_budget, 1)
    return Rules(
        max_branches=arguments.max_branches,
        token_budget=arguments.token_budget,
        token_unit=arguments.token_unit,
        accounting=arguments.accounting,
        aggregator=arguments.aggregator,
    )


def read_stores(names: Sequence[str]) -> "list[ReplayStore]":
    """Return the stores of these names or paths; none: the store that ships.

    Raises:
        StoreError: one cannot be opened.
    """
    from autotts_gym.replay import resolve_stores

    return resolve_stores(names or None)


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
