"""The policy that comes with the repository."""

from pathlib import Path

import pytest
from scaled import scaled

import agents
from autotts_gym import evaluate, load_store, make_controller

POLICY = Path(agents.__file__).parent / "trained" / "default.zip"


@pytest.mark.parametrize(("name", "store"), [("default", "tiny/heldout"), ("synthetic", "synthetic/heldout")])
def test_a_policy_plays_as_a_controller_and_spends_less_where_tokens_cost_more(name, store):
    policy = POLICY.with_name(f"{name}.zip")
    frugal, lavish = (
        evaluate(make_controller(policy, beta=beta), store, seeds=range(2), accounting="autotts") for beta in (0.0, 1.0)
    )
    assert frugal.controller == name
    assert frugal.mean_tokens < 0.5 * lavish.mean_tokens
    assert lavish.accuracy > 0.5


def test_the_default_policy_means_the_same_where_all_tokens_are_others():
    heldout = load_store("tiny/heldout")
    one, other = (
        evaluate(make_controller(POLICY, beta=0.3), store, seeds=range(2)) for store in (heldout, scaled(heldout, 8))
    )
    assert (8 * one.total_tokens == other.total_tokens).all()
    assert (one.correct == other.correct).all()
    assert one.mean_return(0.3) == pytest.approx(other.mean_return(0.3))
    dear = evaluate(make_controller(POLICY, beta=0.3), heldout, seeds=range(2), token_unit=heldout.token_unit // 20)
    assert dear.mean_tokens < one.mean_tokens


def test_the_default_policy_gives_the_same_episodes_for_any_number_of_workers():
    policy = make_controller(POLICY, beta=0.3)
    one, two = (evaluate(policy, "tiny/heldout", seeds=range(2), workers=workers) for workers in (1, 2))
    assert (one.total_tokens == two.total_tokens).all()
    assert (one.correct == two.correct).all()
