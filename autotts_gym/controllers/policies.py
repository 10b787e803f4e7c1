"""Trained policies as controllers: the files that ``python -m agents.train`` writes."""

import importlib
import json
import math
import os
import shlex
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotts_gym.actions.macros import MACROS, Macro, MacroTable, choose_macros
from autotts_gym.controllers.base import Controller, Places, checked_memory, fraction
from autotts_gym.controllers.fingerprints import differences, identity
from autotts_gym.engine import Revealed, RoundPlan, layout
from autotts_gym.engine.plan import arrays_of
from autotts_gym.errors import AutottsError, ControllerError, plain, quote
from autotts_gym.observation.encoding import Observation, choose_observation
from autotts_gym.observation.features import Feature
from autotts_gym.observation.rows import encode
from autotts_gym.validation import check, is_real

CARD = "autotts.json"
"""The entry of a policy's zip file that says what it was trained in."""

IDENTITY = "identity.json"
"""The entry with its name, and with what its observations and actions were: see ``controllers.fingerprints``."""

_ALGORITHMS = {
    "maskable_ppo": ("sb3_contrib", "MaskablePPO"),
    "ppo": ("stable_baselines3", "PPO"),
    "dqn": ("stable_baselines3", "DQN"),
    "qrdqn": ("sb3_contrib", "QRDQN"),
}
_EXPECTED = {
    "algorithm": tuple(_ALGORITHMS),
    "env": ("AutoTTS-ReplayRounds-v0", "AutoTTS-Replay-v0"),
}


def read_card(path: Path) -> dict[str, Any]:
    """The card of a policy, from its file.

    Raises:
        ControllerError: the file is absent, or not that of a policy.
    """
    try:
        with zipfile.ZipFile(path) as file:
            card = json.loads(file.read(CARD))
    except FileNotFoundError:
        raise ControllerError(f"{path}: no such file") from None
    except (zipfile.BadZipFile, KeyError, OSError, ValueError, RecursionError) as error:
        raise ControllerError(
            f"{path}: expected a policy of agents.train with an entry {CARD}: {plain(error)}"
        ) from error
    if not isinstance(card, dict) or card.get("format") != "autotts-policy" or card.get("version") != 1:
        raise ControllerError(f"{path}: {CARD}: expected format 'autotts-policy', version 1")
    for field, known in _EXPECTED.items():
        if card.get(field) not in known:
            raise ControllerError(f"{path}: {CARD}: {field}: expected one of {known}, got {quote(card.get(field))}")
    return card


def read_identity(path: Path) -> dict[str, Any] | None:
    """The name of a policy, and what its observations and actions were when it was trained; None: the file is older.

    Raises:
        ControllerError: the entry is damaged.
    """
    with zipfile.ZipFile(path) as file:
        if IDENTITY not in file.namelist():
            return None
        try:
            saved = json.loads(file.read(IDENTITY))
        except (ValueError, RecursionError) as error:
            raise ControllerError(f"{path}: {IDENTITY}: expected JSON: {plain(error)}") from error
    parts = ("features", "actions", "constants")
    if not isinstance(saved, dict) or not all(isinstance(saved.get(part), dict) for part in parts):
        raise ControllerError(f"{path}: {IDENTITY}: expected an object with {', '.join(parts)}")
    return saved


def identity_of(
    card: Mapping[str, Any], macros: Sequence[Macro] = (), features: Sequence[Feature] = ()
) -> dict[str, Any]:
    """What the observations and actions that a policy's file names are at present.

    Args:
        card: what the file says.
        macros: the user's own macros that it names.
        features: the user's own features that it names.

    Raises:
        AutottsError: it names a macro or a feature that there is not.
    """
    names = card["macros"] if card["env"] == "AutoTTS-ReplayRounds-v0" else None
    chosen = None if names is None else named_macros(names, macros)
    return identity(_observation_of(card, features), chosen, card["max_branches"], card["accounting"])


def _observation_of(card: Mapping[str, Any], features: Sequence[Feature]) -> Observation:
    """What a policy observes: of signals those that the stores of its training had, between the ends that they had."""
    ranges = card.get("signals", {})
    good = isinstance(ranges, dict) and all(
        isinstance(ends, list) and len(ends) == 2 and all(map(is_real, ends)) for ends in ranges.values()
    )
    check(f"{CARD}: signals", ranges, good, "the least and the most of each signal by its name")
    signals = {name: (low, high) for name, (low, high) in ranges.items()}
    return choose_observation(card["observation"], features, signals)


