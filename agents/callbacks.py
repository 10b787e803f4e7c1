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
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
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
        counts: Counter[str] = Counter()
        for name, count in zip(self.names, self.actions.tolist(), strict=True):
            counts[name] += count
        found = {f"episodes_actions/{name}": count / steps for name, count in counts.items()}
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


class Sitting:
    """A training from its start, or from a checkpoint, to where it ends: what all its callbacks share.

    Attributes:
        run: its folder.
        config: what was asked.
        counters: how far the training is.
        progress: the progress bar.
        log: the event file.
        resumed: whether it goes on from a checkpoint.
        over: whether the training has come to its limit.
        interrupted: set it to end the training at the next place where it can be continued.
    """

    def __init__(self, run: RunFolder, counters: Counters, progress: Progress) -> None:
        self.run, self.config, self.counters, self.progress = run, run.config, counters, progress
        self.resumed = counters.steps > 0
        self.log = EventLog(run.path, purge_step=counters.steps + 1 if self.resumed else None)
        self.over = self.interrupted = False
        self._spent = counters.seconds
        self._began: float | None = None

    def begin(self) -> None:
        """The first step is done: compilation comes before, and does not count."""
        if self._began is None:
            self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds of training, over all sittings, each from its first step on."""
        return self._spent + (0.0 if self._began is None else time.monotonic() - self._began)

    def fraction(self, steps: int) -> float:
        """Share of the training that is done after so many steps, in [0, 1]."""
        config = self.config
        of_steps = steps / config.total_steps if config.total_steps else 0.0
        of_time = self.seconds / (60 * config.minutes) if config.minutes else 0.0
        return min(max(of_steps, of_time), 1.0)


class Job(BaseCallback):
    """Something that is done between two rollouts."""

    def __init__(self, sitting: Sitting) -> None:
        super().__init__()
        self.sitting = sitting
        self.run, self.config, self.counters, self.log = sitting.run, sitting.config, sitting.counters, sitting.log

    def between(self) -> None:
        """Do it, if it is due."""
        raise NotImplementedError

    def _on_step(self) -> bool:
        return True


class Recording(Job):
    """Charts of the episodes and of the speed."""

    def __init__(self, sitting: Sitting, env: ReplayVecEnv) -> None:
        super().__init__(sitting)
        self.env = env
        self.meter = Meter(action_names(self.config, int(env.action_space.n)))  # type: ignore[attr-defined]
        self._steps, self._seconds, self._env_seconds = self.counters.steps, self.counters.seconds, 0.0

    def _on_step(self) -> bool:
        self.meter.add(self.locals["infos"], self.locals["actions"].reshape(-1), self.env.invalid)
        return True

    def between(self) -> None:
        """Write them every ``log_steps`` steps."""
        counters = self.counters
        if counters.steps - self._steps < self.config.log_steps and not self.sitting.over:
            return
        seconds = max(counters.seconds - self._seconds, 1e-9)
        scalars = self.meter.scalars()
        scalars["speed/steps_per_second"] = (counters.steps - self._steps) / seconds
        scalars["speed/environment_share"] = (self.env.seconds - self._env_seconds) / seconds
        for tag, value in scalars.items():
            self.logger.record(tag, value)
        self.logger.dump(counters.steps)
        self.log.flush()
        if "episodes/return" in scalars:
            self.sitting.progress.update(
                note=f"return {scalars['episodes/return']:.3f} · accuracy {scalars['episodes/accuracy']:.1%} · "
                f"{scalars['episodes/total_tokens']:,.0f} tokens · "
                f"{scalars['speed/steps_per_second']:,.0f} steps/s",
            )
        self.meter.clear()
        self._steps, self._seconds = counters.steps, counters.seconds
        self._env_seconds = self.env.seconds


class Evaluation(Job):
    """Evaluations on the validation questions: their charts, and the best policy so far."""

    def __init__(
        self, sitting: Sitting, validation: Sequence[ReplayStore], observation: Observation, card: dict[str, Any]
    ) -> None:
        super().__init__(sitting)
        self.validation, self.observation, self.card = validation, observation, card
        self.weights = cost_weights(self.config)
        self.seeds = range(self.config.eval_seeds)

    def _init_callback(self) -> None:
        if not self.sitting.resumed:
            self.sitting.progress.update(note="the hand-written controllers play")
            self._write_controllers()

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

    def between(self) -> None:
        """Evaluate every ``eval_steps`` steps, and at the end."""
        counters, config, step = self.counters, self.config, self.counters.steps
        if step < counters.next_evaluation and not self.sitting.over:
            return
        if counters.evaluations and step == self._last_evaluation():
            return
        self.sitting.progress.update(note=f"evaluation {counters.evaluations + 1}")
        results = sweep(self.model, self.validation, config, self.weights, self.seeds, self.observation)
        score = mean_return(results, config.latency_weight)
        frontier = Frontier.from_results(results[0].controller, results)
        counters.evaluations += 1
        counters.next_evaluation = (step // config.eval_steps + 1) * config.eval_steps
        scores = {"return": score, **averages(results)}
        self.run.record_evaluation(counters, scores, results)
        self._chart(frontier, scores)
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

    def _chart(self, frontier: Frontier, scores: dict[str, Any]) -> None:
        """Charts of an evaluation, and its budget curve: the last one, and the 1st, 2nd, 4th, 8th and so on."""
        step, count = self.counters.steps, self.counters.evaluations
        charts = {"validation/return": scores["return"]}
        for weight, accuracy, tokens in zip(self.weights, scores["accuracy"], scores["total_tokens"], strict=True):
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


class Schedules(Job):
    """Learning rate, entropy and, in a DQN, exploration, along straight lines."""

    def between(self) -> None:
        """Move along them."""
        config, share = self.config, self.counters.annealed
        if config.learning_rate_end >= 0:
            rate = config.learning_rate + share * (config.learning_rate_end - config.learning_rate)
            self.model.lr_schedule = FloatSchedule(rate)
        if is_on_policy(config.algo):
            if config.ent_coef_end >= 0:
                self.model.ent_coef = config.ent_coef + share * (config.ent_coef_end - config.ent_coef)  # type: ignore[attr-defined]
        elif share > 0:
            self.model._total_timesteps = max(int(self.counters.steps / share), 1)


class Checkpoints(Job):
    """What a training goes on from."""

    def __init__(self, sitting: Sitting, env: VecMonitor) -> None:
        super().__init__(sitting)
        self.env = env
        self._saved = time.monotonic()

    def between(self) -> None:
        """Save one every ``checkpoint_seconds`` seconds, at the beginning and at the end."""
        due = time.monotonic() - self._saved >= self.config.checkpoint_seconds
        if due or self.sitting.over or self.sitting.interrupted or not self.run.checkpoints:
            self.run.save_checkpoint(self.model, self.env, self.counters)
            self._saved = time.monotonic()


class Conductor(CallbackList):
    """Has the jobs done, in their order, and ends the training.

    Attributes:
        sitting: what they share.
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
        self.sitting = sitting = Sitting(run, counters, progress)
        assert isinstance(env.venv, ReplayVecEnv)
        self.jobs: list[Job] = [
            Recording(sitting, env.venv),
            Evaluation(sitting, validation, observation, card),
            Schedules(sitting),
            Checkpoints(sitting, env),
        ]
        super().__init__([*self.jobs])

    def _init_callback(self) -> None:
        log, config = self.sitting.log, self.sitting.config
        self.model.set_logger(Logger(None, [EventWriter(log)]))
        if not self.sitting.resumed:
            log.layout(LAYOUT)
            log.hparams(_hparams(config), METRICS)
            log.text("config", f"```json\n{config.to_json()}```")
        super()._init_callback()

    def _on_step(self) -> bool:
        sitting = self.sitting
        sitting.begin()
        super()._on_step()
        if sitting.config.minutes and sitting.seconds >= 60 * sitting.config.minutes:
            # SB3 has not noted what this step led to, and the rollout ends here.
            self.model._last_obs = self.locals["new_obs"]
            if is_on_policy(sitting.config.algo):
                self.model._last_episode_starts = self.locals["dones"]
            self.conduct()
        sitting.progress.update(sitting.fraction(self.num_timesteps))
        return True

    def _on_rollout_start(self) -> None:
        super()._on_rollout_start()
        self.conduct()

    def conduct(self) -> None:
        """Do what is due.

        Raises:
            Stop: the training is over, or was interrupted.
        """
        sitting, counters = self.sitting, self.sitting.counters
        counters.steps, counters.seconds = self.num_timesteps, sitting.seconds
        share = sitting.fraction(counters.steps)
        sitting.over = share >= 1.0
        # Rates that have fallen stay so when a run is continued under a longer limit: raised again, they undo it.
        counters.annealed = max(counters.annealed, share)
        for job in self.jobs:
            job.between()
        sitting.progress.update(sitting.fraction(counters.steps))
        if sitting.over or sitting.interrupted:
            raise Stop

    def close(self) -> None:
        """Leave the event file as it should be."""
        self.sitting.log.close()


UNIMPORTANT = ("name", "log_dir", "progress", "threads", "env_threads", "checkpoint_seconds", "log_steps", "samples")
"""Fields that change nothing of what is learned."""


def _hparams(config: Config) -> dict[str, object]:
    """What distinguishes runs of the algorithm."""
    other = OFF_POLICY if is_on_policy(config.algo) else ON_POLICY
    own = ON_POLICY if is_on_policy(config.algo) else OFF_POLICY
    hidden = {*UNIMPORTANT, *(set(other) - set(own))}
    values = {name: value for name, value in asdict(config).items() if name not in hidden}
    return {name: " ".join(map(str, value)) if isinstance(value, tuple) else value for name, value in values.items()}
