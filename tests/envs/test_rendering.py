"""Pictures of an episode: what they show, that they are stable, and that they show nothing unrevealed."""

import re
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from autotts_gym.engine import Bank, PoolState, RoundPlan, Rules, layout
from autotts_gym.envs import rendering
from autotts_gym.envs.rendering import (
    NO_ANSWER,
    NOT_GROWN,
    NOT_PROBED,
    cells,
    figure,
    render_ansi,
    render_rgb,
    save_picture,
)
from autotts_gym.errors import AutottsError
from autotts_gym.replay import Branch, Question, build_store, synthesize

SHAPE = (rendering.SIZE[1], rendering.SIZE[0], 3)
STOP, OPEN = layout.STOP, layout.BRANCH
SLOTS = 8


def deepen(i, slots=SLOTS):
    return layout.FIRST_DEEPEN + i


def prune(i, slots=SLOTS):
    return layout.FIRST_DEEPEN + slots + i


def probe(i, slots=SLOTS):
    return layout.FIRST_DEEPEN + 2 * slots + i


BRANCHES = (
    Branch(("7", "7", "12"), 1300, "12"),
    Branch(("12", "12"), 900, "12"),
    Branch((None, "7", "9", "9"), 1900, "9"),
    Branch(("12", None, "7"), 1450, "7"),
)


def make_store(branches=BRANCHES, gold="12"):
    question = Question("What is 3 · 4?", gold, branches)
    return build_store([question, question], model="Tiny", benchmark="toy", interval_tokens=500)


def start(store=None, question=1, order=None, **rules):
    """One episode over the branches in order."""
    store = store or make_store()
    state = PoolState(Bank([store]), 1, Rules(**{"max_branches": SLOTS} | rules))
    state.begin(questions=question)
    size = int(state.bank.questions["branches"][question])
    dealt = np.zeros(state.slots.shape, np.int32)
    dealt[0, : min(size, dealt.shape[1])] = np.arange(size)[: dealt.shape[1]]
    state.deal(np.ones(1, np.bool_), dealt)
    return state


def act(state, *actions):
    for action in actions:
        assert state.act(np.array([action]))[0], f"action {action} was not admissible"
    return state


