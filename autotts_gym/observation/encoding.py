"""Observations: lists of features, and the compiled encoder that is generated from each list."""

import copyreg
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from autotts_gym.engine.addresses import (
    NUMBERS,
    REVEALED_STATE,
    ROW,
    WORDS,
    call_branch_feature,
    call_feature,
    number_of,
)
from autotts_gym.engine.functions import machine_code
from autotts_gym.errors import AutottsError, quote
from autotts_gym.extensions import is_reference, load
from autotts_gym.observation import branches, evidence, pool
from autotts_gym.observation.features import BuiltIn, Feature
from autotts_gym.observation.quantities import QUANTITIES
from autotts_gym.observation.signals import MEANINGS, Ranges, SignalFeature, columns, signal_features
from autotts_gym.validation import read_only

BUILT_IN: dict[str, BuiltIn] = {
    feature.label: feature for module in (pool, evidence, branches) for feature in module.FEATURES
}
"""The features that are built in, by their labels."""

AnyFeature = Feature | BuiltIn | SignalFeature


def _built_in(label: str) -> BuiltIn:
    return BUILT_IN[label]


# There is one of each, in copies and in other processes too: its compiled function is not copied.
copyreg.pickle(BuiltIn, lambda feature: (_built_in, (feature.label,)))

KINDS: dict[str, tuple[AnyFeature, ...]] = {
    "dict": (*pool.FEATURES, *branches.FEATURES),
    "flat": (*pool.FEATURES, *branches.FEATURES),
    "pool": tuple(pool.FEATURES),
    "evidence": tuple(evidence.FEATURES),
}
"""The observations that have a name; only "dict" comes in two parts. Behind the features of a branch slot, "dict" and
"flat" have those of the signals that all stores have."""

_SIGNATURE = (
    (REVEALED_STATE, ROW, WORDS, NUMBERS),
    types.int64,
)


_compiled: dict[str, int] = {}
"""The addresses of the encoders of this process, by their names."""


