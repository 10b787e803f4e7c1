"""What the single and the vector environment share: episodes with their spaces, seeds, options and infos."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from numpy.typing import NDArray

from autotts_gym.engine import Bank, PoolState, Rules, layout
from autotts_gym.engine.votes import confidence_table
from autotts_gym.envs import kernels
from autotts_gym.envs.features import Buffers, buffers, observation_space
from autotts_gym.envs.shares import Shares
from autotts_gym.replay import StoreLike, resolve_stores

OPTIONS = ("question", "branch_seed", "cost_weight")
RENDER_MODES = ("ansi", "rgb_array")
_STOP_REASONS = np.array(layout.STOP_REASONS, object)


def draw_stream(generator: np.random.Generator) -> int:
    """Key of an environment's stream of episodes: one draw of its generator."""
    return int(generator.integers(0, 2**64, dtype=np.uint64))


def stream_of_seed(seed: int | None) -> int:
    """Key of the stream of an environment that is reset with a seed."""
    return draw_stream(seeding.np_random(seed)[0])


class Episodes:
    """N episodes of one environment, as its faces need them.

    Attributes:
        state: the engine's state.
        observation: "dict", "flat", "pool" or "evidence".
        observation_space: of one episode.
        action_space: of one episode.
    """

    def __init__(self, store: StoreLike, episodes: int, observation: str, rules: Rules, threads: int = 1) -> None:
        self.observation = observation
        self.observation_space = observation_space(observation, rules.max_branches)
        self.action_space = spaces.Discrete(layout.actions(rules.max_branches, rules.probe == "explicit"))
        self.state = PoolState(Bank(resolve_stores(store)), episodes, rules)
        self.confidence = confidence_table(rules.max_branches)
        self.shares = Shares(threads, episodes)

    def buffers(self) -> Buffers:
        """Fresh arrays for the observations of all episodes."""
        return buffers(self.observation, self.state.episodes, self.state.rules.max_branches)

    def begin(self, chosen: NDArray[np.bool_], options: Mapping[str, Any] | None) -> None:
        """Begin episodes under reset options: ``question``, ``branch_seed``, ``cost_weight``; each a scalar or (N,).

        Raises:
            ValueError: an option is unknown or its value out of range.
        """
        state = self.state
        if not options:
            state.begin(chosen)
            return
        unknown = sorted(set(options) - set(OPTIONS))
        if unknown:
            raise ValueError(f"options: expected only {', '.join(OPTIONS)}, got {', '.join(unknown)}")
        known = f"0 .. {state.bank.num_questions - 1}"
        questions = self._option(options, "question", -1, "iu", known)
        if "question" in options and questions.min() < 0:
            raise ValueError(f"options['question']: expected {known}, got {options['question']!r}")
        seeds = self._option(options, "branch_seed", 0, "iu", "whole numbers")
        weights = self._option(options, "cost_weight", 0.0, "iuf", "numbers of at least 0")
        if not ((weights >= 0) & (weights < np.inf)).all():
            raise ValueError(f"options['cost_weight']: expected at least 0, got {options['cost_weight']!r}")
        state.begin(chosen, questions)
        if "branch_seed" in options:
            state.shuffle(chosen, seeds)
        if "cost_weight" in options:
            state.pools["cost_weight"][chosen] = weights[chosen]

    def _option(self, options: Mapping[str, Any], name: str, default: Any, kinds: str, expected: str) -> NDArray[Any]:
        """A reset option, one value an episode."""
        value = np.asarray(options.get(name, default))
        if value.dtype.kind not in kinds or value.shape not in ((), (self.state.episodes,)):
            raise ValueError(
                f"options[{name!r}], one or {self.state.episodes} values: expected {expected}, got {options[name]!r}"
            )
        return np.broadcast_to(value, self.state.episodes)

    def masks(self) -> NDArray[np.int8]:
        """Which actions are admissible, (N, actions); fresh."""
        return self.state.admissible.copy()

    def step_one(self, action: int, out: Buffers) -> tuple[float, bool, int]:
        """Take an action in episode 0 and encode it; returns reward, whether it was admissible, stop reason."""
        step: tuple[float, bool, int] = kernels.step_one(
            self.state.handle, action, self.confidence, out.pool, out.branches
        )
        return step

    def step_all(
        self,
        actions: NDArray[np.int64],
        restart: NDArray[np.bool_],
        rewards: NDArray[np.float64],
        terminations: NDArray[np.bool_],
        truncations: NDArray[np.bool_],
        invalid: NDArray[np.bool_],
        out: Buffers,
    ) -> int:
        """Take an action in every episode, but begin the next one where ``restart``; encode all.

        Returns:
            How many episodes have ended.
        """

        def step(first: int, end: int) -> int:
            ended: int = kernels.step_all(
                self.state.handle,
                first,
                end,
                actions,
                restart,
                self.confidence,
                rewards,
                terminations,
                truncations,
                invalid,
                out.pool,
                out.branches,
            )
            return ended

        return self.shares.sum(step)

    def encode(self, chosen: NDArray[np.bool_], out: Buffers) -> None:
        """Write the observations of the chosen episodes."""
        kernels.encode_all(self.state.handle, chosen, self.confidence, out.pool, out.branches)

    def outcomes(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """What the infos of ended episodes tell of them: an array over ``rows`` for every key."""
        pools = self.state.pools
        return {
            "answer": self.state.answer_texts(rows, pools["answer"][rows]),
            "correct": self.state.correct[rows],
            "total_tokens": pools["total_tokens"][rows],
            "sequential_tokens": pools["sequential_tokens"][rows],
            "branches_opened": pools["opened"][rows].astype(np.int64),
            "branches_pruned": pools["pruned"][rows].astype(np.int64),
            "stop_reason": _STOP_REASONS[pools["stop_reason"][rows]],
        }
