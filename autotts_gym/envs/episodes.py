"""What the single and the vector environment share: episodes with their spaces, seeds, options and infos."""

import logging
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from numpy.typing import NDArray

from autotts_gym.engine import Bank, PoolState, Rules, layout
from autotts_gym.envs import steps
from autotts_gym.envs.threads import Threads
from autotts_gym.errors import AutottsError, plain, quote
from autotts_gym.memory import require_memory
from autotts_gym.observation.encoding import Observation, Wanted, choose_observation
from autotts_gym.observation.rows import encode
from autotts_gym.replay import StoreLike, resolve_stores
from autotts_gym.validation import check, describe, dimensions, number, numbers, shaped, spread, within

logger = logging.getLogger(__name__)

OPTIONS = ("question", "branch_seed", "cost_weight")
RENDER_MODES = ("ansi", "rgb_array")
_OF_A_STEP = ("encoder", "_outcomes", "_none", "_texts", "_last", "_last_masks")
_STOP_REASONS = np.array(layout.STOP_REASONS, object)

NO_ANSWER = ""
"""What infos show for no answer; no answer is spelled so."""

NEUTRAL: dict[str, Any] = dict(
    zip(layout.OUTCOME, (NO_ANSWER, False, 0, 0, 0, 0, layout.STOP_REASONS[layout.RUNNING]), strict=True)
)
"""What infos show of an outcome before there is one; of the same types, so that infos can be stacked."""


class Results(NamedTuple):
    """The results of a step of N episodes, which the kernels write.

    Of ``outcomes`` only the columns, and of the last two only the rows, of episodes that have just ended are written.
    """

    rewards: NDArray[np.float64]  # (N,)
    terminations: NDArray[np.bool_]  # (N,)
    truncations: NDArray[np.bool_]  # (N,)
    invalid: NDArray[np.bool_]  # (N,), whether the action was not admissible
    observed: NDArray[np.float32]  # (N, W), the encoded observations
    outcomes: NDArray[np.int64]  # (7, N) by layout.OUTCOME, of episodes that have just ended
    last_masks: NDArray[np.int8]  # (N, actions), where in their place the next ones have begun
    last: NDArray[np.float32]  # (N, W), likewise


class Options(NamedTuple):
    """Reset options that were checked, each (N,); None: not given."""

    questions: NDArray[np.int64] | None = None
    seeds: NDArray[np.int64] | None = None
    weights: NDArray[np.float64] | None = None


UNSET = Options()


def checked_seed(name: str, seed: Any) -> int | None:
    """Check a seed by the one rule of all environments: a whole number of at least 0, of Python or NumPy, or None.

    Raises:
        AutottsError: it is neither.
    """
    if isinstance(seed, np.ndarray) and seed.ndim == 0:
        seed = seed[()]
    if seed is None:
        return None
    good = isinstance(seed, int | np.integer) and not isinstance(seed, bool) and seed >= 0
    check(name, seed, bool(good), "a whole number of at least 0, or None")
    return int(seed)


def draw_stream(generator: np.random.Generator) -> int:
    """Key of an environment's stream of episodes: one draw of its generator."""
    return int(generator.integers(0, 2**64, dtype=np.uint64))


def stream_of_seed(seed: int | None) -> int:
    """Key of the stream of an environment that is reset with a seed."""
    return draw_stream(seeding.np_random(seed)[0])


def _warn_of_missing(bank: Bank) -> None:
    """Say once what observations and rewards lack on stores without probes or labels."""
    if bank.probeless:
        logger.warning(
            "%s: no probes, so that the features of answers say nothing of a branch before it finishes",
            plain(", ".join(bank.probeless)),
        )
    if not bank.labelled:
        logger.warning(
            "%s: unlabelled questions, whose answers are rewarded with nothing and reported as not correct",
            plain(", ".join(bank.unlabelled)),
        )


def _repeated(value: Any, count: int) -> NDArray[np.object_]:
    """An array of one object; ``np.full`` would make a new text for every element."""
    array = np.empty(count, object)
    array.fill(value)
    return array


def observation_space(observation: Observation, max_branches: int) -> spaces.Space[Any]:
    """The space of one observation of an episode with so many branch slots."""
    low, high = observation.bounds(max_branches)
    if not observation.in_two:
        return spaces.Box(low, high, dtype=np.float32)
    parts = len(observation.of_episode)
    return spaces.Dict(
        {"pool": spaces.Box(low[:parts], high[:parts]), "branches": spaces.Box(low[parts:], high[parts:])}
    )


