"""``autotts collect``, ``sample``, ``probe``, ``extract`` and ``merge``: from a served model to a store."""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotts_gym.cli.arguments import Subparsers, file_label, integer, label
from autotts_gym.cli.ending import run_async
from autotts_gym.cli.models import DEFAULTS, add_columns, add_endpoint, add_probing, add_prompts, fill
from autotts_gym.errors import AutottsError, StoreError, plain, quote

if TYPE_CHECKING:
    from autotts_gym.collection.building import Built
    from autotts_gym.collection.runs import Outcome
    from autotts_gym.models.prices import Price


"""Of a file of questions or of a log."""


def add_parsers(subparsers: Subparsers) -> None:
    """Add the commands of this module."""
    _add_collect(subparsers, "collect")
    _add_collect(subparsers, "sample")
    _add_probe(subparsers)
    _add_extract(subparsers)
    _add_merge(subparsers)


# -------------------------------------------------------------------- arguments


def _add_collect(subparsers: Subparsers, name: str) -> None:
    probes = name == "collect"
    does = "sample branches of a served model and probe them" if probes else "sample branches of a served model"
    parser = subparsers.add_parser(
        name,
        help=does,
        description=f"{does[0].upper()}{does[1:]}, into DIR/<model>/<benchmark>.journal, and make a store of it (.h5). "
        "The same command goes on where an earlier one ended.",
    )
    parser.add_argument(
        "questions", metavar="QUESTIONS", help="a .jsonl, .json, .csv or .parquet file, or hf:NAME[:CONFIG][:SPLIT]"
    )
    add_endpoint(parser)
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="the folder of stores")
    parser.add_argument("--benchmark", type=file_label, help="name of the benchmark (default: the name of the file)")
    add_columns(parser)
    parser.add_argument("--limit", metavar="N", type=integer, help="only the first N questions")
    add_prompts(parser)
    sampling = parser.add_argument_group("sampling")
    for option, default, text in (
        ("branches", 128, "branches of a question"),
        ("max-tokens", 32_768, "the most tokens of a branch"),
        ("seed", 0, "of all; every branch has its own"),
        ("top-k", 0, "only the likeliest tokens; 0: all"),
    ):
        sampling.add_argument(
            f"--{option}", metavar="N", type=integer, default=default, help=f"{text} (default: %(default)s)"
        )
    for option, number, text in (
        ("temperature", 0.7, "of branches; probes are greedy"),
        ("top-p", 1.0, "only the likeliest tokens with this probability together; 1: all"),
        ("min-p", 0.0, "only tokens with this share of the likeliest one's probability; 0: all"),
        ("repeat-penalty", 1.0, "1: none"),
    ):
        sampling.add_argument(
            f"--{option}", metavar="X", type=float, default=number, help=f"{text} (default: %(default)s)"
        )
    add_probing(parser, probes=probes)
    _add_limits(parser)
    parser.add_argument(
        "--shard", metavar="K/N", default="1/1", help="only every N-th question, from the K-th on; autotts merge joins"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="collect a few branches, and estimate tokens, time and money of all"
    )
    _add_answers(parser)
    parser.set_defaults(run=_collect, sample_only=not probes)


