"""Live episodes against the replay of the same branches."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from written import Written, random_store, replayed, source_of

from autotts_gym import Controller, evaluate, make_controller
from autotts_gym.controllers import controller_families
from autotts_gym.engine import RoundPlan, Rules
from autotts_gym.errors import AutottsError, ControllerError
from autotts_gym.evaluation.runner import play
from autotts_gym.live.source import reads_probes
from autotts_gym.models import EndpointError

PLAIN = sorted(name for name in controller_families() if name not in ("deepconf", "deer"))
COMPARED = ("pools", "slots", "admissible", "answers", "finished_answers", "tally", "probed")


def assert_same(live, replay):
    """Everything that is revealed is the same, and so are the answers."""
    for name in COMPARED:
        ours, theirs = getattr(live.arrays, name), getattr(replay.arrays, name)
        if name == "answers":
            seen = int(replay.pools["answers_seen"].max())
            ours, theirs = ours[:, :seen], theirs[:, :seen]
        if name == "probed":
            depths = min(ours.shape[2], theirs.shape[2])
            assert not ours[:, :, depths:].any()
            ours, theirs = ours[:, :, :depths], theirs[:, :, :depths]
        for part in ours.dtype.names or [None]:
            one, other = (ours, theirs) if part is None else (ours[part], theirs[part])
            assert one.tolist() == other.tolist(), (name, part)
    for n in range(live.episodes):
        for i in range(int(live.pools["opened"][n])):
            assert live.history(n, i).tolist() == replay.history(n, i).tolist()
        seen = int(live.pools["answers_seen"][n])
        assert [live.answer_text(n, k) for k in range(seen)] == [replay.answer_text(n, k) for k in range(seen)]
    assert np.array_equal(live.correct, replay.correct)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_whatever_is_planned_live_is_what_a_replay_shows(data):
    interval = data.draw(st.sampled_from((1, 3, 5)))
    store = random_store(data.draw(st.integers(0, 2**31)), interval)
    probe = data.draw(st.sampled_from(("auto", "explicit")))
    rules = Rules(
        max_branches=data.draw(st.integers(1, 6)),
        token_budget=data.draw(st.none() | st.integers(0, 150)),
        probe=probe,
        probe_cost=data.draw(st.integers(0, 3)) if probe == "explicit" else 0,
        accounting=data.draw(st.sampled_from(("exact", "autotts"))),
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    questions = rng.integers(0, store.num_questions, 4)
    ahead = data.draw(st.booleans())
    with source_of(store, ahead=ahead) as source:
        live = source.begin(rules, questions, np.zeros(4, np.int64))
        replay = replayed(store, rules, questions)
        live.seed(np.zeros(4, np.uint64))
        for _ in range(12):
            plan = RoundPlan.empty(4, rules.max_branches)
            plan.prune[:] = rng.random(plan.prune.shape) < 0.1
            plan.deepen[:] = rng.integers(0, 4, plan.deepen.shape)
            plan.open[:] = rng.integers(0, 3, 4)
            plan.read[:] = rng.random(4) < 0.15
            plan.probe[:] = rng.random(plan.probe.shape) < 0.4
            plan.stop[:] = rng.random(4) < 0.05
            assert live.play(plan) == replay.play(plan)
            assert_same(live, replay)
            if not ahead and probe == "auto" and rules.accounting == "exact" and rules.token_budget is None:
                assert [pool.usage.branch_tokens for pool in live.live] == live.outcomes(False)["total_tokens"].tolist()


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("accounting", ["exact", "autotts"])
def test_every_controller_decides_live_as_it_does_in_replay(name, accounting, tmp_path):
    controller = make_controller(name, beta=0.6)
    store = random_store(3, questions=8, pool=12, longest=60)
    rules = Rules(max_branches=12, accounting=accounting)
    questions = np.arange(8)
    replay = replayed(store, rules, questions)
    play(controller, replay, watch=lambda plan: None)
    with source_of(store) as source:
        live = source.begin(rules, questions, np.zeros(8, np.int64), reads_probes(controller))
        play(controller, live, watch=lambda plan: None)
    for key, values in replay.outcomes(True).items():
        assert values.tolist() == live.outcomes(True)[key].tolist(), key
    assert not live.failures


def test_an_evaluation_is_like_any_other():
    store = random_store(5, questions=5, pool=9)
    with source_of(store) as source:
        result = evaluate(make_controller("sc", branches=9), source, seeds=range(3), max_branches=9, answers=True)
        assert (result.store, result.token_unit) == ("m/b", 1000)
        assert result.correct.shape == (3, 5)
        assert (result.total_tokens == np.add.reduceat(store.tokens, store.branch_offsets[:-1])).all()
        assert len(source.outcomes) == 15
        assert {outcome.usage.probes for outcome in source.outcomes} == {0}  # self-consistency looks at none


def test_without_gold_answers_there_is_agreement_and_no_accuracy():
    store = random_store(5, questions=2, pool=4)
    with source_of(store) as source:
        source.tasks = [type(task)(task.id, task.text, None) for task in source.tasks]
        result = evaluate(make_controller("sc", branches=4), source, seeds=[0], max_branches=4, answers=True)
        assert result.agreement == 1.0  # self-consistency answers with the majority of what it opened
        assert result.answers.shape == (1, 2)
        with pytest.raises(AutottsError, match="accuracy"):
            result.accuracy  # noqa: B018


class Peeking(Controller):
    """Opens a branch, grows it twice, and answers what its probes show; it says nothing of probes."""

    name = "peeking"

    def decide(self, revealed, memory, plan):
        plan.open[:] = revealed.pools["opened"] == 0
        depth = revealed.slots["depth"][:, 0]
        plan.deepen[:, 0] = (depth > 0) & (depth < 3)
        plan.stop[:] = (depth >= 3) | (revealed.pools["finished"] > 0)


def test_a_rule_of_a_users_gets_probes_whatever_it_says_of_them():
    assert reads_probes(Peeking())
    assert not reads_probes(make_controller("sc", branches=2))
    store = random_store(11, questions=4, pool=3, longest=80)
    rules, questions = Rules(max_branches=3), np.arange(4)
    replay = replayed(store, rules, questions)
    play(Peeking(), replay)
    with source_of(store) as source:
        result = evaluate(Peeking(), source, seeds=[0], max_branches=3, answers=True)
    assert result.answers[0].tolist() == replay.outcomes(True)["answers"].tolist()


def test_primitive_actions_generate_what_they_need():
    store = random_store(12, questions=2, pool=3)
    rules, questions = Rules(max_branches=3), np.arange(2)
    replay = replayed(store, rules, questions)
    with source_of(store) as source:
        live = source.begin(rules, questions, np.zeros(2, np.int64))
        for action in (1, 2, 1, 3, 2, 6, 0):
            actions = np.full(2, action)
            assert live.act(actions).tolist() == replay.act(actions).tolist()
            assert_same(live, replay)


def test_the_context_ends_a_branch_and_no_more():
    """Where a server does not say how long it is."""
    store = random_store(13, questions=3, pool=3, longest=90)
    endpoint = Written(store)
    endpoint.context = 30
    with source_of(store, endpoint) as source:
        live = source.begin(Rules(max_branches=3), np.arange(3), np.zeros(3, np.int64))
        plan = RoundPlan.empty(3, 3)
        plan.read[:] = 3
        live.play(plan)
        assert not live.failures
        assert (live.pools["finished"] == 3).all()
        cut = store.tokens.reshape(3, 3)[:, :3] > 30
        assert cut.any()
        assert (live.slots["answer"][cut] == -1).all()  # cut off, so without a final answer
        assert (live.slots["tokens"][cut] <= 30).all()


def test_a_question_that_does_not_fit_ends_its_episode_alone():
    store = random_store(14, questions=2, pool=3)
    endpoint = Written(store)
    endpoint.context = 3
    with source_of(store, endpoint) as source, pytest.raises(EndpointError, match=r"2 of 2 episodes .* too long"):
        evaluate(make_controller("sc", branches=3), source, seeds=[0], max_branches=3)


def test_an_answer_that_cannot_be_asked_for_is_a_failure_of_its_episode():
    store = random_store(10, questions=2, pool=3, longest=60)
    endpoint = Written(store)
    with source_of(store, endpoint) as source:
        live = source.begin(Rules(max_branches=3), np.arange(2), np.zeros(2, np.int64), probing=False)
        plan = RoundPlan.empty(2, 3)
        plan.open[:] = 3
        live.play(plan)
        assert (live.pools["answers_seen"] == 0).all()
        endpoint.dead = {0}
        plan.clear()
        plan.stop[:] = True
        live.play(plan)
        assert list(live.failures) == [0]
        assert 0 not in live.forced


def test_a_signal_that_the_server_does_not_give_is_an_error():
    with source_of(random_store(1)) as source, pytest.raises(ControllerError, match="expected a server that gives"):
        evaluate(make_controller("deepconf"), source, seeds=[0])


def test_the_episodes_of_a_dead_question_end_and_the_others_go_on():
    store = random_store(6, questions=4, pool=5)
    endpoint = Written(store)
    endpoint.dead = {2}
    with source_of(store, endpoint) as source:
        with pytest.raises(EndpointError, match=r"1 of 4 episodes were ended by the server: written: it is dead"):
            evaluate(make_controller("cmc", beta=0.5), source, seeds=[0], max_branches=5)
        assert [bool(outcome.failure) for outcome in source.outcomes] == [False, False, True, False]
        assert source.outcomes[2].answer is None
        assert endpoint.open == 0


def test_broken_streams_go_on_behind_their_last_token():
    store = random_store(7, questions=3, pool=5, longest=60)
    endpoint = Written(store, break_every=4)
    rules, questions = Rules(max_branches=5), np.arange(3)
    controller = make_controller("parallel_probe", beta=0.5)
    replay = replayed(store, rules, questions)
    play(controller, replay, watch=lambda plan: None)
    with source_of(store, endpoint) as source:
        live = source.begin(rules, questions, np.zeros(3, np.int64))
        play(controller, live, watch=lambda plan: None)
        assert_same(live, replay)
        usages = [pool.usage for pool in live.live]
        assert sum(each.lost_tokens for each in usages) == 0
        assert sum(each.branch_tokens + each.probe_tokens for each in usages) == endpoint.generated


def test_what_is_generated_ahead_is_used_or_counted_as_vain():
    store = random_store(8, questions=4, pool=5, longest=60)
    endpoint = Written(store)
    with source_of(store, endpoint, ahead=True) as source:
        result = evaluate(make_controller("parallel_probe", beta=0.5), source, seeds=[0], max_branches=5)
        usages = [outcome.usage for outcome in source.outcomes]
    used = [each.branch_tokens - each.vain_tokens for each in usages]
    assert used == result.total_tokens[0].tolist()
    assert sum(each.branch_tokens + each.probe_tokens for each in usages) == endpoint.generated


def test_pruned_branches_are_cancelled_at_once():
    store = random_store(9, questions=1, pool=4, longest=400, interval=100)
    endpoint = Written(store, delay=0.005)
    with source_of(store, endpoint, ahead=True) as source:
        live = source.begin(Rules(max_branches=4), np.zeros(1, np.int64), np.zeros(1, np.int64))
        plan = RoundPlan.empty(1, 4)
        plan.open[:] = 4
        live.play(plan)
        active = int(live.pools["active"][0])
        assert endpoint.open == active > 0  # the next interval of each is begun
        plan.clear()
        plan.prune[:] = True
        live.play(plan)
        deadline = time.monotonic() + 3
        while endpoint.open:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert endpoint.cancelled == active


def test_an_episode_without_an_answer_is_asked_for_one():
    store = random_store(10, questions=1, pool=3, longest=60)
    with source_of(store) as source:
        live = source.begin(Rules(max_branches=3), np.zeros(1, np.int64), np.zeros(1, np.int64), probing=False)
        plan = RoundPlan.empty(1, 3)
        plan.open[:] = 3
        live.play(plan)
        assert live.pools["answers_seen"][0] == 0
        plan.clear()
        plan.stop[:] = True
        live.play(plan)
        place = int(store.probe_offsets[0])
        shown = store.probes[place]
        assert live.forced == ({0: store.answer(0, int(shown))} if shown >= 0 else {})


def test_live_episodes_stay_in_their_process():
    import copy
    import pickle

    with source_of(random_store(1)) as source:
        live = source.begin(Rules(max_branches=2), np.zeros(1, np.int64), np.zeros(1, np.int64))
        for work in (pickle.dumps, copy.deepcopy):
            with pytest.raises(AutottsError, match="cannot be sent to another process"):
                work(live)
