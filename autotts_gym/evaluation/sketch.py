"""One episode as a few lines of text for a language model: what was spent, and which answer led, under labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from autotts_gym.evaluation.trace import Round, Standing, Trace

MOST_LINES = 12
"""Lines that a sketch has for its rounds, before some are left out."""


def sketch(played: Trace, heading: str) -> str:
    """Return an episode as a few lines without any answer's text: answers are labels, in the order they were seen.

    Rounds between which neither leader changes share a line. It says whether the answer given is right,
    but not which label is.

    Args:
        played: the episode.
        heading: what it is an example of.
    """
    labels: dict[str | None, str] = {None: "none"}
    for each in played.rounds:
        for change in each.revealed:
            for answer in (*change.answers, change.answer):
                labels.setdefault(answer, f"A{len(labels) - 1}")
    groups = groupby(played.rounds, lambda each: (each.leader.answer, each.finished_leader.answer))
    segments = [list(group) for _, group in groups]
    starts = [None, *(segment[-1] for segment in segments)]
    lines = [_segment(segment, before, labels) for segment, before in zip(segments, starts, strict=False)]
    if len(lines) > MOST_LINES:
        half = MOST_LINES // 2
        lines[half:-half] = [f"... {len(lines) - 2 * half} changes of leader ..."]
    end = played.end
    verdict = {None: "unlabelled", True: "right", False: "wrong"}[end.correct]
    return "\n".join(
        [
            f"{heading}; answers as labels:",
            *(f"  {line}" for line in lines),
            f"  answer {labels[end.answer]}: {verdict}, {end.total_tokens:,} tokens",
        ]
    )


def _segment(rounds: Sequence[Round], before: Round | None, labels: Mapping[str | None, str]) -> str:
    first, last = rounds[0], rounds[-1]
    number = f"round {first.round}" if first is last else f"rounds {first.round}-{last.round}"
    effects = [f"+{sum(each.ledger.tokens for each in rounds):,} tokens"]
    for name in ("opened", "finished", "pruned"):
        count = getattr(last.ledger, name) - (getattr(before.ledger, name) if before else 0)
        effects += [f"{name} {count}"] if count else []
    leaders = [("leader", last.leader), ("of the finished", last.finished_leader)]
    return f"{number}: {', '.join(effects)}; {', '.join(f'{name} {_votes(vote, labels)}' for name, vote in leaders)}"


def _votes(standing: Standing, labels: Mapping[str | None, str]) -> str:
    return "none" if standing.answer is None else f"{labels[standing.answer]} {standing.votes}/{standing.voters}"
