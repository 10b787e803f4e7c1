"""The prompt of a proposal, rendered from files that a user can change.

A folder of prompts holds ``task.md``, the whole of it, and ``parent.md``, ``tried.md`` and ``failure.md``, each
rendered once an item and joined. Placeholders are those of ``string.Template``: ``$name``; a plain dollar is ``$$``.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

from agents.explorer.config import PROMPTS, Config
from agents.explorer.folder import Record
from agents.explorer.objective import points_of
from autotts_gym.errors import AutottsError, plain
from autotts_gym.evaluation import Frontier
from autotts_gym.replay import ReplayStore
from autotts_gym.sandbox.protocol import ALLOWED_MODULES
from autotts_gym.units import shown

FIELDS: Mapping[str, tuple[str, ...]] = {
    "task": (
        "max_branches", "interval_tokens", "token_unit", "accounting", "modules", "signals", "cost_low", "cost_high",
        "betas", "questions", "reference", "parents", "tried", "failures", "number", "round",
    ),
    "parent": ("id", "score", "objective", "gain", "frontier", "diagnosis", "source"),
    "tried": ("id", "score", "about"),
    "failure": ("id", "status", "stage", "message"),
}  # fmt: skip
"""What the placeholders of each file may be."""

MOST_TRIED = 12
"""Programs that are listed as tried, the best ones; and as many of the latest."""
MOST_FAILURES = 8
"""Failures that are listed, the latest ones."""


class Prompts:
    """The prompt files of a run.

    Args:
        folder: where they are; by default those that come with the explorer.

    Raises:
        AutottsError: one is missing, or has a placeholder that nothing is known for.
    """

    def __init__(self, folder: str | os.PathLike[str] = "") -> None:
        self.folder = Path(folder) if folder else PROMPTS
        self.texts = {name: self._read(name) for name in FIELDS}

    def _read(self, name: str) -> str:
        file = self.folder / f"{name}.md"
        try:
            text = file.read_text()
        except (OSError, ValueError) as error:
            raise AutottsError(f"{file}: expected a prompt file, got {plain(error)}") from error
        template = Template(text)
        if not template.is_valid():
            raise AutottsError(f"{file}: expected placeholders such as $parents and $$ for a dollar, got a lone $")
        unknown = sorted(set(template.get_identifiers()) - set(FIELDS[name]))
        if unknown:
            raise AutottsError(
                f"{file}: expected placeholders among {', '.join(FIELDS[name])}, got {plain(unknown[0])}"
            )
        return text

    def render(self, name: str, **values: object) -> str:
        """Fill in one file."""
        return Template(self.texts[name]).substitute({key: str(value) for key, value in values.items()})

    def task(
        self,
        config: Config,
        stores: Sequence[ReplayStore],
        reference: Frontier,
        parents: Sequence[tuple[Record, str, str]],
        history: Sequence[Record],
        round_: int,
        number: int,
    ) -> str:
        """The whole prompt of a proposal.

        Args:
            config: of the run.
            stores: the search questions.
            reference: the sweep of the built-in cmc on them.
            parents: programs to build on, best first: record, source, and what went wrong.
            history: what became of all proposals of earlier rounds.
            round_: number of the round.
            number: of the proposal.
        """
        low, high = config.cost_weight
        counts = sorted({store.num_questions for store in stores})
        token_units = {config.token_unit or store.token_unit for store in stores}
        return self.render(
            "task",
            max_branches=config.max_branches,
            interval_tokens=" or ".join(map(str, sorted({store.interval_tokens for store in stores}))),
            token_unit=" or ".join(f"{unit:,}" for unit in sorted(token_units)),
            accounting=config.accounting,
            modules=", ".join(sorted(ALLOWED_MODULES)),
            signals=", ".join(sorted(set.intersection(*(set(store.signals) for store in stores)))) or "none",
            cost_low=f"{low:g}",
            cost_high=f"{high:g}",
            betas=", ".join(f"{beta:g}" for beta in config.sweep),
            questions=f"{' or '.join(map(str, counts))} questions of each of {len(stores)} stores",
            reference=points_table(points_of(reference), reference.token_unit),
            parents="\n".join(self._parent(*each, reference.token_unit) for each in parents) or "There is none yet.\n",
            tried=self._tried(history),
            failures=self._failures(history),
            number=number,
            round=round_,
        )

    def _parent(self, record: Record, source: str, diagnosis: str, unit: float) -> str:
        assert record.figures is not None
        return self.render(
            "parent",
            id=record.id,
            score=f"{record.figures.score:.4f}",
            objective=f"{record.figures.objective:.4f}",
            gain=f"{record.figures.gain:+.4f}, from {record.figures.gain_low:+.4f} to {record.figures.gain_high:+.4f}",
            frontier=points_table(record.frontier, unit),
            diagnosis=diagnosis.strip(),
            source=source.strip(),
        )

    def _tried(self, history: Sequence[Record]) -> str:
        evaluated = [record for record in history if record.figures is not None]
        best = sorted(evaluated, key=lambda r: (-r.figures.score, r.id))[:MOST_TRIED]  # type: ignore[union-attr]
        listed = {record.id: record for record in [*best, *evaluated[-MOST_TRIED:]]}
        lines = [
            self.render("tried", id=record.id, score=f"{record.figures.score:.4f}", about=record.about)  # type: ignore[union-attr]
            for record in listed.values()
        ]
        return "".join(lines) or "Nothing yet.\n"

    def _failures(self, history: Sequence[Record]) -> str:
        failed = [record for record in history if record.status != "evaluated"][-MOST_FAILURES:]
        lines = [
            self.render(
                "failure",
                id=record.id,
                status=record.status,
                stage=record.stage,
                message=record.message + (f" (line {record.line})" if record.line else ""),
            )
            for record in failed
        ]
        return "".join(lines) or "Nothing.\n"


def points_table(points: Sequence[tuple[float, float, float]], unit: float) -> str:
    """A sweep as a table for a prompt, its tokens shown as it suits the token unit."""
    amounts = shown(unit)
    lines = [f"| beta | accuracy % | {amounts.heading} |", "| --- | --- | --- |"]
    lines += [f"| {beta:g} | {100 * accuracy:.1f} | {tokens / amounts.size:.0f} |" for beta, accuracy, tokens in points]
    return "\n".join(lines)
