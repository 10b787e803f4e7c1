"""Installing, running, installing again as editable and uninstalling, with real pip in a fresh environment."""

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COMPILE = """
import numpy as np
from autotts_gym.engine import layout
from autotts_gym.sandbox.messages import find_growth

pools, slots = np.zeros(1, layout.POOL), np.zeros((1, 2), layout.SLOT)
words = [np.zeros(2, np.int64) for _ in range(3)]
print(find_growth(pools, slots, np.zeros(1, np.int64), np.zeros((1, 2), np.int32), *words))
"""
WHERE = "import autotts_gym; print(autotts_gym.__file__); print(autotts_gym.load_store('tiny/search').name)"


def run(*command, **options):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The files of the checkout that are not ignored."""
    folder = tmp_path_factory.mktemp("checkout") / "source"
    names = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).split("\0")
    for name in names:
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


@pytest.fixture
def environment(tmp_path):
    """A fresh virtual environment whose dependencies are the packages of this one: no network is needed."""
    venv.create(tmp_path / "venv", with_pip=False)
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    packages = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (site / "dependencies.pth").write_text("\n".join(packages) + "\n")
    return tmp_path / "venv" / "bin" / "python", site


def variables(tmp_path):
    """Those of a user, with a cache folder of the test's own."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "AUTOTTS", "NUMBA"))}
    return {**own, "XDG_CACHE_HOME": str(tmp_path / "cache")}


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_installed_run_installed_as_editable_and_uninstalled_leaves_nothing(source, environment, tmp_path):
    python, site = environment
    options = {"cwd": tmp_path, "env": variables(tmp_path)}
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    install = (*pip, "install", "--no-index", "--no-deps", "--no-build-isolation")
    before = files(site)

    run(*install, source, **options)
    installed = files(site / "autotts_gym")
    assert "py.typed" in installed
    assert not [name for name in installed if name.startswith("tests") or name.endswith(("nbi", "nbc"))]
    assert run(python, "-c", COMPILE, **options) == "0\n"
    assert list((tmp_path / "cache").rglob("*.nbc"))
    beside = {name for name in files(site / "autotts_gym") - installed if not name.endswith(".pyc")}
    assert beside == set()

    run(*install, "--editable", source, **options)
    assert not (site / "autotts_gym").exists()
    where, store = run(python, "-c", WHERE, **options).splitlines()
    assert Path(where) == source / "autotts_gym" / "__init__.py"
    assert store == "tiny/search"

    run(*pip, "uninstall", "--yes", "autotts_gym", **options)
    assert files(site) == before
    assert not [path for path in source.rglob("*") if path.suffix in (".nbi", ".nbc")]


def test_wheel_and_source_distribution_hold_what_belongs_in_them(source, tmp_path):
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path, source, env=variables(tmp_path))
    (wheel,) = tmp_path.glob("*.whl")
    (archive,) = tmp_path.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"autotts_gym"}
    stores = {path.relative_to(ROOT).as_posix() for path in (ROOT / "trajectories").rglob("*.h5")}
    code = {path.relative_to(ROOT).as_posix() for path in (ROOT / "autotts_gym").rglob("*.py")}
    assert {f"autotts_gym/{name}" for name in stores} | code | {"autotts_gym/py.typed"} <= names
    with tarfile.open(archive) as opened:
        inside = {name.partition("/")[2] for name in opened.getnames()}
    assert stores | code | {"README.md", "LICENSE", "setup.cfg", "pyproject.toml", "autotts_gym/py.typed"} <= inside
