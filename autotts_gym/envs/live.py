"""Environments whose branches a served model writes while they are stepped."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotts_gym.collection.questions import Task
from autotts_gym.engine import PoolState, RoundPlan, Rules
from autotts_gym.envs.episodes import UNSET, Episodes, Options, Results
from autotts_gym.envs.rounds import Macros, RoundEpisodes
from autotts_gym.envs.single import ReplayEnv
from autotts_gym.envs.vector import ReplayVectorEnv
from autotts_gym.errors import AutottsError
from autotts_gym.live.branches import LivePool
from autotts_gym.live.source import LiveSource
from autotts_gym.live.state import LiveState
from autotts_gym.models import Endpoint, EndpointError
from autotts_gym.observation.encoding import Wanted
from autotts_gym.replay import StoreLike

EndpointLike = str | Sequence[str] | Endpoint
Questions = str | os.PathLike[str] | Sequence[str | Task] | None


class LiveEpisodes(Episodes):
    """N live episodes that are stepped by primitive actions."""

    state: LiveState

    def __init__(self, source: LiveSource, episodes: int, observation: Wanted, rules: Rules, *more: Any) -> None:
        if source.settings.record is not None:
            raise AutottsError("record: expected none, as environments record nothing; use evaluate")
        self.source = source
        super().__init__(None, episodes, observation, rules, *more)

    def _open(self, store: StoreLike, episodes: int, rules: Rules) -> LiveState:
        return self.source.state(episodes, rules)

    @property
    def num_questions(self) -> int:
        """How many questions there are."""
        return self.source.num_questions

    def begin(self, chosen: NDArray[np.bool_], options: Options = UNSET) -> None:
        """Begin episodes under reset options."""
        pools = self._draw(chosen, options)
        super().begin(chosen, Options(weights=options.weights))
        self.state.adopt(pools)

    def _draw(self, chosen: NDArray[np.bool_], options: Options = UNSET) -> dict[int, LivePool]:
        """Fresh branches for episodes that are about to begin; what no option fixes is drawn from their streams."""
        rows = np.flatnonzero(chosen).tolist()
        questions, seeds = [], []
        for n in rows:
            stream = self.state.arrays.hidden_pools[n]
            rng = np.random.default_rng([int(stream["stream"]), int(stream["episode"])])
            question, seed = int(rng.integers(self.num_questions)), int(rng.integers(2**31))
            questions.append(question if options.questions is None else int(options.questions[n]))
            seeds.append(seed if options.seeds is None else int(options.seeds[n]))
        return self.source.pools(self.state, rows, questions, seeds)

    def step_one(self, action: Any) -> tuple[NDArray[np.float32], float, bool, int]:
        """Generate what an action in episode 0 needs, take it, and encode it.

        Raises:
            AutottsError: the action is not in the action space.
            EndpointError: the server failed the episode, which has ended.
        """
        step = self._step_first(action)
        for error in self.state.failures.values():
            raise EndpointError(str(error))
        return step

    def _preview(self, actions: NDArray[np.int64], restart: NDArray[np.bool_]) -> Callable[[PoolState], object]:
        """How a state plays the actions; episodes that are to begin have ended, and take none."""
        return lambda state: state.act(actions)

    def _play_step(self, actions: NDArray[np.int64], restart: NDArray[np.bool_], again: bool, results: Results) -> int:
        """Generate what a step needs, take it, and begin what follows."""
        running = self.state.running
        pools = self._draw(restart) if restart.any() else {}
        self.state.generate(self._preview(actions, restart))
        ended = super()._play_step(actions, restart, False, results)
        self.state.adopt(pools)
        self.state.settle(running)
        if ended and again:
            self._begin_again(results)
        return ended


class LiveRoundEpisodes(LiveEpisodes, RoundEpisodes):
    """N live episodes that are stepped by macro actions."""

    def _preview(self, actions: NDArray[np.int64], restart: NDArray[np.bool_]) -> Callable[[PoolState], object]:
        """How a state plays the macros."""
        plan = RoundPlan.empty(*self.state.slots.shape)
        rows = np.flatnonzero(~restart)
        rows = rows[self.masks()[rows, actions[rows]] != 0]
        self.table.write(self.state.revealed, actions[rows], rows, plan)
        return lambda state: state.play(plan)


def _source(
    endpoint: EndpointLike, questions: Questions, source: LiveSource | None, live: dict[str, Any] | None
) -> tuple[LiveSource, bool]:
    """The source that an environment asks, and whether it is its own, to be closed with it."""
    if source is not None:
        return source, False
    return LiveSource(endpoint, questions, **(live or {})), True


class LiveEnv(ReplayEnv):
    """``ReplayEnv`` on a served model: what an action reveals is generated before the action is taken.

    State, ledger, reward, observation, reset options, infos and endings are those of ``AutoTTS-Replay-v0``, by the same
    transition. A reset takes ``branch_seed`` as what the branches are drawn with. Without gold answers nothing is
    rewarded but tokens are paid for. If the server fails an episode, it ends: ``step`` raises ``EndpointError``, and a
    vector environment truncates it.

    ## Arguments
    Those of ``ReplayEnv`` but ``store``, and:

    | argument | meaning |
    | --- | --- |
    | ``endpoint`` | as ``autotts_gym.live.LiveSource`` takes it; the tiny model that ships, if not given |
    | ``questions`` | a file, texts, or ``Task`` objects; None: the questions of ``tiny/search`` |
    | ``source`` | a ``LiveSource``, in place of both |
    | ``live`` | more arguments of ``LiveSource``, by name |

    ## Version History
    - v0: initial version.
    """

    def __init__(
        self,
        endpoint: EndpointLike = "tiny",
        questions: Questions = None,
        *,
        source: LiveSource | None = None,
        live: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> None:
        """Make the environment.

        Raises:
            AutottsError: an argument is out of its range.
            EndpointError: there is no such server or model.
        """
        self._source, self._own = _source(endpoint, questions, source, live)
        super().__init__(None, **arguments)

    def _replay(self, store: StoreLike, observation: Wanted, rules: Rules) -> Episodes:
        return LiveEpisodes(self._source, 1, observation, rules)

    @property
    def question(self) -> int:
        """The number of the question that is asked."""
        return int(self._episodes.state.bank.problems[0])

    def close(self) -> None:
        """Close the window, and the connections unless the source was given."""
        super().close()
        if self._own:
            self._source.close()


class LiveVectorEnv(ReplayVectorEnv):
    """``LiveEnv`` for N episodes, whose branches are generated side by side."""

    def __init__(
        self,
        num_envs: int = 1,
        endpoint: EndpointLike = "tiny",
        questions: Questions = None,
        *,
        source: LiveSource | None = None,
        live: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> None:
        """Make the environments; arguments as in ``ReplayVectorEnv`` and ``LiveEnv``."""
        self._source, self._own = _source(endpoint, questions, source, live)
        super().__init__(num_envs, None, **arguments)

    def _replay(self, store: StoreLike, observation: Wanted, rules: Rules) -> Episodes:
        return LiveEpisodes(self._source, self.num_envs, observation, rules)

    def close_extras(self, **kwargs: Any) -> None:
        """End the threads, and the connections unless the source was given."""
        super().close_extras(**kwargs)
        if self._own:
            self._source.close()


class LiveRoundsEnv(LiveEnv):
    """``LiveEnv`` with one decision a round, as ``ReplayRoundsEnv`` is to ``ReplayEnv``; its branches grow at once."""

    def __init__(
        self,
        endpoint: EndpointLike = "tiny",
        questions: Questions = None,
        *,
        macros: Macros = None,
        **arguments: Any,
    ) -> None:
        """Make the environment; arguments as in ``LiveEnv`` and ``ReplayRoundsEnv``."""
        self._macros = macros
        super().__init__(endpoint, questions, **arguments)

    def _replay(self, store: StoreLike, observation: Wanted, rules: Rules) -> Episodes:
        return LiveRoundEpisodes(self._source, 1, observation, rules, self._macros)


class LiveRoundsVectorEnv(LiveVectorEnv):
    """``LiveRoundsEnv`` for N episodes."""

    def __init__(
        self,
        num_envs: int = 1,
        endpoint: EndpointLike = "tiny",
        questions: Questions = None,
        *,
        macros: Macros = None,
        **arguments: Any,
    ) -> None:
        """Make the environments; arguments as in ``LiveVectorEnv`` and ``ReplayRoundsEnv``."""
        self._macros = macros
        super().__init__(num_envs, endpoint, questions, **arguments)

    def _replay(self, store: StoreLike, observation: Wanted, rules: Rules) -> Episodes:
        return LiveRoundEpisodes(self._source, self.num_envs, observation, rules, self._macros)
