"""The folder of a run: what was asked, and everything that came of it, safe against a kill at any moment.

::

    runs/explorer/<name>/
      config.json           what was asked
      versions.json         Python, packages, and a line for every sitting: command, git commit, when
      stores.json           the search stores, with digests of what they hold
      prompts/              the prompt files of the run
      rounds/003/proposal-01/
        prompt.md           the prompt that the proposer got
        proposal.json       its reply as it came, what it cost; written before anything else is done with it
        reply.md            the reply, to read
        program.py          the program
        screen.npz          every episode of the screen
        results.npz         every episode of the sweep on the search questions
        diagnosis.json      what went wrong
        trace.txt           the same for a proposer to read, with sketches of episodes
        outcome.json        what became of it: status, reason, figures
        twin.npz            every episode on the twins of the search stores, of programs that were among the best;
        twin.json           what failed there, or that it is a table
        validation.npz      every episode on the validation questions, of programs that were among the best;
        validation.json     or what failed there
      rounds/003/round.json how the round ended; its last file
      ledger.jsonl          every paid call, noted before and after
      clock.json            seconds of search
      best.py, best.json    the best program so far, and why
      summary.json          how the last sitting ended
      budget/, controllers/ budget curves; with events.* what TensorBoard shows

A run goes on from these files alone: round 0 is that of the programs it began with, and whatever has an
``outcome.json`` is done. Every draw is keyed by the run's seed, the round and the proposal, so there is no random state
to keep.
"""

import json
import os
import shlex
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from agents.episodes import load_results
from agents.explorer.config import Config
from agents.explorer.objective import Figures
from agents.explorer.proposers.base import Parent, Proposal, Usage
from agents.provenance import digest_of, git_commit, versions
from autotts_gym.errors import AutottsError, plain, quote
from autotts_gym.evaluation import EvaluationResult
from autotts_gym.files import write_atomically
from autotts_gym.replay import ReplayStore

PACKAGES = ("autotts_gym", "gymnasium", "numba", "numpy", "tensorboard")

T = TypeVar("T")


def write(path: Path, data: bytes | str) -> None:
    """Write a file whole or not at all, and not before it is safe on the disk."""
    write_atomically(path, data.encode() if isinstance(data, str) else data, durable=True)


