"""A twin keeps what rules live on, and nothing that a table could be keyed by."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotts_gym import ReplayStore, synthesize
from autotts_gym.errors import AutottsError
from autotts_gym.replay import Branch, Question, build_store
from autotts_gym.replay.variants import WARP, twin

STORE = synthesize(12, 64, seed=3)


def per_question(store: ReplayStore, values: np.ndarray) -> list[list[int]]:
    return [sorted(values[a:b].tolist()) for a, b in zip(store.branch_offsets, store.branch_offsets[1:], strict=False)]


def changes(store: ReplayStore) -> list[tuple[int, ...]]:
    """The depths at which every branch changes its answer, of those that do so at least five times."""
    pools = np.split(store.probes, store.probe_offsets[1:-1])
    found = [tuple((np.flatnonzero(np.diff(pool)) + 1).tolist()) for pool in pools]
    return [each for each in found if len(each) >= 5]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 40), st.integers(0, 99), st.integers(0, 99), st.sampled_from((7, 100, 500)))
def test_a_twin_keeps_final_answers_and_its_probes_fit_its_tokens(
    questions: int, branches: int, seed: int, draw: int, interval: int
) -> None:
    store = synthesize(questions, branches, interval_tokens=interval, seed=seed)
    other = twin(store, draw)
    assert per_question(other, other.finals) == per_question(store, store.finals)
    np.testing.assert_array_equal(other.gold, store.gold)
    for each in (store, other):
        depths = np.diff(each.probe_offsets)
        assert (depths <= each.tokens // interval + 1).all()
        assert (5 * depths >= 4 * (each.tokens // interval) - 5).all()
    # A branch ends with the answer that it showed last exactly as often.
    last = [np.sum(each.probes[each.probe_offsets[1:] - 1] == each.finals) for each in (store, other)]
    assert last[0] == last[1]


def test_a_twin_has_the_averages_of_its_store_and_none_of_its_lengths() -> None:
    other = twin(STORE)
    one, two = STORE.summary(), other.summary()
    assert (one.pass_at_1, one.coverage, one.name) == (two.pass_at_1, two.coverage, two.name)
    assert abs(two.mean_tokens / one.mean_tokens - 1) < 0.02
    assert 0 < np.mean(np.isin(other.tokens, STORE.tokens)) < 0.25  # by chance
    known = set(changes(STORE))
    assert np.mean([each in known for each in changes(other)]) < 0.15
    longest = [np.diff(each.probe_offsets).max() for each in (STORE, other)]
    assert longest[1] <= np.ceil(longest[0] * np.exp(WARP))


def test_signals_go_with_their_probes_and_none_is_that_of_the_store() -> None:
    store = synthesize(12, 64, seed=3, signals=True)
    other = twin(store)
    np.testing.assert_array_equal(other.probes, twin(STORE).probes)
    for name, values in store.signals.items():
        made = other.signals[name]
        assert np.mean(np.isin(made, values)) < 0.01
        assert values.min() <= made.min() < made.max() <= values.max()
        agrees = [each.probes == np.repeat(each.finals, np.diff(each.probe_offsets)) for each in (store, other)]
        means = [
            [float(np.mean(each.signals[name][chosen == flag])) for flag in (True, False)]
            for each, chosen in zip((store, other), agrees, strict=True)
        ]
        assert means[0] == pytest.approx(means[1], rel=0.02)
        assert means[0][0] > means[0][1]


@pytest.mark.parametrize("values", [(0.0, 1.0), (-3e38, 3e38), (1e-38, 2e-38)], ids=str)
def test_a_signal_of_two_numbers_is_blurred_within_its_range(values: tuple[float, float]) -> None:
    branches = [Branch(["1"] * 6, 600, "1", {"x": list(np.tile(np.roll(values, k), 3))}) for k in range(8)]
    store = build_store([Question("0", "1", branches)], model="m", benchmark="b", interval_tokens=100)
    made = twin(store).signals["x"]
    low, high = store.signals["x"].min(), store.signals["x"].max()
    assert ((low <= made) & (made <= high)).all()
    assert np.isin(made, store.signals["x"]).mean() < 0.1


def test_a_twin_follows_from_its_seed() -> None:
    one, same, other = twin(STORE, 1), twin(STORE, 1), twin(STORE, 2)
    np.testing.assert_array_equal(one.probes, same.probes)
    np.testing.assert_array_equal(one.tokens, same.tokens)
    assert not np.array_equal(one.tokens, other.tokens)
    assert other.attributes["twin"] == {"seed": 2}


def test_branches_without_a_probe_keep_to_what_an_import_takes(tmp_path: Path) -> None:
    rows = [Branch([], 300 + 25 * k, "4") for k in range(28)]
    named: dict[str, Any] = {"model": "m", "benchmark": "b", "interval_tokens": 500}
    store = build_store([Question("q", "4", rows), Question("r", "1", [Branch(["1", "1"], 1100, "1")] * 9)], **named)
    for draw in range(5):
        twin(store, draw).to_autotts_json(tmp_path / "twin.json")
        ReplayStore.from_autotts_json(tmp_path / "twin.json")


@pytest.mark.parametrize(("store", "seed"), [(5, 0), (None, 0), (STORE, -1), (STORE, "a"), (STORE, 1.5)])
def test_what_is_no_store_or_no_seed_is_refused(store: object, seed: object) -> None:
    with pytest.raises(AutottsError, match=r"^(store|seed): expected"):
        twin(store, seed)  # type: ignore[arg-type]
