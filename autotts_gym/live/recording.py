"""Live episodes on disk, and their replay: the same controller decides the same, and pays the same.

A recording is a journal (``autotts_gym.collection.journal``): settings, then for each episode how it began, its
intervals as they came, and its outcome.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from autotts_gym.collection.journal import JournalError, JournalWriter, Record, read_journal
from autotts_gym.controllers import Controller
from autotts_gym.engine import PoolState, Rules
from autotts_gym.errors import plain
from autotts_gym.evaluation.runner import play
from autotts_gym.live.bank import LiveBank, Origin
from autotts_gym.live.branches import Interval, Usage
from autotts_gym.replay.equivalence import merger

FORM = "live 1"


@dataclass(frozen=True)
class Outcome:
    """How a live episode ended.

    Attributes:
        question: the number of its question.
        seed: of its branches.
        controller: its name.
        params: its setting.
        counts: by name, as in ``engine.layout.COUNTS``.
        answer: the answer given; None: none.
        forced: whether the answer is that of a probe that was asked at the end, beside the ledger.
        failure: why the server ended it; empty: it did not.
        usage: what it took from its server.
    """

    question: int
    seed: int
    controller: str
    params: Mapping[str, Any]
    counts: Mapping[str, int]
    answer: str | None
    forced: bool
    failure: str
    usage: Usage

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON-able values."""
        return asdict(self)


class Recorder:
    """Writes a recording as episodes are played.

    Args:
        path: of the recording; one that exists, of the same model and questions, is gone on with.
        settings: what is fixed: model, questions, how branches are drawn and read.

    Raises:
        JournalError: it is in use, damaged or of something else, or cannot be written.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        found: list[Record] = []
        self._episodes = 0

        def known(record: Record, place: int) -> None:
            if record.kind == "settings":
                found.append(record)
            elif record.kind == "episode":
                self._episodes += 1

        self._lock = threading.Lock()
        self._journal = JournalWriter(path, known)
        wanted = {"form": FORM, **settings}
        if not found:
            self._journal.add(Record("settings", wanted))
        elif dict(found[0].values) != wanted:
            self._journal.close()
            changed = sorted(name for name in wanted if found[0].values.get(name) != wanted[name])
            raise JournalError(
                f"{plain(path)}: expected a recording of this model and these questions; {changed} differ"
            )

    def begin(self, values: Mapping[str, Any]) -> int:
        """Write that an episode begins; returns its number."""
        with self._lock:
            number = self._episodes
            self._episodes += 1
            self._journal.add(Record("episode", {"episode": number, **values}))
        return number

    def add(self, episode: int, interval: Interval) -> None:
        """Write an interval of an episode."""
        with self._lock:
            self._journal.add(Record("interval", {"episode": episode, **asdict(interval)}))

    def end(self, episode: int, outcome: Outcome) -> None:
        """Write how an episode ended."""
        with self._lock:
            self._journal.add(Record("outcome", {"episode": episode, **outcome.to_dict()}))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._journal.close()


@dataclass
class _Played:
    """One episode of a recording."""

    values: Mapping[str, Any]
    intervals: list[Interval] = field(default_factory=list)
    outcome: Outcome | None = None


class Recording:
    """Live episodes that were recorded.

    Args:
        path: of the recording.

    Raises:
        JournalError: it is no recording, or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.settings: Mapping[str, Any] = {}
        self._episodes: list[_Played] = []
        for record, _ in read_journal(self.path):
            values = dict(record.values)
            if record.kind == "settings":
                self.settings = values
            elif record.kind == "episode":
                self._episodes.append(_Played(values))
            elif record.kind == "interval":
                self._episodes[values.pop("episode")].intervals.append(Interval(**values))
            elif record.kind == "outcome":
                number = values.pop("episode")
                self._episodes[number].outcome = Outcome(**{**values, "usage": Usage(**values["usage"])})
        if self.settings.get("form") != FORM:
            raise JournalError(f"{plain(path)}: expected a recording of live episodes, got another journal")

    @property
    def outcomes(self) -> list[Outcome]:
        """How the episodes ended that ended, and that no server failed."""
        return [played.outcome for played in self._complete() if played.outcome]

    def _complete(self) -> list[_Played]:
        return [played for played in self._episodes if played.outcome and not played.outcome.failure]

    def replay(self, controller: Controller) -> tuple[list[Outcome], dict[str, NDArray[Any]]]:
        """Play the episodes again that a controller has played.

        Args:
            controller: with the name and the setting of those that were recorded.

        Returns:
            What was recorded, and the fields of an ``EvaluationResult`` of the replay, with answers, (N,) each.

        Raises:
            JournalError: it has played none.
            ControllerError: it names an answer that it has not seen, or does not stop.
        """
        mine = [
            played
            for played in self._complete()
            if played.values["controller"] == controller.name and played.values["params"] == dict(controller.params)
        ]
        if not mine:
            raise JournalError(f"{plain(self.path)}: expected episodes of {controller.name} {dict(controller.params)}")
        recorded: list[Outcome] = []
        parts: list[dict[str, NDArray[Any]]] = []
        kinds = {repr((p.values["rules"], p.values["probing"])): p for p in mine}
        for kind, first in kinds.items():
            same = [p for p in mine if repr((p.values["rules"], p.values["probing"])) == kind]
            state = self._state(same, Rules(**first.values["rules"]), first.values["probing"])
            play(controller, state)
            parts.append(state.outcomes(True))
            recorded += [p.outcome for p in same if p.outcome]
        return recorded, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _state(self, episodes: Sequence[_Played], rules: Rules, probing: bool) -> PoolState:
        """The recorded episodes, begun anew."""
        fixed = self.settings
        bank = LiveBank(
            len(episodes),
            rules.max_branches,
            interval=fixed["interval"],
            max_tokens=fixed["max_tokens"],
            token_unit=fixed["token_unit"],
            origin=Origin(fixed["model"], fixed["benchmark"]),
            signals=tuple(episodes[0].values["signals"]),
            probing=probing,
            labelled=all(task["answer"] is not None for task in fixed["tasks"]),
        )
        merge = merger(fixed["equivalence"])
        for row, played in enumerate(episodes):
            question = played.values["question"]
            bank.clear(row, question, fixed["tasks"][question]["answer"])
            for interval in played.intervals:
                answer = bank.number(row, interval.answer, merge)
                if interval.tokens is None:
                    bank.write(row, interval.branch, interval.depth, answer, interval.signals)
                else:
                    bank.end(row, interval.branch, interval.tokens, interval.depth - 1, answer)
        state = PoolState(bank, len(episodes), rules)
        every = np.ones(len(episodes), np.bool_)
        seeds = np.array([played.values["seed"] for played in episodes], np.int64)
        state.seed(streams(seeds, bank.problems), every)
        state.begin(every, np.arange(len(episodes)))
        state.deal(every, bank.order(len(episodes)))
        return state


def streams(seeds: NDArray[np.int64], questions: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The keys from which all else is drawn of episodes, by seed and question, as in ``PoolState.restart``."""
    return seeds.astype(np.uint64) << np.uint64(32) ^ questions.astype(np.uint64)
