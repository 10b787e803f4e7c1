"""Controllers by their names."""

import logging
import os
from collections.abc import Sequence
from dataclasses import fields
from importlib.metadata import entry_points
from typing import Any

from autotts_gym import validation
from autotts_gym.controllers.base import MEMBERS, Controller, as_controller, fraction, knobs
from autotts_gym.controllers.families import controller_families
from autotts_gym.controllers.policies import Policy
from autotts_gym.controllers.programs import Program
from autotts_gym.errors import AutottsError, ControllerError, plain, quote
from autotts_gym.extensions import is_reference, make
from autotts_gym.replay import ReplayStore

logger = logging.getLogger(__name__)

ENTRY_POINTS = "autotts_gym.controllers"
"""Group of entry points by which packages bring classes of controllers, by their names."""


def make_controller(name: str | os.PathLike[str], /, **params: Any) -> Controller:
    """Make a controller by name.

    Args:
        name: ``sc``, ``asc``, ``esc``, ``parallel_probe``, ``cmc``, ``answer_consistency``, ``short_m``, ``doubling``,
            or what a package brings by an entry point of the group ``autotts_gym.controllers``; or the path of a
            trained policy, ``….zip``, whose knob is ``cost_weight``; or the path of a program, ``….py``, whose knob is
            ``beta``, and which is played in a ``sandbox``; or a class of your own, ``module:Class`` or
            ``path.py:Class``, which runs in this process, with all its rights.
        params: its knobs; or ``beta`` in [0, 1], from little to much budget, alone or with the knobs it leaves free.

    Raises:
        ControllerError: the name or a knob is unknown, or a value is out of range.
        ProgramError: a program does not pass the static checks.
    """
    named = isinstance(name, str | os.PathLike)
    validation.check("controller", name, named, "the name of a controller, or a path", ControllerError)
    name = os.fspath(name)
    if is_reference(name):
        return _own_controller(name, params)
    if name.endswith(".py"):
        unknown = sorted(set(params) - {"beta", "sandbox"})
        if unknown:
            raise ControllerError(f"{name}: expected the knob beta, got {plain(', '.join(unknown))}")
        return Program(name, **params)
    if name.endswith(".zip"):
        unknown = sorted(set(params) - {"cost_weight", "beta", "macros", "features"})
        if unknown:
            raise ControllerError(f"{name}: expected knobs cost_weight or beta, got {plain(', '.join(unknown))}")
        return Policy(name, **params)
    families = controller_families()
    family = families.get(name)
    brought = list(entry_points(group=ENTRY_POINTS, name=name)) if family is None else []
    if brought:
        return _own_controller(brought[0].value, params)
    if family is None:
        raise ControllerError(f"controller: expected one of {', '.join(sorted(families))}, got {quote(name)}")
    known = {knob.name for knob in fields(family)}  # type: ignore[arg-type]
    unknown = sorted(set(params) - known - {"beta"})
    if unknown:
        raise ControllerError(f"{name}: expected knobs {knobs(family)}, got {plain(', '.join(unknown))}")
    if "beta" in known or "beta" not in params:
        return family(**params)
    free = {knob: value for knob, value in params.items() if knob != "beta"}
    fraction(name, "beta", params["beta"])
    family(**free)  # checks the values before others are computed from them
    set_by_beta = family.knobs_of_beta(params["beta"], free)
    taken = sorted(set(free) & set(set_by_beta))
    if taken:
        raise ControllerError(f"{name}: expected knobs that beta leaves free, got {plain(', '.join(taken))}")
    return family(**free, **set_by_beta)


def _own_controller(reference: str, params: dict[str, Any]) -> Controller:
    """Make a controller of a user's class.

    Raises:
        ControllerError: there is no such class, it does not take these knobs, or what it makes is no controller.
    """
    try:
        controller: Controller = make("controller", reference, params, MEMBERS)
    except AutottsError as error:
        raise ControllerError(str(error)) from error
    return controller


def needs_probes(controller: Controller) -> bool:
    """Whether a controller cannot play on a store without probes."""
    return as_controller(controller).needs_probes


def lacks(controller: Controller, stores: "Sequence[ReplayStore]") -> list[str]:
    """What a controller needs that not every store has: "probes", and signals by their names."""
    needed = as_controller(controller)
    probes = ["probes"] * (needed.needs_probes and not all(store.has_probes for store in stores))
    return probes + [name for name in needed.needs_signals if any(name not in store.signals for store in stores)]


def check_stores(controller: Controller, stores: "Sequence[ReplayStore]") -> None:
    """Refuse a controller on stores that lack what it needs; a warning says once that one misses probes.

    Raises:
        ControllerError: it is refused.
    """
    bare = [store.name for store in stores if not store.has_probes]
    use = as_controller(controller).use_of_probes
    if bare and needs_probes(controller):
        free = ", ".join(sorted(name for name, family in controller_families().items() if not family.needs_probes))
        raise ControllerError(
            f"{controller.name}: expected a store with probes, as it {use}, got {plain(', '.join(bare))} without; "
            f"{free} need none"
        )
    for signal in as_controller(controller).needs_signals:
        bare_of = [store.name for store in stores if signal not in store.signals]
        if bare_of:
            raise ControllerError(
                f"{controller.name}: expected stores with the signal {quote(signal)}, got {plain(', '.join(bare_of))} "
                "without"
            )
    for signal in as_controller(controller).nonnegative_signals:
        for store in stores:
            least = float(store.signals[signal].min(initial=0.0))
            if least < 0:
                raise ControllerError(
                    f"{controller.name}: expected a signal that is never negative, where more is surer, got "
                    f"{quote(signal)} of {plain(store.name)}, down to {least:g}"
                )
    if bare and use:
        logger.warning(
            "%s %s: %s has no probes, so that nothing shows before a branch finishes",
            controller.name,
            use,
            plain(", ".join(bare)),
        )