def _add_limits(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("limits")
    group.add_argument(
        "--concurrency", metavar="N", type=integer, default=16, help="requests at a time (default: %(default)s)"
    )
    group.add_argument("--budget-tokens", metavar="N", type=integer, help="stop before more are generated")
    group.add_argument("--budget-usd", metavar="X", type=float, help="stop before more is spent; needs --prices")
    group.add_argument(
        "--prices", metavar="FILE", help='USD per million tokens: {"models": {NAME: {"input": 1, "output": 4}}}'
    )


def _add_answers(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("answers")
    group.add_argument(
        "--extractor",
        metavar="NAME",
        default="boxed",
        help="boxed, number, choice, last_line, regex:PATTERN, or file.py:function (default: %(default)s)",
    )
    group.add_argument(
        "--equivalence",
        choices=("exact", "math"),
        default="math",
        help="which answers are one: equal strings, or mathematically equal ones (default: %(default)s)",
    )
    group.add_argument("--license", metavar="TEXT", default="", help="of the branches, for the store")


def _add_probe(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "probe",
        help="probe branches that exist",
        description="Probe the branches of a journal, or of a log: rows with a question and its branches as texts "
        "(generations, responses, outputs …) or one branch a row.",
    )
    parser.add_argument(
        "source", metavar="SOURCE", help="a .journal, or a .jsonl, .json, .csv or .parquet file of branches"
    )
    add_endpoint(parser)
    parser.add_argument("--out", metavar="DIR", type=Path, help="the folder of stores, for a log")
    parser.add_argument(
        "--benchmark", type=file_label, help="name of the benchmark, for a log (default: the name of the file)"
    )
    add_columns(parser)
    parser.add_argument("--branches-column", metavar="NAME", help="of the branches, in a log (default: a usual name)")
    add_prompts(parser)
    add_probing(parser)
    _add_limits(parser)
    _add_answers(parser)
    parser.set_defaults(run=_probe)


def _add_extract(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "extract",
        help="make a store of a journal",
        description="Make a store of a journal, perhaps with another extractor of answers. No model is called.",
    )
    parser.add_argument("journal", metavar="JOURNAL", type=Path)
    parser.add_argument("-o", "--output", metavar="DST", type=Path, required=True, help="the .h5 file to write")
    parser.add_argument("--probes", metavar="P", help="every, every:N, or none (default: as collected)")
    parser.add_argument("--model-label", type=label, help="name of the model in the store (default: as collected)")
    parser.add_argument("--benchmark", type=label, help="name of the benchmark in the store (default: as collected)")
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    _add_answers(parser)
    parser.set_defaults(run=_extract)


def _add_merge(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "merge",
        help="join the shards of a collection",
        description="Join the journals of the shards of one collection to a journal, and make its store.",
    )
    parser.add_argument("journals", metavar="JOURNAL", type=Path, nargs="+")
    parser.add_argument(
        "-o", "--output", metavar="DST", type=Path, required=True, help="the .h5 file to write; the journal lies beside"
    )
    parser.add_argument("--partial", action="store_true", help="join even where shards are missing")
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    _add_answers(parser)
    parser.set_defaults(run=_merge)


# -------------------------------------------------------------------- running


def _collect(arguments: argparse.Namespace) -> int:
    from autotts_gym.collection.building import check_shard
    from autotts_gym.collection.prompts import PromptForm, read_template
    from autotts_gym.collection.questions import Columns, read_tasks, source_name
    from autotts_gym.collection.settings import Settings, read_probes
    from autotts_gym.models import Sampling

    fill(arguments)
    shard = check_shard(arguments.shard)
    settings = Settings(
        branches=arguments.branches,
        interval=arguments.interval,
        max_tokens=arguments.max_tokens,
        sampling=Sampling(
            arguments.temperature, arguments.top_k, arguments.top_p, arguments.min_p, arguments.repeat_penalty
        ),
        seed=arguments.seed,
        prompt=PromptForm(arguments.prompt, read_template(arguments.template), arguments.system, arguments.thinking),
        suffix=arguments.suffix,
        closing=arguments.closing,
        probe_tokens=arguments.probe_tokens,
        probes=0 if arguments.sample_only else read_probes(arguments.probes),
    )
    tasks = read_tasks(
        arguments.questions,
        Columns(arguments.question_column, arguments.answer_column, arguments.id_column),
        arguments.limit,
    )
    benchmark = arguments.benchmark or source_name(arguments.questions)
    if shard[1] > len(tasks):
        raise AutottsError(f"shard: expected at most {len(tasks)} shards, one a question, got {shard[1]}")

    out: Path = arguments.out

    def path(model: str) -> Path:
        name = benchmark if shard == (1, 1) else f"{benchmark}.{shard[0]}-of-{shard[1]}"
        return out / model / f"{name}.journal"

    options = {"shard": shard, "dry": arguments.dry_run, "probe": bool(settings.probes)}
    outcome = _run(arguments, path, settings, tasks, benchmark, settings.max_tokens, **options)
    if arguments.dry_run:
        _estimate(outcome, settings, len(tasks[shard[0] - 1 :: shard[1]]), _price(arguments, outcome))
        return 0
    if shard != (1, 1):
        _report_run(outcome, _price(arguments, outcome))
        print(f"{outcome.index.path}: shard {shard[0]} of {shard[1]}; join them: autotts merge")
        return 0
    return _finish(arguments, outcome, settings.probes)


def _probe(arguments: argparse.Namespace) -> int:
    from autotts_gym.collection.index import Index
    from autotts_gym.collection.logs import read_logs
    from autotts_gym.collection.prompts import PromptForm, read_template
    from autotts_gym.collection.questions import Columns, source_name
    from autotts_gym.collection.runs import saved_prompts
    from autotts_gym.collection.settings import Settings, read_probes

    probes = read_probes(arguments.probes)
    if not probes:
        raise AutottsError("probes: expected every or every:N, got none")
    source = Path(arguments.source)
    if source.suffix == ".journal":
        for name in (*DEFAULTS, "out", "branches_column"):
            if (value := getattr(arguments, name)) is not None:
                raise AutottsError(
                    f"{name.replace('_', '-')}: expected none, since a journal keeps its own, got {quote(str(value))}"
                )
        index = Index.read(source)
        branches = 1 + max((branch for _, branch in index.tokens), default=0)
        settings = Settings.of(index.header["settings"], branches, probes)
        options: dict[str, Any] = {"prompts": saved_prompts(index), "shard": tuple(index.header["shard"])}
        outcome = _run(
            arguments,
            lambda model: source,
            settings,
            index.tasks(),
            index.header["benchmark"],
            settings.max_tokens,
            sample=False,
            **options,
        )
        return _finish(arguments, outcome, probes)
    if arguments.out is None:
        raise AutottsError("out: expected a folder for the store of a log (--out DIR)")
    fill(arguments)
    columns = Columns(arguments.question_column, arguments.answer_column, arguments.id_column)
    tasks, logs = read_logs(arguments.source, columns, arguments.branches_column or "")
    settings = Settings(
        branches=max(map(len, logs.values())),
        max_tokens=max(log.most_tokens for found in logs.values() for log in found),
        interval=arguments.interval,
        prompt=PromptForm(arguments.prompt, read_template(arguments.template), arguments.system, arguments.thinking),
        suffix=arguments.suffix,
        closing=arguments.closing,
        probe_tokens=arguments.probe_tokens,
        probes=probes,
    )
    benchmark = arguments.benchmark or source_name(arguments.source)
    outcome = _run(
        arguments,
        lambda model: arguments.out / model / f"{benchmark}.journal",
        settings,
        tasks,
        benchmark,
        settings.max_tokens,
        sample=False,
        logs=logs,
    )
    return _finish(arguments, outcome, probes)


def _run(
    arguments: argparse.Namespace, path: Any, settings: Any, tasks: Any, benchmark: str, most: int, **options: Any
) -> "Outcome":
    """Open the endpoint and collect."""
    from autotts_gym.collection.accounts import limits as check_limits
    from autotts_gym.collection.building import same_answer
    from autotts_gym.collection.extraction import extractor
    from autotts_gym.collection.questions import file_name
    from autotts_gym.collection.runs import Limits, run
    from autotts_gym.collection.settings import stored_name
    from autotts_gym.models import Patience, open_endpoint
    from autotts_gym.validation import check, is_real
    from autotts_gym.validation import integer as checked

    extractor(arguments.extractor)
    same_answer(arguments.equivalence)
    checked("concurrency", arguments.concurrency, 1, 4096)
    checked("retries", arguments.retries)
    check("timeout", arguments.timeout, is_real(arguments.timeout, 0.001), "a number of seconds above 0")
    check("wait", arguments.wait, is_real(arguments.wait, 0.0), "a number of seconds from 0")
    check_limits({"budget-tokens": arguments.budget_tokens, "budget-usd": arguments.budget_usd})
    if arguments.budget_usd is not None and not arguments.prices:
        raise AutottsError("budget-usd: expected prices too (--prices FILE)")
    patience = Patience(retries=arguments.retries, loading=arguments.wait)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    async def work() -> "Outcome":
        endpoint = await open_endpoint(
            arguments.model,
            model=arguments.model_name,
            server=arguments.server,
            timeout=arguments.timeout,
            patience=patience,
            slots=arguments.concurrency,
            context=arguments.context or most + 1024,
            notice=say,
        )
        async with endpoint:
            capabilities = await endpoint.capabilities(patience, say)
            for line in capabilities.lines():
                say(line)
            name = stored_name(capabilities.model)
            limits = Limits(
                concurrency=arguments.concurrency,
                tokens=arguments.budget_tokens,
                usd=arguments.budget_usd,
                price=_price_of(arguments, capabilities.model),
                patience=patience,
            )
            return await run(
                endpoint,
                capabilities,
                path(file_name(name)),
                settings,
                tasks,
                benchmark=benchmark,
                limits=limits,
                extract=arguments.extractor,
                equivalence=arguments.equivalence,
                show=True,
                **options,
            )

    return run_async(work())


def _price_of(arguments: argparse.Namespace, model: str) -> "Price | None":
    from autotts_gym.models.prices import Prices

    return Prices.load(arguments.prices).of(model) if arguments.prices else None


def _price(arguments: argparse.Namespace, outcome: "Outcome") -> "Price | None":
    return _price_of(arguments, outcome.index.header["capabilities"]["model"])


def _report_run(outcome: "Outcome", price: "Price | None") -> None:
    from autotts_gym.collection.accounts import summary_lines

    for line in summary_lines(outcome.index.accounts, price):
        print(line)
    if outcome.tokens:
        speed = outcome.tokens / outcome.seconds
        print(f"this run: {outcome.tokens:,} tokens in {outcome.seconds:.0f} s, {speed:,.0f} a second")
    if outcome.stopped:
        print("the budget ended it; the same command with a larger one goes on")


def _finish(arguments: argparse.Namespace, outcome: "Outcome", probes: int) -> int:
    """Make the store, and say what is in it."""
    from autotts_gym.collection.building import build

    built = build(
        outcome.index.path,
        extract=arguments.extractor,
        equivalence=arguments.equivalence,
        probes=probes,
        license_name=arguments.license,
    )
    path = outcome.index.path.with_suffix(".h5")
    picture = _save(built, path)
    _report_run(outcome, _price(arguments, outcome))
    _report_store(built, path, picture)
    return 0


def _save(built: "Built", path: Path) -> Path:
    """Write a store and the picture of it, whose path is returned."""
    from autotts_gym.collection import summary

    built.store.save(path)
    return summary.draw(built.store, path.with_suffix(".png"))


def _report_store(built: "Built", path: Path, picture: Path) -> None:
    from autotts_gym.collection import summary

    for line in summary.lines(built.store):
        print(line)
    for count, what in (
        (built.questions, "questions without a complete branch were left out"),
        (built.branches, "branches without all their probes were left out"),
        (built.refused, "branches do not fit the context of the server and were left out"),
        (built.bare, "branches have no log-probabilities, so the store has no signals of them"),
        (built.truncated, "branches were cut off by a limit and have no final answer"),
    ):
        if count:
            print(f"{count:,} {what}")
    print(f"{path}: {built.store.name}; picture: {picture}")


def _estimate(outcome: "Outcome", settings: Any, questions: int, price: "Price | None") -> None:
    """Say what all of a collection will take, from what a few branches took."""
    index = outcome.index
    sampled, probed = len(index.tokens), sum(map(len, index.probes.values()))
    asked = sum(len(settings.positions(tokens)) for tokens in index.tokens.values())
    if not sampled or (asked and not probed):
        raise AutottsError("budget: expected enough for one branch and its probes, got less")
    factor = questions * settings.branches / sampled
    of_probes = factor * asked / max(probed, 1)
    scaled = type(index.accounts)(
        **{
            name: round(count * (of_probes if name.startswith("probe") else factor))
            for name, count in asdict(index.accounts).items()
        }
    )
    print(
        f"from {sampled} branches, kept in {index.path}: all {questions * settings.branches:,} branches will take about"
    )
    print(f"  {scaled.branch_tokens:,} tokens of branches, {index.accounts.branch_tokens / sampled:,.0f} each")
    print(f"  {scaled.probe_tokens:,} tokens of probes")
    read = scaled.branch_prompt_tokens + scaled.probe_prompt_tokens
    cached = scaled.branch_cached_tokens + scaled.probe_cached_tokens
    print(f"  {read:,} tokens of prompts, {cached / max(read, 1):.0%} of them from the server's cache")
    if outcome.tokens:
        hours = outcome.seconds / outcome.tokens * scaled.generated / 3600
        speed = outcome.tokens / outcome.seconds
        print(f"  {hours:.2f} hours at {speed:,.0f} tokens a second, the speed of these branches")
    if price is not None:
        print(f"  {scaled.usd(price):,.2f} USD")


def _extract(arguments: argparse.Namespace) -> int:
    from autotts_gym.collection.building import build
    from autotts_gym.collection.settings import read_probes

    _check_outputs(arguments)
    built = build(
        arguments.journal,
        extract=arguments.extractor,
        equivalence=arguments.equivalence,
        probes=None if arguments.probes is None else read_probes(arguments.probes),
        model=arguments.model_label,
        benchmark=arguments.benchmark,
        license_name=arguments.license,
    )
    _report_store(built, arguments.output, _save(built, arguments.output))
    return 0


def _merge(arguments: argparse.Namespace) -> int:
    from autotts_gym.collection.building import build, merge_journals
    from autotts_gym.files import replacing

    journal = arguments.output.with_suffix(".journal")
    _check_outputs(arguments, journal)
    if journal.resolve() in [each.resolve() for each in arguments.journals]:
        raise StoreError(f"{plain(arguments.output)}: expected another name than that of a shard, got the same")
    with replacing(journal) as temporary:  # the journal is there once its store is
        merge_journals(arguments.journals, temporary, arguments.partial)
        built = build(
            temporary, extract=arguments.extractor, equivalence=arguments.equivalence, license_name=arguments.license
        )
        picture = _save(built, arguments.output)
    _report_store(built, arguments.output, picture)
    return 0


def _check_outputs(arguments: argparse.Namespace, *more: Path) -> None:
    """Refuse a store that is not named as one, and files that exist."""
    from autotts_gym.replay.importers import refuse_existing

    path: Path = arguments.output
    if path.suffix != ".h5":
        raise StoreError(f"{plain(path)}: expected a name that ends in .h5 for a store, got another")
    for each in (path, path.with_suffix(".png"), *more):
        refuse_existing(each, arguments.force)
