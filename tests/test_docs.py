"""What the documents say of the repository: files, links, commands and code."""

import ast
import importlib
import importlib.util
import re
import shlex
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "agents" / "trained" / "README.md",
    ROOT / "benchmarks" / "README.md",
    ROOT / "trajectories" / "README.md",
]
FOLDERS = "autotts_gym|agents|benchmarks|docs|examples|notebooks|tests|trajectories"
BLOCK = re.compile(r"(?:<!-- (\S+) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
AGENTS_EXTRA = all(find_spec(name) for name in ("torch", "sb3_contrib", "tensorboard", "optuna"))

documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())


def code(document: Path) -> list[str]:
    """The lines of shell blocks and the spans between backticks."""
    text = document.read_text()
    lines = [line for _, kind, body in BLOCK.findall(text) if kind == "bash" for line in body.splitlines()]
    return lines + re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))


def commands(document: Path) -> list[tuple[str, list[str]]]:
    """The commands of this repository, ``autotts X`` and ``agents.X``, with their options."""
    found = []
    for line in code(document):
        for match in re.finditer(r"(?:^|[\s/])(?:python3? -m (agents\.[\w.]+)|autotts (\w+))([^`]*)", line):
            words = shlex.split(re.split(r" && |;", match[3])[0], comments=True)
            options = [word.split("=")[0] for word in words if word.startswith("--")]
            found.append((match[1] or f"autotts {match[2]}", options))
    return found


def tree() -> set[str]:
    """Every file and folder that the tree of docs/architecture.md names."""
    (body,) = (b for _, _, b in BLOCK.findall((ROOT / "docs" / "architecture.md").read_text()) if b[:6] == "autott")
    named, above = set(), []
    for line in body.splitlines():
        entry = re.match(r"( *)([^\s,]+(?:, [^\s,]+)*)(?: |$)", line)
        assert entry, line
        depth = len(entry[1]) // 2
        for name in entry[2].split(", "):
            named.add("".join([*above[:depth], name]))
        above = [*above[:depth], name]
    return named


def test_the_tree_of_the_architecture_is_the_one_on_disk():
    named = tree()
    modules = {
        path.relative_to(ROOT).as_posix()
        for folder in ("autotts_gym", "agents")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "__init__.py"
    }
    assert {name for name in named if name.endswith(".py")} == modules
    assert [name for name in named if name.endswith("/") and not (ROOT / name).is_dir()] == []


@documents
def test_links_lead_somewhere(document):
    for target, heading in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", document.read_text()):
        if "://" in target:
            continue
        file = document.parent / target if target else document
        assert file.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings]


@documents
def test_files_that_are_named_exist(document):
    for line in code(document):
        for name in re.findall(rf"(?<![\w./-])((?:{FOLDERS})/[\w./-]+)", line):
            assert (ROOT / name).exists(), name


def test_commands_are_found_where_there_are_some():
    found = {command for document in DOCUMENTS for command, _ in commands(document)}
    assert {"autotts diagnose", "autotts benchmark", "agents.train", "agents.explorer", "agents.benchmark"} <= found


