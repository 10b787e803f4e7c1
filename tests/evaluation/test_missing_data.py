"""Stores that lack something: branches without a probe, logs without any, questions without a gold answer."""

import json
import logging
from itertools import pairwise
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from pools import fitting

import autotts_gym  # noqa: F401  registers the environments
from agents.augment import augmented
from autotts_gym.controllers import controller_families, make_controller, needs_probes
from autotts_gym.engine import Bank, PoolState, Rules
from autotts_gym.envs.rendering import render_ansi, render_rgb
from autotts_gym.errors import AutottsError, ControllerError, StoreError
from autotts_gym.evaluation import diagnose, evaluate, evaluate_all
from autotts_gym.evaluation.benchmark import PRESETS, run_benchmark
from autotts_gym.evaluation.frontier import Frontier
from autotts_gym.evaluation.results import EvaluationResult
from autotts_gym.evaluation.trace import trace
from autotts_gym.replay import Branch, Question, ReplayStore, build_store, import_json

BRANCH = 1
DELTA = 500
ACCOUNTINGS = ("exact", "autotts")


def short_store() -> ReplayStore:
    """Pools in which some branches, or all, end before their first probe."""
    short, other = Branch([], 120, "4"), Branch([], 499, "5")
    long = Branch(["5", "4", "4"], 1700, "4")
    return build_store(
        [
            Question("all short", "4", [short] * 4 + [other] * 2),
            Question("mixed", "5", [short, long, other, long, other, Branch([None], 200, None)]),
            Question("one", "4", [short]),
        ],
        model="m",
        benchmark="short",
        interval_tokens=DELTA,
    )


def log(folder: Path, gold: str | None = "12") -> ReplayStore:
    """A log whose branches were not probed: 3000, 3400 and 90 tokens."""
    rows = [[["12"], 3000, "12"], [[], 3400, "13"], [["12"], 90, "12"], [["7"], 3100, None]]
    item = {"question": "q", "each_branch": rows, "gold_answer": gold, "probe_freq": DELTA}
    path = folder / "log.json"
    path.write_text(json.dumps([item]))
    return import_json(path, model="m", benchmark="log", probes="none")


def unlabelled_store() -> ReplayStore:
    branches = [Branch(["a"], 400, "a"), Branch(["b", "a"], 900, "a"), Branch(["b"], 300, "b")]
    silent = [Branch([None], 300, None), Branch([], 20, None)]
    return build_store(
        [Question("known", "a", branches), Question("unknown", None, branches), Question("silent", None, silent)],
        model="m",
        benchmark="unlabelled",
        interval_tokens=DELTA,
    )


# -------------------------------------------------------------------- before the first probe


@pytest.mark.parametrize("accounting", ACCOUNTINGS)
def test_opening_a_branch_that_ends_before_its_first_probe_costs_its_tokens_and_finishes_it(accounting):
    state = PoolState.begun(Bank([short_store()]), Rules(accounting=accounting), np.array([0]), np.array([2]))
    assert state.act(np.array([BRANCH])).all()
    slot, pool = state.slots[0, 0], state.pools[0]
    assert (pool["total_tokens"], pool["finished"], pool["active"]) == (120, 1, 0)
    assert (slot["depth"], slot["tokens"]) == (0, 120)
    assert state.answer_text(0, int(slot["answer"])) == "4"
    assert state.history(0, 0).size == 0


@pytest.mark.parametrize("accounting", ACCOUNTINGS)
@pytest.mark.parametrize("name", sorted(controller_families()))
def test_every_controller_plays_pools_of_short_branches(name, accounting):
    store = fitting(name, short_store())
    for beta in (0.0, 0.5, 1.0):
        result = evaluate(make_controller(name, beta=beta), store, seeds=range(5), accounting=accounting)
        assert (result.total_tokens > 0).all()
        assert result.correct[:, 2].all()
        assert (result.total_tokens[:, 2] == 120).all()
        totals = [int(store.tokens[a:b].sum()) for a, b in pairwise(store.branch_offsets)]
        if accounting == "exact":
            assert (result.total_tokens <= totals).all()
    whole = evaluate(make_controller("sc", branches=64), store, seeds=range(3), accounting=accounting)
    assert (whole.total_tokens == totals).all()


@pytest.mark.parametrize("probe", ["auto", "explicit"])
@pytest.mark.parametrize("observation", ["dict", "evidence"])
def test_environments_observe_and_draw_short_branches(observation, probe):
    arguments = {"store": short_store(), "max_branches": 8, "observation": observation, "probe": probe}
    single = gym.make("AutoTTS-Replay-v0", **arguments, render_mode="rgb_array")
    many = gym.make_vec("AutoTTS-Replay-v0", num_envs=3, **arguments)
    rng = np.random.default_rng(0)
    observations, infos = many.reset(seed=0)
    for seed in range(6):
        observed, info = single.reset(seed=seed)
        ended = False
        while not ended:
            assert single.observation_space.contains(observed)
            admissible = np.flatnonzero(info["action_mask"])
            observed, reward, terminated, truncated, info = single.step(rng.choice(admissible))
            assert np.isfinite(reward)
            assert single.render().shape[2] == 3
            ended = terminated or truncated
        state = single.unwrapped._episodes.state
        assert render_ansi(state, 0)
        assert render_rgb(state, 0).size
    for _ in range(30):
        actions = np.array([rng.choice(np.flatnonzero(mask)) for mask in infos["action_mask"]])
        observations, _, _, _, infos = many.step(actions)
        assert many.observation_space.contains(observations)


