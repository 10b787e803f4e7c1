"""``autotts evaluate``, ``autotts benchmark`` and ``autotts trace``: what controllers do, at what cost."""

import argparse
import json
import secrets
import shlex
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotts_gym.cli.arguments import (
    Subparsers,
    add_controller,
    add_rules,
    integer,
    processors,
    read_controller,
    read_rules,
    read_stores,
)
from autotts_gym.cli.screen import Fitted, heading, one_line, plain_table, show, wrapped
from autotts_gym.errors import AutottsError

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from autotts_gym.evaluation.frontier import Frontier
    from autotts_gym.evaluation.results import EvaluationResult
    from autotts_gym.evaluation.tables import Table
    from autotts_gym.evaluation.trace import Round, Standing, Trace
    from autotts_gym.evaluation.twin import TwinReport


def add_parsers(subparsers: Subparsers) -> None:
    """Add the commands of this module."""
    _add_evaluate(subparsers)
    _add_benchmark(subparsers)
    _add_trace(subparsers)


# -------------------------------------------------------------------- evaluate


def _add_evaluate(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "evaluate",
        help="play a controller on stores",
        description="Play every question of stores with one controller, under so many orders of the branches.",
    )
    parser.add_argument("stores", metavar="STORE", nargs="+", help="a .h5 file, or the name of a store")
    add_controller(parser)
    add_rules(parser)
    parser.add_argument(
        "--seeds", metavar="N", type=integer, default=100, help="orders 0 to N - 1 (default: %(default)s)"
    )
    parser.add_argument("--workers", metavar="W", type=integer, default=1, help="processes (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print a JSON list, one object per store")
    parser.add_argument(
        "--twin",
        action="store_true",
        help="also play a twin of each store (other orders, lengths and beginnings of its branches), on which a rule "
        "does as well and a table of the store's branches does not",
    )
    parser.add_argument(
        "--twin-seed",
        metavar="S",
        type=integer,
        help="of the twins' draws, to repeat a run (default: a fresh one, so that no table holds the twin too)",
    )
    parser.set_defaults(run=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> int:
    from autotts_gym.evaluation import evaluate_all
    from autotts_gym.evaluation.twin import compare_with_twin
    from autotts_gym.replay.variants import twin

    controller = read_controller(arguments)
    stores = read_stores(arguments.stores)
    if arguments.twin_seed is not None and not arguments.twin:
        raise AutottsError("--twin-seed: expected --twin beside it, as it is the seed of the twins")
    seed = secrets.randbits(31) if arguments.twin_seed is None else arguments.twin_seed
    both = [stores]
    if arguments.twin:
        for store in stores:
            store.require_gold("--twin")
        both.append([twin(store, seed) for store in stores])
    results, *twins = [
        evaluate_all(
            [controller],
            played,
            seeds=range(arguments.seeds),
            rules=read_rules(arguments),
            workers=arguments.workers,
            progress=True,
        )
        for played in both
    ]
    source = getattr(controller, "source", None)  # of a program
    data = source.literals.warning if source else None
    pairs = [pair for played in twins for pair in zip(results, played, strict=True)]
    reports = [compare_with_twin([one], [other]) for one, other in pairs]
    if arguments.json:
        summaries = [result.summary() for result in results]
        for summary, report in zip(summaries, reports, strict=False):
            summary["twin"] = {"seed": seed, **report.as_dict()}
        for summary in summaries if arguments.aggregator else ():
            summary["aggregator"] = arguments.aggregator
        for summary in summaries if data else ():
            summary["literal_data"] = data
        print(json.dumps(summaries, indent=2))
        return 0
    show(Fitted(_evaluation_table(results)))
    print(wrapped(_interval_words(results)))
    if arguments.aggregator:
        print(wrapped(f"STOP answers by {arguments.aggregator}."))
    for result, report in zip(results, reports, strict=False):
        print(wrapped(f"Twin {seed} of {result.store}: {_twin_words(report)}"))
    if data:
        print(f"{controller.name} holds {data}.{'' if twins else ' --twin shows whether it is a rule or a table.'}")
    return 0


def _twin_words(report: "TwinReport") -> str:
    """Return both figures, their difference with its interval, and the verdict."""
    lost, dearer = report.accuracy_difference, report.tokens_difference
    return (
        f"accuracy {100 * report.accuracy:.1f} % on the store, {100 * report.twin_accuracy:.1f} % on the twin, "
        f"difference {100 * lost.estimate:+.1f} [{100 * lost.low:+.1f}, {100 * lost.high:+.1f}]; "
        f"total tokens {report.tokens:,.0f} and {report.twin_tokens:,.0f}, "
        f"difference {dearer.estimate:+,.0f} [{dearer.low:+,.0f}, {dearer.high:+,.0f}]. {report.words}"
    )


def _evaluation_table(results: "Sequence[EvaluationResult]") -> "Table":
    from autotts_gym.evaluation.results import mean_accuracy
    from autotts_gym.evaluation.tables import Column, Table

    def percent(value: float) -> str:
        return f"{100 * value:.1f}"

    labelled = [result for result in results if result.agreed is None]
    columns = (
        Column("store", ("store",)),
        Column("accuracy", ("accuracy %", "[interval]"), percent),
        # With the majority of the whole pool, where questions are unlabelled.
        Column("agreement", ("agreement %",) if len(labelled) < len(results) else (), percent),
        Column("mean_tokens", ("total tokens",), lambda value: f"{value:,.0f}"),
        Column("mean_sequential_tokens", ("sequential tokens",), lambda value: f"{value:,.0f}"),
        Column("mean_branches_opened", ("opened",), lambda value: f"{value:.1f}"),
        Column("mean_branches_pruned", ("pruned",), lambda value: f"{value:.1f}"),
    )
    summaries = [result.summary() for result in results]
    counts = [[summary[column.key] for column in columns[3:]] for summary in summaries]
    rows: list[tuple[Any, ...]] = [
        (result.store, None if result.agreed is not None else mean_accuracy([result]), result.agreement, *each)
        for result, each in zip(results, counts, strict=True)
    ]
    if len(rows) > 1:
        accuracy = mean_accuracy(results) if len(labelled) == len(results) else None
        rows.append(("mean", accuracy, None, *(sum(each) / len(rows) for each in zip(*counts, strict=True))))
    first = results[0]
    return Table(
        f"{first.label}, {first.accounting} accounting, {len(first.seeds)} seeds, {first.max_branches} branch slots",
        columns,
        tuple(rows),
    )


def _interval_words(results: "Sequence[EvaluationResult]") -> str:
    """Return what the intervals are of."""
    text = "[ ]: 95% bootstrap intervals over questions, each averaged over the seeds"
    benchmarks = [result.benchmark for result in results]
    if len(set(benchmarks)) < len(benchmarks):
        text += "; in that of the mean, stores of one benchmark share the drawn questions"
    made_up = [result.store for result in results if result.synthetic]
    return f"{text}. Synthetic, no language model's results: {', '.join(made_up)}." if made_up else f"{text}."


# -------------------------------------------------------------------- benchmark


def _add_benchmark(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "benchmark",
        help="compare controllers over their knobs",
        description="Compare all controllers over their knobs on stores: accuracy and tokens of every setting, and "
        "what each controller's frontier comes to.",
    )
    parser.add_argument(
        "stores", metavar="STORE", nargs="*", help="a .h5 file, or the name of a store (default: the one that ships)"
    )
    parser.add_argument("--out", metavar="DIR", type=Path, help="a folder for results, tables and figures")
    parser.add_argument(
        "--preset",
        choices=("paper", "default", "quick"),
        default="default",
        help="settings, accounting and seeds: the published grid, every controller, or a few (default: %(default)s)",
    )
    parser.add_argument(
        "--controller",
        metavar="NAME",
        action="append",
        default=[],
        help="compare this controller only; may be repeated. Savings are relative to sc",
    )
    parser.add_argument(
        "--seeds", metavar="N", type=integer, help="orders 0 to N - 1 of the branches (default: the preset's)"
    )
    parser.add_argument("--accounting", choices=("exact", "autotts"), help="what is charged (default: the preset's)")
    parser.add_argument(
        "--workers", metavar="W", type=integer, default=processors(), help="processes (default: %(default)s)"
    )
    parser.add_argument(
        "--resamples",
        metavar="R",
        type=integer,
        default=2000,
        help="bootstrap resamples behind the intervals (default: %(default)s)",
    )
    parser.set_defaults(run=_benchmark)


def _benchmark(arguments: argparse.Namespace) -> int:
    from autotts_gym.engine import Rules
    from autotts_gym.evaluation.benchmark import PRESETS, check_writable, run_benchmark

    preset = PRESETS[arguments.preset]
    stores = read_stores(arguments.stores)
    for store in stores:
        store.require_gold("benchmark")
    controllers = preset.controllers(arguments.controller, stores)
    if arguments.out is not None:
        check_writable(arguments.out)  # before the work rather than after it
    report = run_benchmark(
        stores,
        controllers,
        seeds=range(preset.seeds if arguments.seeds is None else arguments.seeds),
        rules=Rules(accounting=arguments.accounting or preset.accounting),
        workers=arguments.workers,
        progress=True,
        resamples=arguments.resamples,
    )
    written = [] if arguments.out is None else report.write(arguments.out)
    for table in (*report.comparisons(), report.statistics()):
        show(Fitted(table), "")
    synthetic = [store.name for store in stores if store.synthetic]
    if synthetic:
        print(f"Synthetic, no language model's results: {', '.join(synthetic)}")
    if written:
        print(f"{arguments.out}: {', '.join(path.name for path in written)}")
        print(_write_curves(Path(arguments.out) / "tensorboard", report.families))
    return 0


def _write_curves(folder: Path, families: "Sequence[Frontier]") -> str:
    """Write budget curves for TensorBoard where it is installed; returns what to say of it."""
    from importlib.util import find_spec

    if find_spec("tensorboard") is None:
        return "Budget curves for TensorBoard were not written: they need the extra autotts_gym[agents]"
    from autotts_gym.evaluation.tensorboard import write_frontiers

    write_frontiers(folder, families)
    return f"tensorboard --logdir {shlex.quote(str(folder))} shows the budget curves"


# -------------------------------------------------------------------- trace


def _add_trace(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "trace",
        help="show one episode of a controller",
        description="Play one question with one controller and show every round: what it did, what that cost, and "
        "who led the vote after it.",
    )
    parser.add_argument("store", metavar="STORE", help="a .h5 file, or the name of a store")
    add_controller(parser)
    parser.add_argument("--question", metavar="I", type=integer, required=True, help="index of the question, from 0")
    parser.add_argument(
        "--seed", metavar="S", type=integer, default=0, help="order of the branches (default: %(default)s)"
    )
    add_rules(parser)
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="a folder for trace.jsonl, trace.png, trace.svg and trace.pdf"
    )
    parser.add_argument("--picture", metavar="FILE", type=Path, help="a .png, .svg or .pdf file for the picture")
    parser.add_argument("--jsonl", metavar="FILE", type=Path, help="a file for the trace: a line a round, and the end")
    parser.set_defaults(run=_trace)


