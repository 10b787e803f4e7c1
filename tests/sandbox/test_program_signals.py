"""Programs see the signals of the intervals that they have generated, and no others."""

from pathlib import Path

import numpy as np
import pytest

from autotts_gym.controllers.programs import Program
from autotts_gym.engine import Bank, Rules
from autotts_gym.errors import ProgramError
from autotts_gym.evaluation import evaluate
from autotts_gym.evaluation.runner import play_chunk
from autotts_gym.replay import pool_order, synthesize

STORE = synthesize(5, 10, seed=4, signals=True)

PICKS = '''"""Answers with the branch whose lowest confidence is highest."""


def schedule(beta):
    """How many branches are read."""
    return {"branches": 1 + 7 * beta}


def solve(session, beta):
    """Read, and choose."""
    assert session.signal_names == ("certainty", "confidence")
    count = int(schedule(beta)["branches"])
    for _ in range(count - 2):
        session.read()
    for _ in range(2):
        session.open()
    while session.active:
        session.deepen(session.active, 3)
        for i in range(session.opened):
            seen = session.signal_history("confidence", i)
            assert len(seen) == session.depths[i]
            assert session.signal("confidence", i) == seen[-1]
    return session.answers[max(range(count), key=lambda i: min(session.signal_history("confidence", i)))]
'''


def test_a_program_chooses_by_a_signal_as_plain_python_does(tmp_path: Path) -> None:
    (tmp_path / "picks.py").write_text(PICKS)
    result = evaluate(Program(tmp_path / "picks.py", 1.0), STORE, seeds=range(6), max_branches=8, answers=True)
    for row, seed in enumerate(result.seeds):
        for q in range(STORE.num_questions):
            first = STORE.branch_offsets[q]
            branches = first + np.array(pool_order(seed, 10)[:8])
            lows = [STORE.signals["confidence"][slice(*STORE.probe_offsets[b : b + 2])].min() for b in branches]
            final = STORE.finals[branches[int(np.argmax(lows))]]
            assert result.answers[row, q] == STORE.answers(q)[final]


def test_a_signal_that_there_is_not_is_an_error_of_the_program(tmp_path: Path) -> None:
    (tmp_path / "asks.py").write_text(
        '"""Asks."""\n\n\ndef schedule(beta):\n    return {"x": beta}\n\n\n'
        'def solve(session, beta):\n    session.open()\n    return session.signal("entropy", 0)\n'
    )
    with pytest.raises(ProgramError, match="expected one of"):
        play_chunk(Program(tmp_path / "asks.py"), Bank([STORE]), Rules(), np.arange(2), np.arange(2), False)
