"""Time and memory of opening stores, and of evaluating synthetic stores of up to a million branches."""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from autotts_gym.replay import resolve_stores, synthesize
from benchmarks import run

OPEN = """
import resource, sys, time
import autotts_gym, h5py
from autotts_gym import load_store
rss = lambda: int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 1e6
base = rss()
times, stores = [], []
for path in sys.argv[1:]:
    start = time.perf_counter()
    stores.append(load_store(path))
    times.append(time.perf_counter() - start)
print(max(times) * 1e3, rss() - base)
"""

EVALUATE = """
import resource, sys, time
from autotts_gym import evaluate, load_store, make_controller
store = load_store(sys.argv[1])
controller = make_controller("cmc", beta=0.5)
evaluate(controller, None, seeds=range(1))
start = time.perf_counter()
evaluate(controller, store, seeds=range(1))
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
"""


def numbers(code: str, *arguments: str) -> list[float]:
    """What a fresh process prints."""
    run = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return [float(word) for word in run.stdout.split()]


def main() -> None:
    """Print both curves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", nargs="*", help="paths; default: the store that ships")
    parser.add_argument("--branches", type=int, nargs="+", default=[62_464, 125_056, 250_112, 500_096, 1_000_064])
    arguments = parser.parse_args()
    paths = [str(store.path) for store in resolve_stores(arguments.stores or None)]
    slowest, memory = numbers(OPEN, *paths)
    print(f"{len(paths)} stores: slowest opening {slowest:.1f} ms, all open {memory:.1f} MB above the imported package")
    print("evaluate cmc(beta=0.5), one seed, fresh process")
    print(f"{'branches':>12} {'seconds':>9} {'us/branch':>10} {'peak MB':>9} {'bytes/branch':>13}")
    first = None
    with tempfile.TemporaryDirectory() as folder:
        for branches in arguments.branches:
            path = Path(folder) / f"{branches}.h5"
            synthesize(questions=branches // 128, branches=128, seed=0).save(path)
            elapsed, peak = numbers(EVALUATE, str(path))
            first = first or (branches, peak)
            slope = (peak - first[1]) * 1e6 / (branches - first[0]) if branches > first[0] else float("nan")
            print(f"{branches:12,} {elapsed:9.2f} {elapsed / branches * 1e6:10.2f} {peak:9.0f} {slope:13.0f}")


if __name__ == "__main__":
    run(main)