def _trace(arguments: argparse.Namespace) -> int:
    from rich.text import Text

    from autotts_gym.envs.rendering import render_ansi, save_picture
    from autotts_gym.evaluation.trace import trace
    from autotts_gym.pictures import SUFFIXES

    (store,) = read_stores([arguments.store])
    played = trace(read_controller(arguments), store, arguments.question, arguments.seed, read_rules(arguments))
    pictures = [arguments.picture] if arguments.picture else []
    traces = [arguments.jsonl] if arguments.jsonl else []
    if arguments.out:
        pictures += [arguments.out / f"trace{suffix}" for suffix in SUFFIXES]
        traces.append(arguments.out / "trace.jsonl")
    for path in pictures:
        save_picture(played.state, 0, path)
    for path in traces:
        played.write_jsonl(path)
    show(
        heading(_title(played)),
        _rounds_table(played),
        Text(_end_text(played)),
        "",
        Text.from_ansi(render_ansi(played.state, 0)),
    )
    for path in (*traces, *pictures):
        print(path)
    return 0


def _title(played: "Trace") -> str:
    from autotts_gym.evaluation.results import setting_label

    setting = played.setting
    label = setting_label(setting.controller, setting.params)
    return (
        f"{label} on {setting.store}, question {setting.question}, seed {setting.seed}, {setting.accounting} accounting"
    )