@dataclass(frozen=True)
class Observation:
    """A list of features, in the order of the array: those of the episode, then those of each branch slot.

    Attributes:
        name: the name, the reference, or the names of the features, by which it can be asked for again.
        features: all of them, as they were listed.
    """

    name: str | tuple[str, ...]
    features: tuple[AnyFeature, ...]

    @cached_property
    def of_episode(self) -> tuple[AnyFeature, ...]:
        """P features of the episode."""
        return tuple(each for each in self.features if not each.of_branch)

    @cached_property
    def of_branch(self) -> tuple[AnyFeature, ...]:
        """F features of each branch slot."""
        return tuple(each for each in self.features if each.of_branch)

    @cached_property
    def in_two(self) -> bool:
        """Whether it comes as a dictionary of ``pool`` and ``branches``, else as one vector."""
        return self.name == "dict"

    def width(self, max_branches: int) -> int:
        """Numbers of one observation of an episode with M slots, P + M F."""
        return len(self.of_episode) + max_branches * len(self.of_branch)

    def bounds(self, max_branches: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The least and the most that each number can be, (P + M F,) each."""
        low = [each.low for each in self.of_episode] + [min(each.low, 0.0) for each in self.of_branch] * max_branches
        high = [each.high for each in self.of_episode] + [max(each.high, 0.0) for each in self.of_branch] * max_branches
        return np.array(low, np.float32), np.array(high, np.float32)

    def empty(self, episodes: int, max_branches: int) -> NDArray[np.float32]:
        """A fresh array for N observations, (N, P + M F)."""
        return np.empty((episodes, self.width(max_branches)), np.float32)

    @cached_property
    def _parts(self) -> int:
        return len(self.of_episode)

    def shown(self, encoded: NDArray[np.float32]) -> Any:
        """What an agent is given of one encoded observation (P + M F,), or of N of them."""
        if not self.in_two:
            return encoded
        parts = self._parts
        return {"pool": encoded[..., :parts], "branches": encoded[..., parts:]}

    @property
    def signals(self) -> Ranges:
        """The range of each signal that it has features of, by name."""
        return {each.signal: (each.least, each.most) for each in self.features if isinstance(each, SignalFeature)}

    @cached_property
    def _encoders(self) -> dict[tuple[str, ...], NDArray[np.int64]]:
        return {}

    def encoder(self, signal_names: tuple[str, ...] = ()) -> NDArray[np.int64]:
        """The words that the compiled encoder is called with: its address, and what its features ask for.

        These are the address of each feature of a user's and, of each feature of a signal, its column, the least of its
        range, and 1 / (most - least); the last two are float64. See ``call_encoder``.

        Args:
            signal_names: the signals that the stores have, in their order.

        Raises:
            AutottsError: a feature cannot be compiled, or the stores lack a signal.
        """
        if signal_names not in self._encoders:
            own = [each for each in self.features if isinstance(each, Feature)]
            of_signals = tuple(each for each in self.features if isinstance(each, SignalFeature))
            scales = [
                (each.least, 1.0 / (each.most - each.least) if each.most > each.least else 0.0) for each in of_signals
            ]
            words = np.zeros((len(of_signals), 3), np.int64)
            words[:, 0] = columns(of_signals, signal_names)
            words[:, 1:] = np.array(scales).reshape(-1, 2).view(np.int64)
            encode, name = _generate(self.of_episode, self.of_branch, own, of_signals)
            addresses = [each.address for each in own]
            if name not in _compiled:
                _compiled[name] = machine_code(encode, _SIGNATURE, f"observation {quote(self.name)}", apart=True)
            self._encoders[signal_names] = read_only(
                np.concatenate([np.array([_compiled[name], *addresses], np.int64), words.ravel()])
            )
        return self._encoders[signal_names]

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a pickle, without addresses."""
        return {"name": self.name, "features": self.features}

    def __deepcopy__(self, memo: dict[int, object]) -> "Observation":
        """Return itself: it never changes."""
        return self


Wanted = str | Feature | Sequence[str | Feature] | Observation
"""What ``choose_observation`` takes: a name, a reference, a list of features, or as ``choose_observation`` makes it."""

_NAMED = {name: Observation(name, features) for name, features in KINDS.items()}


def _generate(
    of_episode: Sequence[AnyFeature],
    of_branch: Sequence[AnyFeature],
    own: Sequence[Feature],
    of_signals: Sequence[SignalFeature],
) -> tuple[Callable[..., int], str]:
    """The encoder of a list of features, and its name, which holds a digest of its text."""
    known: dict[str, Any] = {
        "np": np,
        "call_feature": call_feature,
        "call_branch_feature": call_branch_feature,
        "number_of": number_of,
    }

    def compute(features: Sequence[AnyFeature], arguments: str, to: str, space: str) -> list[str]:
        lines = []
        for k, each in enumerate(features):
            out = f"out[{to}{k}]"
            if isinstance(each, BuiltIn):
                function = each.label.replace(".", "_")
                known[function] = each.part
                lines.append(f"{out} = np.float32({function}({', '.join((arguments, *each.uses))}))")
                continue
            if isinstance(each, SignalFeature):
                at = 1 + len(own) + 3 * of_signals.index(each)
                lines += [
                    f"y = s.signals[n, i, words[{at}]].{each.field} - number_of(words, {at + 1})",
                    f"y = min(max(y * number_of(words, {at + 2}), 0.0), 1.0)",
                    f"{out} = np.float32(y if s.slots[n, i].depth > 0 else 0.0)",
                ]
                continue
            call = "call_branch_feature" if each.of_branch else "call_feature"
            lines += [
                f"y = {call}(words[{1 + own.index(each)}], {arguments})",
                "if np.isnan(y):",
                f"    raise ValueError({f'feature {each.name}: expected a number, got NaN'!r})",
                f"{out} = np.float32(min(max(y, {each.low!r}), {each.high!r}))",
            ]
        return [space + line for line in lines]

    asked = {name for each in (*of_episode, *of_branch) if isinstance(each, BuiltIn) for name in each.uses}
    lines = [f"    {name} = shared_{name}(s, n)" for name in QUANTITIES if name in asked]
    known |= {f"shared_{name}": QUANTITIES[name] for name in asked}
    width, wide = len(of_branch), len(of_episode)
    lines += compute(of_episode, "s, n", "", "    ")
    if of_branch:
        lines += [f"    at = {wide}", "    for i in range(s.pools[n].opened):"]
        lines += compute(of_branch, "s, n, i", "at + ", "        ")
        lines += [f"        at += {width}"]
        lines += [f"    for k in range(at, {wide} + {width} * s.rules[0].max_branches):", "        out[k] = 0.0"]
    text = "\n".join([*lines, "    return 0", ""])
    name = "encode_" + hashlib.sha256(text.encode()).hexdigest()[:16]
    exec(compile(f"def {name}(s, n, words, out):\n{text}", str(Path(__file__)), "exec"), known)
    encode: Callable[..., int] = known[name]
    encode.__module__ = __name__
    return encode, name


def choose_observation(wanted: Any, own: Sequence[Feature] = (), signals: Ranges = MappingProxyType({})) -> Observation:
    """An observation by its name, by a reference to a list of features, or by the list.

    Args:
        wanted: "dict", "flat", "pool" or "evidence"; or features, each by its label (``"pool.top_share"``), by a
            reference (``"file.py:name"``), or as the decorator ``feature`` makes it; or a reference to such a list; or
            an observation, which stays as it is.
        own: features of a user's that a list may name.
        signals: the ranges of the signals that there are: all fields of all of them are observed in "dict" and "flat",
            and those that a list names (``"signals.confidence.mean"``).

    Raises:
        AutottsError: it is none of these, a feature comes twice, or there is no such feature.
    """
    if isinstance(wanted, Observation):
        return wanted
    if isinstance(wanted, str) and wanted in KINDS:
        of_signals = signal_features(signals) if wanted in ("dict", "flat") else ()
        return Observation(wanted, (*KINDS[wanted], *of_signals)) if of_signals else _NAMED[wanted]
    listed = load("observation", wanted) if isinstance(wanted, str) and is_reference(wanted) else wanted
    listed = [listed] if isinstance(listed, Feature) else listed
    if not isinstance(listed, list | tuple) or not listed:
        raise AutottsError(
            f"observation: expected one of {', '.join(KINDS)}, a list of features, or file.py:name, got {quote(wanted)}"
        )
    more: tuple[AnyFeature, ...] = (*own, *signal_features(signals))
    named = {**BUILT_IN, **{each.label: each for each in more}}
    features = tuple(_choose_feature(each, named) for each in listed)
    labels = [each.label for each in features]
    if len(set(labels)) < len(labels):
        raise AutottsError(f"observation: expected each feature once, got {quote(labels)}")
    names = tuple(
        each if isinstance(each, str) else feature.label for each, feature in zip(listed, features, strict=True)
    )
    return Observation(wanted if isinstance(wanted, str) else names, features)


def _choose_feature(wanted: Any, named: dict[str, AnyFeature]) -> AnyFeature:
    if isinstance(wanted, str) and wanted in named:
        return named[wanted]
    found = load("observation", wanted) if isinstance(wanted, str) and is_reference(wanted) else wanted
    if not isinstance(found, Feature):
        raise AutottsError(
            "observation: expected the name of a feature such as pool.top_share, what the decorator "
            f"autotts_gym.feature makes, or a reference to it such as file.py:name, got {quote(wanted)}"
            + (": no signal of all stores has it" if str(wanted).startswith("signals.") else "")
        )
    return found


def documentation() -> str:
    """All features that are built in, in tables of Markdown: number, name, meaning and range, as in the arrays."""
    where = {
        "pool": 'Of the episode, in `observation="dict"` (key `pool`), `"flat"` and `"pool"`',
        "branches": 'Of each branch slot, in `"dict"` (key `branches`) and, behind the pool, `"flat"`',
        "evidence": 'In `"evidence"`: what speaks for and against stopping',
    }
    lines = []
    for module in (pool, branches, evidence):
        group = module.FEATURES[0].group
        lines += [f"### {group}", "", f"{where[group]}:", "", "| number | name | meaning | range |"]
        lines += ["| --- | --- | --- | --- |"]
        lines += [f"| {k} | `{each.name}` | {each.meaning} | [0, 1] |" for k, each in enumerate(module.FEATURES)]
        lines.append("")
    fields = "; ".join(f"`signals.NAME.{field}`, {meaning}" for field, meaning in MEANINGS.items())
    lines += [
        "### signals",
        "",
        'Of each branch slot and each signal NAME that all stores have, behind the features of the slot in `"dict"` '
        f'and `"flat"`: {fields}. Each is the place between the least and the most that the stores have, in [0, 1]; 0 '
        "before the first interval.",
        "",
    ]
    return "\n".join(lines)
