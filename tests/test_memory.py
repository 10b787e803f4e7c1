"""What cannot fit into memory is refused by an estimate."""

import subprocess
import sys
from pathlib import Path

import pytest

from autotts_gym import memory
from autotts_gym.errors import AutottsError
from autotts_gym.memory import available_memory, require_memory


def test_what_fits_is_let_through_and_what_does_not_is_refused_with_both_amounts() -> None:
    require_memory("seeds: 3 orders", 10**6)
    with pytest.raises(
        AutottsError, match=r"^seeds: 3 orders: expected to fit .*, \d[\d.,]* [GMT]iB, got .* 9\.1 EiB$"
    ):
        require_memory("seeds: 3 orders", 91 * 2**60 // 10)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (1023, "1,023 bytes"),
        (1024, "1.0 KiB"),
        (1536 * 2**20, "1.5 GiB"),
        (2**70, "1,024 EiB"),
        (10**400, "over 1,000,000,000 EiB"),
    ],
)
def test_amounts_are_printed_in_units_to_read(size: int, words: str) -> None:
    assert memory._amount(size) == words


def test_the_machine_has_some_memory() -> None:
    assert 2**20 < available_memory() <= sys.maxsize


def test_the_tightest_control_group_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outer, inner = tmp_path / "a", tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    for group, top in ((outer, "100000"), (inner, "max")):
        (group / "memory.max").write_text(f"{top}\n")
        (group / "memory.current").write_text("60000\n")
        (group / "memory.stat").write_text("anon 5\ninactive_file 2000\n")
    read = memory._lines

    def lines(file: Path) -> list[str]:
        return ["0::/a/b"] if file == Path("/proc/self/cgroup") else read(file)

    monkeypatch.setattr(memory, "_CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "_lines", lines)
    assert available_memory() == 42000


def test_without_proc_the_memory_of_the_machine_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_lines", lambda file: [])
    assert 2**20 < available_memory() <= sys.maxsize


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limits")
def test_a_limit_on_the_addresses_of_the_process_counts() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**29, 2**29)); "
        "from autotts_gym.memory import available_memory; print(2**20 < available_memory() < 2**29 - 2**23)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "True\n"
