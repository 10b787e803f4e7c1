import json
import multiprocessing
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from autotts_gym.errors import StoreError
from autotts_gym.replay import Branch, Question, ReplayStore, StoreSummary, build_store, synthesize
from autotts_gym.replay.columns import DTYPES, Columns, StringTable


def toy() -> ReplayStore:
    """Three questions with pools of 4, 1 and 2 branches."""

    def branch(tokens: int, *probes: str | None) -> Branch:
        return Branch(probes, tokens, probes[-1])

    return build_store(
        [
            Question("a", "1", [branch(90, "2"), branch(40, "1"), branch(70, None, "1", "1"), branch(10, "2", "2")]),
            Question("b", "5", [branch(60, "3", "4")]),
            Question("c", "9", [branch(100, "8", None), branch(30, "9")]),
        ],
        model="m",
        benchmark="b",
        interval_tokens=25,
        attributes={"license": "none"},
    )


def test_the_summary_counts_and_scores_the_pools():
    assert toy().summary() == StoreSummary(
        name="m/b",
        questions=3,
        branches=7,
        branches_min=1,
        branches_max=4,
        probes=12,
        answers=7,
        interval_tokens=25,
        total_tokens=400,
        mean_tokens=400 / 7,
        pass_at_1=(0.5 + 0 + 0.5) / 3,
        majority_accuracy=1 / 3,  # a: 2-2, "2" was seen first; b: wrong; c: only one branch answers, right
        coverage=2 / 3,
        signals=(),
        attributes={"license": "none", "equivalence": "exact", "merged_answers": 0},
    )
    json.dumps(toy().summary().to_dict())


def test_a_pool_in_which_nobody_answers_has_a_wrong_majority():
    store = build_store([Question("", "1", [Branch([None], 1, None)])], model="m", benchmark="b", interval_tokens=1)
    assert store.summary().majority_accuracy == 0.0
    assert store.summary().coverage == 0.0


def test_no_array_of_a_store_can_be_written(tmp_path):
    for store in (toy(), ReplayStore.load(toy().save(tmp_path / "x.h5"))):
        for name in DTYPES:
            with pytest.raises(ValueError, match="read-only"):
                getattr(store, name)[0] = 0
        with pytest.raises(TypeError):
            store.attributes["license"] = "mine"  # type: ignore[index]


def test_answers_are_looked_up_within_their_question():
    store = toy()
    assert store.answers(2) == ["8", "9"]
    assert store.answer(2, 1) == "9"
    assert store.answer(2, -1) is None
    for question, answer in ((2, 2), (2, -2), (3, 0), (-1, 0)):
        with pytest.raises(IndexError, match="expected"):
            store.answer(question, answer)


def test_select_keeps_the_given_questions_in_the_given_order():
    store = synthesize(questions=6, branches=5, seed=3)
    part = store.select([4, 0, 2])
    assert part.questions == [store.questions[q] for q in (4, 0, 2)]
    for new, old in enumerate((4, 0, 2)):
        assert part.answers(new) == store.answers(old)
        assert part.gold[new] == store.gold[old]
        ours = slice(part.branch_offsets[new], part.branch_offsets[new + 1])
        theirs = slice(store.branch_offsets[old], store.branch_offsets[old + 1])
        assert part.tokens[ours].tolist() == store.tokens[theirs].tolist()
        assert part.finals[ours].tolist() == store.finals[theirs].tolist()
        assert (
            part.probes[part.probe_offsets[ours.start] : part.probe_offsets[ours.stop]].tolist()
            == store.probes[store.probe_offsets[theirs.start] : store.probe_offsets[theirs.stop]].tolist()
        )
    assert part.attributes["selection"] == [4, 0, 2]
    assert part.select([2, 0]).attributes["selection"] == [2, 4]
    assert part.path is None


@pytest.mark.parametrize("questions", [[], [0, 0], [3], [-1], [0.9], ["a"], [True], [None], 0, None])
def test_select_refuses_what_it_cannot_give(questions):
    with pytest.raises(StoreError, match="questions: expected different numbers from 0 to 2"):
        toy().select(questions)


