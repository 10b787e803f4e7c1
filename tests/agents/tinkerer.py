"""A proposer that needs no model: it changes numbers of a small program. And a judge that needs no sandbox."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from agents.explorer.judge import Sweep, Terms
from agents.explorer.proposers.base import Proposal, Request, Usage
from autotts_gym import make_controller
from autotts_gym.evaluation import evaluate_all
from autotts_gym.replay.variants import twin

PROGRAM = '''"""Read {low} branches and up to {high} more, until {share} of them agree."""


def schedule(beta):
    return {{"width": {low} + {high} * beta}}


def solve(session, beta):
    width = int(schedule(beta)["width"])
    while session.opened < width and session.read() is not None:
        answers = [answer for answer in session.answers if answer is not None]
        if answers and session.opened > 2 and answers.count(session.leader) > {share} * session.opened:
            break
    return None
'''


def program(low: int, high: int, share: float) -> str:
    return PROGRAM.format(low=low, high=high, share=share)


class Tinkerer:
    """Writes PROGRAM with drawn numbers; each call costs a cent and is bounded by two.

    Attributes:
        requests: what it was asked, in order.
    """

    def __init__(self, name: str = "tinkerer:clay", usd: float = 0.01) -> None:
        self.name = name
        self.usd = usd
        self.requests: list[Request] = []

    def bound(self, request: Request) -> Usage:
        return Usage(1, 100, 0, 100, self.usd * 2)

    def propose(self, request: Request, progress: Callable[[str], None]) -> Proposal:
        self.requests.append(request)
        draw = np.random.default_rng(request.seed)
        source = program(int(draw.integers(1, 4)), int(draw.integers(4, 16)), round(float(draw.uniform(0.4, 0.95)), 2))
        progress(source)
        return Proposal(
            source, f"Here it is.\n{source}", Usage(1, 50, 0, 40, self.usd), "clay-1", {"seed": request.seed}
        )


class Scripted(Tinkerer):
    """Gives the replies of its script, call by call: a source, a proposal, or an error to raise."""

    def __init__(self, *replies: Any, usd: float = 0.0) -> None:
        super().__init__("scripted", usd)
        self.replies = list(replies)

    def bound(self, request: Request) -> Usage:
        return Usage(1, 0, 0, 0, self.usd)

    def propose(self, request: Request, progress: Callable[[str], None]) -> Proposal:
        self.requests.append(request)
        reply = self.replies[len(self.requests) - 1]
        if isinstance(reply, BaseException):
            raise reply
        return reply if isinstance(reply, Proposal) else Proposal(reply, reply, Usage(1, usd=self.usd))


class StandIn:
    """Judges a program as if it were an ASC whose knobs follow from its text: fast, and the same every time."""

    def __init__(self, terms: Terms, workers: int = 1) -> None:
        self.terms = terms

    def begin(self, stage: str, path: Path) -> Callable[[], Any]:
        terms, config = self.terms, self.terms.config
        number = int.from_bytes(hashlib.sha256(path.read_bytes()).digest()[:4], "big")
        stores, betas, seeds = {
            "screen": (terms.search, config.screen, config.screen_seeds),
            "sweep": (terms.search, config.sweep, config.seeds),
            "twin": ([twin(store) for store in terms.search], config.sweep, config.seeds),
            "validation": (terms.held, config.sweep, config.seeds),
        }[stage]
        asc = [
            make_controller("asc", branches=2 + round(beta * (4 + number % 20)), threshold=0.6 + number % 37 / 100)
            for beta in betas
        ]
        results = []
        for store in stores:
            for beta, controller in zip(betas, asc, strict=True):
                (result,) = evaluate_all([controller], [store], seeds=range(seeds), rules=config.rules)
                results.append(replace(result, controller="program", params={"beta": beta}))
        answer = Sweep(results, {"outvoted": 0.1}, {"shares": {}}, "trace") if stage == "sweep" else results
        return lambda: answer

    def close(self) -> None:
        pass
