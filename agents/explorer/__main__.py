"""Search for controllers: ``python -m agents.explorer --proposer evolve --stores … --rounds 5``.

The run's folder is described in ``agents.explorer.folder``; ``tensorboard --logdir runs`` shows it while it grows.
``--resume FOLDER`` goes on with a run that was interrupted or killed. Exit codes: 0; 1 where every proposal failed or
none was made; 2 for bad use; 130 after Ctrl-C, 143 after SIGTERM.
"""

import re
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agents.explorer.config import CHANGEABLE, Config
from agents.explorer.folder import RunFolder
from agents.explorer.loop import barren, explore
from agents.explorer.proposers import make_proposer, read_options
from agents.provenance import command_line
from agents.settings import read_command_line
from autotts_gym.cli import ending
from autotts_gym.errors import AutottsError, plain

COMMAND = ("python", "-m", "agents.explorer")

RUNS = Path("runs") / "explorer"
"""Where runs lie unless ``--out`` says otherwise."""


def read_arguments(arguments: Sequence[str] | None) -> RunFolder:
    """The run that a command line means.

    Raises:
        AutottsError: what it asks for is not possible.
    """
    more: dict[str, tuple[Any, str]] = {
        "out": (str, f"folder of the run (default: a new one in {RUNS})"),
        "resume": (tuple[str, ...], "go on with the run of this folder, or of --out"),
    }
    values = read_command_line("agents.explorer", __doc__, Config, more, arguments)
    out, resumed = values.pop("out", ""), values.pop("resume", None)
    if resumed is not None:
        folders = [*resumed, *([out] if out else [])]
        if len(folders) != 1:
            raise AutottsError("--resume: expected one folder, after it or after --out")
        run = RunFolder.open(folders[0])
        fixed = sorted(name for name in set(values) - set(CHANGEABLE) if values[name] != run.config.as_dict()[name])
        if fixed:
            raise AutottsError(
                f"--resume: expected only {', '.join(CHANGEABLE)} to differ, got {plain(', '.join(fixed))}"
            )
        run.config = run.config.updated(values)
        return run
    if "minutes" in values and "rounds" not in values:
        values["rounds"] = 0
    config = Config().updated(values)
    name = re.sub(r"[^\w.-]+", "-", config.proposer)[:40]
    folder = out or RUNS / f"{name}-seed{config.seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    run = RunFolder(Path(folder), config)
    if (run.path / "config.json").exists():
        raise AutottsError(
            f"{run.path}: expected a new run, but there is one; go on with --resume {shlex.quote(str(run.path))}"
        )
    return run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    runs: list[RunFolder] = []

    def work() -> int:
        run = read_arguments(arguments)
        runs.append(run)
        config = run.config
        proposer = make_proposer(config.proposer, **read_options(config.option))
        end = explore(run, proposer, command_line("agents.explorer"))
        nothing = barren(run.records())
        if nothing:
            print(f"{run.path}: ended by its {end} with no program of its own: {nothing}", file=sys.stderr)
            return 1
        best = run.path / "best.py"
        print(f"{run.path}: ended by its {end}; {f'the best program is {best}' if best.exists() else 'no program'}")
        return 0

    def after() -> str:
        return f"go on with: {shlex.join([*COMMAND, '--resume', str(runs[0].path)])}" if runs else ""

    return ending.run(work, after=after)


if __name__ == "__main__":
    sys.exit(main())
