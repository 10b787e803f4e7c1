"""The tokens of the tiny reasoner: every word of the task is one, and any other text falls back to its bytes."""

from functools import cache

from agents.reasoner.problems import (
    AGAIN,
    ASK,
    CLOSING,
    FROM,
    LOST,
    MAX_STEPS,
    MODULUS,
    NOW,
    OPENING,
    OPERATIONS,
    PROBE,
    SAME,
    SO,
    label,
    spelled,
    state,
)

UNKNOWN, BEGIN, END = 0, 1, 2
"""Ids of the special tokens; texts begin without one, and finished branches end with ``END``."""

SPECIAL = ("<unk>", "<s>", "</s>")
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
WORDS = (
    OPENING,
    ASK,
    FROM,
    NOW,
    SO,
    AGAIN,
    SAME,
    LOST,
    PROBE,
    CLOSING,
    *map(state, range(MODULUS)),
    *map(str, range(MODULUS)),
    *map(spelled, OPERATIONS),
    *map(label, range(MAX_STEPS)),
)
TOKENS = (*SPECIAL, *BYTES, *WORDS)
"""All of them, by id."""


@cache
def _ids() -> dict[str, int]:
    return {word: len(SPECIAL) + len(BYTES) + i for i, word in enumerate(WORDS)}


def encode(words: list[str]) -> list[int]:
    """The ids of words of the task."""
    ids = _ids()
    return [ids[word] for word in words]


def decode(ids: list[int]) -> str:
    """The text of ids of words; the end of text is no text."""
    return "".join(TOKENS[i] for i in ids if i != END)
