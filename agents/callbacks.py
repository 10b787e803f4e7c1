"""What happens beside the learning: charts, evaluations, checkpoints, schedules, the progress bar, and the end.

All of it happens between two rollouts, where nothing is half done: so a checkpoint is exact, and an interrupt takes
effect at the next such place. A limit of time ends a rollout within, and what that had gathered is dropped.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.utils import FloatSchedule
from stable_baselines3.common.vec_env import VecMonitor

from agents.config import Config
from agents.evaluation import averages, cost_weights, hand_written, mean_return, picture, setting, sweep
from agents.policies import OFF_POLICY, ON_POLICY, is_on_policy, save_policy
from agents.runs import CONTROLLERS, Counters, RunFolder
from agents.vec_env import ReplayVecEnv
from autotts_gym.actions.macros import MACROS
from autotts_gym.engine import layout
from autotts_gym.evaluation import Frontier
from autotts_gym.evaluation.tensorboard import BUDGET_CHARTS, EventLog, run_name, write_frontier
from autotts_gym.observation.encoding import Observation
from autotts_gym.progress import Progress
from autotts_gym.replay import ReplayStore

AVERAGES = ("total_tokens", "sequential_tokens", "branches_opened", "branches_pruned")

METRICS = {
    "final/return": "return (best, validation)",
    "final/accuracy": "peak accuracy",
    "final/tokens": "tokens at the peak",
    "final/steps_per_second": "steps/s",
}
"""What the HParams page shows of a run."""

LAYOUT = {
    "Budget curves (step: tokens)": BUDGET_CHARTS,
    "Validation": {
        "mean return over the sweep": ("^validation/return$",),
        "accuracy, by cost weight": ("^validation_accuracy/.*",),
        "tokens, by cost weight": ("^validation_tokens/.*",),
    },
    "Training episodes": {
        "return": ("^episodes/return$",),
        "accuracy": ("^episodes/accuracy$",),
        "tokens": ("^episodes/(total|sequential)_tokens$",),
        "branches": ("^episodes/branches_(opened|pruned)$",),
        "how episodes stop": ("^episodes_stops/.*",),
        "action mix": ("^episodes_actions/.*",),
    },
    "Speed": {"steps per second": ("^speed/steps_per_second$",), "environment's share": ("^speed/environment_share$",)},
}
"""The Custom Scalars page of a run."""


class Stop(Exception):  # noqa: N818 - not an error
    """The training ends here."""


class EventWriter(KVWriter):
    """The logger of Stable-Baselines3, written to an event file."""

    def __init__(self, log: EventLog) -> None:
        self.log = log

    def write(self, key_values: dict[str, Any], key_excluded: Any, step: int = 0) -> None:
        """Add all numbers."""
        numbers = {key: value for key, value in key_values.items() if isinstance(value, int | float | np.number)}
        self.log.scalars(numbers, step)

    def close(self) -> None:
        """The event log is closed by who opened it."""


class Meter:
    """Averages over the episodes and actions since they were last asked for."""

    def __init__(self, action_names: Sequence[str]) -> None:
        self.names = action_names
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.episodes: list[dict[str, Any]] = []
        self.actions = np.zeros(len(self.names), np.int64)
        self.invalid = 0

    def add(self, infos: Sequence[dict[str, Any]], actions: Any, invalid: Any) -> None:
        """Count one step of all environments."""
        self.episodes += [info["episode"] for info in infos if "episode" in info]
        self.actions += np.bincount(actions, minlength=len(self.names))
        self.invalid += int(invalid.sum())

    def scalars(self) -> dict[str, float]:
        """The averages by tag; those of episodes only if some have ended."""
        steps = max(int(self.actions.sum()), 1)
        told: Counter[str] = Counter()
        for name, count in zip(self.names, self.actions.tolist(), strict=True):
            told[name] += count
        found = {f"episodes_actions/{name}": count / steps for name, count in told.items()}
        found["episodes_actions/invalid"] = self.invalid / steps
        if not self.episodes:
            return found

        def mean(key: str) -> float:
            return float(np.mean([episode[key] for episode in self.episodes]))

        found |= {"episodes/return": mean("r"), "episodes/length": mean("l"), "episodes/accuracy": mean("correct")}
        found |= {f"episodes/{key}": mean(key) for key in AVERAGES}
        stops = Counter(episode["stop_reason"] for episode in self.episodes)
        reasons = [reason for reason in layout.STOP_REASONS if reason != layout.STOP_REASONS[layout.RUNNING]]
        return found | {f"episodes_stops/{reason}": stops[reason] / len(self.episodes) for reason in reasons}


def action_names(config: Config, actions: int) -> list[str]:
    """A name for every action; the primitive ones have the name of their kind."""
    if config.rounds:
        return list(config.macros) or [macro.name for macro in MACROS]
    slots = config.max_branches
    return (["stop", "open"] + ["deepen"] * slots + ["prune"] * slots + ["probe"] * slots)[:actions]


class Conductor(BaseCallback):
    """Everything that happens between rollouts.

    Attributes:
        interrupted: set it to end the training at the next place where it can be continued.
        counters: how far the training is.
    """

    def __init__(
        self,
        run: RunFolder,
        counters: Counters,
        env: VecMonitor,
        validation: Sequence[ReplayStore],
        observation: Observation,
        card: dict[str, Any],
        progress: Progress,
    ) -> None:
        super().__init__()
        self.run, self.counters, self.card = run, counters, card
        self.config = run.config
        self.interrupted = False
        self.validation, self.observation = validation, observation
        self.weights = cost_weights(run.config)
        self.seeds = range(run.config.eval_seeds)
        self.env = env
        assert isinstance(env.venv, ReplayVecEnv)
        self.replay = env.venv
        self.meter = Meter(action_names(run.config, int(self.replay.action_space.n)))  # type: ignore[attr-defined]
        self._spent = counters.seconds
        self._began: float | None = None  # when the first step of this sitting was done
        self._saved = time.monotonic()
        self._log_steps = counters.steps
        self._log_seconds = counters.seconds
        self._log_env_seconds = 0.0
        self._resumed = counters.steps > 0
        self.log = EventLog(run.path, purge_step=counters.steps + 1 if self._resumed else None)
        self.progress = progress

    # ------------------------------------------------------------------ hooks

    def _init_callback(self) -> None:
        self.model.set_logger(Logger(None, [EventWriter(self.log)]))
        if not self._resumed:
            self.log.layout(LAYOUT)
            self.log.hparams(_hparams(self.config), METRICS)
            self.log.text("config", f"```json\n{self.config.to_json()}```")
            self.progress.update(told="the hand-written controllers play")
            self._write_controllers()

    def _on_step(self) -> bool:
        if self._began is None:
            self._began = time.monotonic()
        self.meter.add(self.locals["infos"], self.locals["actions"].reshape(-1), self.replay.invalid)
        if self.config.minutes and self.seconds >= 60 * self.config.minutes:
            # SB3 has not noted what this step led to, and the rollout ends here.
            self.model._last_obs = self.locals["new_obs"]
            if is_on_policy(self.config.algo):
                self.model._last_episode_starts = self.locals["dones"]
            self.conduct()
        self.progress.update(self.share)
        return True

    def _on_rollout_start(self) -> None:
        self.conduct()

    def close(self) -> None:
        """Leave the event file as it should be."""
        self.log.close()

    # --------------------------------------------------------------- the work

    def _write_controllers(self) -> None:
        """Draw the hand-written controllers, once for all runs that select on the same questions.

        TensorBoard shows nothing at first where there are more than forty curves: four seeds with their own would be.
        """
        compared = (self.validation, self.config, self.seeds)
        folder = self.run.path.parent / CONTROLLERS / setting(*compared)
        if folder.exists():
            return
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as temporary:
            drawn = Path(temporary) / folder.name
            for frontier in hand_written(*compared):
                write_frontier(drawn / run_name(frontier.name), frontier)
            try:
                drawn.rename(folder)
            except OSError:
                if not folder.exists():  # if it does, a run beside this one was first
                    raise

    @property
    def seconds(self) -> float:
        """Seconds of training, over all sittings, each from its first step on: compilation comes before."""
        return self._spent + (0.0 if self._began is None else time.monotonic() - self._began)

    @property
    def share(self) -> float:
        """Share of the training that is done, in [0, 1]."""
        config = self.config
        steps = self.num_timesteps / config.total_steps if config.total_steps else 0.0
        seconds = self.seconds / (60 * config.minutes) if config.minutes else 0.0
        return min(max(steps, seconds), 1.0)

    def conduct(self) -> None:
        """Do what is due.

        Raises:
            Stop: the training is over, or was interrupted.
        """
        counters = self.counters
        counters.steps, counters.seconds = self.num_timesteps, self.seconds
        over = self.share >= 1.0
        # Rates that have fallen stay so when a run is continued under a longer limit: raised again, they undo it.
        counters.annealed = max(counters.annealed, self.share)
        if counters.steps - self._log_steps >= self.config.log_steps or over:
            self._record()
        if counters.steps >= counters.next_evaluation or over:
            self._evaluate()
        self._schedule()
        due = time.monotonic() - self._saved >= self.config.checkpoint_seconds
        if due or over or self.interrupted or not self.run.checkpoints:
            self.run.save_checkpoint(self.model, self.env, counters)
            self._saved = time.monotonic()
        self.progress.update(self.share)
        if over or self.interrupted:
            raise Stop

    def _schedule(self) -> None:
        """Move along the lines of learning rate, entropy and, in a DQN, exploration."""
        config, share = self.config, self.counters.annealed
        if config.learning_rate_end >= 0:
            rate = config.learning_rate + share * (config.learning_rate_end - config.learning_rate)
            self.model.lr_schedule = FloatSchedule(rate)
        if is_on_policy(config.algo):
            if config.ent_coef_end >= 0:
                self.model.ent_coef = config.ent_coef + share * (config.ent_coef_end - config.ent_coef)  # type: ignore[attr-defined]
        elif share > 0:
            self.model._total_timesteps = max(int(self.counters.steps / share), 1)

    def _record(self) -> None:
        counters = self.counters
        seconds = max(counters.seconds - self._log_seconds, 1e-9)
        told = self.meter.scalars()
        told["speed/steps_per_second"] = (counters.steps - self._log_steps) / seconds
        told["speed/environment_share"] = (self.replay.seconds - self._log_env_seconds) / seconds
        for tag, value in told.items():
            self.logger.record(tag, value)
        self.logger.dump(counters.steps)
        self.log.flush()
        if "episodes/return" in told:
            self.progress.update(
                told=f"return {told['episodes/return']:.3f} · accuracy {told['episodes/accuracy']:.1%} · "
                f"{told['episodes/total_tokens'] / 1000:.0f}k tokens · {told['speed/steps_per_second']:,.0f} steps/s",
            )
        self.meter.clear()
        self._log_steps, self._log_seconds = counters.steps, counters.seconds
        self._log_env_seconds = self.replay.seconds

    def _evaluate(self) -> None:
        counters, config, step = self.counters, self.config, self.counters.steps
        if counters.evaluations and step == self._last_evaluation():
            return
        self.progress.update(told=f"evaluation {counters.evaluations + 1}")
        results = sweep(self.model, self.validation, config, self.weights, self.seeds, self.observation)
        score = mean_return(results, config.latency_weight)
        frontier = Frontier.from_results(results[0].controller, results)
        counters.evaluations += 1
        counters.next_evaluation = (step // config.eval_steps + 1) * config.eval_steps
        told = {"return": score, **averages(results)}
        self.run.record_evaluation(counters, told, results)
        self._chart(frontier, told)
        if score > counters.best_return:
            counters.best_return, counters.best_steps = score, step
            save_policy(self.model, self.run.path / "best.zip", self.card, config.name)
            write_frontier(self._budget("best"), frontier)
            self._write_final(frontier)

    def _last_evaluation(self) -> int:
        lines = self.run.evaluations()
        return int(lines[-1]["steps"]) if lines else -1

    def _budget(self, name: str) -> Path:
        return self.run.path / "budget" / name

    def _chart(self, frontier: Frontier, told: dict[str, Any]) -> None:
        """Charts of an evaluation, and its budget curve: the last one, and the 1st, 2nd, 4th, 8th and so on."""
        step, count = self.counters.steps, self.counters.evaluations
        charts = {"validation/return": told["return"]}
        for weight, accuracy, tokens in zip(self.weights, told["accuracy"], told["total_tokens"], strict=True):
            charts[f"validation_accuracy/cost weight {weight:.3g}"] = accuracy
            charts[f"validation_tokens/cost weight {weight:.3g}"] = tokens
        self.log.scalars(charts, step)
        write_frontier(self._budget("last"), frontier)
        if count & (count - 1) == 0:
            write_frontier(self._budget(f"evaluation {count:03d}"), frontier)
        questions = sum(store.num_questions for store in self.validation)
        middle = self.weights[len(self.weights) // 2]
        for question in np.linspace(0, questions - 1, min(self.config.samples, questions)).astype(int).tolist():
            frame = picture(self.model, self.validation, self.config, question, middle, self.observation)
            self.log.image(f"episodes/question {question} at cost weight {middle:.3g}", frame, step)
        self.log.flush()

    def _write_final(self, frontier: Frontier) -> None:
        """The best policy's figures for the HParams page."""
        final = {
            "final/return": self.counters.best_return,
            "final/accuracy": frontier.peak.accuracy,
            "final/tokens": frontier.peak.tokens,
            "final/steps_per_second": self.counters.steps / max(self.counters.seconds, 1e-9),
        }
        self.log.scalars(final, self.counters.steps)


UNIMPORTANT = ("name", "log_dir", "progress", "threads", "env_threads", "checkpoint_seconds", "log_steps", "samples")
"""Fields that change nothing of what is learned."""


def _hparams(config: Config) -> dict[str, object]:
    """What tells runs of the algorithm apart."""
    other = OFF_POLICY if is_on_policy(config.algo) else ON_POLICY
    own = ON_POLICY if is_on_policy(config.algo) else OFF_POLICY
    hidden = {*UNIMPORTANT, *(set(other) - set(own))}
    values = {name: value for name, value in asdict(config).items() if name not in hidden}
    return {name: " ".join(map(str, value)) if isinstance(value, tuple) else value for name, value in values.items()}
