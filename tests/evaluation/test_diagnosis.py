import json
import random
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import World, rules, worlds

from autotts_gym.controllers import Controller, make_controller
from autotts_gym.engine import Revealed, RoundPlan, Rules
from autotts_gym.engine.layout import ACTIVE
from autotts_gym.errors import AutottsError
from autotts_gym.evaluation import diagnose, evaluate, evaluate_all
from autotts_gym.evaluation.diagnosis import BANDS, CAUSES, LOSSES, SIGNS, WASTE, Diagnosis, difficulty_bands
from autotts_gym.evaluation.plots import plot_diagnosis
from autotts_gym.evaluation.sketch import MOST_LINES, sketch
from autotts_gym.evaluation.trace import Round, Trace, trace
from autotts_gym.replay import Branch, Question, ReplayStore, build_store, default_store

OUTCOMES = ("right", *CAUSES)


# ---------------------------------------------------------------- hindsight once more, in plain Python


def majority(answers: Sequence[str | None]) -> str | None:
    """The most frequent answer; ties go to the first."""
    answers = [answer for answer in answers if answer is not None]
    return max(dict.fromkeys(answers), key=answers.count, default=None)


def dealt(question: Question, seed: int) -> list[Branch]:
    order = list(range(len(question.branches)))
    random.Random(seed).shuffle(order)
    return [question.branches[i] for i in order]


@dataclass
class Replayed:
    """What the rounds of an episode came to."""

    status: dict[int, str] = field(default_factory=dict)
    depth: dict[int, int] = field(default_factory=dict)
    latest: dict[int, str | None] = field(default_factory=dict)
    finished: list[int] = field(default_factory=list)
    standing: str | None = None
    settled: int = 0
    cheapest: int = -1

    @property
    def done(self) -> list[str | None]:
        return [self.latest[i] for i in self.finished]

    @property
    def votes(self) -> list[str | None]:
        return [self.latest[i] for i in sorted(self.status) if self.status[i] != "pruned"]

    def play(self, each: Round, gold: str) -> None:
        for change in each.revealed:
            i = change.branch
            if change.status == "finished" and self.status.get(i) != "finished":
                self.finished.append(i)
            self.status[i], self.depth[i], self.latest[i] = change.status, change.depth, change.answer
        now = majority(self.votes) if majority(self.done) is None else majority(self.done)
        if now != self.standing:
            self.standing, self.settled = now, each.ledger.total_tokens
        if now == gold and self.cheapest < 0:
            self.cheapest = each.ledger.total_tokens


def hindsight(played: Trace, question: Question, interval: int, rules: Rules) -> dict[str, Any]:
    """What there is to know of an episode, from its trace and its question."""
    pool = dealt(question, played.setting.seed)
    slots = pool[: rules.max_branches]
    end, after = played.end, Replayed()
    for each in played.rounds:
        after.play(each, question.gold)

    def finishes(i: int) -> tuple[int, int, int]:
        if i in after.finished:
            return 0, after.finished.index(i), i
        branch = slots[i]
        last_step = rules.accounting == "autotts" or branch.tokens > len(branch.probes) * interval
        return 1, len(branch.probes) - after.depth.get(i, 0) + last_step, i

    def full_vote(group: Sequence[int]) -> bool:
        return majority([slots[i].final for i in sorted(group, key=finishes)]) == question.gold

    def knew(branches: Sequence[Branch]) -> bool:
        return question.gold in [branch.final for branch in branches]

    opened = sorted(after.status)
    facts = {
        "total_tokens": end.total_tokens,
        "settled_tokens": after.settled,
        "cheapest_tokens": end.total_tokens if end.correct and after.cheapest < 0 else after.cheapest,
        "deeper": full_vote([i for i in opened if after.status[i] != "pruned"]),
        "unpruned": full_vote(opened),
        "wider": full_vote(range(len(slots))),
        "opened_knew": knew(slots[: len(opened)]),
        "pruned_knew": knew([slots[i] for i in opened if after.status[i] == "pruned"]),
        "slots_knew": knew(slots),
        "pool_knew": knew(pool),
    }
    led = [leaders(votes) for votes in (after.done, after.votes) if end.answer in leaders(votes)]
    holds = {
        "right": end.correct,
        "lost_tie": bool(led) and question.gold in led[0],
        "overruled": after.standing == question.gold,
        "stopped_early": facts["deeper"],
        "pruned_right": facts["unpruned"],
        "outvoted": facts["opened_knew"],
        "never_opened": facts["slots_knew"],
        "out_of_slots": facts["pool_knew"],
        "out_of_reach": True,
    }
    return {**facts, "outcome": next(outcome for outcome, held in holds.items() if held)}


