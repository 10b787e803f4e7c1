"""The package as it is installed: its wheel, its imports, its layers."""

import ast
import configparser
import os
import subprocess
import sys
import sysconfig
import venv
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "autotts_gym"


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=True, **options).stdout


def clean_environment():
    """The environment of a user: nothing that points into the checkout."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "AUTOTTS"))}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A virtual environment outside the checkout with the wheel in it and the dependencies of this one beside it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    names = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).split("\0")
    for name in names:
        if name and (ROOT / name).is_file():
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-build-isolation", "--no-deps", "-w", str(folder), str(source))
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=False)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    # A .pth in this folder makes the dependencies importable, but not the editable install, which is a .pth of its own.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run(*pip, "install", "--no-deps", "--no-index", "--target", str(site), str(wheel))
    return folder / "venv" / "bin" / "python"


def test_the_wheel_works_outside_the_checkout_with_the_store_that_ships(installed, tmp_path):
    code = (
        "import gymnasium as gym, autotts_gym; "
        "env = gym.make('AutoTTS-Replay-v0'); env.reset(seed=0); env.step(1); "
        "from autotts_gym import evaluate, make_controller; "
        "result = evaluate(make_controller('sc', branches=4), seeds=range(1)); "
        "print(autotts_gym.__file__); print(result.correct.shape)"
    )
    where, shape = run(installed, "-c", code, cwd=tmp_path, env=clean_environment()).splitlines()
    assert not where.startswith(str(ROOT))
    assert shape == "(1, 30)"


def test_the_command_of_the_wheel_shows_the_store_that_ships(installed, tmp_path):
    command = (installed, "-m", "autotts_gym.cli.main", "info", "tiny/search")
    assert "autotts collect" in run(*command, cwd=tmp_path, env=clean_environment())


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, autotts_gym; print(*sys.modules)"
    loaded = set(run(sys.executable, "-c", code).split())
    heavy = {"numba", "h5py", "matplotlib", "rich", "torch", "stable_baselines3", "scipy", "aiohttp", "agents"}
    assert not loaded & heavy


def test_every_public_name_can_be_imported():
    import autotts_gym

    for name in autotts_gym.__all__:
        assert getattr(autotts_gym, name) is not None
    assert set(autotts_gym.__all__) <= set(dir(autotts_gym))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = autotts_gym.nothing


def imports(path, at_import=False):
    """Names of the modules that a file imports: wherever in it, or when it is imported itself."""
    tree = ast.parse(path.read_text())
    for node in tree.body if at_import else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


LAYERS = (
    *("extensions", "replay", "engine", "observation", "actions"),
    *("sandbox", "controllers", "envs", "evaluation", "models", "collection", "live", "cli"),
)
MAY_IMPORT = {
    "extensions": {"extensions"},
    "replay": {"extensions", "replay"},
    "engine": {"extensions", "replay", "engine"},
    "observation": {"extensions", "engine", "observation"},
    "actions": {"extensions", "engine", "actions"},
    "sandbox": {"replay", "engine", "sandbox"},
    "controllers": {"extensions", "replay", "engine", "observation", "actions", "sandbox", "controllers"},
    "envs": {"replay", "engine", "observation", "actions", "models", "collection", "live", "envs"},
    "evaluation": {"replay", "engine", "sandbox", "controllers", "evaluation"},
    "models": {"models"},
    "collection": {"extensions", "replay", "models", "collection"},
    "live": {"replay", "engine", "controllers", "evaluation", "models", "collection", "live"},
    "cli": set(LAYERS),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_dependencies_point_downwards(layer):
    for path in (PACKAGE / layer).rglob("*.py"):
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "autotts_gym" and len(parts) > 1 and parts[1] in LAYERS:
                assert parts[1] in MAY_IMPORT[layer], f"{path.name} imports {name}"
            assert parts[0] != "agents", f"{path.name} imports {name}"
            if layer not in ("envs", "cli"):
                assert parts[0] != "gymnasium", f"{path.name} imports {name}"


def modules(*tops):
    """The files of packages, by the names of their modules."""
    found = {}
    for path in (path for top in tops for path in (ROOT / top).rglob("*.py")):
        found[".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")] = path
    return found


def imported(path, known):
    """The modules among the known that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in known else node.module for name in names)


def test_no_module_imports_itself_by_way_of_others():
    known = modules("autotts_gym", "agents")
    graph = {name: {*imported(path, known)} & {*known} - {name} for name, path in known.items()}
    while free := [name for name, needs in graph.items() if not needs]:
        graph = {name: needs - {*free} for name, needs in graph.items() if name not in free}
    assert {name: needs & {*graph} for name, needs in graph.items()} == {}


@pytest.mark.parametrize("layer", LAYERS)
def test_no_module_needs_the_agents_extra_to_be_imported(layer):
    for path in (PACKAGE / layer).rglob("*.py"):
        heavy = {"torch", "stable_baselines3", "sb3_contrib", "tensorboard"}
        assert not heavy & {name.split(".")[0] for name in imports(path, at_import=True)}, path.name


def test_the_packages_of_setup_cfg_are_those_of_the_tree():
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in PACKAGE.rglob("__init__.py")}
    assert listed == found | {"autotts_gym.trajectories"}


def test_the_version_is_the_same_everywhere():
    import autotts_gym

    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    assert config["metadata"]["version"] == "attr: autotts_gym.version.__version__"
    assert metadata.version("autotts_gym") == autotts_gym.__version__
    assert f"## [{autotts_gym.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
