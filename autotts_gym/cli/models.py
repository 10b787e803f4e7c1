"""The arguments of commands that ask a served model."""

import argparse
from typing import Any

from autotts_gym.cli.arguments import integer
from autotts_gym.collection import CLOSING, SUFFIX
from autotts_gym.errors import plain

DEFAULTS: dict[str, Any] = {
    "benchmark": "",
    "question_column": "",
    "answer_column": "",
    "id_column": "",
    "prompt": "auto",
    "template": "{{ question }}",
    "system": "",
    "thinking": "default",
    "interval": 500,
    "suffix": SUFFIX,
    "closing": CLOSING,
    "probe_tokens": 32,
}
"""What is fixed when a collection begins. The parsers leave it None where it is not given: a journal has its own."""


def fill(arguments: argparse.Namespace) -> None:
    """Fill in what a new collection is not told."""
    for name, value in DEFAULTS.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)


def add_endpoint(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a model and say how it is asked."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        metavar="ENDPOINT",
        action="append",
        required=True,
        help="http://host:port/v1; local:FILE.gguf, served in this process; or tiny, which ships. May be repeated, "
        "for several servers of one model",
    )
    group.add_argument("--model-name", metavar="NAME", default="", help="at a server that has several models")
    group.add_argument(
        "--server",
        choices=("auto", "llama.cpp", "vllm", "sglang", "openai"),
        default="auto",
        help="kind of the server; openai: any other, by text (default: ask it)",
    )
    group.add_argument(
        "--timeout", metavar="S", type=float, default=300.0, help="seconds of silence that end a request (default: 300)"
    )
    group.add_argument(
        "--wait", metavar="S", type=float, default=600.0, help="seconds that a server may load its model (default: 600)"
    )
    group.add_argument("--retries", metavar="N", type=integer, default=8, help="after a failure (default: %(default)s)")
    group.add_argument(
        "--context", metavar="N", type=integer, help="of a local model (default: max-tokens and 1,024 more)"
    )


def add_columns(parser: argparse.ArgumentParser) -> None:
    """Add the names of the columns of questions."""
    group = parser.add_argument_group("columns")
    for option in ("question", "answer", "id"):
        more = "; none: there is none" if option == "answer" else ""
        group.add_argument(f"--{option}-column", metavar="NAME", help=f"of the {option} (default: a usual name{more})")


def add_prompts(parser: argparse.ArgumentParser) -> None:
    """Add how prompts are made."""
    group = parser.add_argument_group("prompts")
    group.add_argument(
        "--prompt",
        choices=("auto", "chat", "text"),
        help="chat: by the model's chat template; text: the template alone; auto: chat where there is one "
        f"(default: {DEFAULTS['prompt']})",
    )
    group.add_argument(
        "--template",
        metavar="TEXT",
        help=f"Jinja, or @FILE; it may use question, id and all columns (default: {DEFAULTS['template']})",
    )
    group.add_argument("--system", metavar="TEXT", help="the message of the system (default: none)")
    group.add_argument(
        "--thinking",
        choices=("on", "off", "default"),
        help="whether the chat template turns thinking on (default: as it does by itself)",
    )


def add_probing(parser: argparse.ArgumentParser, *, probes: bool = True) -> None:
    """Add where branches are probed, and what with."""
    group = parser.add_argument_group("probing")
    if probes:
        group.add_argument(
            "--probes", metavar="P", default="every", help="every, every:N (interval), or none (default: %(default)s)"
        )
    for option, metavar, kind, text in (
        ("interval", "N", integer, "Δ, tokens between probes"),
        ("suffix", "TEXT", str, "what a probe asks with"),
        ("closing", "TEXT", str, "what ends an open thinking block before it"),
        ("probe-tokens", "N", integer, "the most tokens of a probe"),
    ):
        value = DEFAULTS[option.replace("-", "_")]
        shown = plain(repr(value)).replace("%", "%%")
        group.add_argument(f"--{option}", metavar=metavar, type=kind, help=f"{text} (default: {shown})")