def leaders(votes: Sequence[str | None]) -> set[str]:
    cast = [answer for answer in votes if answer is not None]
    return {answer for answer in cast if cast.count(answer) == max(map(cast.count, cast))}


@dataclass(frozen=True)
class Erratic:
    """Does anything, and always the same after the same; names answers that no branch voted for."""

    salt: int
    name: str = "erratic"

    @property
    def params(self) -> dict[str, Any]:
        return {"salt": self.salt}

    def begin(self, revealed: Revealed) -> None:
        pass

    def decide(self, revealed: Revealed, memory: Any, plan: RoundPlan) -> None:
        for n, pool in enumerate(revealed.pools):
            rng = random.Random(str((self.salt, *(int(pool[name]) for name in ("steps", "opened", "total_tokens")))))
            for i in range(pool["opened"]):
                plan.prune[n, i] = rng.random() < 0.1
                plan.deepen[n, i] = rng.choice((0, 0, 1, 1, 9))
                plan.probe[n, i] = rng.random() < 0.5
            plan.open[n] = rng.choice((0, 1, 2))
            plan.read[n] = rng.random() < 0.1
            plan.stop[n] = rng.random() < 0.15 or pool["steps"] > 30
            plan.answer[n] = rng.randrange(-1, pool["answers_seen"]) if plan.stop[n] else -1


