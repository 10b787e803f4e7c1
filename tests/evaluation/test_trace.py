import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import INTERVAL, as_store, fitting, ragged_questions

from autotts_gym.controllers import controller_families, make_controller
from autotts_gym.engine import Rules
from autotts_gym.errors import AutottsError
from autotts_gym.evaluation import evaluate
from autotts_gym.evaluation.trace import Trace, trace, traces
from autotts_gym.replay import Branch, Question, synthesize

SETTINGS = st.tuples(st.sampled_from(sorted(controller_families())), st.sampled_from((0.0, 0.3, 1.0)))
RULES = st.builds(Rules, max_branches=st.integers(1, 8), accounting=st.sampled_from(("exact", "autotts")))
SEEDS = st.integers(0, 10_000)


def parsed(played: Trace) -> list[dict[str, Any]]:
    return [json.loads(line) for line in played.lines()]


@settings(max_examples=60, deadline=None)
@given(SEEDS, SEEDS, SETTINGS, RULES, st.none() | st.integers(0, 2_000))
def test_a_trace_is_the_episode_that_evaluate_plays_and_its_rounds_add_up(pool_seed, seed, setting, rules, budget):
    rules = replace(rules, token_budget=budget)
    store = fitting(setting[0], as_store(ragged_questions(pool_seed)))
    controller = make_controller(setting[0], beta=setting[1])
    result = evaluate(
        controller,
        store,
        seeds=[seed],
        max_branches=rules.max_branches,
        accounting=rules.accounting,
        token_budget=budget,
        answers=True,
    )
    for question in range(store.num_questions):
        played = trace(controller, store, question, seed, rules)
        end, last = played.end, played.rounds[-1].ledger
        assert result.answers is not None
        assert end.answer == result.answers[0, question]
        assert end.correct == result.correct[0, question]
        assert end.total_tokens == result.total_tokens[0, question]
        assert end.sequential_tokens == result.sequential_tokens[0, question]
        assert end.branches_opened == result.branches_opened[0, question]
        assert end.branches_pruned == result.branches_pruned[0, question]
        assert (last.total_tokens, last.sequential_tokens) == (end.total_tokens, end.sequential_tokens)
        assert (last.opened, last.pruned) == (end.branches_opened, end.branches_pruned)
        assert last.opened == last.active + last.finished + last.pruned
        assert sum(each.ledger.tokens for each in played.rounds) == end.total_tokens
        assert sum(each.ledger.sequential for each in played.rounds) == end.sequential_tokens
        for each in played.rounds:
            assert sum(change.tokens for change in each.revealed) == each.ledger.tokens
            assert max((change.tokens for change in each.revealed), default=0) == each.ledger.sequential
        assert trace(controller, store, question, seed, rules).lines() == played.lines()


@settings(max_examples=60, deadline=None)
@given(SEEDS, SEEDS, SETTINGS, RULES)
def test_rounds_tell_what_the_pool_shows_at_the_revealed_depths(pool_seed, seed, setting, rules):
    questions = ragged_questions(pool_seed)
    store = fitting(setting[0], as_store(questions))
    played = trace(make_controller(setting[0], beta=setting[1]), store, 1, seed, rules)
    pool = dealt(questions[1], seed)
    shown: dict[int, list[str | None]] = {}
    status: dict[int, str] = {}
    for number, each in enumerate(played.rounds, 1):
        assert each.round == number
        for change in each.revealed:
            branch, answers = pool[change.branch], shown.setdefault(change.branch, [])
            answers += change.answers
            assert answers == list(branch.probes[: change.depth])
            assert change.answer == (branch.final if change.status == "finished" else answers[-1])
            status[change.branch] = change.status
        counts = [list(status.values()).count(name) for name in ("active", "finished", "pruned")]
        assert counts == [each.ledger.active, each.ledger.finished, each.ledger.pruned]
        votes = [pool[i].final if s == "finished" else shown[i][-1] for i, s in status.items() if s != "pruned"]
        for standing, cast in (
            (each.leader, votes),
            (each.finished_leader, [pool[i].final for i, s in status.items() if s == "finished"]),
        ):
            cast = [answer for answer in cast if answer is not None]
            assert standing.voters == len(cast)
            assert standing.votes == max((cast.count(answer) for answer in cast), default=0)
            assert standing.votes == cast.count(standing.answer)
            assert 0 <= standing.confidence <= 1


def dealt(question: Question, seed: int) -> list[Branch]:
    """The branches of an episode in the order of their slots."""
    order = list(range(len(question.branches)))
    random.Random(seed).shuffle(order)
    return [question.branches[i] for i in order]


