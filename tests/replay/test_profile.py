"""Profiles of stores, against counts by hand."""

from itertools import permutations

import numpy as np
import pytest

from autotts_gym.replay.profile import majority_accuracy, probe_agreement
from autotts_gym.replay.records import Branch, Question, build_store


def store_of(finals, gold="1", probes=None):
    branches = [Branch(probes or ["2", "1"], 30, final) for final in finals]
    return build_store([Question("q", gold, branches)], model="m", benchmark="b", interval_tokens=10)


@pytest.mark.parametrize(
    "finals", [["1", "2", "2", "3"], ["1", None, None, "2"], ["1", "1", "1", "1"], [None, None, None, None]]
)
def test_a_majority_is_that_of_all_orders(finals):
    def right(order):
        answers = [answer for answer in order if answer]
        return bool(answers) and max(answers, key=answers.count) == "1"  # max takes the first seen of several

    orders = list(permutations(finals))
    expected = [np.mean([right(order[:k]) for order in orders]) for k in (1, 2, 3, 4)]
    assert majority_accuracy(store_of(finals), (1, 2, 3, 4)) == pytest.approx(expected, abs=0.13)
    if len(set(finals)) == 1:
        assert majority_accuracy(store_of(finals), (1, 2, 3, 4)).tolist() == expected


def test_a_majority_of_more_than_all_is_that_of_all():
    assert majority_accuracy(store_of(["1", "1", "2"]), (64,)).tolist() == [1.0]


def test_without_labels_or_probes_nothing_is_known():
    assert np.isnan(majority_accuracy(store_of(["1"], gold=None), (1, 2))).all()
    assert np.isnan(probe_agreement(store_of([None, None]), (0.0, 1.0))).all()


def test_agreement_is_counted_at_a_part_of_the_probes():
    store = store_of(["1", "2", None])  # each with the probes 2 and 1
    assert probe_agreement(store, (0.0, 0.5, 0.51, 1.0)).tolist() == [0.5, 0.5, 0.5, 0.5]
    store = store_of(["1", "1", None])
    assert probe_agreement(store, (0.0, 0.5, 0.51, 1.0)).tolist() == [0.0, 0.0, 1.0, 1.0]
