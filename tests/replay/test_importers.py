import copy
import gzip
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotts_gym.errors import StoreError
from autotts_gym.replay import ReplayStore, import_json, import_tree
from autotts_gym.replay.columns import DTYPES
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
    signals = draw(st.sampled_from([(), (), ("confidence",), ("certainty", "mean log-probability")]))
    values = st.floats(allow_nan=False, allow_infinity=False, width=32)
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
            if signals:
                branches[-1].append({name: draw(st.lists(values, min_size=count, max_size=count)) for name in signals})
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


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="there is no device without an end")
def test_a_device_is_refused_before_it_is_read():
    with pytest.raises(StoreError, match=r"^/dev/zero: expected a file, got a device$"):
        ReplayStore.from_autotts_json("/dev/zero", model="m", benchmark="b")


def test_the_layout_is_recognised_by_the_fields_and_may_be_forced(tmp_path):
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


def test_signals_lose_what_stands_at_padding(tmp_path):
    rows = [[["1", None, None], 900, "1", {"x": [0.5, None, None]}], [["1", "2", None], 1100, "2", {"x": [1, 2, None]}]]
    item = {**ITEM, "final_answers_trace": ["1", "2"], "each_branch": rows}
    store = ReplayStore.from_autotts_json(write(tmp_path, [item]))
    assert {name: values.tolist() for name, values in store.signals.items()} == {"x": [0.5, 1, 2]}


@pytest.mark.parametrize(
    ("signals", "message"),
    [
        ([0.5], r"question 1, branch 1: signals: expected an object of lists of numbers by name, got \[0.5\]"),
        ({"x": [0.5, 1.0]}, "question 1, branch 1: signal 'x': expected 1 numbers, one per probe, got 2"),
        ({"x": []}, "question 1, branch 1: signal 'x': expected 1 numbers, one per probe, got 0"),
        ({"x": [None]}, "question 1, branch 1: signal 'x': expected 1 numbers, one per probe, got 0"),
        ({"x": ["1"]}, "question 1, branch 1: signal 'x': expected a list of numbers of float32, one per probe"),
        ({"x": [True]}, "question 1, branch 1: signal 'x': expected a list of numbers of float32, one per probe"),
        ({"x": 3}, "question 1, branch 1: signal 'x': expected a list of numbers of float32, one per probe"),
        ({"": [3]}, "question 1, branch 1: signal '': expected a list of numbers of float32"),
        ({"y": [0.5]}, r"signals: expected \['x'\], as the first branch has, of every branch, got \['y'\]"),
        ({}, r"signals: expected \['x'\], as the first branch has, of every branch, got \[\]"),
        ({"x": [1e39]}, "question 1, branch 1: signal 'x': expected a list of numbers of float32"),
        ({"x": [10**400]}, "question 1, branch 1: signal 'x': expected a list of numbers"),
    ],
)
def test_signals_that_are_wrong_are_named(signals, message, tmp_path):
    rows = [[["1"], 700, "1", {"x": [0.5]}], [["1"], 700, "1", {"x": [0.25]}]]
    item = {**ITEM, "final_answers_trace": ["1", "1"], "each_branch": rows}
    file = write(tmp_path, [item, change(item, "each_branch", 1, 3, value=signals)])
    with pytest.raises(StoreError, match=message):
        ReplayStore.from_autotts_json(file)


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
        (gzip.compress(json.dumps([ITEM]).encode(), mtime=0)[:-9], "expected complete gzip data"),
        (b"\x1f\x8b\x08\x00broken", "expected complete gzip data"),
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
    (tmp_path / "json/b/two.json.gz").write_bytes(gzip.compress(json.dumps([RAW]).encode(), mtime=0))
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


def item(*rows: list[Any], **fields: Any) -> dict[str, Any]:
    return {"question": "q", "each_branch": list(rows), "gold_answer": "2", "probe_freq": 500, **fields}


# -------------------------------------------------------------------- probes and tokens


