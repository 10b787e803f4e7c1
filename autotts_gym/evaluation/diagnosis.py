"""What went wrong in a controller's episodes, judged with hindsight.

The evaluator knows what the controller could not: the rest of every branch, and the gold answer. Hindsight asks what
more would have helped, a step at a time: reading the branches that were kept to their ends, then those that were pruned
too, then those that were never opened. Its votes go by the env's rule, the majority of the final answers, ties to the
branch that finished first; branches that had not finished when the episode ended are assumed to grow side by side, an
interval a round, from the depths that they had. A branch *knows* if its final answer is right.

Every episode has one outcome: right, or the first of these that holds.

* ``lost_tie``: the right answer had as many votes as the one given, and came second by order alone. The votes are those
  of the finished branches if the answer given leads them, else the latest answers of branches not pruned.
* ``overruled``: STOP would have answered right, but the controller named another answer, or was cut short.
* ``stopped_early``: the branches kept, read to their ends, would have answered right.
* ``pruned_right``: they would not, but they would together with the branches pruned.
* ``outvoted``: a branch opened knew, yet all branches opened, read to their ends, would have answered wrong.
* ``never_opened``: no branch opened knew, but one in a slot that was never opened did.
* ``out_of_slots``: no branch in the episode's slots knew, but one of the pool did.
* ``out_of_reach``: no branch of the pool knew.

Beside it an episode may have any of these *signs*.

* ``pruned_knew``: it is wrong, and a branch that was pruned knew.
* ``more_width``: it is wrong, and all of its slots, opened and read to their ends, would have answered right.
* ``passed_by``: it is wrong, and STOP after one of its rounds would have answered right.
* ``lucky``: it is right, but the branches kept, read to their ends, would have answered wrong.

*Waste* is what was spent after the round in which the standing answer (what STOP would have answered) last changed.
``wasted_right`` is that of right episodes, ``wasted_wrong`` that of wrong ones.

The difficulty of a question is the share of its pool that knows (pass@1); see ``BANDS``.

A diagnosis holds numbers, and references to episodes that ``autotts trace`` shows: no answer and no text of a question.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotts_gym import units
from autotts_gym.controllers import Controller, check_stores
from autotts_gym.engine import Bank, PoolState, RoundPlan, Rules
from autotts_gym.errors import AutottsError, plain
from autotts_gym.evaluation import hindsight
from autotts_gym.evaluation.results import setting_label
from autotts_gym.evaluation.runner import checked_seeds, chunk_size, play
from autotts_gym.evaluation.sketch import sketch
from autotts_gym.evaluation.tables import Cell, Column, Table
from autotts_gym.evaluation.trace import Trace, traces
from autotts_gym.replay import ReplayStore, StoreLike, resolve_stores, search_path

CAUSES = {
    "lost_tie": "the right answer had as many votes as the one given",
    "overruled": "STOP would have answered right, but another answer was named",
    "stopped_early": "the branches kept, read to their ends, would have answered right",
    "pruned_right": "only together with the branches pruned would they have answered right",
    "outvoted": "a branch opened knew, but all of them, read to their ends, would have answered wrong",
    "never_opened": "no branch opened knew, but a slot that was never opened did",
    "out_of_slots": "no slot of the episode knew, but a branch of the pool did",
    "out_of_reach": "no branch of the pool knew",
}
"""Why an episode is wrong: exactly one of these, the first that holds."""

SIGNS = {
    "pruned_knew": "wrong, and a pruned branch knew",
    "more_width": "wrong, but every slot, opened and read to its end, would have answered right",
    "passed_by": "wrong, but STOP after one of its rounds would have answered right",
    "lucky": "right, but the branches kept, read to their ends, would have answered wrong",
}
"""What else is worth knowing of an episode; any of them may hold."""

WASTE = {
    "wasted_right": "tokens of right episodes spent after the answer had settled",
    "wasted_wrong": "tokens of wrong episodes spent after the answer had settled",
}
"""What was spent after the last change of the standing answer."""

LOSSES = {**CAUSES, **SIGNS, **WASTE}
"""Everything that an episode can be an example of, and what it means."""

BANDS = ("none", "hard", "medium", "likely", "easy")
"""Difficulty bands of questions."""

BAND_EDGES = (0.2, 0.5, 0.8)
"""From these shares of the pool that know, "hard" ends and "medium", "likely", "easy" begin; "none" is a share of 0."""

_BAND_TEXTS = ("none knows", "below 20 %", "20 to 50 %", "50 to 80 %", "80 % and more")
_OUTCOMES = {name: getattr(hindsight, name.upper()) for name in CAUSES}


@dataclass(frozen=True)
class Example:
    """An episode to look at.

    Attributes:
        store: name of the store.
        question: index of the question in it.
        seed: order of the pool.
    """

    store: str
    question: int
    seed: int


@dataclass(frozen=True)
class Bounds:
    """What hindsight could have made of the same episodes.

    Attributes:
        deeper: accuracy of the branches kept, read to their ends.
        unpruned: accuracy of all branches opened, read to their ends.
        wider: accuracy of all slots, opened and read to their ends: self-consistency on the slots.
        best_stop: accuracy of the best stop on the same rounds: after the first one at which STOP would have answered
            right, or where the controller stopped if that was right.
        best_stop_tokens: total tokens of that, on average; an episode that could not be right costs what it did.
        cheapest_tokens: the same over the episodes that could be right; None: there is none.
        spent_tokens: total tokens that these episodes spent, on average; None: there is none.
        opened: coverage of the branches opened: share of episodes in which one of them knows.
        slots: coverage of the episode's slots.
        pool: coverage of the pool: share of questions that can be answered at all.
    """

    deeper: float
    unpruned: float
    wider: float
    best_stop: float
    best_stop_tokens: float
    cheapest_tokens: float | None
    spent_tokens: float | None
    opened: float
    slots: float
    pool: float


@dataclass(frozen=True)
class Part:
    """A diagnosis of some of the episodes, all with the same weight.

    Attributes:
        kind: "all", "store" or "band".
        name: of the store or band; "all".
        episodes: how many.
        accuracy: share of episodes that are right.
        mean_tokens: total tokens of an episode, on average.
        causes: share of episodes that are wrong for each cause; they sum to 1 - accuracy.
        cause_tokens: share of all tokens that went into these episodes.
        signs: share of episodes that have each sign.
        waste: share of all tokens wasted.
        bounds: what hindsight could have made of them.
        examples: by cause, sign and kind of waste, episodes to look at: one for each of the questions that it struck
            most often, under the first seed; for waste, that cost most, under the seed that wasted most.
    """

    kind: str
    name: str
    episodes: int
    accuracy: float
    mean_tokens: float
    causes: Mapping[str, float]
    cause_tokens: Mapping[str, float]
    signs: Mapping[str, float]
    waste: Mapping[str, float]
    bounds: Bounds
    examples: Mapping[str, tuple[Example, ...]]


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What went wrong in the episodes of one setting of a controller, and what hindsight could have made of them.

    Attributes:
        controller: name of the controller.
        params: its knobs.
        source: what ``make_controller`` makes it from: a name, or the path of its file.
        stores: names of the stores.
        targets: what ``autotts trace`` finds each store by: its name, or its path if the name does not lead there.
        seeds: orders of the pools.
        rules: what held in every episode.
        episodes: per store, (seeds, questions) EPISODE of the compiled hindsight.
        difficulty: per store, (questions,) float64, share of the pool that knows.
        sketches: a few episodes round by round, as text in which answers are labels.
        most_examples: examples that a part has of each kind.
        token_unit: of the stores, on average.
    """

    controller: str
    params: Mapping[str, object]
    source: str
    stores: tuple[str, ...]
    targets: tuple[str, ...]
    seeds: tuple[int, ...]
    rules: Rules
    episodes: tuple[NDArray[np.void], ...] = field(repr=False)
    difficulty: tuple[NDArray[np.float64], ...] = field(repr=False)
    sketches: tuple[str, ...] = field(default=(), repr=False)
    most_examples: int = 3
    token_unit: float = units.MILLION

    @property
    def label(self) -> str:
        """The setting in words, such as ``cmc(beta=0.5)``."""
        return setting_label(self.controller, self.params)

    @property
    def overall(self) -> Part:
        """All episodes."""
        return self.parts[0]

    @property
    def shares(self) -> dict[str, float]:
        """What went wrong by name, in all: causes and signs as shares of episodes, waste as shares of tokens."""
        return {**self.overall.causes, **self.overall.signs, **self.overall.waste}

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """All episodes, those of each store, and those of each band that has any."""
        pooled = self._pooled
        every = np.ones(len(pooled.episodes), np.bool_)
        parts = [self._part("all", "all", every)]
        parts += [self._part("store", name, pooled.store == i) for i, name in enumerate(self.stores)]
        bands = [(name, pooled.band == i) for i, name in enumerate(BANDS)]
        return tuple(parts + [self._part("band", name, chosen) for name, chosen in bands if chosen.any()])

    @cached_property
    def _pooled(self) -> _Pooled:
        shapes = [each.shape for each in self.episodes]
        cells = [np.indices(shape).reshape(2, -1) for shape in shapes]
        bands = [difficulty_bands(share) for share in self.difficulty]
        return _Pooled(
            episodes=np.concatenate([each.reshape(-1) for each in self.episodes]),
            store=np.repeat(np.arange(len(shapes)), [rows * columns for rows, columns in shapes]),
            question=np.concatenate([questions for _, questions in cells]),
            seed=np.concatenate([rows for rows, _ in cells]),
            band=np.concatenate([band[questions] for band, (_, questions) in zip(bands, cells, strict=True)]),
        )

    def _part(self, kind: str, name: str, chosen: NDArray[np.bool_]) -> Part:
        pooled = self._pooled
        each = pooled.episodes[chosen]
        tokens = each["total_tokens"]
        spent = max(int(tokens.sum()), 1)
        masks = {name: mask[chosen] for name, mask in pooled.masks.items()}
        wasted = {name: weights[chosen] for name, weights in pooled.wasted.items()}
        reached = each["cheapest_tokens"] >= 0
        stop_tokens = np.where(reached, each["cheapest_tokens"], tokens)
        struck = {**pooled.masks, **pooled.wasted}
        return Part(
            kind=kind,
            name=name,
            episodes=len(each),
            accuracy=_share(each["outcome"] == hindsight.RIGHT),
            mean_tokens=float(tokens.mean()),
            causes={cause: _share(masks[cause]) for cause in CAUSES},
            cause_tokens={cause: int(tokens[masks[cause]].sum()) / spent for cause in CAUSES},
            signs={sign: _share(masks[sign]) for sign in SIGNS},
            waste={kind: int(weights.sum()) / spent for kind, weights in wasted.items()},
            bounds=Bounds(
                **{name: _share(each[name]) for name in ("deeper", "unpruned", "wider")},
                best_stop=_share(reached),
                best_stop_tokens=float(stop_tokens.mean()),
                cheapest_tokens=_mean(stop_tokens[reached]),
                spent_tokens=_mean(tokens[reached]),
                **{name: _share(each[f"{name}_knew"]) for name in ("opened", "slots", "pool")},
            ),
            examples={name: self._examples(np.where(chosen, weights, 0)) for name, weights in struck.items()},
        )

    def _examples(self, weights: NDArray[Any]) -> tuple[Example, ...]:
        """Of the questions with the largest sums of weights (episodes,), the episode of the largest weight each."""
        pooled = self._pooled
        rows = np.flatnonzero(weights)
        # By store, question, weight from the largest, seed: the first of each question is its episode.
        keys = (pooled.seed[rows], -weights[rows].astype(np.int64), pooled.question[rows], pooled.store[rows])
        rows = rows[np.lexsort(keys)]
        places = np.stack([pooled.store[rows], pooled.question[rows]], axis=1)
        firsts = np.flatnonzero(np.diff(places, axis=0, prepend=-1).any(axis=1))
        sums = np.add.reduceat(weights[rows].astype(np.int64), firsts) if len(firsts) else firsts
        ranked = rows[firsts[np.argsort(-sums, kind="stable")[: self.most_examples]]]
        return tuple(
            Example(self.stores[pooled.store[row]], int(pooled.question[row]), self.seeds[pooled.seed[row]])
            for row in ranked
        )

    def command(self, example: Example) -> str:
        """The command that shows an episode, for a shell."""
        target = self.targets[self.stores.index(example.store)]
        words = ["autotts", "trace", target, "--controller", self.source]
        for name, value in sorted(self.params.items()):
            text = value if isinstance(value, str) else json.dumps(value)
            words += ["--beta", text] if name == "beta" else ["--param", f"{name}={text}"]
        words += ["--question", str(example.question), "--seed", str(example.seed)]
        default = Rules()
        for option in ("accounting", "max_branches", "token_budget", "token_unit"):
            if (value := getattr(self.rules, option)) != getattr(default, option):
                words += [f"--{option.replace('_', '-')}", str(value)]
        return shlex.join(words)

    def as_dict(self) -> dict[str, Any]:
        """Return the diagnosis as values that JSON can hold: numbers, names and references, no answer."""
        return {
            "controller": self.controller,
            "params": dict(self.params),
            "accounting": self.rules.accounting,
            "max_branches": self.rules.max_branches,
            "token_budget": self.rules.token_budget,
            "token_unit": self.token_unit,
            "seeds": list(self.seeds),
            "stores": list(self.stores),
            "shares": self.shares,
            "parts": [asdict(part) for part in self.parts],
        }

    # ---------------------------------------------------------------- for people

    @property
    def shown(self) -> list[Part]:
        """The parts that tables and figures show: a single store is all there is."""
        return [part for part in self.parts if part.kind != "store" or len(self.stores) > 1]

    def _tenths(self, tokens: float) -> str:
        """A number of tokens as tables show it."""
        return f"{tokens / units.shown(self.token_unit).size:,.1f}"

    def _table(self, title: str, columns: Sequence[tuple[Column, Sequence[Cell]]]) -> Table:
        rows = self.shown
        texts = dict(zip(BANDS, _BAND_TEXTS, strict=True))
        first = [
            (
                Column("family", ()),
                [{"all": "all", "store": "by store", "band": "by difficulty"}[r.kind] for r in rows],
            ),
            (
                Column("part", ("episodes",)),
                [f"{r.name}: {texts[r.name]}" if r.kind == "band" else r.name for r in rows],
            ),
            (Column("episodes", ("number",), lambda value: f"{value:,.0f}"), [r.episodes for r in rows]),
        ]
        every = [*first, *columns]
        return Table(
            title, tuple(column for column, _ in every), tuple(zip(*(cells for _, cells in every), strict=True))
        )

    def table(self) -> Table:
        """Build the table of what went wrong, in all, by store and by difficulty.

        For each cause the share of the episodes, and that of the tokens that went into them; for waste that of tokens.
        """
        rows, amounts, tenths = self.shown, units.shown(self.token_unit), self._tenths
        columns: list[tuple[Column, Sequence[Cell]]] = [
            (Column("accuracy", ("accuracy %",), _percent), [row.accuracy for row in rows]),
            (Column("mean_tokens", (amounts.heading,), tenths), [row.mean_tokens for row in rows]),
        ]
        for cause in CAUSES:
            heading = cause.replace("_", " ")
            columns += [
                (Column(f"{cause}:episodes", (heading, "episodes %"), _percent), [row.causes[cause] for row in rows]),
                (Column(f"{cause}:tokens", (heading, "tokens %"), _percent), [row.cause_tokens[cause] for row in rows]),
            ]
        for waste in WASTE:
            heading = waste.replace("_", " ")
            columns.append((Column(waste, (heading, "tokens %"), _percent), [row.waste[waste] for row in rows]))
        return self._table(f"What went wrong: {self._scope()}", columns)

    def bounds_table(self) -> Table:
        """Build the table of what hindsight could have made of the same episodes, and of their signs."""
        rows, amounts, tenths = self.shown, units.shown(self.token_unit), self._tenths
        columns: list[tuple[Column, Sequence[Cell]]] = [
            (Column("accuracy", ("accuracy %",), _percent), [row.accuracy for row in rows]),
            (Column("mean_tokens", (amounts.heading,), tenths), [row.mean_tokens for row in rows]),
            (Column("best_stop:accuracy", ("best stop", "acc %"), _percent), [row.bounds.best_stop for row in rows]),
            (
                Column("best_stop:tokens", ("best stop", amounts.heading), tenths),
                [r.bounds.best_stop_tokens for r in rows],
            ),
        ]
        accuracies = {"deeper": "kept, read", "unpruned": "opened, read", "wider": "slots, read"}
        coverages = {"opened": "opened", "slots": "slots", "pool": "pool"}
        for name, words in {**accuracies, **{name: f"{words} know" for name, words in coverages.items()}}.items():
            columns.append((Column(name, (words, "%"), _percent), [getattr(row.bounds, name) for row in rows]))
        for sign in SIGNS:
            heading = sign.replace("_", " ")
            columns.append((Column(sign, (heading, "%"), _percent), [row.signs[sign] for row in rows]))
        return self._table("What hindsight could have made of the same episodes", columns)

    def _scope(self) -> str:
        where = self.stores[0] if len(self.stores) == 1 else f"{len(self.stores)} stores"
        rules = self.rules
        return f"{self.label} on {where}, {rules.accounting} accounting, {len(self.seeds)} seeds"

    # ---------------------------------------------------------------- for language models

    def prompt(self) -> str:
        """Return the diagnosis for a language model: shares, bounds and sketches; no question, no gold answer."""
        all_of = self.overall
        bounds = all_of.bounds
        lines = [
            f"{self.label}: {_percent(all_of.accuracy)} % of {all_of.episodes:,} episodes right at "
            f"{_tokens(all_of.mean_tokens)} tokens an episode ({self.rules.accounting} accounting).",
            "",
            "Why episodes are wrong: share of all episodes (share of all tokens)",
        ]
        lines += [
            f"- {cause}: {_percent(all_of.causes[cause])} % ({_percent(all_of.cause_tokens[cause])} %): {meaning}"
            for cause, meaning in CAUSES.items()
        ]
        lines += ["", "Also, as shares of all episodes"]
        lines += [f"- {sign}: {_percent(all_of.signs[sign])} %: {meaning}" for sign, meaning in SIGNS.items()]
        lines += ["", "Waste, as shares of all tokens"]
        lines += [f"- {name}: {_percent(all_of.waste[name])} %: {meaning}" for name, meaning in WASTE.items()]
        lines += [
            "",
            "What hindsight could have made of the same episodes",
            f"- branches kept, read to their ends: {_percent(bounds.deeper)} % right; all opened: "
            f"{_percent(bounds.unpruned)} %; all slots: {_percent(bounds.wider)} %",
            f"- best stop on the same rounds: {_percent(bounds.best_stop)} % right"
            + (
                ""
                if bounds.cheapest_tokens is None or bounds.spent_tokens is None
                else f", with {_tokens(bounds.cheapest_tokens)} tokens where {_tokens(bounds.spent_tokens)} were spent"
            ),
            f"- some branch knows: among those opened in {_percent(bounds.opened)} % of episodes, among the slots in "
            f"{_percent(bounds.slots)} %, in the pool in {_percent(bounds.pool)} %",
            "",
            "By store and by difficulty (share of a question's branches that know): accuracy, tokens, main causes",
        ]
        lines += [f"- {_in_brief(part)}" for part in self.parts[1:]]
        for text in self.sketches:
            lines += ["", text]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, eq=False)
