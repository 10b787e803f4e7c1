"""Macro actions: decisions of one round, each compiled to a ``RoundPlan``.

A macro writes what it would do into the rows of a plan. It is admissible where that would
change something. So a macro of your own is one function of what has been revealed::

    def first(revealed, rows, plan):
        plan.deepen[rows, 0] = 1

    gym.make("AutoTTS-ReplayRounds-v0", macros=[*MACROS, Macro("deepen_first", "one step of branch 0", first)])

or, compiled, a function of one episode with the decorator ``macro``, which costs a vector environment no Python.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from autotts_gym.actions import effects
from autotts_gym.engine import Revealed, RoundPlan
from autotts_gym.engine.addresses import REVEALED_STATE
from autotts_gym.engine.entries import PLAN
from autotts_gym.engine.functions import Compiled
from autotts_gym.engine.plan import PlanArrays, arrays_of
from autotts_gym.engine.summaries import STUBBORN
from autotts_gym.errors import AutottsError, ControllerError, quote
from autotts_gym.extensions import is_reference, load
from autotts_gym.validation import check, integer, numbers

Write = Callable[[Revealed, NDArray[np.int64], RoundPlan], None]


@dataclass(frozen=True)
class Macro:
    """One decision of a round.

    Attributes:
        name: its name, in the words of the project.
        meaning: what it does, in a line.
        write: called with what is revealed, the rows (K,) int64 of the episodes that take it, and a plan that is empty
            in these rows; writes their round into the plan.
    """

    name: str
    meaning: str
    write: Write


class _Rule(Compiled):
    """The function of a compiled macro."""

    kind = "macro"
    _signature = ((REVEALED_STATE, types.int64, PLAN), types.none)


class OwnMacro(Macro):
    """A compiled macro of a user's, as the decorator ``macro`` makes it."""

    def __init__(self, function: Callable[..., None], meaning: str) -> None:
        check("macro", function, callable(function), "a function")
        rule = _Rule(function)
        super().__init__(rule.__name__, meaning, partial(_write_own, rule))
        object.__setattr__(self, "rule", rule)
        object.__setattr__(self, "__module__", function.__module__)

    rule: _Rule

    def __reduce__(self) -> str:
        """Pickle by module and name, as functions do."""
        return self.name

    def __deepcopy__(self, memo: dict[int, object]) -> "OwnMacro":
        """Return itself: a macro holds no state of an episode."""
        return self


def macro(meaning: str) -> Callable[[Callable[..., None]], OwnMacro]:
    """Decorator: a function that writes the round of one episode into a plan, compiled by Numba, is a macro.

    ::

        @macro("one interval of the branches that agree with the leader")
        def grow_leader(revealed, n, plan):
            for i in range(revealed.pools[n].opened):
                if revealed.slots[n, i].answer == revealed.pools[n].leader:
                    plan.deepen[n, i] = 1

        gym.make("AutoTTS-ReplayRounds-v0", macros=["stop", "open_4", grow_leader])  # or "file.py:grow_leader"

    ``revealed`` has the revealed arrays of ``autotts_gym.engine.layout.TABLE`` by name, for reading; ``n`` is the
    episode; ``plan`` has the arrays of ``RoundPlan``, of which row n is blank and to be written. Define the function at
    the top level of a module; its name is the name of the macro. An answer that the episode has not seen raises
    ``ValueError``.

    Args:
        meaning: what it does, in a line.
    """
    check("macro: meaning", meaning, isinstance(meaning, str) and bool(meaning), "a line that says what it does")

    def decorate(function: Callable[..., None]) -> OwnMacro:
        return OwnMacro(function, meaning)

    return decorate


@dataclass(frozen=True)
class BuiltIn(Macro):
    """A macro whose rule is compiled into the effects.

    Attributes:
        code: which rule.
        amount: branches to open, intervals to deepen, or answers off the leader.
    """

    code: int
    amount: int

    def __post_init__(self) -> None:
        """Check what the compiled rules are given.

        Raises:
            AutottsError: there is no such rule, or the amount is no number of steps.
        """
        integer("BuiltIn.code", self.code, 0, effects.MACRO_READ)
        integer("BuiltIn.amount", self.amount, 0, np.iinfo(np.int8).max)


