"""The replay environment with macro actions: one decision a round."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotts_gym.actions.macros import MACROS, Macro, MacroTable, choose_macros
from autotts_gym.engine import Rules
from autotts_gym.envs import steps
from autotts_gym.envs.episodes import UNSET, Episodes, Options, Results
from autotts_gym.envs.single import ReplayEnv
from autotts_gym.envs.vector import ReplayVectorEnv
from autotts_gym.observation.encoding import Wanted
from autotts_gym.replay import StoreLike

Macros = Sequence[str | Macro] | None


class RoundEpisodes(Episodes):
    """N episodes that are stepped by macro actions."""

    def __init__(
        self, store: StoreLike, episodes: int, observation: Wanted, rules: Rules, macros: Macros, threads: int = 1
    ) -> None:
        self.table = MacroTable(MACROS if macros is None else choose_macros(macros), episodes, rules.max_branches)
        self._masks: NDArray[np.int8] | None = None
        super().__init__(store, episodes, observation, rules, threads)

    def _count_actions(self, rules: Rules) -> int:
        return len(self.table.macros)

    def _current_masks(self) -> NDArray[np.int8]:
        if self._masks is None:
            self._masks = self.table.masks(self.state.revealed)
        return self._masks

    def masks(self) -> NDArray[np.int8]:
        """Which macros would change something, (N, macros); fresh."""
        return self._current_masks().copy()

    def begin(self, chosen: NDArray[np.bool_], options: Options = UNSET) -> None:
        """Begin episodes under reset options."""
        super().begin(chosen, options)
        self._masks = None

    def step_one(self, action: Any) -> tuple[NDArray[np.float32], float, bool, int]:
        """Play a macro in episode 0 and encode it."""
        return self._step_first(action)

    def _play_step(self, actions: NDArray[np.int64], restart: NDArray[np.bool_], again: bool, results: Results) -> int:
        """Play a macro in every episode, but begin the next one where ``restart``; encode all."""
        table, revealed = self.table, self.state.revealed
        self.state.require("begin", "play_round")
        before = self._current_masks()
        after = np.empty_like(before)
        plan = table.plan_plain(revealed, actions, before, restart)
        at_once = again and table.compiled_only  # Python computes the last masks of macros in plain Python

        def step(first: int, end: int) -> int:
            ended: int = steps.step_rounds(
                self.state.addresses,
                first,
                end,
                actions,
                restart,
                at_once,
                self.encoder,
                table.compiled,
                plan,
                before,
                after,
                results,
            )
            return ended

        self._masks = None  # an interrupted step must not leave those of the step before
        ended = self.threads.sum(step)
        if table.compiled_only:
            self._masks = after
        elif ended and again:
            self._begin_again(results)
        return ended


class ReplayRoundsEnv(ReplayEnv):
    """``ReplayEnv`` with one decision a round.

    ## Description
    State, ledger, reward, observation, reset options, infos and endings are those of ``AutoTTS-Replay-v0``; only the
    actions differ. Each is a macro that compiles to a round, whose branches grow side by side. A round costs exactly
    the total tokens of its primitive actions one by one and leaves the same state.

    ## Action Space
    ``Discrete(len(macros))``, in order:

    | action | macro | meaning |
    | --- | --- | --- |
    | 0 | stop | stop with the aggregator's answer |
    | 1 | deepen_all | one interval of every active branch |
    | 2 | deepen_all_4 | four intervals of every active branch |
    | 3 | deepen_leader | two intervals of the active branches on the leader |
    | 4 | deepen_others | two intervals of the active branches off the leader |
    | 5 | deepen_furthest | four intervals of the deepest quarter of the active branches |
    | 6 | open_1 | open one branch |
    | 7 | open_4 | open four branches |
    | 8 | open_16 | open sixteen branches |
    | 9 | prune_dissenters | prune the active branches off the leader for 8 answers in a row |
    | 10 | prune_least_advanced | prune the shallowest quarter of the active branches |
    | 11 | prune_longest | prune the active branches more than 1.5 times as deep as the finished ones on average |
    | 12 | stop_weighted | stop with the finished branches' majority, long and abandoned answers counting less |
    | 13 | prune_stubborn | prune the active branches off the leader for 24 answers in a row |
    | 14 | read_1 | open one branch and read it whole |

    A macro is admissible where it would change something.

    ## Arguments
    Those of ``ReplayEnv``, and ``macros``: names of built-in macros or ``Macro`` objects of one's own, "stop" first,
    as in ``autotts_gym.actions.macros``. ``max_steps`` counts rounds.

    ## Version History
    - v0: initial version.
    """

    def __init__(self, store: StoreLike = None, *, macros: Macros = None, **arguments: Any) -> None:
        """Make the environment.

        Raises:
            AutottsError: an argument is out of its range.
            StoreError: the store is not found or not valid.
        """
        self._macros = macros
        super().__init__(store, **arguments)

    def _replay(self, store: StoreLike, observation: Wanted, rules: Rules) -> Episodes:
        return RoundEpisodes(store, 1, observation, rules, self._macros)


class ReplayRoundsVectorEnv(ReplayVectorEnv):
    """``ReplayRoundsEnv`` for N episodes, as ``ReplayVectorEnv`` is to ``ReplayEnv``."""

    def __init__(self, num_envs: int = 1, store: StoreLike = None, *, macros: Macros = None, **arguments: Any) -> None:
        """Make the environments; arguments as in ``ReplayVectorEnv`` and ``ReplayRoundsEnv``."""
        self._macros = macros
        super().__init__(num_envs, store, **arguments)

    def _replay(self, store: StoreLike, observation: Wanted, rules: Rules) -> Episodes:
        return RoundEpisodes(store, self.num_envs, observation, rules, self._macros, self._threads)
