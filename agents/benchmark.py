"""Compare policies and programs with the hand-written controllers: ``python -m agents.benchmark --policy best.zip``.

A policy's frontier is drawn by its cost weight: ``--points`` weights in equal ratios over the range that its card says
it was trained on, both ends included. The hand-written families are those of the preset "paper", and all play the same
questions under the same orders of the pools.

A program (``--program runs/explorer/a/best.py``) is swept over ``--betas`` values of beta, and so is ``cmc``, beside
the preset's. A table of its own shows at every token level the accuracy of an agent or program and of ``cmc``, and
their paired difference.

Policies that differ in nothing but the seed of their training are one agent. It enters the comparison as one family,
whose points are averages over its training seeds; a table of its own shows every seed, and their mean with a Student t
interval over training seeds. The other intervals are those of ``autotts benchmark``: over questions, paired.

With ``--out`` the folder gets what ``autotts benchmark`` writes, and::

    seeds.md, seeds.csv                         every training seed, where an agent has several
    statistics_stores.md, statistics_stores.csv what the frontiers come to on every store
    levels.md, levels.csv                       agents and programs beside cmc at every token level
    tensorboard/                                budget curves: tensorboard --logdir DIR/tensorboard
"""

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Any

import numpy as np

from agents.episodes import ARRAYS
from agents.settings import Settings, one_of, read_command_line, setting
from autotts_gym.cli import ending
from autotts_gym.cli.arguments import processors
from autotts_gym.cli.screen import Fitted, show
from autotts_gym.controllers import Controller, make_controller
from autotts_gym.controllers.policies import Policy
from autotts_gym.controllers.programs import Program
from autotts_gym.engine import Revealed, RoundPlan, Rules
from autotts_gym.errors import AutottsError
from autotts_gym.evaluation import EvaluationResult, Frontier
from autotts_gym.evaluation.benchmark import PRESETS, Report, check_writable, run_benchmark
from autotts_gym.evaluation.families import readable
from autotts_gym.evaluation.frontier import AccuracyAt, bootstrap, find_reference
from autotts_gym.evaluation.plots import short_number
from autotts_gym.evaluation.resampling import Interval
from autotts_gym.evaluation.tables import Cell, Column, Table, statistics_table
from autotts_gym.evaluation.tensorboard import write_frontiers
from autotts_gym.files import write_atomically
from autotts_gym.replay import ReplayStore, resolve_stores

POINTS = 12
"""Cost weights of a policy's frontier."""

BETAS = 11
"""Values of beta of a program's frontier."""

LEVELS = (0.08, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6)
"""Tokens at which programs are compared with cmc, as shares of the token unit: from 80k to 600k where that is 10^6."""

_OF_A_RUN = (
    "name",
    "log_dir",
    "seed",
    "checkpoint_seconds",
    "log_steps",
    "progress",
    "samples",
    "threads",
    "env_threads",
)
"""Fields of a run's configuration that do not change what agent it trains."""

_OF_A_TRAINING = ("seed", "command", "git_commit")
"""Entries of a policy's card that distinguish trainings of one agent."""

_T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""The 0.975 quantile of Student's t with 1, 2, ... degrees of freedom."""


# -------------------------------------------------------------------- what is compared


@dataclass(frozen=True)
class Entrant(Controller):
    """A policy at one cost weight, under the name it has in the comparison.

    Attributes:
        name: the name.
        policy: the policy at that weight.
    """

    name: str
    policy: Policy

    @property
    def params(self) -> dict[str, Any]:
        """The cost weight."""
        return self.policy.params

    def begin(self, revealed: Revealed) -> Any:
        """Begin as the policy does, on one thread: every worker is a process of its own."""
        import torch

        torch.set_num_threads(1)
        return self.policy.begin(revealed)

    def decide(self, revealed: Revealed, memory: Any, plan: RoundPlan) -> None:
        """Decide as the policy does."""
        self.policy.decide(revealed, memory, plan)


@dataclass(frozen=True)
class Agent:
    """The policies of one agent, one a training seed.

    Attributes:
        name: what to call the agent.
        policies: the files of its policies by name; the agent's own name if it is one policy.
    """

    name: str
    policies: Mapping[str, Policy]