CONTROLLERS: st.SearchStrategy[Controller] = st.one_of(
    st.builds(Erratic, st.integers(0, 1000)),
    st.builds(
        lambda name, beta: make_controller(name, beta=beta),
        st.sampled_from(("cmc", "parallel_probe", "sc", "esc", "answer_consistency")),
        st.sampled_from((0.0, 0.3, 1.0)),
    ),
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_episode_is_judged_as_plain_python_judges_it(data: st.DataObject) -> None:
    world: World = data.draw(worlds(questions=3))
    controller = data.draw(CONTROLLERS)
    holds = data.draw(rules(world.interval))
    seeds = data.draw(st.lists(st.integers(0, 10_000), min_size=1, max_size=3, unique=True))
    store = world.store()
    diagnosis = diagnose(controller, store, seeds=seeds, rules=holds, sketches=0)
    expected = {
        (seed, q): hindsight(trace(controller, store, q, seed, holds), question, world.interval, holds)
        for seed in seeds
        for q, question in enumerate(world.questions)
    }
    for (seed, q), facts in expected.items():
        judged = diagnosis.episodes[0][seeds.index(seed), q]
        assert {name: OUTCOMES[judged[name]] if name == "outcome" else judged[name].item() for name in facts} == facts
    for part in diagnosis.parts:
        chosen = {
            key: each for key, each in expected.items() if part.kind != "band" or part.name == band(world, key[1])
        }
        check_part(part, list(chosen.values()))
        check_examples(part, chosen)


def band(world: World, q: int) -> str:
    finals = [branch.final for branch in world.questions[q].branches]
    share = finals.count(world.questions[q].gold) / len(finals)
    return (
        "none" if share == 0 else next(n for n, end in zip(BANDS[1:], (0.2, 0.5, 0.8, 2), strict=True) if share < end)
    )


def has(facts: dict[str, Any], what: str) -> int:
    """How much an episode counts for a cause, a sign or a kind of waste."""
    right = facts["outcome"] == "right"
    waste = facts["total_tokens"] - facts["settled_tokens"]
    extra = {
        "pruned_knew": not right and facts["pruned_knew"],
        "more_width": not right and facts["wider"],
        "passed_by": not right and facts["cheapest_tokens"] >= 0,
        "lucky": right and not facts["deeper"],
        "wasted_right": right * waste,
        "wasted_wrong": (not right) * waste,
    }
    return int(extra.get(what, facts["outcome"] == what))


def check_part(part: Any, each: list[dict[str, Any]]) -> None:
    tokens = [facts["total_tokens"] for facts in each]
    total = max(sum(tokens), 1)
    count = len(each)
    assert part.episodes == count
    assert part.accuracy == pytest.approx(sum(facts["outcome"] == "right" for facts in each) / count)
    assert part.mean_tokens == pytest.approx(sum(tokens) / count)
    for cause in CAUSES:
        assert part.causes[cause] == pytest.approx(sum(has(facts, cause) for facts in each) / count)
        spent = sum(facts["total_tokens"] for facts in each if has(facts, cause))
        assert part.cause_tokens[cause] == pytest.approx(spent / total)
    for sign in SIGNS:
        assert part.signs[sign] == pytest.approx(sum(has(facts, sign) for facts in each) / count)
    for waste in WASTE:
        assert part.waste[waste] == pytest.approx(sum(has(facts, waste) for facts in each) / total)
    bounds = part.bounds
    for name in ("deeper", "unpruned", "wider"):
        assert getattr(bounds, name) == pytest.approx(sum(facts[name] for facts in each) / count)
    for name in ("opened", "slots", "pool"):
        assert getattr(bounds, name) == pytest.approx(sum(facts[f"{name}_knew"] for facts in each) / count)
    reached = [facts for facts in each if facts["cheapest_tokens"] >= 0]
    stops = [facts["cheapest_tokens"] if facts in reached else facts["total_tokens"] for facts in each]
    assert bounds.best_stop == pytest.approx(len(reached) / count)
    assert bounds.best_stop_tokens == pytest.approx(sum(stops) / count)
    if reached:
        assert bounds.cheapest_tokens == pytest.approx(sum(f["cheapest_tokens"] for f in reached) / len(reached))
        assert bounds.spent_tokens == pytest.approx(sum(f["total_tokens"] for f in reached) / len(reached))
    else:
        assert bounds.cheapest_tokens is bounds.spent_tokens is None
    assert sum(part.causes.values()) == pytest.approx(1 - part.accuracy)
    assert bounds.opened <= bounds.slots <= bounds.pool
    assert part.accuracy <= bounds.best_stop


def check_examples(part: Any, each: dict[tuple[int, int], dict[str, Any]]) -> None:
    assert list(part.examples) == list(LOSSES)
    for what, examples in part.examples.items():
        sums: dict[int, int] = {}
        for (_, q), facts in each.items():
            sums[q] = sums.get(q, 0) + has(facts, what)
        struck = sorted((q for q in sums if sums[q]), key=lambda q: (-sums[q], q))
        assert [example.question for example in examples] == struck[:3]
        for example in examples:
            weights = {seed: has(facts, what) for (seed, q), facts in each.items() if q == example.question}
            assert example.seed == max(weights, key=lambda seed: weights[seed])  # the first of equals


# ---------------------------------------------------------------- one of each


@dataclass(frozen=True)
class Scripted:
    """Opens 5, reads 0 and 1 to their ends, prunes 4, stops; names the first answer seen if 1 changed its mind."""

    name: str = "scripted"

    @property
    def params(self) -> dict[str, Any]:
        return {}

    def begin(self, revealed: Revealed) -> None:
        pass

    def decide(self, revealed: Revealed, memory: Any, plan: RoundPlan) -> None:
        step = revealed.pools["steps"]
        plan.open[:] = np.where(step == 0, 5, 0)
        plan.deepen[step == 1, :2] = 9
        plan.prune[step == 1, 4] = True
        plan.stop[:] = step == 2
        plan.answer[:] = np.where(plan.stop & (revealed.slots["changes"][:, 1] > 0), 0, -1)


def question(name: str, *finals: str | None, first: str | None = None) -> Question:
    """Branches of 200 tokens whose final answers are those given, in slot order under seed 0: 6 in slots, then 1.

    The first two may have had another answer first.
    """
    branches = [Branch([first if first and i < 2 else final, final], 200, final) for i, final in enumerate(finals)]
    order = list(range(len(branches)))
    random.Random(0).shuffle(order)
    pool = [branch for _, branch in sorted(zip(order, branches, strict=True), key=lambda pair: pair[0])]
    return Question(f"TEXT {name}", "GOLD", pool)


G, W, N = "GOLD", "WRONG", None
X, Y, Z = "OTHER X", "OTHER Y", "OTHER Z"
ONE_OF_EACH = {
    # two finished, two kept, one pruned; one never opened; one without a slot
    "right": question("right", G, G, X, Y, Z, X, Y),
    "lost_tie": question("lost_tie", W, G, X, Y, Z, G, G),
    "overruled": question("overruled", G, G, X, Y, Z, G, G, first=W),
    "stopped_early": question("stopped_early", W, N, G, G, W, W, W),
    "pruned_right": question("pruned_right", W, N, G, X, G, W, W),
    "outvoted": question("outvoted", W, W, G, X, G, G, G),
    "never_opened": question("never_opened", W, W, X, Y, Z, G, G),
    "out_of_slots": question("out_of_slots", W, W, X, Y, Z, X, G),
    "out_of_reach": question("out_of_reach", W, W, X, Y, Z, X, Y),
}


@pytest.fixture(scope="module")
def store() -> ReplayStore:
    return build_store(ONE_OF_EACH.values(), model="one", benchmark="each", interval_tokens=100)


@pytest.fixture(scope="module")
def one_of_each(store: ReplayStore) -> Diagnosis:
    return diagnose(Scripted(), store, seeds=[0], rules=Rules(max_branches=6))


def test_each_cause_occurs_where_it_was_put(one_of_each: Diagnosis) -> None:
    assert tuple(ONE_OF_EACH) == OUTCOMES
    assert [OUTCOMES[code] for code in one_of_each.episodes[0]["outcome"][0]] == list(ONE_OF_EACH)
    assert one_of_each.overall.causes == dict.fromkeys(CAUSES, pytest.approx(1 / 9))
    for i, cause in enumerate(ONE_OF_EACH):
        if cause != "right":
            (example,) = one_of_each.overall.examples[cause]
            assert (example.store, example.question, example.seed) == ("one/each", i, 0)


def test_signs_waste_and_bounds_of_them_are_as_counted_by_hand(one_of_each: Diagnosis) -> None:
    where = {sign: {list(ONE_OF_EACH)[i] for i in np.flatnonzero(one_of_each._pooled.masks[sign])} for sign in SIGNS}
    assert where == {
        "pruned_knew": {"pruned_right", "outvoted"},
        # All six slots: w g x y z g; g g x y z g; w - g g w w; w - g x g w: a tie of w and g, and w finished first.
        "more_width": {"lost_tie", "overruled", "outvoted"},
        # After the first round the five branches opened vote: w - g g w is a tie for w; w - g x g goes to g.
        "passed_by": {"overruled", "pruned_right"},
        "lucky": set(),
    }
    # 5 x 100 tokens, then 2 x 100: nothing changes after the first round but where it says so.
    assert (one_of_each._pooled.episodes["total_tokens"] == 700).all()
    settled = dict(zip(ONE_OF_EACH, one_of_each._pooled.episodes["settled_tokens"].tolist(), strict=True))
    assert settled == {name: 700 if name in ("overruled", "pruned_right") else 500 for name in ONE_OF_EACH}
    assert one_of_each.overall.waste == {"wasted_right": 200 / 6300, "wasted_wrong": 6 * 200 / 6300}
    bounds = one_of_each.overall.bounds
    assert (bounds.best_stop, bounds.cheapest_tokens, bounds.spent_tokens) == (3 / 9, (500 + 700 + 500) / 3, 700)
    assert (bounds.opened, bounds.slots, bounds.pool) == (6 / 9, 7 / 9, 8 / 9)


def test_an_early_stop_is_what_going_on_would_have_corrected() -> None:
    """Through the engine: the controller plays on where it would have stopped, all branches side by side."""

    @dataclass(frozen=True)
    class PlaysOn:
        inner: Controller
        name: str = "plays_on"

        @property
        def params(self) -> dict[str, Any]:
            return {}

        def begin(self, revealed: Revealed) -> Any:
            return self.inner.begin(revealed), np.zeros(revealed.episodes, np.bool_)

        def decide(self, revealed: Revealed, memory: Any, plan: RoundPlan) -> None:
            inner, done = memory
            self.inner.decide(revealed, inner, plan)
            for array in (plan.prune, plan.deepen, plan.open, plan.read):
                array[done] = 0
            plan.deepen[done] = revealed.slots["status"][done] == ACTIVE
            plan.answer[:] = -1
            left = (revealed.slots["status"] == ACTIVE).any(axis=1)
            done |= plan.stop
            plan.stop[:] = done & ~left

    for name, beta in (("cmc", 0.0), ("cmc", 0.5), ("parallel_probe", 0.3), ("short_m", 0.5)):
        controller = make_controller(name, beta=beta)
        for accounting in ("exact", "autotts"):
            held = Rules(accounting=accounting)
            diagnosis = diagnose(controller, default_store(), seeds=range(8), rules=held, sketches=0)
            on = evaluate(PlaysOn(controller), default_store(), seeds=range(8), accounting=accounting)
            np.testing.assert_array_equal(diagnosis.episodes[0]["deeper"], on.correct)
            early = diagnosis.episodes[0]["outcome"] == OUTCOMES.index("stopped_early")
            played = evaluate(controller, default_store(), seeds=range(8), accounting=accounting)
            assert not (early & (played.correct | ~on.correct)).any()


# ---------------------------------------------------------------- several stores


def test_it_is_of_the_episodes_that_evaluate_plays() -> None:
    stores = [default_store().select(range(12)), default_store().select(range(12, 30))]
    named = [
        ReplayStore(s._columns, s._answers, s._questions, model=m, benchmark="b", interval_tokens=s.interval_tokens)
        for s, m in zip(stores, ("first", "second"), strict=True)
    ]
    controller = make_controller("cmc", beta=0.2)
    seeds = range(30)  # more episodes than are played side by side
    diagnosis = diagnose(controller, named, seeds=seeds, rules=Rules(accounting="autotts"))
    results = evaluate_all([controller], named, seeds=seeds, rules=Rules(accounting="autotts"))
    for each, result, store in zip(diagnosis.episodes, results, named, strict=True):
        np.testing.assert_array_equal(each["outcome"] == 0, result.correct)
        np.testing.assert_array_equal(each["total_tokens"], result.total_tokens)
        assert each["pool_knew"].mean() == pytest.approx(store.summary().coverage)
    _, first, second, *bands = diagnosis.parts
    assert [(first.kind, first.name), (second.kind, second.name)] == [("store", "first/b"), ("store", "second/b")]
    assert (first.accuracy, second.accuracy) == tuple(pytest.approx(result.accuracy) for result in results)
    assert [part.name for part in bands] == [name for name in BANDS if name in {part.name for part in bands}]
    assert sum(part.episodes for part in bands) == first.episodes + second.episodes == diagnosis.overall.episodes
    assert len(diagnosis.sketches) == 3
    for part in (first, second):
        assert {example.store for examples in part.examples.values() for example in examples} == {part.name}
    again = diagnose(controller, named, seeds=seeds, rules=Rules(accounting="autotts"))
    assert (again.prompt(), again.as_dict()) == (diagnosis.prompt(), diagnosis.as_dict())


def test_bands_begin_at_their_edges() -> None:
    shares = np.array([0.0, 0.01, 0.199, 0.2, 0.499, 0.5, 0.799, 0.8, 1.0])
    names = [BANDS[i] for i in difficulty_bands(shares)]
    assert names == ["none", "hard", "hard", "medium", "medium", "likely", "likely", "easy", "easy"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seeds": []}, "seeds: expected at least one, got none"),
        ({"examples": 0}, "examples: expected at least 1, got 0"),
        ({"sketches": -1}, "sketches: expected at least 0, got -1"),
        ({"twice": True}, "stores: expected different names, got one/each more than once"),
    ],
)
def test_bad_arguments_are_named(store: ReplayStore, arguments: dict[str, Any], message: str) -> None:
    stores = [store] * (2 if arguments.pop("twice", False) else 1)
    with pytest.raises(AutottsError, match=message):
        diagnose(Scripted(), stores, **arguments)


