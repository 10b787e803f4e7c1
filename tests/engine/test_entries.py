"""No public call of the engine reaches memory that is not its own: whatever comes, it is right or a clear error."""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import random_plan
from wild import WILD, attempt, is_clear, maybe_wild
from worlds import World, worlds

from autotts_gym.engine import Bank, PoolState, RoundPlan, Rules, transition
from autotts_gym.engine.fitting import pack
from autotts_gym.engine.layout import FUNCTIONS, HIDDEN, REVEALED, Arrays, Sizes, footprint, named
from autotts_gym.engine.plan import arrays_of
from autotts_gym.engine.votes import confidence_table
from autotts_gym.errors import AutottsError
from autotts_gym.replay import synthesize

MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
N, M = 3, 4
BANK = Bank([synthesize(questions=2, branches=5, signals=True)])


def everything(state: PoolState) -> list[Any]:
    return [array.tobytes() for array in state.arrays]


def begun(probe: str = "auto", begin: bool = True) -> PoolState:
    state = PoolState(BANK, N, Rules(max_branches=M, probe=probe))
    if begin:
        state.begin(questions=np.array([0, 1, 0]))
    return state


def right_arguments(state: PoolState, rng: np.random.Generator) -> dict[str, tuple[Any, ...]]:
    """Every public method of a state, with arguments that are right."""
    rows = np.arange(N)
    every = np.ones(N, np.bool_)
    return {
        "seed": (np.arange(N, dtype=np.uint64), every),
        "begin": (every, np.zeros(N, np.int64)),
        "deal": (every, np.tile(np.arange(M, dtype=np.int32), (N, 1))),
        "shuffle": (every, rows),
        "restart": (rows, np.zeros(N, np.int64)),
        "act": (rng.integers(0, state.admissible.shape[1], N),),
        "play": (random_plan(rng, state),),
        "history": (int(rng.integers(N)), int(rng.integers(M))),
        "reveals": (rows, np.zeros(N, np.int64), np.zeros(N, np.int64)),
        "answer_text": (0, -1),
        "answer_texts": (rows, np.full(N, -1)),
        "record": (1,),
        "outcomes": (True,),
        "agreed": (),
        "require": ("begin", "play_round"),
        "imitate": (state,),
        "truncate": (every,),
    }


def test_every_public_method_is_tried():
    state = begun()
    methods = {name for name in dir(state) if not name.startswith("_") and callable(getattr(state, name))}
    assert methods - {"begun"} == set(right_arguments(state, np.random.default_rng(0)))


@MANY
@given(st.data(), st.sampled_from(["auto", "explicit"]), st.integers(0, 2**32 - 1))
def test_a_call_with_anything_is_right_or_a_clear_error_that_changes_nothing(
    data: st.DataObject, probe: str, seed: int
):
    rng = np.random.default_rng(seed)
    state, twin = begun(probe), begun(probe)
    for _ in range(6):
        name = data.draw(st.sampled_from(sorted(right_arguments(state, rng))))
        right = right_arguments(state, rng)[name]
        given = tuple(maybe_wild(data.draw, argument) for argument in right)
        before = everything(state)
        answer, refused = attempt(lambda name=name, given=given: getattr(state, name)(*given))
        if refused:
            assert is_clear(refused), refused
            assert everything(state) == before
            continue
        # What was taken was right, and means the same as the arrays that it stands for.
        again = getattr(twin, name)(*(as_arrays(argument) for argument in given))
        assert str(answer) == str(again)
        assert everything(state) == everything(twin)


def as_arrays(argument: Any) -> Any:
    """A list as the array that it stands for."""
    return np.array(argument) if isinstance(argument, list | tuple) and argument else argument


