"""The process that reads a program's text: parses, checks and compiles it, and never runs it.

It is executed as a script, with bounded memory and time and, on Linux, confined as programs are: a text can be written
to strain the parser, and then harms this process only. It reads a line of JSON and the text, and writes a line of JSON.
Standard library only.
"""

import ast
import hashlib
import importlib
import inspect  # noqa: F401  ast looks docstrings up with it, and a confined process can load nothing
import json
import marshal
import sys
import unicodedata  # noqa: F401  the parser needs it for \N{...}
import warnings
from collections.abc import Iterator
from typing import Any

if sys.version_info >= (3, 12):
    import _pylong  # noqa: F401  int() needs it for long texts, and a confined process can load nothing

DEEP = 50_000
"""Recursion of the checks, which are Python, on a tree that the parser accepted at its own limit."""

_CONTAINERS = (ast.Tuple, ast.List, ast.Set, ast.Dict)


class RefusedError(Exception):
    """What is wrong with a text, and its line."""


def main() -> None:
    """Answer the request on standard input."""
    settings = json.loads(sys.stdin.buffer.readline())
    data = sys.stdin.buffer.read()
    if sys.platform == "linux":
        confinement = importlib.import_module("confinement")  # beside this file
        limits = (settings["memory"], settings["memory"], settings["cpu_seconds"])
        confinement.confine(limits, frozenset(settings["layers"]))
    warnings.simplefilter("ignore")
    answer: dict[str, Any] = {"refused": None}
    try:
        read(data, settings, answer)
    except RefusedError as refused:
        answer["refused"] = refused.args
    sys.stdout.write(json.dumps(answer))


def read(data: bytes, settings: dict[str, Any], answer: dict[str, Any]) -> None:
    """Fill in the answer, up to the first error of the text.

    Raises:
        RefusedError: the text does not pass.
    """
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode().replace("\r\n", "\n").replace("\r", "\n")
        tree = ast.parse(text)
    except SyntaxError as error:
        raise RefusedError(f"cannot be parsed: {error.msg}", error.lineno) from None
    except (RecursionError, MemoryError):
        raise RefusedError("cannot be parsed: nested too deeply", None) from None
    except ValueError as error:
        raise RefusedError(f"cannot be parsed: {error}", None) from None
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(DEEP)
    sys.set_int_max_str_digits(0)
    documented = ast.get_docstring(tree) or ""
    answer["text"] = text
    answer["doc"] = documented.encode(errors="replace").decode()
    answer["syntax"] = syntax(ast.parse(text))
    tree.body = list(_without_what_never_runs(tree.body))
    answer["packages"] = check_names(tree, settings)
    answer["style"] = style(tree)
    if answer["style"] == "program":
        check_functions(tree)
        if not documented.strip():
            raise RefusedError("expected a docstring that says what it does", 1)
    answer["literals"] = literals(tree, text)
    sys.setrecursionlimit(limit)
    try:  # which finds what parsing does not: a return outside a function, a name that is two arguments
        code = compile(tree, settings["filename"], "exec", dont_inherit=True)
        answer["code"] = marshal.dumps(code).hex()
    except SyntaxError as error:
        raise RefusedError(f"cannot be compiled: {error.msg}", error.lineno) from None
    except (RecursionError, MemoryError):
        raise RefusedError("cannot be compiled: nested too deeply", None) from None
    except (ValueError, OverflowError) as error:
        raise RefusedError(f"cannot be compiled: {error}", None) from None


def syntax(tree: ast.Module) -> str:
    """A digest of a program without its comments, layout and docstrings, which are taken from the tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            del node.body[0]
    return hashlib.sha256(ast.dump(tree).encode(errors="replace")).hexdigest()


def _without_what_never_runs(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module without ``if __name__ == "__main__"`` and ``if TYPE_CHECKING``."""
    for node in body:
        if isinstance(node, ast.If) and _never(node.test):
            yield from node.orelse
        else:
            yield node


def _never(test: ast.expr) -> bool:
    match test:
        case ast.Compare(left=ast.Name("__name__"), ops=[ast.Eq()], comparators=[ast.Constant("__main__")]):
            return True
        case ast.Compare(left=ast.Constant("__main__"), ops=[ast.Eq()], comparators=[ast.Name("__name__")]):
            return True
        case ast.Name("TYPE_CHECKING") | ast.Attribute(value=ast.Name("typing"), attr="TYPE_CHECKING"):
            return True
    return False


# ------------------------------------------------------------------------------------------------- what may be written


def check_names(tree: ast.Module, settings: dict[str, Any]) -> list[str]:
    """Import of the list only, nothing by a special name, no changes to modules; returns the packages imported.

    Raises:
        RefusedError: with the first line that is wrong.
    """
    nodes = list(ast.walk(tree))
    allowed = {*settings["modules"], *settings["packages"]}
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    aliases = [(node, alias) for node in imports for alias in node.names]
    imported = {alias.asname or alias.name.partition(".")[0] for _, alias in aliases}
    tops = {_package(node, alias) for node, alias in aliases}
    # Of special attributes, the name of a class is a text that leads nowhere.
    classes = {id(node.value) for node in nodes if isinstance(node, ast.Attribute) and node.attr == "__name__"}
    wrong: list[tuple[ast.stmt | ast.expr, str]] = []
    wrong += [(node, _wrong_import(node, alias, allowed)) for node, alias in aliases]
    for node in nodes:
        if isinstance(node, ast.Name) and node.id in settings["names"]:
            wrong.append((node, f"may not use {node.id}"))
        elif isinstance(node, ast.Attribute) and not (node.attr == "__class__" and id(node) in classes):
            wrong.append((node, _wrong_attribute(node, imported, settings["attributes"])))
    found = [(node.lineno, message) for node, message in wrong if message]
    if found:
        line, message = min(found, key=lambda each: each[0])
        raise RefusedError(message, line)
    return sorted(tops - set(settings["modules"]))


