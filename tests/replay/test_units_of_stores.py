"""The token unit of a store: read, checked, kept, shown."""

import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scaled import scaled

from agents.augment import augmented
from autotts_gym.cli.main import main
from autotts_gym.errors import AutottsError, StoreError
from autotts_gym.replay import ReplayStore, default_token_unit, import_json, synthesize
from autotts_gym.replay.variants import twin

STORE = scaled(synthesize(3, 8, interval_tokens=10, seed=1, signals=True), 1, 5120)


def test_a_store_without_the_attribute_has_the_unit_of_the_published_data():
    plain = synthesize(2, 3)
    assert plain.token_unit == plain.summary().token_unit == 1_000_000
    assert "token_unit" not in plain.attributes
    assert STORE.token_unit == STORE.summary().token_unit == STORE.attributes["token_unit"] == 5120


def test_everything_that_is_made_of_a_store_keeps_it(tmp_path):
    made = [STORE.select([2, 0]), twin(STORE, 3), *augmented([STORE], 2), pickle.loads(pickle.dumps(STORE))]
    made.append(ReplayStore.load(STORE.save(tmp_path / "a.h5")))
    for name in ("a.json", "a.jsonl.gz"):
        made.append(import_json(STORE.to_autotts_json(tmp_path / name)))
    assert [store.token_unit for store in made] == [5120] * len(made)
    assert made[-1].same_content(import_json(tmp_path / "a.jsonl.gz"))


@pytest.mark.parametrize("unit", [0, -5, 2.0, True, "64", None, 2**31])
def test_another_value_is_refused_naming_file_and_field(unit, tmp_path):
    made = synthesize(1, 2)
    made._attributes = {**made.attributes, "token_unit": unit}
    path = made.save(tmp_path / "a.h5")
    with pytest.raises(StoreError, match=rf"a\.h5: token_unit: expected a whole number from 1 to {2**31 - 1}, got "):
        ReplayStore.load(path)


@pytest.mark.parametrize("units", [(5, 6), (5, None), (0, 0), (2.5, 2.5)])
def test_questions_of_a_file_share_it(units, tmp_path):
    path = STORE.to_autotts_json(tmp_path / "a.json")
    items = json.loads(path.read_text())
    for item, unit in zip(items, (*units, units[0]), strict=True):
        item["token_unit"] = unit
        if unit is None:
            del item["token_unit"]
    path.write_text(json.dumps(items))
    with pytest.raises(StoreError, match=r"a\.json: question [01]: (expected )?token_unit"):
        import_json(path)


@given(st.lists(st.integers(1, 2**20), min_size=1, max_size=50))
def test_the_default_is_64_mean_branches(tokens):
    unit = default_token_unit(np.array(tokens, np.int32))
    assert unit == min(round(64 * sum(tokens) / len(tokens)), 2**31 - 1) >= 1
    assert type(unit) is int


def test_the_default_of_no_branch_is_refused_and_that_of_the_longest_ones_is_a_unit():
    with pytest.raises(AutottsError, match="tokens: expected the tokens of at least one branch"):
        default_token_unit([])
    assert default_token_unit(np.full(3, 2**31 - 1, np.int32)) == 2**31 - 1


def test_a_twin_of_short_branches_has_branches_as_short():
    short = scaled(synthesize(4, 30, interval_tokens=10, seed=2), 1, 64 * 200)
    like = twin(short, 1)
    assert like.tokens.mean() == pytest.approx(short.tokens.mean(), rel=0.05)
    offsets, other = (store.tokens - np.diff(store.probe_offsets) * 10 for store in (short, like))
    assert other.std() == pytest.approx(offsets.std(), rel=0.3)


def test_info_shows_it(tmp_path, capsys):
    path = str(STORE.save(tmp_path / "a.h5"))
    assert main(["info", path]) == 0
    assert capsys.readouterr().out.count("  token_unit: 5120\n") == 1
    assert main(["info", path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["token_unit"] == 5120
