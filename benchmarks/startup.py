"""Time to import the package and to the first step of an environment, with and without compiled code on disk."""

import os
import subprocess
import sys
import tempfile

IMPORT = "import time; t = time.perf_counter(); import autotts_gym; print(time.perf_counter() - t)"
STEP = (
    "import time; t = time.perf_counter(); import gymnasium as gym, autotts_gym; "
    "env = gym.make('AutoTTS-Replay-v0'); env.reset(seed=0); env.step(1); print(time.perf_counter() - t)"
)
EVALUATE = (
    "import time; t = time.perf_counter(); from autotts_gym import evaluate, make_controller; "
    "evaluate(make_controller('cmc', beta=0.5), seeds=range(1)); print(time.perf_counter() - t)"
)


def seconds(code: str, cache: str) -> float:
    """What a fresh process prints, with its compiled code under ``cache``."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return float(run.stdout)


def main() -> None:
    """Print the times."""
    with tempfile.TemporaryDirectory() as cache:
        print(f"import autotts_gym                         {min(seconds(IMPORT, cache) for _ in range(3)):6.2f} s")
        for name, code in (("gym.make, reset, step", STEP), ("evaluate cmc, one seed", EVALUATE)):
            print(f"{name:28} first use     {seconds(code, cache):6.2f} s")
            print(f"{name:28} later process {min(seconds(code, cache) for _ in range(3)):6.2f} s")


if __name__ == "__main__":
    main()
