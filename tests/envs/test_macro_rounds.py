"""The environment of rounds: its macro actions against their documented meanings, and native against sync."""

import copy
import pickle
import subprocess
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from players import assert_equal, episode, pick, small, weighted_votes
from reference import FINISHED, PRUNED, Episode, assert_same
from worlds import World, rules, worlds

import autotts_gym
from autotts_gym.actions.macros import MACROS, Macro
from autotts_gym.engine import RoundPlan, Rules
from autotts_gym.envs.rounds import ReplayRoundsEnv, ReplayRoundsVectorEnv
from autotts_gym.errors import AutottsError, ControllerError
from autotts_gym.replay import Branch, Question, pool_order

ID = "AutoTTS-ReplayRounds-v0"
MODES = list(AutoresetMode)
SOME = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
ENDINGS = (0, 12)
KEYS = ("max_branches", "token_budget", "probe", "probe_cost", "accounting", "max_steps")


def deepen_first(revealed: Any, rows: np.ndarray, plan: RoundPlan) -> None:
    plan.deepen[rows, 0] = 1


FIRST = Macro("deepen_first", "one step of branch 0", deepen_first)


@autotts_gym.macro("one step of branch 0")
def compiled_first(revealed, n, plan):
    plan.deepen[n, 0] = 1


@autotts_gym.macro("prunes branches off the leader, or else opens two")
def prune_or_open(revealed, n, plan):
    pool = revealed.pools[n]
    some = False
    for i in range(pool.opened):
        if revealed.slots[n, i].answer != pool.leader and pool.leader >= 0:
            plan.prune[n, i] = True
            some = True
    if not some:
        plan.open[n] = 2


@autotts_gym.macro("stops with an answer that the episode has not seen")
def guess(revealed, n, plan):
    plan.stop[n] = True
    plan.answer[n] = revealed.pools[n].answers_seen


@autotts_gym.macro("looks where it must not")
def peek(revealed, n, plan):
    plan.stop[n] = revealed.hidden_pools[n].correct


def prune_or_open_in_python(revealed: Any, rows: np.ndarray, plan: RoundPlan) -> None:
    leaders = revealed.pools["leader"][rows, None]
    opened = np.arange(plan.prune.shape[1]) < revealed.pools["opened"][rows, None]
    plan.prune[rows] = opened & (leaders >= 0) & (revealed.slots["answer"][rows] != leaders)
    plan.open[rows] = np.where(plan.prune[rows].any(axis=1), 0, 2)


