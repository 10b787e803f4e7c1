"""The replay environment, one episode at a time."""

from textwrap import indent
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from autotts_gym.engine import Revealed, Rules, layout
from autotts_gym.engine.functions import Aggregator, Reward
from autotts_gym.envs.episodes import NEUTRAL, RENDER_MODES, Episodes, checked_seed, draw_stream
from autotts_gym.envs.rendering import render_ansi, render_rgb
from autotts_gym.envs.window import Window
from autotts_gym.observation.encoding import Wanted, documentation
from autotts_gym.replay import StoreLike
from autotts_gym.validation import choice

DEFAULT_MAX_STEPS = 10_000
_FIRST = np.zeros(1, np.int64)


class ReplayEnv(gym.Env[Any, np.int64]):
    """Spend tokens on the branches of a question, then answer it.

    ## Description
    Many branches (reasoning trajectories) were collected once for every question, with the answer that each would give
    (its probe) at every interval of tokens. An episode replays one question: the agent opens branches, deepens them,
    prunes them, watches their answers agree or not, and stops. It is rewarded for a right answer and pays for every
    token (AutoTTS, arXiv 2605.08083, section 3).

    ## Action Space
    ``Discrete(2 + 2 M)``, M = ``max_branches``; ``2 + 3 M`` with ``probe="explicit"``.

    | action | meaning |
    | --- | --- |
    | 0 | STOP: answer with the env's aggregator |
    | 1 | BRANCH: open the next slot and generate its first interval |
    | 2 + i | DEEPEN(i): generate the next interval of branch i or, behind its last one, finish it |
    | 2 + M + i | PRUNE(i): give branch i up; its vote no longer counts |
    | 2 + 2 M + i | PROBE(i), explicit probing only: reveal branch i's answer at its depth for ``probe_cost`` tokens |

    The aggregator is the majority of the finished branches' answers, ties to the one finished first; if none has
    finished, that of the latest answers of branches not pruned, ties to the one opened first; if there is none, no
    answer, which counts as wrong.

    An action that is not admissible does nothing. STOP is always admissible. With a ``token_budget``, opening and
    deepening are admissible while a full interval is left; a finishing step that turns out to cost more than is left
    spends what is left and does not finish.

    ## Observation Space
    ``observation="dict"``: ``Dict(pool=Box(P,), branches=Box(M F,))``, float32 in [0, 1], ``branches`` slot by slot;
    ``"flat"``: both in one ``Box``; ``"pool"``: the pool's features alone; ``"evidence"``: a small ``Box`` of what
    speaks for and against stopping. All features are listed at the end of this page.

    A list of features is one ``Box``: ``observation=["evidence.price", "pool.top_share", own]`` with features that are
    built in by group and name, and those of one's own as ``autotts_gym.feature`` makes them or by "file.py:name";
    first those of the episode, then, slot by slot, those of the branches. The raw revealed state (answer ids,
    depths, counts) is ``env.unwrapped.revealed``.

    ## Rewards
    Minus ``cost_weight`` per token unit of total tokens and ``latency_weight`` per token unit of sequential tokens, as
    they are spent; plus 1 at the end if the answer is right. The token unit is 10^6 tokens on the published stores, and
    on a collected store 64 times its mean branch, so that a price means the same on any store. Here every action is a
    round of its own, so that sequential tokens equal total tokens and ``latency_weight`` adds to ``cost_weight``; in
    ``AutoTTS-ReplayRounds-v0`` the branches of a round grow side by side.

    With ``shaping=True`` correctness is rewarded earlier: 1 when the answer that STOP would give becomes right, -1 when
    it no longer is, and at the end what the given answer differs. The return is the same (shaping by a potential, Ng,
    Harada & Russell 1999), and far less of it is noise. Rewards then depend on gold before the end: it is for training,
    and no observation has it.

    ## Starting State
    A question and an order of its pool, drawn; ``options={"question": i, "branch_seed": s, "cost_weight": w}`` fix
    them: the order of ``branch_seed`` s is that of ``random.Random(s).shuffle``.

    ## Episode End
    Terminated by STOP, or by itself when nothing but STOP is admissible; truncated after ``max_steps``, unanswered.

    ## Information
    The same keys at reset and at every step, so that infos can be stacked: ``action_mask`` (int8, one per action),
    ``invalid_action`` (bool), and the outcome: ``answer`` (str, "" for none), ``correct`` (bool), ``total_tokens``,
    ``sequential_tokens``, ``branches_opened``, ``branches_pruned`` (int) and ``stop_reason`` ("stop", "exhausted" or
    "truncated"). Before the end the outcome is neutral: "", False, 0 and "running".

    ## Arguments
    | argument | meaning |
    | --- | --- |
    | ``store`` | a name, a path, a ``ReplayStore`` or a sequence of them; None: the store that ships |
    | ``max_branches`` | slots M |
    | ``token_budget`` | total tokens an episode may spend; None: no limit |
    | ``cost_weight`` | reward per token unit of total tokens; a pair is drawn from log-uniformly every episode |
    | ``latency_weight`` | reward per token unit of sequential tokens, which equal total tokens here; see Rewards |
    | ``token_unit`` | tokens that a price is for, and features of tokens are scaled by; None: that of each store |
    | ``probe``, ``probe_cost`` | "auto": every interval reveals its probe; "explicit": PROBE does, for so many tokens |
    | ``accounting`` | "exact", or "autotts": what the published code charges |
    | ``observation`` | "dict", "flat", "pool" or "evidence"; a list of features, see below; or "file.py:name" |
    | ``max_steps`` | steps after which an episode is truncated; None: no limit |
    | ``render_mode`` | None, "ansi", "rgb_array" or "human" (a window; extra ``human``) |
    | ``shaping`` | reward correctness as it changes, not at the end |
    | ``reward`` | a compiled function in place of this reward, or "file.py:name"; see ``autotts_gym.reward`` |
    | ``aggregator`` | likewise, in place of the answer that STOP gives; see ``autotts_gym.aggregator`` |

    ## Vectorized Environment
    ``gym.make_vec("AutoTTS-Replay-v0", num_envs=N)`` steps N episodes in one compiled call; see ``ReplayVectorEnv``.

    ## Version History
    - v0: initial version.
    """

    metadata: dict[str, Any] = {"render_modes": ["human", *RENDER_MODES], "render_fps": 4}  # noqa: RUF012

    def __init__(
        self,
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
        shaping: bool = False,
        reward: Reward | str | None = None,
        aggregator: Aggregator | str | None = None,
        token_unit: int | None = None,
    ) -> None:
        """Make the environment; the class docstring explains the arguments.

        Raises:
            AutottsError: an argument is out of its range.
            StoreError: the store is not found or not valid.
            DependencyNotInstalled: the render mode is "human", and pygame is not installed.
        """
        if render_mode is not None:
            choice("render_mode", render_mode, self.metadata["render_modes"])
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
            max_steps=max_steps,
            auto_stop=True,
        )
        self._episodes = self._replay(store, observation, rules)
        self.observation_space = self._episodes.observation_space
        self.action_space = self._episodes.action_space
        self.render_mode = render_mode
        self._one = np.ones(1, np.bool_)
        self._ended = True
        self._generator: np.random.Generator | None = None
        self._window = Window("AutoTTS replay", self.metadata["render_fps"]) if render_mode == "human" else None

    def _replay(self, store: StoreLike, observation: Wanted, rules: Rules) -> Episodes:
        """The one episode at a time that the environment steps."""
        return Episodes(store, 1, observation, rules)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; see Starting State."""
        seed, chosen = checked_seed("seed", seed), self._episodes.options(options)
        super().reset(seed=seed)
        if seed is not None or self._generator is not self.np_random:
            self._generator = self.np_random
            self._episodes.state.seed(np.array([draw_stream(self._generator)], np.uint64))
        self._episodes.begin(self._one, chosen)
        self._ended = False
        out = self._episodes.empty()
        self._episodes.encode(self._one, out)
        if self._window is not None:
            self._window.show(render_rgb(self._episodes.state, 0))
        shown = self._episodes.observation.shown(out[0])
        return shown, {"action_mask": self._episodes.masks()[0], "invalid_action": False, **NEUTRAL}

    def step(self, action: np.int64 | int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one action.

        Raises:
            ResetNeeded: the episode has ended, or none has begun.
            AutottsError: the action is not a whole number, or not in the action space.
        """
        if self._ended:
            raise ResetNeeded("step: expected a running episode; call reset first")
        episodes = self._episodes
        out, reward, valid, reason = episodes.step_one(action)
        if self._window is not None:
            self._window.show(render_rgb(episodes.state, 0))
        info: dict[str, Any] = {"action_mask": episodes.masks()[0], "invalid_action": not valid, **NEUTRAL}
        if reason == layout.RUNNING:
            return episodes.observation.shown(out[0]), reward, False, False, info
        self._ended = True
        info.update({key: values.tolist()[0] for key, values in episodes.outcomes(_FIRST).items()})
        truncated = reason == layout.TRUNCATED
        return episodes.observation.shown(out[0]), reward, not truncated, truncated, info

    def action_masks(self) -> NDArray[np.bool_]:
        """Which actions are admissible, (actions,) bool; the name that sb3-contrib's MaskablePPO looks for."""
        masks: NDArray[np.bool_] = self._episodes.masks()[0].astype(np.bool_)
        return masks

    @property
    def revealed(self) -> Revealed:
        """The raw revealed state: read-only arrays of one episode (N = 1)."""
        return self._episodes.state.revealed

    @property
    def question(self) -> int:
        """The question being replayed, numbered through the stores."""
        return int(self._episodes.state.questions[0])

    def render(self) -> Any:
        """The episode as text ("ansi") or as a width by depth picture ("rgb_array", (H, W, 3) uint8).

        With "human" the window shows it after every reset and step, and this returns None.
        """
        if self.render_mode is None:
            gym.logger.warn("render: no render mode was given; make the environment with render_mode='rgb_array'")
            return None
        if self._window is not None:
            self._window.show(render_rgb(self._episodes.state, 0))
            return None
        draw = render_ansi if self.render_mode == "ansi" else render_rgb
        return draw(self._episodes.state, 0)

    def close(self) -> None:
        """Close the window; may be called twice."""
        if self._window is not None:
            self._window.close()


ReplayEnv.__doc__ = f"{ReplayEnv.__doc__}\n    ## Features\n{indent(documentation(), '    ')}"
