import shutil

import pytest
from scaled import scaled

from agents.explorer.config import PROMPTS, Config
from agents.explorer.folder import Record
from agents.explorer.objective import Figures
from agents.explorer.prompts import Prompts
from autotts_gym import load_store, make_controller, synthesize
from autotts_gym.errors import AutottsError
from autotts_gym.evaluation import Frontier, evaluate_all
from autotts_gym.sandbox import read_source

FIGURES = Figures(0.5, 0.4, 0.6, 0.49, 0.01, -0.01, 0.02, 0.005, 0.4875)
GOOD = Record("000-01", "evaluated", "done", about="Reads a few.", figures=FIGURES, frontier=((0.0, 0.5, 50_000.0),))
BAD = Record("001-02", "failed", "screen", kind="exception", message="division by $zero", line=7)


@pytest.fixture
def rendered():
    store = load_store("synthetic/search")
    cmc = [make_controller("cmc", beta=beta) for beta in (0.0, 1.0)]
    reference = Frontier.from_results("cmc", evaluate_all(cmc, [store], seeds=range(1)))
    parents = [(GOOD, "SOURCE = '$sign'", "what went wrong")]
    return Prompts().task(Config(), [store], reference, parents, [GOOD, BAD], 3, 2)


def test_the_prompt_lists_the_history(rendered):
    for words in (
        "Program 000-01: score 0.4875", "SOURCE = '$sign'", "what went wrong", "| 0 | 50.0 | 50 |",
        "- 000-01, score 0.4875: Reads a few.", '- 001-02: failed at "screen": division by $zero (line 7)',
        "proposal 2 of round 3", "session.history(i)", "0.02 to 1", "math",
    ):  # fmt: skip
        assert words in rendered, words


def test_the_prompt_has_no_placeholder_left_and_names_no_question(rendered):
    assert "$max" not in rendered
    assert "$parents" not in rendered
    store = load_store("synthetic/search")
    assert not any(store.questions[i] in rendered for i in range(store.num_questions))


def test_the_program_in_the_prompt_passes_the_static_checks(rendered, tmp_path):
    source = rendered.split("```python\n")[1].split("```")[0]
    (tmp_path / "p.py").write_text(source)
    assert read_source(tmp_path / "p.py").style == "program"


def test_prices_and_tokens_are_those_of_the_stores(rendered):
    assert "accuracy - w * tokens / 1,000,000. For" in rendered
    assert "| beta | accuracy % | tokens k |" in rendered
    short = scaled(synthesize(4, 8, interval_tokens=10), 1, 5120)
    reference = Frontier.from_results("cmc", evaluate_all([make_controller("cmc", beta=0.5)], [short], seeds=range(1)))
    text = Prompts().task(Config(), [short], reference, [(GOOD, "", "")], [], 1, 1)
    assert "accuracy - w * tokens / 5,120. For" in text
    assert "| beta | accuracy % | tokens |" in text
    assert "| 0 | 50.0 | 50000 |" in text
    assert "tokens k" not in text


def test_users_may_change_the_files(tmp_path):
    folder = shutil.copytree(PROMPTS, tmp_path / "mine")
    (folder / "tried.md").write_text("<$id> costs $$5\n")
    assert Prompts(folder).render("tried", id="x", score=1, about="y") == "<x> costs $5\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("$bogus", r"task\.md: expected placeholders among .*, got bogus"),
        ("5 $ more", r"task\.md: expected placeholders"),
    ],
)
def test_a_wrong_placeholder_is_refused(text, words, tmp_path):
    folder = shutil.copytree(PROMPTS, tmp_path / "mine")
    (folder / "task.md").write_text(text)
    with pytest.raises(AutottsError, match=words):
        Prompts(folder)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(AutottsError, match=r"task\.md: expected a prompt file"):
        Prompts(tmp_path)