def test_select_takes_signals_along():
    store = toy()
    signal = np.arange(store.num_probes, dtype=np.float32)
    with_signal = ReplayStore(
        Columns(**{name: getattr(store, name) for name in DTYPES}),
        StringTable.of("answers", [text for q in range(3) for text in store.answers(q)]),
        StringTable.of("questions", store.questions),
        model="m",
        benchmark="b",
        interval_tokens=25,
        signals={"depth": signal},
    )
    assert with_signal.select([2, 1]).signals["depth"].tolist() == [9, 10, 11, 7, 8]
    assert pickle.loads(pickle.dumps(with_signal)).same_content(with_signal)
    with pytest.raises(ValueError, match="read-only"):
        with_signal.signals["depth"][0] = 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": ""}, "model: expected a printable name"),
        ({"benchmark": "a\0"}, "benchmark: expected a printable name"),
        ({"interval_tokens": 0}, "interval_tokens: expected a whole number from 1 to"),
        *(
            ({"signals": {name: np.zeros(12, np.float32)}}, "signals: expected printable names without a slash, got")
            for name in ("a/b", ".", "..", "", "x\n", 3)
        ),
        ({"signals": {"x": np.zeros(3, np.float32)}}, r"signals/x: expected shape \(12,\), got \(3,\)"),
        ({"attributes": {"x": object()}}, "attributes: expected JSON-able values"),
        ({"attributes": {"x": float("nan")}}, "attributes: expected JSON-able values"),
    ],
)
def test_a_store_made_in_memory_is_checked_like_one_on_disk(change, message):
    store = toy()
    arguments = {"model": "m", "benchmark": "b", "interval_tokens": 25, **change}
    with pytest.raises(StoreError, match=message):
        ReplayStore(
            Columns(**{name: getattr(store, name) for name in DTYPES}),
            StringTable.of("answers", [text for q in range(3) for text in store.answers(q)]),
            StringTable.of("questions", store.questions),
            **arguments,
        )


def test_records_and_columns_out_of_range_are_refused():
    for tokens in (0, -1, 2**31):
        with pytest.raises(StoreError, match=f"tokens: expected 1 to 2147483647, got {tokens}"):
            Branch(["1"], tokens, "1")
    with pytest.raises(StoreError, match="expected at least 1 item, got 0"):
        build_store([Question("", "1", [])], model="m", benchmark="b", interval_tokens=1)
    with pytest.raises(StoreError, match="gold: expected at least one question"):
        build_store([], model="m", benchmark="b", interval_tokens=1)
    columns = {name: getattr(toy(), name) for name in DTYPES}
    with pytest.raises(StoreError, match="tokens: expected a flat array of int32, got 1-d int64"):
        Columns(**{**columns, "tokens": columns["tokens"].astype(np.int64)})
    with pytest.raises(StoreError, match="probes: expected a flat array of int32, got 2-d int32"):
        Columns(**{**columns, "probes": columns["probes"][:, None]})


def test_contents_differ_when_any_part_differs():
    store = toy()
    assert store.same_content(toy())
    assert not store.same_content(toy().select([0, 1, 2]))  # its attributes name the selection
    assert not synthesize(2, 3, seed=0).same_content(synthesize(2, 3, seed=1))
    assert not synthesize(2, 3, model="a").same_content(synthesize(2, 3, model="b"))


def test_a_store_in_memory_is_pickled_by_content_and_one_on_disk_by_its_path(tmp_path):
    store = toy()
    assert pickle.loads(pickle.dumps(store)).same_content(store)
    loaded = ReplayStore.load(store.save(tmp_path / "x.h5"))
    packed = pickle.dumps(loaded)
    assert len(packed) < 400
    assert pickle.loads(packed).same_content(store)
    (tmp_path / "x.h5").unlink()
    with pytest.raises(StoreError, match="no such file"):
        pickle.loads(packed)


def tokens_and_texts(store: ReplayStore) -> tuple[int, list[str], list[str]]:
    return int(store.tokens.sum()), store.questions, store.answers(0)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_processes_read_the_same_store(method, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toy().save("x.h5")
    stores = [toy(), ReplayStore.load("x.h5")]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        assert list(pool.map(tokens_and_texts, stores)) == [tokens_and_texts(store) for store in stores]


def test_importing_replay_loads_no_heavy_package():
    code = (
        "import sys, autotts_gym.replay; "
        "print([name for name in ('gymnasium', 'numba', 'matplotlib', 'rich', 'h5py') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = subprocess.run(
        [sys.executable, "-c", code.replace("autotts_gym.replay", "autotts_gym")],
        capture_output=True,
        text=True,
        check=True,
    )
    # The package itself may register its environments; replay adds nothing to it.
    assert done.stdout == heavy.stdout


@pytest.mark.parametrize("path", [5, None, b"x", "x\0y"])
def test_what_is_no_path_is_refused(path):
    calls = (ReplayStore.load, toy().save, toy().to_autotts_json, ReplayStore.from_autotts_json)
    for call in calls:
        with pytest.raises(StoreError, match="path: expected a path, got"):
            call(path)