def write_json(path: Path, value: object) -> None:
    """Write JSON as ``write`` does."""
    write(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def _taken_up(file: Path, make: Callable[[Any], T]) -> T:
    """What an earlier sitting left in a file.

    Raises:
        AutottsError: another version of the explorer wrote it.
    """
    try:
        return make(json.loads(file.read_text()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise AutottsError(
            f"{file}: expected what this version of agents.explorer writes, got {quote(error)}; go on with the version "
            "that versions.json of the run names"
        ) from error


@dataclass(frozen=True)
class Reply:
    """What a proposer gave, or why it gave nothing.

    Attributes:
        proposal: the program with its reply and cost; without a source where there is none.
        error: why there is no proposal; empty if there is one.
        parents: programs it was to build on.
    """

    proposal: Proposal
    error: str = ""
    parents: tuple[str, ...] = ()

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From its JSON."""
        proposal = dict(values["proposal"])
        proposal["usage"] = Usage(**proposal["usage"])
        return cls(Proposal(**proposal), values["error"], tuple(values["parents"]))


@dataclass(frozen=True)
class Record:
    """What became of a proposal.

    Attributes:
        id: round and number, such as ``003-01``.
        status: "evaluated"; "dropped": clearly worse on the screen; "duplicate"; or "failed".
        stage: how far it came: "proposal", "program", "screen", "sweep" or, if all is well, "done".
        kind: of a failure, as ``ProgramError.kind`` has it, or "proposer", "empty".
        message: why it ended where it did, in a line.
        line: of the program, where that is known.
        like: the proposal that a duplicate repeats.
        model: who wrote it.
        parents: programs it was to build on.
        digest: of the program's syntax, without comments and docstrings.
        fingerprint: of its episodes on the screen.
        about: the first line of its docstring.
        figures: what its sweep comes to.
        frontier: (beta, accuracy, mean total tokens) of its sweep.
        returns: its best return at every cost weight.
        diagnosis: shares of what went wrong.
        meta: what its proposer attached.
    """

    id: str
    status: str
    stage: str
    kind: str = ""
    message: str = ""
    line: int | None = None
    like: str = ""
    model: str = ""
    parents: tuple[str, ...] = ()
    digest: str = ""
    fingerprint: str = ""
    about: str = ""
    figures: Figures | None = None
    frontier: tuple[tuple[float, float, float], ...] = ()
    returns: tuple[float, ...] = ()
    diagnosis: dict[str, float] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def order(self) -> tuple[int, int]:
        """Its round, and its number in the round."""
        round_, number = self.id.split("-")
        return int(round_), int(number)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From its JSON."""
        figures = values["figures"]
        return cls(
            **{
                **values,
                "parents": tuple(values["parents"]),
                "figures": figures and Figures(**figures),
                "frontier": tuple(tuple(point) for point in values["frontier"]),
                "returns": tuple(values["returns"]),
            }
        )

    def parent(self, source: str) -> Parent:
        """As a proposer may see it."""
        assert self.figures is not None
        return Parent(self.id, source, self.figures.score, self.frontier, self.diagnosis, self.meta)


class Place:
    """The folder of one proposal.

    Attributes:
        round: number of its round; 0 is that of the programs a run began with.
        number: its number in the round, from 1.
        path: the folder.
    """

    def __init__(self, run: Path, round_: int, number: int) -> None:
        self.round, self.number = round_, number
        self.path = run / "rounds" / f"{round_:03d}" / f"proposal-{number:02d}"

    @property
    def id(self) -> str:
        """Its name in the run."""
        return f"{self.round:03d}-{self.number:02d}"

    @property
    def program(self) -> Path:
        """The program."""
        return self.path / "program.py"

    def workspace(self) -> Path:
        """A new empty folder for a proposer to work in."""
        folder = self.path / "workspace"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def reply(self) -> Reply | None:
        """The reply, if it has come."""
        file = self.path / "proposal.json"
        return _taken_up(file, Reply.of) if file.exists() else None

    def keep_reply(self, reply: Reply) -> None:
        """Keep a reply before anything is done with it."""
        write_json(self.path / "proposal.json", asdict(reply))

    def unfold(self, reply: Reply) -> None:
        """Lay reply and program out as files to read, unless they are there."""
        for file, text in ((self.path / "reply.md", reply.proposal.reply), (self.program, reply.proposal.source)):
            if text and not file.exists():
                write(file, text.encode(errors="replace"))

    def results(self, stage: str) -> list[EvaluationResult]:
        """Every episode of a stage: "screen", "results" (of the sweep), "twin" or "validation"."""
        return load_results(self.path / f"{stage}.npz")

    def record(self) -> Record | None:
        """What became of it, if that is known."""
        file = self.path / "outcome.json"
        return _taken_up(file, Record.of) if file.exists() else None

    def keep_record(self, record: Record) -> None:
        """Note what became of it; the last file of a proposal."""
        write_json(self.path / "outcome.json", asdict(record))


class RunFolder:
    """The folder of a run.

    Attributes:
        path: where it is.
        config: what was asked.
    """

    def __init__(self, path: Path, config: Config) -> None:
        self.path = path
        self.config = config

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open the folder of a run that was begun.

        Raises:
            AutottsError: there is none.
        """
        file = Path(path) / "config.json"
        if not file.is_file():
            raise AutottsError(f"{path}: expected the folder of a run of agents.explorer, got none")
        return cls(Path(path), Config.load(file))

    def lock(self) -> Callable[[], None]:
        """Keep other processes off the folder until the returned function is called, or this process ends.

        Raises:
            AutottsError: another process has it.
        """
        import fcntl  # a search needs Linux, for the sandbox; its modules can be imported elsewhere

        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = (self.path / "lock").open("a+")
        except OSError as error:
            raise AutottsError(f"{self.path}: cannot be written: {plain(error)}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise AutottsError(
                f"{self.path}: expected no other process on this run, but process {holder} works on it"
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        return file.close

    def begin(self, stores: Sequence[ReplayStore]) -> None:
        """Note what a new run is asked.

        Raises:
            AutottsError: there is a run already.
        """
        if (self.path / "config.json").exists():
            raise AutottsError(
                f"{self.path}: expected a new run, but there is one; go on with --resume {shlex.quote(str(self.path))}"
            )
        write_json(self.path / "stores.json", {store.name: digest_of(store) for store in stores})
        write_json(self.path / "config.json", self.config.as_dict())

    def check_stores(self, stores: Sequence[ReplayStore]) -> None:
        """Require that the stores hold what they held when the run began.

        Raises:
            AutottsError: one does not.
        """
        expected = json.loads((self.path / "stores.json").read_text())
        for store in stores:
            if digest_of(store) != expected.get(store.name):
                raise AutottsError(f"{store.name}: expected the store that {self.path} was begun with, got another")

    def sit_down(self, command: str) -> None:
        """Note by what, and with what, the run is begun or continued."""
        file = self.path / "versions.json"
        about = json.loads(file.read_text()) if file.exists() else {}
        about |= versions(PACKAGES, "explorer")
        sitting = {"command": command, "git_commit": git_commit(), "began": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        about["sittings"] = [*about.get("sittings", []), sitting]
        write_json(file, about)

    def place(self, round_: int, number: int) -> Place:
        """The folder of a proposal."""
        return Place(self.path, round_, number)

    def place_of(self, name: str) -> Place:
        """The folder of a proposal, by its id."""
        round_, number = name.split("-")
        return self.place(int(round_), int(number))

    def records(self) -> list[Record]:
        """What became of all proposals so far, in their order."""
        files = (self.path / "rounds").glob("*/proposal-*/outcome.json")
        records = [_taken_up(file, Record.of) for file in files]
        return sorted(records, key=lambda record: record.order)

    def round_file(self, round_: int) -> Path:
        """The file that a finished round ends with."""
        return self.path / "rounds" / f"{round_:03d}" / "round.json"

    @property
    def seconds(self) -> float:
        """Seconds of search so far."""
        file = self.path / "clock.json"
        return float(json.loads(file.read_text())["seconds"]) if file.exists() else 0.0

    def keep_seconds(self, seconds: float) -> None:
        """Note the seconds of search so far."""
        write_json(self.path / "clock.json", {"seconds": round(seconds, 3)})
