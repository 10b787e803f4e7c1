"""What episodes can be played on that is no store."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotts_gym.controllers import Controller
from autotts_gym.engine import Rules


class Source(ABC):
    """Questions whose branches come from somewhere as they are needed; ``evaluate`` takes one in the place of a store.

    Attributes:
        benchmark: name of the questions.
        token_unit: tokens that a price is for.
    """

    benchmark: str
    token_unit: int

    @property
    @abstractmethod
    def model(self) -> str:
        """Name of the model."""

    @property
    def name(self) -> str:
        """Both, as names of stores are."""
        return f"{self.model}/{self.benchmark}"

    @property
    @abstractmethod
    def num_questions(self) -> int:
        """How many questions there are."""

    @abstractmethod
    def check(self, controller: Controller) -> None:
        """Refuse a controller that cannot play here.

        Raises:
            ControllerError: it needs what there is not.
        """

    @abstractmethod
    def play(
        self,
        controller: Controller,
        rules: Rules,
        seeds: NDArray[np.int64],
        questions: NDArray[np.int64],
        answers: bool,
        advance: Callable[[], None],
    ) -> dict[str, NDArray[Any]]:
        """Play episodes, one a pair of seed and question.

        Args:
            controller: decides each round.
            rules: of all episodes.
            seeds: (N,) int64.
            questions: (N,) int64.
            answers: whether to keep the answers given.
            advance: called after each episode.

        Returns:
            The fields of an ``EvaluationResult``, each (N,).
        """
