"""Small ragged pools for tests: questions with 1 to 6 branches of 1 to 6 probes."""

import random
from collections.abc import Sequence

from autotts_gym.replay import Branch, Question, ReplayStore, build_store

INTERVAL = 100
ANSWERS = ("1", "2", "3", None)


def ragged_questions(seed: int, questions: int = 3) -> list[Question]:
    rng = random.Random(seed)
    return [
        Question(f"question {q}", rng.choice(("1", "2", "unseen")), [_branch(rng) for _ in range(rng.randint(1, 6))])
        for q in range(questions)
    ]


def _branch(rng: random.Random) -> Branch:
    depth = rng.randint(1, 6)
    # Ends inside its last interval, at its end, or with a text behind it.
    tokens = depth * INTERVAL + rng.choice((-rng.randrange(INTERVAL), 0, rng.randint(1, 3 * INTERVAL)))
    return Branch(rng.choices(ANSWERS, k=depth), tokens, rng.choice(ANSWERS))


def as_store(questions: Sequence[Question], model: str = "ragged", benchmark: str = "pools") -> ReplayStore:
    return build_store(questions, model=model, benchmark=benchmark, interval_tokens=INTERVAL)
