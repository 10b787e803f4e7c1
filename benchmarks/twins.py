"""What rules lose on twins of ``synthetic/search``: the noise that a verdict of ``autotts evaluate --twin`` allows."""

import argparse
from pathlib import Path

from autotts_gym import evaluate, make_controller
from autotts_gym.evaluation.twin import compare_with_twin
from autotts_gym.replay import load_store
from autotts_gym.replay.variants import twin
from benchmarks import run

PROGRAM = Path(__file__).resolve().parent.parent / "agents" / "programs" / "evolved.py"


def main() -> None:
    """Print the largest loss of each rule, in points of accuracy, and the verdicts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--twins", type=int, default=8, help="seeds 0, 1, ... of the twins (default: %(default)s)")
    twins = range(parser.parse_args().twins)
    store = load_store("synthetic/search")
    rules = [make_controller(name, branches=16) for name in ("sc", "answer_consistency")]
    rules += [make_controller(name) for name in ("asc", "parallel_probe", "short_m")]
    rules += [make_controller("cmc", beta=beta) for beta in (0.2, 0.5, 1.0)]
    rules.append(make_controller(PROGRAM, beta=0.5))
    for seeds in (8, 20):
        print(f"{len(twins)} twins, {seeds} seeds")
        for rule in rules:
            here = evaluate(rule, store, seeds=range(seeds))
            reports = [compare_with_twin([here], [evaluate(rule, twin(store, k), seeds=range(seeds))]) for k in twins]
            worst = min(report.accuracy_difference.estimate for report in reports)
            verdicts = ", ".join(sorted({report.verdict for report in reports}))
            print(f"  {here.label:40} {100 * worst:+5.1f} points at worst   {verdicts}")


if __name__ == "__main__":
    run(main)