class Episodes:
    """N episodes of one environment, as the single and the vector environment need them.

    Attributes:
        state: the engine's state.
        observation: what is observed.
        observation_space: of one episode.
        actions: how many actions there are.
        action_space: of one episode.
        ahead: how far ahead memory is fetched, see ``engine.prefetch``; 0: not at all.
    """

    def __init__(self, store: StoreLike, episodes: int, observation: Wanted, rules: Rules, threads: int = 1) -> None:
        self.state = self._open(store, episodes, rules)
        bank = self.state.bank
        self.observation = choose_observation(observation, signals=bank.signal_ranges)
        _warn_of_missing(bank)
        slots = int(rules.max_branches)
        what = f"observation: {self.observation.name!r} of {episodes} episodes with max_branches={slots}"
        require_memory(what, 8 * episodes * self.observation.width(slots))
        self.observation_space = observation_space(self.observation, slots)
        self.actions = self._count_actions(rules)
        self.action_space = spaces.Discrete(self.actions)
        self._width = self.observation.width(slots)
        self.threads = Threads(threads, episodes)
        self.ahead = 1
        self._allocate()

    def _open(self, store: StoreLike, episodes: int, rules: Rules) -> PoolState:
        """The state of the episodes, none of which has begun."""
        return PoolState(Bank(resolve_stores(store)), episodes, rules)

    @property
    def num_questions(self) -> int:
        """How many questions there are."""
        return self.state.bank.num_questions

    def _allocate(self) -> None:
        """Arrays for what a step reports of episodes that end, see ``Results``; they are read before the next step."""
        episodes = self.state.episodes
        self._outcomes = np.empty((len(layout.OUTCOME), episodes), np.int64)
        self._none = np.zeros_like(self._outcomes)  # what ``NEUTRAL`` is, as kernels would write it
        self._none[0] = -1
        self._texts = {
            key: [_repeated(text, episodes) for text in (None, NEUTRAL[key])] for key in ("answer", "stop_reason")
        }
        self._last = self.empty()
        self._last_masks = np.empty((episodes, self.actions), np.int8)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a pickle, without the arrays that matter only during a step."""
        return {name: value for name, value in vars(self).items() if name not in _OF_A_STEP}

    def __setstate__(self, members: dict[str, Any]) -> None:
        """Restore a copy with arrays of its own."""
        vars(self).update(members)
        self._allocate()

    def _count_actions(self, rules: Rules) -> int:
        """How many actions there are."""
        return layout.actions(rules.max_branches, rules.probe == "explicit")

    @cached_property
    def encoder(self) -> NDArray[np.int64]:
        """The words of the compiled encoder."""
        return self.observation.encoder(self.state.bank.signal_names)

    def empty(self) -> NDArray[np.float32]:
        """A fresh array for the encoded observations of all episodes, (N, W)."""
        return np.empty((self.state.episodes, self._width), np.float32)

    def options(self, options: Any) -> Options:
        """Reset options, checked: ``question``, ``branch_seed``, ``cost_weight``; each a scalar or (N,).

        Raises:
            AutottsError: an option is unknown or its value out of range.
        """
        if options is None:
            return Options()
        check("options", options, isinstance(options, Mapping), "a dictionary or None")
        unknown = sorted(map(str, set(options) - set(OPTIONS)))
        if unknown:
            raise AutottsError(f"options: expected only {', '.join(OPTIONS)}, got {plain(', '.join(unknown))}")
        questions = None
        if "question" in options:
            value, count = options["question"], self.num_questions
            if not dimensions(value):
                value = number("options['question']", value, count)
            questions = spread("options['question']", value, np.int64, self.state.episodes)
            within("options['question']", questions, 0, count - 1)
        weights = self._option(options, "cost_weight", np.float64)
        if weights is not None and not ((weights >= 0) & (weights < np.inf)).all():
            raise AutottsError(
                f"options['cost_weight']: expected finite numbers of at least 0, got {quote(options['cost_weight'])}"
            )
        return Options(questions, self._option(options, "branch_seed", np.int64), weights)

    def _option(self, options: Mapping[str, Any], name: str, dtype: Any) -> NDArray[Any] | None:
        """A reset option, one value an episode."""
        if name not in options:
            return None
        return spread(f"options[{name!r}]", options[name], dtype, self.state.episodes)

    def begin(self, chosen: NDArray[np.bool_], options: Options = UNSET) -> None:
        """Begin episodes under reset options."""
        state = self.state
        state.begin(chosen, -1 if options.questions is None else options.questions)
        if options.seeds is not None:
            state.shuffle(chosen, options.seeds)
        if options.weights is not None:
            state.pools["cost_weight"][chosen] = options.weights[chosen]

    def masks(self) -> NDArray[np.int8]:
        """Which actions are admissible, (N, actions); fresh."""
        return self.state.admissible.copy()

    def step_one(self, action: Any) -> tuple[NDArray[np.float32], float, bool, int]:
        """Take an action in episode 0 and encode it.

        Returns:
            (the encoded observation (1, W), reward, whether the action was admissible, stop reason).

        Raises:
            AutottsError: the action is not in the action space.
        """
        chosen = number("action", action, self.actions)
        self.state.require("begin", "perform")
        out = self.empty()
        step: tuple[float, bool, int] = steps.step_one(self.state.addresses, chosen, self.encoder, out)
        if step[2] != layout.RUNNING:
            steps.write_outcome(self.state.addresses, self._outcomes)
        return out, *step

    def _step_first(self, action: Any) -> tuple[NDArray[np.float32], float, bool, int]:
        """What ``step_one`` does, by a step of all, of which there is one."""
        chosen = number("action", action, self.actions)
        results, _ = self.step_all(np.array([chosen]), np.zeros(1, np.bool_), False)
        reason = int(self.state.pools["stop_reason"][0])
        return results.observed, float(results.rewards[0]), not results.invalid[0], reason

    def _begin_again(self, results: Results) -> None:
        """Begin the next episode where one has ended, and keep the last mask and observation of that one."""
        ended = results.terminations | results.truncations
        results.last_masks[ended] = self.masks()[ended]
        results.last[ended] = results.observed[ended]
        self.begin(ended)
        self.encode(ended, results.observed)

    def _results(self) -> Results:
        """Fresh arrays for the results of a step."""
        n = self.state.episodes
        terminations, truncations, invalid = np.empty((3, n), np.bool_)
        return Results(
            np.empty(n, np.float64),
            terminations,
            truncations,
            invalid,
            self.empty(),
            self._outcomes,
            self._last_masks,
            self._last,
        )

    def step_all(self, actions: Any, restart: NDArray[np.bool_], again: bool) -> tuple[Results, int]:
        """Take an action in every episode, but begin the next one where ``restart``; encode all.

        Args:
            actions: (N,), each in the action space.
            restart: (N,) bool.
            again: whether the next episode begins at once where one ends.

        Returns:
            (the results, how many episodes have ended).

        Raises:
            AutottsError: an array has another shape or dtype, or an action is not in the action space.
        """
        rows = (self.state.episodes,)
        actions = numbers("actions", actions, rows, self.actions)
        restart = shaped("restart", restart, np.bool_, rows)
        results = self._results()
        return results, self._play_step(actions, restart, again, results)

    def _play_step(self, actions: NDArray[np.int64], restart: NDArray[np.bool_], again: bool, results: Results) -> int:
        """The step of ``step_all``, with arguments that are right; returns how many episodes have ended."""
        self.state.require("begin", "perform")

        def step(first: int, end: int) -> int:
            ended: int = steps.step_all(
                self.state.addresses, first, end, actions, restart, again, self.encoder, results, self.ahead
            )
            return ended

        return self.threads.sum(step)

    def encode(self, chosen: NDArray[np.bool_], out: NDArray[np.float32]) -> None:
        """Write the observations of the chosen episodes into their rows.

        Raises:
            AutottsError: an array has another shape or dtype than ``empty`` makes, or is not contiguous.
        """
        chosen = shaped("chosen", chosen, np.bool_, (self.state.episodes,))
        own = self._last
        good = isinstance(out, np.ndarray) and out.dtype == own.dtype and out.shape == own.shape
        if not good or not out.flags.c_contiguous or not out.flags.writeable:
            raise AutottsError(f"out: expected {describe(own)}, contiguous, to be written to, got {describe(out)}")
        encode(self.state.addresses, chosen, self.encoder, out)

    def outcomes(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """What the infos of episodes that have just ended say of them, an array (K,) for every key.

        Args:
            rows: (K,), which they are.
        """
        answers, correct, *counts, reasons = self._outcomes.take(
            numbers("rows", rows, None, self.state.episodes), axis=1
        )
        values = (self._answers(answers), correct != 0, *counts, _STOP_REASONS[reasons])
        return dict(zip(layout.OUTCOME, values, strict=True))

    def spread(self, rows: NDArray[np.int64], blank: bool) -> dict[str, NDArray[Any]]:
        """The outcomes of some episodes among all of them, an array (N,) for every key.

        Args:
            rows: (K,), which have just ended.
            blank: whether the others are left blank, as Gymnasium leaves rows that have no such info; else ``NEUTRAL``.
        """
        table = self._none.copy()
        texts = {key: arrays[not blank].copy() for key, arrays in self._texts.items()}
        if len(rows):
            few = self._outcomes.take(rows, axis=1)
            table[:, rows] = few
            texts["answer"][rows] = self._answers(few[0])
            texts["stop_reason"][rows] = _STOP_REASONS[few[-1]]
        return {**dict(zip(layout.OUTCOME, table, strict=True)), "correct": table[1] != 0, **texts}

    def _answers(self, answers: NDArray[np.int64]) -> NDArray[np.object_]:
        """What infos show of answers, (K,)."""
        texts = self.state.bank.answer_texts(answers)
        texts[answers < 0] = NO_ANSWER
        return texts

    def last(self, rows: NDArray[np.int64]) -> list[Any]:
        """The last observations of episodes in whose place others have just begun, and of no others."""
        return [self.observation.shown(row) for row in self._last[rows]]

    def last_masks(self, ended: NDArray[np.bool_]) -> NDArray[np.int8]:
        """Their last masks (N, actions), blank elsewhere."""
        return self._last_masks * ended[:, None]
