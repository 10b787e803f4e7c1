"""What the tests of the environments share: stores, random players, and deep comparison."""

import math
from typing import Any

import numpy as np
from reference import Episode
from worlds import World

from autotts_gym.envs.single import ReplayEnv
from autotts_gym.replay import Branch, Question, ReplayStore, synthesize


def small(questions: int = 4, pool: int = 9, seed: int = 0) -> ReplayStore:
    """A store whose branches are a few intervals long."""
    rng = np.random.default_rng(seed)
    answers = np.array(["1", "2", "3", "4", None], object)

    def branch() -> Branch:
        probes = rng.choice(answers, rng.integers(1, 5)).tolist()
        return Branch(probes, int(rng.integers(1, 100 * (len(probes) + 2))), probes[-1])

    made = [Question(f"q{q}", "1", [branch() for _ in range(pool)]) for q in range(questions)]
    return World(100, tuple(made)).store()


def shipped() -> ReplayStore:
    """A synthetic store like those that ship, smaller."""
    return synthesize(questions=3, branches=20, seed=4)


def pick(
    rng: np.random.Generator,
    mask: np.ndarray,
    stops: float = 0.03,
    wild: float = 0.1,
    endings: tuple[int, ...] = (0,),
) -> int:
    """An action: mostly admissible, now and then anything; those that end the episode are rare."""
    if rng.random() < wild:
        return int(rng.integers(1, len(mask)))
    good = np.setdiff1d(np.flatnonzero(mask), endings)
    return int(rng.choice(good if len(good) and rng.random() > stops else endings))


def assert_equal(a: Any, b: Any, where: str = "") -> None:
    """Equal in every key, type, dtype, shape and value."""
    assert type(a) is type(b), (where, type(a), type(b))
    if isinstance(a, dict):
        assert set(a) == set(b), where
        for key in a:
            assert_equal(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype, (where, a.dtype, b.dtype)
        assert a.shape == b.shape, (where, a.shape, b.shape)
        if a.dtype == object:
            for i, (x, y) in enumerate(zip(a.ravel(), b.ravel(), strict=True)):
                assert_equal(x, y, f"{where}[{i}]")
        else:
            assert np.array_equal(a, b), where
    elif isinstance(a, tuple | list):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{where}[{i}]")
    else:
        assert a == b, (where, a, b)


def weighted_votes(model: Episode) -> dict[str, float]:
    """Weighted votes of the finished branches by answer: most first, ties to the answer finished first."""
    done = model.finished()
    depths = np.array([slot.depth for slot in done], float)
    own: dict[str, list[int]] = {}
    for slot in done:
        if slot.answer is not None:
            own.setdefault(slot.answer, []).append(slot.depth)
    pull = 1.25 * len(done) / (len(done) + 8)
    abandoned = dict(zip(model.seen, model.abandoned(), strict=True))
    votes = {
        answer: len(each)
        * math.exp(-pull * (np.mean(each) - depths.mean()) / (depths.std() + 1))
        / math.sqrt(1 + abandoned[answer])
        for answer, each in own.items()
    }
    scale = sum(map(len, own.values())) / max(math.fsum(votes.values()), 1e-300)
    return dict(sorted(((answer, vote * scale) for answer, vote in votes.items()), key=lambda item: -round(item[1], 9)))


def arrays(value: Any) -> list[np.ndarray]:
    """Every array in nested dicts and tuples."""
    if isinstance(value, np.ndarray):
        return (
            [value, *(array for item in value.ravel() for array in arrays(item))] if value.dtype == object else [value]
        )
    if isinstance(value, dict):
        value = list(value.values())
    return [array for item in value for array in arrays(item)] if isinstance(value, tuple | list) else []


def episode(env: ReplayEnv, rng: np.random.Generator, **reset: Any) -> list[Any]:
    """One episode with random actions: everything that the environment returned."""
    results: list[Any] = [env.reset(**reset)]
    done = False
    while not done:
        results.append(env.step(pick(rng, results[-1][-1]["action_mask"])))
        done = results[-1][2] or results[-1][3]
    return results
