"""Time to the first step: of a fresh installation, where nothing is compiled, and of every process after that."""

import os
import subprocess
import sys
import tempfile

from benchmarks import run

STAGES = """
import time
start = time.perf_counter()
import gymnasium as gym, autotts_gym
def report(what):
    global start
    now = time.perf_counter()
    print(f"{what}\\t{now - start}")
    start = now
env = gym.make("AutoTTS-Replay-v0")
env.reset(seed=0)
env.step(1)
report("first step")
envs = gym.make_vec("AutoTTS-Replay-v0", num_envs=4)
envs.reset(seed=0)
envs.step([1] * 4)
report("first step of the vector environment, on top")
rounds = gym.make("AutoTTS-ReplayRounds-v0")
rounds.reset(seed=0)
rounds.step(1)
report("first step of rounds, on top")
from autotts_gym import evaluate, make_controller
evaluate(make_controller("cmc", beta=0.5), seeds=range(1))
report("first evaluate of cmc, on top")
"""
EVALUATE = """
import time
start = time.perf_counter()
from autotts_gym import evaluate, make_controller
evaluate(make_controller("cmc", beta=0.5), seeds=range(1))
print(f"first evaluate of cmc, from nothing\\t{time.perf_counter() - start}")
"""
IMPORT = """
import time
start = time.perf_counter()
import autotts_gym
print(f"import autotts_gym\\t{time.perf_counter() - start}")
"""


def seconds(code: str, cache: str) -> dict[str, float]:
    """What a fresh process takes for each stage, with its compiled code under ``cache``."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return {what: float(taken) for what, taken in (line.split("\t") for line in done.stdout.splitlines())}


def main() -> None:
    """Print the times of the first process and the best of three later ones."""
    print(f"{'seconds':46} {'first process':>14} {'later ones':>11}")
    for code in (IMPORT, STAGES, EVALUATE):
        with tempfile.TemporaryDirectory() as cache:
            first, *later = (seconds(code, cache) for _ in range(4))
        for what, taken in first.items():
            print(f"{what:46} {taken:14.2f} {min(each[what] for each in later):11.2f}")


if __name__ == "__main__":
    run(main)