def quarter(active: list[int], depth: dict[int, int], deepest: bool) -> list[int]:
    """A quarter of the active branches, rounded up; of equally deep ones the first opened counts as deeper."""
    order = sorted(active, key=lambda i: (-depth[i], i))
    held = -(-len(active) // 4)
    return order[:held] if deepest else order[len(order) - held :]


def expected(model: Episode, macro: int) -> RoundPlan:
    """The round that a macro stands for, from the table in the documentation."""
    plan = RoundPlan.empty(1, model.rules.max_branches)
    active = [i for i, slot in enumerate(model.slots) if slot.status == 1]
    depth = {i: model.slots[i].depth for i in active}
    on = [i for i in active if model.slots[i].answer is not None and model.slots[i].answer == model.leader]
    done = model.having(FINISHED)
    deepen = {
        1: (active, 1),
        2: (active, 4),
        3: (on, 2),
        4: ([i for i in active if i not in on], 2),
        5: (quarter(active, depth, True), 4),
    }
    prune = {
        9: [i for i in active if model.slot_fields(i)["off_leader"] >= 8],
        10: quarter(active, depth, False),
        11: [i for i in active if done and depth[i] > 1.5 * sum(s.depth for s in done) / len(done)],
        13: [i for i in active if model.slot_fields(i)["off_leader"] >= 24],
    }
    if macro == 14:
        plan.read[:] = min(1, model.rules.max_branches - len(model.slots))
    elif macro in deepen:
        chosen, steps = deepen[macro]
        plan.deepen[0, chosen] = steps
    elif macro in prune:
        plan.prune[0, prune[macro]] = True
    elif macro in ENDINGS:
        plan.stop[:] = True
        plan.answer[:] = model.id(next(iter(weighted_votes(model)), None) if macro else None)
    else:
        plan.open[:] = {6: 1, 7: 4, 8: 16}[macro]
    return plan


@SOME
@given(st.data(), worlds(pool=12, longest=12), st.integers(0, 2**31))
def test_every_macro_does_what_its_meaning_says(data: st.DataObject, world: World, seed: int):
    laws: Rules = data.draw(rules(world.interval, 9, auto_stop=True))
    env = ReplayRoundsEnv(world.store(), **{key: getattr(laws, key) for key in KEYS})
    question = world.questions[0]
    order = pool_order(5, len(question.branches))
    model = Episode([question.branches[k] for k in order], question.gold, world.interval, laws)
    _, info = env.reset(seed=0, options={"question": 0, "branch_seed": 5})
    rng = np.random.default_rng(seed)
    for _ in range(25):
        macro = pick(rng, info["action_mask"], stops=0.04, endings=ENDINGS)
        valid = bool(info["action_mask"][macro])
        _, _, terminated, truncated, info = env.step(macro)
        assert info["invalid_action"] == (not valid)
        model.play(expected(model, macro) if valid else RoundPlan.empty(1, laws.max_branches), 0)
        assert_same(env._episodes.state, 0, model)
        if terminated or truncated:
            break


def test_stubborn_branches_are_those_off_the_leader_for_three_times_as_long_as_dissenters():
    turns = (60, 60, 0, 10)  # the depth from which each branch answers b
    pool = [Branch(["a"] * turn + ["b"] * (60 - turn), 30_000, "a") for turn in turns]
    world = World(500, (Question("q", "a", pool),))
    laws = Rules(max_branches=4)
    order = pool_order(5, 4).tolist()
    env, model = ReplayRoundsEnv(world.store(), max_branches=4), Episode([pool[k] for k in order], "a", 500, laws)
    _, info = env.reset(seed=0, options={"question": 0, "branch_seed": 5})
    always, late = order.index(2), order.index(3)
    dissenting = stubborn = 0
    for macro in [7, *[1] * 39]:
        _, _, _, _, info = env.step(macro)
        model.play(expected(model, macro), 0)
        off = {i for i in range(4) if model.slot_fields(i)["off_leader"] >= 8}
        if info["action_mask"][9] and not dissenting:
            dissenting = model.slots[0].depth
            assert off == {always}
        if info["action_mask"][13]:
            stubborn = model.slots[0].depth
            break
    assert (dissenting, stubborn) in ((8, 24), (9, 25))  # a round later where b was seen first
    assert off == {always, late}
    assert np.flatnonzero(expected(model, 9).prune[0]).tolist() == sorted((always, late))
    twin = copy.deepcopy(env)
    twin.step(9)
    assert twin.revealed.pools["pruned"][0] == 2
    env.step(13)
    model.play(expected(model, 13), 0)
    assert_same(env._episodes.state, 0, model)
    assert [i for i, slot in enumerate(model.slots) if slot.status == PRUNED] == [always]


@SOME
@given(st.data(), worlds(pool=12, longest=12), st.integers(0, 2**31))
def test_a_macro_is_admissible_exactly_where_it_would_change_something(data: st.DataObject, world: World, seed: int):
    laws: Rules = data.draw(rules(world.interval, 9, max_steps=None))
    env = ReplayRoundsEnv(world.store(), **{key: getattr(laws, key) for key in KEYS})
    _, info = env.reset(seed=seed)
    rng = np.random.default_rng(seed)
    for _ in range(6):
        mask = info["action_mask"]
        assert (mask.dtype, mask[0]) == (np.int8, 1)
        assert env.action_masks().tolist() == mask.astype(bool).tolist()
        before = env.revealed.slots.tolist()
        for macro in range(1, len(mask)):
            twin = copy.deepcopy(env)
            tried = twin.step(macro)[-1]
            assert tried["invalid_action"] == (not mask[macro])
            assert macro in ENDINGS or (twin.revealed.slots.tolist() != before) == bool(mask[macro])
        _, _, terminated, _, info = env.step(pick(rng, mask, endings=ENDINGS))
        if terminated:
            break


@SOME
@given(st.data(), worlds(), st.integers(0, 2**31))
def test_the_dense_return_equals_the_sparse_one(data: st.DataObject, world: World, seed: int):
    laws: Rules = data.draw(rules(world.interval))
    weights = {"cost_weight": 700.0, "latency_weight": 300.0}
    shaping = data.draw(st.booleans())
    env = ReplayRoundsEnv(world.store(), **{key: getattr(laws, key) for key in KEYS}, **weights, shaping=shaping)
    observation, *steps = episode(env, np.random.default_rng(seed), seed=seed)
    info = steps[-1][-1]
    paid = (700.0 * info["total_tokens"] + 300.0 * info["sequential_tokens"]) * 1e-6
    assert sum(step[1] for step in steps) == pytest.approx(info["correct"] - paid, abs=1e-9)
    for results in (observation, *steps):
        assert env.observation_space.contains(results[0])


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"observation": "pool", "token_budget": 900},
        {"max_steps": 4},
        {"macros": [*MACROS, FIRST], "max_steps": 6},
        {"macros": [*MACROS, compiled_first, prune_or_open], "max_steps": 6},
        {"macros": [*MACROS, FIRST, prune_or_open], "max_steps": 6},
    ],
    ids=["plain", "budget", "truncated", "one of ones own", "compiled", "compiled and not"],
)
def test_native_equals_sync_step_for_step(kwargs: dict[str, Any], mode: AutoresetMode, num_envs: int):
    kwargs = {"store": small(), "max_branches": 8, **kwargs}
    native = ReplayRoundsVectorEnv(num_envs, autoreset_mode=mode, **kwargs)
    sync = SyncVectorEnv([lambda: ReplayRoundsEnv(**kwargs)] * num_envs, autoreset_mode=mode)
    rng = np.random.default_rng(0)
    one = native.reset(seed=2)
    assert_equal(one, sync.reset(seed=2))
    masks, ends = one[1]["action_mask"], 0
    for _ in range(120):
        actions = np.array([pick(rng, mask, endings=ENDINGS) for mask in masks])
        results = native.step(actions)
        assert_equal(results, sync.step(actions))
        assert_equal(native.action_masks(), np.stack(sync.call("action_masks")))
        masks, ended = results[4]["action_mask"], results[2] | results[3]
        ends += int(ended.sum())
        if mode == AutoresetMode.DISABLED and ended.any():
            again = native.reset(options={"reset_mask": ended.copy()})
            assert_equal(again, sync.reset(options={"reset_mask": ended.copy()}))
            masks = native.action_masks().astype(np.int8)
    assert ends > 3


