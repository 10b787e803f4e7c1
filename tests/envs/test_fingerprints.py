"""What policies' observations and actions are known by."""

import pytest

from autotts_gym.envs import features, fingerprints
from autotts_gym.envs.fingerprints import differences, identity
from autotts_gym.envs.macros import MACROS, Macro, choose_macros

FRONTIER = choose_macros(["stop", "stop_weighted", "read_1"])


@pytest.fixture(scope="module")
def frontier():
    return identity("evidence", FRONTIER, 64, "autotts")


@pytest.mark.parametrize("observation", features.OBSERVATIONS)
def test_every_feature_and_macro_has_a_fingerprint_of_its_own(observation):
    told = identity(observation, MACROS, 64)
    for part in ("features", "actions"):
        assert len(set(told[part].values())) == len(told[part]), part
    assert list(told["actions"]) == [macro.name for macro in MACROS]
    assert told == identity(observation, MACROS, 64)
    assert differences(told, told) == []


def test_another_constant_name_order_macro_or_ledger_is_named(frontier, monkeypatch):
    assert differences(frontier, identity("evidence", FRONTIER, 64, "exact"))[-1] == "the ledger charges otherwise"
    fewer = identity("evidence", FRONTIER[:2], 64, "autotts")
    assert differences(frontier, fewer) == ["action 'read_1' is gone"]
    turned = identity("evidence", (FRONTIER[0], FRONTIER[2], FRONTIER[1]), 64, "autotts")
    assert differences(frontier, turned) == ["actions come in another order"]
    with monkeypatch.context() as patch:
        patch.setattr(features, "PRICE_SCALE", 0.01)
        assert "constant 'PRICE_SCALE' is another" in differences(
            frontier, identity("evidence", FRONTIER, 64, "autotts")
        )
    with monkeypatch.context() as patch:
        renamed = (features.Feature("cost", "x"), *features.EVIDENCE_FEATURES[1:])
        patch.setattr(features, "EVIDENCE_FEATURES", renamed)
        found = differences(frontier, identity("evidence", FRONTIER, 64, "autotts"))
        assert found[:2] == ["feature 'price' is gone", "feature 'cost' is new"]


def test_a_macro_of_ones_own_is_known_by_what_it_does():
    def first(revealed, rows, plan):
        plan.deepen[rows, 0] = 1

    def second(revealed, rows, plan):
        plan.deepen[rows, 1] = 1

    one, same, other = (
        identity("pool", (MACROS[0], Macro("mine", "words", write)), 8) for write in (first, first, second)
    )
    assert one == same
    assert differences(one, other) == ["action 'mine' is another"]


def test_a_feature_that_is_computed_otherwise_is_named(frontier, monkeypatch):
    observe = fingerprints.kernels.observe

    def changed(*arguments):
        observe(*arguments)
        arguments[4][:, 3] *= 0.5

    monkeypatch.setattr(fingerprints.kernels, "observe", changed)
    fingerprints._behaviour.cache_clear()
    try:
        assert differences(frontier, identity("evidence", FRONTIER, 64, "autotts")) == ["feature 'opened' is another"]
    finally:
        fingerprints._behaviour.cache_clear()
