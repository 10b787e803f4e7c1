"""What the tiny reasoner is trained on: questions with branches, and branches that are cut and probed."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from agents.reasoner import problems
from agents.reasoner.model import CONTEXT
from agents.reasoner.problems import CLOSING, PROBE, SO
from agents.reasoner.vocabulary import END, encode

EASY, RISE = 0.08, 0.3
"""Shares of a training: with the easiest problems alone, and until there are all."""

ANSWER = 3.0
"""Weight of an answer in the loss; other words have 1. Answers are rare, and would be learned last."""

BATCHES = 16
"""Batches whose samples are drawn together, so that those of one length share a batch."""


@dataclass(frozen=True)
class Sample:
    """One sequence.

    Attributes:
        ids: its tokens.
        question: tokens of the question, which are not learned.
        mark: index of a probe's mark, which is not learned either: a probe comes from outside; -1: there is none.
    """

    ids: list[int]
    question: int
    mark: int


def sample(rng: Generator, hardest: int, kept: frozenset[problems.Problem]) -> Sample:
    """Draw a sequence: a branch, or as often one that is cut anywhere and probed.

    Args:
        rng: of all draws.
        hardest: level up to which problems are drawn.
        kept: problems that are kept out of the training.
    """
    while (problem := problems.draw(int(rng.integers(1, hardest + 1)), rng)) in kept:
        pass
    question = encode(problem.words)
    branch = problems.write(problem, rng, CONTEXT - len(question) - 4)
    if rng.random() < 0.5:
        ids = encode(branch.words)
        return Sample([*question, *ids, *([END] if branch.answer is not None else [])], len(question), -1)
    cut = int(rng.integers(len(branch.words) + 1))
    suffix = [*encode([PROBE, str(branch.implied[cut]), CLOSING]), END]
    return Sample([*question, *encode(branch.words[:cut]), *suffix], len(question), len(question) + cut)


def hardest_level(progress: float) -> int:
    """The hardest level that is trained on, by the share of the training that is done.

    It begins with the easiest problems: what line follows a line is soon learned from short ones, and hardly from long.
    """
    return min(problems.LEVELS, 1 + max(0, int((progress - EASY) / (RISE - EASY) * problems.LEVELS)))


def batches(seed: int, tokens: int, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches without end: (N, T) int64 tokens, and (N, T) float32 their weights in the loss.

    Args:
        seed: of all draws.
        tokens: of a batch, padding included.
        steps: batches of the whole training.
    """
    rng = np.random.default_rng([seed, 1])
    kept = frozenset(problem for split in problems.SPLITS for _, problem in problems.questions(split))
    count = 0
    while True:
        samples, total = [], 0
        hardest = hardest_level(count / steps)
        while total < BATCHES * tokens:
            samples.append(sample(rng, hardest, kept))
            total += len(samples[-1].ids)
        samples.sort(key=lambda each: len(each.ids))
        groups: list[list[Sample]] = [[]]
        for each in samples:
            if len(each.ids) * (len(groups[-1]) + 1) > tokens:
                groups.append([])
            groups[-1].append(each)
        for i in rng.permutation(len(groups) - 1):  # the last one is not full
            yield padded(groups[i])
            count += 1


def padded(samples: list[Sample]) -> tuple[Tensor, Tensor]:
    """Tokens and weights of a batch, as ``batches`` yields them."""
    size = (len(samples), max(len(each.ids) for each in samples))
    ids, weights = torch.full(size, END), torch.zeros(size)
    for i, each in enumerate(samples):
        ids[i, : len(each.ids)] = torch.tensor(each.ids)
        weights[i, each.question : len(each.ids)] = 1.0
        if each.mark >= 0:
            weights[i, each.mark] = 0.0
    announced = (ids[:, :-1] == encode([PROBE])[0]) | (ids[:, :-1] == encode([SO])[0])
    weights[:, 1:][announced] = ANSWER
    return ids, weights
