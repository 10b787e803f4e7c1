import json
import os
import random
import shutil

import pytest

import autotts_gym.replay.catalog as catalog
from autotts_gym.errors import StoreError
from autotts_gym.models.local import file_hash, model_file
from autotts_gym.replay import (
    default_store,
    list_stores,
    load_store,
    pool_order,
    resolve_stores,
    synthesize,
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two folders on the search path; the first hides a store of the second."""
    synthesize(1, 2, model="m", benchmark="one").save(tmp_path / "first/m/one.h5")
    synthesize(2, 2, model="m", benchmark="one").save(tmp_path / "second/m/one.h5")
    synthesize(3, 2, model="m", benchmark="two.5").save(tmp_path / "second/m/two.5.h5")
    monkeypatch.setenv("AUTOTTS_STORES", os.pathsep.join(map(str, [tmp_path / "first", tmp_path / "second"])))
    return tmp_path


def test_a_name_is_looked_up_in_order_and_then_among_what_ships(folder):
    assert load_store("m/one").num_questions == 1
    assert load_store("m/two.5").num_questions == 3
    assert load_store("synthetic/search").attributes["synthetic"] is True
    shipped = [f"{model}/{name}" for model in ("micro", "synthetic", "tiny") for name in ("heldout", "search")]
    assert list_stores() == sorted(["m/one", "m/two.5", *shipped])


def test_a_path_is_opened_as_it_is(folder, monkeypatch):
    path = folder / "second/m/one.h5"
    assert load_store(path).num_questions == 2
    assert load_store(str(path)).num_questions == 2
    monkeypatch.chdir(path.parent)
    assert load_store("one.h5").path == path
    with pytest.raises(StoreError, match=r"absent\.h5: no such file"):
        load_store("absent.h5")


def test_an_unknown_name_lists_where_it_looked_and_what_there_is(folder):
    with pytest.raises(StoreError, match=r"m/three: expected a \.h5 file or the name of a store") as raised:
        load_store("m/three")
    for part in (str(folder / "first"), str(folder / "second"), str(catalog.shipped_folder()), "m/one, m/two.5"):
        assert part in str(raised.value)


def test_none_is_the_store_that_ships():
    assert default_store().name == "tiny/search"
    assert [store.name for store in resolve_stores(None)] == ["tiny/search"]


def test_a_store_argument_may_be_a_name_a_path_a_store_or_several(folder):
    store = synthesize(1, 1)
    assert resolve_stores(store) == [store]
    assert [s.num_questions for s in resolve_stores("m/one")] == [1]
    assert [s.num_questions for s in resolve_stores(folder / "second/m/one.h5")] == [2]
    mixed = resolve_stores(["m/one", folder / "second/m/one.h5", store])
    assert [s.num_questions for s in mixed] == [1, 2, 1]
    with pytest.raises(StoreError, match="expected at least one store"):
        resolve_stores([])


@pytest.mark.parametrize("store", [5, [5], b"x", [b"x"], 1.5, {"m/one"}, [None]])
def test_what_is_no_store_is_refused(store):
    with pytest.raises(StoreError, match="store: expected the name of a store, a path, a ReplayStore, or several"):
        resolve_stores(store)


def test_a_name_that_no_system_takes_is_refused():
    with pytest.raises(StoreError, match=r"^.{1,300}: expected a \.h5 file or the name of a store"):
        load_store("x" * 5000)
    with pytest.raises(StoreError, match="expected"):
        load_store("x\0y")


def test_an_installed_package_finds_the_stores_inside_it(tmp_path, monkeypatch):
    package = tmp_path / "site-packages/autotts_gym"
    shutil.copytree(catalog.shipped_folder(), package / "trajectories")
    monkeypatch.setattr(catalog.validation, "__file__", str(package / "validation.py"))
    assert catalog.shipped_folder() == package / "trajectories"
    assert default_store().path == package / "trajectories/tiny/search.h5"


@pytest.mark.parametrize("name", ["synthetic/search", "synthetic/heldout"])
def test_what_ships_is_what_the_readme_says_makes_it(name):
    store = load_store(name)
    readme = (catalog.shipped_folder() / "README.md").read_text()
    seed = store.attributes["seed"]
    assert f"`autotts synth -o trajectories/{name}.h5 --seed {seed}`" in readme
    assert isinstance(seed, int)
    assert store.same_content(synthesize(seed=seed, benchmark=name.split("/")[1]))
    assert (store.num_questions, store.num_branches) == (30, 3840)
    assert store.path is not None
    assert store.path.stat().st_size < 400_000


@pytest.mark.parametrize(("model", "branches"), [("tiny", 128), ("micro", 64)])
@pytest.mark.parametrize("split", ["search", "heldout"])
def test_the_collected_stores_that_ship_are_of_the_model_and_the_questions_that_ship(model, branches, split):
    store = load_store(f"{model}/{split}")
    assert (store.num_questions, store.num_branches) == (30, 30 * branches)
    rows = map(json.loads, (catalog.shipped_folder() / "tiny" / f"{split}.jsonl").read_text().splitlines())
    expected = [(row["question"], row["answer"]) for row in rows]
    golds = [store.answers(q)[gold] for q, gold in enumerate(store.gold)]
    assert list(zip(store.questions, golds, strict=True)) == expected
    attributes = store.attributes
    assert attributes["source"] == "autotts collect"
    assert attributes["model_identity"]["file_sha256"] == file_hash(model_file(model))
    assert attributes["license"] == "MIT"
    assert not store.synthetic
    readme = (catalog.shipped_folder() / "README.md").read_text()
    assert f"trajectories/tiny/{split}.jsonl --model {model} --out stores --branches {branches} " in readme


@pytest.mark.parametrize(("seed", "branches"), [(0, 1), (0, 128), (99, 128), (7, 5)])
def test_the_pool_order_is_that_of_the_published_code(seed, branches):
    expected = list(range(branches))
    random.Random(seed).shuffle(expected)
    order = pool_order(seed, branches)
    assert order.tolist() == expected
    assert order.dtype == "int32"
    assert pool_order(seed, branches) is order
    with pytest.raises(ValueError, match="read-only"):
        order[0] = 0
