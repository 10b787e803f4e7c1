"""The journal: what is written is read back, cut or damaged at any byte it is never misread, and one process writes."""

import errno
import os
import subprocess
import sys
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotts_gym.collection.journal import FORM, JournalError, JournalWriter, Record, lock_file, read_journal

RECORDS = [
    Record("settings", {"x": 1, "text": "é \ud83d"}),
    Record("branch", {"question": 0, "branch": 0}, {"ids": np.arange(7, dtype=np.int32), "z": np.zeros(0, np.float16)}),
    Record("probe", {"at": 3, "text": "4}"}),
]


def write(path: Path, records=RECORDS) -> bytes:
    with JournalWriter(path) as journal:
        for record in records:
            journal.add(record)
    return path.read_bytes()


def _keep(seen: list[tuple[Record, int]], record: Record, place: int) -> None:
    seen.append((record, place))


def same(one: Record, other: Record) -> bool:
    return (
        (one.kind, dict(one.values), list(one.arrays)) == (other.kind, dict(other.values), list(other.arrays))
        and all(np.array_equal(one.arrays[name], other.arrays[name]) for name in one.arrays)
        and all(one.arrays[name].dtype == other.arrays[name].dtype for name in one.arrays)
    )


def test_records_are_read_back_and_found_by_their_places(tmp_path):
    path = tmp_path / "deep" / "a.journal"
    write(path)
    found = list(read_journal(path))
    assert all(same(record, kept) for (record, _), kept in zip(found, RECORDS, strict=True))
    with JournalWriter(path) as journal:
        assert all(same(journal.read(place), kept) for (_, place), kept in zip(found, RECORDS, strict=True))


def test_a_journal_cut_anywhere_gives_the_records_before_the_cut_and_goes_on(tmp_path):
    path = tmp_path / "a.journal"
    data = write(path)
    ends = [*(place for _, place in list(read_journal(path))[1:]), len(data)]
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        whole = sum(end <= cut for end in ends)
        assert [record.kind for record, _ in read_journal(path)] == [record.kind for record in RECORDS[:whole]]
        seen: list[tuple[Record, int]] = []
        with JournalWriter(path, partial(_keep, seen)) as journal:
            assert len(seen) == whole
            for record in RECORDS[whole:]:
                journal.add(record)
        assert path.read_bytes() == data


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_changed_byte_is_refused_and_never_misread(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("journal") / "a.journal"
    whole = write(path)
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(changed)
    with pytest.raises(JournalError, match=r"a\.journal"):
        list(read_journal(path))


def test_every_single_bit_matters(tmp_path):
    path = tmp_path / "a.journal"
    whole = write(path, RECORDS[:2])
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(JournalError):
            list(read_journal(path))


def test_zeros_at_the_end_are_what_a_power_cut_leaves(tmp_path):
    path = tmp_path / "a.journal"
    whole = write(path)
    path.write_bytes(whole + bytes(5000))
    assert len(list(read_journal(path))) == 3
    path.write_bytes(whole + bytes(5000) + b"x")
    with pytest.raises(JournalError, match="damaged"):
        list(read_journal(path))
    path.write_bytes(whole + bytes(50))
    write(path, [])
    assert path.read_bytes() == whole


@pytest.mark.parametrize("data", [b"hello, this is no journal", b"\x89HDF\r\n\x1a\n" * 4])
def test_another_file_is_refused_and_kept(tmp_path, data):
    path = tmp_path / "a.journal"
    path.write_bytes(data)
    with pytest.raises(JournalError, match="expected a journal"):
        JournalWriter(path)
    assert path.read_bytes() == data


def test_a_body_that_is_no_record_is_refused(tmp_path):
    path = tmp_path / "a.journal"
    for text in (b"[1]", b'{"kind": "x"}', b'{"kind":"x","values":{},"arrays":{"a":["<i4",9]}}\n1234', b"{" * 99_999):
        body = zlib.compress(text)
        head = len(body).to_bytes(4, "little") + zlib.crc32(body).to_bytes(4, "little")
        path.write_bytes(FORM + head + zlib.crc32(head).to_bytes(4, "little") + body)
        with pytest.raises(JournalError, match="expected a record"):
            list(read_journal(path))


def test_two_processes_never_write_one_journal(tmp_path):
    path = tmp_path / "a.journal"
    code = (
        "import sys; from pathlib import Path; from autotts_gym.collection.journal import *\n"
        "with JournalWriter(Path(sys.argv[1])) as j:\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(JournalError, match="another process writes"):
            JournalWriter(path)
        other.kill()  # as kill -9
        other.wait(10)
        write(path)
        assert len(list(read_journal(path))) == 3
    finally:
        other.kill()
        other.wait(10)
        other.stdin.close()
        other.stdout.close()


def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path):
    path = tmp_path / "a.journal"
    whole = write(path)
    with JournalWriter(path) as journal:
        real = journal._file

        class Full:
            """Takes some bytes, and then no more."""

            left = 10

            def write(self, data):
                if not self.left:
                    raise OSError(errno.ENOSPC, "No space left on device")
                count = real.write(bytes(data[: self.left]))
                self.left -= count
                return count

            def __getattr__(self, name):
                return getattr(real, name)

        journal._file = Full()
        with pytest.raises(JournalError, match="No space left"):
            journal.add(RECORDS[1])
        assert path.read_bytes() == whole
        journal._file = real
        journal.add(RECORDS[1])
    assert len(list(read_journal(path))) == 4


def test_errors_name_the_file(tmp_path):
    with pytest.raises(JournalError, match=r"none\.journal"):
        list(read_journal(tmp_path / "none.journal"))
    folder = tmp_path / "folder.journal"
    folder.mkdir()
    with pytest.raises(JournalError, match=r"folder\.journal"):
        JournalWriter(folder)
    (tmp_path / "file").write_text("x")
    with pytest.raises(JournalError, match="cannot be written"):
        JournalWriter(tmp_path / "file" / "a.journal")


def test_what_was_added_outlives_the_process(tmp_path):
    path = tmp_path / "a.journal"
    code = (
        "import os, sys; from pathlib import Path; from autotts_gym.collection.journal import *\n"
        "j = JournalWriter(Path(sys.argv[1]))\n"
        "j.add(Record('settings', {})); j.add(Record('probe', {'at': 1})); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    assert [record.kind for record, _ in read_journal(path)] == ["settings", "probe"]
    assert os.path.exists(lock_file(path))
    write(path)
