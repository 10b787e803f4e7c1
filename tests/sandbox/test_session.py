"""The session: what a program does without looking is one round, and costs and reveals what its primitives would."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from writing import FIRST, HEAD, write

from autotts_gym.controllers import make_controller
from autotts_gym.engine import Bank, PoolState, Rules, layout
from autotts_gym.engine.layout import BY_EPISODE
from autotts_gym.errors import ProgramError
from autotts_gym.evaluation import play
from autotts_gym.replay import Branch, Question, ReplayStore, build_store, synthesize

M = 4

SCRIPT = """
for verb, i, k in SCRIPT:
    if LOOKS:
        session.answers
    if verb == "open":
        session.open()
    elif verb == "read":
        session.read()
    elif i < session.opened:
        session.deepen(i, k) if verb == "deepen" else session.prune(i)
"""


@st.composite
def stores(draw: st.DrawFn) -> ReplayStore:
    def branch() -> Branch:
        probes = draw(st.lists(st.sampled_from(["1", "2", None]), min_size=1, max_size=4))
        tokens = draw(st.integers(1, 100 * len(probes) + 150))
        return Branch(probes, tokens, draw(st.sampled_from(["1", "2", "3", None])))

    questions = [Question("q", "1", [branch() for _ in range(draw(st.integers(1, 5)))]) for _ in range(2)]
    return build_store(questions, model="m", benchmark="b", interval_tokens=100)


def begun(store: ReplayStore, rules: Rules) -> PoolState:
    state = PoolState(Bank([store]), store.num_questions, rules)
    state.begin(questions=np.arange(store.num_questions))
    state.shuffle(np.ones(store.num_questions, np.bool_), np.zeros(store.num_questions, np.int64))
    return state


def one_by_one(store: ReplayStore, rules: Rules, script: list[tuple[str, int, int]]) -> PoolState:
    """The script by primitive actions of the engine."""
    state = begun(store, rules)
    for n in range(state.episodes):
        for verb, i, k in script:
            pool = state.pools[n]
            first = {"open": layout.BRANCH, "read": layout.BRANCH, "deepen": 2 + i, "prune": 2 + M + i}[verb]
            if verb in ("deepen", "prune") and i >= pool["opened"]:
                continue
            repeats = {"open": 1, "prune": 1, "deepen": k, "read": 1}[verb]
            opened = int(pool["opened"])
            actions = [first] * repeats + ([2 + opened] * 20 if verb == "read" and state.admissible[n, first] else [])
            for action in actions:
                if state.admissible[n, action]:
                    act_alone(state, n, action)
    return state


def act_alone(state: PoolState, n: int, action: int) -> None:
    """One action of one episode: the others are kept as they are."""
    before = {name: getattr(state.arrays, name).copy() for name in BY_EPISODE}
    state.act(np.full(state.episodes, action))
    for name, array in before.items():
        for row in range(state.episodes):
            if row != n:
                getattr(state.arrays, name)[row] = array[row]


steps = st.tuples(
    st.sampled_from(["open", "open", "deepen", "deepen", "prune", "read"]), st.integers(0, M - 1), st.integers(1, 3)
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(store=stores(), script=st.lists(steps, max_size=12), looks=st.booleans())
def test_actions_that_wait_come_to_what_they_come_to_one_by_one(
    tmp_path: Path, store: ReplayStore, script: list[tuple[str, int, int]], looks: bool
) -> None:
    rules = Rules(max_branches=M)
    expected = one_by_one(store, rules, script)
    head = HEAD + f"\nSCRIPT = {script!r}\nLOOKS = {looks!r}\n"
    program = make_controller(write(tmp_path, SCRIPT, head))
    state = begun(store, rules)
    play(program, state)
    for name in (
        "total_tokens",
        "opened",
        "finished",
        "pruned",
        "answers_seen",
        "leader_votes",
        "finished_leader_votes",
    ):
        assert state.pools[name].tolist() == expected.pools[name].tolist(), name
    for name in ("status", "depth", "tokens"):
        assert state.slots[name].tolist() == expected.slots[name].tolist(), name
    answers = [[state.answer_text(n, a) for a in state.slots["answer"][n]] for n in range(state.episodes)]
    plain = [[expected.answer_text(n, a) for a in expected.slots["answer"][n]] for n in range(state.episodes)]
    assert answers == plain
    assert (state.pools["sequential_tokens"] <= state.pools["total_tokens"]).all()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(store=stores(), script=st.lists(steps, max_size=12), budget=st.integers(0, 900))
def test_a_budget_is_never_passed_and_every_number_a_program_is_given_is_of_an_open_branch(
    tmp_path: Path, store: ReplayStore, script: list[tuple[str, int, int]], budget: int
) -> None:
    solve = (
        SCRIPT.replace("session.open()", "seen(session.open())").replace("session.read()", "seen(session.read())")
        + "assert all(i < len(session.answers) for i in given), given\n"
        + "assert session.total_tokens + session.remaining_budget == BUDGET"
    )
    head = HEAD + (
        f"\nSCRIPT, LOOKS, BUDGET, given = {script!r}, False, {budget}, []\n\n\n"
        "def seen(i):\n    given.extend([] if i is None else [i])\n"
    )
    state = begun(store, Rules(max_branches=M, token_budget=budget))
    play(make_controller(write(tmp_path, solve, head)), state)
    assert (state.pools["total_tokens"] <= budget).all()


def test_what_a_program_sees_is_what_was_revealed(tmp_path: Path) -> None:
    questions = [
        Question(
            "q",
            "7",
            [Branch(["5", "7", "7"], 320, "7"), Branch([None, "5"], 150, "5"), Branch(["6"] * 5, 500, "6")],
        )
    ]
    store = build_store(questions, model="m", benchmark="b", interval_tokens=100)
    order = [int(k) for k in np.argsort([0, 1, 2])]
    solve = """
    assert session.answers == session.active == session.finished == session.depths == ()
    assert session.leader is None and session.total_tokens == 0 and session.remaining_budget is None
    assert (session.max_branches, session.interval_tokens) == (64, 100)  # whatever the pool
    assert [session.open(), session.open(), session.open(), session.open()] == [0, 1, 2, None]
    assert session.opened == 3
    assert session.answers == ("A0", None, "A1")
    session.deepen((0, 1))
    session.prune(2)
    assert session.answers == ("A2", "A0", "A1")
    assert session.depths == (2, 2, 1) and session.active == (0,)
    assert session.finished == (1,) and session.pruned == (2,)
    assert session.total_tokens == 100 + 200 + 150
    assert session.leader == "A0"
    session.deepen(0, steps=1000)
    session.deepen([1, 2])
    session.prune(1)
    assert session.finished == (1, 0) and session.active == () and session.depths[0] == 3
    assert session.history(0) == ("A0", "A2", "A2") and session.history(1) == (None, "A0")
    assert session.history(2) == ("A1",)
    assert session.leader == "A0"
    return "A2"
    """
    state = PoolState(Bank([store]), 1, Rules())
    state.begin(questions=0)
    state.deal(np.ones(1, np.bool_), np.array([[*order, *[0] * 61]], np.int32))
    play(make_controller(write(tmp_path, solve)), state)
    assert state.correct.tolist() == [True]
    assert state.pools["total_tokens"].tolist() == [320 + 150 + 100]
    assert state.pools["sequential_tokens"].tolist() == [100 + 100 + 120]
    assert state.pools["stop_reason"].tolist() == [layout.STOPPED]


def test_what_is_done_without_looking_is_one_round(tmp_path: Path) -> None:
    state = begun(synthesize(2, 8), Rules())
    solve = """
    for _ in range(4):
        session.open()
    session.answers
    session.deepen(range(4))
    session.prune(())
    session.deepen(0, 2)
    session.open()
    """
    play(make_controller(write(tmp_path, solve)), state)
    assert state.pools["steps"].max() == 2
    assert (state.pools["sequential_tokens"] == 500 + 1500).all()
    assert (state.pools["total_tokens"] == (4 + 4 + 2 + 1) * 500).all()


def test_a_branch_that_is_named_twice_grows_once(tmp_path: Path) -> None:
    solve = """
    for _ in range(3):
        session.open()
    session.deepen([0, 0, 1])
    assert session.depths == (2, 2, 1)
    session.deepen(2)
    session.deepen((2, 2, 0), 2)
    assert session.depths == (4, 2, 4)
    active = session.active
    session.deepen(active)
    session.deepen(active, 2)
    assert session.depths == (7, 5, 7)
    session.prune(1)
    session.deepen(active)
    assert session.depths == (8, 5, 8)
    """
    pool = [Branch(["1"] * 12, 1200, "1")] * 3
    store = build_store([Question("q", "1", pool)], model="m", benchmark="b", interval_tokens=100)
    play(make_controller(write(tmp_path, solve)), begun(store, Rules()))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("session.deepen(1)", "IndexError: deepen: expected branches from 0 to 0, got (1,)"),
        ("session.deepen(-1)", "IndexError: deepen: expected branches from 0 to 0, got (-1,)"),
        ("session.deepen([0, True])", "TypeError: deepen: expected whole numbers as branches, got (0, True)"),
        ("session.deepen([0.0])", "TypeError: deepen: expected whole numbers as branches, got (0.0,)"),
        ("session.deepen([[0]])", "TypeError: deepen: expected whole numbers as branches, got ([0],)"),
        ("session.deepen('0')", "TypeError: deepen: expected a branch or several, got '0'"),
        ("session.deepen(0, 0)", "TypeError: deepen: expected steps to be a whole number of at least 1, got 0"),
        ("session.deepen(0, 1.5)", "TypeError: deepen: expected steps to be a whole number of at least 1, got 1.5"),
        ("session.prune(None)", "TypeError: prune: expected a branch or several, got None"),
        ("session.history(3)", "IndexError: history: expected branches from 0 to 0, got (3,)"),
        ("session.answers = ()", "AttributeError: property 'answers' of 'Session' object has no setter"),
        ("session.answers[0] = 'A1'", "TypeError: 'tuple' object does not support item assignment"),
    ],
)
def test_a_wrong_call_is_an_error_of_the_program_at_its_line(tmp_path: Path, call: str, message: str) -> None:
    path = write(tmp_path, f"session.open()\n{call}")
    with pytest.raises(ProgramError) as caught:
        play(make_controller(path), begun(synthesize(1, 4), Rules()))
    assert (caught.value.kind, caught.value.message, caught.value.line) == ("exception", message, FIRST + 1)
    assert str(caught.value) == f"{path}:{FIRST + 1}: exception: {message}"
