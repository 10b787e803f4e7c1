import copy
import gzip
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotts_gym.errors import StoreError
from autotts_gym.replay import ReplayStore, import_json, import_tree
from autotts_gym.replay.importers import _bare

ITEM = {
    "question": "What is 1 + 1?",
    "final_answers_trace": ["2", "3", None],
    "each_branch": [[["ERR", "2"], 900, "2"], [["3"], 400, "3"], [["2", None, "2"], 1700, None]],
    "gold_answer": "2",
    "probe_freq": 500,
}
RAW = {
    "probe_matrix_mxn": [["ERR", "2", None], ["3", None, None], [None, None, "2"]],
    "branch_tokens": [900, 400, 1700],
    "final_answers_trace": ["2", "3", "2"],
    "gold_answer": "4",
    "probe_freq": 500,
}


answers = st.one_of(
    st.sampled_from(["ERR", "204", "1/2", "π", " x ", "\x00"]),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).filter(_bare),
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


@st.composite
def autotts_items(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Questions in the AutoTTS form: ragged pools, ragged branches, nulls, tokens that have room for the probes."""
    interval = draw(st.integers(1, 1000))
    items = []
    for _ in range(draw(st.integers(1, 4))):
        table = draw(st.lists(answers, min_size=1, max_size=5))
        given_answer = st.one_of(st.none(), st.sampled_from(table))
        branches = []
        for _ in range(draw(st.integers(1, 5))):
            intervals = draw(st.integers(0, 8))
            most = min(intervals + 1, 2**31 - 1)
            count = draw(st.integers(max(0, math.ceil(0.8 * intervals - 1)), most))
            tokens = intervals * interval + draw(st.integers(0, interval - 1))
            probes = draw(st.lists(given_answer, min_size=count, max_size=count))
            branches.append([probes, max(tokens, 1), draw(given_answer)])
        items.append(
            {
                "question": draw(texts),
                "final_answers_trace": [branch[2] for branch in branches],
                "each_branch": branches,
                "gold_answer": draw(st.one_of(st.none(), st.sampled_from(table), answers)),
                "probe_freq": interval,
            }
        )
    return items


def write(folder: Path, items: object, name: str = "toy/sums.json") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(items))
    return path


def test_ids_are_numbered_by_first_appearance_and_an_unseen_gold_answer_comes_last(tmp_path):
    store = import_json(write(tmp_path, [ITEM, {**ITEM, "gold_answer": "7"}]))
    assert store.answers(0) == ["ERR", "2", "3"]
    assert store.answers(1) == ["ERR", "2", "3", "7"]
    assert store.gold.tolist() == [1, 3]
    assert store.probes.tolist() == [0, 1, 2, 1, -1, 1] * 2
    assert store.finals.tolist() == [1, 2, -1] * 2
    assert store.tokens.tolist() == [900, 400, 1700] * 2
    assert store.probe_offsets.tolist() == [0, 2, 3, 6, 8, 9, 12]
    assert store.branch_offsets.tolist() == [0, 3, 6]
    assert store.answer_offsets.tolist() == [0, 3, 7]
    assert store.questions == ["What is 1 + 1?"] * 2
    assert [store.answer(1, i) for i in (-1, 0, 3)] == [None, "ERR", "7"]


def test_names_come_from_the_path_unless_they_are_given(tmp_path):
    path = write(tmp_path, [ITEM])
    assert import_json(path).name == "toy/sums"
    assert import_json(path, model="m", benchmark="b").name == "m/b"


def test_attributes_tell_the_source_but_not_where_or_when_it_was_read(tmp_path):
    path = write(tmp_path, [ITEM])
    attributes = import_json(path).attributes
    assert attributes["source"] == "sums.json"
    assert attributes["importer"] == "autotts"
    assert attributes["equivalence"] == "exact"
    assert attributes["merged_answers"] == 0
    assert attributes["synthetic"] is False
    assert len(str(attributes["source_sha256"])) == 64
    assert str(tmp_path) not in json.dumps(dict(attributes))
    assert import_json(path).same_content(import_json(path))


def test_trailing_nulls_of_a_raw_row_are_padding_and_inner_nulls_are_no_answer_yet(tmp_path):
    store = ReplayStore.from_parallel_probe_json(write(tmp_path, [RAW]))
    assert store.probes.tolist() == [0, 1, 2, -1, -1, 1]
    assert store.probe_offsets.tolist() == [0, 2, 3, 6]
    assert store.questions == [""]
    assert store.answer(0, int(store.gold[0])) == "4"
    exported = json.loads(store.to_autotts_json(tmp_path / "out.json").read_text())
    assert exported[0]["each_branch"] == [[["ERR", "2"], 900, "2"], [["3"], 400, "3"], [[None, None, "2"], 1700, "2"]]


def test_the_layout_is_told_by_the_fields_and_may_be_forced(tmp_path):
    assert import_json(write(tmp_path, [RAW])).attributes["importer"] == "parallel-probe"
    assert import_json(write(tmp_path, [ITEM])).attributes["importer"] == "autotts"
    with pytest.raises(StoreError, match="question 0: each_branch: expected this field"):
        ReplayStore.from_autotts_json(write(tmp_path, [RAW]))


@settings(max_examples=60, deadline=None)
@given(items=autotts_items())
def test_import_save_load_export_gives_back_the_same_content(items, tmp_path_factory):
    folder = tmp_path_factory.mktemp("round")
    imported = ReplayStore.from_autotts_json(write(folder, items))
    loaded = ReplayStore.load(imported.save(folder / "store.h5"))
    assert loaded.same_content(imported)
    assert json.loads(loaded.to_autotts_json(folder / "out.json").read_text()) == items
    assert json.loads(gzip.decompress(loaded.to_autotts_json(folder / "out.json.gz").read_bytes())) == items
    # The numbering of ids is canonical, so the way through a file is the identity on columns too.
    again = import_json(folder / "out.json", model=imported.model, benchmark=imported.benchmark)
    assert again.select(range(again.num_questions)).probes.tolist() == loaded.probes.tolist()


def change(item: dict[str, Any], *path: Any, value: Any) -> dict[str, Any]:
    item = copy.deepcopy(item)
    at: Any = item
    for key in path[:-1]:
        at = at[key]
    if value is KeyError:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return item


BAD_AUTOTTS = [
    (("question",), KeyError, "question 1: question: expected this field"),
    (("question",), 3, "question 1: question: expected a string, got 3"),
    (("gold_answer",), KeyError, "question 1: gold_answer: expected this field"),
    (("gold_answer",), 12, "question 1: gold_answer: expected a string or null, got 12"),
    (("gold_answer",), "", 'question 1: gold_answer: expected an answer, or null .*, got "", which is none'),
    (("gold_answer",), " \u200b", "question 1: gold_answer: expected an answer, or null for an unlabelled question"),
    (("gold_answer",), "\ud800", "answers: expected text that has a UTF-8 form"),
    (("probe_freq",), KeyError, "question 1: probe_freq: expected this field"),
    (("probe_freq",), 0, "question 1: probe_freq: expected a whole number"),
    (("probe_freq",), 500.0, "question 1: probe_freq: expected a whole number"),
    (("probe_freq",), 250, "question 1: probe_freq: expected 500 as in question 0, got 250"),
    (("each_branch",), KeyError, "question 1: each_branch: expected this field"),
    (("each_branch",), [], "question 1: each_branch: expected a list that is not empty"),
    (("each_branch",), {"a": 1}, "question 1: each_branch: expected a list that is not empty"),
    (("each_branch", 1), [["3"], 400], r"question 1, branch 1: each_branch: expected \[probes, tokens, final"),
    (("each_branch", 1), None, r"question 1, branch 1: each_branch: expected \[probes, tokens, final"),
    (("each_branch", 1, 0), {}, "question 1, branch 1: probes: expected a list that is not empty"),
    (("each_branch", 1, 0), "3", "question 1, branch 1: probes: expected a list that is not empty"),
    (("each_branch", 0, 0, 1), 2, r"question 1, branch 0: probes\[1\]: expected a string or null, got 2"),
    (("each_branch", 1, 1), -400, "question 1, branch 1: tokens: expected a whole number from 1 to .*, got -400"),
    (("each_branch", 1, 1), 0, "question 1, branch 1: tokens: expected a whole number"),
    (("each_branch", 1, 1), 400.5, "question 1, branch 1: tokens: expected a whole number"),
    (("each_branch", 1, 1), True, "question 1, branch 1: tokens: expected a whole number .* got true"),
    (("each_branch", 1, 1), "400", "question 1, branch 1: tokens: expected a whole number"),
    (("each_branch", 1, 1), 2**31, "question 1, branch 1: tokens: expected a whole number"),
    (("each_branch", 1, 1), float("nan"), "expected JSON, got: NaN"),
    (("each_branch", 1, 2), 3, "question 1, branch 1: final answer: expected a string or null, got 3"),
    (("final_answers_trace",), "2", "question 1: final_answers_trace: expected a list that is not empty"),
    (
        ("final_answers_trace",),
        ["2", "3"],
        "question 1: final_answers_trace: expected 3 entries, one per branch, got 2",
    ),
    (("final_answers_trace", 1), "2", "question 1, branch 1: final_answers_trace: expected '3' as in each_branch"),
]
BAD_RAW = [
    (("probe_matrix_mxn", 2), [None, None], "branch 2: probe_matrix_mxn: expected 2 to 4 probes for 1700 .*, got 0"),
    (("probe_matrix_mxn", 1), "3", "question 1, branch 1: probe_matrix_mxn: expected a list that is not empty"),
    (("probe_matrix_mxn", 1, 0), 3, r"question 1, branch 1: probe_matrix_mxn\[0\]: expected a string or null"),
    (("probe_matrix_mxn",), KeyError, "question 1: probe_matrix_mxn: expected this field"),
    (("branch_tokens",), [900, 400], "question 1: branch_tokens: expected 3 entries, one per branch, got 2"),
    (("branch_tokens", 2), False, "question 1, branch 2: branch_tokens: expected a whole number"),
    (("final_answers_trace",), ["2"], "question 1: final_answers_trace: expected 3 entries"),
    (("final_answers_trace", 0), 2, "question 1, branch 0: final_answers_trace: expected a string or null"),
    (("question",), None, "question 1: question: expected a string, got null"),
]


@pytest.mark.parametrize(
    ("item", "path", "value", "message"),
    [(ITEM, *case) for case in BAD_AUTOTTS] + [(RAW, *case) for case in BAD_RAW],
)
def test_a_wrong_field_is_named_with_file_question_and_branch(item, path, value, message, tmp_path):
    file = write(tmp_path, [item, change(item, *path, value=value)])
    with pytest.raises(StoreError, match=message) as raised:
        import_json(file)
    assert str(file) in str(raised.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected JSON"),
        (b"[{]", "expected JSON"),
        (b"{}", "expected a list of questions, got {}"),
        (b"[]", "expected a list of questions"),
        (b"[3]", "question 0: expected an object, got 3"),
        (b"[{}]", "question 0: expected each_branch or probe_matrix_mxn"),
        (b"\xff\xfe\x00", "expected JSON"),
        (b"[" * 100_000, "expected JSON"),
        (b"[" + b"9" * 10_000 + b"]", "expected JSON"),
        (gzip.compress(json.dumps([ITEM]).encode())[:-9], "expected whole gzip data"),
        (b"\x1f\x8b\x08\x00broken", "expected whole gzip data"),
    ],
)
def test_a_file_that_is_no_replay_json_is_refused(data, message, tmp_path):
    file = tmp_path / "broken.json"
    file.write_bytes(data)
    with pytest.raises(StoreError, match=message) as raised:
        import_json(file)
    assert str(file) in str(raised.value)


def test_a_missing_file_and_unknown_choices_are_refused(tmp_path):
    with pytest.raises(StoreError, match="no such file"):
        import_json(tmp_path / "absent.json")
    with pytest.raises(StoreError, match="cannot be read"):
        import_json(tmp_path)
    with pytest.raises(StoreError, match="layout: expected auto, autotts or parallel-probe, got 'csv'"):
        import_json(write(tmp_path, [ITEM]), layout="csv")
    with pytest.raises(StoreError, match="equivalence: expected exact or math, got 'fuzzy'"):
        import_json(write(tmp_path, [ITEM]), equivalence="fuzzy")


def test_a_folder_tree_becomes_a_tree_of_stores(tmp_path):
    write(tmp_path / "json", [ITEM], "a/one.json")
    (tmp_path / "json/b").mkdir()
    (tmp_path / "json/b/two.json.gz").write_bytes(gzip.compress(json.dumps([RAW]).encode()))
    written = [path for path, _ in import_tree(tmp_path / "json", tmp_path / "out")]
    assert written == [tmp_path / "out/a/one.h5", tmp_path / "out/b/two.h5"]
    assert [ReplayStore.load(path).name for path in written] == ["a/one", "b/two"]
    with pytest.raises(StoreError, match=r"one\.h5: exists already"):
        list(import_tree(tmp_path / "json", tmp_path / "out"))
    assert len(list(import_tree(tmp_path / "json", tmp_path / "out", force=True))) == 2


def test_a_tree_without_data_or_with_two_files_for_one_store_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"expected files <model>/<benchmark>\.json"):
        list(import_tree(tmp_path, tmp_path / "out"))
    write(tmp_path, [ITEM], "a/one.json")
    write(tmp_path, [RAW], "a/one.json.gz")
    with pytest.raises(StoreError, match="expected one file per store"):
        list(import_tree(tmp_path, tmp_path / "out"))


def test_an_interrupted_save_leaves_what_was_there(tmp_path, monkeypatch):
    store = import_json(write(tmp_path, [ITEM]))
    target = tmp_path / "out" / "store.h5"

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("autotts_gym.replay.hdf5._fixed", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.save(target)
    assert os.listdir(target.parent) == []
    monkeypatch.undo()
    before = store.save(target).read_bytes()
    monkeypatch.setattr("os.replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.select([0]).save(target)
    assert os.listdir(target.parent) == ["store.h5"]
    assert target.read_bytes() == before


def test_the_published_files_come_back_unchanged(replay_root, tmp_path):
    files = sorted(replay_root.glob("*/*.json.gz"))
    assert len(files) == 8
    for file in files:
        imported = import_json(file)
        loaded = ReplayStore.load(imported.save(tmp_path / "store.h5"))
        assert loaded.same_content(imported)
        exported = json.loads(loaded.to_autotts_json(tmp_path / "out.json").read_bytes())
        assert exported == json.loads(gzip.decompress(file.read_bytes()))
        summary = loaded.summary()
        assert (summary.questions, summary.branches_min, summary.branches_max, summary.interval_tokens) == (
            30,
            128,
            128,
            500,
        )