@settings(max_examples=100, deadline=None)
@given(SEEDS, SEEDS, SETTINGS, RULES)
def test_nothing_unrevealed_is_in_any_line_before_the_last(pool_seed, seed, setting, rules):
    controller = make_controller(setting[0], beta=setting[1])
    question = ragged_questions(pool_seed)[0]
    played = trace(controller, fitting(setting[0], as_store([question])), 0, seed, rules)
    state: dict[int, tuple[str, int]] = {
        change.branch: (change.status, change.depth) for each in played.rounds for change in each.revealed
    }
    order = list(range(len(question.branches)))
    random.Random(seed).shuffle(order)
    altered = list(question.branches)
    for slot, position in enumerate(order):
        status, depth = state.get(slot, ("closed", 0))
        if status != "finished":
            probes = [*altered[position].probes[:depth], "secret", "secret"]
            altered[position] = Branch(probes, len(probes) * INTERVAL + 7, "secret")
    store = fitting(setting[0], as_store([Question("another text", "secret", altered)]))
    other = trace(controller, store, 0, seed, rules)
    assert other.lines()[:-1] == played.lines()[:-1]
    assert not other.end.correct


@pytest.mark.parametrize("name", ["cmc", "asc", "agents/programs/parallel_probe.py"])
def test_episodes_side_by_side_are_those_played_alone(name: str) -> None:
    controller, store = make_controller(name, beta=0.4), synthesize(6, 24, seed=2)
    episodes = [(0, 3), (5, 3), (2, 0), (0, 3)]
    together = traces(controller, store, episodes)
    assert [each.lines() for each in together] == [trace(controller, store, *each).lines() for each in episodes]
    assert len({len(each.rounds) for each in together}) > 1
    with pytest.raises(AutottsError, match="question: expected 0 to 5"):
        traces(controller, store, [(0, 0), (6, 0)])


def test_lines_are_rounds_and_one_end_and_only_the_end_judges(tmp_path: Path) -> None:
    controller, store = make_controller("cmc", beta=0.2), synthesize(4, 16, seed=5)
    played = trace(controller, store, 2, seed=9)
    played.write_jsonl(tmp_path / "new" / "trace.jsonl")
    lines = (tmp_path / "new" / "trace.jsonl").read_text().splitlines()
    assert lines == played.lines()
    *rounds, end = map(json.loads, lines)
    assert [each["event"] for each in rounds] == ["round"] * len(played.rounds)
    assert [each["round"] for each in rounds] == list(range(1, len(rounds) + 1))
    assert end["event"] == "end"
    assert end["rounds"] == len(rounds)
    assert isinstance(end["correct"], bool)
    assert end["setting"] == {
        "controller": "cmc",
        "params": {"beta": 0.2},
        "store": "synthetic/synthetic",
        "question": 2,
        "seed": 9,
        "accounting": "exact",
        "max_branches": 64,
        "token_budget": None,
    }
    for line in lines[:-1]:
        assert "correct" not in line
        assert "gold" not in line
    assert [each["plan"]["stop"] for each in rounds] == [False] * (len(rounds) - 1) + [True]


def test_plans_are_what_the_controller_asked_for_even_where_it_was_not_admissible() -> None:
    store = synthesize(1, 3)
    (read, stop) = parsed(trace(make_controller("sc", branches=5), store, 0))[:-1]
    assert read["plan"] == {
        "prune": [], "deepen": {}, "probe": [], "open": 0, "read": 5, "stop": False, "answer": None,
    }  # fmt: skip
    assert [change["status"] for change in read["revealed"]] == ["finished"] * 3
    assert stop["plan"]["stop"]
    opening, deepening = parsed(trace(make_controller("parallel_probe", branches=2), store, 0))[:2]
    assert opening["plan"]["open"] == 2
    assert deepening["plan"]["deepen"] == {"0": 1, "1": 1}


def test_an_explicit_probe_is_distinguished_from_what_was_not_probed() -> None:
    class Prober:
        name = "prober"
        params: dict[str, Any] = {}  # noqa: RUF012

        def begin(self, revealed: Any) -> None: ...

        def decide(self, revealed: Any, memory: None, plan: Any) -> None:
            depth = revealed.slots["depth"][0, 0]
            plan.open[0], plan.deepen[0, 0], plan.stop[0] = depth == 0, 0 < depth < 3, depth == 3
            plan.probe[0, 0] = depth == 1

    question = Question("q", "a", [Branch(["a", "b", "c", "d"], 4 * INTERVAL, "d")])
    played = trace(Prober(), as_store([question]), 0, rules=Rules(probe="explicit", probe_cost=5))
    changes = [each.revealed[0] for each in played.rounds[:3]]
    assert [change.answers for change in changes] == [(None,), ("b",), (None,)]
    assert [change.answer for change in changes] == [None, "b", "b"]
    assert [change.tokens for change in changes] == [INTERVAL, INTERVAL + 5, INTERVAL]
    assert [each.plan.probe for each in played.rounds] == [(), (0,), (), ()]


@pytest.mark.parametrize("question", [-1, 3])
def test_a_question_that_is_not_there_is_an_error(question: int) -> None:
    with pytest.raises(AutottsError, match=rf"question: expected 0 to 2 in synthetic/synthetic, got {question}"):
        trace(make_controller("sc"), synthesize(3, 2), question)
