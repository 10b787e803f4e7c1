"""What writes programs: language models, coding agents, any executable, and evolution."""

import json
from collections.abc import Sequence
from importlib import import_module
from inspect import Parameter, signature
from typing import Any

from agents.explorer.proposers.base import Proposer
from autotts_gym.errors import AutottsError, plain, quote
from autotts_gym.extensions import is_reference, make

_KINDS: dict[str, tuple[str, str, str]] = {
    "evolve": ("evolve", "Evolve", ""),
    "openai": ("openai_api", "OpenAIProposer", "model"),
    "anthropic": ("anthropic_api", "AnthropicProposer", "model"),
    "claude-code": ("coding_agent", "ClaudeCode", "model?"),
    "codex": ("coding_agent", "Codex", "model?"),
    "exec": ("executable", "ExecutableProposer", "command"),
}
"""By kind: module, class, and the argument that stands after the colon; with a question mark, it may be left out."""


def make_proposer(spec: str, **options: Any) -> Proposer:
    """Make a proposer.

    Args:
        spec: ``evolve``, ``openai:MODEL``, ``anthropic:MODEL``, ``claude-code[:MODEL]``, ``codex[:MODEL]`` or
            ``exec:COMMAND``; or a class of your own, ``file.py:Class`` or ``module:Class``.
        options: keyword arguments of its class.

    Raises:
        AutottsError: there is no such proposer or option, or a package is missing.
    """
    kind, colon, rest = spec.partition(":")
    if kind not in _KINDS and is_reference(spec):
        known = f"one of {', '.join(_KINDS)}"
        own: Proposer = make("proposer", spec, options, ("name", "bound", "propose"), known)
        return own
    if kind not in _KINDS:
        raise AutottsError(f"proposer: expected one of {', '.join(_KINDS)}, got {quote(spec)}")
    module, name, argument = _KINDS[kind]
    known = argument.removesuffix("?")
    if bool(rest) < (bool(argument) and not argument.endswith("?")):
        raise AutottsError(f"proposer: expected {kind}:{known.upper()}, got {quote(spec)}")
    if colon and (not argument or not rest):
        raise AutottsError(f"proposer: expected {kind}{f'[:{known.upper()}]' if argument else ''}, got {quote(spec)}")
    family = getattr(import_module(f"agents.explorer.proposers.{module}"), name)
    parameters = [each for each in _parameters(family) if each != known]
    unknown = sorted(set(options) - set(parameters))
    if unknown:
        raise AutottsError(
            f"{kind}: expected options {', '.join(parameters) or '(none)'}, got {plain(', '.join(unknown))}"
        )
    proposer: Proposer = family(**options, **({known: rest} if rest else {}))
    return proposer


def _parameters(family: type) -> list[str]:
    """Names of the arguments that a class takes; those that it hands on to its base are its base's.

    A key is never an option: a run's folder keeps those.
    """
    found: list[str] = []
    for each in family.__mro__:
        if "__init__" in vars(each):
            parameters = list(signature(vars(each)["__init__"]).parameters.values())[1:]
            found += [p.name for p in parameters if p.kind is not Parameter.VAR_KEYWORD and p.name not in found]
            if all(p.kind is not Parameter.VAR_KEYWORD for p in parameters):
                break
    return [name for name in found if name != "api_key"]


def read_options(texts: Sequence[str]) -> dict[str, Any]:
    """Options as a command line gives them, ``NAME=VALUE``; a value that is JSON is that, any other a string.

    Raises:
        AutottsError: one has another form.
    """
    options: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name.isidentifier() or not equals:
            raise AutottsError(f"option: expected NAME=VALUE, got {quote(text)}")
        try:
            options[name] = json.loads(value)
        except (ValueError, RecursionError):
            options[name] = value
    return options
