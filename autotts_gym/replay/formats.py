"""The modules that read and write files of stores, by the form of the file; each is loaded when it is first used.

They import the store, and the store imports none of them.
"""

from importlib import import_module
from typing import Any

_MODULES = {"hdf5": "autotts_gym.replay.hdf5", "json": "autotts_gym.replay.importers"}


def module(form: str) -> Any:
    """The module of a form."""
    return import_module(_MODULES[form])