def cost_weights(card: Mapping[str, Any], points: int = POINTS) -> list[float]:
    """The cost weights that draw a policy's frontier, from dear tokens to cheap ones, in equal ratios.

    Args:
        card: what the policy's file says; its ``cost_weight`` is the range of the training.
        points: how many; one weight is enough where the range has no width.

    Raises:
        AutottsError: fewer than one.
    """
    if points < 1:
        raise AutottsError(f"points: expected at least 1, got {points}")
    low, high = card["cost_weight"]
    if low == high or points == 1:
        return [math.sqrt(low * high)]
    return [float(weight) for weight in np.geomspace(high, low, points)]


def load_agents(paths: Sequence[str | os.PathLike[str]], taken: Sequence[str] = ()) -> list[Agent]:
    """Read policies and group them by agent, in order of first appearance.

    Args:
        paths: files of policies.
        taken: names that no policy may have.

    Raises:
        AutottsError: a file is not that of a policy, is given twice, or names are not distinct.
    """
    policies = [Policy(path) for path in paths]
    resolved = [policy.path.resolve() for policy in policies]
    for path in resolved:
        if resolved.count(path) > 1:
            raise AutottsError(f"{path}: expected every policy once, got it twice")
    names = [policy.name for policy in policies]
    names = [
        name if names.count(name) == 1 else f"{name}-{policy.path.stem}"
        for name, policy in zip(names, policies, strict=True)
    ]
    groups: dict[str, dict[str, Policy]] = {}
    for name, policy in zip(names, policies, strict=True):
        groups.setdefault(_identity(policy), {})[name] = policy
    agents = [agent for group in groups.values() for agent in _agents_of(group)]
    called = [*taken, *(agent.name for agent in agents)]
    called += [name for agent in agents if len(agent.policies) > 1 for name in agent.policies]
    for name in [*names, *called]:
        if called.count(name) > 1 or names.count(name) > 1:
            raise AutottsError(f"policies: expected different names, got {name} more than once; rename a run's folder")
    return agents


def load_programs(
    paths: Sequence[str | os.PathLike[str]], betas: int = BETAS, taken: Sequence[str] = ()
) -> dict[str, list[Program]]:
    """Read programs and sweep their knob.

    Args:
        paths: files of programs; one that is called ``best.py`` is named for its folder.
        betas: values of beta, evenly from 0 to 1.
        taken: names that others have; a program of such a name keeps its ``.py``.

    Returns:
        The settings of each by its name.

    Raises:
        AutottsError: a file is not a program, or names are not distinct.
    """
    if betas < 2:
        raise AutottsError(f"betas: expected at least 2, got {betas}")
    swept: dict[str, list[Program]] = {}
    for path in paths:
        file = Path(path)
        name = file.resolve().parent.name if file.stem == "best" else file.stem
        name = file.name if name in taken else name
        if name in swept or name in taken:
            raise AutottsError(f"programs: expected different names, got {name} more than once; rename a file")
        swept[name] = [Program(file, round(float(beta), 4)) for beta in np.linspace(0.0, 1.0, betas)]
        for program in swept[name]:
            program.name = name
    return swept


def _identity(policy: Policy) -> str:
    """What the trainings of one agent have in common: the configuration beside the file, or else the card."""
    common = {key: value for key, value in policy.card.items() if key not in _OF_A_TRAINING}
    try:
        config = json.loads((policy.path.parent / "config.json").read_text())
        common["config"] = {key: value for key, value in config.items() if key not in _OF_A_RUN}
        common["file"] = policy.path.stem  # best.zip and final.zip of a run are two agents
    except (OSError, ValueError, AttributeError):
        pass  # a file outside of its run
    return json.dumps(common, sort_keys=True)


def _agents_of(group: Mapping[str, Policy]) -> list[Agent]:
    """One agent; or one for every policy, if they do not differ in their seeds after all."""
    seeds = {policy.card["seed"] for policy in group.values()}
    if len(group) == 1 or len(seeds) < len(group):
        return [Agent(name, {name: policy}) for name, policy in group.items()]
    return [Agent(_common_name(list(group)) or readable(next(iter(group.values())).card["algorithm"]), dict(group))]


