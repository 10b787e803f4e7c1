"""``autotts import``, ``autotts info`` and ``autotts synth``: import, describe and synthesize stores."""

import argparse
import json
import logging
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from autotts_gym.cli.arguments import Subparsers, integer, label
from autotts_gym.errors import StoreError

if TYPE_CHECKING:
    from autotts_gym.replay.store import ReplayStore, StoreSummary


def add_parsers(subparsers: Subparsers) -> None:
    """Add the commands of this module."""
    _add_import(subparsers)
    _add_info(subparsers)
    _add_synth(subparsers)


# -------------------------------------------------------------------- import


def _add_import(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "import",
        help="turn published JSON into stores",
        description="Import one .json or .jsonl file, perhaps with .gz, to a .h5 store, or every "
        "<model>/<benchmark>.json[l][.gz] below a folder to a folder of <model>/<benchmark>.h5.",
    )
    parser.add_argument("source", metavar="SRC", type=Path, help="a .json[l][.gz] file, or a folder to search for them")
    parser.add_argument("-o", "--output", metavar="DST", type=Path, required=True, help="a .h5 file, or a folder")
    parser.add_argument("--model", type=label, help="name of the model (default: the name of the file's folder)")
    parser.add_argument("--benchmark", type=label, help="name of the benchmark (default: the name of the file)")
    parser.add_argument(
        "--equivalence",
        choices=("exact", "math"),
        default="exact",
        help="which answers are one: equal strings, or mathematically equal ones (default: %(default)s)",
    )
    parser.add_argument(
        "--format",
        metavar="FORM",
        default="auto",
        help="auto, autotts or parallel-probe, or an importer of yours, file.py:name (default: %(default)s)",
    )
    parser.add_argument(
        "--probes",
        choices=("checked", "unchecked", "none"),
        default="checked",
        help="checked: their number must fit the tokens; unchecked: take them as they are; none: leave them out, so "
        "that answers show when branches finish (default: %(default)s)",
    )
    parser.add_argument(
        "--no-answer",
        metavar="TEXT",
        action="append",
        default=[],
        help="a text that means no answer, beside blank ones; may be repeated",
    )
    parser.add_argument("--labelled-only", action="store_true", help="leave questions without a gold answer out")
    parser.add_argument("--force", action="store_true", help="replace stores that exist")
    parser.set_defaults(run=_import)


def _import(arguments: argparse.Namespace) -> int:
    from autotts_gym.replay.importers import import_json, import_tree, logger, refuse_existing, tree_targets

    notes = _DeferredWarnings(logger)
    source, output = arguments.source, arguments.output
    options = {
        "equivalence": arguments.equivalence,
        "layout": arguments.format,
        "probes": arguments.probes,
        "no_answer": arguments.no_answer,
        "labelled_only": arguments.labelled_only,
    }
    if source.is_dir():
        if arguments.model is not None or arguments.benchmark is not None:
            raise StoreError(f"{source}: --model and --benchmark name the store of one file, got a folder")
        targets = tree_targets(source, output, layout=arguments.format)
        imported = import_tree(source, output, targets=targets, force=arguments.force, **options)
        for path, store in _progress(imported, len(targets)):
            notes.print()
            _report(path, store)
        return 0
    _check_output(output)
    refuse_existing(output, arguments.force)
    store = import_json(
        source,
        model=arguments.model,
        benchmark=arguments.benchmark,
        **options,
    )
    path = store.save(output)
    notes.print()
    _report(path, store)
    return 0


class _DeferredWarnings(logging.Handler):
    """Keeps warnings until the store that they are about is written; a run that fails prints its error alone."""

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__()
        self._texts: list[str] = []
        logger.handlers = [self]
        logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        self._texts.append(record.getMessage())

    def print(self) -> None:
        """Print what was kept."""
        for text in self._texts:
            print(f"warning: {text}")
        self._texts.clear()


