"""Accuracy of the votes of the first branches of a pool, by how much length and abandonment weigh.

The weighted votes of ``autotts_gym.engine.summaries`` (macro ``stop_weighted``) are one of these, chosen on AIME24.
"""

import argparse

import numpy as np
from numpy.typing import NDArray

from autotts_gym.engine import Bank, PoolState, RoundPlan, Rules
from autotts_gym.errors import AutottsError
from autotts_gym.replay import resolve_stores
from benchmarks import run

BRANCHES = (8, 16, 32, 64)
LENGTH = (0.0, 0.75, 1.25, 1.75)
ABANDONED = (0.0, 0.25, 0.5, 0.75)
CHOSEN = (1.25, 0.5)


def read(bank: Bank, seeds: int, branches: int) -> PoolState:
    """Episodes on all questions and seeds that have read so many branches whole."""
    questions = np.tile(np.arange(bank.num_questions), seeds)
    orders = np.repeat(np.arange(seeds), bank.num_questions)
    state = PoolState.begun(bank, Rules(max_branches=branches, accounting="autotts"), orders, questions)
    plan = RoundPlan.empty(len(questions), branches)
    plan.read[:] = branches
    state.play(plan)
    return state


def winners(state: PoolState, length: float, abandoned: float) -> NDArray[np.int32]:
    """The answer with most votes, by local id; -1: none. Ties go to the one finished first.

    An answer of v branches counts v exp(-c z) / (1 + x)^p, with p ``abandoned`` and c = ``length`` F / (F + 8); z, x
    and F as in ``autotts_gym.engine.summaries``.
    """
    rows, pools, answers = np.arange(state.episodes)[:, None], state.pools, state.arrays.finished_answers
    given = state.arrays.answers[rows, np.maximum(answers, 0)]
    votes = np.where(answers >= 0, given["finished_votes"], 0)
    finished = pools["finished"].astype(float)
    depth = pools["finished_depth"].astype(np.int64)
    mean = depth / finished
    deviation = np.sqrt(pools["finished"] * pools["finished_squares"] - depth * depth) / finished
    z = (given["finished_depth"] / np.maximum(votes, 1) - mean[:, None]) / (deviation[:, None] + 1.0)
    pull = length * finished / (finished + 8.0)
    counted = votes * np.exp(-pull[:, None] * z) / (1.0 + given["abandoned"]) ** abandoned
    return answers[rows[:, 0], counted.argmax(1)]


def main() -> None:
    """Print accuracies, and what each rule has beside the chosen one, with standard errors over problems."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", nargs="*", help="names or paths; default: the store that ships")
    parser.add_argument("--seeds", type=int, default=100)
    arguments = parser.parse_args()
    if arguments.seeds < 1:
        raise AutottsError(f"--seeds: expected at least 1, got {arguments.seeds}")
    bank = Bank(resolve_stores(arguments.stores or None))
    states = [read(bank, arguments.seeds, branches) for branches in BRANCHES]
    problems = np.unique(bank.problems, return_inverse=True)[1]
    count = np.bincount(problems)

    def accuracies(length: float, abandoned: float) -> NDArray[np.float64]:
        """(branches, problems): shares of seeds and stores."""
        right = []
        for state in states:
            won = winners(state, length, abandoned)
            stored = state.arrays.stored_ids[np.arange(state.episodes), won]
            correct = (won >= 0) & (stored == bank.questions["gold"][state.questions])
            mean = correct.reshape(arguments.seeds, -1).mean(0)
            right.append(np.bincount(problems, mean) / count)
        return 100.0 * np.array(right)

    base = accuracies(*CHOSEN)
    print(f"{bank.num_questions} questions of {len(count)} problems, {arguments.seeds} orders; accuracy in %, and")
    print(
        f"difference to length {CHOSEN[0]:g}, abandoned {CHOSEN[1]:g} in points with its standard error over problems"
    )
    print(f"{'length':>7} {'abandoned':>9}" + "".join(f"{f'{branches} branches':>21}" for branches in BRANCHES))
    for length in LENGTH:
        for abandoned in ABANDONED:
            found = accuracies(length, abandoned)
            row = ""
            for accuracy, difference in zip(found.mean(1), found - base, strict=True):
                error = difference.std() / np.sqrt(len(count))
                row += f"{accuracy:8.2f} ({difference.mean():+5.2f}±{error:4.2f})"
            print(f"{length:7g} {abandoned:9g}{row}")


if __name__ == "__main__":
    run(main)
