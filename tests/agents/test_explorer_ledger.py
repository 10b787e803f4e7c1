import json

import pytest

from agents.explorer.config import PRICES
from agents.explorer.ledger import Ledger, cost
from agents.explorer.proposers.base import BudgetError, Usage
from autotts_gym.errors import AutottsError
from autotts_gym.models.prices import Price, Prices

TABLE = Prices({"clay": Price(1.0, 10.0, 0.1)})


def ledger(folder, usd=1.0):
    return Ledger(folder / "ledger.jsonl", TABLE, usd)


def test_a_usage_is_paid_by_the_table():
    usage = Usage(1, input_tokens=1_000_000, cached_tokens=400_000, output_tokens=200_000)
    assert cost(TABLE, usage, "clay") == pytest.approx(0.6 * 1 + 0.4 * 0.1 + 0.2 * 10)


@pytest.mark.parametrize("name", ["clay-20250929", "clay-2025-08-07", "clay-latest"])
def test_a_dated_model_has_the_price_of_the_plain_one(name):
    assert cost(TABLE, Usage(1, 1_000_000), name) == pytest.approx(1.0)


def test_another_model_has_not():
    with pytest.raises(AutottsError, match="expected a price for the model 'clay-pro', got none"):
        cost(TABLE, Usage(1, 1), "clay-pro")


def test_what_the_provider_says_comes_before_the_table_and_nothing_costs_nothing():
    assert cost(TABLE, Usage(1, 10**9, usd=0.25), "unheard of") == 0.25
    assert cost(TABLE, Usage(3), "unheard of") == 0.0


def test_the_table_that_comes_with_the_explorer_is_sound_and_says_where_it_is_from():
    about = json.loads(PRICES.read_text())
    assert about["date"]
    assert about["sources"]
    assert cost(Prices.load(PRICES), Usage(1, 0, 0, 1_000_000), "claude-sonnet-4-5-20250929") == pytest.approx(15.0)
    assert cost(Prices.load(PRICES, (2.0, 3.0)), Usage(1, 0, 0, 1_000_000), "claude-sonnet-4-5") == pytest.approx(3.0)


@pytest.mark.parametrize("text", ["", "[]", '{"models": {"a": 1}}', '{"models": {"a": {"input": -1, "output": 1}}}'])
def test_a_broken_table_is_refused_by_name(text, tmp_path):
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(AutottsError, match=r"p\.json: .*expected"):
        Prices.load(tmp_path / "p.json")


def test_no_call_can_pass_the_budget(tmp_path):
    account = ledger(tmp_path)
    account.reserve("a", Usage(1, usd=0.6), "clay")
    assert account.settle("a", Usage(1, 10, 0, 20, 0.5), "clay") == 0.5
    with pytest.raises(BudgetError, match=r"at most 1 USD in all, but 0\.5000 are spent and the next can cost 0\.6000"):
        account.reserve("b", Usage(1, usd=0.6), "clay")
    account.reserve("c", Usage(1, usd=0.5), "clay")
    assert account.unsettled == ["c"]


def test_a_ledger_is_taken_up_where_it_was_left(tmp_path):
    account = ledger(tmp_path)
    account.reserve("a", Usage(1, usd=0.2), "clay")
    account.settle("a", Usage(1, 10, 5, 20, 0.1), "clay")
    account.reserve("b", Usage(1, usd=0.3), "clay")
    again = ledger(tmp_path)
    assert (again.usd, again.usage, again.unsettled) == (0.1, Usage(1, 10, 5, 20), ["b"])
    again.lose("b")
    assert ledger(tmp_path).usd == pytest.approx(0.4)
    assert ledger(tmp_path).unsettled == []


def test_a_line_that_was_cut_off_is_dropped(tmp_path):
    account = ledger(tmp_path)
    account.reserve("a", Usage(1, usd=0.2), "clay")
    account.settle("a", Usage(1, usd=0.1), "clay")
    with account.path.open("ab") as file:
        file.write(b'{"event": "call", "id"')
    again = ledger(tmp_path)
    again.reserve("b", Usage(1, usd=0.2), "clay")
    assert ledger(tmp_path).unsettled == ["b"]


def test_a_reply_under_a_name_without_a_price_costs_its_bound(tmp_path):
    account = ledger(tmp_path)
    account.reserve("a", Usage(1, 0, 0, 50_000), "clay")
    assert account.settle("a", Usage(1, 0, 0, 10), "clay-something") == pytest.approx(0.5)
