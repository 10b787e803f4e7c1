"""What a journal holds: its settings, and which branches and probes are there, without their tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from autotts_gym.collection.accounts import Accounts
from autotts_gym.collection.journal import JournalError, Record, read_journal
from autotts_gym.collection.questions import Task
from autotts_gym.errors import plain

Key = tuple[int, int]
"""A question and a branch of it, each by its number from 0."""


@dataclass
class Index:
    """What a journal holds.

    Attributes:
        path: of the journal.
        header: values of its first record; empty until that was read.
        tokens: by branch, its tokens.
        probes: by branch, after how many tokens it was probed, and where the record of each begins.
        places: by branch, where its record begins.
        refused: by branch that the server refuses, its reason.
        accounts: what was spent.
        sessions: values of each run.
    """

    path: Path
    header: dict[str, Any] = field(default_factory=dict)
    tokens: dict[Key, int] = field(default_factory=dict)
    probes: dict[Key, dict[int, int]] = field(default_factory=dict)
    places: dict[Key, int] = field(default_factory=dict)
    refused: dict[Key, str] = field(default_factory=dict)
    accounts: Accounts = field(default_factory=Accounts)
    sessions: list[Mapping[str, Any]] = field(default_factory=list)
    _unchecked: list[tuple[Key, int]] = field(default_factory=list)
    """Branches (0) and probes (after how many tokens) since the model was last seen to be the first one."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a journal.

        Raises:
            JournalError: it is absent or damaged, or holds no settings.
        """
        index = cls(path)
        for record, place in read_journal(path):
            index.add(record, place)
        if not index.header:
            raise JournalError(f"{plain(path)}: expected a journal with settings, got one that was cut off before them")
        return index

    def add(self, record: Record, place: int) -> None:
        """Note a record.

        Args:
            record: the record.
            place: where it begins.

        Raises:
            JournalError: it does not fit those before it.
        """
        where, values = plain(self.path), record.values
        if (record.kind == "settings") == bool(self.header):
            raise JournalError(f"{where}: expected its settings once, at the beginning")
        try:
            match record.kind:
                case "settings":
                    self.header = dict(values)
                case "session":
                    self.sessions.append(values)
                    self._unchecked.clear()
                case "checked":  # but not what came while the server was asked
                    del self._unchecked[: len(self._unchecked) - int(values["newer"])]
                case "changed":
                    self._drop_unchecked()
                case "lost":
                    self.accounts.lose(int(values["tokens"]), int(values["prompt_tokens"]))
                case "refused":
                    self.refused[self._key(values)] = str(values["reason"])
                case "branch":
                    key = self._key(values)
                    if key in self.tokens:
                        raise JournalError(f"{where}: expected branch {key[1]} of question {key[0]} once, got it twice")
                    self.tokens[key] = int(values["tokens"])
                    self.places[key] = place
                    self._unchecked.append((key, 0))
                    self._pay(values, "branch")
                case "probe":
                    key, at = self._key(values), int(values["at"])
                    if key not in self.tokens or not 0 < at <= self.tokens[key]:
                        raise JournalError(f"{where}: expected a probe of a branch that is there, got {key} after {at}")
                    known = self.probes.setdefault(key, {})
                    if at in known:
                        raise JournalError(
                            f"{where}: expected a probe once, got branch {key[1]} of question {key[0]} twice"
                        )
                    known[at] = place
                    self._unchecked.append((key, at))
                    self._pay(values, "probe")
                case _:
                    raise JournalError(f"{where}: expected a branch or a probe, got {plain(record.kind)}")
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, JournalError):
                raise
            raise JournalError(f"{where}: {plain(record.kind)}: expected all its values, got {plain(error)}") from error

    def _key(self, values: Mapping[str, Any]) -> Key:
        question, branch = int(values["question"]), int(values["branch"])
        if not 0 <= question < len(self.header["tasks"]) or branch < 0:
            raise JournalError(f"{plain(self.path)}: expected a question that is there, got {question}")
        return question, branch

    def _pay(self, values: Mapping[str, Any], kind: str) -> None:
        tokens, prompt, cached = (int(values[name]) for name in ("generated", "prompt_tokens", "cached_tokens"))
        self.accounts.add(kind, tokens, prompt, cached, bool(values["unknown"]))

    def _drop_unchecked(self) -> None:
        """Forget what another model may have written; it stays in the accounts."""
        for key, at in self._unchecked:
            if at:
                self.probes.get(key, {}).pop(at, None)
            else:
                del self.tokens[key], self.places[key]
                self.probes.pop(key, None)
        self._unchecked.clear()

    @property
    def unchecked(self) -> int:
        """How many branches and probes came since the model was last seen to be the first one."""
        return len(self._unchecked)

    def asked(self) -> Mapping[str, Any] | None:
        """What the last run asked for that was not a dry one; None: there was none."""
        return next((session for session in reversed(self.sessions) if not session["dry"]), None)

    def tasks(self) -> list[Task]:
        """The questions."""
        return [Task(row["id"], row["text"], row["answer"]) for row in self.header["tasks"]]

    def ready(self, key: Key, positions: Sequence[int] | range) -> bool:
        """Whether a branch is there with all of these probes."""
        return key in self.tokens and self.probes.get(key, {}).keys() >= set(positions)