@MANY
@given(st.data())
def test_what_was_never_begun_is_right_or_a_clear_error_as_well(data: st.DataObject):
    state = begun(begin=False)
    rng = np.random.default_rng(0)
    name = data.draw(st.sampled_from(sorted(right_arguments(state, rng))))
    _, refused = attempt(lambda: getattr(state, name)(*right_arguments(state, rng)[name]))
    assert is_clear(refused), refused


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.begin(np.ones(4000, bool), 0), r"chosen: expected shape \(3,\), got \(4000,\)"),
        (lambda s: s.begin(np.ones(3), 0), "chosen: expected values of bool, got float64"),
        (lambda s: s.begin(None, 1.5), "question: expected values of int64, got float64"),
        (lambda s: s.begin(None, "1"), "question: expected values of int64"),
        (lambda s: s.begin(None, True), "question: expected values of int64"),
        (lambda s: s.begin(None, [0, 0]), r"question: expected shape \(3,\), got \(2,\)"),
        (lambda s: s.begin(None, -2), r"question: expected 0 \.\. 1, got -2"),
        (lambda s: s.seed([1, 2]), r"streams: expected shape \(3,\)"),
        (lambda s: s.seed([1, 2, -3]), "streams: expected values that fit uint64"),
        (lambda s: s.act([1.99, 2.5, 1.0]), "actions: expected values of int64, got float64"),
        (lambda s: s.act(["1", "1", "1"]), "actions: expected values of int64"),
        (lambda s: s.act([1, True, 1]), "actions: expected values of int64, got truth values"),
        (lambda s: s.act([0, 0, 10]), r"actions: expected 0 \.\. 9, got 0 \.\. 10"),
        (lambda s: s.act([0, 0, -1]), r"actions: expected 0 \.\. 9, got -1 \.\. 0"),
        (lambda s: s.act([0]), r"actions: expected shape \(3,\), got \(1,\)"),
        (lambda s: s.history(3, 0), "n: expected a whole number from 0 to 2, got 3"),
        (lambda s: s.history(-1, 0), "n: expected a whole number from 0 to 2, got -1"),
        (lambda s: s.history(0, 4), "i: expected a whole number from 0 to 3, got 4"),
        (lambda s: s.history(0, 10**12), "i: expected a whole number"),
        (lambda s: s.reveals(np.zeros(4000, int), np.zeros(4000, int), [0]), r"starts: expected shape \(4000,\)"),
        (lambda s: s.reveals([0, 1, 2], [0, 0, 0], [0]), r"starts: expected shape \(3,\), got \(1,\)"),
        (lambda s: s.reveals([3], [0], [0]), r"rows: expected 0 \.\. 2, got 3 \.\. 3"),
        (lambda s: s.reveals([0], [-1], [0]), r"slots: expected 0 \.\. 3, got -1 \.\. -1"),
        (lambda s: s.reveals([0], [0], [-1]), "starts: expected depths from 0"),
        (lambda s: s.reveals([0], [0], [1]), "starts: expected depths from 0"),
        (lambda s: s.answer_text(0, 0), "answers: expected local ids of answers that the episodes have seen"),
        (lambda s: s.answer_texts([0], [-2]), "answers: expected local ids"),
        (lambda s: s.answer_texts([7], [-1]), r"rows: expected 0 \.\. 2"),
        (lambda s: s.deal(None, np.zeros((2, M), np.int32)), "orders: expected shape"),
        (lambda s: s.deal(None, np.zeros((N, M), np.int32)), "orders: expected each position of a pool at most once"),
        (lambda s: s.deal(None, np.full((N, M), 5)), "orders: expected positions within each episode's pool"),
        (lambda s: s.shuffle(None, [0, 1]), r"seeds: expected shape \(3,\)"),
        (lambda s: s.play(None), "plan: expected a RoundPlan, got NoneType"),
        (lambda s: s.play(RoundPlan.empty(N, M).arrays), "plan: expected a RoundPlan, got PlanArrays"),
        (lambda s: s.bank.locate(2), "question: expected a whole number from 0 to 1, got 2"),
        (lambda s: s.bank.locate(-1), "question: expected a whole number from 0 to 1, got -1"),
        (lambda s: s.bank.answer_texts(np.array([-2])), "answers: expected -1 .. "),
        (lambda s: s.bank.answer_texts(np.array([10**9])), "answers: expected -1 .. "),
    ],
)
def test_an_argument_of_the_wrong_shape_dtype_or_range_is_refused_by_its_name(
    call: Callable[[PoolState], Any], message: str
):
    state = begun()
    before = everything(state)
    with pytest.raises(AutottsError, match=message):
        call(state)
    assert everything(state) == before


