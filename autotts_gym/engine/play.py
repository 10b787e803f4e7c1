"""The round loop: every episode of a state to its end, a round at a time."""

from collections.abc import Callable, Generator

from autotts_gym.engine.plan import RoundPlan
from autotts_gym.engine.revealed import Revealed
from autotts_gym.engine.state import PoolState
from autotts_gym.errors import ControllerError

MAX_ROUNDS = 100_000


def play_out(
    name: str,
    state: PoolState,
    decide: Callable[[Revealed, RoundPlan], None],
    look: Callable[[Revealed], None],
    watch: Callable[[RoundPlan], None] | None = None,
) -> Generator[None]:
    """Play all running episodes of a state; yields after each round that leaves some running.

    Args:
        name: of what decides, for the error.
        state: episodes that have begun.
        decide: writes the next round of every running episode into an empty plan.
        look: called after each round that leaves episodes running.
        watch: called after each round with what was planned.

    Raises:
        AutottsError: an episode is stopped with an answer that it has not seen.
        ControllerError: episodes still run after ``MAX_ROUNDS``.
    """
    revealed = state.revealed
    plan = RoundPlan.empty(state.episodes, state.rules.max_branches)
    for _ in range(MAX_ROUNDS):
        plan.clear()
        decide(revealed, plan)
        running = state.play(plan)
        if watch is not None:
            watch(plan)
        if not running:
            return
        look(revealed)
        yield
    raise ControllerError(f"{name}: expected to stop within {MAX_ROUNDS} rounds, but episodes still run")