def plain(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def shows(frame, colour, tolerance=2):
    """Pixels of a colour."""
    wanted = np.array(to_rgb(colour)) * 255
    return int((np.abs(frame - wanted).max(axis=2) <= tolerance).sum())


# ------------------------------------------------------------------------------------------------------------- cells


def test_cells_hold_local_ids_in_the_order_seen():
    state = act(start(), OPEN, OPEN, OPEN, deepen(0), deepen(2), deepen(2))
    # 7 was seen first, then 12, then 9.
    expected = [[0, 0, NOT_GROWN], [1, NOT_GROWN, NOT_GROWN], [NO_ANSWER, 0, 2]]
    assert cells(state, 0).tolist() == expected


def test_cells_tell_unprobed_depths_from_probed_ones_without_an_answer():
    state = act(start(probe="explicit"), OPEN, OPEN, OPEN, probe(2), deepen(2), deepen(0), probe(0))
    assert cells(state, 0).tolist() == [[NOT_PROBED, 0], [NOT_PROBED, NOT_GROWN], [NO_ANSWER, NOT_PROBED]]


def test_cells_of_nothing():
    assert cells(start(), 0).shape == (0, 0)


def test_runs_cover_every_grown_cell_once():
    grid = np.array(
        [[0, 0, 1, 1, NOT_GROWN], [1, 2, 2, 2, 2], [NO_ANSWER, NO_ANSWER, 0, NOT_PROBED, NOT_GROWN]], np.int32
    )
    again = np.full_like(grid, NOT_GROWN)
    runs = list(zip(*rendering._runs(grid), strict=True))
    for row, first, end, value in runs:
        again[row, first:end] = value
    np.testing.assert_array_equal(again, grid)
    assert len(runs) == 7


# ----------------------------------------------------------------------------------------------------------- frames


def test_frames_of_an_episode_have_one_shape_and_the_state_is_untouched():
    state = PoolState(Bank([synthesize(questions=1, branches=40)]), 1, Rules(max_branches=32))
    state.begin()
    plan = RoundPlan.empty(1, 32)
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(6):
        before = [array.copy() for array in state.arrays]
        frame = render_rgb(state, 0)
        assert frame.shape == SHAPE
        assert frame.dtype == np.uint8
        seen.add(frame.tobytes())
        render_ansi(state, 0)
        for was, now in zip(before, state.arrays, strict=True):
            np.testing.assert_array_equal(was, now)
        plan.clear()
        plan.open[:] = 4
        plan.deepen[:] = rng.integers(0, 6, plan.deepen.shape)
        state.play(plan)
    assert len(seen) == 6


def test_answers_have_their_colours():
    state = act(start(), OPEN, OPEN)
    two = render_rgb(state, 0)
    first, second, third = rendering._COLOURS[:3]
    assert shows(two, first) > 500
    assert shows(two, second) > 500
    assert shows(two, third) == 0
    three = render_rgb(act(state, OPEN, deepen(2), deepen(2)), 0)
    assert shows(three, third) > 500


def test_an_answer_keeps_its_colour_when_the_leader_changes():
    state = act(start(), OPEN, OPEN)
    before = rendering._View.of(state, 0)
    assert before.answers[before.leader].text == "7"
    after = rendering._View.of(act(state, deepen(0), deepen(0)), 0)
    assert after.answers[after.leader].text == "12"
    assert [answer.colour for answer in before.answers] == [answer.colour for answer in after.answers]


def test_the_leader_always_has_a_colour_and_a_letter():
    answers = [str(i) for i in range(80)]
    branches = (Branch(answers, 80 * 500, "79"), Branch(("79",), 500, "79"))
    state = act(start(make_store(branches)), OPEN, *[deepen(0)] * 79)
    view = rendering._View.of(state, 0)
    leader = view.answers[view.leader]
    assert leader.text == "79"
    assert leader.colour in rendering._COLOURS
    assert leader.letter in rendering._LETTERS
    assert sum(answer.colour in rendering._COLOURS for answer in view.answers) == len(rendering._COLOURS)
    assert sum(answer.letter == "#" for answer in view.answers) == 80 - len(rendering._LETTERS)


def test_pruning_and_finishing_change_the_row():
    def row(frame):
        return frame[60:130, 56:720]

    active = render_rgb(act(start(), OPEN), 0)
    pruned = render_rgb(act(start(), OPEN, prune(0)), 0)
    full, faded = rendering._COLOURS[0], tuple(rendering._fade(rendering._COLOURS[0])[0])
    assert shows(row(active), full) > 500
    assert shows(row(pruned), full) == 0
    assert shows(row(pruned), faded) > 500

    grown = start(accounting="autotts")
    grown = act(grown, OPEN, deepen(0), deepen(0))
    assert grown.slots["status"][0, 0] == layout.ACTIVE
    before = render_rgb(grown, 0)
    after = render_rgb(act(grown, deepen(0)), 0)
    assert grown.slots["status"][0, 0] == layout.FINISHED
    assert (row(before) != row(after)).any()


def test_unprobed_depths_show():
    hatched = act(start(probe="explicit"), OPEN, deepen(0))
    probed = act(start(probe="explicit"), OPEN, deepen(0), probe(0))
    assert (render_rgb(hatched, 0) != render_rgb(probed, 0)).any()
    assert shows(render_rgb(hatched, 0)[60:580, 56:720], rendering._COLOURS[0]) == 0


def test_spend_and_budget_show():
    free, bound = (act(start(**rules), OPEN) for rules in ({}, {"token_budget": 4000}))
    assert (render_rgb(free, 0) != render_rgb(bound, 0)).any()
    assert "500 tokens · 500 sequential\n" in plain(render_ansi(free, 0))
    assert "500 tokens · 500 sequential · 3,500 of 4,000 left\n" in plain(render_ansi(bound, 0))


@pytest.mark.parametrize("draw", [render_rgb, render_ansi])
def test_the_same_state_gives_the_same_bytes(draw):
    def once():
        picture = draw(act(start(), OPEN, OPEN, deepen(0), prune(1)), 0)
        return picture if isinstance(picture, str) else picture.tobytes()

    assert once() == once()


def test_a_frame_does_not_depend_on_the_users_style():
    state = act(start(), OPEN)
    expected = render_rgb(state, 0)
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "black", "lines.linewidth": 9}):
        np.testing.assert_array_equal(render_rgb(state, 0), expected)
        assert mpl.rcParams["font.size"] == 20


def test_the_episode_asked_for_is_drawn():
    state = PoolState(Bank([make_store()]), 2, Rules(max_branches=SLOTS))
    state.begin(questions=np.array([0, 1]))
    state.act(np.array([OPEN, STOP]))
    assert "question 0 · running" in plain(render_ansi(state, 0))
    assert "question 1 · no answer" in plain(render_ansi(state, 1))


