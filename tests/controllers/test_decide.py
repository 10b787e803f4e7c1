"""What a controller is asked to decide with is checked, as the caller holds memory and plan."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import agents
from autotts_gym.controllers import controller_families, make_controller
from autotts_gym.controllers.base import Controller
from autotts_gym.engine import Bank, PoolState, RoundPlan, Rules
from autotts_gym.errors import AutottsError, ControllerError
from autotts_gym.replay import synthesize

POLICY = Path(agents.__file__).parent / "trained" / "default.zip"
NAMES = [*sorted(controller_families()), str(POLICY)]
REMEMBER = ["parallel_probe", "cmc", "deepconf", str(POLICY)]


def begun(name: str, episodes: int = 3) -> tuple[Controller, PoolState, Any]:
    controller = make_controller(name)
    state = PoolState(Bank([synthesize(3, 64, signals=True)]), episodes, Rules(max_branches=64))
    state.begin()
    return controller, state, controller.begin(state.revealed)


def bad_plans() -> dict[str, Any]:
    cut, narrow, other = (RoundPlan.empty(3, 64) for _ in range(3))
    object.__setattr__(cut, "open", np.zeros(2, np.int32))
    object.__setattr__(narrow, "deepen", np.zeros((3, 64), np.int32))
    object.__setattr__(other, "stop", [False] * 3)
    fewer, smaller = RoundPlan.empty(2, 64), RoundPlan.empty(3, 8)
    return {"None": None, "episodes": fewer, "slots": smaller, "length": cut, "dtype": narrow, "list": other}


@pytest.mark.parametrize("kind", list(bad_plans()))
@pytest.mark.parametrize("name", NAMES, ids=lambda name: Path(name).stem)
def test_a_plan_that_does_not_fit_the_episodes_is_refused(name: str, kind: str):
    controller, state, memory = begun(name)
    before = state.pools.copy()
    with pytest.raises(AutottsError, match=r"^plan"):
        controller.decide(state.revealed, memory, bad_plans()[kind])
    assert (state.pools == before).all()
    plan = RoundPlan.empty(3, 64)
    controller.decide(state.revealed, memory, plan)
    assert state.play(plan) >= 0
    assert (state.pools["opened"] > 0).any()


def shortened(memory: Any) -> Any:
    if isinstance(memory, np.ndarray):
        return memory[:-1]
    if not isinstance(memory, tuple):
        return memory
    return type(memory)(*map(shortened, memory)) if hasattr(memory, "_fields") else tuple(map(shortened, memory))


@pytest.mark.parametrize("name", REMEMBER, ids=lambda name: Path(name).stem)
def test_a_memory_of_other_episodes_is_refused(name: str):
    controller, state, memory = begun(name)
    _, _, of_more = begun(name, episodes=4)
    few = (shortened(memory[0]), memory[1]) if name == str(POLICY) else shortened(memory)
    short = memory[:1] if len(memory) > 1 else ()
    for bad in (None, (), short, [*memory], of_more, few, 7):
        with pytest.raises(ControllerError, match="memory: expected what begin returned"):
            controller.decide(state.revealed, bad, RoundPlan.empty(3, 64))


def test_all_families_that_remember_are_asked():
    remembering = [name for name in NAMES if begun(name)[2] is not None]
    assert sorted(remembering) == sorted(REMEMBER)


def test_tables_of_the_dirichlet_criterion_that_cannot_fit_are_refused():
    controller = make_controller("asc", criterion="dirichlet")
    state = PoolState(Bank([synthesize(1, 4)]), 1, Rules(max_branches=50_000))
    state.begin()
    with pytest.raises(AutottsError, match=r"^max_branches: .*expected to fit into the memory"):
        controller.decide(state.revealed, controller.begin(state.revealed), RoundPlan.empty(1, 50_000))
