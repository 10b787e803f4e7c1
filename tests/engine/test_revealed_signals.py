"""Signals: revealed exactly when their intervals are, with running mean, minimum and tail."""

import copy
import pickle

import numpy as np
import pytest

from autotts_gym.engine import Bank, PoolState, RoundPlan, Rules
from autotts_gym.engine.layout import TAIL_MILLIONTHS
from autotts_gym.errors import AutottsError
from autotts_gym.replay import ReplayStore, pool_order, synthesize
from autotts_gym.replay.columns import Columns, StringTable


def with_signals(store: ReplayStore, names=("entropy", "logprob"), seed=0) -> ReplayStore:
    rng = np.random.default_rng(seed)
    columns = ("branch_offsets", "probe_offsets", "answer_offsets", "probes", "tokens", "finals", "gold")
    return ReplayStore(
        Columns(**{name: getattr(store, name) for name in columns}),
        StringTable.of("answers", [text for q in range(store.num_questions) for text in store.answers(q)]),
        StringTable.of("questions", store.questions),
        model=store.model, benchmark=store.benchmark, interval_tokens=store.interval_tokens,
        signals={name: rng.normal(size=store.num_probes).astype(np.float32) for name in names},
    )  # fmt: skip


STORE = with_signals(synthesize(3, 9, seed=1))


def check(state: PoolState, store: ReplayStore, seeds: np.ndarray) -> None:
    """What is revealed of the signals is what the branches have generated, and no more."""
    revealed = state.revealed
    unit = state.rules.token_unit or store.token_unit
    window = max(1, TAIL_MILLIONTHS * unit // (10**6 * store.interval_tokens))
    for name in revealed.signal_names:
        records = revealed.signal(name)
        for n in range(state.episodes):
            q = int(state.questions[n])
            order = pool_order(int(seeds[n]), int(np.diff(store.branch_offsets)[q]))
            for i in range(revealed.pools["opened"][n]):
                depth = int(revealed.slots["depth"][n, i])
                start = store.probe_offsets[store.branch_offsets[q] + order[i]]
                values = store.signals[name][start : start + depth]
                np.testing.assert_array_equal(revealed.signal_history(n, i, name), values)
                record = records[n, i]
                if not depth:
                    assert record.tolist() == (0, 0, 0, 0, 0)
                    continue
                assert record["latest"] == values[-1]
                assert record["minimum"] == values.min()
                assert record["mean"] == pytest.approx(values.mean(dtype=np.float64), abs=1e-6)
                assert record["tail"] == pytest.approx(values[-window:].mean(dtype=np.float64), abs=1e-6)


@pytest.mark.parametrize(
    "rules",
    [
        *({}, {"accounting": "autotts"}, {"probe": "explicit"}, {"token_budget": 20_000}),
        *({"token_unit": 2**31 - 1}, {"token_unit": 500_000}, {"token_unit": 1}),
    ],
)
def test_signals_are_revealed_with_their_intervals(rules):
    state = PoolState(Bank([STORE]), 12, Rules(max_branches=6, **rules))
    rng = np.random.default_rng(0)
    for _ in range(3):  # of an earlier episode nothing is left
        seeds = rng.integers(0, 100, 12)
        state.restart(seeds, np.arange(12) % 3)
        check(state, STORE, seeds)
        for _ in range(12):
            if rng.random() < 0.5:
                state.act(np.array([rng.choice(np.flatnonzero(mask)[-7:]) for mask in state.admissible]))
            else:
                plan = RoundPlan.empty(12, 6)
                plan.open[:] = rng.integers(0, 2, 12)
                plan.read[:] = rng.integers(0, 2, 12)
                plan.deepen[:] = rng.integers(0, 5, (12, 6))
                plan.prune[:] = rng.random((12, 6)) < 0.1
                state.play(plan)
            check(state, STORE, seeds)


def test_copies_pickles_and_records_have_the_signals():
    state = PoolState.begun(Bank([STORE]), Rules(max_branches=4), np.arange(3), np.arange(3))
    plan = RoundPlan.empty(3, 4)
    plan.open[:] = 3
    state.play(plan)
    for other in (copy.deepcopy(state), pickle.loads(pickle.dumps(state))):
        np.testing.assert_array_equal(other.revealed.signal("logprob"), state.revealed.signal("logprob"))
        other.play(plan)
        check(other, STORE, np.arange(3))
    record = state.record(1).revealed
    assert record.signal_names == ("entropy", "logprob")
    np.testing.assert_array_equal(record.signal("entropy")[0], state.revealed.signal("entropy")[1])
    np.testing.assert_array_equal(
        record.signal_history(0, 2, "entropy"), state.revealed.signal_history(1, 2, "entropy")
    )


def test_several_stores_have_the_signals_that_all_of_them_have():
    stores = [with_signals(synthesize(2, 5, seed=k), names, k) for k, names in enumerate((("a", "b"), ("b", "c")))]
    bank = Bank(stores)
    assert bank.signal_names == ("b",)
    np.testing.assert_array_equal(bank.signal_values[:, 0], np.concatenate([each.signals["b"] for each in stores]))
    assert Bank([*stores, synthesize(2, 5)]).signal_names == ()


def test_a_store_without_signals_has_none_and_pays_nothing():
    state = PoolState.begun(Bank([synthesize(3, 9)]), Rules(max_branches=4), np.arange(3), np.arange(3))
    assert state.revealed.signal_names == ()
    assert state.arrays.signals.size == state.arrays.signal_history.size == state.arrays.signal_values.size == 0
    with pytest.raises(AutottsError, match="signal: expected one of"):
        state.revealed.signal("logprob")
    with pytest.raises(AutottsError, match="signal: expected one of"):
        state.revealed.signal_history(0, 0, "logprob")
