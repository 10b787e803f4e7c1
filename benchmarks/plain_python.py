"""Two published rules in plain Python, one episode at a time: the baseline of evaluation.py and programs.py.

Written from the definitions in the papers (arXiv 2605.08083 and 2602.03845) in the way such code is usually written:
lists of answers, counters, one call a probe.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import beta as beta_distribution

from autotts_gym.replay import ReplayStore, pool_order


class Question:
    """One episode: branches in a given order, revealed interval by interval; charged as the published code charges."""

    def __init__(self, branches: list[tuple[list[int], int, int]], interval: int) -> None:
        self.branches = branches
        self.interval = interval
        self.depths: list[int] = []
        self.tokens = 0

    def open(self) -> tuple[int, int]:
        """A new branch: its index and first answer."""
        self.depths.append(1)
        self.tokens += self.interval
        return len(self.depths) - 1, self.branches[len(self.depths) - 1][0][0]

    def deepen(self, i: int) -> tuple[int, bool]:
        """One more interval of a branch: its answer and whether it has finished."""
        probes, total, final = self.branches[i]
        if self.depths[i] == len(probes):
            self.tokens += max(0, total - len(probes) * self.interval)
            return final, True
        self.depths[i] += 1
        self.tokens += self.interval
        return probes[self.depths[i] - 1], False


def majority(answers: list[int]) -> int:
    """Most frequent answer, ties to the first."""
    return Counter(answers).most_common(1)[0][0]


def confidence(answers: list[int]) -> float:
    """Beta confidence in the most frequent answer over the second."""
    if not answers:
        return 0.0
    counts = [count for _, count in Counter(answers).most_common(2)] + [0]
    return float(1 - beta_distribution.cdf(0.5, counts[0] + 1, counts[1] + 1))


def parallel_probe(question: Question, branches: int) -> int:
    """Parallel-Probe with its published defaults."""
    latest = [question.open()[1] for _ in range(branches)]
    active, kept = set(range(branches)), list(range(branches))
    off = [0] * branches
    stable, last = 0, None
    for r in range(100):
        for i in sorted(active):
            latest[i], finished = question.deepen(i)
            if finished:
                active.discard(i)
        leader = majority([latest[i] for i in kept])
        if r >= 15:
            for i in list(kept):
                if i in active and len(kept) > 1:
                    off[i] = off[i] + 1 if latest[i] != leader else 0
                    if off[i] >= 7:
                        kept.remove(i)
                        active.discard(i)
            leader = majority([latest[i] for i in kept])
        stable = stable + 1 if leader == last else 0
        last = leader
        if stable >= 40 or not active:
            break
    return int(leader)


def cmc(question: Question, b: float) -> int:
    """The Confidence Momentum Controller."""
    warm_up, abandon, window = max(2, round(2 + 8 * b)), max(3, round(3 + 9 * b)), max(2, round(2 + 6 * b))
    alpha, threshold, slack = round(0.70 - 0.40 * b, 4), round(0.85 + 0.12 * b, 4), round(0.04 - 0.03 * b, 4)
    state: list[dict[str, Any]] = []
    finished: list[int] = []

    def widen(count: int) -> None:
        for _ in range(count):
            i, answer = question.open()
            state.append({"i": i, "answer": answer, "steps": 0, "off": 0, "status": "active"})

    widen(max(2, round(2 + 6 * b)))
    ema, trend = 0.0, []
    for r in range(500):
        sure = confidence(finished)
        leader = majority(finished) if finished else None
        ema = (1 - alpha) * ema + alpha * sure
        trend = [*trend, ema][-window:]
        active = [branch for branch in state if branch["status"] == "active"]
        if r >= warm_up and leader is not None:
            for branch in active:
                branch["off"] = branch["off"] + 1 if branch["answer"] != leader else 0
            for branch in sorted(active, key=lambda branch: -branch["off"]):
                if branch["off"] >= abandon and len(active) > 2:
                    branch["status"] = "dropped"
                    active.remove(branch)
        for branch in sorted(active, key=lambda branch: -branch["steps"]):
            steps = max(1, round(1 + 2 * b)) if r >= warm_up and branch["answer"] == leader else 1
            for _ in range(steps):
                branch["answer"], done = question.deepen(branch["i"])
                branch["steps"] += 1
                if done:
                    branch["status"] = "finished"
                    finished.append(branch["answer"])
                    break
        sure = confidence(finished)
        ema = (1 - alpha) * ema + alpha * sure
        trend[-1] = ema
        delta = trend[-1] - trend[0] if len(trend) > 1 else 0.0
        settled = len(finished) >= max(2, round(2 + 3 * b)) and ema >= threshold and delta >= -slack
        if r >= warm_up and settled:
            return majority(finished)
        if not any(branch["status"] == "active" for branch in state):
            break
        limit = min(64, round(4 + 60 * b))
        if len(state) < limit and delta <= slack and r >= max(1, warm_up // 2) and ema < threshold:
            widen(min(max(1, round(1 + 3 * b)), limit - len(state)))
    return majority(finished) if finished else majority([x["answer"] for x in state if x["status"] != "dropped"])


def play_plainly(store: ReplayStore, rule: Callable[[Question], int], seeds: int) -> np.ndarray:
    """Total tokens (seeds, questions) of a plain-Python rule."""
    tokens = np.zeros((seeds, store.num_questions), np.int64)
    starts, ends = store.probe_offsets[:-1].tolist(), store.probe_offsets[1:].tolist()
    probes, totals, finals = store.probes.tolist(), store.tokens.tolist(), store.finals.tolist()
    for seed in range(seeds):
        for q in range(store.num_questions):
            first, last = store.branch_offsets[q : q + 2].tolist()
            rows = [first + int(k) for k in pool_order(seed, last - first)[:64]]
            question = Question(
                [(probes[starts[b] : ends[b]], totals[b], finals[b]) for b in rows], store.interval_tokens
            )
            rule(question)
            tokens[seed, q] = question.tokens
    return tokens
