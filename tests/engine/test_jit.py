"""The compile cache is stale as soon as any source of compiled code changes."""

import ast
import re
from pathlib import Path

import pytest

import autotts_gym
from autotts_gym.engine import cache

PACKAGE = Path(autotts_gym.__file__).parent


def file_of(module: str) -> Path | None:
    path = PACKAGE.parent / module.replace(".", "/")
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def imported(file: Path) -> set[Path]:
    """The files of the package that a file imports from."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("autotts_gym"):
            for name in node.names:
                found.add(file_of(f"{node.module}.{name.name}") or file_of(str(node.module)))
    return {path for path in found if path is not None}


def files_of_kernels() -> set[Path]:
    """Every file in which a function is compiled."""
    return {path for path in PACKAGE.rglob("*.py") if re.search(r"^@(kernel|inline)\b", path.read_text(), re.MULTILINE)}


def compiled_sources() -> set[Path]:
    """Every file of kernels, and all of the package that their code and constants come from."""
    sources, new = set(), files_of_kernels()
    while new:
        sources |= new
        new = set().union(*map(imported, new)) - sources
    return sources


def test_the_digest_covers_every_source_of_compiled_code(monkeypatch: pytest.MonkeyPatch):
    read: set[Path] = set()
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.add(path) or read_bytes(path))
    cache._digest()
    assert {file.relative_to(PACKAGE).as_posix() for file in compiled_sources() - read} == set()


def test_the_digest_changes_with_any_file_of_kernels(monkeypatch: pytest.MonkeyPatch):
    read_bytes = Path.read_bytes
    files = sorted(files_of_kernels())
    assert len(files) >= 10
    digests = {cache._digest()}
    for changed in files:
        monkeypatch.setattr(
            Path, "read_bytes", lambda path, changed=changed: read_bytes(path) + b"#" * (path == changed)
        )
        digests.add(cache._digest())
    assert len(digests) == 1 + len(files)


def test_every_kernel_carries_the_digest_in_its_stamp():
    from autotts_gym.engine import transition

    stamp = transition.act_all._cache._cache_file._source_stamp
    assert cache.DIGEST in stamp