class _Pooled:
    """All episodes, one after the other, each (E,).

    Attributes:
        episodes: EPISODE.
        store: index of its store.
        question: index in its store.
        seed: index of its seed.
        band: index of its band.
    """

    episodes: NDArray[np.void]
    store: NDArray[np.int64]
    question: NDArray[np.int64]
    seed: NDArray[np.int64]
    band: NDArray[np.int64]

    @cached_property
    def masks(self) -> dict[str, NDArray[np.bool_]]:
        """Which episodes have each cause and each sign."""
        each = self.episodes
        right = each["outcome"] == hindsight.RIGHT
        causes = {cause: each["outcome"] == outcome for cause, outcome in _OUTCOMES.items()}
        signs = {
            "pruned_knew": ~right & each["pruned_knew"],
            "more_width": ~right & each["wider"],
            "passed_by": ~right & (each["cheapest_tokens"] >= 0),
            "lucky": right & ~each["deeper"],
        }
        return {**causes, **signs}

    @cached_property
    def wasted(self) -> dict[str, NDArray[np.int64]]:
        """Tokens wasted in each episode."""
        each = self.episodes
        right = each["outcome"] == hindsight.RIGHT
        waste = each["total_tokens"] - each["settled_tokens"]
        return {"wasted_right": np.where(right, waste, 0), "wasted_wrong": np.where(right, 0, waste)}


