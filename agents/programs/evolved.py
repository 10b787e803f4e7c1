# Found by `python -m agents.explorer --proposer evolve` (seed 0) on AIME24 of Qwen3-0.6B, 1.7B, 4B and 8B and two
# variants of each; evolved.json beside it has the command and what the search measured. Only its layout
# was touched since.
"""Grows more branches side by side, the more have finished without an answer being sure.

Lets a finished branch count less, the longer it is beside the mean of the finished; is sure by the votes by
which the leader leads; stops once it is sure enough; gives up where many have finished and hardly two agree;
prunes a branch that stays off the leader for long; prunes branches beyond a depth.
"""

from math import exp


def schedule(beta: float) -> dict:
    """Every number of the controller, monotone in beta."""
    return {
        "width": round(3 * 0.6667**beta),
        "spread": round(0.2611 - 0.0169 * beta, 4),
        "most": round(5 * 9.2**beta),
        "steps": 2,
        "discount": 2.001,
        "finishes": round(1 + 1 * beta),
        "threshold": round(1 - 0.45 * 0.08422**beta, 5),
        "doubtful": round(12 * 2.25**beta),
        "hopeless": round(0.5 - 0.282 * beta, 4),
        "patience": round(15 * 2.533**beta),
        "deepest": round(46 + 11 * beta),
    }


def solve(session, beta: float):
    """Play one episode."""
    knobs = schedule(beta)
    off, before = [0] * session.max_branches, {}
    leader, counted, state = None, -1, None
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
            for i in finished:
                if answers[i] is not None:
                    weight = exp(knobs["discount"] * (1.0 - depths[i] / mean))
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
