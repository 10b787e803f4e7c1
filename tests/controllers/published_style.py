"""A file in the style of published controllers, for tests: 1,400 lines, of which one class is the controller.

It has base classes of its own, a recorder, several methods beside the controller, and a main block with modules that no
program may import.
"""

from pathlib import Path

HEADER = '''#!/usr/bin/env python3
"""Controllers for test-time scaling: self-consistency, adaptive consistency, and the one that a search found."""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import warnings
from abc import ABC, abstractmethod
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

import numpy as np
from scipy.special import betainc
from scipy.stats import beta

if TYPE_CHECKING:
    import torch

Answer = Optional[str]


@dataclass
class Event:
    """What was done."""

    kind: str
    branch: int
    answer: Answer = None
    extra: Dict[str, Any] = field(default_factory=dict)


class Recorder:
    """Keeps what a method did, for figures."""

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled
        self.events: List[Event] = []
        self.counts: Dict[str, int] = defaultdict(int)
        self.recent: deque = deque(maxlen=64)

    def log(self, kind: str, branch: int, answer: Answer = None, **extra: Any) -> None:
        if self.enabled:
            self.events.append(Event(kind, branch, answer, extra))
            self.counts[kind] += 1
            self.recent.append(branch)

    def to_json(self) -> str:
        return json.dumps([event.kind for event in self.events])


class BaseController(ABC):
    """What all methods have in common."""

    name: str = "base"

    def __init__(self, config: Dict[str, Any]) -> None:
        self.config = dict(config)
        self.recorder = Recorder()
        self.rng = random.Random(0)

    @abstractmethod
    def solve(self, question: Any) -> Answer:
        raise NotImplementedError

    def majority(self, answers: List[Answer]) -> Answer:
        counts = Counter(answer for answer in answers if answer is not None)
        return counts.most_common(1)[0][0] if counts else None

    def confidence(self, answers: List[Answer]) -> float:
        top, second = [*sorted(Counter(answers).values(), reverse=True), 0, 0][:2]
        sure = 1.0 - beta.cdf(0.5, top + 1, second + 1)
        assert abs(sure - (1.0 - betainc(top + 1, second + 1, 0.5))) < 1e-9
        return float(sure)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.config})"


class SelfConsistency(BaseController):
    name = "sc"

    def solve(self, question: Any) -> Answer:
        return self.majority([question.get_new_branch_final_answer() for _ in range(self.config.get("branches", 8))])


class AdaptiveConsistency(BaseController):
    name = "asc"

    def solve(self, question: Any) -> Answer:
        answers: List[Answer] = []
        while len(answers) < 64:
            try:
                answers.append(question.get_new_branch_final_answer())
            except IndexError:
                break
            if len(answers) > 1 and self.confidence(answers) > 0.95:
                break
        return self.majority(answers)


class OptimalController(BaseController):
    """The method that the search found."""

    name = "optimal"

    def __init__(self, config: Dict[str, Any]) -> None:
        super().__init__(config)
        budget = float(np.clip(config["beta"], 0.0, 1.0))
        self.most = max(2, int(round(2 + 14 * budget)))
        self.threshold = 0.85 + 0.1 * budget

    def solve(self, question: Any) -> Answer:
        answers: List[Answer] = []
        for k in range(self.most):
            answer, index, finished = question.probe_new()
            self.recorder.log("open", index, answer, round=k)
            while not finished:
                answer, finished = question.probe_more(index)
                self.recorder.log("deepen", index, answer)
            answers.append(answer)
            if k and self.confidence(answers) > self.threshold:
                break
        assert self.recorder.counts["open"] == len(answers)
        print(self, self.recorder.to_json()[:80], math.pi, warnings, re)
        return self.majority(answers)


METHODS = {cls.name: cls for cls in (SelfConsistency, AdaptiveConsistency, OptimalController)}
'''

VARIANT = '''

class Ablation{k}(OptimalController):
    """The method without its part {k}: what the threshold {value} comes to."""

    name = "ablation-{k}"

    def __init__(self, config: Dict[str, Any]) -> None:
        super().__init__(config)
        self.threshold = {value}

    def describe(self) -> str:
        parts = [self.name, f"threshold={{self.threshold:.3f}}", f"most={{self.most}}"]
        return ", ".join(parts)

    def solve(self, question: Any) -> Answer:
        if self.most < {k}:
            return SelfConsistency(self.config).solve(question)
        return super().solve(question)
'''

END = """

def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", choices=sorted(METHODS), default="optimal")
    print(parser.parse_args())


if __name__ == "__main__":
    import os
    import sys

    sys.path.insert(0, os.getcwd())
    main()
"""


def write(folder: Path) -> Path:
    """The file."""
    text = HEADER
    k = 0
    while text.count("\n") < 1400 - END.count("\n"):
        k += 1
        text += VARIANT.format(k=k, value=round(0.5 + 0.005 * k, 3))
    path = folder / "methods.py"
    path.write_text(text + END)
    return path