@pytest.mark.parametrize("actions", [[1, 15], [-1, 1]], ids=str)
def test_actions_outside_of_the_space_are_refused_and_nothing_is_done(actions: list[int]):
    single, vector = ReplayRoundsEnv(small()), ReplayRoundsVectorEnv(2, small())
    single.reset(seed=0)
    vector.reset(seed=0)
    with pytest.raises(ValueError, match=r"actions: expected 0 \.\. 14, got"):
        vector.step(np.array(actions))
    with pytest.raises(ValueError, match=r"action: expected 0 \.\. 14, got"):
        single.step(max(actions) if min(actions) >= 0 else -1)
    assert vector.revealed.pools["steps"].tolist() == [0, 0]


def test_macros_by_name_survive_json_and_one_of_ones_own_is_used():
    env = gym.make(ID, macros=["stop", "open_4", "deepen_all"])
    assert env.action_space == gym.spaces.Discrete(3)
    assert env.spec is not None
    twin = gym.make(type(env.spec).from_json(env.spec.to_json()))
    assert_equal(env.reset(seed=1), twin.reset(seed=1))
    assert_equal(env.step(1), twin.step(1))

    own = ReplayRoundsEnv(small(), macros=[*MACROS, FIRST])
    _, info = own.reset(seed=0)
    assert info["action_mask"].tolist() == [1, *[0] * 5, 1, 1, 1, 0, 0, 0, 1, 0, 1, 0]
    _, _, _, _, info = own.step(6)
    assert info["action_mask"][15] == (own.revealed.slots["status"][0, 0] == 1)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_a_compiled_macro_is_the_same_macro_in_plain_python(mode: AutoresetMode, threads: int):
    plain = Macro("prune_or_open", "", prune_or_open_in_python)
    one, other = (
        ReplayRoundsVectorEnv(6, small(), macros=macros, autoreset_mode=mode, max_steps=9, threads=threads)
        for macros in (["stop", "deepen_all", compiled_first, prune_or_open], ["stop", "deepen_all", FIRST, plain])
    )
    rng = np.random.default_rng(1)
    results = one.reset(seed=4)
    assert_equal(results, other.reset(seed=4))
    masks, ended = results[1]["action_mask"], np.zeros(6, np.bool_)
    for _ in range(80):
        if mode == AutoresetMode.DISABLED and ended.any():
            again = one.reset(options={"reset_mask": ended.copy()})
            assert_equal(again, other.reset(options={"reset_mask": ended.copy()}))
            masks = again[1]["action_mask"]
        actions = np.array([pick(rng, mask, endings=(0,)) for mask in masks])
        results = one.step(actions)
        assert_equal(results, other.step(actions))
        assert_equal(one.action_masks(), other.action_masks())
        masks, ended = results[4]["action_mask"], results[2] | results[3]


