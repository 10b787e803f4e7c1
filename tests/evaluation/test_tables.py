import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from autotts_gym.errors import AutottsError
from autotts_gym.evaluation.frontier import Frontier, Interval
from autotts_gym.evaluation.results import EvaluationResult
from autotts_gym.evaluation.tables import Column, Table, comparison_table, statistics_table

STORES = ("A/x", "B/x", "A/y")


def result(controller: str, params: dict[str, Any], store: str, right: int, tokens: int) -> EvaluationResult:
    """One seed, ten questions, the first `right` of them correct."""
    model, benchmark = store.split("/")
    shape = (1, 10)
    return EvaluationResult(
        controller=controller,
        params=params,
        store=store,
        model=model,
        benchmark=benchmark,
        accounting="autotts",
        max_branches=64,
        seeds=(0,),
        correct=(np.arange(10) < right)[None],
        total_tokens=np.full(shape, tokens),
        sequential_tokens=np.full(shape, tokens // 10),
        branches_opened=np.ones(shape, dtype=int),
        branches_pruned=np.zeros(shape, dtype=int),
    )


@pytest.fixture
def families() -> tuple[Frontier, ...]:
    """SC@16: 40 % at 20 k; SC@64: 60 % at 80 k; cmc: 50, 50 and 20 % at 10 k, 70 % at 40 k."""
    results = []
    for i, store in enumerate(STORES):
        results += [
            result("sc", {"branches": 64}, store, 6, 80_000),
            result("sc", {"branches": 16}, store, 4, 20_000),
            result("cmc", {"beta": 0.0}, store, (5, 5, 2)[i], 10_000),
            result("cmc", {"beta": 1.0}, store, 7, 40_000),
        ]
    return Frontier.families(results)


def test_a_row_is_a_setting_sorted_by_tokens_within_its_family(families: tuple[Frontier, ...]) -> None:
    records = comparison_table(families).records()
    assert [(r["family"], r["setting"]) for r in records] == [
        ("sc", "sc(branches=16)"),
        ("sc", "sc(branches=64)"),
        ("cmc", "cmc(beta=0.0)"),
        ("cmc", "cmc(beta=1.0)"),
    ]
    assert json.loads(str(records[2]["params"])) == {"beta": 0.0}


def test_columns_are_stores_or_benchmarks_and_their_macro_mean(families: tuple[Frontier, ...]) -> None:
    by_store = comparison_table(families).records()[2]
    assert [by_store[f"{store}:accuracy"] for store in STORES] == [0.5, 0.5, 0.2]
    assert by_store["B/x:total_tokens"] == 10_000
    assert by_store["mean:accuracy"] == pytest.approx(0.4)
    by_benchmark = comparison_table(families, by="benchmark").records()[2]
    assert (by_benchmark["x:accuracy"], by_benchmark["y:accuracy"]) == (0.5, 0.2)
    assert by_benchmark["mean:accuracy"] == pytest.approx(0.4)
    assert [key for key in comparison_table(families, by="mean").records()[2] if ":" in key] == [
        "mean:accuracy",
        "mean:total_tokens",
    ]


def test_one_store_needs_no_mean(families: tuple[Frontier, ...]) -> None:
    record = comparison_table([f.on(["B/x"]) for f in families]).records()[0]
    assert [key for key in record if ":" in key] == ["B/x:accuracy", "B/x:total_tokens"]


def test_saving_is_relative_to_the_widest_self_consistency(families: tuple[Frontier, ...]) -> None:
    savings = [record["saving"] for record in comparison_table(families).records()]
    assert savings == pytest.approx([0.75, 0.0, 0.875, 0.5])
    assert "saving" not in comparison_table(families[1:]).records()[0]


def test_the_table_follows_the_axis_of_the_families(families: tuple[Frontier, ...]) -> None:
    table = comparison_table([f.along("sequential_tokens") for f in families], by="mean")
    assert "sequential tokens" in table.title
    assert table.records()[0]["mean:sequential_tokens"] == 2_000


def test_intervals_come_as_columns_of_their_own(families: tuple[Frontier, ...]) -> None:
    record = comparison_table(families, by="mean", intervals=True).records()[0]
    assert record["mean:accuracy"] == pytest.approx(0.4)
    low, high = record["mean:accuracy_low"], record["mean:accuracy_high"]
    assert isinstance(low, float)
    assert isinstance(high, float)
    assert 0 < low < 0.4 < high < 1


def test_statistics_say_what_a_family_comes_to(families: tuple[Frontier, ...]) -> None:
    sc, cmc = statistics_table(families, rival="sc").records()
    assert cmc["family"] == "cmc"
    reach = 10_000 * math.exp(2 / 3 * math.log(4))
    assert cmc["tokens_to_reach"] == pytest.approx(reach)
    assert cmc["saving"] == pytest.approx(1 - reach / 80_000)
    assert (cmc["peak_accuracy"], cmc["peak_tokens"]) == (pytest.approx(0.7), 40_000)
    assert cmc["area"] == pytest.approx((0.625 + 0.7) / 2)  # from 20 k over 40 k to 80 k tokens
    assert sc["area"] == pytest.approx(0.5)
    assert cmc["reached"] == cmc["tokens_to_reach_defined"]
    assert sc["tokens_to_reach"] == 80_000
    assert [sc[f"probability_{key}"] for key in ("tokens_to_reach", "peak_accuracy", "area")] == [0.5, 0.5, 0.5]
    assert isinstance(cmc["probability_area"], float)
    assert cmc["probability_area"] > 0.9


def test_statistics_without_a_reference_leave_out_its_columns(families: tuple[Frontier, ...]) -> None:
    keys = list(statistics_table(families[1:]).records()[0])
    assert keys[0] == "family"
    assert not any(key.startswith(("tokens_to_reach", "saving", "probability")) for key in keys)
    given = statistics_table(families[1:], reference=families[0].select(branches=16)).records()[0]
    assert given["tokens_to_reach"] == pytest.approx(10_000)


def test_csv_reads_back_with_full_precision(families: tuple[Frontier, ...], tmp_path: Path) -> None:
    table = comparison_table(families, intervals=True)
    table.write(tmp_path / "out" / "table.csv")
    with (tmp_path / "out" / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, record in zip(rows, table.records(), strict=True):
        assert list(row) == list(record)
        for key, value in record.items():
            assert (float(row[key]) if isinstance(value, float) else row[key]) == value


def test_json_reads_back_with_full_precision(families: tuple[Frontier, ...], tmp_path: Path) -> None:
    table = statistics_table(families, rival="sc")
    table.write(tmp_path / "table.json")
    back = json.loads((tmp_path / "table.json").read_text())
    for row, record in zip(back, table.records(), strict=True):
        finite = {k: v if isinstance(v, str) or v is None or math.isfinite(v) else None for k, v in record.items()}
        assert row == finite


never = Table(
    "T",
    (Column("name", ("name",)), Column("t", ("tokens", "k"), lambda v: f"{v:.0f}"), Column("hidden", ())),
    (("a|b", Interval(math.nan, 2.0, math.inf, 0.95, 0.25), None), ("[c]", Interval(1, -math.inf, 2, 0.95, 1), 0.5)),
)


def test_what_is_not_reached_is_written_plainly() -> None:
    assert json.loads(never.to_json())[0] == {
        "name": "a|b",
        "t": None,
        "t_low": 2.0,
        "t_high": None,
        "t_defined": 0.25,
        "hidden": None,
    }
    rows = list(csv.DictReader(io.StringIO(never.to_csv())))
    assert (rows[0]["t"], rows[0]["t_high"], rows[1]["t_low"], rows[0]["hidden"]) == ("", "inf", "-inf", "")
    assert never.to_markdown() == (
        "### T\n\n| name | tokens k |\n| :--- | ---: |\n| a\\|b | - [2, ∞] |\n| [c] | 1 [-∞, 2] |\n"
    )


def test_the_terminal_shows_every_digit_however_narrow() -> None:
    for width in (200, 24):
        console = Console(width=width, file=io.StringIO(), record=True)
        console.print(never)
        text = console.export_text()
        for part in ("name", "tokens", "a|b", "[c]", "∞", "-∞", "2]"):
            assert part in text
        assert "…" not in text


def test_the_terminal_table_has_a_line_between_families(families: tuple[Frontier, ...]) -> None:
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(comparison_table(families))
    text = console.export_text()
    assert text.count("──\n") + text.count("── \n") == 4
    for part in ("A", "x", "acc %", "tokens k", "saved %", "60.0", "87.5"):
        assert part in text


def test_an_empty_table_has_its_header() -> None:
    assert Table("T", (Column("a", ("a",)), Column("b", ("b",))), ()).to_csv() == "a,b\n"


def test_bad_use_is_refused(families: tuple[Frontier, ...], tmp_path: Path) -> None:
    table = comparison_table(families)
    with pytest.raises(AutottsError, match=r"table\.xls: expected a file name ending in \.csv, \.json or \.md"):
        table.write(tmp_path / "table.xls")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(AutottsError, match="expected at least one family"):
        comparison_table([])
    with pytest.raises(AutottsError, match="by: expected store, benchmark or mean, got 'model'"):
        comparison_table(families, by="model")  # type: ignore[arg-type]
    with pytest.raises(AutottsError, match="rival: expected one of sc, cmc, got 'rl'"):
        statistics_table(families, rival="rl")
    with pytest.raises(AutottsError, match="expected 1 cells in a row, got 2"):
        Table("T", (Column("a", ("a",)),), (("x", "y"),))
    with pytest.raises(AutottsError, match="cmc: expected the stores"):
        statistics_table([families[0], families[1].on(["A/x"])])
