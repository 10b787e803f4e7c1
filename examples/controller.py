"""A controller of your own, in one file: read complete branches until one answer leads by a margin.

    autotts evaluate tiny/search --controller examples/controller.py:Margin --param lead=3
    make_controller("examples/controller.py:Margin", lead=3)

It decides for N episodes at once, from the arrays of ``autotts_gym.engine.layout``: ``revealed.pools`` holds a record
an episode, ``revealed.slots`` one a branch.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from autotts_gym import Controller
from autotts_gym.engine import Revealed, RoundPlan
from autotts_gym.engine.layout import RUNNING


@dataclass(frozen=True)
class Margin(Controller):
    """Stop when the finished branches' leader is ``lead`` votes ahead, or ``branches`` have been read."""

    name = "margin"
    branches: int = 64
    lead: int = 3

    @property
    def params(self) -> dict[str, Any]:
        """The setting, by which results are labelled."""
        return asdict(self)

    def decide(self, revealed: Revealed, memory: None, plan: RoundPlan) -> None:
        """Read one more branch in every episode that runs, or stop with the majority."""
        pools = revealed.pools
        running = pools["stop_reason"] == RUNNING
        ahead = pools["finished_leader_votes"] - pools["finished_runner_up"] >= self.lead
        most = np.minimum(self.branches, pools["slots"])
        stop = running & (ahead | (pools["opened"] >= most))
        plan.stop[:] = stop
        plan.read[:] = running & ~stop