def test_orders_are_dealt_to_episodes_that_have_just_begun():
    orders = np.tile(np.arange(M, dtype=np.int32), (N, 1))
    for state in (begun(begin=False), begun()):
        if state.running.any():
            state.act(np.ones(N, np.int64))
        for call in (lambda s: s.deal(None, orders), lambda s: s.shuffle(None, np.arange(N))):
            with pytest.raises(AutottsError, match="orders: expected episodes that have just begun; call begin"):
                call(state)


@pytest.mark.parametrize("episodes", [0, -1, 1.5, True, "3", None, 2**40])
def test_a_number_of_episodes_is_a_whole_number_of_at_least_one(episodes: Any):
    with pytest.raises(AutottsError, match="episodes: expected a whole number from 1"):
        PoolState(Bank([synthesize(questions=1, branches=2)]), episodes, Rules(max_branches=2))


def test_what_does_not_fit_into_memory_is_refused_before_any_of_it_is_taken():
    bank = Bank([synthesize(questions=1, branches=2)])
    for episodes, slots in ((1, 2**31 - 1), (2**31 - 1, 64), (10**6, 10**5)):
        with pytest.raises(AutottsError, match=f"max_branches: {slots} in each of {episodes} episodes side by side: "):
            PoolState(bank, episodes, Rules(max_branches=slots))


def test_the_estimate_of_memory_is_what_the_arrays_take():
    for probe in ("auto", "explicit"):
        state = begun(probe)
        bank = state.bank
        sizes = Sizes.of(N, M, probe == "explicit", bank.max_answers, bank.max_probes, bank.changes(M))
        sizes = sizes._replace(signals=len(bank.signal_names), signal_depths=bank.max_probes)
        own = [getattr(state.arrays, name).nbytes for name in named(REVEALED, HIDDEN)]
        assert footprint(sizes) == sum(own)


# -------------------------------------------------------------------------------------------------------------- plans


@MANY
@given(st.data())
def test_a_plan_is_made_of_anything_or_refused(data: st.DataObject):
    right = RoundPlan.empty(N, M).arrays._asdict()
    given = {name: maybe_wild(data.draw, array) for name, array in right.items()}
    state = begun()
    plan, refused = attempt(lambda: RoundPlan(**given))
    if not refused:
        _, refused = attempt(lambda: state.play(plan))
    assert is_clear(refused), refused


@pytest.mark.parametrize("name", RoundPlan.empty(1, 1).arrays._fields)
def test_a_plan_whose_arrays_were_changed_behind_it_is_refused(name: str):
    state = begun()
    good = RoundPlan.empty(N, M)
    array = getattr(good, name)
    for bad in (array[:1], array.astype(np.float64), np.zeros((9, 9, 9)), None, [0], array[::-1]):
        plan = RoundPlan.empty(N, M)
        object.__setattr__(plan, name, bad)
        with pytest.raises(AutottsError, match=r"plan[.:].*expected"):
            state.play(plan)
        with pytest.raises(AutottsError, match=r"plan[.:].*expected"):
            arrays_of(plan, (N, M))