# ---------------------------------------------------------------- what is reported


def words(value: Any) -> set[str]:
    """Every string in a JSON value, keys included."""
    if isinstance(value, dict):
        return set().union(*map(words, value), *map(words, value.values()))
    if isinstance(value, list | tuple):
        return set().union(*map(words, value))
    return {value} if isinstance(value, str) else set()


def test_no_answer_and_no_question_is_reported(one_of_each: Diagnosis, store: ReplayStore) -> None:
    content = json.loads(json.dumps(one_of_each.as_dict(), allow_nan=False))
    assert content == one_of_each.as_dict() | {"parts": content["parts"]}
    answers = {answer for q in range(store.num_questions) for answer in store.answers(q)}
    assert answers == {G, W, X, Y, Z}
    texts = [*words(content), one_of_each.prompt(), one_of_each.table().to_json(), one_of_each.bounds_table().to_json()]
    for text in texts:
        for secret in (*answers, "TEXT"):
            assert secret not in text
    known = {*LOSSES, *BANDS, "one/each", "scripted", "exact", "all", "store", "band"}
    assert {word for word in words(content) if word not in known and not word.isidentifier()} == set()


def test_a_sketch_shows_rounds_under_labels_and_the_verdict(store: ReplayStore) -> None:
    played = trace(Scripted(), store, list(ONE_OF_EACH).index("pruned_right"), 0, Rules(max_branches=6))
    assert sketch(played, "An episode").splitlines() == [
        "An episode; answers as labels:",
        "  round 1: +500 tokens, opened 5; leader A1 2/4, of the finished none",
        "  rounds 2-3: +200 tokens, finished 2, pruned 1; leader A0 1/3, of the finished A0 1/1",
        "  answer A0: wrong, 700 tokens",
    ]


