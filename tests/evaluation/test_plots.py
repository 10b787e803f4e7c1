import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.image
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotts_gym.errors import AutottsError
from autotts_gym.evaluation import plots
from autotts_gym.evaluation.families import LOOKS
from autotts_gym.evaluation.frontier import Frontier
from autotts_gym.evaluation.plots import plot_frontiers, short_number, spaced
from autotts_gym.evaluation.results import EvaluationResult
from autotts_gym.pictures import SUFFIXES, drawn_in


def result(controller: str, params: dict[str, Any], store: str, chance: float, tokens: int) -> EvaluationResult:
    model, benchmark = store.split("/")
    rng = np.random.default_rng(tokens)
    shape = (3, 12)
    return EvaluationResult(
        controller=controller,
        params=params,
        store=store,
        model=model,
        benchmark=benchmark,
        accounting="exact",
        max_branches=64,
        seeds=range(3),  # type: ignore[arg-type]
        correct=rng.random(shape) < chance,
        total_tokens=np.full(shape, tokens),
        sequential_tokens=np.full(shape, tokens // 20),
        branches_opened=np.ones(shape, dtype=int),
        branches_pruned=np.zeros(shape, dtype=int),
    )


@pytest.fixture(scope="module")
def families() -> tuple[Frontier, ...]:
    results = []
    for store in ("Small/x", "Large/x"):
        results += [result("sc", {"branches": n}, store, 0.5, 15_000 * n) for n in (16, 64)]
        results += [result("cmc", {"beta": b}, store, 0.4 + 0.2 * b, int(50_000 * (1 + 9 * b))) for b in (0.0, 0.5, 1)]
        results += [result("single", {}, store, 0.5, 70_000)]
    return Frontier.families(results)


def test_png_is_a_picture_with_something_on_it(families: tuple[Frontier, ...], tmp_path: Path) -> None:
    plot_frontiers(families, tmp_path / "out" / "frontier.png")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["frontier.png"]
    picture = matplotlib.image.imread(tmp_path / "out" / "frontier.png")
    height, width = picture.shape[:2]
    assert (width, height) > (800, 500)
    assert picture[..., :3].std() > 0.05
    colours = {tuple(colour) for colour in np.round(picture[..., :3].reshape(-1, 3) * 255).astype(int).tolist()}
    assert {(0xD5, 0x5E, 0x00), (0, 0, 0), (255, 255, 255)} <= colours


def test_the_same_families_give_the_same_bytes(families: tuple[Frontier, ...], tmp_path: Path) -> None:
    for name in ("one", "two"):
        plot_frontiers(families, [tmp_path / f"{name}{suffix}" for suffix in SUFFIXES])
    for suffix in SUFFIXES:
        assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()
    assert b"dc:date" not in (tmp_path / "one.svg").read_bytes()
    assert b"Date" not in (tmp_path / "one.pdf").read_bytes()


def test_a_figure_for_print_holds_its_fonts_as_truetype(families: tuple[Frontier, ...], tmp_path: Path) -> None:
    plot_frontiers(families, tmp_path / "f.PDF")
    pdf = (tmp_path / "f.PDF").read_bytes()
    assert pdf.startswith(b"%PDF-")
    assert b"/FontFile2" in pdf
    assert b"/Subtype /Type3" not in pdf


@pytest.fixture
def readable_svg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has text written as text, so that a test can read it."""
    monkeypatch.setitem(sys.modules["autotts_gym.evaluation.plots"]._STYLE, "svg.fonttype", "none")


@pytest.mark.usefixtures("readable_svg")
def test_the_figure_says_what_it_shows(families: tuple[Frontier, ...], tmp_path: Path) -> None:
    plot_frontiers(families, tmp_path / "f.svg", title="Two models")
    svg = (tmp_path / "f.svg").read_text()
    for text in (
        "Two models",
        "Mean over 2 stores",
        "Accuracy (%)",
        "Mean total tokens per question",
        "Self-consistency",
        "CMC",
        "single",
        "Accuracy of SC@64",
        "95% interval, paired",
        "100k",
        "1M",
    ):
        assert f">{text}<" in svg, text


@pytest.mark.usefixtures("readable_svg")
def test_panels_axis_and_intervals_can_be_chosen(families: tuple[Frontier, ...], tmp_path: Path) -> None:
    def draw(**options: Any) -> str:
        plot_frontiers(families, tmp_path / "f.svg", **options)
        return (tmp_path / "f.svg").read_text()

    stores = draw(panels="stores", intervals="none", x="sequential_tokens")
    assert ">Small · x<" in stores
    assert ">Large · x<" in stores
    assert "Mean over" not in stores
    assert "interval" not in stores
    assert ">Mean sequential tokens per question<" in stores
    assert ">Mean over 2 stores<" in draw(panels="all", intervals="absolute")
    assert ">95% interval<" in draw(intervals="absolute")
    plot_frontiers([f.on(["Small/x"]) for f in families[1:]], tmp_path / "f.svg")
    alone = (tmp_path / "f.svg").read_text()
    assert ">Small · x<" in alone
    assert "SC@" not in alone
    assert "paired" not in alone


def test_a_users_matplotlib_settings_neither_matter_nor_change(families: tuple[Frontier, ...], tmp_path: Path) -> None:
    plot_frontiers(families, tmp_path / "plain.svg")
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "yellow"}):
        before = dict(mpl.rcParams)
        plot_frontiers(families, tmp_path / "loud.svg")
        assert dict(mpl.rcParams) == before
    assert (tmp_path / "plain.svg").read_bytes() == (tmp_path / "loud.svg").read_bytes()


def test_bad_use_is_refused_before_anything_is_written(families: tuple[Frontier, ...], tmp_path: Path) -> None:
    with pytest.raises(AutottsError, match=r"expected a file name ending in \.png or \.svg"):
        plot_frontiers(families, [tmp_path / "a.png", tmp_path / "a.gif"])
    with pytest.raises(AutottsError, match="expected families of different names, got 'sc' more than once"):
        plot_frontiers([*families, families[0]], tmp_path / "a.png")
    with pytest.raises(AutottsError, match="expected at least one family"):
        plot_frontiers([], tmp_path / "a.png")
    with pytest.raises(AutottsError, match="panels: expected one of mean, stores, all, got 'some'"):
        plot_frontiers(families, tmp_path / "a.png", panels="some")  # type: ignore[arg-type]
    with pytest.raises(AutottsError, match="intervals: expected one of paired, absolute, none, got 'band'"):
        plot_frontiers(families, tmp_path / "a.png", intervals="band")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def drawn(families: Sequence[Frontier], x: Any = "total_tokens", panels: Any = "mean") -> Any:
    """The figure itself."""
    with drawn_in(plots._STYLE):
        spread: Any = {"level": 0.95, "resamples": 50, "seed": 0}
        return plots._draw([family.along(x) for family in families], panels, "paired", spread, None)


def crowd(settings: int, **changes: Any) -> tuple[Frontier, ...]:
    """Every family that the project declares and two that it does not, close to one another."""
    return Frontier.families(
        replace(result(name, {"branches": n + 1}, "Small/x", 0.5, 10_000 * (n + 1) + 37 * i), **changes)
        for i, name in enumerate([*LOOKS, "mine", "yours"])
        for n in range(settings)
    )


def whiskers(axes: Any) -> list[Any]:
    """Boxes of the whiskers of a panel, in pixels: left, right, bottom, top."""
    boxes = []
    for lines in axes.collections:
        if lines.get_label() == "_whiskers":
            half = lines.get_linewidths()[0] * axes.figure.dpi / 72 / 2
            for segment in lines.get_segments():
                (x, low), (_, high) = axes.transData.transform(segment)
                boxes.append((x - half, x + half, low, high))
    return boxes


@pytest.mark.parametrize("panels", ["mean", "stores"])
@pytest.mark.parametrize("x", ["total_tokens", "sequential_tokens"])
def test_no_two_whiskers_of_a_panel_overlap(panels: str, x: str) -> None:
    stores = ("Small/x", "Large/x")
    both = Frontier.families(
        result(name, {"branches": n + 1}, store, 0.5, 10_000 * (n + 1) + 37 * i)
        for store in stores
        for i, name in enumerate([*LOOKS, "mine", "yours"])
        for n in range(7)
    )
    for axes in drawn(both, x, panels).axes:
        boxes = whiskers(axes)
        assert len(boxes) >= 14 * 7 - 1  # the reference has none
        for i, (left, right, low, high) in enumerate(boxes):
            assert axes.bbox.x0 <= left < right <= axes.bbox.x1
            for other in boxes[:i]:
                apart = left >= other[1] or right <= other[0] or low >= other[3] or high <= other[2]
                assert apart, (boxes[i], other)


def test_a_family_looks_the_same_in_every_figure() -> None:
    few = [family for family in crowd(settings=2) if family.name in ("cmc", "asc", "doubling", "mine")]

    def seen(families: Sequence[Frontier]) -> dict[str, tuple[Any, ...]]:
        (axes,) = drawn(families).axes
        return {
            line.get_label(): (line.get_color(), line.get_marker(), line.get_linestyle(), line.get_markerfacecolor())
            for line in axes.lines
            if not line.get_label().startswith("_")
        }

    all_seen = seen(crowd(settings=2))
    assert len(set(all_seen.values())) == len(LOOKS) + 2
    for some in (few, few[::-1], few[1:]):
        for name, how in seen(some).items():
            assert how == all_seen[name]
    assert {look.name for look in LOOKS.values()} | {"mine", "yours"} == set(all_seen)


def test_lines_along_sequential_tokens_join_only_points_of_the_frontier() -> None:
    tokens = {1: (100_000, 9_000, 4), 2: (200_000, 7_000, 3), 3: (300_000, 8_000, 9), 4: (400_000, 8_500, 7)}
    results = [
        replace(
            result("short_m", {"finishes": n}, "Small/x", 0.5, total),
            correct=np.tile(np.arange(12) < right, (3, 1)),
            sequential_tokens=np.full((3, 12), sequential),
        )
        for n, (total, sequential, right) in tokens.items()
    ]
    family = Frontier.from_results("short_m", results)
    assert [point.tokens for point in family.along("sequential_tokens").undominated] == [7_000, 8_000]
    line, pale = drawn([family], "sequential_tokens").axes[0].lines
    assert (list(line.get_xdata()), pale.get_linestyle()) == ([7_000, 8_000], "None")
    assert sorted(pale.get_xdata()) == [8_500, 9_000]
    (line,) = drawn([family]).axes[0].lines
    assert list(line.get_xdata()) == [100_000, 200_000, 300_000, 400_000]


def caption(figure: Any) -> str:
    (text,) = figure.subfigs[1].texts
    return " ".join(text.get_text().split())


def test_the_caption_says_how_much_was_measured_what_is_paired_and_what_is_synthetic() -> None:
    assert caption(drawn(crowd(settings=2))) == (
        "Small/x: 12 questions, 3 orders of the branches, exact accounting. Lines join the settings of a family from "
        "the cheapest to the dearest. Whiskers: 95% bootstrap intervals over questions (50 resamples) of the "
        "difference to SC@2 on the same drawn questions (paired), drawn around the accuracy of SC@2; moved sideways "
        "where they would overlap."
    )
    synthetic = crowd(settings=2, synthetic=True)
    assert caption(drawn(synthetic)).endswith("Synthetic branches, no language model's results: this store.")
    two = Frontier.families(
        replace(result(name, {"branches": n}, store, 0.5, 1000 * n), synthetic=store == "Large/x")
        for store in ("Small/x", "Large/x")
        for name in ("sc", "maskable_ppo")
        for n in (1, 2)
    )
    text = caption(drawn(two, "sequential_tokens", "stores"))
    assert text.startswith("2 stores with 12 questions each, 3 orders of the branches, exact accounting; every store")
    assert "Lines join the settings that no other of their family beats; the others are pale." in text
    assert "stores of one benchmark share the drawn questions" in text
    assert text.endswith("Synthetic branches, no language model's results: Large/x.")
    agent = Frontier.from_results("ppo", [replace(result("ppo", {}, "Small/x", 0.5, 1000), seeds=(0, 0, 0))])
    assert "1 order of the branches" in caption(drawn([agent]))
    assert "PPO agent: mean over 3 training seeds." in caption(drawn([agent]))


def test_a_caption_stays_on_its_figure(families: tuple[Frontier, ...]) -> None:
    for panels in ("mean", "stores", "all"):
        figure = drawn(families, panels=panels)
        box = figure.subfigs[1].texts[0].get_window_extent()
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1
        assert all(box.y1 <= axes.bbox.y0 for axes in figure.axes)


def test_one_store_has_one_panel() -> None:
    for panels in ("mean", "stores", "all"):
        assert len(drawn(crowd(settings=2), panels=panels).axes) == 1


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=30).map(np.array),
)
def test_things_are_spaced_in_order_with_a_gap_and_within_bounds(places: Any) -> None:
    found = spaced(places, 3.0, 0.0, 100.0)
    order = np.argsort(places, kind="stable")
    assert (np.diff(found[order]) >= 3.0 - 1e-9).all()
    assert found.min() >= 1.5 - 1e-9
    assert found.max() <= 98.5 + 1e-9


def test_things_that_are_apart_stay_where_they_are() -> None:
    assert spaced(np.array([50.0, 10.0, 20.0]), 3.0, 0.0, 100.0).tolist() == [50.0, 10.0, 20.0]
    assert spaced(np.array([50.0, 50.0, 20.0]), 4.0, 0.0, 100.0).tolist() == [48.0, 52.0, 20.0]


@pytest.mark.parametrize(
    ("value", "text"), [(500, "500"), (1000, "1k"), (50_000, "50k"), (1_000_000, "1M"), (2_500_000, "2.5M")]
)
def test_token_counts_on_an_axis_are_short(value: float, text: str) -> None:
    assert short_number(value) == text


def test_importing_the_evaluation_modules_imports_neither_matplotlib_nor_rich() -> None:
    code = (
        "import sys, autotts_gym.evaluation.plots, autotts_gym.evaluation.tables\n"
        "assert not {'matplotlib', 'rich'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