@pytest.mark.parametrize("huge", [127, -128])
@pytest.mark.parametrize("many", [2**31 - 1, -(2**31)])
def test_huge_numbers_in_a_plan_do_what_is_admissible_of_them(huge: int, many: int):
    state = begun()
    plan = RoundPlan.empty(N, M)
    plan.deepen[:], plan.open[:], plan.read[:], plan.prune[:] = huge, many, many, True
    for _ in range(3):
        state.play(plan)
    assert (state.pools["opened"] == (M if many > 0 else 0)).all()


# ---------------------------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize("name", Arrays._fields)
def test_a_handle_is_made_of_arrays_that_fit_together(name: str):
    arrays = begun("explicit").arrays
    array = getattr(arrays, name)
    assert len(pack(arrays)) == len(Arrays._fields) + len(Sizes._fields) + len(FUNCTIONS)
    wrong: list[Any] = [
        None,
        array.tolist(),
        array[..., None],
        np.zeros(array.shape, "V3"),
        np.zeros((1, 1), array.dtype),
    ]
    if len(array) > 1:
        wrong.append(np.repeat(array, 2, axis=0)[::2])  # not contiguous
    if name not in ("questions", "branches", "probes"):  # of these only the stores know how many there are
        wrong.append(np.concatenate([array, array]) if array.size else np.zeros(1, array.dtype))
    for bad in wrong:
        with pytest.raises(AutottsError, match="expected"):
            pack(arrays._replace(**{name: bad}))


# --------------------------------------------------------------------------------------------------------------- bank


@pytest.mark.parametrize("stores", [[], None, "store", 3, [None], ["x"], [np.zeros(3)]])
def test_a_bank_is_made_of_stores(stores: Any):
    with pytest.raises(AutottsError, match="Bank: expected"):
        Bank(stores)


@MANY
@given(worlds(), WILD, WILD)
def test_a_bank_answers_or_refuses_whatever_it_is_asked(world: World, question: Any, answers: Any):
    bank = Bank([world.store()])
    for call in (lambda: bank.locate(question), lambda: bank.answer_texts(answers)):
        _, refused = attempt(call)
        assert is_clear(refused), refused


@pytest.mark.skipif(
    not numba.config.BOUNDSCHECK, reason="CI runs tests/engine and tests/envs a second time with NUMBA_BOUNDSCHECK=1"
)
def test_a_kernel_that_reaches_too_far_is_caught_where_bounds_are_checked():
    with pytest.raises(IndexError):
        transition.act_all(begun().addresses, np.zeros(10 * N, np.int64), np.zeros(10 * N, np.bool_))


@pytest.mark.parametrize(
    "call",
    [
        lambda state: PoolState("x", 1, Rules()),
        lambda state: PoolState(state.bank, 1, "x"),
        *(lambda state, n=n: state.bank.changes(n) for n in ("a", 2.5, -5, True)),
        *(lambda state, n=n: confidence_table(n) for n in ("a", 2.5, -3)),
        lambda state: Rules(auto_stop="x"),
        lambda state: Rules(max_branches=np.timedelta64(3, "s")),
        lambda state: Rules(latency_weight=np.timedelta64(3, "s")),
        lambda state: RoundPlan([True], [1], [1], [False], [0]),
        lambda state: RoundPlan([[True], [True, False]], [[1]], [1], [False], [0]),
    ],
)
def test_what_is_no_argument_of_a_kind_is_refused(call):
    with pytest.raises(AutottsError, match="expected"):
        call(begun())


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int16, np.uint64])
def test_numbers_of_numpy_are_reckoned_with_as_numbers(kind):
    rules = Rules(max_branches=kind(100), token_budget=kind(120), max_steps=kind(110))
    assert rules == Rules(max_branches=100, token_budget=120, max_steps=110)
    assert all(type(value) is int for value in (rules.max_branches, rules.token_budget, rules.max_steps))
    state = PoolState(Bank([synthesize(2, 5)]), 2, rules)
    assert state.admissible.shape == (2, 1 + 1 + 100 + 100)