def test_a_long_sketch_leaves_the_middle_out() -> None:
    flips = Branch(["1", "2"] * 20, 4000, "2")
    long = build_store([Question("q", "2", [flips])], model="m", benchmark="b", interval_tokens=100)
    played = trace(make_controller("answer_consistency", branches=1), long, 0)
    heading, *lines, end = sketch(played, "Long").splitlines()
    half = MOST_LINES // 2
    assert (heading, end) == ("Long; answers as labels:", "  answer A1: right, 4,000 tokens")
    assert lines[half] == f"  ... {40 - MOST_LINES} changes of leader ..."
    assert [line.split(":")[0] for line in lines[:half]] == [f"  round {i}" for i in range(1, half + 1)]
    assert len(lines) == MOST_LINES + 1


def test_the_prompt_names_every_loss_and_every_part(one_of_each: Diagnosis) -> None:
    text = one_of_each.prompt()
    for name, meaning in LOSSES.items():
        assert f"- {name}: " in text
        assert meaning in text
    assert "- one/each: 11.1 %, 700 tokens; " in text
    assert text.count("answers as labels:") == len(one_of_each.sketches) == 3


def test_tables_have_a_row_for_all_each_store_and_each_band(one_of_each: Diagnosis) -> None:
    records = one_of_each.table().records()
    bands = ["none: none knows", "hard: below 20 %", "medium: 20 to 50 %", "likely: 50 to 80 %"]
    assert [record["part"] for record in records] == ["all", *bands]
    assert records[0]["stopped_early:episodes"] == pytest.approx(1 / 9)
    assert records[0]["stopped_early:tokens"] == pytest.approx(1 / 9)
    bounds = one_of_each.bounds_table().records()[0]
    assert bounds["best_stop:accuracy"] == pytest.approx(3 / 9)
    assert "What went wrong: scripted() on one/each, exact accounting, 1 seed" in one_of_each.table().to_markdown()


