import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.image
import numpy as np
import pytest

from autotts_gym.errors import AutottsError
from autotts_gym.evaluation.frontier import Frontier
from autotts_gym.evaluation.plots import plot_frontiers, short_number
from autotts_gym.evaluation.results import EvaluationResult


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
    assert {(0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2), (0, 0, 0), (255, 255, 255)} <= colours


def test_the_same_families_give_the_same_bytes(families: tuple[Frontier, ...], tmp_path: Path) -> None:
    for name in ("one", "two"):
        plot_frontiers(families, [tmp_path / f"{name}.svg", tmp_path / f"{name}.png"])
    for suffix in (".svg", ".png"):
        assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()
    assert b"dc:date" not in (tmp_path / "one.svg").read_bytes()


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
    with pytest.raises(AutottsError, match="expected at least one family"):
        plot_frontiers([], tmp_path / "a.png")
    with pytest.raises(AutottsError, match="panels: expected one of mean, stores, all, got 'some'"):
        plot_frontiers(families, tmp_path / "a.png", panels="some")  # type: ignore[arg-type]
    with pytest.raises(AutottsError, match="intervals: expected one of paired, absolute, none, got 'band'"):
        plot_frontiers(families, tmp_path / "a.png", intervals="band")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


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
