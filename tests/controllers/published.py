"""The controllers a second time: plain Python for one episode, from their published definitions.

Each function plays the model of an episode (``reference.Episode``) to where it would stop and returns the answer that
it names; None leaves the answer to the environment's aggregator.
"""

from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from math import comb, inf, log

from reference import ACTIVE, FINISHED, PRUNED, Episode, majority, newest_run
from scipy import integrate, stats

from autotts_gym.engine.votes import confidence_table


def beta_confidence(counts: list[int]) -> float:
    """1 - BetaCDF(1/2; v1 + 1, v2 + 1), exactly: with n = v1 + v2 + 1 fair coins, P(at most v1 heads)."""
    if not counts:
        return 0.0
    top, second, *_ = [*sorted(counts, reverse=True), 0]
    coins = top + second + 1
    return float(Fraction(sum(comb(coins, k) for k in range(top + 1)), 2**coins))


def dirichlet_confidence(counts: list[int]) -> float:
    """P(the leader's share is the largest) under Dirichlet(1 + counts)."""
    return _dirichlet_confidence(tuple(sorted(counts, reverse=True))) if counts else 0.0


@cache
def _dirichlet_confidence(counts: tuple[int, ...]) -> float:
    top, *others = counts

    def density(x: float) -> float:
        value = stats.gamma.pdf(x, top + 1)
        for votes in others:
            value *= stats.gamma.cdf(x, votes + 1)
        return float(value)

    return float(integrate.quad(density, 0, inf, epsabs=1e-9)[0])


def entropy_certainty(counts: list[int]) -> float:
    """1 - H / log n."""
    n = sum(counts)
    return 1 + sum(v / n * log(v / n) for v in counts) / log(n) if n >= 2 else 0.0


def majority_share(counts: list[int]) -> float:
    return max(counts) / sum(counts) if counts else 0.0


CRITERIA: dict[str, Callable[[list[int]], float]] = {
    "beta": beta_confidence,
    "dirichlet": dirichlet_confidence,
    "entropy": entropy_certainty,
    "majority": majority_share,
}


def exact(episode: Episode) -> bool:
    return episode.rules.accounting == "exact"


def finished_counts(episode: Episode) -> list[int]:
    return list(Counter(s.answer for s in episode.finished() if s.answer is not None).values())


def open_up_to(episode: Episode, branches: int) -> None:
    while len(episode.slots) < branches and episode.can_open():
        episode.open(exact(episode))


def active(episode: Episode) -> list[int]:
    return [i for i, slot in enumerate(episode.slots) if slot.status == ACTIVE]


def latest_majority(episode: Episode) -> str | None:
    return majority(slot.answer for slot in episode.slots if slot.status != PRUNED)


# ------------------------------------------------------------------------------------------------------ whole branches


def sc(episode: Episode, branches: int) -> str | None:
    while len(episode.slots) < branches and episode.can_open():
        episode.read()
    return None


def asc(episode: Episode, branches: int, threshold: float, criterion: str) -> str | None:
    while len(episode.slots) < branches and episode.can_open():
        episode.read()
        if len(episode.slots) >= 2 and CRITERIA[criterion](finished_counts(episode)) > threshold:
            break
    return None


