"""Time of ``evaluate`` for programs in the sandbox, audit included, beside the built-in ones and plain Python."""

import argparse
import time
from functools import partial
from pathlib import Path

import numpy as np

from autotts_gym import EvaluationResult, evaluate, make_controller
from autotts_gym.controllers import Controller, controller_families
from autotts_gym.replay import ReplayStore, resolve_stores
from autotts_gym.sandbox import layers
from benchmarks import run
from benchmarks.plain_python import cmc, play_plainly

PROGRAMS = Path(__file__).resolve().parent.parent / "agents" / "programs"
PLAIN_SEEDS = 4
FIELDS = ("correct", "total_tokens", "sequential_tokens", "branches_opened", "branches_pruned")


def timed(controller: Controller, store: ReplayStore, seeds: int) -> tuple[float, EvaluationResult]:
    """Seconds and result, after a first call that starts what is started once."""
    evaluate(controller, store, seeds=range(1), accounting="autotts")
    start = time.perf_counter()
    result = evaluate(controller, store, seeds=range(seeds), accounting="autotts")
    return time.perf_counter() - start, result


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", nargs="*", help="names or paths; default: the store that ships")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--beta", type=float, default=0.5)
    arguments = parser.parse_args()
    print("layers:", ", ".join(name for name, active in layers().items() if active))
    for store in resolve_stores(arguments.stores or None):
        print(f"{store.name}: {store.num_questions} questions, {arguments.seeds} seeds, beta={arguments.beta:g}")
        for path in sorted(path for path in PROGRAMS.glob("*.py") if path.stem in controller_families()):
            seconds, result = timed(make_controller(path, beta=arguments.beta), store, arguments.seeds)
            twin_seconds, twin = timed(make_controller(path.stem, beta=arguments.beta), store, arguments.seeds)
            same = all(np.array_equal(getattr(result, name), getattr(twin, name)) for name in FIELDS)
            print(
                f"  {path.stem:16} program {seconds:6.2f} s, built in {twin_seconds:6.2f} s, "
                f"{result.mean_tokens:9,.0f} tokens; same episodes: {same}"
            )
            if path.stem == "cmc":
                start = time.perf_counter()
                tokens = play_plainly(store, partial(cmc, b=arguments.beta), PLAIN_SEEDS)
                plain = (time.perf_counter() - start) * arguments.seeds / PLAIN_SEEDS
                same = np.array_equal(tokens, result.total_tokens[:PLAIN_SEEDS])
                print(
                    f"  {'':16} plain Python {plain:6.2f} s (from {PLAIN_SEEDS} seeds): the program takes "
                    f"{seconds / plain:.2f} of it; same tokens: {same}"
                )


if __name__ == "__main__":
    run(main)
