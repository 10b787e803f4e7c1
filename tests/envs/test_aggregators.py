"""Aggregators of users: how STOP answers, in environments, evaluations and diagnoses."""

import gymnasium as gym
import numpy as np
import pytest

import autotts_gym
from autotts_gym import evaluate, make_controller, synthesize
from autotts_gym.engine import Bank, PoolState, RoundPlan, Rules
from autotts_gym.errors import AutottsError
from autotts_gym.evaluation import diagnose

STORE = synthesize(8, 12, seed=5)


@autotts_gym.aggregator
def default_again(revealed, n):
    """The default one, written by a user."""
    pool = revealed.pools[n]
    return pool.finished_leader if pool.finished_leader >= 0 else pool.leader


@autotts_gym.aggregator
def last_opened(revealed, n):
    """What the branch opened last shows."""
    pool = revealed.pools[n]
    return revealed.slots[n, pool.opened - 1].answer if pool.opened > 0 else -1


@autotts_gym.aggregator
def nonsense(revealed, n):
    """An answer that the episode has not seen."""
    return 1 << 40


@autotts_gym.aggregator
def peeks(revealed, n):
    """Asks for what is hidden."""
    return revealed.hidden_pools[n].gold


def test_the_default_can_be_written_by_a_user():
    for name in ("sc", "short_m", "asc"):
        controller = make_controller(name, beta=0.3)
        theirs, own = (evaluate(controller, STORE, seeds=range(20), aggregator=a) for a in (None, default_again))
        for field in ("correct", "total_tokens", "branches_opened"):
            np.testing.assert_array_equal(getattr(theirs, field), getattr(own, field))


def test_it_answers_where_the_plan_does_not():
    state = PoolState(Bank([STORE]), 4, Rules(max_branches=6, aggregator=last_opened))
    state.begin()
    plan = RoundPlan.empty(4, 6)
    plan.read[:] = 3
    state.play(plan)
    shown = state.slots["answer"][:, 2].copy()
    plan.clear()
    plan.stop[:] = True
    plan.answer[0] = state.slots["answer"][0, 0]
    state.play(plan)
    assert state.pools["answer"].tolist() == [state.slots["answer"][0, 0], *shown[1:]]


@pytest.mark.parametrize("env_id", ["AutoTTS-Replay-v0", "AutoTTS-ReplayRounds-v0"])
def test_environments_answer_and_reward_by_it(env_id):
    own = gym.make(env_id, store=STORE, max_branches=6, aggregator=last_opened, shaping=True)
    plain = gym.make(env_id, store=STORE, max_branches=6, aggregator=last_opened)
    for seed in range(12):
        returns = []
        for env in (own, plain):
            _, info = env.reset(seed=seed)
            total, ended, draw = 0.0, False, np.random.default_rng(seed)
            while not ended:
                state = env.unwrapped._episodes.state
                shown = state.slots["answer"][0, max(state.pools["opened"][0] - 1, 0)]
                action = draw.choice(np.flatnonzero(info["action_mask"]))
                _, reward, ended, _, info = env.step(action)
                total += reward
            text = state.answer_text(0, int(shown)) if action == 0 and state.pools["opened"][0] else None
            if action == 0:
                assert info["answer"] == (text or "")
            returns.append(total)
        assert returns[0] == pytest.approx(returns[1])


def test_what_is_no_answer_that_was_seen_is_no_answer():
    result = evaluate(make_controller("sc", branches=3), STORE, seeds=range(3), aggregator=nonsense, answers=True)
    assert not result.correct.any()
    assert set(result.answers.ravel().tolist()) == {None}


def test_what_is_hidden_cannot_be_asked_for():
    rules = Rules(aggregator=peeks)
    with pytest.raises(AutottsError, match=r"^aggregator peeks: Numba cannot compile it: .*hidden_pools") as caught:
        PoolState(Bank([STORE]), 1, rules)
    assert "\n" not in str(caught.value)


def test_a_diagnosis_judges_what_stands_by_it():
    controller = make_controller("sc", branches=4)
    diagnosis = diagnose(controller, [STORE], seeds=range(6), rules=Rules(aggregator=last_opened))
    result = evaluate(controller, STORE, seeds=range(6), aggregator=last_opened)
    assert diagnosis.parts[0].accuracy == pytest.approx(result.accuracy)


@pytest.mark.parametrize("wrong", [3, "majority", "math:pi", lambda revealed, n: 0])
def test_what_is_no_aggregator_is_refused(wrong):
    with pytest.raises(AutottsError, match=r"^aggregator: expected "):
        evaluate(make_controller("sc"), STORE, seeds=range(1), aggregator=wrong)