def test_shares_are_those_of_all_episodes_by_name(one_of_each: Diagnosis) -> None:
    assert list(one_of_each.shares) == list(LOSSES)
    assert all(0 <= share <= 1 for share in one_of_each.shares.values())


def test_a_command_shows_the_episode_under_the_same_rules(store: ReplayStore, tmp_path: Path) -> None:
    saved = ReplayStore.load(store.save(tmp_path / "a folder" / "x.h5"))
    held = Rules(max_branches=3, accounting="autotts", token_budget=650)
    diagnosis = diagnose(make_controller("asc", branches=4, criterion="majority"), saved, seeds=[5], rules=held)
    example = diagnosis.overall.examples["outvoted"][0]
    assert diagnosis.command(example) == (
        f"autotts trace '{tmp_path}/a folder/x.h5' --controller asc --param branches=4 --param criterion=majority "
        f"--param threshold=0.8 --question {example.question} --seed 5 --accounting autotts --max-branches 3 "
        "--token-budget 650"
    )
    shipped = diagnose(make_controller("cmc", beta=0.1), "synthetic/search", seeds=[0])
    first = next(iter(filter(None, shipped.overall.examples.values())))[0]
    assert shipped.command(first).startswith("autotts trace synthetic/search --controller cmc --beta 0.1 --question ")


