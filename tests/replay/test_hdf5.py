import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from autotts_gym.errors import AutottsError, StoreError
from autotts_gym.replay import Branch, Question, ReplayStore, build_store, synthesize
from autotts_gym.replay.columns import DTYPES, Columns, StringTable


def store_with_signals() -> ReplayStore:
    plain = synthesize(questions=3, branches=4, seed=1)
    return ReplayStore(
        Columns(**{name: getattr(plain, name) for name in DTYPES}),
        StringTable.of("answers", [text for q in range(3) for text in plain.answers(q)]),
        StringTable.of("questions", ["Wie groß?", "", "π"]),
        model="Modell-ä",
        benchmark="toy",
        interval_tokens=500,
        attributes={"license": "CC-BY", "sampling": {"temperature": 0.6}, "note": "ü"},
        signals={"logprob": np.linspace(-2, 0, plain.num_probes, dtype=np.float32)},
    )


@pytest.fixture(scope="module")
def original() -> ReplayStore:
    return store_with_signals()


@pytest.fixture
def file(original: ReplayStore, tmp_path: Path) -> Path:
    return original.save(tmp_path / "store.h5")


def read_everything(path: Path) -> ReplayStore:
    """Opens a store and reads what is read late."""
    store = ReplayStore.load(path)
    for question in range(store.num_questions):
        store.answers(question)
    assert len(store.questions) == store.num_questions
    for name in store.signals:
        assert store.signals[name].size == store.num_probes
    return store


def test_a_saved_store_comes_back_whole(original, file):
    loaded = ReplayStore.load(file)
    assert loaded.same_content(original)
    assert original.same_content(loaded)
    assert loaded.path == file
    assert loaded.questions == ["Wie groß?", "", "π"]
    for name, dtype in DTYPES.items():
        assert getattr(loaded, name).dtype == dtype


def test_the_same_content_gives_the_same_bytes(original, file, tmp_path):
    assert original.save(tmp_path / "again.h5").read_bytes() == file.read_bytes()
    assert ReplayStore.load(file).save(tmp_path / "third.h5").read_bytes() == file.read_bytes()


