"""What was collected, as text and as a picture."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autotts_gym.pictures import drawn_in, lay_out, picture_paths, write_figure
from autotts_gym.replay.store import ReplayStore

Floats = NDArray[np.float64]

_DRAWS = 200
"""Orders of a pool by which a vote is averaged."""

DEPTHS = tuple(range(0, 101, 10))
"""Percent of a branch at which its probes are compared with its final answer."""


def votes(store: ReplayStore) -> tuple[list[int], Floats]:
    """Accuracy of the majority of 1, 2, 4 … branches, over labelled questions.

    Returns:
        The numbers of branches, and (K,) accuracies in [0, 1]; of answers with as many votes, the first seen counts.
    """
    smallest = int(np.diff(store.branch_offsets).min())
    sizes = [2**power for power in range(smallest.bit_length())]
    rng = np.random.default_rng(0)
    right = np.zeros(len(sizes))
    labelled = np.flatnonzero(store.labelled)
    for question in labelled.tolist():
        finals = store.finals[slice(*store.branch_offsets[question : question + 2].tolist())]
        gold = int(store.gold[question])
        for _ in range(_DRAWS):
            order = rng.permutation(finals)
            right += [_leader(order[:size]) == gold for size in sizes]
    return sizes, right / max(labelled.size * _DRAWS, 1)


def _leader(answers: NDArray[np.int32]) -> int:
    """The answer with most votes, ties to the first seen; -1: none answered."""
    answers = answers[answers >= 0]
    if not answers.size:
        return -1
    counts = np.bincount(answers)
    return int(answers[np.argmax(counts[answers] == counts.max())])


def convergence(store: ReplayStore) -> Floats:
    """(11,) share of finished branches whose probe at 0, 10 … 100 % of their probes is their final answer.

    NaN where no branch that finished has a probe.
    """
    probes = np.diff(store.probe_offsets)
    chosen = np.flatnonzero((probes > 0) & (store.finals >= 0))
    if not chosen.size:
        return np.full(len(DEPTHS), np.nan)
    first, count = store.probe_offsets[chosen], probes[chosen]
    return np.array(
        [
            float(
                (
                    store.probes[first + np.round((count - 1) * depth / 100).astype(np.int64)] == store.finals[chosen]
                ).mean()
            )
            for depth in DEPTHS
        ]
    )


def lines(store: ReplayStore) -> list[str]:
    """The summary in words, a line each."""
    summary = store.summary()
    middle, high, longest = np.quantile(store.tokens, (0.5, 0.95, 1.0))
    sizes, accuracy = votes(store)
    shares = convergence(store)
    found = [
        f"{summary.questions} questions, {summary.branches:,} branches, {summary.probes:,} probes, "
        f"{summary.answers:,} answers",
        f"length of a branch: mean {summary.mean_tokens:,.0f}, median {middle:,.0f}, 95 % {high:,.0f}, longest "
        f"{longest:,.0f} tokens; {int((store.finals < 0).sum()):,} without a final answer",
    ]
    if summary.pass_at_1 is not None and summary.coverage is not None:
        curve = ", ".join(f"{share:.1%} of {size}" for size, share in zip(sizes, accuracy, strict=True))
        found.append(f"pass@1 {summary.pass_at_1:.1%}, coverage {summary.coverage:.1%}; majority: {curve}")
    if summary.agreement is not None:
        found.append(f"agreement of unlabelled questions: {summary.agreement:.1%}")
    if store.has_probes and not np.isnan(shares).any():
        curve = ", ".join(
            f"{share:.0%} at {depth} %" for depth, share in zip(DEPTHS, shares, strict=True) if not depth % 20
        )
        found.append(f"probes that are the final answer: {curve} of a branch's probes")
    return found


def draw(store: ReplayStore, path: str | os.PathLike[str]) -> Path:
    """Draw lengths, the curve of votes, pass@1 of each question, and where probes converge.

    Args:
        store: what was collected.
        path: .png, .svg or .pdf.

    Raises:
        AutottsError: it has another ending, or cannot be written.
    """
    (target,) = picture_paths(path)
    from matplotlib.figure import Figure

    with drawn_in({"axes.grid": True, "axes.axisbelow": True, "grid.alpha": 0.3}):
        figure = Figure(figsize=(9, 6.4), layout="constrained")
        (lengths, curve), (questions, probes) = figure.subplots(2, 2)
        lengths.hist(store.tokens, bins=40, color="tab:blue")
        lengths.set(xlabel="tokens of a branch", ylabel="branches", title="Lengths")
        sizes, accuracy = votes(store)
        curve.plot(sizes, 100 * accuracy, marker="o")
        curve.set_xscale("log", base=2)
        curve.set(xlabel="branches that vote", ylabel="accuracy in %", title="Majority")
        curve.set_xticks(sizes, [str(size) for size in sizes])
        pools = np.diff(store.branch_offsets)
        right = (store.finals == np.repeat(store.gold, pools)) & (store.finals >= 0)
        shares = np.add.reduceat(right, store.branch_offsets[:-1], dtype=np.int64) / pools
        shares = np.sort(shares[store.labelled])[::-1]
        questions.bar(np.arange(shares.size), 100 * shares, color="tab:blue")
        questions.set(xlabel="questions, by pass@1", ylabel="pass@1 in %", title="Questions", ylim=(0, 100))
        probes.plot(DEPTHS, 100 * convergence(store), marker="o")
        probes.set(
            xlabel="depth in % of a branch's probes", ylabel="probe = final answer, in %", title="Probes", ylim=(0, 100)
        )
        figure.suptitle(f"{store.name}: {store.num_questions} questions, {store.num_branches:,} branches")
        lay_out(figure)
        write_figure(figure, [target])
    return target
