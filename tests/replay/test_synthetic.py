import time
from dataclasses import replace

import numpy as np
import pytest

from autotts_gym.errors import AutottsError, StoreError
from autotts_gym.replay import ReplayStore, Statistics, synthesize
from autotts_gym.replay.columns import DTYPES


@pytest.fixture(scope="module")
def store() -> ReplayStore:
    return synthesize(questions=60, branches=200, seed=5)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    assert synthesize(4, 16, seed=9).same_content(synthesize(4, 16, seed=9))
    other = synthesize(4, 16, seed=10)
    assert synthesize(4, 16, seed=9).tokens.tolist() != other.tokens.tolist()


def test_a_question_does_not_depend_on_how_many_there_are():
    few, many = synthesize(3, 16, seed=2), synthesize(9, 16, seed=2)
    assert many.num_questions == 9
    for name in ("tokens", "finals", "probes", "gold"):
        size = getattr(few, name).size
        assert getattr(many, name)[:size].tolist() == getattr(few, name).tolist()


def test_it_says_that_it_is_synthetic_and_how_it_was_made(store):
    assert store.attributes["synthetic"] is True
    assert "No language model" in str(store.attributes["note"])
    assert store.attributes["seed"] == 5
    assert isinstance(store.attributes["statistics"], dict)


def accuracies(store: ReplayStore) -> np.ndarray:
    right = store.finals == np.repeat(store.gold, np.diff(store.branch_offsets))
    return np.add.reduceat(right, store.branch_offsets[:-1]) / np.diff(store.branch_offsets)


def test_questions_range_from_never_to_always_right(store):
    accuracy = accuracies(store)
    assert 0.45 < accuracy.mean() < 0.75
    assert (accuracy < 0.05).mean() > 0.05
    assert (accuracy > 0.95).mean() > 0.15
    assert ((accuracy > 0.2) & (accuracy < 0.8)).mean() > 0.15


def test_wrong_branches_are_longer_and_capped_ones_mostly_wrong(store):
    right = store.finals == np.repeat(store.gold, np.diff(store.branch_offsets))
    depths = np.diff(store.probe_offsets)
    assert depths.min() >= 1
    assert depths.max() == 80
    assert store.tokens[~right].mean() > 1.5 * store.tokens[right].mean()
    assert right[depths == 80].mean() < 0.3
    assert 10_000 < store.tokens.mean() < 20_000


def test_totals_end_inside_the_last_interval_or_run_on_for_a_while(store):
    rest = store.tokens - 500 * np.diff(store.probe_offsets)
    assert rest.min() > -500
    assert 2000 < rest.max() <= 4200
    assert 0.1 < (rest <= 0).mean() < 0.25


def test_probes_settle_on_the_final_answer(store):
    ends = store.probe_offsets[1:] - 1
    starts = store.probe_offsets[:-1]
    assert (store.probes[ends] == store.finals).all()
    assert (store.probes[starts] == store.finals).mean() < 0.35
    middle = (starts + ends) // 2
    assert 0.2 < (store.probes[middle] == store.finals).mean() < 0.6


def test_wrong_answers_have_an_attractor_and_a_tail(store):
    shares = []
    for q in range(store.num_questions):
        finals = store.finals[store.branch_offsets[q] : store.branch_offsets[q + 1]]
        wrong = finals[finals != store.gold[q]]
        if wrong.size >= 20:
            counts = np.bincount(wrong)
            shares.append(counts.max() / wrong.size)
            assert (counts > 0).sum() >= 3
    assert 0.15 < np.median(shares) < 0.6


def test_ids_are_canonical_so_that_they_tell_nothing(store):
    for q in range(0, store.num_questions, 7):
        low, high = store.branch_offsets[q], store.branch_offsets[q + 1]
        probes = store.probes[store.probe_offsets[low] : store.probe_offsets[high]]
        _, first = np.unique(probes, return_index=True)
        assert (np.diff(first) > 0).all()
        assert len(set(store.answers(q))) == len(store.answers(q))


def test_other_statistics_other_intervals_and_tiny_sizes_work():
    tiny = synthesize(1, 1, interval_tokens=1, seed=3)
    assert (tiny.num_questions, tiny.num_branches, tiny.interval_tokens) == (1, 1, 1)
    sure = synthesize(4, 50, statistics=Statistics(shares=(0.0, 0.0, 1.0), skills=((1, 1), (1, 1), (1e6, 1e-3))))
    assert accuracies(sure).min() > 0.9
    shallow = synthesize(2, 50, statistics=replace(Statistics(), max_depth=3))
    assert np.diff(shallow.probe_offsets).max() == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"questions": 0}, "questions: expected at least 1, got 0"),
        ({"branches": -1}, "branches: expected at least 1, got -1"),
        ({"seed": -1}, "seed: expected at least 0, got -1"),
        ({"interval_tokens": 0}, "interval_tokens: expected 1 to .*, got 0"),
        ({"interval_tokens": 2**30}, "interval_tokens: expected 1 to"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments, message):
    with pytest.raises(StoreError, match=message):
        synthesize(**arguments)


def test_a_hundred_thousand_branches_take_seconds():
    start = time.perf_counter()
    store = synthesize(questions=780, branches=128)
    assert time.perf_counter() - start < 10
    assert store.num_branches == 780 * 128
    assert all(getattr(store, name).dtype == dtype for name, dtype in DTYPES.items())


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.uint16, np.uint64])
def test_numbers_of_numpy_make_the_same_store(kind, tmp_path):
    one = synthesize(kind(5), kind(5), interval_tokens=kind(100), seed=kind(3))
    assert one.same_content(synthesize(5, 5, interval_tokens=100, seed=3))
    one.to_autotts_json(tmp_path / "x.json")
    with pytest.raises(AutottsError, match="memory"):
        synthesize(np.int32(2**30), np.int32(2**30))
    with pytest.raises(StoreError, match="statistics: expected Statistics"):
        synthesize(statistics=None)


def test_no_branch_has_fewer_probes_than_an_import_takes(tmp_path):
    for seed in range(3):
        store = synthesize(10, 60, seed=seed)
        assert ReplayStore.from_autotts_json(store.to_autotts_json(tmp_path / "x.json")).num_branches == 600