def difficulty_bands(difficulty: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index of the band of each question, by the share of its pool that knows; (Q,) int64."""
    return np.where(difficulty > 0, 1 + np.digitize(difficulty, BAND_EDGES), 0)


def diagnose(
    controller: Controller,
    stores: StoreLike,
    *,
    seeds: Sequence[int] = range(100),
    rules: Rules | None = None,
    examples: int = 3,
    sketches: int = 3,
) -> Diagnosis:
    """Play every question of stores under every seed with a controller, as ``evaluate`` does, and say what went wrong.

    Args:
        controller: what decides.
        stores: a name, a path, a ``ReplayStore``, or several of these, of different names.
        seeds: orders of the pools.
        rules: what holds in every episode; the defaults if None.
        examples: episodes to look at, of each kind and in each part.
        sketches: episodes to sketch round by round in ``Diagnosis.prompt``.

    Raises:
        AutottsError: if an argument is out of its range.
        ControllerError: if the controller names an answer that it has not seen, or does not stop.
    """
    resolved = resolve_stores(stores)
    names = [store.name for store in resolved]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise AutottsError(f"stores: expected different names, got {plain(', '.join(twice))} more than once")
    seeds = checked_seeds(seeds, sum(store.num_questions for store in resolved), 1)
    for name, value, low in (("examples", examples, 1), ("sketches", sketches, 0)):
        if value < low:
            raise AutottsError(f"{name}: expected at least {low}, got {value}")
    for store in resolved:
        store.require_gold("diagnose")
    check_stores(controller, resolved)
    rules = rules or Rules()
    diagnosis = Diagnosis(
        controller=controller.name,
        params=dict(controller.params),
        source=str(getattr(controller, "path", controller.name)),
        stores=tuple(names),
        targets=tuple(map(_target, resolved)),
        seeds=seeds,
        rules=rules,
        episodes=tuple(_play_and_judge(controller, store, seeds, rules) for store in resolved),
        difficulty=tuple(map(_difficulty, resolved)),
        most_examples=examples,
        token_unit=float(np.mean([rules.token_unit or store.token_unit for store in resolved])),
    )
    chosen = _worth_a_sketch(diagnosis.overall)[:sketches]
    played: dict[tuple[str, int, int], Trace] = {}
    for name, store in zip(names, resolved, strict=True):
        episodes = [(each.question, each.seed) for _, each in chosen if each.store == name]
        shown = traces(controller, store, episodes, rules) if episodes else []
        played |= {(name, *episode): found for episode, found in zip(episodes, shown, strict=True)}
    return replace(
        diagnosis,
        sketches=tuple(
            sketch(played[each.store, each.question, each.seed], f"An episode of {what}: {LOSSES[what]}")
            for what, each in chosen
        ),
    )


def _play_and_judge(
    controller: Controller, store: ReplayStore, seeds: tuple[int, ...], rules: Rules
) -> NDArray[np.void]:
    """Play a store and judge its episodes; returns (seeds, questions) EPISODE."""
    bank = Bank([store])
    episodes = np.zeros((len(seeds), store.num_questions), hindsight.EPISODE)
    episodes["standing"] = -1
    episodes["cheapest_tokens"] = -1
    flat = episodes.reshape(-1)
    size = chunk_size(controller, bank)
    for first in range(0, len(flat), size):
        chunk = flat[first : first + size]
        rows, questions = np.divmod(np.arange(first, first + len(chunk)), store.num_questions)
        state = PoolState(bank, len(chunk), rules)
        every = np.ones(len(chunk), np.bool_)
        state.begin(every, questions)
        state.shuffle(every, np.array(seeds)[rows])
        play(controller, state, _round_watcher(state, chunk))
        hindsight.judge(state.addresses, chunk)
    return episodes


def _round_watcher(state: PoolState, episodes: NDArray[np.void]) -> Callable[[RoundPlan], None]:
    """Make a function that notes the standing answer after each round."""
    return lambda _: hindsight.note_round(state.addresses, episodes)


def _difficulty(store: ReplayStore) -> NDArray[np.float64]:
    """The share of each question's pool that knows, (Q,)."""
    pools = np.diff(store.branch_offsets)
    right = store.finals == np.repeat(store.gold, pools)
    return np.add.reduceat(right, store.branch_offsets[:-1], dtype=np.int64) / pools


def _target(store: ReplayStore) -> str:
    """What the command line finds a store by."""
    if store.path is None:
        return store.name
    files = [folder / f"{store.name}.h5" for folder in search_path()]
    found = next((file for file in files if file.is_file()), None)
    return store.name if found is not None and found.samefile(store.path) else str(store.path)


def _worth_a_sketch(part: Part) -> list[tuple[str, Example]]:
    """The most frequent causes that could be avoided, and the most expensive waste; each with an episode."""
    lost = [cause for cause in CAUSES if not cause.startswith("out_of")]
    lost.sort(key=lambda cause: -part.causes[cause])
    ranked = [*lost[:2], "wasted_right", *lost[2:]]
    return [(what, part.examples[what][0]) for what in ranked if part.examples[what]]


# -------------------------------------------------------------------- numbers and words


def _share(mask: NDArray[np.bool_]) -> float:
    return float(mask.mean())


def _mean(values: NDArray[np.int64]) -> float | None:
    return float(values.mean()) if values.size else None


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _tokens(value: float) -> str:
    return f"{value:,.0f}"


def _in_brief(part: Part) -> str:
    """Return a part in one line, with its three most frequent causes."""
    name = f"{part.name} ({_BAND_TEXTS[BANDS.index(part.name)]})" if part.kind == "band" else part.name
    main = sorted((cause for cause in CAUSES if part.causes[cause] > 0), key=lambda cause: -part.causes[cause])[:3]
    causes = ", ".join(f"{cause} {_percent(part.causes[cause])} %" for cause in main)
    return f"{name}: {_percent(part.accuracy)} %, {_tokens(part.mean_tokens)} tokens; {causes or 'never wrong'}"
