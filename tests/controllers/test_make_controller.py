"""Names, knobs and the one budget knob of the hand-written controllers."""

import pickle
from itertools import pairwise
from typing import Any

import pytest

from autotts_gym.controllers import Controller, controller_families, make_controller
from autotts_gym.errors import ControllerError

FAMILIES = sorted(controller_families())


def test_the_published_families_are_known():
    expected = {"sc", "asc", "esc", "parallel_probe", "cmc", "answer_consistency", "short_m", "doubling"}
    assert expected <= set(FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_follows_the_protocol_and_survives_pickling(name: str):
    for params in ({}, {"beta": 0.3}):
        controller = make_controller(name, **params)
        assert isinstance(controller, Controller)
        assert controller.name == name
        twin = pickle.loads(pickle.dumps(controller))
        assert twin == controller
        assert twin.params == controller.params
        assert make_controller(name, **controller.params) == controller


@pytest.mark.parametrize("name", FAMILIES)
def test_the_budget_knob_widens_monotonically_between_its_ends(name: str):
    made = [make_controller(name, beta=k / 20) for k in range(21)]
    assert make_controller(name, beta=0) == made[0]
    assert make_controller(name, beta=1) == made[-1]
    if name == "cmc":
        assert [controller.params["beta"] for controller in made] == [k / 20 for k in range(21)]
        counts = [controller.counts for controller in made]
        assert all(a <= b for one, two in pairwise(counts) for a, b in zip(one, two, strict=True))
        return
    widths = [controller.params["branches"] for controller in made]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1] == 64
    assert len(set(widths)) > 10


@pytest.mark.parametrize(
    ("name", "params", "fixed"),
    [
        ("asc", {"criterion": "entropy", "threshold": 0.6}, {"criterion": "entropy", "threshold": 0.6}),
        ("asc", {"criterion": "majority"}, {"criterion": "majority", "threshold": 0.8}),
        ("esc", {"window": 4}, {"window": 4}),
        ("parallel_probe", {"warm_up": 3, "stable_rounds": 9}, {"warm_up": 3, "stable_rounds": 9}),
        ("answer_consistency", {"patience": 5}, {"patience": 5}),
        ("doubling", {"threshold": 0.9, "first": 4}, {"threshold": 0.9, "first": 4}),
    ],
)
def test_the_budget_knob_leaves_the_other_knobs_free(name: str, params: dict[str, Any], fixed: dict[str, Any]):
    for beta in (0.0, 0.5, 1.0):
        made = make_controller(name, beta=beta, **params)
        assert {key: made.params[key] for key in fixed} == fixed


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("nobody", {}, r"controller: expected .*cmc.*, got 'nobody'"),
        ("sc", {"width": 3}, r"sc: expected knobs branches=64, got width"),
        ("sc", {"branches": 0}, r"sc: branches: expected a whole number .*, got 0"),
        ("sc", {"branches": 2.0}, r"sc: branches: .*got 2\.0"),
        ("sc", {"branches": True}, r"sc: branches: .*got True"),
        ("sc", {"branches": None}, r"sc: branches: .*got None"),
        ("asc", {"threshold": 1.5}, r"asc: threshold: expected a number in \[0, 1\], got 1\.5"),
        ("asc", {"threshold": "high"}, r"asc: threshold: .*got 'high'"),
        ("asc", {"threshold": float("nan")}, r"asc: threshold: .*got nan"),
        ("asc", {"criterion": "luck"}, r"asc: criterion: expected one of beta, dirichlet, entropy, majority"),
        ("esc", {"window": 0}, r"esc: window: .*got 0"),
        ("esc", {"branches": 4}, r"esc: branches: .*got 4"),
        ("doubling", {"first": 0}, r"doubling: first: .*got 0"),
        ("doubling", {"threshold": -0.1}, r"doubling: threshold: .*got -0\.1"),
        ("short_m", {"finishes": 0}, r"short_m: finishes: .*got 0"),
        ("answer_consistency", {"patience": -1}, r"answer_consistency: patience: .*got -1"),
        ("parallel_probe", {"stable_rounds": 0}, r"parallel_probe: stable_rounds: .*got 0"),
        ("parallel_probe", {"warm_up": -1}, r"parallel_probe: warm_up: .*got -1"),
        ("cmc", {"beta": 1.1}, r"cmc: beta: expected a number in \[0, 1\], got 1\.1"),
        ("cmc", {"beta": "0.5"}, r"cmc: beta: .*got '0\.5'"),
        ("sc", {"beta": -0.1}, r"sc: beta: .*got -0\.1"),
        ("sc", {"beta": 0.5, "branches": 4}, r"sc: "),
        ("short_m", {"beta": 0.5, "finishes": 2}, r"short_m: expected knobs that beta leaves free, got finishes"),
        ("cmc", {"branches": 4}, r"cmc: expected knobs beta=0\.5, got branches"),
        ("esc", {"beta": 0.5, "window": "wide"}, r"esc: window: .*got 'wide'"),
    ],
    ids=str,
)
def test_a_bad_name_or_knob_is_refused_in_one_clear_line(name: str, params: dict[str, Any], message: str):
    with pytest.raises(ControllerError, match=message) as caught:
        make_controller(name, **params)
    assert "\n" not in str(caught.value)


def test_a_large_window_still_has_a_setting_for_every_budget():
    for beta in (0.0, 0.5, 1.0):
        controller = make_controller("esc", beta=beta, window=32)
        assert controller.params["branches"] >= 32


def test_knobs_may_not_be_changed_afterwards():
    controller = make_controller("sc", branches=4)
    with pytest.raises(AttributeError):
        controller.branches = 8  # type: ignore[attr-defined]
    controller.params["branches"] = 8
    assert controller.params == {"branches": 4}