def test_every_dataset_is_compressed_and_has_a_checksum(file):
    def check(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            assert (item.compression, item.shuffle, item.fletcher32) == ("gzip", True, True), name

    with h5py.File(file) as opened:
        opened.visititems(check)
        assert opened.attrs["version"] == 1
        assert opened.attrs["format"] == b"autotts-replay"
        assert json.loads(opened.attrs["attributes"])["license"] == "CC-BY"


def test_attributes_larger_than_an_object_header_come_back(tmp_path):
    store = synthesize(questions=1, branches=1)
    note = {"note": "long " * 40_000}
    big = ReplayStore(
        Columns(**{name: getattr(store, name) for name in DTYPES}),
        StringTable.of("answers", store.answers(0)),
        StringTable.of("questions", store.questions),
        model="m",
        benchmark="b",
        interval_tokens=1,
        attributes=note,
    )
    assert ReplayStore.load(big.save(tmp_path / "big.h5")).attributes == note


def replace(name: str, array: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = array(file) if callable(array) else array

    return change


def poke(name: str, index: int, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file[name][index] = value

    return change


def attribute(name: str, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file.attrs[name]
        if value is not None:
            file.attrs[name] = value

    return change


def drop(name: str) -> Callable[[h5py.File], None]:
    return lambda file: file.__delitem__(name)


def resized(name: str, by: int) -> Callable[[h5py.File], None]:
    return lambda file: replace(name, np.resize(file[name][()], file[name].size + by))(file)


def split_character(file: h5py.File) -> None:
    file["questions/bytes"][:2] = np.frombuffer("é".encode(), np.uint8)
    file["questions/offsets"][1] = 1


def duplicate_answer(file: h5py.File) -> None:
    data = [b"7", b"7", *[str(i).encode() for i in range(file["answers/offsets"].size - 3)]]
    replace("answers/bytes", np.frombuffer(b"".join(data), np.uint8))(file)
    replace("answers/offsets", np.cumsum([0, *map(len, data)]))(file)


DAMAGE: list[tuple[Callable[[h5py.File], None], str]] = [
    (attribute("format", None), "format: expected this attribute, got none"),
    (attribute("format", "minari"), "format: expected 'autotts-replay', got 'minari'"),
    (attribute("format", 3), "format: expected text, got"),
    (attribute("version", None), "version: expected this attribute"),
    (attribute("version", 2), "version: expected 1, got 2"),
    (attribute("version", "1"), "version: expected an integer, got '1'"),
    (attribute("version", np.array([1, 1])), "version: expected an integer"),
    (attribute("model", None), "model: expected this attribute"),
    (attribute("model", ""), "model: expected a printable name, got ''"),
    (attribute("model", np.bytes_(b"\xff")), "model: expected UTF-8"),
    (attribute("benchmark", "a\nb"), "benchmark: expected a printable name"),
    (attribute("interval_tokens", 0), "interval_tokens: expected a whole number from 1 to"),
    (attribute("interval_tokens", 500.0), "interval_tokens: expected an integer"),
    (attribute("attributes", "{"), "attributes: expected JSON"),
    (attribute("attributes", "[]"), "attributes: expected a JSON object"),
    (attribute("attributes", '{"x": NaN}'), "attributes: expected JSON-able values"),
    *[(drop(name), f"{name}: expected a dataset, got none") for name in DTYPES],
    *[(resized(name, 1), f"{name}(\\[.*)?: expected") for name in DTYPES if name not in ("gold", "probes", "tokens")],
    (resized("gold", 1), "branch_offsets: expected length 5, got 4"),
    (resized("probes", 1), "probe_offsets: expected the last offset to be 429, got 428"),
    (resized("tokens", 1), "probe_offsets: expected length 14, got 13"),
    *[(replace(name, np.zeros(4, np.float64)), f"{name}: expected dtype .*, got float64") for name in DTYPES],
    *[
        (replace(name, np.zeros((4, 1), dtype)), f"{name}: expected 1 dimension, got 2")
        for name, dtype in DTYPES.items()
    ],
    (replace("gold", np.zeros(3, ">i4")), "gold: expected dtype int32, got >i4"),
    (replace("gold", np.zeros(0, np.int32)), "gold: expected at least one question"),
    (replace("tokens", h5py.Empty("i4")), "tokens: expected 1 dimension, got 0"),
    (lambda file: (file.__delitem__("tokens"), file.create_group("tokens")), "tokens: expected a dataset, got a group"),
    (poke("branch_offsets", 0, 1), "branch_offsets: expected the first offset to be 0, got 1"),
    (poke("branch_offsets", 1, 9), r"branch_offsets\[2\]: expected between 9 and 12, got 8"),
    (poke("branch_offsets", 1, 8), r"branch_offsets\[1\]: expected at least 1 item, got 0"),
    (poke("branch_offsets", 3, 11), "branch_offsets: expected the last offset to be 12, got 11"),
    (poke("branch_offsets", 1, -(2**63)), r"branch_offsets\[1\]: expected between 0 and 12"),
    (poke("probe_offsets", 3, 2**62), r"probe_offsets\[3\]: expected between"),
    (poke("probe_offsets", 1, 0), r"probe_offsets\[0\]: expected at least 1 item, got 0"),
    (poke("answer_offsets", 1, 2**62), r"answer_offsets\[1\]: expected between"),
    (poke("answer_offsets", 3, 2**62), "answers: expected 4611686018427387904 strings"),
    (poke("tokens", 5, 0), r"tokens\[5\]: expected at least 1, got 0"),
    (poke("tokens", 5, -7), r"tokens\[5\]: expected at least 1, got -7"),
    (poke("probes", 11, -2), r"probes\[11\]: expected an answer id from -1 to .*, got -2"),
    (poke("probes", 11, 900), r"probes\[11\]: expected an answer id from -1 to .*, got 900"),
    (poke("finals", 2, -2), r"finals\[2\]: expected an answer id from -1 to .*, got -2"),
    (poke("finals", 2, 900), r"finals\[2\]: expected an answer id from -1 to .*, got 900"),
    (poke("gold", 1, -1), r"gold\[1\]: expected an answer id from 0 to .*, got -1"),
    (poke("gold", 1, 900), r"gold\[1\]: expected an answer id from 0 to .*, got 900"),
    (drop("answers"), "answers/offsets: expected a dataset, got none"),
    (drop("questions/bytes"), "questions/bytes: expected a dataset, got none"),
    (poke("questions/offsets", 0, 1), "questions/offsets: expected the first offset to be 0"),
    (poke("questions/offsets", 3, 900), r"questions/offsets\[3\]: expected between"),
    (resized("questions/offsets", 1), r"questions/offsets\[4\]: expected between"),
    (replace("questions/offsets", np.array([0, 12])), "questions: expected 3 strings, got 1"),
    (poke("questions/bytes", 0, 0xFF), r"questions\[0\]: expected UTF-8"),
    (split_character, r"questions\[1\]: expected to start at a character"),
    (duplicate_answer, "answers of question 0: expected each once, got '7' twice"),
    (poke("signals/logprob", 4, np.nan), r"signals/logprob\[4\]: expected a finite number, got nan"),
    (poke("signals/logprob", 4, np.inf), r"signals/logprob\[4\]: expected a finite number, got inf"),
    (resized("signals/logprob", -1), "signals/logprob: expected length"),
    (lambda file: replace("signals/logprob", file["probes"][()])(file), "signals/logprob: expected dtype float32"),
    (replace("signals", np.zeros(3)), "signals: expected a group"),
    (lambda file: file.create_group("signals/entropy"), "signals/entropy: expected a dataset, got a group"),
    (
        lambda file: (file.__delitem__("probes"), file.create_dataset("probes", (10**12,), "i4", chunks=(1 << 20,))),
        "probes: expected at most .* bytes in a file of this size, got 4000000000000",
    ),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE)
def test_each_damage_is_named_with_file_and_field(damage, message, file):
    with h5py.File(file, "r+") as opened:
        damage(opened)
    with pytest.raises(StoreError, match=message) as raised:
        read_everything(file)
    assert str(raised.value).startswith(f"{file}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("mode", ["r", "r+", "a"])
@pytest.mark.parametrize("locking", [None, True, False, "best-effort"])
def test_a_store_that_is_open_elsewhere_in_the_process_loads(mode, locking, original, file):
    with h5py.File(file, mode, locking=locking) as opened:
        assert read_everything(file).same_content(original)
        assert opened["tokens"].size == original.num_branches  # and the other one stays open
    assert read_everything(file).same_content(original)


def small(
    golds: tuple[str | None, ...] = ("1",),
    probes: tuple[str | None, ...] = ("1",),
    attributes: dict[str, object] | None = None,
) -> Any:
    questions = [Question("", gold, [Branch(probes, 9, "1"), Branch(probes, 7, None)]) for gold in golds]
    return build_store(questions, model="m", benchmark="b", interval_tokens=10, attributes=attributes)


@pytest.mark.parametrize(
    ("store", "extensions"),
    [
        (small(), None),
        (small(golds=("1", None)), "unlabelled"),
        (small(probes=()), "unprobed"),
        (small(probes=(None,), attributes={"probes": "none"}), "probeless"),
        (small(golds=(None,), probes=(), attributes={"probes": "none"}), "unlabelled unprobed probeless"),
        (build_store([Question("", None, [Branch([], 1, None)])], model="m", benchmark="b", interval_tokens=1), "both"),
    ],
)
def test_what_older_releases_do_not_know_is_an_extension_that_the_file_names(store, extensions, tmp_path):
    path = store.save(tmp_path / "small.h5")
    loaded = read_everything(path)
    assert loaded.same_content(store)
    assert (loaded.has_probes, loaded.labelled.tolist()) == (store.has_probes, store.labelled.tolist())
    assert loaded.save(tmp_path / "again.h5").read_bytes() == path.read_bytes()
    with h5py.File(path) as opened:
        named = opened.attrs.get("extensions", b"").decode()
    assert named == {None: "", "both": "unlabelled unprobed"}.get(extensions, extensions)


@pytest.mark.parametrize(
    ("extensions", "message"),
    [
        ("probeless", 'extensions: expected probeless where attributes have probes "none" and only there'),
        ("unlabelled signed", r"extensions: expected some of .*, got signed \(made by another release\?\)"),
        (3, "extensions: expected text, got"),
    ],
)
def test_an_extension_that_is_unknown_or_not_true_is_refused(extensions, message, file):
    with h5py.File(file, "r+") as opened:
        opened.attrs["extensions"] = extensions
    with pytest.raises(StoreError, match=message):
        ReplayStore.load(file)


def test_a_store_without_probes_shows_nothing_before_the_end():
    with pytest.raises(StoreError, match=r"probes\[0\]: expected -1 in a store without probes, got 0"):
        small(attributes={"probes": "none"})


def test_what_is_no_store_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"absent\.h5: no such file"):
        ReplayStore.load(tmp_path / "absent.h5")
    with pytest.raises(StoreError, match="expected a readable HDF5 store"):
        ReplayStore.load(tmp_path)
    for data in (b"", b"not HDF5", b"\x89HDF\r\n\x1a\n"):
        (tmp_path / "junk.h5").write_bytes(data)
        with pytest.raises(StoreError, match=r"junk\.h5: expected a readable HDF5 store"):
            ReplayStore.load(tmp_path / "junk.h5")
    with pytest.raises(StoreError, match="no such file"):
        ReplayStore.load(tmp_path / "junk.h5" / "below.h5")
    with pytest.raises(StoreError, match="expected a path"):
        ReplayStore.load("nul\0byte.h5")


def test_a_place_that_cannot_be_written_is_an_error_that_names_it(original, file, tmp_path):
    for target in (file / "below.h5", tmp_path):
        with pytest.raises(AutottsError, match=f"{target}: cannot be written"):
            original.save(target)
        with pytest.raises(AutottsError, match=f"{target}: cannot be written"):
            original.to_autotts_json(target)
    assert [path.name for path in tmp_path.iterdir()] == ["store.h5"]


def test_a_file_that_changed_under_an_open_store_is_noticed(file):
    store = ReplayStore.load(file)
    os.utime(file, ns=(1, 1))
    with pytest.raises(StoreError, match="questions/bytes: expected the file as it was when opened"):
        _ = store.questions
    file.unlink()
    with pytest.raises(StoreError, match="no such file"):
        store.answers(0)


def test_text_damaged_on_disk_is_an_error_when_it_is_read(file):
    with h5py.File(file) as opened:
        at = opened["answers/bytes"].id.get_chunk_info(0).byte_offset
    data = bytearray(file.read_bytes())
    data[at + 5] ^= 1
    file.write_bytes(data)
    store = ReplayStore.load(file)
    with pytest.raises(StoreError, match="answers/bytes: expected readable data"):
        store.answers(0)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Returns ``data`` with a bit flipped, bytes overwritten, zeroed or removed, or the end cut off."""
    out = bytearray(data)
    at, length = rng.randrange(len(out)), rng.randrange(1, 200)
    match rng.choice(["bit", "bit", "bit", "write", "zero", "remove", "cut"]):
        case "bit":
            out[at] ^= 1 << rng.randrange(8)
        case "write":
            for _ in range(length // 8 + 1):
                out[rng.randrange(len(out))] = rng.randrange(256)
        case "zero":
            out[at : at + length] = bytes(len(out[at : at + length]))
        case "remove":
            del out[at : at + length]
        case "cut":
            del out[at:]
    return bytes(out)


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_file_either_reads_the_same_or_is_a_store_error(seed, original, file):
    whole = file.read_bytes()
    rng = random.Random(seed)
    refused = 0
    for _ in range(300):
        file.write_bytes(damaged(whole, rng))
        try:
            store = read_everything(file)
        except StoreError:
            refused += 1
        else:
            assert store.same_content(original)
    assert refused > 100


def test_every_truncation_is_refused(file):
    whole = file.read_bytes()
    for end in range(0, len(whole), 61):
        file.write_bytes(whole[:end])
        with pytest.raises(StoreError):
            read_everything(file)