def test_traces_diagnosis_and_variants_take_short_branches():
    store = short_store()
    for name in ("cmc", "parallel_probe"):
        played = trace(make_controller(name), store, 1)
        assert played.lines()
        diagnosis = diagnose(make_controller(name), store, seeds=range(4))
        assert diagnosis.overall.episodes == 12
        assert diagnosis.prompt()
    for each in augmented([store], 3, seed=1)[1:]:
        assert each.num_questions == 3
        assert (np.diff(each.probe_offsets) == 0).any()
        assert not np.isin(each.tokens[np.diff(each.probe_offsets) == 0], [1]).any()


def test_a_program_is_shown_branches_that_end_before_their_first_probe(tmp_path):
    path = tmp_path / "reader.py"
    path.write_text(
        '"""Reads all."""\n'
        "def schedule(beta):\n    return {'n': 3}\n"
        "def solve(session, beta):\n"
        "    first = session.open()\n"
        "    if session.finished and session.depths[first] == 0:\n"
        "        assert session.history(first) == ()\n"
        "        return session.answers[first]\n"
        "    while session.active:\n        session.deepen(session.active)\n"
        "    return None\n"
    )
    result = evaluate(make_controller(path, beta=0.5), short_store(), seeds=range(3), answers=True)
    assert result.answers is not None
    assert (result.answers[:, 2] == "4").all()
    assert (result.total_tokens[:, 2] == 120).all()


# -------------------------------------------------------------------- without probes


@pytest.mark.parametrize("accounting", ACCOUNTINGS)
def test_a_branch_without_probes_grows_by_intervals_and_shows_its_answer_when_it_finishes(accounting, tmp_path):
    store = log(tmp_path)
    assert np.diff(store.probe_offsets).tolist() == [6, 6, 0, 6]
    state = PoolState(Bank([store]), 1, Rules(accounting=accounting, max_branches=4))
    state.begin()
    state.deal(np.ones(1, np.bool_), np.array([[0, 1, 2, 3]], np.int32))
    state.act(np.array([BRANCH]))
    for interval in range(1, 6):
        assert state.pools["total_tokens"][0] == interval * DELTA
        assert (state.slots["answer"][0, 0], state.pools["answers_seen"][0]) == (-1, 0)
        assert state.history(0, 0).tolist() == [-1] * interval
        state.act(np.array([2]))
    if accounting == "autotts":  # its finishing step is always a step of its own
        assert state.slots["answer"][0, 0] == -1
        state.act(np.array([2]))
    assert state.pools["total_tokens"][0] == 3000
    assert state.answer_text(0, int(state.slots["answer"][0, 0])) == "12"
    read = evaluate(make_controller("sc", branches=4), store, seeds=[0], accounting=accounting)
    assert read.total_tokens[0, 0] == 3000 + 3400 + 90 + 3100


def test_a_store_without_probes_says_so_wherever_it_is_shown(tmp_path):
    store = ReplayStore.load(log(tmp_path).save(tmp_path / "log.h5"))
    assert not store.has_probes
    assert "without probes" in repr(store)
    assert store.attributes["probes"] == "none"
    assert store.summary().to_dict()["has_probes"] is False
    assert not store.select([0]).has_probes
    again = import_json(store.to_autotts_json(tmp_path / "again.json"), model="m", benchmark="log")
    assert not again.has_probes
    assert again.probes.tolist() == store.probes.tolist()


@pytest.mark.parametrize("name", sorted(controller_families()))
def test_controllers_that_live_on_probes_are_refused_without_and_others_play(name, tmp_path):
    store, controller = fitting(name, log(tmp_path)), make_controller(name)
    if needs_probes(controller):
        for play in (
            lambda: evaluate(controller, store, seeds=range(2)),
            lambda: trace(controller, store, 0),
            lambda: diagnose(controller, store, seeds=range(2)),
        ):
            with pytest.raises(ControllerError, match=rf"{name}: expected a store with probes.*asc.* need none"):
                play()
    else:
        assert evaluate(controller, store, seeds=range(2)).total_tokens.max() > 0
        assert trace(controller, store, 0).rounds
    assert needs_probes(controller) == (name in ("answer_consistency", "parallel_probe", "cmc", "deer"))


