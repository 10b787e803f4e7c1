"""``autotts solve``: a controller on a served model."""

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotts_gym.cli.arguments import Subparsers, add_controller, integer, read_controller
from autotts_gym.cli.models import add_endpoint, add_probing, add_prompts
from autotts_gym.cli.screen import show
from autotts_gym.errors import AutottsError, quote

if TYPE_CHECKING:
    from autotts_gym.live import Solution
    from autotts_gym.live.state import LiveState


def add_parsers(subparsers: Subparsers) -> None:
    """Add the commands of this module."""
    _add_solve(subparsers)


def _add_solve(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "solve",
        help="answer a question with a controller on a served model",
        description="Answer a question: a controller decides which branches a served model opens and grows, which are "
        "pruned, and when to stop. Branches are shown as they grow.",
    )
    parser.add_argument("text", metavar="QUESTION", help="the question, or - to read it from standard input")
    add_endpoint(parser)
    add_controller(parser)
    add_prompts(parser)
    _add_sampling(parser)
    add_probing(parser, probes=False)
    group = parser.add_argument_group("limits")
    group.add_argument(
        "--max-branches", metavar="M", type=integer, default=64, help="branch slots (default: %(default)s)"
    )
    group.add_argument("--token-budget", metavar="T", type=integer, help="total tokens of branches (default: no limit)")
    group.add_argument(
        "--deadline", metavar="TIME", type=seconds, help="give the best answer so far after it: 30s, 2m (default: none)"
    )
    group.add_argument("--concurrency", metavar="N", type=integer, help="requests at a time (default: 16)")
    group.add_argument(
        "--ahead", action="store_true", help="begin the next interval of a branch while its probe is answered"
    )
    parser.add_argument("--extractor", metavar="NAME", help="of answers, as in autotts collect (default: boxed)")
    parser.add_argument("--equivalence", choices=("exact", "math"), help="which answers are one (default: math)")
    parser.add_argument("--jsonl", metavar="FILE", type=Path, help="a file for the trace: a line a round, and the end")
    parser.add_argument("--picture", metavar="FILE", type=Path, help="a .png, .svg or .pdf file for the picture")
    parser.add_argument("--text", dest="whole", action="store_true", help="print the branch that stands for the answer")
    parser.set_defaults(run=_solve)


def _add_sampling(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("sampling")
    for option, kind in (
        *(("max-tokens", integer), ("seed", integer), ("top-k", integer)),
        *(("temperature", float), ("top-p", float), ("min-p", float), ("repeat-penalty", float)),
    ):
        group.add_argument(f"--{option}", metavar="X", type=kind, help="as in autotts collect")


def seconds(text: str) -> float:
    """Read a time: seconds, or a number with s, m or h.

    Raises:
        ArgumentTypeError: it is none.
    """
    factor = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1:], 0.0)
    try:
        value = float(text[:-1]) * factor if factor else float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a time such as 30s or 2m, got {quote(text)}")
    return value


OPTIONS = (
    *("max_tokens", "seed", "top_k", "temperature", "top_p", "min_p", "repeat_penalty"),
    *("prompt", "template", "system", "thinking", "interval", "suffix", "closing", "probe_tokens"),
    *("concurrency", "extractor", "equivalence"),
)
"""Options of ``LiveSource`` that have arguments of their names."""


def source_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """What a command line says of a live source; what it does not say is left to the source."""
    from autotts_gym.collection.prompts import read_template
    from autotts_gym.models import Patience

    given = {name: getattr(arguments, name) for name in OPTIONS if getattr(arguments, name) is not None}
    if "template" in given:
        given["template"] = read_template(given["template"])
    return {
        **given,
        "model": arguments.model_name,
        "server": arguments.server,
        "timeout": arguments.timeout,
        "patience": Patience(retries=arguments.retries, loading=arguments.wait),
        "ahead": arguments.ahead,
    }


def _solve(arguments: argparse.Namespace) -> int:
    from autotts_gym.envs.rendering import save_picture
    from autotts_gym.live import LiveSource, solve

    text = sys.stdin.read() if arguments.text == "-" else arguments.text
    if not text.strip():
        raise AutottsError("QUESTION: expected a text, got an empty one")
    endpoint = arguments.model[0] if len(arguments.model) == 1 else arguments.model
    controller = read_controller(arguments)
    with LiveSource(endpoint, [text], **source_options(arguments)) as source, _Screen() as screen:
        solution = solve(
            text,
            source=source,
            controller=controller,
            max_branches=arguments.max_branches,
            token_budget=arguments.token_budget,
            deadline=arguments.deadline,
            watch=screen.watch,
        )
    if arguments.jsonl:
        solution.trace.write_jsonl(arguments.jsonl)
    if arguments.picture:
        save_picture(solution.trace.state, 0, arguments.picture)
    _report(solution, arguments.whole)
    for path in (arguments.jsonl, arguments.picture):
        if path:
            print(path)
    return 0


class _Screen:
    """Shows an episode as it goes on, where standard error is a terminal."""

    def __init__(self) -> None:
        self._live: Any = None

    def __enter__(self) -> "_Screen":
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), transient=True, refresh_per_second=8)
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def watch(self, state: "LiveState") -> None:
        """Show the episode after a round."""
        if self._live is not None:
            from rich.text import Text

            from autotts_gym.envs.rendering import render_ansi

            self._live.update(Text.from_ansi(render_ansi(state, 0)))


def _report(solution: "Solution", whole: bool) -> None:
    """Print the answer, the votes, and what it took."""
    from rich.text import Text

    from autotts_gym.envs.rendering import render_ansi

    usage = solution.usage
    show(Text.from_ansi(render_ansi(solution.trace.state, 0)), "")
    if whole:
        print(solution.text.strip() + "\n")
    votes = ", ".join(f"{answer} ({count})" for answer, count in solution.votes[:8])
    print(f"answer: {'none' if solution.answer is None else solution.answer}{' (forced)' * solution.forced}")
    print(f"votes: {votes or 'none'}")
    print(
        f"{solution.branches} branches, {solution.total_tokens:,} tokens, {solution.sequential_tokens:,} sequential; "
        f"{solution.stop_reason} after {solution.seconds:.1f} s"
    )
    print(
        f"generated: {usage.branch_tokens:,} tokens of branches ({usage.vain_tokens:,} in vain), "
        f"{usage.probe_tokens:,} of {usage.probes:,} probes"
        + (f", {usage.lost_tokens:,} lost in streams that broke off" if usage.lost_tokens else "")
    )
    against = solution.sc_tokens()
    if against:
        print(f"SC@64 would take about {against:,} tokens, by the branches that finished")
