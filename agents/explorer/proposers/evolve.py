"""Evolution: programs put together from mechanisms, whose numbers follow schedules in beta; no key, no network.

A genome says which mechanism fills each slot of one frame (how branches are grown, which votes count, when an answer is
sure, what is pruned, when to give up) and what value each of its numbers has at beta = 0 and at beta = 1. A child takes
a parent's genome, sometimes crosses it with another's, and changes it where the parent's diagnosis says that most was
lost. The program is written out as plain code, which the loop judges as it judges a language model's. Mechanisms,
numbers, the first genomes and the changes are in ``evolve.toml`` beside this module.
"""

import json
import textwrap
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agents.explorer.proposers.base import Parent, Proposal, Request, Usage

# ------------------------------------------------------------------------------------------------------------- numbers


@dataclass(frozen=True)
class Number:
    """A number of a mechanism, drawn at both ends of beta and joined by a curve.

    Attributes:
        low: smallest value.
        high: largest value.
        curve: "line"; "ratio": equal ratios; "odds": equal ratios of what is missing to 1.
        whole: rounded to whole numbers.
        rising: larger at beta = 1 than at 0 when it is drawn; None: either way, but the ends lie close.
    """

    low: float
    high: float
    curve: str = "line"
    whole: bool = False
    rising: bool | None = None

    def scaled(self, value: float) -> float:
        """Where a value lies between low and high, in [0, 1] along the curve."""
        if self.curve == "ratio":
            return float(np.log(value / self.low) / np.log(self.high / self.low))
        if self.curve == "odds":
            return float(np.log((1 - value) / (1 - self.low)) / np.log((1 - self.high) / (1 - self.low)))
        return (value - self.low) / (self.high - self.low)

    def value(self, scaled: float) -> float:
        """The value that lies there."""
        scaled = min(1.0, max(0.0, scaled))
        if self.curve == "ratio":
            value = self.low * (self.high / self.low) ** scaled
        elif self.curve == "odds":
            value = 1 - (1 - self.low) * ((1 - self.high) / (1 - self.low)) ** scaled
        else:
            value = self.low + (self.high - self.low) * scaled
        return float(round(value)) if self.whole else float(f"{value:.4g}")

    def draw(self, rng: np.random.Generator) -> list[float]:
        """Values at both ends."""
        if self.rising is None:
            middle = rng.uniform()
            ends = middle + rng.normal(0.0, 0.1, 2)
        else:
            ends = np.sort(rng.uniform(size=2))
            ends = ends if self.rising else ends[::-1]
        return [self.value(end) for end in ends.tolist()]

    def expression(self, ends: Sequence[float]) -> str:
        """The number as Python, in beta."""
        start, end = ends
        if start == end:
            return f"{start:.0f}" if self.whole else f"{start:g}"
        if self.curve == "ratio":
            return f"round({start:g} * {end / start:.6g}**beta{'' if self.whole else ', 4'})"
        if self.curve == "odds":
            return f"round(1 - {1 - start:.4g} * {(1 - end) / (1 - start):.6g}**beta, 5)"
        step = end - start
        line = f"{start:g} {'+' if step > 0 else '-'} {abs(step):.6g} * beta"
        return f"round({line})" if self.whole else f"round({line}, 4)"


# ---------------------------------------------------------------------------------------------------------- mechanisms


@dataclass(frozen=True)
class Mechanism:
    """One way to fill a slot.

    Attributes:
        about: what it does, as part of a sentence.
        numbers: their names.
        code: lines of ``solve``, indented from nothing.
    """

    about: str = ""
    numbers: Sequence[str] = ()
    code: str = ""


NOTHING = "none"

_DATA = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())

NUMBERS = {name: Number(**values) for name, values in _DATA["numbers"].items()}
"""Every number that a mechanism may have."""

SLOTS = {
    slot: {name: Mechanism(**values) for name, values in choices.items()} for slot, choices in _DATA["slots"].items()
}
"""The slots of the frame, in its order, and what may fill them."""

Genome = dict[str, Any]
"""{"slots": {slot: mechanism}, "numbers": {name: [at beta 0, at beta 1]}}"""


def needed(slots: Mapping[str, str]) -> list[str]:
    """Names of the numbers that mechanisms need, each once."""
    names = [name for slot, chosen in slots.items() for name in SLOTS[slot][chosen].numbers]
    return list(dict.fromkeys(names))


def complete(slots: Mapping[str, str], numbers: Mapping[str, Sequence[float]], rng: np.random.Generator) -> Genome:
    """A genome with these mechanisms, in the order of the slots; numbers that are missing are drawn."""
    ordered = {slot: slots[slot] for slot in SLOTS}
    drawn = {
        name: list(numbers[name]) if name in numbers else NUMBERS[name].draw(rng) for name in sorted(needed(ordered))
    }
    return {"slots": ordered, "numbers": drawn}


