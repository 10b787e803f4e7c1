"""Objects of users by reference: found, imported, pickled, and refused in one sentence."""

import pickle
import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from autotts_gym import evaluate, make_controller, synthesize
from autotts_gym.controllers import registry
from autotts_gym.errors import AutottsError, ControllerError
from autotts_gym.extensions import is_reference, load

OWN = """
from autotts_gym.engine.layout import RUNNING


class Stops:
    name = "stops"

    def __init__(self, reads=1):
        self.reads = reads

    @property
    def params(self):
        return {"reads": self.reads}

    def begin(self, revealed):
        return None

    def decide(self, revealed, memory, plan):
        running = revealed.pools["stop_reason"] == RUNNING
        fresh = revealed.pools["opened"] == 0
        plan.read[:] = (running & fresh) * self.reads
        plan.stop[:] = running & ~fresh


NUMBER = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a folder" / "mine.py"
    path.parent.mkdir()
    path.write_text(OWN)
    return path


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("mine.py:Stops", True),
        ("/a b/mine.py:Stops", True),
        ("C:\\\\x\\\\mine.py:Stops", True),
        ("package.module:thing", True),
        ("mine.py", False),
        ("cmc", False),
        ("mine.py:", False),
        (":x", False),
        ("mine.py:not a name", False),
        ("no module:x", False),
        (3, False),
        (None, False),
    ],
)
def test_what_is_a_reference(text: object, good: bool) -> None:
    assert is_reference(text) == good


def test_an_object_of_a_file_or_of_a_module_is_found(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load("x", f"{file}:NUMBER") == 3
    monkeypatch.chdir(file.parent)
    assert load("x", "mine.py:Stops") is load("x", f"{file}:Stops"), "one file is one module"
    assert load("x", "math:pi") == pytest.approx(3.14159, abs=1e-5)


@pytest.mark.parametrize(
    ("text", "reference", "message"),
    [
        ("", "nowhere.py:x", r"^x: expected a file, got 'nowhere\.py', which is none$"),
        ("", "nowhere_at_all:x", r"^x: nowhere_at_all:x cannot be imported: ModuleNotFoundError: "),
        ("a = 1", "written.py:b", r"^x: expected 'b' to be defined in .*written\.py$"),
        ("1 / 0", "written.py:b", r"^x: .*written\.py:b cannot be imported: ZeroDivisionError: division by zero$"),
        ("raise SystemExit(0)", "written.py:b", r"^x: .*written\.py:b cannot be imported: SystemExit: 0$"),
        ("def", "written.py:b", r"^x: .*written\.py:b cannot be imported: SyntaxError: "),
        ("", "no reference", r"^x: expected module:object or path\.py:object, got 'no reference'$"),
    ],
)
def test_what_cannot_be_found_is_one_sentence(
    text: str, reference: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("written.py").write_text(text)
    with pytest.raises(AutottsError, match=message) as caught:
        load("x", reference)
    assert "\n" not in str(caught.value)


def test_a_class_of_a_file_is_a_controller_and_is_played_by_worker_processes(file: Path) -> None:
    controller = make_controller(f"{file}:Stops", reads=3)
    store = synthesize(6, 8, seed=1)
    one, two = (evaluate(controller, store, seeds=range(40), workers=workers) for workers in (1, 2))
    assert one.controller == "stops"
    assert (one.branches_opened == 3).all()
    assert (one.total_tokens == two.total_tokens).all()
    assert (one.total_tokens == evaluate(make_controller("sc", branches=3), store, seeds=range(40)).total_tokens).all()


def test_a_package_brings_a_controller_by_an_entry_point(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(file.parent)
    brought = EntryPoint("stops", "mine:Stops", registry.ENTRY_POINTS)
    known = EntryPoints([brought])
    monkeypatch.setattr(registry, "entry_points", known.select)
    assert make_controller("stops", reads=2).params == {"reads": 2}
    with pytest.raises(ControllerError, match=r"controller: expected one of .* got 'starts'"):
        make_controller("starts")


def test_what_is_no_controller_is_refused(file: Path) -> None:
    with pytest.raises(ControllerError, match=r"mine\.py:Stops: .*unexpected keyword argument 'beta'"):
        make_controller(f"{file}:Stops", beta=0.5)
    with pytest.raises(ControllerError, match=r"mine\.py:NUMBER: expected a class of a controller, got 3"):
        make_controller(f"{file}:NUMBER")
    with pytest.raises(ControllerError, match=r"expected a controller, got OrderedDict without name, params, begin"):
        make_controller("collections:OrderedDict")
    with pytest.raises(ControllerError, match=r"expected 'Nope' to be defined in"):
        make_controller(f"{file}:Nope")


def test_another_process_unpickles_what_a_file_defines(file: Path) -> None:
    data = pickle.dumps(make_controller(f"{file}:Stops", reads=2))
    program = "import pickle, sys; print(pickle.load(sys.stdin.buffer).params)"
    done = subprocess.run([sys.executable, "-c", program], input=data, capture_output=True, check=True)
    assert done.stdout == b"{'reads': 2}\n"
