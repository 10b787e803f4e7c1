"""The hand-written families by their names."""

from autotts_gym.controllers.base import HandWritten

_FAMILIES: dict[str, type[HandWritten]] = {}


def register(family: type[HandWritten]) -> type[HandWritten]:
    """Class decorator: make the family known by its name."""
    _FAMILIES[family.name] = family
    return family


def controller_families() -> dict[str, type[HandWritten]]:
    """The hand-written families by name."""
    return dict(_FAMILIES)