@settings(max_examples=200, deadline=None)
@given(count=st.integers(0, 60), tokens=st.integers(1, 30_000), interval=st.integers(1, 2000))
def test_the_number_of_probes_must_fit_the_tokens(count, tokens, interval, tmp_path_factory):
    path = write(
        tmp_path_factory.mktemp("fit"), [item([["1"], 1, "1"], [["1"] * count, tokens, "1"], probe_freq=interval)]
    )
    intervals = tokens // interval
    if 0.8 * intervals - 1 <= count <= intervals + 1:
        assert import_json(path).num_probes == 1 + count
        return
    with pytest.raises(StoreError, match=f"branch 1: probes: .* for {tokens} tokens .*, got {count};.*--probes none"):
        import_json(path)
    assert import_json(path, probes="unchecked").num_probes == 1 + count
    bare = import_json(path, probes="none")
    assert bare.num_probes == 1 // interval + intervals
    assert not bare.has_probes


def test_a_log_without_any_probes_is_recognised_in_either_form(tmp_path, caplog):
    rows = [[[], 3000, "12"], [None, 900, "13"]]
    raw = {"branch_tokens": [3000, 900], "final_answers_trace": ["12", "13"], "gold_answer": "12", "probe_freq": 500}
    nulls = {**raw, "probe_matrix_mxn": [[None] * 4, [None] * 4]}
    for data in (item(*rows), raw, nulls):
        store = import_json(write(tmp_path, [data]))
        assert not store.has_probes
        assert store.probe_offsets.tolist() == [0, 6, 7]
        assert "no branch has a probe" in caplog.text
        caplog.clear()
    with pytest.raises(StoreError, match="branch 0: probes: expected 4 to 7 probes for 3000 tokens"):
        import_json(write(tmp_path, [item([[], 3000, "12"], [["13"], 900, "13"])]))


@pytest.mark.parametrize("probes", [[], None])
def test_a_branch_that_ends_before_its_first_probe_is_a_branch(probes, tmp_path):
    store = import_json(write(tmp_path, [item([probes, 120, "4"])]))
    assert (store.num_branches, store.num_probes, store.tokens.tolist(), store.has_probes) == (1, 0, [120], True)
    assert store.answer(0, int(store.finals[0])) == "4"
    raw = {**RAW, "probe_matrix_mxn": [["ERR", "2", None], [None, None, None], [None, None, "2"]]}
    assert import_json(write(tmp_path, [raw])).probe_offsets.tolist() == [0, 2, 2, 5]


def test_padded_rows_of_autotts_form_give_the_store_of_the_trimmed_ones(tmp_path, caplog):
    short = item([["5", "2"], 1400, "2"], [["2"], 1010, "2"], [[], 90, "3"], gold_answer="3")
    plain_store = import_json(write(tmp_path, [ITEM, short]))
    assert "padded_rows" not in plain_store.attributes
    padded = copy.deepcopy([ITEM, short])
    for question in padded:
        for row in question["each_branch"]:
            row[0] += [None] * (9 - len(row[0]))
    store = import_json(write(tmp_path, padded))
    assert (store.attributes["padded_rows"], store.attributes["padding"]) == (6, 54 - 9)
    assert "trimmed 45 trailing nulls from 6 branches" in caplog.text
    assert all(np.array_equal(getattr(store, name), getattr(plain_store, name)) for name in DTYPES)
    assert [store.answers(q) for q in (0, 1)] == [plain_store.answers(q) for q in (0, 1)]


def test_nulls_that_the_tokens_allow_are_kept(tmp_path):
    store = import_json(write(tmp_path, [item([["2", None], 900, "2"], [["2"], 400, None])]))
    assert store.probe_offsets.tolist() == [0, 2, 3]


# -------------------------------------------------------------------- answers