# ---------------------------------------------------------------------------------------------------------- no leak


def test_nothing_unrevealed_is_drawn():
    state = act(start(), OPEN, OPEN, OPEN, deepen(0), prune(2))
    frame, text = render_rgb(state, 0), render_ansi(state, 0)
    hidden = state.arrays.hidden_slots
    for field, change in (("probes", 50), ("tokens", 90_000), ("final", 1)):
        hidden[field] += change
    state.arrays.drawn[:] += 3
    state.arrays.displaced[:] += 2
    state.arrays.hidden_pools["gold"] += 1
    state.arrays.hidden_pools["correct"] = True
    state.arrays.hidden_pools["branches"] += 9
    np.testing.assert_array_equal(render_rgb(state, 0), frame)
    assert render_ansi(state, 0) == text


@pytest.mark.parametrize("rules", [{}, {"probe": "explicit"}, {"accounting": "autotts"}])
def test_stores_that_differ_in_what_is_unrevealed_look_the_same(rules):
    other = (
        Branch(("7", "7", *["99999"] * 70), 40_000, "\N{SNOWMAN}"),
        Branch(("12",) * 90, 50_000, None),
        Branch((None, *"123456789" * 4), 18_500, "1"),
        Branch(("a", "b"), 1000, "c"),
        Branch(("d", "e"), 1000, "f"),
    )
    steps = [OPEN, OPEN, OPEN, deepen(0), prune(2)]
    if rules.get("probe") == "explicit":
        steps += [probe(0), probe(1)]
    first, second = (
        act(start(store, **rules), *steps) for store in (make_store(), make_store(other, gold="no such answer"))
    )
    np.testing.assert_array_equal(render_rgb(first, 0), render_rgb(second, 0))
    assert render_ansi(first, 0) == render_ansi(second, 0)


def test_correctness_shows_only_after_the_end():
    right, wrong = (act(start(make_store(gold=gold)), OPEN, OPEN, deepen(1)) for gold in ("12", "7"))
    np.testing.assert_array_equal(render_rgb(right, 0), render_rgb(wrong, 0))
    assert render_ansi(right, 0) == render_ansi(wrong, 0)
    assert "running" in plain(render_ansi(right, 0))
    act(right, STOP), act(wrong, STOP)
    assert (render_rgb(right, 0) != render_rgb(wrong, 0)).any()
    assert "answer 12 · correct" in plain(render_ansi(right, 0))
    assert "answer 12 · wrong" in plain(render_ansi(wrong, 0))


def test_a_truncated_episode_tells_no_outcome():
    right, wrong = (act(start(make_store(gold=gold), max_steps=2), OPEN, OPEN) for gold in ("12", "7"))
    assert not right.running[0]
    np.testing.assert_array_equal(render_rgb(right, 0), render_rgb(wrong, 0))
    text = plain(render_ansi(right, 0))
    assert text == plain(render_ansi(wrong, 0))
    assert "truncated, not answered" in text


def test_an_exhausted_episode_says_so():
    state = act(start(token_budget=500, auto_stop=True), OPEN, prune(0))
    assert not state.running[0]
    assert "no answer · wrong · exhausted" in plain(render_ansi(state, 0))
    assert render_rgb(state, 0).shape == SHAPE


# --------------------------------------------------------------------------------------------------------------- text


def test_ansi_rows():
    state = act(start(), OPEN, OPEN, OPEN, deepen(0), deepen(1), deepen(2), deepen(2), prune(2), OPEN, deepen(3))
    assert plain(render_ansi(state, 0)).splitlines() == [
        "Tiny/toy · question 1 · running",
        "4,400 tokens · 4,400 sequential",
        "leader A = 7 (1 of 2 votes, 50%) · finished leader B = 12 (1 of 1 votes, 100%)",
        "  0 ▶ AA  7",
        "  1 ✓ BB  12",
        "  2 ✗ ·AC 9",
        "  3 ▶ B·",
    ]