def _package(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> str:
    name = (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
    return name.partition(".")[0]


def _wrong_import(node: ast.Import | ast.ImportFrom, alias: ast.alias, allowed: set[str]) -> str:
    if isinstance(node, ast.ImportFrom):
        if node.level:
            return "may not import from a package of its own; a program is one file"
        if alias.name.startswith("_"):
            return f"may not import {alias.name}"
    if _package(node, alias) in allowed:
        return ""
    name = node.module if isinstance(node, ast.ImportFrom) else alias.name
    return f"may not import {name}; expected one of {', '.join(sorted(allowed))}"


def _wrong_attribute(node: ast.Attribute, imported: set[str], special: list[str]) -> str:
    if node.attr.startswith("__") and node.attr not in special:
        return f"may not use the attribute {node.attr}"
    changed = isinstance(node.ctx, ast.Store | ast.Del)
    if changed and isinstance(node.value, ast.Name) and node.value.id in imported:
        return f"may not change {node.value.id}, which is imported"
    return ""


def style(tree: ast.Module) -> str:
    """Whether it is a "program" (schedule and solve) or "published" (a class with ``solve(question)``).

    Raises:
        RefusedError: it is neither.
    """
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    if {"schedule", "solve"} <= functions:
        return "program"
    names = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    solving = [node.name for node in tree.body if isinstance(node, ast.ClassDef) and _solves(node)]
    if "solve" not in functions and ("OptimalController" in names or len(solving) == 1):
        return "published"
    if len(solving) > 1:
        several = ", ".join(solving)
        raise RefusedError(
            f"expected one class with solve(question), or one named OptimalController, got {several}", None
        )
    absent = " and no ".join(name for name in ("schedule", "solve") if name not in functions)
    raise RefusedError(f"expected functions schedule(beta) and solve(session, beta), found no {absent}", None)


def _solves(node: ast.ClassDef) -> bool:
    """Whether a class has the method ``solve(self, question)``."""
    methods = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "solve"]
    return any(len(method.args.args) == 2 for method in methods)


def check_functions(tree: ast.Module) -> None:
    """Check the parameters of ``schedule`` and ``solve``.

    Raises:
        RefusedError: they cannot be called as they will be.
    """
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in ("schedule", "solve"):
            expected = ["beta"] if node.name == "schedule" else ["session", "beta"]
            given = [each.arg for each in (*node.args.posonlyargs, *node.args.args)]
            required = len(node.args.args) - len(node.args.defaults)
            if len(node.args.args) < len(expected) or required > len(expected) or node.args.posonlyargs:
                message = f"expected {node.name}({', '.join(expected)}), got {node.name}({', '.join(given)})"
                raise RefusedError(message, node.lineno)


# --------------------------------------------------------------------------------------------------------- its literals


def literals(tree: ast.Module, text: str) -> dict[str, int]:
    """How much data is written out in a program; docstrings do not count, unless it reads them."""
    nodes = list(ast.walk(tree))
    spared: set[int] = set()
    if not any(isinstance(node, ast.Attribute | ast.Name) and _called(node) == "__doc__" for node in nodes):
        for node in nodes:
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                spared.add(id(node.value))
    numbers: set[str] = set()
    texts: set[str | bytes] = set()
    largest, line = 0, 1
    starts = [0]
    for each in text.encode(errors="replace").split(b"\n"):
        starts.append(starts[-1] + len(each) + 1)
    written: dict[int, bool] = {}
    for node in reversed(nodes):  # what is inside comes before what it is in
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str | bytes):
                if id(node) not in spared:
                    texts.add(node.value)
            elif type(node.value) in (int, float, complex):
                numbers.add(repr(node.value))
            written[id(node)] = id(node) not in spared
        elif isinstance(node, _CONTAINERS):
            items = [each for each in ast.iter_child_nodes(node) if isinstance(each, ast.expr)]
            written[id(node)] = all(written.get(id(each), False) for each in items)
        elif isinstance(node, ast.UnaryOp):
            written[id(node)] = written.get(id(node.operand), False)
        if written.get(id(node), False) and isinstance(node, ast.expr):
            end_line, end = node.end_lineno or node.lineno, node.end_col_offset or node.col_offset
            size = starts[end_line - 1] + end - starts[node.lineno - 1] - node.col_offset
            if size > largest:
                largest, line = size, node.lineno
    size = sum(len(each.encode(errors="replace") if isinstance(each, str) else each) for each in texts)
    return {"numbers": len(numbers), "text_bytes": size, "largest_bytes": largest, "largest_line": line}


def _called(node: ast.Attribute | ast.Name) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id


if __name__ == "__main__":
    main()