def test_a_benchmark_without_probes_leaves_out_what_needs_them_unless_it_is_named(tmp_path, caplog):
    store = log(tmp_path)
    left = PRESETS["default"].controllers((), [store])
    assert {controller.name for controller in left} == {"sc", "asc", "esc", "short_m", "doubling"}
    assert "left out answer_consistency, cmc, parallel_probe, which need probes" in caplog.text
    assert {controller.name for controller in PRESETS["quick"].controllers(["cmc"], [store])} == {"cmc"}
    with pytest.raises(ControllerError, match="cmc: expected a store with probes"):
        run_benchmark([store], PRESETS["quick"].controllers(["cmc"], [store]), seeds=[0])


def test_environments_and_programs_say_what_they_miss_and_explicit_probing_is_refused(tmp_path, caplog):
    store = log(tmp_path)
    with caplog.at_level(logging.WARNING):
        gym.make("AutoTTS-Replay-v0", store=store)
    assert "m/log: no probes, so that the features of answers say nothing" in caplog.text
    path = tmp_path / "empty.py"
    path.write_text(
        '"""Opens one."""\ndef schedule(beta):\n    return {}\ndef solve(session, beta):\n    session.open()\n'
    )
    caplog.clear()
    evaluate(make_controller(path, beta=0.5), store, seeds=[0])
    assert caplog.text.count("m/log has no probes, so that nothing shows before a branch finishes") == 1
    with pytest.raises(StoreError, match="probe: expected 'auto' on a store without probes, got 'explicit'"):
        gym.make("AutoTTS-Replay-v0", store=store, probe="explicit")


# -------------------------------------------------------------------- without gold answers


def test_unlabelled_questions_are_replayed_and_reported_by_agreement_and_cost(tmp_path):
    store = unlabelled_store()
    assert "2 unlabelled" in repr(store)
    summary = store.summary()
    assert (summary.unlabelled, summary.pass_at_1, summary.majority_accuracy) == (2, 2 / 3, 1.0)
    assert summary.agreement == pytest.approx((2 / 3 + 0) / 2)
    result = evaluate(make_controller("sc", branches=3), store, seeds=range(4), answers=True)
    assert result.agreed is not None
    assert result.agreed.tolist() == [[True, True, False]] * 4
    assert result.agreement == pytest.approx(2 / 3)
    assert result.summary()["accuracy"] is None
    assert result.mean_tokens == pytest.approx((1600 + 1600 + 320) / 3)
    result.save(tmp_path / "result.npz")
    assert EvaluationResult.load(tmp_path / "result.npz").agreement == result.agreement
    one = evaluate(make_controller("sc", branches=1), store, seeds=range(20), answers=True)
    assert one.answers is not None
    assert (one.agreed[:, :2] == (one.answers[:, :2] == "a")).all()
    (pooled,) = evaluate_all([make_controller("sc", branches=3)], [store], seeds=range(4), workers=2)
    assert (pooled.agreed == result.agreed).all()
    labelled = evaluate(make_controller("sc", branches=3), store.select([0]), seeds=range(4))
    assert (labelled.agreed, labelled.agreement, labelled.accuracy) == (None, None, 1.0)


def test_where_accuracy_is_asked_for_unlabelled_questions_are_refused_with_what_to_do():
    store, controller = unlabelled_store(), make_controller("sc", branches=2)
    result = evaluate(controller, store, seeds=range(2))
    for ask in (
        lambda: result.accuracy,
        lambda: Frontier.from_results("sc", [result]),
        lambda: run_benchmark([store], [controller], seeds=[0]),
        lambda: diagnose(controller, store, seeds=[0]),
        lambda: store.require_gold("training"),
    ):
        with pytest.raises(AutottsError, match=r"expected a gold answer for every question.*--labelled-only") as raised:
            ask()
        assert "\n" not in str(raised.value)
    kept = store.select(np.flatnonzero(store.labelled))
    kept.require_gold("training")
    assert diagnose(controller, kept, seeds=[0]).overall.episodes == 1


def test_episodes_of_unlabelled_questions_are_neither_right_nor_rewarded(caplog):
    store = unlabelled_store()
    with caplog.at_level(logging.WARNING):
        env = gym.make("AutoTTS-Replay-v0", store=store, cost_weight=0.0)
    assert "m/unlabelled: unlabelled questions" in caplog.text
    for question, rewarded in ((0, 1.0), (1, 0.0), (2, 0.0)):
        _, info = env.reset(options={"question": question, "branch_seed": 1}, seed=0)
        reward, ended = 0.0, False
        while not ended:  # opens and reads all
            actions = np.flatnonzero(info["action_mask"])
            step = next((action for action in actions if 0 < action < 2 + 64), 0)
            _, gained, terminated, truncated, info = env.step(step)
            reward, ended = reward + gained, terminated or truncated
        assert reward == rewarded
        assert info["correct"] == bool(rewarded)
        ended = trace(make_controller("sc", branches=3), store, question).end
        assert ended.correct == (True if question == 0 else None)
