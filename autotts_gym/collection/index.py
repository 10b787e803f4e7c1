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
        probes: by branch, after how many tokens it was probed.
        places: by branch, where its record begins.
        accounts: what was spent.
        sessions: values of each run.
    """

    path: Path
    header: dict[str, Any] = field(default_factory=dict)
    tokens: dict[Key, int] = field(default_factory=dict)
    probes: dict[Key, set[int]] = field(default_factory=dict)
    places: dict[Key, int] = field(default_factory=dict)
    accounts: Accounts = field(default_factory=Accounts)
    sessions: list[Mapping[str, Any]] = field(default_factory=list)

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

    def add(self, record: Record, place: int, paid: bool = False) -> None:
        """Note a record.

        Args:
            record: the record.
            place: where it begins.
            paid: whether the tokens that it lost are in the accounts already.

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
                case "branch":
                    key = self._key(values)
                    if key in self.tokens:
                        raise JournalError(f"{where}: expected branch {key[1]} of question {key[0]} once, got it twice")
                    self.tokens[key] = int(values["tokens"])
                    self.places[key] = place
                    self._pay(values, "branch", paid)
                case "probe":
                    key, at = self._key(values), int(values["at"])
                    if key not in self.tokens or not 0 < at <= self.tokens[key]:
                        raise JournalError(f"{where}: expected a probe of a branch that is there, got {key} after {at}")
                    known = self.probes.setdefault(key, set())
                    if at in known:
                        raise JournalError(
                            f"{where}: expected a probe once, got branch {key[1]} of question {key[0]} twice"
                        )
                    known.add(at)
                    self._pay(values, "probe", paid)
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

    def _pay(self, values: Mapping[str, Any], kind: str, paid: bool) -> None:
        names = ("generated", "lost_tokens", "prompt_tokens", "cached_tokens")
        tokens, lost, prompt, cached = (int(values[name]) for name in names)
        self.accounts.add(kind, tokens, 0 if paid else lost, prompt, cached)

    def tasks(self) -> list[Task]:
        """The questions."""
        return [Task(row["id"], row["text"], row["answer"]) for row in self.header["tasks"]]

    def ready(self, key: Key, positions: Sequence[int] | range) -> bool:
        """Whether a branch is there with all of these probes."""
        return key in self.tokens and self.probes.get(key, set()).issuperset(positions)
