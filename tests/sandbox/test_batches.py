"""Who plays with whom: drawn by chance, no two episodes of a question in one process, some episodes twice."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from autotts_gym.sandbox.batches import alone, assign

PROBLEMS = st.lists(st.integers(0, 9), min_size=1, max_size=60).map(lambda each: np.array(each, np.int64) * 7)


@settings(max_examples=200, deadline=None)
@given(problems=PROBLEMS, batches=st.integers(1, 3))
def test_every_episode_is_in_one_lane_and_no_process_has_a_problem_twice(problems, batches):
    made = assign(problems, batches, 0)
    assert sorted(np.concatenate([batch.rows for batch in made]).tolist()) == list(range(len(problems)))
    for batch in made:
        pairs = set(zip(batch.processes.tolist(), problems[batch.rows].tolist(), strict=True))
        assert len(pairs) == len(batch.rows) == len(batch.places)


@settings(max_examples=200, deadline=None)
@given(problems=PROBLEMS, share=st.floats(0, 1))
def test_what_is_played_twice_is_in_two_lanes_of_different_servers(problems, share):
    repeats = round(share * len(problems))
    made = assign(problems, 2, repeats)
    rows = np.concatenate([batch.rows for batch in made])
    assert np.bincount(rows, minlength=len(problems)).sum() == len(problems) + repeats
    assert sorted(set(rows.tolist())) == list(range(len(problems)))
    assert all(batch.servers > 1 for batch in made)
    for batch in made:
        assert len(set(batch.rows.tolist())) == len(batch.rows)
        pairs = set(zip(batch.processes.tolist(), problems[batch.rows].tolist(), strict=True))
        assert len(pairs) == len(batch.rows)


def test_a_copy_begins_first_in_one_lane_and_anywhere_in_the_other():
    problems = np.tile(np.arange(30), 50)
    made = assign(problems, 2, 30)
    rows = np.concatenate([batch.rows for batch in made])
    places = np.concatenate([batch.places for batch in made])
    twice = np.flatnonzero(np.bincount(rows) == 2)
    assert len(twice) == 30
    for row in twice:
        early, late = sorted(places[rows == row])
        assert early < 0 <= late
    assert (places[~np.isin(rows, twice)] >= 0).all()


def test_processes_differ_in_size_and_runs_differ_in_everything():
    problems = np.tile(np.arange(30), 50)
    one, other = assign(problems, 2, 30), assign(problems, 2, 30)
    for batch in one:
        assert len(set(np.bincount(batch.processes).tolist())) > 3
    assert not np.array_equal(one[0].rows, other[0].rows)
    assert not np.array_equal(one[0].processes[:20], other[0].processes[:20])


def test_alone_is_a_process_an_episode():
    assert alone(4).processes.tolist() == [0, 1, 2, 3]
