"""Requests as the loop makes them, for the tests of proposers."""

from pathlib import Path

from agents.explorer.proposers.base import Parent, Request

REPLIES = Path(__file__).parent / "replies"
PARENT = Parent(
    id="p7",
    source='"""A parent."""\n',
    objective=0.41,
    frontier=((0.0, 0.3, 20000.0), (1.0, 0.55, 600000.0)),
    diagnosis={"stopped early": 0.2},
    meta={"secret of another proposer": 1},
)


def request(folder: Path, prompt: str = "Write a controller.", seed: int = 3) -> Request:
    """A request with a workspace in ``folder``."""
    workspace = folder / "workspace"
    workspace.mkdir(exist_ok=True)
    return Request(prompt=prompt, seed=seed, parents=[PARENT], population=[PARENT], workspace=workspace)


def recorded(name: str) -> str:
    """A recorded reply."""
    return (REPLIES / f"{name}.md").read_text()


def files(folder: Path) -> set[str]:
    """All that lies in a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