def test_a_compiled_macro_is_found_by_reference_travels_and_is_written_alone(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from autotts_gym import macro\n\n\n@macro('open three')\ndef open_3(revealed, n, plan):\n"
        "    plan.open[n] = 3\n"
    )
    env = gym.make(ID, macros=["stop", f"{tmp_path / 'mine.py'}:open_3", "deepen_all"]).unwrapped
    env.reset(seed=0)
    for each in (env, copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
        each.step(1)
        assert each.revealed.pools["opened"][0] == 3
    assert pickle.loads(pickle.dumps(compiled_first)) is compiled_first
    plan = RoundPlan.empty(1, 64)
    compiled_first.write(env.revealed, np.array([0]), plan)
    assert plan.deepen[0].tolist() == [1] + [0] * 63
    code = "import pickle, sys; env = pickle.load(sys.stdin.buffer); env.step(1); print(env.revealed.pools['opened'])"
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(env), capture_output=True, check=True)
    assert done.stdout.split() == [b"[6]"]


@autotts_gym.macro("probe every branch")
def probe_all(revealed: Any, n: int, plan: Any) -> None:
    plan.probe[n, :] = True


def probe_all_in_python(revealed: Any, rows: np.ndarray, plan: RoundPlan) -> None:
    plan.probe[rows] = True


@pytest.mark.parametrize("own", [probe_all, Macro("probe_all", "", probe_all_in_python)], ids=["compiled", "Python"])
def test_a_macro_that_only_probes_is_admissible_where_a_branch_can_be_probed(own: Any):
    store = autotts_gym.synthesize(1, 8)
    env = ReplayRoundsEnv(store, macros=["stop", "open_1", own], probe="explicit", probe_cost=10)
    assert env.reset(seed=0)[1]["action_mask"].tolist() == [1, 1, 0]
    assert env.step(1)[4]["action_mask"][2] == 1
    spent = env.revealed.pools["total_tokens"][0]
    assert env.step(2)[4]["action_mask"][2] == 0
    assert env.revealed.pools["total_tokens"][0] == spent + 10
    automatic = ReplayRoundsEnv(store, macros=["stop", "open_1", own])
    automatic.reset(seed=0)
    assert automatic.step(1)[4]["action_mask"][2] == 0