def test_tensorboard_gets_shares_and_bounds(one_of_each: Diagnosis, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from autotts_gym.evaluation.tensorboard import DIAGNOSIS_CHARTS, EventLog, write_diagnosis

    with EventLog(tmp_path) as log:
        log.layout({"Diagnosis": DIAGNOSIS_CHARTS})
        for step in (1, 2):
            write_diagnosis(log, one_of_each, step)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    tags = events.Tags()["scalars"]
    for name, share in one_of_each.shares.items():
        assert [(e.step, e.value) for e in events.Scalars(f"diagnosis/{name}")] == [
            (1, pytest.approx(share)),
            (2, pytest.approx(share)),
        ]
    assert events.Scalars("hindsight/accuracy")[0].value == pytest.approx(1 / 9)
    assert events.Scalars("diagnosis by tokens/outvoted")[0].value == pytest.approx(1 / 9)
    for patterns in DIAGNOSIS_CHARTS.values():
        assert any(re.search(pattern, tag) for pattern in patterns for tag in tags)


def test_a_figure_shows_every_part_and_is_the_same_every_time(one_of_each: Diagnosis, tmp_path: Path) -> None:
    plot_diagnosis(one_of_each, [tmp_path / "a.png", tmp_path / "a.svg"])
    plot_diagnosis(one_of_each, (tmp_path / "b.png", tmp_path / "b.svg"))
    for suffix in ("png", "svg"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    picture = matplotlib.image.imread(tmp_path / "a.png")
    colours = {tuple(colour) for colour in np.round(picture[..., :3].reshape(-1, 3) * 255).astype(int).tolist()}
    assert {(0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2), (0x70, 0x70, 0x70)} <= colours
    with pytest.raises(AutottsError, match=r"expected a file name ending in"):
        plot_diagnosis(one_of_each, tmp_path / "a.gif")


def test_importing_it_loads_no_picture_and_no_tensorboard() -> None:
    code = (
        "import sys, autotts_gym.evaluation.diagnosis\n"
        "assert not {'matplotlib', 'tensorboard', 'torch', 'rich'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
