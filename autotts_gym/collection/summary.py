"""What was collected, as text and as a picture."""

import os
from pathlib import Path

import numpy as np

from autotts_gym.pictures import drawn_in, lay_out, picture_paths, write_figure
from autotts_gym.replay.profile import majority_accuracy, probe_agreement
from autotts_gym.replay.store import ReplayStore

DEPTHS = tuple(range(0, 101, 10))
"""Percent of a branch's probes at which they are compared with its final answer."""


def _sizes(store: ReplayStore) -> list[int]:
    """1, 2, 4 … branches, as many as every pool has."""
    smallest = int(np.diff(store.branch_offsets).min())
    return [2**power for power in range(smallest.bit_length())]


def lines(store: ReplayStore) -> list[str]:
    """The summary in words, a line each."""
    summary = store.summary()
    middle, high, longest = np.quantile(store.tokens, (0.5, 0.95, 1.0))
    sizes = _sizes(store)
    shares = probe_agreement(store, [depth / 100 for depth in DEPTHS])
    found = [
        f"{summary.questions} questions, {summary.branches:,} branches, {summary.probes:,} probes, "
        f"{summary.answers:,} answers",
        f"length of a branch: mean {summary.mean_tokens:,.0f}, median {middle:,.0f}, 95 % {high:,.0f}, longest "
        f"{longest:,.0f} tokens; {int((store.finals < 0).sum()):,} without a final answer",
    ]
    if summary.pass_at_1 is not None and summary.coverage is not None:
        accuracy = majority_accuracy(store, sizes)
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
        sizes = _sizes(store)
        curve.plot(sizes, 100 * majority_accuracy(store, sizes), marker="o")
        curve.set_xscale("log", base=2)
        curve.set(xlabel="branches that vote", ylabel="accuracy in %", title="Majority")
        curve.set_xticks(sizes, [str(size) for size in sizes])
        pools = np.diff(store.branch_offsets)
        right = (store.finals == np.repeat(store.gold, pools)) & (store.finals >= 0)
        shares = np.add.reduceat(right, store.branch_offsets[:-1], dtype=np.int64) / pools
        shares = np.sort(shares[store.labelled])[::-1]
        questions.bar(np.arange(shares.size), 100 * shares, color="tab:blue")
        questions.set(xlabel="questions, by pass@1", ylabel="pass@1 in %", title="Questions", ylim=(0, 100))
        probes.plot(DEPTHS, 100 * probe_agreement(store, [depth / 100 for depth in DEPTHS]), marker="o")
        probes.set(
            xlabel="depth in % of a branch's probes", ylabel="probe = final answer, in %", title="Probes", ylim=(0, 100)
        )
        figure.suptitle(f"{store.name}: {store.num_questions} questions, {store.num_branches:,} branches")
        lay_out(figure)
        write_figure(figure, [target])
    return target