def _write(code: int, amount: int, revealed: Revealed, rows: NDArray[np.int64], plan: RoundPlan) -> None:
    rows = numbers("rows", rows, None, revealed.episodes)
    arrays = arrays_of(plan, revealed.slots.shape)
    effects.write_compiled(revealed.addresses, np.array([[code, amount]]), rows, np.zeros_like(rows), arrays)


def _write_own(rule: _Rule, revealed: Revealed, rows: NDArray[np.int64], plan: RoundPlan) -> None:
    _write(effects.OWN, rule.address, revealed, rows, plan)


def _macro(name: str, code: int, amount: int, meaning: str) -> Macro:
    return BuiltIn(name, meaning, partial(_write, code, amount), code, amount)


MACROS = (
    _macro("stop", effects.MACRO_STOP, 0, "stop with the aggregator's answer"),
    _macro("deepen_all", effects.MACRO_ALL, 1, "one interval of every active branch"),
    _macro("deepen_all_4", effects.MACRO_ALL, 4, "four intervals of every active branch"),
    _macro("deepen_leader", effects.MACRO_LEADER, 2, "two intervals of the active branches on the leader"),
    _macro("deepen_others", effects.MACRO_OTHERS, 2, "two intervals of the active branches off the leader"),
    _macro(
        "deepen_furthest", effects.MACRO_FURTHEST, 4, "four intervals of the deepest quarter of the active branches"
    ),
    _macro("open_1", effects.MACRO_OPEN, 1, "open one branch"),
    _macro("open_4", effects.MACRO_OPEN, 4, "open four branches"),
    _macro("open_16", effects.MACRO_OPEN, 16, "open sixteen branches"),
    _macro(
        "prune_dissenters",
        effects.MACRO_DISSENTERS,
        8,
        "prune the active branches off the leader for 8 answers in a row",
    ),
    _macro("prune_least_advanced", effects.MACRO_LEAST, 1, "prune the shallowest quarter of the active branches"),
    _macro(
        "prune_longest",
        effects.MACRO_LONGEST,
        1,
        "prune the active branches more than 1.5 times as deep as the finished ones on average",
    ),
    _macro(
        "stop_weighted",
        effects.MACRO_STOP_WEIGHTED,
        0,
        "stop with the majority of the finished branches, long and abandoned answers counting less",
    ),
    _macro(
        "prune_stubborn",
        effects.MACRO_DISSENTERS,
        STUBBORN,
        "prune the active branches off the leader for 24 answers in a row",
    ),
    _macro("read_1", effects.MACRO_READ, 1, "open one branch and read it whole"),
)
"""The macro actions of ``AutoTTS-ReplayRounds-v0``, in the order of their numbers; the first one stops."""


def choose_macros(macros: Sequence[str | Macro]) -> tuple[Macro, ...]:
    """Macros by the names of built-in ones, by references such as ``file.py:name``, or as they are.

    Raises:
        AutottsError: there is no such macro, or one comes twice.
    """
    known = {macro.name: macro for macro in MACROS}
    chosen = []
    for each in macros:
        macro = load("macros", each) if isinstance(each, str) and is_reference(each) else each
        if not isinstance(macro, Macro) and not (isinstance(macro, str) and macro in known):
            raise AutottsError(f"macros: expected one of {', '.join(known)}, or file.py:name, got {quote(each)}")
        chosen.append(known[macro] if isinstance(macro, str) else macro)
    names = [macro.name for macro in chosen]
    if len(set(names)) != len(names):
        raise AutottsError(f"macros: expected each once, got {quote(names)}")
    return tuple(chosen)


def _pair(macro: Macro) -> tuple[int, int]:
    if isinstance(macro, BuiltIn):
        return macro.code, macro.amount
    return (effects.OWN, macro.rule.address) if isinstance(macro, OwnMacro) else (effects.PLAIN, 0)