def test_blanks_and_what_the_user_names_are_no_answers(tmp_path):
    rows = [["", "2"], 900, " "], [["[invalid]", "N/A "], 900, "[invalid]"], [["\u200b", "\u00a0"], 900, "2"]
    store = import_json(write(tmp_path, [item(*map(list, rows))]), no_answer=["[invalid]", "N/A"])
    assert store.answers(0) == ["2"]
    assert store.probes.tolist() == [-1, 0, -1, -1, -1, -1]
    assert store.finals.tolist() == [-1, -1, 0]
    kept = import_json(write(tmp_path, [item(*map(list, rows))]))
    assert kept.answers(0) == ["2", "[invalid]", "N/A "]
    with pytest.raises(StoreError, match="gold_answer: expected an answer, or null"):
        import_json(write(tmp_path, [item(*map(list, rows), gold_answer="N/A")]), no_answer="N/A")
    for wrong in (5, [5], None):
        with pytest.raises(StoreError, match="no_answer: expected texts, got"):
            import_json(write(tmp_path, [item(*map(list, rows))]), no_answer=wrong)


def test_an_unlabelled_question_is_imported_saved_and_exported(tmp_path):
    path = write(tmp_path, [ITEM, {**ITEM, "question": "other", "gold_answer": None}])
    store = ReplayStore.load(import_json(path).save(tmp_path / "x.h5"))
    assert store.gold.tolist() == [1, -1]
    assert store.labelled.tolist() == [True, False]
    assert json.loads(store.to_autotts_json(tmp_path / "out.json").read_text())[1]["gold_answer"] is None
    left = import_json(path, labelled_only=True)
    assert (left.num_questions, left.attributes["unlabelled_left_out"]) == (1, 1)
    with pytest.raises(StoreError, match="expected a question with a gold answer, got 1 without"):
        import_json(write(tmp_path, [{**ITEM, "gold_answer": None}]), labelled_only=True)


def test_the_trace_of_final_answers_may_be_absent_and_must_agree(tmp_path):
    without = {name: value for name, value in ITEM.items() if name != "final_answers_trace"}
    assert import_json(write(tmp_path, [without])).finals.tolist() == [1, 2, -1]
    assert import_json(write(tmp_path, [{**ITEM, "final_answers_trace": ["2", "3", ""]}])).finals.tolist() == [1, 2, -1]
    with pytest.raises(StoreError, match="branch 1: final_answers_trace: expected '3' as in each_branch, got \"2\""):
        import_json(write(tmp_path, [{**ITEM, "final_answers_trace": ["2", "2", None]}]))


def test_identical_branches_and_repeated_questions_are_counted_and_warned_of(tmp_path, caplog):
    row = [["2"], 700, "2"]
    path = write(tmp_path, [item(row, row, [["2"], 701, "2"], row), item(row, question=" q"), item(row, question="r")])
    store = import_json(path)
    assert (store.attributes["identical_branches"], store.attributes["repeated_questions"]) == (2, 1)
    assert "2 branches are identical to another one of their question" in caplog.text
    assert "the first at question 0, branch 1" in caplog.text
    assert "1 questions have the text of an earlier one, the first is question 1" in caplog.text


# -------------------------------------------------------------------- files


@pytest.mark.parametrize("name", ["sums.jsonl", "sums.jsonl.gz", "sums.json", "sums.json.gz"])
def test_json_lines_are_read_wherever_json_is(name, tmp_path):
    other = {**ITEM, "question": "A line\u2028of its own"}
    text = "\n\n".join(json.dumps(each, ensure_ascii=False) for each in (ITEM, other)) + "\n"
    path = tmp_path / "toy" / name
    path.parent.mkdir()
    for start in (b"", b"\xef\xbb\xbf"):
        data = start + text.encode()
        path.write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
        store = import_json(path)
        assert (store.name, store.questions) == ("toy/sums", [ITEM["question"], other["question"]])
    out = tmp_path / f"out{name.removeprefix('sums')}"
    assert import_json(store.to_autotts_json(out)).questions == store.questions


