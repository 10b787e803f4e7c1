"""DeepConf and DEER against plain Python."""

from collections import defaultdict

import numpy as np
import pytest

from autotts_gym import evaluate, make_controller
from autotts_gym.errors import ControllerError
from autotts_gym.replay import ReplayStore, pool_order, synthesize
from autotts_gym.replay.columns import Columns, StringTable

STORE = synthesize(12, 24, seed=6, signals=True)
SEEDS = range(5)


def pool(store: ReplayStore, q: int, seed: int, signal: str, count: int):
    """Depth, probes, final answer, tokens and signal of the first branches of an order."""
    first, last = store.branch_offsets[q : q + 2]
    for k in pool_order(seed, int(last - first))[:count]:
        rows = slice(*store.probe_offsets[first + k : first + k + 2])
        yield store.probes[rows].tolist(), int(store.finals[first + k]), store.signals[signal][rows].astype(float)


def measure(values, weight: str) -> float:
    values = values.astype(np.float32)
    return {"minimum": values.min, "tail": values[-4:].astype(np.float64).mean, "mean": values.astype(np.float64).mean}[
        weight
    ]()


def vote(finished, by, weight, threshold):
    """The leader of the weighted votes, and its share; ``finished``: (answer, signal), in the order of completion."""
    votes, order = defaultdict(float), []
    for answer, values in finished:
        if answer not in order:
            order.append(answer)
        if measure(values, by) >= threshold:
            votes[answer] += measure(values, weight)
    if not votes:
        return None, 0.0
    leader = max(order, key=lambda answer: (votes[answer], -order.index(answer)))
    return leader, votes[leader] / sum(votes.values())


def deepconf(branches, keep, warm_up, weight, consensus):
    """The published rule for one episode: the answer, and how many branches were opened and pruned."""
    warm = branches[:warm_up]
    offline = warm_up >= len(branches)
    by = weight if offline else "minimum"
    finished = [(final, values) for _, final, values in warm]
    threshold = np.percentile([measure(values, by) for _, values in finished], 100 * (1 - keep))
    leader, _ = vote(finished, by, weight, threshold)
    _, share = vote(finished, by, weight, -np.inf)
    rest = [[1, *branch] for branch in branches[warm_up:]] if share < consensus else []
    opened, pruned = len(warm) + len(rest), 0
    while rest:
        falls = [branch for branch in rest if branch[3][: branch[0]].astype(np.float32).min() < threshold]
        pruned += len(falls)
        rest = [branch for branch in rest if not any(branch is fallen for fallen in falls)]
        for branch in rest:  # a step behind the last interval finishes, in published accounting
            branch[0] += 1
        finished += [(final, values) for depth, probes, final, values in rest if depth > len(probes)]
        rest = [branch for branch in rest if branch[0] <= len(branch[1])]
        leader, _ = vote(finished, by, weight, threshold)
        _, share = vote(finished, by, weight, -np.inf)
        if share >= consensus:
            break
    return leader, opened, pruned


@pytest.mark.parametrize("weight", ["minimum", "tail", "mean"])
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_offline_deepconf_is_that_of_plain_python(weight, keep):
    controller = make_controller("deepconf", branches=16, warm_up=16, keep=keep, weight=weight)
    result = evaluate(controller, STORE, seeds=SEEDS, max_branches=16, answers=True)
    for row, seed in enumerate(SEEDS):
        for q in range(STORE.num_questions):
            answer, *_ = deepconf(list(pool(STORE, q, seed, "confidence", 16)), keep, 16, weight, 2.0)
            assert result.answers[row, q] == STORE.answers(q)[answer]
    assert (result.branches_opened == 16).all()


def test_confidence_is_worth_something_where_it_informs():
    store, seeds = synthesize(80, 48, seed=7, signals=True), range(10)
    own = evaluate(make_controller("deepconf", branches=16, warm_up=16, keep=0.5, weight="mean"), store, seeds=seeds)
    assert own.accuracy > evaluate(make_controller("sc", branches=16), store, seeds=seeds).accuracy + 0.01
    online = evaluate(make_controller("deepconf", branches=24, warm_up=8, keep=0.5), store, seeds=seeds)
    assert online.mean_tokens < 0.8 * evaluate(make_controller("sc", branches=24), store, seeds=seeds).mean_tokens
    assert online.branches_pruned.sum() > 0