def esc(episode: Episode, branches: int, window: int) -> str | None:
    for _ in range(branches // window):
        read = []
        while len(read) < window and episode.can_open():
            read.append(episode.slots[episode.read()])
        answers = {slot.answer for slot in read}
        whole = len(read) == window and all(slot.status == FINISHED for slot in read)
        if whole and len(answers) == 1 and None not in answers:
            return answers.pop()
    return None


def doubling(episode: Episode, branches: int, threshold: float, first: int) -> str | None:
    target = first
    while True:
        while len(episode.slots) < min(target, branches) and episode.can_open():
            episode.read()
        counts = finished_counts(episode)
        if len(episode.slots) >= branches or not episode.can_open() or (counts and majority_share(counts) >= threshold):
            return None
        target = 2 * len(episode.slots)


# ----------------------------------------------------------------------------------------------- branches side by side


def answer_consistency(episode: Episode, branches: int, patience: int) -> str | None:
    open_up_to(episode, branches)
    while True:
        growing = [
            i
            for i in active(episode)
            if episode.can_deepen(i)
            and (episode.slots[i].answer is None or newest_run(episode.slots[i].revealed) < patience)
        ]
        if not growing:
            return latest_majority(episode)
        for i in growing:
            if episode.can_deepen(i):
                episode.deepen(i, exact(episode))


def short_m(episode: Episode, branches: int, finishes: int) -> str | None:
    open_up_to(episode, branches)
    while len(episode.finished()) < finishes and any(map(episode.can_deepen, active(episode))):
        for i in active(episode):
            if episode.can_deepen(i):
                episode.deepen(i, exact(episode))
    shortest = sorted((s for s in episode.slots if s.status == FINISHED), key=lambda slot: slot.tokens)[:finishes]
    return majority(slot.answer for slot in shortest)


def parallel_probe(
    episode: Episode, branches: int, stable_rounds: int, prune_patience: int, warm_up: int, max_rounds: int
) -> str | None:
    open_up_to(episode, branches)
    off = [0] * len(episode.slots)
    last, stable, leader = None, 0, latest_majority(episode)
    for r in range(max_rounds):
        for i in active(episode):
            if episode.can_deepen(i):
                episode.deepen(i, exact(episode))
        leader = latest_majority(episode)
        if r >= warm_up:
            for i in active(episode):
                if len(episode.slots) - len(episode.having(PRUNED)) > 1:
                    off[i] = off[i] + 1 if episode.slots[i].answer != leader else 0
                    if off[i] >= prune_patience:
                        episode.prune(i)
        leader = latest_majority(episode)
        stable = stable + 1 if leader is not None and leader == last else 0
        last = leader
        if stable >= stable_rounds or not any(map(episode.can_deepen, active(episode))):
            break
    return leader


def cmc(episode: Episode, beta: float) -> str | None:
    b = beta
    n_init, max_open = max(2, round(2 + 6 * b)), min(64, round(4 + 60 * b))
    warm_up, abandon = max(2, round(2 + 8 * b)), max(3, round(3 + 9 * b))
    window, burst = max(2, round(2 + 6 * b)), max(1, round(1 + 2 * b))
    widen, min_done = max(1, round(1 + 3 * b)), max(2, round(2 + 3 * b))
    alpha, threshold = round(0.70 - 0.40 * b, 4), round(0.85 + 0.12 * b, 4)
    slack = trend = round(0.04 - 0.03 * b, 4)
    # The filter of the confidence compares with thresholds: take the package's table, which is tested by itself.
    table = confidence_table(episode.rules.max_branches)
    off: Counter[int] = Counter()
    ema, entries = 0.0, []

    def look() -> tuple[float, str | None]:
        top, second, *_ = [*sorted(finished_counts(episode), reverse=True), 0, 0]
        return table[top, second], majority(slot.answer for slot in episode.finished())

    open_up_to(episode, n_init)
    for r in range(500):
        confidence, leader = look()
        ema = (1 - alpha) * ema + alpha * confidence
        entries = [*entries, ema][-window:]
        if r >= warm_up and leader is not None:
            for i in active(episode):
                off[i] = off[i] + 1 if episode.slots[i].answer != leader else 0
            for i in sorted(active(episode), key=lambda i: -off[i]):
                if off[i] >= abandon and len(active(episode)) > 2:
                    episode.prune(i)
        # Under a budget the order decides who gets the last tokens: the branches of a round grow in slot order.
        unlimited = episode.rules.token_budget is None
        for i in sorted(active(episode), key=lambda i: -episode.slots[i].depth * unlimited):
            steps = burst if r >= warm_up and leader is not None and episode.slots[i].answer == leader else 1
            for _ in range(steps):
                if episode.can_deepen(i):
                    episode.deepen(i, exact(episode))
        confidence, leader = look()
        ema = (1 - alpha) * ema + alpha * confidence
        entries[-1] = ema
        delta = entries[-1] - entries[0] if len(entries) >= 2 else 0.0
        if r >= warm_up and len(episode.finished()) >= min_done and ema >= threshold and delta >= -slack:
            return leader
        if not active(episode):
            break
        if len(episode.slots) < max_open and delta <= trend and r >= max(1, warm_up // 2) and ema < threshold:
            open_up_to(episode, min(max_open, len(episode.slots) + widen))
    if episode.finished():
        return majority(slot.answer for slot in episode.finished())
    return latest_majority(episode)
