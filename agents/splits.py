"""Questions of the search stores that are held out for selection; without torch."""

from collections.abc import Sequence

import numpy as np

from autotts_gym.replay import ReplayStore


def hold_out(
    stores: Sequence[ReplayStore], share: float, seed: int, questions: Sequence[int] = ()
) -> tuple[list[ReplayStore], list[ReplayStore]]:
    """The stores' questions to search on, and those to select on; where none is held out, all of them are both.

    Stores of one benchmark hold the same questions, and hold out the same ones.

    Args:
        stores: the search stores.
        share: share of each store's questions to hold out.
        seed: of the drawn questions.
        questions: the questions of each store to hold out, instead of a share.

    Raises:
        StoreError: there is no such question, or none is left.
    """
    parts: tuple[list[ReplayStore], list[ReplayStore]] = [], []
    for store in stores:
        every = np.arange(store.num_questions)
        held = np.array(questions, np.int64)
        if not held.size:
            order = np.random.default_rng([seed, every.size]).permutation(every)
            held = np.sort(order[: round(share * every.size)])
        if not held.size:
            parts[0].append(store)
            parts[1].append(store)
            continue
        parts[0].append(store.select(np.setdiff1d(every, held).tolist()))
        parts[1].append(store.select(held.tolist()))
    return parts