def _progress(imported: Iterable[tuple[Path, "ReplayStore"]], total: int) -> Iterator[tuple[Path, "ReplayStore"]]:
    """Show how far ``imported`` is, on a terminal only."""
    if not sys.stderr.isatty():
        yield from imported
        return
    from rich.console import Console
    from rich.progress import Progress

    # Printed lines pass above the bar on a terminal, and go where they should when only they are redirected.
    with Progress(console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as progress:
        yield from progress.track(imported, total=total, description="importing")


def _check_output(path: Path) -> None:
    if path.suffix != ".h5":
        raise StoreError(f"{path}: expected a name that ends in .h5 for a store, got another")


def _report(path: Path, store: "ReplayStore") -> None:
    """Print one line about a store that was just written."""
    merged = store.attributes.get("merged_answers")
    note = f", {merged} answers merged" if merged else ""
    unlabelled = int((~store.labelled).sum())
    note += f", {unlabelled} questions unlabelled" if unlabelled else ""
    probes = f"{store.num_probes} probes" if store.has_probes else "no probes"
    print(f"{path}: {store.num_questions} questions, {store.num_branches} branches, {probes}{note}")


# -------------------------------------------------------------------- info


def _add_info(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "info", help="show what stores hold", description="Show what stores hold and where that came from."
    )
    parser.add_argument("stores", metavar="STORE", nargs="+", help="a .h5 file, or the name of a store")
    parser.add_argument("--json", action="store_true", help="print a JSON list, one object per store")
    parser.set_defaults(run=_info)


def _info(arguments: argparse.Namespace) -> int:
    from autotts_gym.replay.catalog import load_store

    loaded = [load_store(name) for name in arguments.stores]
    summaries = [store.summary() for store in loaded]
    if arguments.json:
        items = [
            {"path": str(store.path), **summary.to_dict()} for store, summary in zip(loaded, summaries, strict=True)
        ]
        print(json.dumps(items, indent=2))
        return 0
    _print_table([_row(summary) for summary in summaries])
    for store, summary in zip(loaded, summaries, strict=True):
        print(f"\n{summary.name}")
        print(f"  path: {store.path}")
        if summary.unlabelled:
            print(f"  unlabelled: {summary.unlabelled} of {summary.questions} questions have no gold answer")
            print(f"  agreement: {_percent(summary.agreement)} of a pool's branches give its majority's answer")
        if not summary.has_probes:
            print("  without probes: the answer of a branch shows when it finishes")
        if summary.signals:
            print(f"  signals: {', '.join(summary.signals)}")
        for name, value in {"token_unit": summary.token_unit, **summary.attributes}.items():
            print(f"  {name}: {value if isinstance(value, str) and value.isprintable() else json.dumps(value)}")
    return 0


def _row(summary: "StoreSummary") -> dict[str, str]:
    low, high = summary.branches_min, summary.branches_max
    return {
        "store": summary.name,
        "questions": str(summary.questions),
        "branches": str(low) if low == high else f"{low}-{high}",
        "interval": str(summary.interval_tokens),
        "tokens/branch": f"{summary.mean_tokens:,.0f}",
        "tokens": f"{summary.total_tokens:,}",
        "answers/question": f"{summary.answers / summary.questions:.1f}",
        "pass@1": _percent(summary.pass_at_1),
        "majority": _percent(summary.majority_accuracy),
        "coverage": _percent(summary.coverage),
    }


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _print_table(rows: list[dict[str, str]]) -> None:
    """Print rows under a header, the first column to the left and numbers to the right."""
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for first, *rest in lines:
        cells = [text.rjust(width) for text, width in zip(rest, widths[1:], strict=True)]
        print("  ".join([first.ljust(widths[0]), *cells]))


# -------------------------------------------------------------------- synth


def _add_synth(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "synth",
        help="make a synthetic store",
        description="Make a store from a statistical model: for tests of scale and examples, no model's results.",
    )
    parser.add_argument("-o", "--output", metavar="DST", type=Path, required=True, help="the .h5 file to write")
    parser.add_argument("--questions", type=integer, default=30, help="default: %(default)s")
    parser.add_argument("--branches", type=integer, default=128, help="branches per question (default: %(default)s)")
    parser.add_argument(
        "--interval-tokens", type=integer, default=500, help="tokens between probes (default: %(default)s)"
    )
    parser.add_argument("--seed", type=integer, default=0, help="default: %(default)s")
    parser.add_argument(
        "--model", type=label, default="synthetic", help="name to store as the model (default: %(default)s)"
    )
    parser.add_argument(
        "--benchmark", type=label, help="name to store as the benchmark (default: the name of the file)"
    )
    parser.add_argument("--signals", action="store_true", help="with the signals confidence and certainty")
    parser.add_argument("--force", action="store_true", help="replace a store that exists")
    parser.set_defaults(run=_synth)


def _synth(arguments: argparse.Namespace) -> int:
    from autotts_gym.replay.importers import refuse_existing
    from autotts_gym.replay.synthetic import synthesize

    _check_output(arguments.output)
    refuse_existing(arguments.output, arguments.force)
    store = synthesize(
        questions=arguments.questions,
        branches=arguments.branches,
        interval_tokens=arguments.interval_tokens,
        seed=arguments.seed,
        model=arguments.model,
        benchmark=arguments.output.stem if arguments.benchmark is None else arguments.benchmark,
        signals=arguments.signals,
    )
    _report(store.save(arguments.output), store)
    return 0
