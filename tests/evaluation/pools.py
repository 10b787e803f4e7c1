"""Small ragged pools for tests: questions with 1 to 6 branches of 1 to 6 probes."""

import random
from collections.abc import Sequence

import numpy as np

from autotts_gym.controllers import make_controller
from autotts_gym.replay import Branch, Question, ReplayStore, build_store
from autotts_gym.replay.columns import DTYPES, Columns, StringTable

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


def fitting(name: str, store: ReplayStore) -> ReplayStore:
    """The store, with made-up signals if a family needs some; that of an interval follows from branch and depth."""
    depths = np.diff(store.probe_offsets).tolist()
    values = [np.random.default_rng(b).random(depth, np.float32) for b, depth in enumerate(depths)]
    return ReplayStore(
        Columns(**{name: getattr(store, name) for name in DTYPES}),
        StringTable.of("answers", [answer for q in range(store.num_questions) for answer in store.answers(q)]),
        StringTable.of("questions", store.questions),
        model=store.model,
        benchmark=store.benchmark,
        interval_tokens=store.interval_tokens,
        attributes=store.attributes,
        signals=dict.fromkeys(make_controller(name).needs_signals, np.concatenate(values)),
    )


def as_store(questions: Sequence[Question], model: str = "ragged", benchmark: str = "pools") -> ReplayStore:
    return build_store(questions, model=model, benchmark=benchmark, interval_tokens=INTERVAL)
