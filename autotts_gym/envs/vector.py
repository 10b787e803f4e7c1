"""The replay environment, N episodes at a time in compiled code."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from autotts_gym.engine import Revealed, Rules
from autotts_gym.engine.functions import Aggregator, Reward
from autotts_gym.envs.episodes import RENDER_MODES, Episodes, Results, checked_seed, stream_of_seed
from autotts_gym.envs.rendering import render_ansi, render_rgb
from autotts_gym.envs.single import DEFAULT_MAX_STEPS
from autotts_gym.envs.threads import Threads
from autotts_gym.errors import AutottsError, quote
from autotts_gym.observation.encoding import Wanted
from autotts_gym.replay import StoreLike
from autotts_gym.validation import check, choice, dimensions, integer

_NONE = np.zeros(0, np.int64)


class Ends(NamedTuple):
    """The outcomes of K episodes that have just ended."""

    rows: NDArray[np.int64]  # (K,), which they are
    outcomes: dict[str, NDArray[Any]]  # the infos of an episode's end, (K,) each
    observations: list[Any]  # their last ones, where the next episodes have begun (SAME_STEP); else empty


class ReplayVectorEnv(VectorEnv[Any, NDArray[np.int64], NDArray[Any]]):
    """``ReplayEnv`` for N episodes: environment k equals a single one with the same seed, step for step.

    ``reset(seed=s)`` seeds the environments with s, s + 1, ...; a sequence of N seeds names them one by one. Reset
    options are those of ``ReplayEnv``, each for all environments or one a row (N,); with ``autoreset_mode=DISABLED``,
    ``reset_mask`` (N,) bool chooses the environments to reset.

    Infos are arrays with their ``_`` masks, the same keys at every step: ``action_mask`` (N, actions) int8,
    ``invalid_action`` (N,) bool and those of an outcome, neutral where no episode has just ended. The autoreset mode is
    in ``metadata["autoreset_mode"]``: in NEXT_STEP (the default) the step after an end ignores its action and returns
    the next episode's first observation; in SAME_STEP the ended episode's observation and info are in ``final_obs`` and
    ``final_info``.
    """

    def __init__(
        self,
        num_envs: int = 1,
        store: StoreLike = None,
        max_branches: int = 64,
        token_budget: int | None = None,
        cost_weight: float | tuple[float, float] = 0.25,
        latency_weight: float = 0.0,
        probe: str = "auto",
        probe_cost: int = 0,
        accounting: str = "exact",
        observation: Wanted = "dict",
        max_steps: int | None = DEFAULT_MAX_STEPS,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        shaping: bool = False,
        reward: Reward | str | None = None,
        aggregator: Aggregator | str | None = None,
        threads: int = 1,
        token_unit: int | None = None,
    ) -> None:
        """Make the environments.

        Args:
            num_envs: N.
            store: as in ``ReplayEnv``, like all that follow but the autoreset mode and ``max_episode_steps``.
            max_branches: slots M.
            token_budget: total tokens an episode may spend.
            cost_weight: reward per token unit of total tokens, or a pair to draw from.
            latency_weight: reward per token unit of sequential tokens.
            probe: "auto" or "explicit".
            probe_cost: tokens of an explicit probe.
            accounting: "exact" or "autotts".
            observation: what is observed.
            max_steps: steps after which an episode is truncated.
            render_mode: None, "ansi" or "rgb_array".
            autoreset_mode: what follows the end of an episode.
            max_episode_steps: what ``gym.make_vec`` passes for a spec that has it; the smaller of it and ``max_steps``
                truncates.
            shaping: reward correctness as it changes, not at the end; as in ``ReplayEnv``.
            reward: a compiled function in place of the default reward; as in ``ReplayEnv``.
            aggregator: a compiled function in place of the default answer of STOP; as in ``ReplayEnv``.
            threads: how many step a part of the environments each; the results are the same.
            token_unit: tokens that a price is for; as in ``ReplayEnv``.

        Raises:
            AutottsError: an argument is out of its range.
            StoreError: the store is not found or not valid.
        """
        if render_mode is not None:
            choice("render_mode", render_mode, RENDER_MODES)
        num_envs = integer("num_envs", num_envs, 1)
        threads = integer("threads", threads, 1)
        named = {"max_steps": max_steps, "max_episode_steps": max_episode_steps}
        limits = [integer(name, limit, 1) for name, limit in named.items() if limit is not None]
        modes = [mode.value for mode in AutoresetMode]
        if not isinstance(autoreset_mode, AutoresetMode):
            choice("autoreset_mode", autoreset_mode, modes)
        rules = Rules(
            max_branches=max_branches,
            token_budget=token_budget,
            probe=probe,
            probe_cost=probe_cost,
            accounting=accounting,
            cost_weight=cost_weight,
            latency_weight=latency_weight,
            token_unit=token_unit,
            shaping=shaping,
            reward=reward,
            aggregator=aggregator,
            max_steps=min(limits, default=None),
            auto_stop=True,
        )
        self.num_envs = num_envs
        self._threads = threads
        self.render_mode = render_mode
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {
            "render_modes": list(RENDER_MODES),
            "render_fps": 4,
            "autoreset_mode": self.autoreset_mode,
        }
        self._episodes = self._replay(store, observation, rules)
        self.single_observation_space = self._episodes.observation_space
        self.single_action_space = self._episodes.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._no_restart = np.zeros(num_envs, np.bool_)
        self._ended = np.ones(num_envs, np.bool_)
        self._seeded = False

    def _replay(self, store: StoreLike, observation: Wanted, rules: Rules) -> Episodes:
        """The episodes that the environments step."""
        return Episodes(store, self.num_envs, observation, rules, self._threads)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode in every environment, or in those of ``options["reset_mask"]``."""
        check("options", options, options is None or isinstance(options, Mapping), "a dictionary or None")
        remaining = dict(options or {})
        chosen = self._reset_mask(remaining.pop("reset_mask", None))
        seeds, checked = self._seeds(seed), self._episodes.options(remaining)
        if seed is not None and not dimensions(seed):
            super().reset(seed=seeds[0])
        self._seed_streams(seeds, chosen)
        self._episodes.begin(chosen, checked)
        self._ended = self._ended & ~chosen
        out = self._episodes.empty()
        self._episodes.encode(np.ones(self.num_envs, np.bool_), out)
        return self._episodes.observation.shown(out), self._infos(np.zeros(self.num_envs, np.bool_), chosen=chosen)

    def _reset_mask(self, mask: Any) -> NDArray[np.bool_]:
        if mask is None:
            return np.ones(self.num_envs, np.bool_)
        good = isinstance(mask, np.ndarray) and mask.dtype == np.bool_ and mask.shape == (self.num_envs,) and mask.any()
        if not good:
            raise AutottsError(
                f"options['reset_mask']: expected a bool array ({self.num_envs},) with at least one True, "
                f"got {quote(mask)}"
            )
        if not self._seeded and not mask.all():
            raise ResetNeeded("options['reset_mask']: expected every environment to have been reset once before")
        chosen: NDArray[np.bool_] = mask.copy()
        return chosen

    def _seeds(self, seed: Any) -> list[int | None]:
        """The seed of each environment: s, s + 1, ... for one number s."""
        if not dimensions(seed):
            first = checked_seed("seed", seed)
            return [None if first is None else first + k for k in range(self.num_envs)]
        seeds = list(seed)
        if len(seeds) != self.num_envs:
            raise AutottsError(f"seed: expected one for each of {self.num_envs} environments, got {len(seeds)}")
        return [checked_seed(f"seed[{k}]", each) for k, each in enumerate(seeds)]

    def _seed_streams(self, seeds: list[int | None], chosen: NDArray[np.bool_]) -> None:
        """Key the streams of the chosen environments: by seeds, or by fresh entropy if they have none yet."""
        keyed = chosen & np.array([value is not None or not self._seeded for value in seeds])
        streams = np.array([stream_of_seed(seeds[k]) for k in np.flatnonzero(keyed).tolist()], np.uint64)
        self._episodes.state.seed(streams, keyed)
        self._seeded = True

    def step(
        self, actions: Any
    ) -> tuple[Any, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Take one action in every environment.

        Args:
            actions: (N,) integers.

        Raises:
            ResetNeeded: an episode has ended and the autoreset mode is DISABLED, or none has begun.
            AutottsError: the actions are not N whole numbers, or one is not in the action space.
        """
        results, observations, ended = self._take(actions)
        rewards, terminations, truncations, invalid = results[:4]
        if ended is None:
            infos = self._infos(invalid)
        elif self.autoreset_mode == AutoresetMode.SAME_STEP:
            infos = {**self._final_infos(ended, invalid & ended), **self._infos(invalid & ~ended)}
        else:
            infos = self._infos(invalid, ended.nonzero()[0])
        return observations, rewards, terminations, truncations, infos

    def advance(
        self, actions: Any
    ) -> tuple[Any, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_], Ends | None]:
        """``step`` without Gymnasium's infos, which for many environments take longer than the step.

        Returns:
            What ``step`` returns, but instead of the infos whether each action was not admissible, (N,) bool, and the
            outcomes of the episodes that ended; None: none has. ``action_masks`` has the masks.
        """
        results, observations, ended = self._take(actions)
        ends = None
        if ended is not None:
            (rows,) = ended.nonzero()
            last = self._episodes.last(rows) if self.autoreset_mode == AutoresetMode.SAME_STEP else []
            ends = Ends(rows, self._episodes.outcomes(rows), last)
        return observations, *results[:4], ends

    def _take(self, actions: Any) -> tuple[Results, Any, NDArray[np.bool_] | None]:
        """Take the actions; returns results, observations, and which episodes have ended, None: none has."""
        restart = self._ended
        if not self._seeded or (self.autoreset_mode != AutoresetMode.NEXT_STEP and restart.any()):
            raise ResetNeeded("step: expected running episodes; call reset first")
        again = self.autoreset_mode == AutoresetMode.SAME_STEP
        ended = None
        try:
            results, count = self._episodes.step_all(actions, restart, again)
            if count:
                ended = results.terminations | results.truncations
        except BaseException:
            # The caller gets no results, but an episode that has ended must not go on.
            self._ended = ~self._episodes.state.running
            raise
        self._ended = self._no_restart if ended is None or again else ended
        return results, self._episodes.observation.shown(results.observed), ended

    def _infos(
        self,
        invalid: NDArray[np.bool_],
        ended: NDArray[np.int64] = _NONE,
        chosen: NDArray[np.bool_] | None = None,
    ) -> dict[str, Any]:
        """The infos of every environment, those of an outcome neutral but where an episode has ended.

        Args:
            invalid: (N,) bool, whether the actions were not admissible.
            ended: (K,), the environments whose episodes have just ended.
            chosen: (N,) bool, the environments that have infos, the others are blank; None: all.
        """
        infos = {
            "action_mask": self._episodes.masks(),
            "invalid_action": invalid,
            **self._episodes.spread(ended, False),
        }
        present = np.ones((len(infos), self.num_envs), np.bool_)
        if chosen is not None and not chosen.all():
            present &= chosen
            for array in infos.values():
                array[~chosen] = None if array.dtype == object else 0
        infos |= {f"_{key}": row for key, row in zip(list(infos), present, strict=True)}
        return infos

    def _final_infos(self, ended: NDArray[np.bool_], invalid: NDArray[np.bool_]) -> dict[str, Any]:
        """Last observations and infos of the episodes that ended, as Gymnasium's SAME_STEP has them."""
        (rows,) = ended.nonzero()
        final_obs = np.full(self.num_envs, None, object)
        for n, observation in zip(rows.tolist(), self._episodes.last(rows), strict=True):
            final_obs[n] = observation
        common = {"action_mask": self._episodes.last_masks(ended), "_action_mask": ended.copy()}
        common |= {"invalid_action": invalid, "_invalid_action": ended.copy()}
        final_info = {**common}
        for key, values in self._episodes.spread(rows, True).items():
            final_info[key], final_info[f"_{key}"] = values, ended.copy()
        return {"final_obs": final_obs, "_final_obs": ended, "final_info": final_info, "_final_info": ended.copy()}

    @property
    def threads(self) -> int:
        """How many threads step a part of the environments each."""
        return len(self._episodes.threads.bounds)

    @threads.setter
    def threads(self, threads: int) -> None:
        threads = integer("threads", threads, 1)
        self._episodes.threads.close()
        self._episodes.threads = Threads(threads, self.num_envs)

    def close_extras(self, **kwargs: Any) -> None:
        """End the threads."""
        self._episodes.threads.close()

    def action_masks(self) -> NDArray[np.bool_]:
        """Which actions are admissible, (N, actions) bool."""
        masks: NDArray[np.bool_] = self._episodes.masks().astype(np.bool_)
        return masks

    @property
    def revealed(self) -> Revealed:
        """The raw revealed state of all N episodes: read-only arrays."""
        return self._episodes.state.revealed

    def render(self) -> tuple[Any, ...] | None:
        """Every episode as text or picture; see ``ReplayEnv.render``."""
        if self.render_mode is None:
            gym.logger.warn("render: no render mode was given; make the environment with render_mode='rgb_array'")
            return None
        draw = render_ansi if self.render_mode == "ansi" else render_rgb
        return tuple(draw(self._episodes.state, n) for n in range(self.num_envs))
