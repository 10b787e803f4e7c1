"""The text of a program: read, recognised and checked before anything of it runs.

The checks are for clear messages and good manners; what a program can do is bounded by its process, not by them.
"""

import ast
import hashlib
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any, NoReturn

from autotts_gym.errors import ProgramError, plain
from autotts_gym.sandbox.protocol import ALLOWED_MODULES, FORBIDDEN_BUILTINS, SPECIAL_ATTRIBUTES

MAX_BYTES = 1 << 18

FORBIDDEN_NAMES = FORBIDDEN_BUILTINS | {"__builtins__", "__import__", "__loader__", "__spec__"}


@dataclass(frozen=True)
class Source:
    """A program that passed the static checks.

    Attributes:
        path: where it was read.
        text: the program.
        style: "program" (schedule and solve) or "published" (a class with ``solve(question)``).
        doc: its docstring.
        packages: installed packages that it imports.
    """

    path: str
    text: str
    style: str
    doc: str
    packages: tuple[str, ...] = ()

    def code(self) -> CodeType:
        """The program compiled, under the file's own name."""
        code: CodeType = _quietly(compile, self.text, f"<{Path(self.path).name}>", "exec", dont_inherit=True)
        return code

    @property
    def digest(self) -> int:
        """A number that the text makes, for what should not be known when it is written."""
        return int.from_bytes(hashlib.sha256(self.text.encode()).digest()[:8], "little")


def read_source(path: str | os.PathLike[str], packages: tuple[str, ...] = ()) -> Source:
    """Read a program and check its text.

    Args:
        path: the file.
        packages: what it may import beside the standard library's modules.

    Raises:
        ProgramError: of kind "static", with the line.
    """
    path = os.fspath(path)
    try:
        size, regular = Path(path).stat().st_size, Path(path).is_file()  # a pipe or a device may have no end
        data = Path(path).read_bytes() if regular and size <= MAX_BYTES else b""
    except OSError as error:
        raise ProgramError(path, "static", f"cannot be read: {error.strerror}") from error
    if not regular:
        raise ProgramError(path, "static", "cannot be read: expected a file")
    if size > MAX_BYTES:
        raise ProgramError(path, "static", f"expected at most {MAX_BYTES} bytes, got {size}")
    try:
        text = data.decode()
        tree = _quietly(ast.parse, text)
    except SyntaxError as error:
        raise ProgramError(path, "static", f"cannot be parsed: {plain(error.msg)}", error.lineno) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise ProgramError(path, "static", f"cannot be parsed: {plain(error)}") from error
    checker = _Checker(path, ALLOWED_MODULES | {name.partition(".")[0] for name in packages})
    try:
        checker.visit(tree)
    except RecursionError:
        raise ProgramError(path, "static", "cannot be parsed: nested too deeply") from None
    style = _style(tree)
    if style is None:
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        absent = " and no ".join(name for name in ("schedule", "solve") if name not in functions)
        message = f"expected functions schedule(beta) and solve(session, beta), found no {absent}"
        raise ProgramError(path, "static", message)
    doc = (ast.get_docstring(tree) or "").encode(errors="replace").decode()
    if style == "program":
        _check_functions(path, tree)
        if not doc.strip():
            raise ProgramError(path, "static", "expected a docstring that says what it does", 1)
    source = Source(path, text, style, doc, tuple(sorted(checker.packages)))
    try:
        source.code()  # which finds what parsing does not: a return outside a function, a name that is two arguments
    except SyntaxError as error:
        raise ProgramError(path, "static", f"cannot be compiled: {plain(error.msg)}", error.lineno) from error
    except (ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise ProgramError(path, "static", f"cannot be compiled: {plain(error)}") from error
    return source


def _quietly(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """A call without the warnings that a program's text gives rise to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, **options)


def _style(tree: ast.Module) -> str | None:
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    if {"schedule", "solve"} <= functions:
        return "program"
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and _solves(node)]
    named = any(node.name == "OptimalController" for node in tree.body if isinstance(node, ast.ClassDef))
    return "published" if "solve" not in functions and (named or len(classes) == 1) else None


def _solves(node: ast.ClassDef) -> bool:
    """Whether a class has the method ``solve(self, question)``."""
    methods = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "solve"]
    return any(len(method.args.args) == 2 for method in methods)


def _check_functions(path: str, tree: ast.Module) -> None:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in ("schedule", "solve"):
            expected = ["beta"] if node.name == "schedule" else ["session", "beta"]
            required = len(node.args.args) - len(node.args.defaults)
            if len(node.args.args) < len(expected) or required > len(expected) or node.args.posonlyargs:
                message = f"expected {node.name}({', '.join(expected)}), got {node.name}({ast.unparse(node.args)})"
                raise ProgramError(path, "static", message, node.lineno)


class _Checker(ast.NodeVisitor):
    """Imports of the list only, nothing by a special name, no changes to modules."""

    def __init__(self, path: str, modules: frozenset[str] | set[str]) -> None:
        self.path = path
        self.modules = modules
        self.imported: set[str] = set()
        self.packages: set[str] = set()

    def refuse(self, node: ast.AST, message: str) -> NoReturn:
        raise ProgramError(self.path, "static", message, getattr(node, "lineno", None))

    def check_module(self, node: ast.AST, name: str) -> None:
        if name.partition(".")[0] not in self.modules:
            self.refuse(node, f"may not import {name}; expected one of {', '.join(sorted(self.modules))}")
        if name.partition(".")[0] not in ALLOWED_MODULES:
            self.packages.add(name.partition(".")[0])

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.check_module(node, alias.name)
            self.imported.add(alias.asname or alias.name.partition(".")[0])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level:
            self.refuse(node, "may not import from a package of its own; a program is one file")
        self.check_module(node, node.module or "")
        for alias in node.names:
            if alias.name.startswith("_"):
                self.refuse(node, f"may not import {alias.name}")
            self.imported.add(alias.asname or alias.name)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in FORBIDDEN_NAMES:
            self.refuse(node, f"may not use {node.id}")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr.startswith("__") and node.attr not in SPECIAL_ATTRIBUTES:
            self.refuse(node, f"may not use the attribute {node.attr}")
        changed = isinstance(node.ctx, ast.Store | ast.Del)
        if changed and isinstance(node.value, ast.Name) and node.value.id in self.imported:
            self.refuse(node, f"may not change {node.value.id}, which is imported")
        self.generic_visit(node)
