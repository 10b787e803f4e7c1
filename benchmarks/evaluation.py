"""Time of ``evaluate`` on one core beside the same rules in plain Python, and of the published grid on all cores."""

import argparse
import os
import time
from functools import partial

import numpy as np

from autotts_gym import evaluate, make_controller
from autotts_gym.controllers import Controller
from autotts_gym.engine import Rules
from autotts_gym.evaluation import evaluate_all
from autotts_gym.replay import resolve_stores
from benchmarks import run
from benchmarks.plain_python import cmc, parallel_probe, play_plainly

SEEDS = 100
PLAIN_SEEDS = 4


def grid() -> list[Controller]:
    """The published grid of 22 settings."""
    widths = (2, 4, 8, 16, 32, 64)
    return [
        *(make_controller("asc", branches=n) for n in widths),
        *(make_controller("parallel_probe", branches=n) for n in widths),
        *(make_controller("esc", branches=n) for n in (16, 32, 64)),
        *(make_controller("cmc", beta=b) for b in (0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0)),
    ]


def main() -> None:
    """Print both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", nargs="*", help="names or paths; default: the store that ships")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    stores = resolve_stores(arguments.stores or None)

    store = stores[0]
    print(f"{store.name}: {store.num_questions} questions, {store.num_branches} branches, {SEEDS} seeds, one core")
    rules = (("cmc", {"beta": 0.5}, partial(cmc, b=0.5)), ("parallel_probe", {"branches": 64}, None))
    for name, knobs, rule in rules:
        controller = make_controller(name, **knobs)
        evaluate(controller, store, seeds=range(1), accounting="autotts")
        start = time.perf_counter()
        result = evaluate(controller, store, seeds=range(SEEDS), accounting="autotts")
        ours = time.perf_counter() - start
        start = time.perf_counter()
        tokens = play_plainly(store, rule or partial(parallel_probe, branches=64), PLAIN_SEEDS)
        theirs = (time.perf_counter() - start) * SEEDS / PLAIN_SEEDS
        same = np.array_equal(tokens, result.total_tokens[:PLAIN_SEEDS])
        print(
            f"  {result.label:28} {ours:7.3f} s; plain Python {theirs:7.1f} s (from {PLAIN_SEEDS} seeds), "
            f"{theirs / ours:5.0f} x; same tokens: {same}"
        )

    controllers = grid()
    start = time.perf_counter()
    evaluate_all(controllers, stores, seeds=range(SEEDS), rules=Rules(accounting="autotts"), workers=arguments.workers)
    seconds = time.perf_counter() - start
    print(
        f"published grid: {len(controllers)} settings x {len(stores)} stores x {SEEDS} seeds, "
        f"{arguments.workers} workers from cold: {seconds:.1f} s"
    )


if __name__ == "__main__":
    run(main)
