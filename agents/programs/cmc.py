"""CMC, the Confidence Momentum Controller that AutoTTS discovered (arXiv 2605.08083).

Widens while the smoothed confidence in the finished answers does not rise, drops branches that disagree with the leader
for long, deepens those that agree faster, and stops when the smoothed confidence is high and does not fall.
"""

from collections import Counter, deque
from functools import cache
from math import comb


def schedule(beta: float) -> dict:
    """Every number of the controller."""
    return {
        "first": max(2, round(2 + 6 * beta)),
        "most": min(64, round(4 + 60 * beta)),
        "warm_up": max(2, round(2 + 8 * beta)),
        "abandon": max(3, round(3 + 9 * beta)),
        "window": max(2, round(2 + 6 * beta)),
        "burst": max(1, round(1 + 2 * beta)),
        "widen": max(1, round(1 + 3 * beta)),
        "finishes": max(2, round(2 + 3 * beta)),
        "alpha": round(0.70 - 0.40 * beta, 4),
        "threshold": round(0.85 + 0.12 * beta, 4),
        "slack": round(0.04 - 0.03 * beta, 4),
        "trend": round(0.04 - 0.03 * beta, 4),
    }


@cache
def confidence(first: int, second: int) -> float:
    """1 - BetaCDF(1/2; first + 1, second + 1): the chance of at most so many heads among first + second + 1 coins."""
    coins = first + second + 1
    return sum(comb(coins, k) for k in range(first + 1)) / 2**coins


def majority(votes: Counter) -> tuple:
    """The answer with most votes, ties to the one counted first, and the confidence in it."""
    if not votes:
        return None, 0.0
    counts = [*sorted(votes.values(), reverse=True), 0]
    return max(votes, key=votes.get), confidence(counts[0], counts[1])


def drop_dissenters(session, active, off, patience):
    """Prune the branches that were off the leader for long, most persistent first, while two branches stay."""
    persistent = sorted([i for i in off if off[i] >= patience], key=lambda i: -off[i])
    for i in persistent[: max(0, len(active) - 2)]:
        session.prune(i)
        del off[i]


def solve(session, beta: float):
    """Play one episode."""
    knobs = schedule(beta)
    warm_up, alpha = knobs["warm_up"], knobs["alpha"]
    for _ in range(knobs["first"]):
        session.open()
    done, votes = [], Counter()  # finished branches in the order in which they were deepened, and their answers
    leader, sure = None, 0.0
    off = {}  # rounds off the leader, of the active branches that are
    ema, trend = 0.0, deque(maxlen=knobs["window"])

    def count_finished(order):
        answers, finished = session.answers, set(session.finished).difference(done)
        done.extend(i for i in order if i in finished)
        votes.update(answers[i] for i in done[-len(finished) :] if answers[i] is not None)
        return majority(votes)

    for turn in range(500):
        if len(session.finished) > len(done):  # with its first interval
            leader, sure = count_finished(session.finished)
        ema = (1 - alpha) * ema + alpha * sure
        trend.append(ema)
        answers, depths, active = session.answers, session.depths, session.active

        if turn < warm_up or leader is None:
            session.deepen(active)
        else:
            off = {i: off.get(i, 0) + 1 for i in active if answers[i] != leader}
            agreeing = [i for i in active if i not in off]
            drop_dissenters(session, active, off, knobs["abandon"])
            session.deepen(agreeing, knobs["burst"])
            session.deepen(tuple(off))

        if len(session.finished) > len(done):
            leader, sure = count_finished(sorted(active, key=lambda i: -depths[i]))
        ema = (1 - alpha) * ema + alpha * sure
        trend[-1] = ema
        delta = trend[-1] - trend[0] if len(trend) > 1 else 0.0
        settled = len(done) >= knobs["finishes"] and ema >= knobs["threshold"] and delta >= -knobs["slack"]
        if turn >= warm_up and settled:
            return leader
        if not session.active:
            break
        if delta <= knobs["trend"] and turn >= max(1, warm_up // 2) and ema < knobs["threshold"]:
            for _ in range(min(knobs["widen"], knobs["most"] - session.opened)):
                session.open()

    return leader if done else session.leader
