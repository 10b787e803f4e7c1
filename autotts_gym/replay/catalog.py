"""Stores by name.

A name is ``<model>/<benchmark>`` and stands for the file ``<model>/<benchmark>.h5`` in the first folder that has it:
the folders of ``$AUTOTTS_STORES`` (separated as in ``$PATH``), then the ``trajectories/`` that ship with the package.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from autotts_gym import validation
from autotts_gym.errors import StoreError, plain
from autotts_gym.replay.store import ReplayStore
from autotts_gym.validation import check

DEFAULT_STORE = "tiny/search"
"""What ``store=None`` means."""

_EXPECTED = "the name of a store, a path, a ReplayStore, or several of these"

StoreLike: TypeAlias = str | os.PathLike[str] | ReplayStore | Sequence[str | os.PathLike[str] | ReplayStore] | None


def search_path() -> list[Path]:
    """Return the folders in which names are looked up, in order."""
    folders = [Path(part) for part in os.environ.get("AUTOTTS_STORES", "").split(os.pathsep) if part]
    return [*folders, shipped_folder()]


def shipped_folder() -> Path:
    """Return the ``trajectories/`` of the package: inside it when installed, beside it in a checkout."""
    package = Path(validation.__file__).parent
    inside = package / "trajectories"
    return inside if inside.is_dir() else package.parent / "trajectories"


def list_stores() -> list[str]:
    """Return the names of all stores on the search path, sorted."""
    return sorted({file.relative_to(folder).with_suffix("").as_posix() for folder, file in _files()})


def _files() -> list[tuple[Path, Path]]:
    return [(folder, file) for folder in search_path() for file in folder.rglob("*.h5") if file.parent != folder]


def load_store(name_or_path: str | os.PathLike[str]) -> ReplayStore:
    """Open a store by its name on the search path, or by the path of its ``.h5`` file.

    Raises:
        StoreError: if there is none (the message says where it looked and what there is), or it is damaged.
    """
    check("store", name_or_path, isinstance(name_or_path, str | os.PathLike), _EXPECTED, StoreError)
    path = validation.path("store", name_or_path, StoreError)
    if path.suffix == ".h5" or os.path.isfile(path):  # which takes a name that no system takes
        return ReplayStore.load(path)
    relative = Path(f"{os.fspath(name_or_path)}.h5")
    for folder in search_path():
        if os.path.isfile(folder / relative):
            return ReplayStore.load(folder / relative)
    name = plain(os.fspath(name_or_path)) if os.fspath(name_or_path) else "''"
    raise StoreError(
        f"{name}: expected a .h5 file or the name of a store in {os.pathsep.join(map(str, search_path()))}, "
        f"got neither; there are: {', '.join(list_stores()) or 'none'}"
    )


def default_store() -> ReplayStore:
    """Open the store that ships with the package and that ``store=None`` means."""
    return load_store(DEFAULT_STORE)


def resolve_stores(store: StoreLike) -> list[ReplayStore]:
    """Return the stores that a ``store=`` argument means: a name, a path, a store, several of these, or None.

    Raises:
        StoreError: if one cannot be found or opened, or the sequence is empty.
    """
    if store is None:
        return [default_store()]
    if isinstance(store, ReplayStore):
        return [store]
    if isinstance(store, str | os.PathLike):
        return [load_store(store)]
    check("store", store, isinstance(store, Sequence) and not isinstance(store, bytes), _EXPECTED, StoreError)
    stores = [item if isinstance(item, ReplayStore) else load_store(item) for item in store]
    if not stores:
        raise StoreError("store: expected at least one store, got an empty sequence")
    return stores
