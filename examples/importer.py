"""An importer of your own, in one file: logs with a line a branch, in tab-separated columns.

    autotts import logs.tsv -o logs.h5 --model my-model --benchmark my-questions --format examples/importer.py:tsv

The columns are question, gold answer, tokens, final answer, and the probes, separated by blanks; "-" is no answer. A
package of yours can bring an importer by an entry point of the group ``autotts_gym.importers``; then no ``--format`` is
needed.
"""

from collections.abc import Iterable
from pathlib import Path

from autotts_gym.replay import Branch, Question
from autotts_gym.replay.importers import Importer

INTERVAL_TOKENS = 500


def _detect(path: Path, data: bytes) -> bool:
    """Whether a file is such a log: by its name."""
    return path.suffix == ".tsv"


def _answer(text: str) -> str | None:
    return None if text == "-" else text


def _read(path: Path, data: bytes) -> tuple[int, Iterable[Question]]:
    """The questions of a log, in the order in which they first come."""
    pools: dict[tuple[str, str], list[Branch]] = {}
    for number, line in enumerate(data.decode().splitlines(), 1):
        columns = line.split("\t")
        if len(columns) != 5:
            raise ValueError(f"line {number}: expected 5 columns, got {len(columns)}")
        question, gold, tokens, final, probes = columns
        branch = Branch([_answer(probe) for probe in probes.split()], int(tokens), _answer(final))
        pools.setdefault((question, gold), []).append(branch)
    return INTERVAL_TOKENS, [Question(text, _answer(gold), pool) for (text, gold), pool in pools.items()]


tsv = Importer("tsv", _detect, _read)