@pytest.mark.parametrize(("keep", "consensus"), [(0.5, 0.9), (0.1, 0.95), (0.9, 2.0)])
def test_online_deepconf_is_that_of_plain_python(keep, consensus):
    controller = make_controller("deepconf", branches=20, warm_up=8, keep=keep, consensus=consensus)
    result = evaluate(controller, STORE, seeds=SEEDS, max_branches=20, answers=True, accounting="autotts")
    for row, seed in enumerate(SEEDS):
        for q in range(STORE.num_questions):
            branches = list(pool(STORE, q, seed, "confidence", 20))
            answer, opened, pruned = deepconf(branches, keep, 8, "minimum", consensus)
            assert (result.branches_opened[row, q], result.branches_pruned[row, q]) == (opened, pruned)
            assert answer is None or result.answers[row, q] == STORE.answers(q)[answer]
    assert result.branches_pruned.sum() > 0


@pytest.mark.parametrize("branches", [1, 6])
def test_deer_stops_a_branch_where_plain_python_does(branches):
    controller = make_controller("deer", branches=branches, threshold=0.9)
    result = evaluate(controller, STORE, seeds=SEEDS, max_branches=8, answers=True, accounting="autotts")
    early = 0
    for row, seed in enumerate(SEEDS):
        for q in range(STORE.num_questions):
            latest, spent = [], 0
            for probes, final, values in pool(STORE, q, seed, "certainty", branches):
                sure = [k for k, value in enumerate(values) if value >= 0.9 and probes[k] >= 0]
                latest.append(probes[sure[0]] if sure else final)
                early += bool(sure) and sure[0] + 1 < len(probes)
                spent += sure[0] + 1 if sure else 0
            votes = {answer: latest.count(answer) for answer in latest}
            leader = max(dict.fromkeys(latest), key=lambda answer: votes[answer])
            if branches == 1:
                assert result.answers[row, q] == STORE.answers(q)[leader]
            assert votes[STORE.answers(q).index(result.answers[row, q])] == votes[leader]
    assert early > 3 * branches


def test_a_store_without_the_signal_is_refused():
    plain = synthesize(2, 4)
    for name in ("deepconf", "deer"):
        with pytest.raises(ControllerError, match=r"expected stores with the signal '\w+', got .*tic without"):
            evaluate(make_controller(name), plain, seeds=[0])
    for wrong in ({"keep": 0}, {"keep": 2}, {"weight": "x"}, {"consensus": 0.2}, {"warm_up": 0}, {"signal": 3}):
        with pytest.raises(ControllerError, match=f"deepconf: {next(iter(wrong))}: expected"):
            make_controller("deepconf", **wrong)
    assert make_controller("deepconf", beta=1.0).branches == 64
    assert make_controller("deer", beta=0.0).branches == 1


@pytest.mark.parametrize("name", ["deepconf", "deer"])
def test_a_signal_that_is_negative_is_refused(name):
    signals = {key: values - 100 * (key == "confidence") for key, values in STORE.signals.items()}
    columns = ("branch_offsets", "probe_offsets", "answer_offsets", "probes", "tokens", "finals", "gold")
    made = ReplayStore(
        Columns(**{column: getattr(STORE, column) for column in columns}),
        StringTable.of("answers", [answer for q in range(STORE.num_questions) for answer in STORE.answers(q)]),
        StringTable.of("questions", STORE.questions),
        model="a",
        benchmark="b",
        interval_tokens=STORE.interval_tokens,
        signals=signals,
    )
    with pytest.raises(ControllerError, match=r"never negative, where more is surer, got 'confidence' of a/b"):
        evaluate(make_controller(name, signal="confidence"), made, seeds=range(1))
    evaluate(make_controller(name, signal="certainty"), made, seeds=range(1))