def named_macros(names: Sequence[str], own: Sequence[Macro] = ()) -> tuple[Macro, ...]:
    """Macros by name: the user's own, or else those that are built in.

    Raises:
        AutottsError: there is no such macro, or one comes twice.
    """
    known = {macro.name: macro for macro in own}
    return choose_macros([known.get(name, name) for name in names])


def _zero(_progress: float) -> float:
    return 0.0


class Policy(Controller):
    """A policy trained by Stable-Baselines3, deciding for all running episodes at once, greedily.

    Attributes:
        path: its file.
        card: what the file says of its training.
        cost_weight: reward lost per token unit of total tokens (that of the store it plays on), which it observes; the
            knob that sweeps its frontier.
        observation: what it observes.
    """

    use_of_probes = "observes what branches show before they finish"

    def __init__(
        self,
        path: str | os.PathLike[str],
        cost_weight: float | None = None,
        beta: float | None = None,
        macros: Sequence[Macro] = (),
        features: Sequence[Feature] = (),
    ) -> None:
        """Read a policy's file.

        Args:
            path: a zip file with an entry ``autotts.json``.
            cost_weight: at least 0; None: the geometric middle of the range it was trained on.
            beta: instead of a cost weight, a budget knob in [0, 1]: from the largest to the smallest of that range.
            macros: the user's own macros that it was trained with.
            features: the user's own features that it observes; those that its file names by a reference are found.

        Raises:
            ControllerError: the file is not that of a policy, a knob is out of range, or the features, macros or
                constants that the policy was trained with were others than those of today.
        """
        self.path = Path(path)
        self.card = read_card(self.path)
        self.identity = read_identity(self.path)
        self.name = self._name()
        self.macros, self.features = tuple(macros), tuple(features)
        self._check_identity()
        self.observation = _observation_of(self.card, self.features)
        low, high = self.card["cost_weight"]
        if cost_weight is not None and beta is not None:
            raise ControllerError(f"{self.name}: expected cost_weight or beta, got both")
        if cost_weight is None:
            fraction(self.name, "beta", 0.5 if beta is None else beta)
            cost_weight = math.exp(math.log(high) + (0.5 if beta is None else beta) * math.log(low / high))
        good = (
            isinstance(cost_weight, int | float) and not isinstance(cost_weight, bool) and 0 <= cost_weight < math.inf
        )
        if not good:
            raise ControllerError(
                f"{self.name}: cost_weight: expected a number of at least 0, got {quote(cost_weight)}"
            )
        self.cost_weight = float(cost_weight)
        self._model: Any = None

    def _check_identity(self) -> None:
        """Refuse a policy whose features, macros or constants have changed since its training."""
        try:
            now = identity_of(self.card, self.macros, self.features)
        except (AutottsError, TypeError, KeyError) as error:
            raise ControllerError(
                f"{self.path}: expected the macros and features that the policy was trained with: {plain(error)}; hand "
                "over those of your own by Policy(path, macros=[...], features=[...])"
            ) from error
        if self.identity is None:
            warnings.warn(
                f"{self.path}: this policy was saved before files said what features and macros mean; if none of them "
                f"has changed since, note it by: python -m agents.policies {shlex.quote(str(self.path))}",
                stacklevel=3,
            )
            return
        found = differences(self.identity, now)
        if found:
            more = f", and {len(found) - 5} more" if len(found) > 5 else ""
            raise ControllerError(
                f"{self.path}: expected a policy trained with the features, macros and constants of this version, "
                f"but {'; '.join(found[:5])}{more}. Play it with the version it was trained with"
                f"{self._trained_at()}, or train it anew"
            )

    def _trained_at(self) -> str:
        commit = self.card.get("git_commit")
        return f" (commit {plain(commit, 40)})" if commit else ""

    def _name(self) -> str:
        """The name of the run; outside of a run that of the file, or the one noted in it if that is best or final."""
        if self.path.stem not in ("best", "final"):
            return self.path.stem
        folder = self.path.resolve().parent
        noted = (self.identity or {}).get("name")
        return noted if isinstance(noted, str) and noted and not (folder / "config.json").exists() else folder.name

    @property
    def params(self) -> dict[str, Any]:
        """The cost weight, to four digits."""
        return {"cost_weight": float(f"{self.cost_weight:.4g}")}

    @property
    def needs_signals(self) -> tuple[str, ...]:
        """The signals that it observes."""
        return tuple(sorted(self.observation.signals))

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a pickle, without the network: the other process reads it from the file."""
        return {**self.__dict__, "_model": None}

    def _load(self) -> Any:
        if self._model is None:
            module, algorithm = _ALGORITHMS[self.card["algorithm"]]
            try:
                loaded = getattr(importlib.import_module(module), algorithm)
            except ImportError as error:
                raise ControllerError(f"{self.path}: expected the extra autotts_gym[agents]: {plain(error)}") from error
            # What only training needs is replaced, so that the schedules in the file are not run.
            unused = {"learning_rate": 0.0, "lr_schedule": _zero, "clip_range": _zero, "exploration_schedule": _zero}
            self._model = loaded.load(self.path, device="cpu", custom_objects=unused)
        return self._model

    def begin(self, revealed: Revealed) -> Any:
        """Arrays for observations, and the macro actions if it acts by rounds.

        Raises:
            ControllerError: the episodes have another number of branch slots than it was trained with.
        """
        slots = revealed.rules.max_branches
        if slots != self.card["max_branches"]:
            raise ControllerError(f"{self.path}: expected max_branches={self.card['max_branches']}, got {slots}")
        self._load()
        out = self.observation.empty(revealed.episodes, slots)
        if self.card["env"] == "AutoTTS-Replay-v0":
            return out, None
        names = self.card["macros"]
        return out, MacroTable(MACROS if names is None else named_macros(names, self.macros), revealed.episodes, slots)

    def _places(self, revealed: Revealed) -> Places:
        width = self.observation.width(revealed.rules.max_branches)
        return ((np.dtype(np.float32), (revealed.episodes, width)),)

    def decide(self, revealed: Revealed, memory: Any, plan: RoundPlan) -> None:
        """Observe, predict, and write the chosen actions as a round."""
        arrays_of(plan, revealed.slots.shape)
        out, table = memory if isinstance(memory, tuple) and len(memory) == 2 else (memory, None)
        checked_memory(self.name, (out,), self._places(revealed))
        observation = self.observation
        running = revealed.pools["stop_reason"] == layout.RUNNING
        priced = revealed.priced(self.cost_weight, float(self.card["latency_weight"]))
        encode(priced.addresses, running, observation.encoder(revealed.signal_names), out)
        rows = np.flatnonzero(running)
        masks = revealed.admissible if table is None else table.masks(revealed)
        actions = greedy(self._model, observation.shown(out[rows]), masks[rows].astype(np.bool_))
        if table is None:
            _write_primitives(actions, rows, plan)
        else:
            table.write(revealed, actions, rows, plan)


def greedy(model: Any, observations: Any, masks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The admissible actions with the highest values, (N,).

    An algorithm that was trained without masks learns that a forbidden action does nothing. Without the masks it
    could ask for a forbidden action for ever.

    Args:
        model: an algorithm of Stable-Baselines3 or sb3-contrib: PPO, MaskablePPO, DQN or QRDQN.
        observations: N of them.
        masks: (N, actions) bool, which actions are admissible.
    """
    import torch

    with torch.no_grad():
        batch, _ = model.policy.obs_to_tensor(observations)
        if hasattr(model, "quantile_net"):
            wanted = model.quantile_net(batch).mean(dim=1)
        elif hasattr(model, "q_net"):
            wanted = model.q_net(batch)
        else:
            wanted = model.policy.get_distribution(batch).distribution.logits
        actions: NDArray[np.int64] = wanted.masked_fill(~torch.as_tensor(masks), -torch.inf).argmax(dim=1).numpy()
    return actions


def _write_primitives(actions: NDArray[np.int64], rows: NDArray[np.int64], plan: RoundPlan) -> None:
    """Write primitive actions into a plan."""
    max_branches = plan.deepen.shape[1]
    plan.stop[rows] = actions == layout.STOP
    plan.open[rows] = actions == layout.BRANCH
    verb, branch = np.divmod(actions - layout.FIRST_DEEPEN, max_branches)
    plan.deepen[rows[verb == 0], branch[verb == 0]] = 1
    plan.prune[rows[verb == 1], branch[verb == 1]] = True
