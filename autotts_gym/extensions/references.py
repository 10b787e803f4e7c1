"""References to objects of users, and the modules that their files become."""

import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from autotts_gym.errors import AutottsError, plain, quote

_PACKAGE = "autotts_gym.extensions"
_FILE = f"{_PACKAGE}.file_"
_REFERENCE = re.compile(r"(?P<where>.+):(?P<name>[^\W\d]\w*)")
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def is_reference(value: Any) -> bool:
    """Whether a value has the form of a reference: ``module:object`` or ``file.py:object``."""
    match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return match is not None and (match["where"].endswith(".py") or bool(_MODULE.fullmatch(match["where"])))


def load(what: str, reference: str) -> Any:
    """The object that a reference names.

    Args:
        what: what it is to be, for messages.
        reference: ``module:object``, or ``path.py:object`` with a path from the folder of this process.

    Raises:
        AutottsError: the reference has another form, there is no such file or module, it cannot be imported, or it has
            no such object.
    """
    if not is_reference(reference):
        raise AutottsError(f"{what}: expected module:object or path.py:object, got {quote(reference)}")
    match = _REFERENCE.fullmatch(reference)
    assert match is not None
    where, name = match["where"], match["name"]
    if where.endswith(".py"):
        path = Path(where).absolute()
        if not path.is_file():
            raise AutottsError(f"{what}: expected a file, got {quote(where)}, which is none")
        where = _FILE + os.fsencode(path).hex()
    try:
        module = importlib.import_module(where)
    except AutottsError:
        raise
    except (Exception, SystemExit) as error:
        kind = type(error).__name__
        raise AutottsError(f"{what}: {plain(reference)} cannot be imported: {kind}: {plain(error)}") from error
    if not hasattr(module, name):
        raise AutottsError(f"{what}: expected {quote(name)} to be defined in {plain(match['where'])}")
    return getattr(module, name)


def make(what: str, reference: str, arguments: Mapping[str, Any], members: Sequence[str], known: str = "") -> Any:
    """Make an instance of a user's class.

    Args:
        what: it is to be, for messages.
        reference: of the class, as ``load`` takes it.
        arguments: for it, by name.
        members: the names that the instance must have.
        known: what else could have been asked for, for messages.

    Raises:
        AutottsError: there is no such class, it does not take these arguments, or a member is missing.
    """
    family = load(f"{what}: expected {known}, or a class of yours" if known else what, reference)
    if not callable(family):
        raise AutottsError(f"{plain(reference)}: expected a class of a {what}, got {quote(family)}")
    try:
        made = family(**arguments)
    except TypeError as error:
        raise AutottsError(f"{plain(reference)}: {plain(error)}") from error
    missing = [name for name in members if not hasattr(made, name)]
    if missing:
        raise AutottsError(
            f"{plain(reference)}: expected a {what}, got {type(made).__name__} without {', '.join(missing)}"
        )
    return made


class _Finder:
    """Finds the files that references name, by the names of their modules."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The file of a module whose name holds a path; None for all others."""
        if not name.startswith(_FILE):
            return None
        file = os.fsdecode(bytes.fromhex(name.removeprefix(_FILE)))
        return importlib.util.spec_from_file_location(name, file)


sys.meta_path.append(_Finder)
