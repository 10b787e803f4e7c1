"""``autotts diagnose``: what went wrong in a controller's episodes."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from autotts_gym.cli.arguments import (
    Subparsers,
    add_controller,
    add_rules,
    integer,
    read_controller,
    read_rules,
    read_stores,
)
from autotts_gym.cli.screen import Fitted, heading, pasted, plain_table, show, wrapped

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from autotts_gym.evaluation.diagnosis import Diagnosis


def add_parsers(subparsers: Subparsers) -> None:
    """Add the command of this module."""
    parser = subparsers.add_parser(
        "diagnose",
        help="say what went wrong in a controller's episodes",
        description="Play every question of stores with one controller and say, with hindsight, why episodes are "
        "wrong, what tokens were wasted, and what could have been made of the same branches.",
    )
    parser.add_argument("stores", metavar="STORE", nargs="+", help="a .h5 file, or the name of a store")
    add_controller(parser)
    add_rules(parser)
    parser.add_argument(
        "--seeds", metavar="N", type=integer, default=100, help="orders 0 to N - 1 (default: %(default)s)"
    )
    parser.add_argument(
        "--examples",
        metavar="K",
        type=integer,
        default=1,
        help="episodes to look at for each thing that went wrong (default: %(default)s)",
    )
    parser.add_argument(
        "--all-examples", action="store_true", help="list them for every store and difficulty band as well"
    )
    parser.add_argument("--picture", metavar="FILE", type=Path, help="a .png, .svg or .pdf file for a figure")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print one JSON object")
    output.add_argument("--prompt", action="store_true", help="print what a language model is shown")
    parser.set_defaults(run=_diagnose)


def _diagnose(arguments: argparse.Namespace) -> int:
    from autotts_gym.evaluation.diagnosis import diagnose

    diagnosis = diagnose(
        read_controller(arguments),
        read_stores(arguments.stores),
        seeds=range(arguments.seeds),
        rules=read_rules(arguments),
        examples=arguments.examples,
        sketches=3 if arguments.prompt else 0,
    )
    if arguments.picture is not None:
        from autotts_gym.evaluation.plots import plot_diagnosis

        plot_diagnosis(diagnosis, arguments.picture)
    if arguments.json:
        print(json.dumps(diagnosis.as_dict(), indent=2, ensure_ascii=False))
    elif arguments.prompt:
        print(diagnosis.prompt(), end="")
    else:
        _report(diagnosis, arguments.all_examples)
        if arguments.picture is not None:
            print(arguments.picture)
    return 0


def _report(diagnosis: "Diagnosis", all_examples: bool) -> None:
    from autotts_gym.evaluation.diagnosis import LOSSES

    show(Fitted(diagnosis.table()), "", Fitted(diagnosis.bounds_table()), "")
    show(heading("What the words mean, and episodes to look at"))
    for name, meaning in LOSSES.items():
        print(wrapped(f"{name.replace('_', ' ')}: {meaning}"))
        for example in diagnosis.overall.examples[name]:
            print(pasted(diagnosis.command(example)))
    if all_examples:
        show("", heading("By store and by difficulty"), _examples(diagnosis))


def _examples(diagnosis: "Diagnosis") -> "RichTable":
    from rich.text import Text

    table = plain_table()
    table.add_column("episodes", overflow="fold")
    table.add_column("what", no_wrap=True)
    table.add_column("store", overflow="fold")
    for name in ("question", "seed"):
        table.add_column(name, justify="right", no_wrap=True)
    for part in diagnosis.shown[1:]:
        table.add_section()
        for name, examples in part.examples.items():
            for each in examples:
                cells = (part.name, name.replace("_", " "), each.store, str(each.question), str(each.seed))
                table.add_row(*map(Text, cells))
    return table
