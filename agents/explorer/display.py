"""What people watch: TensorBoard, and the terminal.

A run's chart has rounds as steps: ``search/…`` (scores and what became of the proposals), ``cost/…``, ``diagnosis/…``
of the best program. Budget curves are runs of their own: ``budget/best``, ``budget/round 001`` (the 1st, 2nd, 4th, 8th
and so on, and the programs a run began with as ``budget/round 000``), and ``controllers/…``, the hand-written ones on
the same episodes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from agents.explorer.folder import Record
from autotts_gym.evaluation import Frontier
from autotts_gym.evaluation.tensorboard import BUDGET_CHARTS, EventLog, Layout, write_frontier, write_frontiers
from autotts_gym.progress import Progress

LAYOUT: Layout = {
    "Budget curves": BUDGET_CHARTS,
    "Search": {
        "score of the best program": ("^search/score$", "^search/estimate$", "^search/objective$"),
        "what became of the proposals": (
            "^search/evaluated$",
            "^search/dropped$",
            "^search/duplicate$",
            "^search/failed$",
        ),
        "cost": ("^cost/",),
    },
    "Diagnosis of the best program": {"shares": ("^diagnosis/",)},
}


class Charts:
    """The event files of a run.

    Args:
        folder: of the run.
        rounds: how many were charted in earlier sittings; what lies beyond is void.
    """

    def __init__(self, folder: Path, rounds: int) -> None:
        self.folder = folder
        self.log = EventLog(folder, purge_step=rounds if rounds else None)
        if not rounds:
            self.log.layout(LAYOUT)

    def controllers(self, families: Sequence[Frontier]) -> None:
        """Draw the hand-written controllers."""
        write_frontiers(self.folder / "controllers", families)

    def round(self, number: int, figures: Mapping[str, float], best: Frontier | None) -> None:
        """Chart a round that has ended, and the budget curve of the best program."""
        self.log.scalars(figures, number)
        self.log.flush()
        if best is not None:
            write_frontier(self.folder / "budget" / "best", best)
            if number & (number - 1) == 0:
                write_frontier(self.folder / "budget" / f"round {number:03d}", best)

    def close(self) -> None:
        """Leave the event file as it should be."""
        self.log.close()


class Screen(Progress):
    """What people see on the terminal while it goes on.

    Args:
        show: whether to show anything.
    """

    def __init__(self, show: bool) -> None:
        super().__init__("search", None, show)
        self._tail = ""

    def doing(self, what: str) -> None:
        """Say what is being done."""
        self._tail = ""
        self.update(note=what)

    def stream(self, text: str) -> None:
        """Show the end of a text that arrives."""
        self._tail = (self._tail + plain(text))[-60:]
        self.update(note=self._tail)

    def outcome(self, record: Record) -> None:
        """A proposal is done."""
        self.advance()
        message = record.message
        if record.figures is not None:
            points = f"{100 * record.frontier[0][1]:.1f} to {100 * record.frontier[-1][1]:.1f} %"
            message = f"score {record.figures.score:.4f}, {points}"
        self.say(f"{record.id} {record.status}: {message}")

    def say(self, line: str) -> None:
        """Print a line."""
        super().say(plain(line))


def plain(text: str) -> str:
    """A text from elsewhere in one line, without anything that a terminal would obey."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