def test_a_compiled_macro_that_is_wrong_is_an_error_and_reads_nothing_hidden():
    env = ReplayRoundsVectorEnv(2, small(), macros=["stop", "open_1", guess])
    with pytest.raises(ValueError, match=r"macro: expected plan.answer to be the id of an answer"):
        env.reset(seed=0)
    with pytest.raises(AutottsError, match=r"macro peek: Numba cannot compile it: .*hidden_pools"):
        ReplayRoundsEnv(small(), macros=["stop", peek]).reset(seed=0)
    for wrong in (3, "", None):
        with pytest.raises(AutottsError, match="macro: meaning: expected a line"):
            autotts_gym.macro(wrong)  # type: ignore[arg-type]
    with pytest.raises(AutottsError, match="macro: expected a function"):
        autotts_gym.macro("words")(3)  # type: ignore[arg-type]


def test_a_macro_of_ones_own_plans_for_those_that_take_it_only():
    asked: list[list[int]] = []

    def write(revealed: Any, rows: np.ndarray, plan: RoundPlan) -> None:
        asked.append(rows.tolist())
        plan.deepen[rows, 0] = 1

    env = ReplayRoundsVectorEnv(4, small(), macros=["stop", "open_1", Macro("own", "one step of branch 0", write)])
    env.reset(seed=0)
    env.step(np.array([0, 1, 1, 2]))  # the last one has no branch yet
    asked.clear()
    _, _, _, _, infos = env.step(np.array([2, 2, 1, 2]))  # the first one begins anew
    assert infos["invalid_action"].tolist() == [False, False, False, True]
    assert asked == [[1], [0, 1, 2, 3]]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_an_episode_that_ended_in_a_step_that_failed_does_not_go_on(mode: AutoresetMode):
    failing = False

    def write(revealed: Any, rows: np.ndarray, plan: RoundPlan) -> None:
        if failing:
            raise RuntimeError("not today")
        plan.deepen[rows, 0] = 1

    env = ReplayRoundsVectorEnv(
        2, small(), macros=["stop", "open_1", Macro("own", "one step of branch 0", write)], autoreset_mode=mode
    )
    env.reset(seed=0)
    env.step(np.array([1, 1]))
    failing = True
    with pytest.raises(RuntimeError, match="not today"):
        env.step(np.array([0, 1]))
    failing = False
    assert env.action_masks().tolist() == [[True, False, False], [True, True, True]]
    if mode == AutoresetMode.NEXT_STEP:
        _, _, terminations, _, infos = env.step(np.array([0, 1]))
        assert terminations.tolist() == [False, False]
        assert infos["stop_reason"].tolist() == ["running"] * len(infos["stop_reason"])
        assert env.revealed.pools["opened"].tolist() == [0, 3]
    else:
        with pytest.raises(ResetNeeded):
            env.step(np.array([1, 1]))


@pytest.mark.parametrize("answer", [-2, 1, 4000])
def test_a_macro_that_stops_with_an_answer_it_has_not_seen_is_an_error(answer: int):
    def write(revealed: Any, rows: np.ndarray, plan: RoundPlan) -> None:
        plan.stop[rows] = True
        plan.answer[rows] = answer

    env = ReplayRoundsVectorEnv(2, small(), macros=["stop", "open_1", Macro("guess", "some answer", write)])
    env.reset(seed=0)
    env.step(np.array([1, 1]))
    assert env.revealed.pools["answers_seen"].max() <= 1
    with pytest.raises(ControllerError, match=r"macro 'guess': expected an id of one of the . answers that episode 1 "):
        env.step(np.array([1, 2]))
    assert env.revealed.pools["steps"].tolist() == [1, 1]
