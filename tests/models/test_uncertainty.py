"""Entropy and confidence of a token, against their definitions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotts_gym.models import uncertainty


@given(st.lists(st.floats(-50, 0), min_size=1, max_size=20))
def test_entropy_and_confidence(top):
    shares = np.exp(np.array(top) - max(top))
    shares /= shares.sum()
    positive = shares[shares > 0]
    assert uncertainty.entropy(top) == pytest.approx(-(positive * np.log(positive)).sum(), abs=1e-9)
    assert uncertainty.confidence(top) == pytest.approx(-np.mean(top), abs=1e-9)


@pytest.mark.parametrize("top", [[], [-math.inf]])
def test_nothing_known(top):
    assert math.isnan(uncertainty.entropy(top))
    assert math.isnan(uncertainty.confidence(top))


def test_impossible_tokens_do_not_count():
    assert uncertainty.confidence([-1.0, -math.inf]) == 1.0
    assert uncertainty.entropy([-1.0, -math.inf]) == 0.0


@given(st.none() | st.integers() | st.floats() | st.just(10**400))
def test_what_a_server_sent_is_a_log_probability_or_unknown(value):
    number = uncertainty.logprob(value)
    assert number <= 0 or math.isnan(number)
    found = uncertainty.largest([-1.0, value, -0.5])
    assert found == sorted(found, reverse=True)
    assert len(found) == 3 - math.isnan(number)
