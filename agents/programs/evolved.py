# Found by `python -m agents.explorer --proposer evolve` (seed 0) on AIME24 of Qwen3-0.6B, 1.7B, 4B and 8B and two
# variants of each; evolved.json beside it has the command and what the search measured.
"""Grows more branches side by side, the more have finished without an answer being sure.

Lets a finished branch count less, the more standard deviations it is longer than the mean of the finished,
and the more so, the more have finished; is sure by the votes by which the leader leads; stops once it is sure
enough; gives up where many have finished and hardly two agree; prunes a branch that stays off the leader for
long; prunes branches beyond a depth.
"""

from math import exp, sqrt


def schedule(beta: float) -> dict:
    """Every number of the controller, monotone in beta."""
    return {
        "width": round(2 * 1.5**beta),
        "spread": 0.3466,
        "most": round(7 * 9.143**beta),
        "steps": 1,
        "pull": round(1.306 - 0.306 * beta, 4),
        "finishes": round(1 * 8**beta),
        "threshold": round(1 - 0.45 * 0.007111**beta, 5),
        "doubtful": round(9 * 5.111**beta),
        "hopeless": round(0.5 - 0.3 * beta, 4),
        "patience": round(15 * 4**beta),
        "deepest": round(46 + 11 * beta),
    }


def solve(session, beta: float):
    """Play one episode."""
    knobs = schedule(beta)
    off, before = [0] * session.max_branches, {}
    counted = -1
    leader, state = None, None
    while state != (session.total_tokens, session.finished):
        state = session.total_tokens, session.finished
        idle = knobs["width"] + int(knobs["spread"] * len(session.finished)) - len(session.active)
        session.deepen(session.active, knobs["steps"])
        for _ in range(min(idle, knobs["most"] - session.opened)):
            session.open()
        answers, depths, finished = session.answers, session.depths, session.finished
        if len(finished) != counted:
            counted, votes = len(finished), {}
            mean = sum(depths[i] for i in finished) / max(1, len(finished))
            deviation = 1.0 + sqrt(sum((depths[i] - mean) ** 2 for i in finished) / max(1, len(finished)))
            pull = knobs["pull"] * len(finished) / (len(finished) + 8.0)
            for i in finished:
                if answers[i] is not None:
                    weight = exp(pull * (mean - depths[i]) / deviation)
                    votes[answers[i]] = votes.get(answers[i], 0.0) + weight
            leader = max(votes, key=votes.get) if votes else None
            ranked = [*sorted(votes.values(), reverse=True), 0.0, 0.0]
            first, second = ranked[:2]
            sure = 1.0 - 0.5 ** (first - second + 1.0)
            if len(finished) >= knobs["finishes"] and sure >= knobs["threshold"]:
                return leader
            if len(finished) >= knobs["doubtful"] and first < knobs["hopeless"] * sum(votes.values()):
                return leader
        for i in session.active:
            off[i] = off[i] + depths[i] - before.get(i, 0) if leader not in (None, answers[i]) else 0
            before[i] = depths[i]
        lost = [i for i in session.active if off[i] >= knobs["patience"]]
        session.prune(lost[: len(session.active) - 1])
        session.prune([i for i in session.active if depths[i] > knobs["deepest"]])
    return leader
