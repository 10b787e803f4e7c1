"""Self-consistency: reads branches whole, all at once, and answers with the majority of their final answers."""


def schedule(beta: float) -> dict:
    """1 to 64 branches, geometric in beta."""
    return {"branches": round(64**beta)}


def solve(session, beta: float):
    """Read, then leave the answer to the aggregator, which is that majority."""
    for _ in range(schedule(beta)["branches"]):
        session.read()
