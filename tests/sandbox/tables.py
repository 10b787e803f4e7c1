"""Programs that have memorised a store, for tests: tables of its right branches, from full information."""

import itertools
from pathlib import Path

import numpy as np

from autotts_gym import ReplayStore

HEAD = '"""A table."""\nTABLE = {table!r}\n\n\ndef schedule(beta):\n    return {{"n": 8 + round(8 * beta)}}\n\n\n'

LENGTHS = """def solve(session, beta):
    for _ in range(schedule(beta)["n"]):
        before = session.total_tokens
        i = session.read()
        if i is None:
            break
        if (session.total_tokens - before) // {bin} in TABLE:
            return session.answers[i]
    return None
"""

PATTERNS = """def solve(session, beta):
    for _ in range(schedule(beta)["n"]):
        i = session.open()
        if i is None:
            break
        while i in session.active:
            session.deepen(i)
        if {key} in TABLE:
            return session.answers[i]
    return None
"""

RUNS = "tuple(k for k in range(1, len(session.history(i))) if session.history(i)[k] != session.history(i)[k - 1])"


def right(store: ReplayStore) -> np.ndarray:
    """Whether each branch is right."""
    return np.equal(store.finals, np.repeat(store.gold, np.diff(store.branch_offsets)))


def surely(keys: list[object], good: np.ndarray, share: float) -> set[object]:
    """The keys of whose branches at least such a share are right."""
    count: dict[object, list[int]] = {}
    for key, each in zip(keys, good.tolist(), strict=True):
        count.setdefault(key, []).append(each)
    return {key for key, found in count.items() if np.mean(found) >= share}


def lengths(folder: Path, store: ReplayStore, bin: int = 1) -> Path:
    """A table of the lengths of right branches, in bins of so many tokens."""
    table = surely((store.tokens // bin).tolist(), right(store), 1.0)
    path = folder / f"lengths{bin}.py"
    path.write_text(HEAD.format(table=table) + LENGTHS.format(bin=bin))
    return path


def changes(folder: Path, store: ReplayStore) -> Path:
    """A table of the depths at which right branches change their answer."""
    keys: list[object] = []
    for b in range(store.tokens.size):
        probes = store.probes[store.probe_offsets[b] : store.probe_offsets[b + 1]]
        keys.append(tuple((np.flatnonzero(np.diff(probes)) + 1).tolist()))
    path = folder / "changes.py"
    path.write_text(HEAD.format(table=surely(keys, right(store), 1.0)) + PATTERNS.format(key=RUNS))
    return path


def signals(folder: Path, store: ReplayStore, name: str) -> Path:
    """A table of what a signal is in the first interval of right branches."""
    first = store.signals[name][store.probe_offsets[:-1]]
    table = surely(first.tolist(), right(store), 1.0)
    path = folder / "signals.py"
    path.write_text(HEAD.format(table=table) + PATTERNS.format(key=f"session.signal_history({name!r}, i)[0]"))
    return path


FEW = """def solve(session, beta):
    n, k, known = schedule(beta)["n"], 0, 0
    while k < (64 if known >= 2 else n):
        before = session.total_tokens
        i = session.read()
        if i is None:
            break
        length = session.total_tokens - before
        known += length in KNOWN
        if length in TABLE:
            return session.answers[i]
        k += 1
    return None
"""


def few(folder: Path, store: ReplayStore, questions: int = 3) -> Path:
    """A table of some questions alone, whose majority is wrong: where one of their branches is met, read on."""
    good, bounds = right(store), store.branch_offsets
    shares = [float(good[low:high].mean()) for low, high in itertools.pairwise(bounds)]
    hard = [q for q in range(store.num_questions) if store.majority()[q] != store.gold[q] and shares[q] >= 0.02]
    chosen = sorted(hard, key=lambda q: -shares[q])[:questions]
    inside = np.zeros(len(good), np.bool_)
    for q in chosen:
        inside[bounds[q] : bounds[q + 1]] = True
    table = set(store.tokens[inside & good].tolist()) - set(store.tokens[~good].tolist())
    known = set(store.tokens[inside].tolist()) - set(store.tokens[~inside].tolist())
    path = folder / "few.py"
    path.write_text(HEAD.format(table=table).replace("\n\n\ndef", f"\nKNOWN = {known!r}\n\n\ndef", 1) + FEW)
    return path