def test_one_line_is_a_file_of_json_lines_and_a_bad_line_is_named(tmp_path):
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps(ITEM))
    assert import_json(path).num_questions == 1
    path.write_text(json.dumps([ITEM, ITEM]))
    assert import_json(path).num_questions == 2
    path.write_text(json.dumps(ITEM) + "\n" + json.dumps(ITEM)[:-9])
    with pytest.raises(StoreError, match=r"one\.jsonl: line 2: expected JSON"):
        import_json(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'[{"gold_answer": "1", "gold_answer": "2"}]', 'expected JSON, got: the field "gold_answer" twice'),
        (b"\x00\x00", "expected JSON"),
        (gzip.compress(b"", mtime=0), "expected JSON"),
        (gzip.compress(json.dumps([ITEM]).encode(), mtime=0)[:20], "expected complete gzip data"),
        (b'[{"each_branch": 1e999}]', "probe_freq: expected this field"),
    ],
)
def test_more_files_that_are_no_replay_json_are_refused(data, message, tmp_path):
    path = tmp_path / "broken.json"
    path.write_bytes(data)
    with pytest.raises(StoreError, match=message):
        import_json(path)


def test_raw_names_give_model_and_benchmark(tmp_path):
    names = {
        "Qwen3-4B__aime24__br128__T0.6.jsonl": "Qwen3-4B/aime24",
        "org__Qwen3-0.6B__hmmt25__br64.json.gz": "org__Qwen3-0.6B/hmmt25",
        "Qwen3-4B__aime24.json": "raw/Qwen3-4B__aime24",
    }
    for name, stored in names.items():
        path = tmp_path / "raw" / name
        path.parent.mkdir(exist_ok=True)
        data = (json.dumps(RAW) + "\n" if ".jsonl" in name else json.dumps([RAW])).encode()
        path.write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
        assert import_json(path).name == stored
    written = {path.relative_to(tmp_path / "out").as_posix() for path, _ in import_tree(tmp_path, tmp_path / "out")}
    assert written == {f"{stored}.h5" for stored in names.values()}


def test_a_checkout_imports_from_its_root_whatever_else_lies_about(tmp_path, caplog):
    root = tmp_path / "checkout"
    write(root, [ITEM], "data/replay/m/one.json")
    write(root, [ITEM], "copies/m/one.json")
    (root / "gz/m").mkdir(parents=True)
    (root / "gz/m/one.jsonl.gz").write_bytes(gzip.compress(json.dumps(ITEM).encode(), mtime=0))
    write(root, [RAW], "data/replay/m/two.json")
    write(root, {"name": "pkg"}, "package.json")
    write(root, {"cells": []}, "notebooks/a/b.json")
    write(root, [ITEM], ".git/m/hidden.json")
    (root / "empty.json").write_text("")
    (root / "bytes.json").write_bytes(b"\xff\x00")
    written = [path for path, _ in import_tree(root, tmp_path / "out")]
    assert written == [tmp_path / "out/m/one.h5", tmp_path / "out/m/two.h5"]
    assert "left out 4 JSON files without branches: bytes.json, empty.json, package.json, ..." in caplog.text
    write(root, [{**ITEM, "gold_answer": "3"}], "copies/m/one.json")
    with pytest.raises(
        StoreError, match=r"expected one file per store, got a second one for .*one\.h5, with other content"
    ):
        list(import_tree(root, tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_a_damaged_file_of_branches_is_an_error_not_a_stray(tmp_path):
    write(tmp_path, [ITEM], "a/one.json")
    (tmp_path / "a/two.json").write_text(json.dumps([ITEM])[:-5])
    with pytest.raises(StoreError, match=r"two\.json: expected JSON"):
        list(import_tree(tmp_path, tmp_path / "out"))


def test_names_that_lead_out_of_the_destination_are_refused(tmp_path):
    write(tmp_path, [RAW], "raw/..__aime__br8.json")
    with pytest.raises(StoreError, match=r"expected a path that names model and benchmark, got '\.\.'"):
        list(import_tree(tmp_path, tmp_path / "out"))
    with pytest.raises(StoreError, match="model: expected a printable name, got ''"):
        import_json(write(tmp_path, [ITEM]), model="")
    with pytest.raises(StoreError, match="probes: expected checked, unchecked or none, got 'some'"):
        import_json(write(tmp_path, [ITEM]), probes="some")
