"""What the single and the vector environment share: episodes with their spaces, seeds, options and infos."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from numpy.typing import NDArray

from autotts_gym.engine import Bank, PoolState, Rules, layout
from autotts_gym.engine.votes import confidence_table
from autotts_gym.envs import kernels
from autotts_gym.envs.features import Buffers, Results, buffers, observation_space
from autotts_gym.envs.shares import Shares
from autotts_gym.errors import plain, quote
from autotts_gym.replay import StoreLike, resolve_stores

logger = logging.getLogger(__name__)

OPTIONS = ("question", "branch_seed", "cost_weight")
RENDER_MODES = ("ansi", "rgb_array")
_OF_A_STEP = ("_outcomes", "_last", "_last_masks")
_STOP_REASONS = np.array(layout.STOP_REASONS, object)


def draw_stream(generator: np.random.Generator) -> int:
    """Key of an environment's stream of episodes: one draw of its generator."""
    return int(generator.integers(0, 2**64, dtype=np.uint64))


def stream_of_seed(seed: int | None) -> int:
    """Key of the stream of an environment that is reset with a seed."""
    return draw_stream(seeding.np_random(seed)[0])


def _tell_missing(bank: Bank) -> None:
    """Says once what observations and rewards lack on stores without probes or labels."""
    if bank.probeless:
        logger.warning(
            "%s: no probes, so that the features of answers tell nothing of a branch before it finishes",
            plain(", ".join(bank.probeless)),
        )
    if not bank.labelled:
        logger.warning(
            "%s: unlabelled questions, whose answers are rewarded with nothing and told as not correct",
            plain(", ".join(store.name for store in bank.stores if not store.labelled.all())),
        )


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
        self.action_space = spaces.Discrete(self._actions(rules))
        bank = Bank(resolve_stores(store))
        _tell_missing(bank)
        self.state = PoolState(bank, episodes, rules)
        self.confidence = confidence_table(rules.max_branches)
        self.shares = Shares(threads, episodes)
        self._make_room()

    def _make_room(self) -> None:
        """Arrays for what a step tells of episodes that end, see ``Results``; they are read before the next step."""
        episodes = self.state.episodes
        self._outcomes = np.empty((len(layout.OUTCOME), episodes), np.int64)
        self._last = self.buffers()
        self._last_masks = np.empty((episodes, int(self.action_space.n)), np.int8)

    def __getstate__(self) -> dict[str, Any]:
        """Travels without what matters only during a step."""
        return {name: value for name, value in vars(self).items() if name not in _OF_A_STEP}

    def __setstate__(self, members: dict[str, Any]) -> None:
        """A copy has room of its own."""
        vars(self).update(members)
        self._make_room()

    def _actions(self, rules: Rules) -> int:
        """How many actions there are."""
        return layout.actions(rules.max_branches, rules.probe == "explicit")

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
            raise ValueError(f"options: expected only {', '.join(OPTIONS)}, got {plain(', '.join(unknown))}")
        known = f"0 .. {state.bank.num_questions - 1}"
        questions = self._option(options, "question", -1, "iu", known)
        if "question" in options and questions.min() < 0:
            raise ValueError(f"options['question']: expected {known}, got {quote(options['question'])}")
        seeds = self._option(options, "branch_seed", 0, "iu", "whole numbers")
        weights = self._option(options, "cost_weight", 0.0, "iuf", "numbers of at least 0")
        if not ((weights >= 0) & (weights < np.inf)).all():
            raise ValueError(f"options['cost_weight']: expected at least 0, got {quote(options['cost_weight'])}")
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
                f"options[{quote(name)}], one or {self.state.episodes} values: expected {expected}, "
                f"got {quote(options[name])}"
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
        if step[2] != layout.RUNNING:
            kernels.tell_one(self.state.handle, self._outcomes)
        return step

    def results(self, out: Buffers) -> Results:
        """Fresh arrays for the results of a step."""
        n = self.state.episodes
        terminations, truncations, invalid = np.empty((3, n), np.bool_)
        return Results(
            np.empty(n, np.float64),
            terminations,
            truncations,
            invalid,
            out.pool,
            out.branches,
            self._outcomes,
            self._last_masks,
            self._last.pool,
            self._last.branches,
        )

    def step_all(self, actions: NDArray[np.int64], restart: NDArray[np.bool_], again: bool, results: Results) -> int:
        """Take an action in every episode, but begin the next one where ``restart``; encode all.

        Args:
            actions: (N,), each in the action space.
            restart: (N,) bool.
            again: whether the next episode begins at once where one ends.
            results: to be filled.

        Returns:
            How many episodes have ended.
        """

        def step(first: int, end: int) -> int:
            ended: int = kernels.step_all(
                self.state.handle, first, end, actions, restart, again, self.confidence, results
            )
            return ended

        return self.shares.sum(step)

    def encode(self, chosen: NDArray[np.bool_], out: Buffers) -> None:
        """Write the observations of the chosen episodes."""
        kernels.encode_all(self.state.handle, chosen, self.confidence, out.pool, out.branches)

    def outcomes(self, rows: NDArray[np.int64], spread: bool = False) -> dict[str, NDArray[Any]]:
        """What the infos of episodes that have just ended tell of them, an array for every key.

        Args:
            rows: (K,), which they are.
            spread: whether the arrays go over all N episodes, blank in the others, or else over these.
        """
        told = self._outcomes.take(rows, axis=1)
        answers, reasons = self.state.bank.answer_texts(told[0]), _STOP_REASONS[told[-1]]
        if spread:
            few, told = told, np.zeros(self._outcomes.shape, np.int64)
            told[:, rows] = few
            answers, reasons = self._spread(rows, answers), self._spread(rows, reasons)
        _, correct, *numbers, _ = told
        return dict(zip(layout.OUTCOME, (answers, correct != 0, *numbers, reasons), strict=True))

    def _spread(self, rows: NDArray[np.int64], texts: NDArray[np.object_]) -> NDArray[np.object_]:
        """The texts of some episodes over all of them, None for the others."""
        values = np.empty(self.state.episodes, object)
        values[rows] = texts
        return values

    def last(self, rows: NDArray[np.int64]) -> list[Any]:
        """The last observations of episodes in whose place others have just begun, and of no others."""
        return self._last.observation_copies(rows)

    def last_masks(self, ended: NDArray[np.bool_]) -> NDArray[np.int8]:
        """Their last masks (N, actions), blank elsewhere."""
        return self._last_masks * ended[:, None]
