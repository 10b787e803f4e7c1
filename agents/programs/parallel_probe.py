"""Parallel-Probe (arXiv 2602.03845): branches in step, persistent dissenters pruned, a persistent leader answered."""

from collections import Counter


def schedule(beta: float) -> dict:
    """2 to 64 branches, geometric in beta; the other numbers are the published ones, in rounds."""
    return {
        "branches": round(2 * 32**beta),
        "stable_rounds": 40,  # a leader must hold
        "prune_patience": 7,  # off the leader, after which a branch is pruned
        "warm_up": 15,  # before anything is pruned
        "max_rounds": 100,
    }


def solve(session, beta: float):
    """Grow all branches by an interval a round, prune, and answer with a leader that holds."""
    knobs = schedule(beta)
    for _ in range(knobs["branches"]):
        session.open()
    kept = list(range(session.opened))
    off = dict.fromkeys(kept, 0)

    def majority(answers):
        votes = Counter(answers[i] for i in kept if answers[i] is not None)
        return max(votes, key=votes.get, default=None)  # ties: opened first

    leader, last, stable = majority(session.answers), None, 0
    for turn in range(knobs["max_rounds"]):
        active = set(session.active)
        growing = [i for i in kept if i in active]
        if not growing:
            break
        session.deepen(growing)
        answers, active = session.answers, session.active
        leader = majority(answers)
        if turn >= knobs["warm_up"]:
            for i in active:
                if i in kept and len(kept) > 1:
                    off[i] = off[i] + 1 if answers[i] != leader else 0
                    if off[i] >= knobs["prune_patience"]:
                        session.prune(i)
                        kept.remove(i)
            leader = majority(answers)
        stable = stable + 1 if leader is not None and leader == last else 0
        last = leader
        if stable >= knobs["stable_rounds"]:
            break
    return leader