def _rounds_table(played: "Trace") -> "RichTable":
    from rich.text import Text

    table = plain_table()
    for name in ("round", "tokens", "total", "sequential"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("leader (votes,\nconfidence)", "finished leader", "what it did"):
        table.add_column(name, overflow="fold")
    for each in played.rounds:
        ledger = each.ledger
        table.add_row(
            str(each.round),
            f"{ledger.tokens:+,}" if ledger.tokens else "0",
            f"{ledger.total_tokens:,}",
            f"{ledger.sequential_tokens:,}",
            Text(_leader_text(each.leader)),
            Text(_leader_text(each.finished_leader)),
            Text(_round_effects(each)),
        )
    return table


def _leader_text(standing: "Standing") -> str:
    """Return a leader with its votes and Beta confidence, such as ``204 5/8 91%``."""
    if standing.answer is None:
        return "-"
    return f"{one_line(standing.answer, 12)} {standing.votes}/{standing.voters} {standing.confidence:.0%}"


def _round_effects(played: "Round") -> str:
    """Return what a round did, such as ``prune 2, 5; deepen 0-1, 3; finished 3; stop``."""
    opened = [change.branch for change in played.revealed if change.depth == len(change.answers)]
    deepened: dict[int, list[int]] = {}
    for change in played.revealed:
        if change.branch not in opened and change.branch in played.plan.deepen:
            deepened.setdefault(max(1, len(change.answers)), []).append(change.branch)
    parts = [
        ("prune", [change.branch for change in played.revealed if change.status == "pruned"]),
        *((f"deepen {steps}x" if steps > 1 else "deepen", deepened[steps]) for steps in sorted(deepened)),
        ("open", opened[: played.plan.open]),
        ("read", opened[played.plan.open :]),
        ("finished", [change.branch for change in played.revealed if change.status == "finished"]),
    ]
    verbs = [f"{verb} {_ranges(branches)}" for verb, branches in parts if branches]
    return "; ".join([*verbs, "stop"] if played.plan.stop else verbs)


def _ranges(numbers: Iterable[int]) -> str:
    """Return ascending numbers as runs, such as ``0-4, 7``."""
    runs = [[number for _, number in run] for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def _end_text(played: "Trace") -> str:
    end = played.end
    answer = "no answer" if end.answer is None else f"answer {one_line(end.answer, 40)}"
    verdict = {None: "unlabelled", True: "right", False: "wrong"}[end.correct]
    return (
        f"{answer}: {verdict} ({end.stop_reason}); {end.total_tokens:,} tokens, {end.sequential_tokens:,} sequential; "
        f"{end.branches_opened} branches opened, {end.branches_pruned} pruned"
    )
