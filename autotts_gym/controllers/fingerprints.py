"""What a policy's observations and actions mean, as names and fingerprints: a policy is never played with others.

A feature or a macro is known by its name, and by a fingerprint of what its code gives in scripted episodes on a tiny
made-up store. So comments and formatting change nothing, and neither do features that a policy does not observe; a
constant, a vote's weight or a rule of the ledger that changes what a policy sees or does is noticed.
"""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from autotts_gym.actions.macros import Macro
from autotts_gym.engine import Bank, PoolState, RoundPlan, Rules
from autotts_gym.engine.layout import BRANCH, FIRST_DEEPEN, RUNNING
from autotts_gym.engine.summaries import STUBBORN
from autotts_gym.observation import quantities
from autotts_gym.observation.encoding import Observation
from autotts_gym.observation.features import Feature
from autotts_gym.observation.rows import encode
from autotts_gym.observation.signals import Ranges
from autotts_gym.replay.records import Branch, Question, build_store

_EPISODES, _STEPS, _LOOKS, _POOL, _INTERVAL = 6, 480, 24, 16, 500


def identity(
    observation: Observation, macros: Sequence[Macro] | None, max_branches: int, accounting: str = "exact"
) -> dict[str, Any]:
    """What a policy depends on, as JSON values.

    Args:
        observation: what is observed.
        macros: in the order of their numbers; None: primitive actions.
        max_branches: M.
        accounting: "exact" or "autotts".

    Returns:
        ``features`` and ``actions``, fingerprints by name, in order; ``constants`` by name; ``ledger``, a fingerprint
        of what the actions cost; and ``digest``, of all of these.
    """
    seen, done, ledger = _behaviour(observation, None if macros is None else tuple(macros), max_branches, accounting)
    parts = {
        "features": dict(zip(_names(observation), seen, strict=True)),
        "actions": done,
        "constants": {name: value for name, value in vars(quantities).items() if name.endswith("_SCALE")}
        | {"STUBBORN": STUBBORN},
        "ledger": ledger,
    }
    return {"digest": _digest(json.dumps(parts).encode()), **parts}


def _names(observation: Observation) -> list[str]:
    """The names of the features; with the group in a user's list, as two groups share some names."""
    features = (*observation.of_episode, *observation.of_branch)
    if not isinstance(observation.name, str) or any(isinstance(each, Feature) for each in features):
        return [each.label for each in features]
    return ["branch " * each.of_branch + each.name for each in features]


def differences(kept: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two identities, in words; nothing if they are the same."""
    found = []
    for part in ("features", "actions", "constants"):
        old, new = kept.get(part) or {}, now[part]
        found += [f"{part[:-1]} {name!r} is gone" for name in old if name not in new]
        found += [f"{part[:-1]} {name!r} is new" for name in new if name not in old]
        found += [f"{part[:-1]} {name!r} is another" for name in new if name in old and old[name] != new[name]]
        if part != "constants" and sorted(old) == sorted(new) and list(old) != list(new):
            found.append(f"{part} come in another order")
    if kept.get("ledger") != now["ledger"]:
        found.append("the ledger charges otherwise")
    return found


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


@lru_cache
def _behaviour(
    observation: Observation, macros: tuple[Macro, ...] | None, max_branches: int, accounting: str
) -> tuple[tuple[str, ...], dict[str, str], str]:
    """Fingerprints of every feature, every action, and the ledger."""
    bank = Bank([_store(observation.signals)])
    state = PoolState(bank, _EPISODES, Rules(max_branches=max_branches, accounting=accounting))
    everyone = np.ones(_EPISODES, np.bool_)
    state.begin(everyone, np.arange(_EPISODES) % bank.num_questions)
    state.shuffle(everyone, np.arange(_EPISODES))
    out = observation.empty(_EPISODES, max_branches)
    plan = RoundPlan.empty(_EPISODES, max_branches)
    looks: list[Any] = []
    wide, width = len(observation.of_episode), len(observation.of_branch)
    done: dict[str, list[bytes]] = {macro.name: [] for macro in macros or ()}
    ledger: list[bytes] = []
    for step in range(_STEPS):
        state.act(_script(step, max_branches))
        if step % _LOOKS:
            continue
        revealed = state.revealed
        priced = revealed.priced(0.3, 0.7)
        encode(priced.addresses, state.running, observation.encoder(bank.signal_names), out)
        looks.append(_coarse(out))
        ledger.append(revealed.pools["total_tokens"].tobytes() + revealed.pools["sequential_tokens"].tobytes())
        rows = np.flatnonzero(revealed.pools["stop_reason"] == RUNNING)
        for macro in macros or ():
            plan.clear()
            macro.write(revealed, rows, plan)
            done[macro.name] += [np.ascontiguousarray(part).tobytes() for part in _parts(plan)]
    columns = [slice(k, k + 1) for k in range(wide)] + [slice(wide + k, None, width) for k in range(width)]
    seen = [_digest(b"".join(look[:, column].tobytes() for look in looks)) for column in columns]
    return tuple(seen), {name: _digest(b"".join(parts)) for name, parts in done.items()}, _digest(b"".join(ledger))


def _parts(plan: RoundPlan) -> tuple[Any, ...]:
    parts = plan.prune, plan.deepen, plan.open, plan.read, plan.stop, plan.answer
    return (*parts, plan.probe) if plan.probe.any() else parts  # as older files have it, where nothing is probed


def _coarse(values: Any) -> Any:
    """Features to four digits, as the last ones depend on the processor; the offset keeps round values off an edge."""
    return np.floor(values * 8191.0 + 0.377).astype(np.int32)


def _script(step: int, max_branches: int) -> Any:
    """The action of every episode at a step: branches are opened one by one, grown by turns, and some are pruned."""
    episodes = np.arange(_EPISODES)
    slots = min(max_branches, _POOL)
    actions = FIRST_DEEPEN + (7 * step + 3 * episodes + step // slots) % slots
    actions[(step + episodes) % 12 == 0] = BRANCH
    prunes = (step + 5 * episodes) % 53 == 52
    actions[prunes] = FIRST_DEEPEN + max_branches + (step + episodes)[prunes] % slots
    return actions


def _store(signals: Ranges) -> Any:
    """Three questions of sixteen branches, of which one in three changes its mind again and again.

    It has the signals that are observed, anywhere in their ranges.
    """
    draw, drawn = random.Random(0), random.Random(1)
    questions = []
    for number in range(3):
        branches = []
        for _ in range(_POOL):
            depth = 3 + int(10 * draw.random())
            wanders = draw.random() < 1 / 3
            final = "abcd"[int(4 * draw.random() ** 2)]
            probes = [
                None if draw.random() < 0.1 else "abcd"[int(4 * draw.random())] if wanders or k < 2 else final
                for k in range(depth)
            ]
            tokens = _INTERVAL * depth - 200 + int(400 * draw.random())
            shown = {name: [drawn.uniform(*ends) for _ in probes] for name, ends in sorted(signals.items())}
            branches.append(Branch(probes, tokens, final, shown))
        questions.append(Question(f"question {number}", "a", branches))
    return build_store(questions, model="fingerprint", benchmark="fingerprint", interval_tokens=_INTERVAL)
