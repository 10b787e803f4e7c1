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
from autotts_gym.live.branches import LivePool
from autotts_gym.live.source import LiveSource
from autotts_gym.live.state import LiveState
from autotts_gym.models import Endpoint, EndpointError
from autotts_gym.observation.encoding import Wanted
from autotts_gym.replay import StoreLike
from autotts_gym.validation import number

EndpointLike = str | Sequence[str] | Endpoint
Questions = str | os.PathLike[str] | Sequence[str | Task] | None


class LiveEpisodes(Episodes):
    """N live episodes that are stepped by primitive actions."""

    state: LiveState
    source: LiveSource

    def __init__(self, source: LiveSource, episodes: int, observation: Wanted, rules: Rules) -> None:
        self.source = source
        super().__init__(None, episodes, observation, rules)

    def _open(self, store: StoreLike, episodes: int, rules: Rules) -> LiveState:
        return self.source.state(episodes, rules)

    @property
    def num_questions(self) -> int:
        """How many questions there are."""
        return self.source.num_questions

    def begin(self, chosen: NDArray[np.bool_], options: Options = UNSET) -> None:
        """Begin episodes under reset options."""
        _begin(self, chosen, options)

    def step_one(self, action: Any) -> tuple[NDArray[np.float32], float, bool, int]:
        """Generate what an action in episode 0 needs, take it, and encode it.

        Raises:
            AutottsError: the action is not in the action space.
            EndpointError: the server failed the episode, which has ended.
        """
        chosen = number("action", action, self.actions)
        running = self.state.running
        self.state.generate(lambda copy: copy.act(np.array([chosen])))
        _raise_failure(self.state)
        step = super().step_one(chosen)
        self.state.settle(running)
        return step

    def _play_step(self, actions: NDArray[np.int64], restart: NDArray[np.bool_], again: bool, results: Results) -> int:
        """The step of ``step_all``, behind what it needs."""
        return _step(self, lambda copy: copy.act(actions), super()._play_step, actions, restart, again, results)


class LiveRoundEpisodes(RoundEpisodes):
    """N live episodes that are stepped by macro actions."""

    state: LiveState
    source: LiveSource

    def __init__(self, source: LiveSource, episodes: int, observation: Wanted, rules: Rules, macros: Macros) -> None:
        self.source = source
        super().__init__(None, episodes, observation, rules, macros)

    def _open(self, store: StoreLike, episodes: int, rules: Rules) -> LiveState:
        return self.source.state(episodes, rules)

    @property
    def num_questions(self) -> int:
        """How many questions there are."""
        return self.source.num_questions

    def begin(self, chosen: NDArray[np.bool_], options: Options = UNSET) -> None:
        """Begin episodes under reset options."""
        _begin(self, chosen, options)
        self._masks = None

    def step_one(self, action: Any) -> tuple[NDArray[np.float32], float, bool, int]:
        """Generate what a macro in episode 0 needs, play it, and encode it.

        Raises:
            AutottsError: the action is not in the action space.
            EndpointError: the server failed the episode, which has ended.
        """
        step = super().step_one(action)
        _raise_failure(self.state)
        return step

    def _play_step(self, actions: NDArray[np.int64], restart: NDArray[np.bool_], again: bool, results: Results) -> int:
        """The step of ``step_all``, behind what it needs."""
        plan = RoundPlan.empty(*self.state.slots.shape)
        rows = np.flatnonzero(~restart)
        rows = rows[self._current_masks()[rows, actions[rows]] != 0]
        self.table.write(self.state.revealed, actions[rows], rows, plan)
        return _step(self, lambda copy: copy.play(plan), super()._play_step, actions, restart, again, results)


def _begin(episodes: LiveEpisodes | LiveRoundEpisodes, chosen: NDArray[np.bool_], options: Options) -> None:
    """Begin live episodes."""
    state = episodes.state
    pools = _assign(episodes, chosen, options)
    state.begin(chosen)
    state.adopt(pools)
    if options.weights is not None:
        state.pools["cost_weight"][chosen] = options.weights[chosen]


def _assign(
    episodes: LiveEpisodes | LiveRoundEpisodes, chosen: NDArray[np.bool_], options: Options = UNSET
) -> dict[int, LivePool]:
    """Fresh branches for episodes that are about to begin; what no option fixes is drawn from their streams."""
    state = episodes.state
    rows = np.flatnonzero(chosen).tolist()
    questions, seeds = [], []
    for n in rows:
        stream = state.arrays.hidden_pools[n]
        rng = np.random.default_rng([int(stream["stream"]), int(stream["episode"])])
        question, seed = int(rng.integers(episodes.num_questions)), int(rng.integers(2**31))
        questions.append(question if options.questions is None else int(options.questions[n]))
        seeds.append(seed if options.seeds is None else int(options.seeds[n]))
    return episodes.source.pools(state, rows, questions, seeds)


def _step(
    episodes: LiveEpisodes | LiveRoundEpisodes,
    play: Callable[[PoolState], object],
    step: Callable[..., int],
    actions: NDArray[np.int64],
    restart: NDArray[np.bool_],
    again: bool,
    results: Results,
) -> int:
    """Generate what a step needs, take it, and begin what follows."""
    state = episodes.state
    running = state.running
    pools = _assign(episodes, restart) if restart.any() else {}
    state.generate(play)
    ended = step(actions, restart, False, results)  # which truncates what the server failed
    if pools:
        state.adopt(pools)
    state.settle(running)
    if ended and again:
        over = results.terminations | results.truncations
        results.last_masks[over] = episodes.masks()[over]
        results.last[over] = results.observed[over]
        episodes.begin(over)
        episodes.encode(over, results.observed)
    return ended


def _raise_failure(state: LiveState) -> None:
    for error in state.failures.values():
        raise EndpointError(str(error))


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
        self._own = source is None
        self._source = source or LiveSource(endpoint, questions, **(live or {}))
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
        self._own = source is None
        self._source = source or LiveSource(endpoint, questions, **(live or {}))
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
