"""Write questions of the tiny reasoner's task: ``python -m agents.reasoner.questions --split search --out FILE.jsonl``.

A line a question: ``id``, ``question``, ``answer``, and ``difficulty`` from 1, easy, to 10, out of reach. The model is
trained on neither split.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from agents.reasoner.problems import SPLITS, questions
from agents.settings import Settings, one_of, read_command_line, setting
from autotts_gym.cli import ending
from autotts_gym.errors import AutottsError
from autotts_gym.files import write_atomically


@dataclass(frozen=True)
class Options(Settings):
    """Options of the command; ``--help`` lists them."""

    split: Annotated[str, one_of(*SPLITS)] = setting("search or heldout", "search")
    out: str = setting("file to write", "")


def lines(split: str) -> str:
    """The questions of a split as JSON, a line each."""
    rows = [
        {
            "id": f"{split}-{i:02d}",
            "question": problem.text,
            "answer": str(problem.answer),
            "difficulty": level,
        }
        for i, (level, problem) in enumerate(questions(split), 1)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; see ``autotts_gym.cli.ending.run``."""

    def work() -> int:
        options = Options(**read_command_line("agents.reasoner.questions", __doc__, Options, {}, arguments))
        if not options.out:
            raise AutottsError("--out: expected a file to write, got none")
        write_atomically(options.out, lines(options.split).encode())
        print(f"{options.out}: {len(questions(options.split))} questions")
        return 0

    return ending.run(work)


if __name__ == "__main__":
    sys.exit(main())
