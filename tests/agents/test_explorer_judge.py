from pathlib import Path

import numpy as np
import pytest

from agents.explorer.judge import play_program
from autotts_gym import synthesize
from autotts_gym.controllers.programs import Program
from autotts_gym.engine import Bank, Rules
from autotts_gym.errors import ProgramError
from autotts_gym.evaluation import evaluate_all

STORES = [synthesize(7, 12, seed=seed, model=f"model{seed}") for seed in (0, 1)]
RULES = Rules(max_branches=8)
BETAS = (0.0, 0.3, 1.0)

BY_ADDRESS = '''"""Does what depends on its process."""

def schedule(beta):
    return {"width": 1 + beta}


def solve(session, beta):
    for _ in range(1 + (id(len) >> 12) % 11):
        session.read()
'''


@pytest.mark.parametrize("seeds", [2, 25], ids=["one chunk", "several chunks"])
def test_settings_and_stores_side_by_side_give_what_each_gives_by_itself(seeds: int) -> None:
    path = Path(__file__).parents[2] / "agents" / "programs" / "cmc.py"
    expected = evaluate_all([Program(path, beta) for beta in BETAS], STORES, seeds=range(seeds), rules=RULES)
    for ours, theirs in zip(play_program(path, Bank(STORES), BETAS, seeds, RULES), expected, strict=True):
        assert (ours.store, ours.params, ours.seeds) == (theirs.store, theirs.params, theirs.seeds)
        for name in ("correct", "total_tokens", "sequential_tokens", "branches_opened", "branches_pruned"):
            assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name
    assert len({result.total_tokens.sum() for result in expected}) == len(expected)


def test_episodes_of_a_sweep_are_played_twice_beside_others(tmp_path: Path) -> None:
    (tmp_path / "by_address.py").write_text(BY_ADDRESS)
    with pytest.raises(ProgramError, match="beside other episodes"):
        play_program(tmp_path / "by_address.py", Bank(STORES), BETAS, 4, RULES)
