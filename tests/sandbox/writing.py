"""Programs for tests, written to files."""

from pathlib import Path
from textwrap import dedent, indent

HEAD = '"""A program of the tests."""\n\n\ndef schedule(beta):\n    return {"n": 1 + round(4 * beta)}\n'


def write(folder: Path, solve: str, head: str = HEAD, name: str = "written.py") -> Path:
    """A program with the given body of ``solve``, whose first line is line ``FIRST``."""
    path = folder / name
    path.write_text(f"{head}\n\ndef solve(session, beta):\n{indent(dedent(solve).strip(), '    ')}\n")
    return path


FIRST = HEAD.count("\n") + 4