class MacroTable:
    """Macro actions over N episodes: their masks, and the plan that carries out a choice of them."""

    def __init__(self, macros: Sequence[Macro], episodes: int, max_branches: int) -> None:
        """Allocate the arrays.

        Raises:
            AutottsError: the first macro is not "stop".
        """
        if not macros or macros[0].name != "stop":
            raise AutottsError(f"macros: expected 'stop' first, got {quote([macro.name for macro in macros])}")
        self.macros = tuple(macros)
        self._plan = RoundPlan.empty(episodes, max_branches)
        self._every = np.arange(episodes)
        self._plain = [k for k, macro in enumerate(macros) if not isinstance(macro, BuiltIn | OwnMacro)]

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a pickle, without the addresses of macros."""
        return {name: value for name, value in vars(self).items() if name != "compiled"}

    @cached_property
    def compiled(self) -> NDArray[np.int64]:
        """The pairs of the macros, (K, 2); see ``actions.effects``.

        Raises:
            AutottsError: a macro cannot be compiled.
        """
        return np.array([_pair(macro) for macro in self.macros], np.int64)

    @property
    def compiled_only(self) -> bool:
        """Whether every macro is compiled."""
        return not self._plain

    def masks(self, revealed: Revealed) -> NDArray[np.int8]:
        """Which macros would change something, (N, K) int8; fresh.

        Raises:
            AutottsError: another number of episodes or branch slots is revealed than the table is for.
        """
        self._require(revealed)
        masks = np.empty((len(self._every), len(self.macros)), np.int8)
        effects.mark_compiled(revealed.addresses, self.compiled, self._plan.arrays, masks)
        self._mark_plain(revealed, masks)
        return masks

    def _require(self, revealed: Revealed) -> None:
        """Refuse what is revealed of other episodes than the table is for."""
        if revealed.slots.shape != self._plan.deepen.shape:
            raise AutottsError(
                f"revealed: expected {self._plan.deepen.shape} episodes and branch slots, got {revealed.slots.shape}"
            )

    def _mark_plain(self, revealed: Revealed, masks: NDArray[np.int8]) -> None:
        """Write the columns of macros in plain Python."""
        for k in self._plain:
            self._plan.clear()
            self.macros[k].write(revealed, self._every.copy(), self._plan)
            arrays = arrays_of(self._plan, revealed.slots.shape)
            effects.mark_effective(revealed.admissible, revealed.slots.shape[1], arrays, masks, k)

    def plan_plain(
        self, revealed: Revealed, actions: NDArray[np.int64], masks: NDArray[np.int8], restart: NDArray[np.bool_]
    ) -> PlanArrays:
        """A plan with those macros (N,) that are in plain Python; ``step_rounds`` writes the others.

        Args:
            revealed: of N episodes.
            actions: (N,) int64, numbers of macros.
            masks: (N, K) int8, as ``masks`` gives them.
            restart: (N,) bool, episodes that take none.

        Raises:
            AutottsError: a macro has put something else in the place of the plan's arrays.
            ControllerError: a macro stops with an answer that its episode has not seen.
        """
        plan = self._plan
        if not self._plain:
            return plan.arrays
        plan.clear()
        rows = np.flatnonzero(~restart)
        rows = rows[masks[rows, actions[rows]] != 0]
        self._write_plain(revealed, actions[rows], rows, plan)
        arrays = arrays_of(plan, revealed.slots.shape)
        seen = revealed.pools["answers_seen"]
        unseen = plan.stop & ((plan.answer < -1) | (plan.answer >= seen))
        if unseen.any():
            n = int(unseen.argmax())
            raise ControllerError(
                f"macro {self.macros[actions[n]].name!r}: expected an id of one of the {seen[n]} answers that episode "
                f"{n} has seen, or -1, got {plan.answer[n]}"
            )
        return arrays

    def write(self, revealed: Revealed, actions: NDArray[np.int64], rows: NDArray[np.int64], plan: RoundPlan) -> None:
        """Write the macros that episodes take, one a row of ``rows``, into an empty plan.

        Raises:
            AutottsError: an array has another shape or dtype, or a number is out of its range.
        """
        self._require(revealed)
        arrays = arrays_of(plan, revealed.slots.shape)
        rows = numbers("rows", rows, None, len(self._every))
        actions = numbers("actions", actions, rows.shape, len(self.macros))
        effects.write_compiled(revealed.addresses, self.compiled, rows, actions, arrays)
        self._write_plain(revealed, actions, rows, plan)

    def _write_plain(
        self, revealed: Revealed, actions: NDArray[np.int64], rows: NDArray[np.int64], plan: RoundPlan
    ) -> None:
        for k in self._plain:
            if (actions == k).any():
                self.macros[k].write(revealed, rows[actions == k], plan)
