"""Whatever is passed to an environment is right or a clear error, and by the same rule in all of them."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from players import assert_equal, small
from wild import SCALARS, WILD, attempt, is_clear, maybe_wild

from autotts_gym.actions.macros import MACROS, BuiltIn, Macro, MacroTable
from autotts_gym.engine import RoundPlan
from autotts_gym.envs.episodes import Episodes
from autotts_gym.envs.rounds import ReplayRoundsEnv, ReplayRoundsVectorEnv
from autotts_gym.envs.single import ReplayEnv
from autotts_gym.envs.vector import ReplayVectorEnv
from autotts_gym.errors import AutottsError

MANY = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
STORE = small()
SINGLE = (ReplayEnv, ReplayRoundsEnv)
VECTOR = (ReplayVectorEnv, ReplayRoundsVectorEnv)
PAIRS = tuple(zip(SINGLE, VECTOR, strict=True))


def everything(env: Any) -> list[bytes]:
    return [array.tobytes() for array in env._episodes.state.arrays]


# ------------------------------------------------------------------------------------------- one rule for all of them


@MANY
@given(st.sampled_from(PAIRS), SCALARS)
def test_an_action_is_taken_by_the_single_environment_exactly_where_the_vector_takes_it(pair: Any, action: Any):
    one, many = pair[0](STORE, max_branches=4), pair[1](1, STORE, max_branches=4)
    one.reset(seed=0), many.reset(seed=0)
    single, refused = attempt(lambda: one.step(action))
    for actions in ([action], (action,)):
        vector, too = attempt(lambda actions=actions: many.step(actions))
        assert bool(refused) == bool(too), (action, refused, too)
        if not refused:
            break
    if not refused:
        assert single[1] == vector[1][0]


@MANY
@given(st.sampled_from(PAIRS), SCALARS)
def test_a_seed_is_taken_by_the_single_environment_exactly_where_the_vector_takes_it(pair: Any, seed: Any):
    one, many, each = (
        pair[0](STORE, max_branches=4),
        pair[1](1, STORE, max_branches=4),
        pair[1](1, STORE, max_branches=4),
    )
    single, refused = attempt(lambda: one.reset(seed=seed))
    vector, too = attempt(lambda: many.reset(seed=seed))
    listed, as_well = attempt(lambda: each.reset(seed=[seed]))
    assert bool(refused) == bool(too) == bool(as_well), (seed, refused, too, as_well)
    if not refused and seed is not None:
        for key, value in single[0].items():
            assert np.array_equal(value, vector[0][key][0])
            assert np.array_equal(value, listed[0][key][0])


@MANY
@given(st.sampled_from(PAIRS), st.sampled_from(["question", "branch_seed", "cost_weight"]), SCALARS)
def test_an_option_is_taken_by_the_single_environment_exactly_where_the_vector_takes_it(
    pair: Any, name: str, value: Any
):
    one, many = pair[0](STORE, max_branches=4), pair[1](2, STORE, max_branches=4)
    single, refused = attempt(lambda: one.reset(seed=0, options={name: value}))
    vector, too = attempt(lambda: many.reset(seed=0, options={name: value}))
    _, listed = attempt(lambda: many.reset(seed=0, options={name: [value, value]}))
    assert bool(refused) == bool(too) == bool(listed), (value, refused, too, listed)
    if not refused:
        assert np.array_equal(single[0]["pool"], vector[0]["pool"][0])


@pytest.mark.parametrize("make", SINGLE)
@pytest.mark.parametrize(
    "action", [1.99, 2.5, 1.0, "1", b"1", True, np.True_, None, [1], np.array([1]), 1j, 10**30, -1]
)
def test_a_single_environment_refuses_what_is_no_action(make: Any, action: Any):
    env = make(STORE, max_branches=4)
    env.reset(seed=0)
    before = everything(env)
    with pytest.raises(AutottsError, match="action: expected"):
        env.step(action)
    assert everything(env) == before
    env.step(np.array(1)), env.step(np.int8(1)), env.step(1)


@pytest.mark.parametrize("make", VECTOR)
@pytest.mark.parametrize(
    "actions",
    [[1.99, 2.5], [1.0, 1.0], ["1", "1"], [True, False], [True, 1], [None, 1], [1], 1, [[1, 1]], [1, 10**30], [1, -1]],
)
def test_a_vector_environment_refuses_what_are_no_actions(make: Any, actions: Any):
    env = make(2, STORE, max_branches=4)
    env.reset(seed=0)
    before = everything(env)
    with pytest.raises(AutottsError, match="actions: expected"):
        env.step(actions)
    assert everything(env) == before
    env.step([1, 1]), env.step(np.array([1, 1], np.uint8))


@pytest.mark.parametrize("seed", [1.5, 1.0, "1", True, np.True_, -1, [1], {"a": 1}, 1j, np.float64(3)])
def test_a_seed_is_a_whole_number_of_at_least_zero(seed: Any):
    for make in SINGLE:
        env = make(STORE, max_branches=4)
        env.reset(seed=0)
        before = everything(env)
        with pytest.raises(AutottsError, match="seed: expected a whole number of at least 0, or None"):
            env.reset(seed=seed)
        assert everything(env) == before
    for make in VECTOR:
        env = make(2, STORE, max_branches=4)
        for bad in (seed, [0, seed]) if seed != [1] else ([1], [0, [1]], [1, 2, 3], []):
            with pytest.raises(AutottsError, match=r"seed(\[1\])?: expected"):
                env.reset(seed=bad)


def test_seeds_of_numpy_are_those_of_python():
    for make in SINGLE:
        resets = [make(STORE, max_branches=4).reset(seed=seed) for seed in (7, np.int64(7), np.uint8(7), np.array(7))]
        for each in resets[1:]:
            assert_equal(resets[0], each)
    for make in VECTOR:
        seeds = (7, np.int64(7), [7, 8], (7, 8), np.array([7, 8]), range(7, 9))
        resets = [make(2, STORE, max_branches=4).reset(seed=seed) for seed in seeds]
        for each in resets[1:]:
            assert_equal(resets[0], each)


# ----------------------------------------------------------------------------------------------------------- anything


@MANY
@given(st.data(), st.sampled_from(SINGLE + VECTOR))
def test_an_environment_is_sound_whatever_is_passed_to_it(data: st.DataObject, make: Any):
    vector = make in VECTOR
    env = make(2, STORE, max_branches=4) if vector else make(STORE, max_branches=4)
    right = {"question": 1, "branch_seed": 3, "cost_weight": 0.5}
    for _ in range(5):
        before = everything(env)
        if data.draw(st.booleans()):
            options = {key: maybe_wild(data.draw, value) for key, value in right.items()}
            if vector:
                options["reset_mask"] = maybe_wild(data.draw, np.ones(2, np.bool_))
            options = data.draw(st.sampled_from([None, {}, options, {**options, "other": 1}])) or data.draw(
                st.one_of(st.none(), WILD)
            )
            call: Any = lambda options=options: env.reset(seed=data.draw(st.one_of(st.none(), WILD)), options=options)  # noqa: E731
        else:
            action = maybe_wild(data.draw, np.array([1, 1]) if vector else 1)
            call = lambda action=action: env.step(action)  # noqa: E731
        try:
            _, refused = attempt(call)
        except ResetNeeded:
            refused = "expected a reset"
        assert is_clear(refused), refused
        assert not refused or everything(env) == before


@pytest.mark.parametrize("make", SINGLE + VECTOR)
@pytest.mark.parametrize("options", [{"depth": 1}, {1: 2}, {"question": 0, None: 1}, [("question", 1)], "question", 3])
def test_options_that_there_are_not_are_refused(make: Any, options: Any):
    env = make(2, STORE) if make in VECTOR else make(STORE)
    with pytest.raises(AutottsError, match="options: expected"):
        env.reset(seed=0, options=options)


@pytest.mark.parametrize("make", SINGLE + VECTOR)
def test_a_refused_reset_leaves_seeds_and_episodes_as_they_were(make: Any):
    envs = [make(2, STORE) if make in VECTOR else make(STORE) for _ in range(2)]
    for env in envs:
        env.reset(seed=3)
    with pytest.raises(AutottsError):
        envs[0].reset(seed=9, options={"question": 99})
    assert_equal(envs[0].reset(), envs[1].reset())


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_envs": 0},
        {"num_envs": 1.5},
        {"num_envs": True},
        {"threads": 0},
        {"threads": "2"},
        {"max_steps": "3"},
        {"max_episode_steps": 0.5},
        {"max_branches": 2**31},
        {"autoreset_mode": "never"},
        {"render_mode": 3},
        {"observation": ["flat"]},
    ],
)
def test_a_vector_environment_refuses_what_is_out_of_range(wrong: dict[str, Any]):
    for make in VECTOR:
        with pytest.raises(AutottsError, match=f"{next(iter(wrong))}: expected"):
            make(**{"num_envs": 2, "store": STORE, **wrong})


def test_environments_too_large_for_memory_are_refused_before_any_of_it_is_taken():
    with pytest.raises(AutottsError, match="max_branches: 2147483647 in each of 1 episodes"):
        ReplayEnv(STORE, max_branches=2**31 - 1)
    with pytest.raises(AutottsError, match="expected to fit into the memory available"):
        ReplayVectorEnv(2**31 - 1, STORE)


# ----------------------------------------------------------------------------------------------------------- episodes


def test_masks_and_buffers_of_another_shape_are_refused():
    episodes = Episodes(STORE, 3, "dict", ReplayEnv(STORE, max_branches=4)._episodes.state.rules)
    episodes.begin(np.ones(3, np.bool_))
    out = episodes.empty()
    for mask in (np.ones(4000, np.bool_), np.ones(2, np.bool_), np.ones(3), [1, 0, 1], None, "abc"):
        with pytest.raises(AutottsError, match="chosen: expected"):
            episodes.encode(mask, out)
    for bad in (out[:1], out[:, :1], None, out.astype(np.float64), np.asfortranarray(out), out.tolist()):
        with pytest.raises(AutottsError, match="out: expected"):
            episodes.encode(np.ones(3, np.bool_), bad)
    for actions, restart in (([1], np.zeros(3, np.bool_)), ([1, 1, 1], np.zeros(2, np.bool_)), ([1, 1, 99], None)):
        with pytest.raises(AutottsError, match="expected"):
            episodes.step_all(actions, restart, False)
    for rows in ([3], [-1], [0.5], "a"):
        with pytest.raises(AutottsError, match="rows: expected"):
            episodes.outcomes(rows)


# ------------------------------------------------------------------------------------------------------------- macros


@MANY
@given(st.data(), st.sampled_from(RoundPlan.empty(1, 1).arrays._fields))
def test_a_macro_of_ones_own_that_writes_anything_is_right_or_a_clear_error(data: st.DataObject, name: str):
    anything = data.draw(WILD)
    replaced = data.draw(st.booleans())

    def write(revealed: Any, rows: Any, plan: RoundPlan) -> None:
        if replaced:
            object.__setattr__(plan, name, anything)
        else:
            getattr(plan, name)[rows] = anything

    for make in (lambda: ReplayRoundsEnv(STORE, macros=[*MACROS, Macro("own", "anything", write)], max_branches=4),):
        env = make()
        try:
            env.reset(seed=0)
            env.step(env.action_space.n - 1)
        except (AutottsError, TypeError, ValueError, OverflowError, IndexError, Warning):  # its own, or of its plan
            pass


def test_a_macro_that_puts_another_array_into_its_plan_is_refused():
    def write(revealed: Any, rows: Any, plan: RoundPlan) -> None:
        object.__setattr__(plan, "open", np.ones(1000, np.int32))

    env = ReplayRoundsVectorEnv(2, STORE, macros=[*MACROS, Macro("own", "too large", write)])
    with pytest.raises(AutottsError, match=r"plan\.open: expected shape \(2,\), got \(1000,\)"):
        env.reset(seed=0)


def test_a_board_is_used_with_episodes_of_its_own_size():
    state = ReplayVectorEnv(3, STORE, max_branches=4)._episodes.state
    state.begin()
    for n, m in ((2, 4), (3, 5), (4000, 4)):
        table = MacroTable(MACROS, n, m)
        with pytest.raises(AutottsError, match="revealed: expected"):
            table.masks(state.revealed)
    table = MacroTable(MACROS, 3, 4)
    rows, actions, plan = np.arange(3), np.ones(3, np.int64), RoundPlan.empty(3, 4)
    for bad in ((actions, rows, RoundPlan.empty(2, 4)), (actions[:1], rows, plan), (actions, rows + 1, plan)):
        with pytest.raises(AutottsError, match="expected"):
            table.write(state.revealed, *bad)
    with pytest.raises(AutottsError, match=r"actions: expected 0 \.\. 14"):
        table.write(state.revealed, actions + 14, rows, plan)
    for macro in MACROS:
        with pytest.raises(AutottsError, match="expected"):
            macro.write(state.revealed, rows + 1, plan)
        with pytest.raises(AutottsError, match="plan: expected shape"):
            macro.write(state.revealed, rows, RoundPlan.empty(1, 4))


@pytest.mark.parametrize(("code", "amount"), [(11, 1), (-1, 1), (1, 128), (1, -1), (1.5, 1), (1, "2")])
def test_a_built_in_macro_has_a_rule_and_a_number_of_steps(code: Any, amount: Any):
    with pytest.raises(AutottsError, match=r"BuiltIn\.(code|amount): expected"):
        BuiltIn("own", "", print, code, amount)


@pytest.mark.parametrize("macros", [[None], [3], ["stop", "no such"], [], ["stop", "stop"], ["open_1", "stop"]])
def test_macros_are_names_or_macros_each_once_and_stop_first(macros: Any):
    with pytest.raises(AutottsError, match="macros: expected"):
        ReplayRoundsEnv(STORE, macros=macros)


@pytest.mark.parametrize("threads", [0, -1, "2", 1.5, True, None])
def test_threads_are_changed_to_a_number_of_them_or_stay(threads: Any):
    env = gym.make_vec("AutoTTS-Replay-v0", num_envs=4, threads=2)
    with pytest.raises(AutottsError, match="threads: expected a whole number"):
        env.unwrapped.threads = threads
    assert env.unwrapped.threads == 2
    env.reset(seed=0)
    env.step(np.ones(4, np.int64))
    env.close()


def test_numbers_of_numpy_make_the_environment_of_the_number():
    env = gym.make("AutoTTS-Replay-v0", max_branches=np.uint8(200))
    _, info = env.reset(seed=0)
    assert env.action_space.n == info["action_mask"].size == 402
    vector = gym.make_vec("AutoTTS-Replay-v0", num_envs=2, max_branches=np.int8(100))
    assert vector.single_action_space.n == 202
