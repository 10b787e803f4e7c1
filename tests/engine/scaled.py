"""Stores whose numbers of tokens are all multiplied by one factor, the token unit too."""

from collections.abc import Mapping

import numpy as np

from autotts_gym.replay import ReplayStore
from autotts_gym.replay.columns import DTYPES, Columns, StringTable


def scaled(
    store: ReplayStore,
    factor: int,
    unit: int | None = None,
    model: str | None = None,
    signals: Mapping[str, np.ndarray] | None = None,
) -> ReplayStore:
    """The store with tokens, Δ and token unit times a factor.

    Args:
        store: what is scaled.
        factor: at least 1.
        unit: the token unit before that; None: the store's.
        model: its name; None: the store's.
        signals: None: the store's.
    """
    columns = {name: getattr(store, name) for name in DTYPES}
    return ReplayStore(
        Columns(**{**columns, "tokens": store.tokens * np.int32(factor)}),
        StringTable.of("answers", [text for q in range(store.num_questions) for text in store.answers(q)]),
        StringTable.of("questions", store.questions),
        model=model or store.model,
        benchmark=store.benchmark,
        interval_tokens=store.interval_tokens * factor,
        attributes={**store.attributes, "token_unit": (unit or store.token_unit) * factor},
        signals=dict(store.signals) if signals is None else signals,
    )
