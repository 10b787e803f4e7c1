"""The token unit: the tokens that a price is for, by which all that counts tokens is scaled.

It is 10^6 on the published data, about what SC@64 spends there. A collected store has its own, 64 times its mean branch
(``replay.default_token_unit``), and an argument of environments and evaluations overrides it. One *millionth* of it is
a token of the published data: scales of features and tails of signals are defined in millionths, and levels of tables
as shares, so they mean the same where branches are short.
"""

from dataclasses import dataclass

MILLION = 1_000_000
"""The token unit of a store that does not say its own."""


@dataclass(frozen=True)
class Shown:
    """In what numbers of tokens are shown to people.

    Attributes:
        size: tokens.
        letter: such as "k" of 80k.
        word: such as "thousand".
    """

    size: int
    letter: str
    word: str

    @property
    def heading(self) -> str:
        """Of a column of such numbers: ``tokens k``."""
        return f"tokens {self.letter}".strip()

    def text(self, tokens: float) -> str:
        """A number of tokens in a column: ``1,040``, ``0.8``."""
        number = tokens / self.size
        return f"{number:,.1f}" if number < 10 else f"{number:,.0f}"

    @property
    def label(self) -> str:
        """Of an axis of such numbers: ``thousand tokens``."""
        return f"{self.word} tokens".strip()


_SHOWN = (Shown(10**6, "M", "million"), Shown(10**3, "k", "thousand"), Shown(1, "", ""))


def shown(unit: float) -> Shown:
    """In what to show numbers of tokens where the token unit is so large: tokens, thousands or millions."""
    return next(each for each in _SHOWN if 100 * each.size <= unit or each.size == 1)
