"""What `evaluate` and `trace` hand to a controller, and what a trace holds, leads to nothing hidden; see `walker`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from pools import as_store, fitting, ragged_questions
from walker import hidden_arrays, reachable

import agents
from autotts_gym.controllers import make_controller
from autotts_gym.controllers.probing import ParallelProbe
from autotts_gym.engine import Bank, PoolState
from autotts_gym.evaluation import evaluate
from autotts_gym.evaluation.trace import trace
from autotts_gym.replay import ReplayStore

POLICY = Path(agents.__file__).parent / "trained" / "default.zip"


@dataclass(frozen=True)
class Spy:
    """Plays as another controller does, and looks at all that it is handed."""

    inner: Any
    arrays: list[int] = field(default_factory=list)
    name: ClassVar[str] = "spy"

    @property
    def params(self) -> dict[str, Any]:
        return {}

    def look(self, *handed_out: Any) -> None:
        found = list(reachable(*handed_out))
        for value in found:
            assert not isinstance(value, PoolState | Bank | ReplayStore), type(value)
        seen = [value for value in found if isinstance(value, np.ndarray)]
        for secret in SECRETS:
            assert not any(np.shares_memory(value, secret) for value in seen)
        self.arrays.append(len(seen))

    def begin(self, revealed: Any) -> Any:
        memory = self.inner.begin(revealed)
        self.look(revealed, memory)
        return memory

    def decide(self, revealed: Any, memory: Any, plan: Any) -> None:
        if len(self.arrays) < 12:  # the walk takes longer than the round
            self.look(revealed, memory, plan)
        self.inner.decide(revealed, memory, plan)


SECRETS: list[Any] = []


@pytest.fixture
def states(monkeypatch):
    """Every state that is made, so that its hidden arrays are known."""
    made = PoolState._aim

    def aim(self: PoolState) -> None:
        made(self)
        SECRETS.extend(hidden_arrays(self))

    monkeypatch.setattr(PoolState, "_aim", aim)
    yield
    SECRETS.clear()


@pytest.mark.parametrize("name", ["sc", "cmc", "parallel_probe", str(POLICY)], ids=lambda name: Path(name).stem)
def test_controllers_and_policies_within_evaluate(name: str, states: None):
    spy = Spy(make_controller(name))
    store = fitting("deepconf", as_store(ragged_questions(3, questions=4)))
    evaluate(spy, store, seeds=range(2))
    assert SECRETS
    assert min(spy.arrays) > 5


def test_controllers_within_trace_and_the_trace_itself(states: None):
    spy = Spy(make_controller("cmc"))
    record = trace(spy, fitting("deepconf", as_store(ragged_questions(3, questions=4))), 1)
    assert SECRETS
    assert min(spy.arrays) > 5
    count = len(spy.arrays)
    spy.look(record.rounds, record.setting)  # when all is over, the end says what was right
    assert len(spy.arrays) == count + 1
    assert len(list(reachable(record.rounds))) > 20


def test_a_class_of_ones_own_is_never_handed_the_state() -> None:
    """As a built-in controller is, to play its episodes in one go."""

    @dataclass(frozen=True)
    class Mine(ParallelProbe):
        def play_through(self, *handed_out: Any) -> None:
            raise AssertionError("handed the state")

        def decide(self, revealed: Any, memory: Any, plan: Any) -> None:
            plan.read[:] = 1
            plan.stop[:] = True

    assert (evaluate(Mine(), as_store(ragged_questions(1)), seeds=[0]).branches_opened == 1).all()
