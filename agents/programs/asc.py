"""Adaptive-Consistency (arXiv 2305.11860): reads branches one at a time until their majority is sure enough."""

from collections import Counter
from math import comb


def schedule(beta: float) -> dict:
    """At most 2 to 64 branches, geometric in beta; the threshold is the published one."""
    return {"branches": round(2 * 32**beta), "threshold": 0.95}


def confidence(first: int, second: int) -> float:
    """1 - BetaCDF(1/2; first + 1, second + 1): the chance of at most so many heads among first + second + 1 coins."""
    coins = first + second + 1
    return sum(comb(coins, k) for k in range(first + 1)) / 2**coins


def solve(session, beta: float):
    """Read one more branch or stop, and leave the answer to the aggregator, which is the majority."""
    knobs = schedule(beta)
    for read in range(1, knobs["branches"] + 1):
        if session.read() is None:
            break
        answers = session.answers
        votes = Counter(answers[i] for i in session.finished if answers[i] is not None)
        first, second, *_ = [*sorted(votes.values(), reverse=True), 0, 0]
        if read >= 2 and votes and confidence(first, second) > knobs["threshold"]:
            break
