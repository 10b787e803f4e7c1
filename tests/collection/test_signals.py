"""Signals of intervals, against plain loops."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotts_gym.collection import signals

VALUES = st.one_of(st.just(math.nan), st.floats(-20, 0, width=16))


@given(st.data())
def test_signals_of_intervals_are_those_of_their_tokens(data):
    count = data.draw(st.integers(1, 60))
    columns = {name: data.draw(st.lists(VALUES, min_size=count, max_size=count)) for name in signals.NAMES}
    step = data.draw(st.integers(1, count))
    ends = list(range(step, count, step))
    found = signals.of_intervals(signals.of_tokens(columns), ends, count)
    expected = {name: [] for name in signals.NAMES}
    for end in ends:
        for name in ("logprob", "entropy"):
            known = [x for x in columns[name][end - step : end] if not math.isnan(x)]
            expected[name].append(np.mean(known) if known else None)
        groups = []
        for token in range(end - step, end):
            known = [x for x in columns["confidence"][: token + 1] if not math.isnan(x)]
            groups += [np.mean(known)] if known else []
        expected["confidence"].append(min(groups, default=None))
    for name, values in expected.items():
        last = next((value for value in values if value is not None), 0.0)
        for index, value in enumerate(values):
            last = last if value is None else value
            assert found[name][index] == pytest.approx(last, abs=1e-3)


def test_a_group_is_the_last_tokens_only():
    confidence = [9.0, 1.0, 2.0, 3.0, 8.0]
    columns = signals.of_tokens({"logprob": confidence, "entropy": confidence, "confidence": confidence})
    assert signals.of_intervals(columns, [5], 3)["confidence"].tolist() == [2.0]
    assert signals.of_intervals(columns, [5], 1)["confidence"].tolist() == [1.0]


def test_a_group_is_as_long_as_the_branches_ask_for():
    assert signals.window(10**6) == 2048  # DeepConf's, where SC@64 spends a million tokens
    assert signals.window(11_000) == 23
    assert signals.window(1) == 1


def test_certainty_is_the_geometric_mean_of_the_first_tokens():
    assert signals.certainty([math.log(0.5), math.log(0.125), -9.0], 2) == pytest.approx(0.25)
    assert signals.certainty([math.nan, math.log(0.5)], 2) == pytest.approx(0.5)
    assert signals.certainty([], 3) == 0.0