@documents
def test_commands_and_their_options_exist(document, capsys, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.setenv("COLUMNS", "200")
    helps: dict[str, str] = {}
    for command, options in commands(document):
        if command not in helps:
            helps[command] = help_of(command, capsys)
        for option in options:
            if helps[command]:
                assert re.search(rf"(?<!\S){option}(?![\w-])", helps[command]), f"{command} {option}"


def help_of(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command prints for ``--help``; empty where its extra is not installed."""
    if command.startswith("autotts "):
        from autotts_gym.cli.main import main

        arguments = [command.split()[1], "--help"]
    else:
        module = ROOT.joinpath(*command.split("."))
        file = module.with_suffix(".py") if module.with_suffix(".py").exists() else module / "__main__.py"
        assert file.exists(), f"python -m {command}"
        if not AGENTS_EXTRA:
            return ""
        name = command if file.name != "__main__.py" else f"{command}.__main__"
        main = importlib.import_module(name).main
        arguments = ["--help"]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0, command
    return capsys.readouterr().out


def test_the_options_of_proposers_are_listed_with_their_defaults(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    pytest.importorskip("openai")
    pytest.importorskip("anthropic")
    proposers = importlib.import_module("agents.explorer.proposers")
    text = (ROOT / "docs" / "explorer.md").read_text()
    text = text[text.index("## Options of proposers") :]
    for kind, (module, name, argument) in proposers._KINDS.items():
        family = getattr(importlib.import_module(f"agents.explorer.proposers.{module}"), name)
        rows = "".join(re.findall(rf"^\| .*`{kind}`.* \| .*$", text, re.MULTILINE))
        defaults = {
            parameter.name: parameter.default
            for each in family.__mro__
            if "__init__" in vars(each)
            for parameter in signature(vars(each)["__init__"]).parameters.values()
        }
        for option in set(proposers._parameters(family)) - {argument.removesuffix("?")}:
            found = re.search(rf"`{option}`(?: \((\d[\d.]*))?", rows)
            assert found, f"{kind}: {option}"
            if found[1]:
                assert float(found[1]) == defaults[option], f"{kind}: {option}"


@pytest.mark.parametrize(
    ("document", "controller"), [("README.md", "cmc"), ("docs/controllers.md", "controller"), ("docs/live.md", "cmc")]
)
def test_the_python_of_a_document_runs(document, controller, tmp_path, monkeypatch):
    """From top to bottom; a block that is marked with a name is a file."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for name, kind, body in BLOCK.findall((ROOT / document).read_text()):
        if kind == "python" and name:
            Path(name).write_text(body)
        elif kind == "python":
            exec(compile(body.replace("range(100)", "range(2)"), document, "exec"), names)
    assert names["result"].controller == controller


def test_every_document_with_python_is_run_or_repeats_what_is():
    documents = [path for path in DOCUMENTS if any(kind == "python" for _, kind, _ in BLOCK.findall(path.read_text()))]
    run = {"README.md", "docs/controllers.md", "docs/live.md"}
    repeats = {"docs/environment.md", "docs/sandbox.md"}
    assert {path.relative_to(ROOT).as_posix() for path in documents} == run | repeats
    text = "".join((ROOT / name).read_text() for name in run)
    for _, kind, body in BLOCK.findall((ROOT / "docs" / "environment.md").read_text()):
        assert not kind or [line for line in body.splitlines() if line not in text] == []


def test_the_features_are_documented_as_they_are():
    from autotts_gym.envs.single import ReplayEnv
    from autotts_gym.observation.encoding import documentation

    page = (ROOT / "docs" / "environment.md").read_text()
    assert documentation() in page, "paste what autotts_gym.observation.encoding.documentation() returns there"
    assert all(line.strip() in str(ReplayEnv.__doc__) for line in documentation().splitlines())


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= 900


def test_the_picture_of_the_rooms_is_drawn_from_the_imports():
    spec = importlib.util.spec_from_file_location("rooms", ROOT / "docs" / "rooms.py")
    rooms = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rooms)
    graph = rooms.imports()
    assert rooms.PICTURE.read_text() == rooms.picture(graph), "draw it again: python docs/rooms.py"
    assert all(name not in rooms.reach(graph, name) for name in graph)


SUMMARY = re.compile(r"(Returns|Makes|Reads|Writes|Checks|Adds|Opens|Counts|Prints|Builds|Yields|Gives|Plays) ")


def docstrings():
    """Every docstring of functions and classes, with its place."""
    for folder in ("autotts_gym", "agents", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and ast.get_docstring(node):
                    yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}", node, ast.get_docstring(node)


def test_docstrings_have_one_dialect():
    """That of Google, which ruff checks; and what ruff does not: verbs, backticks and the case behind a name."""
    wrong = []
    for where, node, text in docstrings():
        bare = re.sub(r"```.*?```|``[^`]+``", "", text, flags=re.DOTALL)
        if isinstance(node, ast.FunctionDef) and SUMMARY.match(text):
            wrong.append(f"{where}: {text.splitlines()[0]}")
        if "`" in bare:
            wrong.append(f"{where}: single backticks")
        for section in re.findall(r"^(?:Args|Attributes|Raises):\n((?:[ ]+.*\n?|\n)+)", text, re.MULTILINE):
            entries = re.findall(r"^ {4}([\w*]+): ([A-Z][a-z]+ [a-z].*)", section, re.MULTILINE)
            wrong += [f"{where}: {name}: {said}" for name, said in entries if not said.startswith(("Optuna", "Beta"))]
    assert wrong == []