def random_genome(rng: np.random.Generator) -> Genome:
    """Mechanisms and numbers at random; what a slot may do without is left out half of the time."""
    slots = {}
    for slot, choices in SLOTS.items():
        names = [name for name in choices if name != NOTHING]
        slots[slot] = NOTHING if NOTHING in choices and rng.random() < 0.5 else names[int(rng.integers(len(names)))]
    return complete(slots, {}, rng)


_PLAIN = {slot: NOTHING if NOTHING in choices else next(iter(choices)) for slot, choices in SLOTS.items()}

FOUNDERS: list[Genome] = [{**each, "slots": _PLAIN | each["slots"]} for each in _DATA["founders"]]
"""Where evolution begins, beside random genomes: families of the literature, and what was found."""

# ----------------------------------------------------------------------------------------------------------- programs


def write_program(genome: Genome) -> str:
    """The program of a genome."""
    slots = genome["slots"]
    code = {slot: SLOTS[slot][chosen].code for slot, chosen in slots.items()}
    abouts = [SLOTS[slot][chosen].about for slot, chosen in slots.items() if SLOTS[slot][chosen].about]
    text = "; ".join(abouts[1:])
    numbers = "\n".join(
        f'        "{name}": {NUMBERS[name].expression(genome["numbers"][name])},' for name in needed(slots)
    )
    body = "".join(code.values())
    functions = [name for name in ("erf", "exp", "sqrt") if f"{name}(" in body]
    memory = ""
    if slots["dissent"] != NOTHING:
        memory += "off, before = [0] * session.max_branches, {}\n"
    if slots["stop"] == "held":
        memory += "held, since = None, 0\n"
    # Votes change when a branch finishes or, where growing branches vote, at any time.
    when = "if finished:\n    votes = {}\n"
    if slots["live"] == NOTHING:
        memory += "counted = -1\n"
        when = "if len(finished) != counted:\n    counted, votes = len(finished), {}\n"
    frame: str = _DATA["frame"]
    return frame.format(
        about=f"{_sentence(abouts[0])}\n\n{textwrap.fill(_sentence(text), 110)}\n",
        imports=f"\nfrom math import {', '.join(functions)}\n" if functions else "",
        numbers=numbers,
        memory=textwrap.indent(memory, 4 * " "),
        grow=textwrap.indent(code["grow"], 8 * " "),
        when=textwrap.indent(when, 8 * " "),
        votes=textwrap.indent(code["votes"] + code["live"], 12 * " "),
        stop=textwrap.indent(code["sure"] + code["stop"] + code["doubt"], 12 * " "),
        prune=textwrap.indent(code["dissent"] + code["length"], 8 * " "),
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


# ------------------------------------------------------------------------------------------------------------- changes

REMEDIES: dict[str, list[tuple[str, float | str]]] = {
    cause: [(what, how) for what, how in each] for cause, each in _DATA["remedies"].items()
}
"""What to try against each share of the diagnosis: a number and which way to move it, or a mechanism for a slot."""

STEP = 0.12
"""Standard deviation of a number's change, as a share of its range."""


class Change:
    """A genome being changed, and a note of what was done to it.

    Args:
        genome: to begin with.
        rng: of this proposal.
    """

    def __init__(self, genome: Genome, rng: np.random.Generator) -> None:
        self.genome = json.loads(json.dumps(genome))
        self.rng = rng
        self.notes: list[str] = []

    def swap(self, slot: str, mechanism: str) -> bool:
        """Fill a slot with another mechanism; says whether that changed anything."""
        if self.genome["slots"][slot] == mechanism:
            return False
        self.notes.append(f"{slot}: {self.genome['slots'][slot]} -> {mechanism}")
        self.genome = complete({**self.genome["slots"], slot: mechanism}, self.genome["numbers"], self.rng)
        return True

    def move(self, name: str, direction: float = 0.0) -> bool:
        """Move a number at one end of beta or at both, a given way or any; says whether that changed anything."""
        number, ends = NUMBERS[name], self.genome["numbers"].get(name)
        if ends is None:
            return False
        by = float(self.rng.normal(0.0, STEP))
        by = by if not direction else abs(by) * direction
        both = bool(self.rng.random() < 0.5)
        chosen = [0, 1] if both else [int(self.rng.integers(2))]
        moved = [number.value(number.scaled(end) + by) if k in chosen else end for k, end in enumerate(ends)]
        if number.whole and moved == ends:  # at least one
            moved = [
                min(number.high, max(number.low, end + np.sign(by))) if k in chosen else end
                for k, end in enumerate(ends)
            ]
        if moved == ends:
            return False
        self.notes.append(f"{name}: {ends[0]:g} .. {ends[1]:g} -> {moved[0]:g} .. {moved[1]:g}")
        self.genome["numbers"][name] = [float(value) for value in moved]
        return True

    def anything(self) -> None:
        """Change something at random: three times of four a number, else a mechanism."""
        for _ in range(20):
            if self.rng.random() < 0.75:
                done = self.move(_one_of(sorted(self.genome["numbers"]), self.rng))
            else:
                slot = _one_of(list(SLOTS), self.rng)
                done = self.swap(slot, _one_of(list(SLOTS[slot]), self.rng))
            if done:
                return

    def remedy(self, diagnosis: Mapping[str, float]) -> None:
        """Try something against what was lost, each share as likely as it is large."""
        known = [name for name in REMEDIES if diagnosis.get(name, 0.0) > 0.0]
        shares = np.array([diagnosis[name] for name in known])
        for _ in range(20 if known else 0):
            cause = known[int(self.rng.choice(len(known), p=shares / shares.sum()))]
            what, how = REMEDIES[cause][int(self.rng.integers(len(REMEDIES[cause])))]
            noted = len(self.notes)
            if self.swap(what, how) if isinstance(how, str) else self.move(what, how):
                self.notes[noted] += f" (against {cause})"
                return
        self.anything()

    def cross(self, other: Genome) -> None:
        """Take half of the mechanisms, with their numbers, from another genome."""
        taken = [slot for slot in SLOTS if self.rng.random() < 0.5]
        slots = {slot: (other if slot in taken else self.genome)["slots"][slot] for slot in SLOTS}
        theirs = {name for slot in taken for name in SLOTS[slot][slots[slot]].numbers}
        numbers = {**self.genome["numbers"], **{name: other["numbers"][name] for name in theirs}}
        self.notes.append(f"crossed: {', '.join(taken) or 'nothing'} of the other parent")
        self.genome = complete(slots, numbers, self.rng)


def _one_of(names: Sequence[str], rng: np.random.Generator) -> str:
    return names[int(rng.integers(len(names)))]


class Evolve:
    """Writes programs by recombining and changing those of the population; see the module.

    Args:
        fresh: share of the children that are new at random.
        crossing: share of the others that have two parents.
        founding: programs of its own in the population before parents are used.
    """

    name = "evolve"

    def __init__(self, fresh: float = 0.05, crossing: float = 0.3, founding: int = 6) -> None:
        self.fresh = fresh
        self.crossing = crossing
        self.founding = founding

    def bound(self, request: Request) -> Usage:
        """Nothing."""
        return Usage()

    def propose(self, request: Request, progress: Callable[[str], None]) -> Proposal:
        """Write a program."""
        rng = np.random.default_rng(request.seed)
        own = [parent for parent in request.population if "genome" in parent.meta]
        parents = [parent for parent in request.parents if "genome" in parent.meta]
        # Parents that a person or a model wrote cannot be recombined; the best of the population stand in for them.
        parents += sorted(own, key=lambda parent: -parent.objective)[: max(0, 2 - len(parents))]
        if len(own) < self.founding or not parents or rng.random() < self.fresh:
            genome, notes = self._found(rng)
        else:
            genome, notes = self._child(parents, rng)
        source = write_program(genome)
        reply = "".join(f"{note}\n" for note in notes)
        progress(reply)
        return Proposal(source, reply, model=self.name, meta={"genome": genome, "changes": notes})

    def _found(self, rng: np.random.Generator) -> tuple[Genome, list[str]]:
        pick = int(rng.integers(len(FOUNDERS) + 1))
        if pick >= len(FOUNDERS):
            return random_genome(rng), ["new, at random"]
        change = Change(FOUNDERS[pick], rng)
        change.notes.append(f"from founder {pick + 1}")
        for _ in range(int(rng.integers(1, 4))):
            change.anything()
        return change.genome, change.notes

    def _child(self, parents: Sequence[Parent], rng: np.random.Generator) -> tuple[Genome, list[str]]:
        first = parents[int(rng.integers(len(parents)))]
        change = Change(first.meta["genome"], rng)
        change.notes.append(f"child of {first.id}")
        others = [parent for parent in parents if parent.id != first.id]
        if others and rng.random() < self.crossing:
            other = others[int(rng.integers(len(others)))]
            change.notes.append(f"and of {other.id}")
            change.cross(other.meta["genome"])
        for _ in range(int(rng.integers(1, 4))):
            if rng.random() < 0.5:
                change.remedy(first.diagnosis)
            else:
                change.anything()
        known = [write_program(parent.meta["genome"]) for parent in parents]
        while write_program(change.genome) in known:  # the changes have cancelled each other
            change.anything()
        return change.genome, change.notes
