"""The benchmarks, where they say something of the package but its speed."""

import numpy as np

from autotts_gym.actions.macros import MacroTable, choose_macros
from autotts_gym.engine import Bank, RoundPlan
from autotts_gym.replay import synthesize
from benchmarks.votes import CHOSEN, read, winners


def test_the_chosen_votes_are_those_of_stop_weighted() -> None:
    state = read(Bank([synthesize(questions=20, branches=24, seed=3)]), 20, 16)
    plan = RoundPlan.empty(state.episodes, 16)
    table = MacroTable(choose_macros(["stop", "stop_weighted"]), state.episodes, 16)
    rows = np.arange(state.episodes)
    table.write(state.revealed, np.ones(state.episodes, np.int64), rows, plan)
    assert np.array_equal(plan.answer, winners(state, *CHOSEN))
    for length, abandoned in ((CHOSEN[0], 0.0), (0.0, CHOSEN[1])):
        assert not np.array_equal(plan.answer, winners(state, length, abandoned))
