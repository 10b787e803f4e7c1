"""The project's native vector environments as a ``VecEnv`` of Stable-Baselines3."""

from collections.abc import Iterable, Sequence
from time import perf_counter
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

import autotts_gym  # noqa: F401 - registers the environments
from autotts_gym.engine.layout import OUTCOME
from autotts_gym.errors import quote

MONITORED = OUTCOME[1:]
"""What ``VecMonitor`` copies into ``info["episode"]``."""


def _end_info(
    answer: str | None,
    correct: bool,
    total_tokens: int,
    sequential_tokens: int,
    branches_opened: int,
    branches_pruned: int,
    stop_reason: str,
    last: Any,
    truncated: bool,
) -> dict[str, Any]:
    """The info of an episode's last step; a display is three times as fast as zipping names and values."""
    return {
        "answer": answer,
        "correct": correct,
        "total_tokens": total_tokens,
        "sequential_tokens": sequential_tokens,
        "branches_opened": branches_opened,
        "branches_pruned": branches_pruned,
        "stop_reason": stop_reason,
        "terminal_observation": last,
        "TimeLimit.truncated": truncated,
    }


class ReplayVecEnv(VecEnv):
    """One native vector environment behind the interface that Stable-Baselines3 trains on.

    Infos are empty, but where an episode ended: there they hold its outcome, ``terminal_observation`` and
    ``TimeLimit.truncated``. ``env_method("action_masks")`` gives a row of bools for every environment.

    Attributes:
        envs: the native environment, in autoreset mode SAME_STEP.
        masks: (N, actions) bool, which actions are admissible.
        invalid: (N,) bool, whether the last action was not.
        seconds: spent in steps.
    """

    def __init__(self, env_id: str, num_envs: int, **arguments: Any) -> None:
        """Make the environments.

        Args:
            env_id: ``AutoTTS-Replay-v0`` or ``AutoTTS-ReplayRounds-v0``.
            num_envs: N.
            arguments: of the environment.
        """
        self.envs: Any = gym.make_vec(env_id, num_envs, autoreset_mode=AutoresetMode.SAME_STEP, **arguments)
        self.spec = self.envs.spec
        space = self.envs.single_action_space
        assert isinstance(space, spaces.Discrete)
        self.masks = np.ones((num_envs, int(space.n)), np.bool_)
        self.invalid = np.zeros(num_envs, np.bool_)
        self.seconds = 0.0
        self._actions = np.zeros(num_envs, np.int64)
        super().__init__(num_envs, self.envs.single_observation_space, space)

    def reset(self) -> Any:
        """Begin an episode everywhere; the seeds and options that were set hold for this once."""
        seeded = any(seed is not None for seed in self._seeds)
        observations, infos = self.envs.reset(seed=list(self._seeds) if seeded else None, options=self._joint_options())
        self._reset_seeds()
        self._reset_options()
        self.masks, self.invalid = infos["action_mask"].astype(np.bool_), infos["invalid_action"]
        self.reset_infos = [{"action_mask": mask, "invalid_action": False} for mask in infos["action_mask"]]
        return observations

    def _joint_options(self) -> dict[str, Any]:
        """The options of all environments as the native one takes them: an array each."""
        keys = set(self._options[0])
        if len(self._options) != self.num_envs or any(set(options) != keys for options in self._options):
            raise ValueError("options: expected the same keys for every environment")
        return {key: np.array([options[key] for options in self._options]) for key in sorted(keys)}

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for ``step_wait``."""
        self._actions = actions

    def step_wait(self) -> tuple[Any, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Take one action in every environment; where an episode ends, the next one begins at once."""
        began = perf_counter()
        observations, rewards, terminations, truncations, self.invalid, ends = self.envs.advance(self._actions)
        self.masks = self.envs.action_masks()
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if ends is not None:
            columns = [ends.outcomes[key].tolist() for key in OUTCOME]
            columns += [ends.observations, (truncations & ~terminations)[ends.rows].tolist()]
            for n, info in zip(ends.rows.tolist(), map(_end_info, *columns), strict=True):
                infos[n] = info
        self.seconds += perf_counter() - began
        return observations, rewards.astype(np.float32), terminations | truncations, infos

    def close(self) -> None:
        """Close the native environment; more than once does no harm."""
        self.envs.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute of the native environment, which all environments share; the spaces are those of one."""
        single = {"observation_space": "single_observation_space", "action_space": "single_action_space"}
        return [getattr(self.envs, single.get(attr_name, attr_name)) for _ in self._rows(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute that the native environment has, for all environments at once.

        Raises:
            AttributeError: if it has no such attribute.
            ValueError: if only some environments are meant.
        """
        getattr(self.envs, attr_name)
        if sorted(set(self._rows(indices))) != list(range(self.num_envs)):
            raise ValueError(
                f"set_attr: expected all environments, which share {quote(attr_name)}, got {quote(indices)}"
            )
        setattr(self.envs, attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """``action_masks`` or ``render``, one item for each environment.

        Raises:
            AttributeError: another method.
        """
        if method_name == "action_masks":
            items: Any = self.masks
        elif method_name == "render":
            items = self.envs.render() or [None] * self.num_envs
        else:
            raise AttributeError(
                f"{type(self).__name__}: expected method action_masks or render, got {quote(method_name)}"
            )
        return [items[n] for n in self._rows(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """No environment has a wrapper of its own."""
        return [False for _ in self._rows(indices)]

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """A picture of every environment."""
        return self.env_method("render")

    def _rows(self, indices: Any) -> Iterable[int]:
        return list(self._get_indices(indices))

    def get_state(self) -> dict[str, Any]:
        """Everything that the coming steps depend on; pickle it before the next step."""
        return {"envs": self.envs, "masks": self.masks, "invalid": self.invalid}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from such a state, with as many threads as now."""
        state["envs"].threads = self.envs.threads
        self.envs, self.masks, self.invalid = state["envs"], state["masks"], state["invalid"]


def make_vec_env(env_id: str, num_envs: int, **arguments: Any) -> VecMonitor:
    """``ReplayVecEnv`` under the ``VecMonitor`` that adds ``info["episode"]``, outcome included."""
    return VecMonitor(ReplayVecEnv(env_id, num_envs, **arguments), info_keywords=MONITORED)