def test_ansi_leader_stands_out_without_colours(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    text = render_ansi(act(start(), OPEN, OPEN, deepen(0)), 0)
    assert "\x1b[1;7mAA\x1b[0m" in text
    assert "38;5" not in text


def test_ansi_is_bounded_in_width_however_deep_and_long():
    branches = (Branch(["x" * 300, "7"] * 100, 100_000, "z" * 300), Branch(["7"] * 30, 15_000, "7"))
    state = act(start(make_store(branches)), OPEN, *[deepen(0)] * 199, OPEN, *[deepen(1)] * 28)
    lines = plain(render_ansi(state, 0)).splitlines()
    assert max(map(len, lines)) <= 100
    assert "a letter stands for 3 intervals" in lines
    # The newest of intervals 1-3, 4-6, ...; then 28-29.
    assert lines[-1] == f"  1 ▶ {'B' * 10}{' ' * 57} 7"
    assert lines[-2].startswith("  0 ✓ ABABAB")


def test_answers_cannot_steer_the_terminal_or_the_typesetting():
    nasty = (
        "\x1b[2J\x07",
        "[red]$\\frac{1}{$[/]",
        "two\nlines \u202e\t",
        "\N{CJK UNIFIED IDEOGRAPH-6578}\N{GRINNING FACE}",
    )
    state = act(start(make_store((Branch(nasty, 1900, "7"),))), OPEN)
    for _ in range(4):
        text = render_ansi(state, 0)
        assert "\x1b[2J" not in text
        assert "\x07" not in text
        assert "\u202e" not in text
        assert len(text.splitlines()) == 4
        assert render_rgb(state, 0).shape == SHAPE
        state.act(np.array([deepen(0)]))
    assert "[red]$" in plain(render_ansi(act(start(make_store((Branch(nasty, 1900, "7"),))), OPEN, deepen(0)), 0))


def test_nothing_opened():
    state = start()
    assert plain(render_ansi(state, 0)).splitlines() == [
        "Tiny/toy · question 1 · running",
        "0 tokens · 0 sequential",
        "no leader · no finished leader",
    ]
    assert render_rgb(state, 0).shape == SHAPE


def test_before_the_first_episode():
    state = PoolState(Bank([make_store()]), 1, Rules())
    assert render_rgb(state, 0).shape == SHAPE
    assert "0 tokens" in plain(render_ansi(state, 0))


def test_wide_and_deep():
    state = PoolState(Bank([synthesize(questions=1, branches=256)]), 1, Rules(max_branches=256))
    state.begin()
    plan = RoundPlan.empty(1, 256)
    plan.read[:] = 256
    state.play(plan)
    assert render_rgb(state, 0).shape == SHAPE
    rows = plain(render_ansi(state, 0)).splitlines()
    assert rows[-1].startswith("255 ✓ ")


# -------------------------------------------------------------------------------------------------------------- files


def test_saved_pictures_decode(tmp_path):
    state = act(start(), OPEN, OPEN, deepen(0))
    for name in ("a.png", "b.PNG", "deep/er/c.svg"):
        save_picture(state, 0, tmp_path / name)
    image = imread(tmp_path / "a.png")
    assert image.shape[:2] == (2 * SHAPE[0], 2 * SHAPE[1])
    assert (tmp_path / "b.PNG").read_bytes() == (tmp_path / "a.png").read_bytes()
    root = ElementTree.parse(tmp_path / "deep/er/c.svg").getroot()
    assert root.tag.endswith("svg")
    for name in ("deep/er/c.svg", "d.pdf"):
        save_picture(state, 0, tmp_path / name)
        once = (tmp_path / name).read_bytes()
        save_picture(state, 0, tmp_path / name)
        assert (tmp_path / name).read_bytes() == once
    assert once.startswith(b"%PDF-")


def test_saving_is_whole_or_not_at_all(tmp_path, monkeypatch):
    state = act(start(), OPEN)
    target = tmp_path / "a.png"
    save_picture(state, 0, target)
    before = target.read_bytes()

    def broken(self, file, **_):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", broken)
    with pytest.raises(KeyboardInterrupt):
        save_picture(state, 0, target)
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_bad_paths(tmp_path):
    state = start()
    with pytest.raises(AutottsError, match=r"a\.gif: expected a file name ending in \.png or \.svg or \.pdf"):
        save_picture(state, 0, tmp_path / "a.gif")
    (tmp_path / "file").write_text("")
    with pytest.raises(AutottsError, match="cannot be written"):
        save_picture(state, 0, tmp_path / "file" / "a.png")


def test_figure_is_a_figure_of_its_own():
    drawing = figure(act(start(), OPEN), 0)
    assert drawing.get_size_inches().tolist() == [9.6, 6.4]
    assert "matplotlib.pyplot" not in type(drawing.canvas).__module__
