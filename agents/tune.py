"""Search hyper-parameters: ``python -m agents.tune --config maskable_ppo --trials 20 --minutes 2``.

The first trial is the configuration as it is. All are trainings of the same length; the objective is the best mean
return over the sweep of cost weights on the validation questions. The study lies in ``runs/<name>/study.db`` (SQLite):
the same command adds trials to it. ``runs/<name>/best.json`` is the best configuration, ready for
``python -m agents.train --config``, and ``runs/<name>/trials.json`` lists all trials.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.config import Config
from agents.policies import is_on_policy
from agents.provenance import command_line
from agents.runs import RunFolder, run_path
from agents.settings import read_command_line
from agents.train import train
from autotts_gym.cli import ending
from autotts_gym.errors import AutottsError
from autotts_gym.files import write_atomically
from autotts_gym.replay import resolve_stores
from autotts_gym.validation import check

if TYPE_CHECKING:
    import optuna


def suggest(trial: "optuna.Trial", base: Config) -> dict[str, Any]:
    """Hyper-parameters of a trial; the space is small on purpose."""
    width = trial.suggest_categorical("width", [16, 32, 64, 128])
    values: dict[str, Any] = {
        "learning_rate": trial.suggest_float("learning_rate", 3e-4, 5e-3, log=True),
        "net_arch": (width, width),
    }
    if is_on_policy(base.algo):
        return values | {
            "ent_coef": trial.suggest_float("ent_coef", 1e-4, 1e-2, log=True),
            "gae_lambda": trial.suggest_categorical("gae_lambda", [0.95, 0.98, 1.0]),
            "n_steps": max(1, trial.suggest_categorical("rollout", [8192, 16_384, 32_768]) // base.num_envs),
            "n_epochs": trial.suggest_categorical("n_epochs", [2, 4, 8]),
            "batch_size": trial.suggest_categorical("batch_size", [2048, 4096, 8192]),
        }
    return values | {
        "gamma": trial.suggest_categorical("gamma", [0.98, 0.99, 0.995, 1.0]),
        "gradient_steps": trial.suggest_categorical("gradient_steps", [1, 4, 8]),
        "target_update_interval": trial.suggest_categorical("target_update_interval", [2_000, 10_000, 40_000]),
        "exploration_final_eps": trial.suggest_categorical("exploration_final_eps", [0.01, 0.05, 0.1]),
    }


def tune(base: Config, folder: Path, trials: int, command: str = "agents.tune.tune") -> Config:
    """Add trials to the study in a folder, and write and return the best configuration found so far.

    Raises:
        AutottsError: Optuna is not installed, or a trial cannot be trained.
    """
    try:
        import optuna
    except ImportError as error:
        raise AutottsError("tune: expected Optuna installed; try: pip install optuna") from error
    check("folder", str(folder), "?" not in str(folder), "a path without a question mark, as it is part of an address")
    if trials < 1:
        raise AutottsError(f"trials: expected at least 1, got {trials}")
    resolve_stores(base.store or None)  # before anything is made
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=folder.name,
        storage=f"sqlite:///{folder / 'study.db'}",
        direction="maximize",
        load_if_exists=True,
    )

    def objective(trial: "optuna.Trial") -> float:
        values = suggest(trial, base) if any(each.value is not None for each in study.trials) else {}
        trial.set_user_attr("fields", values)
        name = f"trial-{trial.number:03d}"
        run = RunFolder.of(base.updated({**values, "log_dir": str(folder), "name": name}))
        if train(run, command):
            raise KeyboardInterrupt
        summary = json.loads((run.path / "summary.json").read_text())
        return float(summary["best_return"])

    for _ in range(trials):
        # Seeded by how many there are: a study that goes on draws what one in a single sitting would have.
        study.sampler = optuna.samplers.TPESampler(seed=base.seed + len(study.trials))
        trial = study.ask()
        try:
            value = objective(trial)
        except BaseException:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            raise
        study.tell(trial, value)
    best = base.updated({**study.best_trial.user_attrs["fields"], "name": "", "log_dir": "runs"})
    write_atomically(folder / "best.json", best.to_json(every=False).encode())
    records = [
        {"number": trial.number, "state": trial.state.name, "return": trial.value, **trial.user_attrs.get("fields", {})}
        for trial in study.trials
    ]
    record = {"command": command, "base": json.loads(base.to_json(every=False)), "trials": records}
    write_atomically(folder / "trials.json", (json.dumps(record, indent=2) + "\n").encode())
    return best


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""

    def work() -> int:
        more: dict[str, tuple[Any, str]] = {
            "config": (str, "what the trials have in common; by default the configuration of --algo"),
            "trials": (int, "trials to add (default: 20)"),
        }
        values = read_command_line("agents.tune", __doc__, Config, more, arguments)
        chosen, trials = values.pop("config", None), values.pop("trials", 20)
        base = Config.chosen(chosen, values)
        folder = run_path(base.updated({"name": base.name or f"tune-{base.algo}"}))
        best = tune(base, folder, trials, command_line("agents.tune"))
        print(f"{folder / 'best.json'}:\n{best.to_json(every=False)}", end="")
        return 0

    return ending.run(work, after=lambda: "the same command goes on")


if __name__ == "__main__":
    sys.exit(main())
