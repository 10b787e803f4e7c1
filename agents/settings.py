"""Settings of a command: a dataclass, which is also a JSON file and the options of a command line."""

import io
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Annotated, Any, Self, TypedDict, get_args, get_origin, get_type_hints

import tyro
from tyro.conf import UseAppendAction, arg

from autotts_gym.errors import AutottsError, plain
from autotts_gym.validation import MAX_INTEGER, check, is_real


@dataclass(frozen=True)
class Allowed:
    """What a field may hold, as metadata of its type.

    Attributes:
        expected: in words that follow "expected".
        holds: whether a value is allowed.
    """

    expected: str
    holds: Callable[[Any], bool]


def one_of(*words: str) -> Allowed:
    """One of some words."""
    return Allowed(f"one of {', '.join(words)}", lambda word: word in words)


PositiveInt = Annotated[int, Allowed("at least 1", lambda number: number >= 1)]
NonNegativeInt = Annotated[int, Allowed("at least 0", lambda number: number >= 0)]
PositiveFloat = Annotated[float, Allowed("above 0", lambda number: number > 0)]
NonNegativeFloat = Annotated[float, Allowed("at least 0", lambda number: number >= 0)]
UnitFloat = Annotated[float, Allowed("a number in [0, 1]", lambda number: 0 <= number <= 1)]
Share = Annotated[float, Allowed("a share in [0, 1)", lambda share: 0 <= share < 1)]
CostWeights = Annotated[tuple[float, float], Allowed("0 < low <= high", lambda ends: 0 < ends[0] <= ends[1])]


def setting(text: str, default: Any) -> Any:
    """A field of a ``Settings`` class.

    Args:
        text: its documentation, which ``--help`` shows.
        default: its value where none is given.
    """
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Settings:
    """Base of the settings of a command; every field is made by ``setting``.

    Raises:
        AutottsError: naming the field, what was expected and what came.
    """

    def __post_init__(self) -> None:
        hints, extended = get_type_hints(type(self)), get_type_hints(type(self), include_extras=True)
        for item in fields(self):
            value = _typed(item.name, getattr(self, item.name), hints[item.name])
            object.__setattr__(self, item.name, value)
            for allowed in getattr(extended[item.name], "__metadata__", ()):
                check(item.name, value, allowed.holds(value), allowed.expected)
        self.validate()

    def validate(self) -> None:
        """Check what the types of the fields do not say."""

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str) -> Self:
        """Make one from plain values, such as those of a JSON file.

        Raises:
            AutottsError: a field is unknown or its value wrong.
        """
        unknown = sorted(set(values) - {item.name for item in fields(cls)})
        if unknown:
            name = f"{cls.__module__}.{cls.__qualname__}"
            raise AutottsError(f"{where}: expected fields of {name}, got {plain(', '.join(unknown))}")
        try:
            return cls(**values)
        except AutottsError as error:
            raise AutottsError(f"{where}: {error}") from error

    @classmethod
    def load(cls, path: str | os.PathLike[str], expected: str = "a JSON file") -> Self:
        """Read a JSON file.

        Raises:
            AutottsError: there is none, or it does not hold such settings.
        """
        try:
            values = json.loads(Path(path).read_text())
        except (OSError, ValueError, RecursionError) as error:
            raise AutottsError(f"{path}: expected {expected}, got {plain(error)}") from error
        if not isinstance(values, dict):
            raise AutottsError(f"{path}: expected a JSON object, got {type(values).__name__}")
        return cls.of(values, str(path))

    def as_dict(self) -> dict[str, Any]:
        """The fields, as values that JSON can hold."""
        return asdict(self)

    def to_json(self, every: bool = True) -> str:
        """The fields as JSON; all of them, or those that differ from their defaults."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        if not every:
            values = {item.name: values[item.name] for item in fields(self) if values[item.name] != item.default}
        return json.dumps(values, indent=2) + "\n"

    def updated(self, values: Mapping[str, Any]) -> Self:
        """A copy with other values in some fields."""
        return replace(self, **values)


def _typed(name: str, value: Any, hint: Any) -> Any:
    """A value as its field's type has it: whole numbers become floats, lists tuples; nothing else is bent."""
    if get_origin(hint) is tuple:
        inner = get_args(hint)
        check(name, value, isinstance(value, list | tuple), "a list")
        check(name, value, inner[-1] is Ellipsis or len(value) == len(inner), f"{len(inner)} values")
        return tuple(_typed(name, each, inner[0]) for each in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        check(name, value, is_real(value), "a finite number")
        value = float(value)
    check(name, value, isinstance(value, hint) and (hint is bool or not isinstance(value, bool)), hint.__name__)
    if hint is float:
        check(name, value, math.isfinite(value), "a finite number")
    if hint is int:
        check(name, value, abs(value) <= MAX_INTEGER, f"a whole number of at most {MAX_INTEGER}")
    return value


# -------------------------------------------------------------------- the command line


def read_command_line(
    module: str,
    text: str | None,
    kind: type[Settings],
    more: Mapping[str, tuple[Any, str]],
    arguments: Sequence[str] | None,
) -> dict[str, Any]:
    """Read a command line: ``--cost-weight 0.03 3`` sets ``cost_weight``; only what is set is returned.

    An option of any number of values may be repeated, which adds to them.

    Args:
        module: that is run.
        text: its docstring, whose first line is shown.
        kind: every field of this class is an option.
        more: type and documentation of further options, by name.
        arguments: of the command line; None: those of this process.

    Raises:
        AutottsError: the command line is not understood.
        SystemExit: help was asked for, and is printed.
    """
    command = f"python -m {module}"
    hints = {name: hint for name, (hint, _) in more.items()} | get_type_hints(kind)
    texts = {name: arg(help=text, help_behavior_hint="") for name, (_, text) in more.items()}
    texts |= {
        item.name: arg(help=item.metadata["help"], help_behavior_hint=f"(default: {_shown(item.default)})")
        for item in fields(kind)
    }
    several = {name for name, hint in hints.items() if get_args(hint)[-1:] == (Ellipsis,)}
    hints |= {name: UseAppendAction[tuple[hints[name], ...]] for name in several}  # type: ignore[valid-type]
    # Of a dictionary that is not total, tyro gives only the keys that are set.
    options = TypedDict("options", {name: Annotated[hint, texts[name]] for name, hint in hints.items()}, total=False)  # type: ignore[misc]
    unset: dict[str, Any] = dict.fromkeys(several, ())
    printed = io.StringIO()
    try:
        with redirect_stderr(printed):
            title = (text or "").partition("\n")[0]
            values = tyro.cli(options, prog=command, description=title, args=arguments, default=unset)
    except SystemExit as end:
        if not end.code:
            raise
        raise AutottsError(f"{_complaint(printed.getvalue())} (see {command} --help)") from None
    return {
        name: sum(value, ()) if name in several else value
        for name, value in values.items()
        if name not in several or value
    }


def _shown(default: Any) -> str:
    """A default as it would be typed."""
    return (" ".join(map(str, default)) if isinstance(default, tuple) else str(default)) or "none"


def _complaint(box: str) -> str:
    """What tyro complains of, out of the box that it draws: the lines between the title and the next rule.

    Where the terminal has no line-drawing characters, there is a rule below the title too.
    """

    def is_rule(line: str) -> bool:
        return not set(line) - set("─-")

    lines = [line.strip("│ ") for line in box.splitlines()[1:]]
    said = takewhile(lambda line: not is_rule(line), dropwhile(is_rule, lines))
    text = " ".join(said).removeprefix("Error parsing ")
    return plain(text[:1].lower() + text[1:], 500)
