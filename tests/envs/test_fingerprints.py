"""What policies' observations and actions are known by."""

import pytest

from autotts_gym.actions.macros import MACROS, Macro, choose_macros
from autotts_gym.controllers import fingerprints
from autotts_gym.controllers.fingerprints import differences, identity
from autotts_gym.observation import quantities
from autotts_gym.observation.encoding import KINDS, Observation, choose_observation

FRONTIER = choose_macros(["stop", "stop_weighted", "read_1"])
EVIDENCE = choose_observation("evidence")


@pytest.fixture(scope="module")
def frontier():
    return identity(EVIDENCE, FRONTIER, 64, "autotts")


@pytest.mark.parametrize("observation", KINDS)
def test_every_feature_and_macro_has_a_fingerprint_of_its_own(observation):
    found = identity(choose_observation(observation), MACROS, 64)
    for part in ("features", "actions"):
        assert len(set(found[part].values())) == len(found[part]), part
    assert list(found["actions"]) == [macro.name for macro in MACROS]
    assert found == identity(choose_observation(observation), MACROS, 64)
    assert differences(found, found) == []


def test_another_constant_name_order_macro_or_ledger_is_named(frontier, monkeypatch):
    assert differences(frontier, identity(EVIDENCE, FRONTIER, 64, "exact"))[-1] == "the ledger charges otherwise"
    fewer = identity(EVIDENCE, FRONTIER[:2], 64, "autotts")
    assert differences(frontier, fewer) == ["action 'read_1' is gone"]
    turned = identity(EVIDENCE, (FRONTIER[0], FRONTIER[2], FRONTIER[1]), 64, "autotts")
    assert differences(frontier, turned) == ["actions come in another order"]
    with monkeypatch.context() as patch:
        patch.setattr(quantities, "PRICE_SCALE", 0.01)
        assert "constant 'PRICE_SCALE' is another" in differences(frontier, identity(EVIDENCE, FRONTIER, 64, "autotts"))
    another = Observation("evidence", (choose_observation("pool").features[0], *EVIDENCE.features[1:]))
    found = differences(frontier, identity(another, FRONTIER, 64, "autotts"))
    assert found[:2] == ["feature 'price' is gone", "feature 'spent' is new"]


def test_a_macro_of_ones_own_is_known_by_what_it_does():
    def first(revealed, rows, plan):
        plan.deepen[rows, 0] = 1

    def second(revealed, rows, plan):
        plan.deepen[rows, 1] = 1

    one, same, other = (
        identity(choose_observation("pool"), (MACROS[0], Macro("mine", "words", write)), 8)
        for write in (first, first, second)
    )
    assert one == same
    assert differences(one, other) == ["action 'mine' is another"]


def test_a_feature_that_is_computed_otherwise_is_named(frontier, monkeypatch):
    encode = fingerprints.encode

    def changed(*arguments):
        encode(*arguments)
        arguments[3][:, 3] *= 0.5

    monkeypatch.setattr(fingerprints, "encode", changed)
    fingerprints._behaviour.cache_clear()
    try:
        assert differences(frontier, identity(EVIDENCE, FRONTIER, 64, "autotts")) == ["feature 'opened' is another"]
    finally:
        fingerprints._behaviour.cache_clear()