def _common_name(names: Sequence[str]) -> str:
    """What names begin with, without a seed: ``ppo`` of ``ppo-seed0`` and ``ppo-seed1``."""
    alike = [len(set(letters)) == 1 for letters in zip(*names, strict=False)]
    same = names[0][: (*alike, False).index(False)]
    return same.rstrip("0123456789-_").removesuffix("seed").rstrip("-_")


# -------------------------------------------------------------------- the run and its report


@dataclass(frozen=True, eq=False)
class Comparison:
    """Agents beside the hand-written controllers.

    Attributes:
        report: the comparison; an agent of several training seeds is one family, their average.
        seeds: the family of every training seed, by agent; of agents with several.
        entered: names of the families that are agents or programs.
    """

    report: Report
    seeds: Mapping[str, tuple[Frontier, ...]]
    entered: tuple[str, ...]

    def by_level(self) -> Table:
        """Every agent and program beside cmc at every token level, with the paired difference."""
        families = {family.name: family for family in self.report.families}
        rows: list[tuple[Cell, ...]] = []
        for name in self.entered:
            pair = [families[name], families["cmc"]]
            for tokens in (max(round(level * families[name].token_unit), 1) for level in LEVELS):
                drawn = bootstrap(pair, AccuracyAt(tokens), resamples=self.report.resamples)
                difference = drawn.compare(0, 1)
                own, rival = (drawn.interval(i).estimate for i in range(2))
                rows.append((name, short_number(tokens), own, rival, difference.difference, difference.probability))
        columns = (
            Column("family", ("family",), read=readable),
            Column("tokens", ("tokens",)),
            Column("accuracy", ("accuracy", "%"), _percent),
            Column("rival", (readable("cmc"), "%"), _percent),
            Column("difference", ("difference", "% points"), _percent),
            Column("probability", ("P(higher", f"than {readable('cmc')})"), lambda value: f"{value:.2f}"),
        )
        return Table(
            f"Beside {readable('cmc')} at equal tokens, paired 95% intervals over questions", columns, tuple(rows)
        )

    def by_store(self) -> list[Table]:
        """What the frontiers come to on every store; nothing where there is one."""
        families = [family for family in self.report.families if len(family.settings) > 1]
        if len(self.report.stores) == 1:
            return []
        reference = find_reference(self.report.families)
        return [
            statistics_table(
                [family.on([store.name]) for family in families],
                reference=reference and reference.on([store.name]),
                rival="cmc",
                resamples=self.report.resamples,
                title=f"{store.name}: frontiers, {families[0].accounting} accounting, 95% intervals over questions",
            )
            for store in self.report.stores
        ]

    def by_seed(self) -> list[Table]:
        """Every training seed of an agent, and their mean; a table for every agent with several."""
        return [self._seeds_table(agent, families) for agent, families in self.seeds.items()]

    def _seeds_table(self, agent: str, seeds: tuple[Frontier, ...]) -> Table:
        # All other families are in it as well, so that areas are taken over one range; their rows are dropped.
        others = [family for family in self.report.families if len(family.settings) > 1]
        table = statistics_table(
            [*seeds, *others], reference=find_reference(self.report.families), resamples=self.report.resamples
        )
        rows = table.rows[: len(seeds)]
        mean: list[Cell] = [f"mean of {len(seeds)} seeds"]
        for cells in list(zip(*rows, strict=True))[1:]:
            if isinstance(cells[0], Interval):
                mean.append(seed_interval([cell.estimate for cell in cells if isinstance(cell, Interval)]))
            else:
                mean.append(float(np.mean([cell for cell in cells if isinstance(cell, int | float)])))
        return replace(
            table,
            title=f"Training seeds of {readable(agent)}; 95% intervals over questions, "
            "that of the mean over training seeds",
            rows=(*rows, tuple(mean)),
        )

    def tables(self) -> list[Table]:
        """All tables, in the order in which they are printed."""
        return [
            *self.report.comparisons(),
            *self.by_store(),
            self.report.statistics(),
            *self.by_seed(),
            self.by_level(),
        ]

    def write(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write tables, figures and budget curves to a folder, and return their paths.

        Raises:
            AutottsError: the folder cannot be written to.
        """
        out = Path(folder)
        written = self.report.write(out)
        for name, tables, labels in (
            ("statistics_stores", self.by_store(), [store.name for store in self.report.stores]),
            ("seeds", self.by_seed(), list(self.seeds)),
        ):
            if tables:
                joined = _joined("store" if name == "statistics_stores" else "agent", labels, tables)
                write_atomically(out / f"{name}.md", "\n".join(table.to_markdown() for table in tables).encode())
                joined.write(out / f"{name}.csv")
                written += [out / f"{name}.md", out / f"{name}.csv"]
        levels = self.by_level()
        for name in ("levels.md", "levels.csv"):
            levels.write(out / name)
            written.append(out / name)
        seeds = [family for families in self.seeds.values() for family in families]
        write_frontiers(out / "tensorboard", [*self.report.families, *seeds])
        return [*written, out / "tensorboard"]


def _joined(key: str, labels: Sequence[str], tables: Sequence[Table]) -> Table:
    """Tables of the same columns as one, with a column that names each."""
    rows = tuple((label, *row) for label, table in zip(labels, tables, strict=True) for row in table.rows)
    return Table(tables[0].title, (Column(key, (key,)), *tables[0].columns), rows)


def seed_interval(values: Sequence[float]) -> Interval:
    """The mean of a statistic over training seeds, with its 95 % Student t interval; NaN where a seed lacks it.

    Raises:
        AutottsError: fewer than two seeds.
    """
    if len(values) < 2:
        raise AutottsError(f"training seeds: expected at least 2, got {len(values)}")
    mean = float(np.mean(values))
    half = _t_quantile(len(values) - 1) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    defined = 1.0 - float(np.isnan(values).mean())
    return Interval(mean, mean - half, mean + half, 0.95, defined)


def _t_quantile(freedom: int) -> float:
    """The 0.975 quantile of Student's t; beyond the table, Cornish and Fisher's expansion to three digits."""
    if freedom <= len(_T_975):
        return _T_975[freedom - 1]
    z = NormalDist().inv_cdf(0.975)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def _percent(value: float) -> str:
    return f"{100 * value:z.1f}"


def _average(agent: Agent, results: Sequence[EvaluationResult]) -> list[EvaluationResult]:
    """The results of an agent's policies as those of one: every training seed plays every order of the pools."""
    groups: dict[tuple[str, str], list[EvaluationResult]] = {}
    for result in results:
        if result.controller in agent.policies:
            groups.setdefault((result.store, json.dumps(dict(result.params))), []).append(result)
    averages = []
    for group in groups.values():
        arrays: dict[str, Any] = {name: np.concatenate([getattr(result, name) for result in group]) for name in ARRAYS}
        seeds = tuple(seed for result in group for seed in result.seeds)
        averages.append(replace(group[0], controller=agent.name, seeds=seeds, **arrays))
    return averages


def benchmark(
    agents: Sequence[Agent],
    stores: Sequence[ReplayStore],
    *,
    programs: Mapping[str, Sequence[Program]] | None = None,
    seeds: Sequence[int] = range(100),
    accounting: str = "autotts",
    points: int = POINTS,
    workers: int = 1,
    progress: bool = False,
    resamples: int = 2000,
) -> Comparison:
    """Play agents, programs and the hand-written controllers of the preset "paper" on the same episodes.

    Args:
        agents: from ``load_agents``.
        stores: where; their names differ.
        programs: from ``load_programs``.
        seeds: orders of the pools.
        accounting: "exact", or "autotts": what the published code charges.
        points: cost weights of every policy.
        workers: processes; the comparison is the same for any number.
        progress: show a progress bar.
        resamples: bootstrap resamples behind the intervals.

    Raises:
        AutottsError: there is nothing to compare, policies have different numbers of branch slots, or a number is out
            of range.
    """
    programs = programs or {}
    if not agents and not programs:
        raise AutottsError("policies: expected at least one, or a program, got none")
    policies = {name: policy for agent in agents for name, policy in agent.policies.items()}
    slots = {name: policy.card["max_branches"] for name, policy in policies.items()}
    if len(set(slots.values())) > 1:
        raise AutottsError(f"policies: expected one number of branch slots, got {slots}")
    entrants = [
        Entrant(name, Policy(policy.path, cost_weight=weight))
        for name, policy in policies.items()
        for weight in cost_weights(policy.card, points)
    ]
    swept = [program for settings in programs.values() for program in settings]
    betas = {program.beta for program in swept} or {round(float(beta), 4) for beta in np.linspace(0.0, 1.0, BETAS)}
    hand_written = PRESETS["paper"].controllers()
    ours = [make_controller("cmc", beta=beta) for beta in sorted(betas)]
    known = [controller.params for controller in hand_written if controller.name == "cmc"]
    hand_written += [controller for controller in ours if controller.params not in known]
    measured = run_benchmark(
        stores,
        [*hand_written, *swept, *entrants],
        seeds=seeds,
        rules=Rules(max_branches=next(iter(slots.values()), 64), accounting=accounting),
        workers=workers,
        progress=progress,
        resamples=resamples,
    )
    results = [result for result in measured.results if result.controller not in policies]
    for agent in agents:
        results += _average(agent, measured.results)
    families = {family.name: family for family in measured.families}
    several = [agent for agent in agents if len(agent.policies) > 1]
    return Comparison(
        Report(tuple(stores), tuple(results), resamples),
        {agent.name: tuple(families[name] for name in agent.policies) for agent in several},
        (*(agent.name for agent in agents), *programs),
    )


# -------------------------------------------------------------------- the command


@dataclass(frozen=True)
class Options(Settings):
    """What is compared, and how. ``python -m agents.benchmark --help`` lists the fields with their documentation."""

    policy: tuple[str, ...] = setting(
        "policies of agents.train; those that differ in their seed only are one agent", ()
    )
    program: tuple[str, ...] = setting("programs, such as best.py of a run of agents.explorer", ())
    store: tuple[str, ...] = setting("names or paths of stores; none: the store that ships", ())
    out: str = setting("folder for results, tables, figures and budget curves", "")
    seeds: int = setting("orders 0 to N - 1 of each pool", PRESETS["paper"].seeds)
    accounting: Annotated[str, one_of("exact", "autotts")] = setting("what tokens are charged", "autotts")
    points: int = setting("cost weights of a policy", POINTS)
    betas: int = setting("values of beta of a program", BETAS)
    workers: int = setting("processes", processors())
    resamples: int = setting("bootstrap resamples behind the intervals", 2000)


def _run(options: Options) -> None:
    hand_written = list(PRESETS["paper"].settings)
    agents = load_agents(options.policy, taken=hand_written)
    taken = [name for agent in agents for name in (agent.name, *agent.policies)]
    programs = load_programs(options.program, options.betas, taken=[*hand_written, *taken])
    stores = resolve_stores(options.store or None)
    for store in stores:
        store.require_gold("agents.benchmark")
    if options.out:
        check_writable(options.out)  # before the work rather than after it
    comparison = benchmark(
        agents,
        stores,
        programs=programs,
        seeds=range(options.seeds),
        accounting=options.accounting,
        points=options.points,
        workers=options.workers,
        progress=True,
        resamples=options.resamples,
    )
    written = comparison.write(options.out) if options.out else []
    for table in comparison.tables():
        show(Fitted(table), "")
    for agent in agents:
        for name, policy in agent.policies.items():
            print(f"{name}: {policy.path}, trained on {', '.join(policy.card['trained_on']) or 'unknown stores'}")
    for name, settings in programs.items():
        print(f"{name}: {settings[0].path}")
    if written:
        print(f"{options.out}: {', '.join(path.name for path in written)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; see ``autotts_gym.cli.ending.run``."""

    def work() -> int:
        options = Options(**read_command_line("agents.benchmark", __doc__, Options, {}, arguments))
        if not options.policy and not options.program:
            raise AutottsError("expected --policy or --program, got neither")
        _run(options)
        return 0

    return ending.run(work)


if __name__ == "__main__":
    sys.exit(main())
