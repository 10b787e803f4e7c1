import itertools
import random
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotts_gym.controllers import controller_families
from autotts_gym.controllers.policies import _ALGORITHMS
from autotts_gym.evaluation.families import _COLOURS, LOOKS, look, looks, readable

# Machado, Oliveira & Fernandes 2009, severity 1, on linear RGB.
VISIONS = {
    "normal": np.eye(3),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def lab(colours, vision):
    """CIELAB of colours as people of a kind of vision see them; (N, 3)."""
    rgb = np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in colours])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = np.clip(linear @ VISIONS[vision].T, 0, 1) @ TO_XYZ.T / (0.95047, 1.0, 1.08883)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def nearest(colours, vision):
    """The least distance of two colours; 2.3 is just noticeable."""
    seen = lab(colours, vision)
    return min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))


def test_every_controller_and_algorithm_has_a_declared_look():
    assert set(LOOKS) == {*controller_families(), *_ALGORITHMS}
    assert [key for key, look in LOOKS.items() if key != look.key] == []


@pytest.mark.parametrize("vision", VISIONS)
def test_colours_differ_for_everybody(vision):
    declared = [look.colour for look in LOOKS.values()]
    assert nearest([LOOKS[name].colour for name in controller_families()], vision) > 17
    assert nearest(declared, vision) > 15
    assert nearest([*declared, *_COLOURS], vision) > 8


def test_colours_read_on_white():
    lightness = lab([*(look.colour for look in LOOKS.values()), *_COLOURS], "normal")[:, 0]
    assert lightness.max() < 78


def test_names_markers_and_lines_tell_families_apart_in_black_and_white():
    for what in ("name", "marker", "colour"):
        values = [getattr(look, what) for look in LOOKS.values()]
        assert len(set(values)) == len(values), what
    assert not [look.name for look in LOOKS.values() if "_" in look.name]


def test_a_look_follows_from_the_name_and_from_nothing_else():
    alone = look("mine")
    assert (alone.colour, alone.marker) == ("#004C99", "*")  # for ever: changing it changes figures that exist
    for others in (["cmc"], ["sc", "asc", "evolved"], ["round 1: 001-02"], list(LOOKS)):
        assert looks([*others, "mine"])["mine"] == looks(["mine", *others])["mine"] == alone
    assert readable("mine") == alone.name == "mine"
    assert readable("maskable_ppo") == "MaskablePPO agent"


@given(st.lists(st.one_of(st.sampled_from(sorted(LOOKS)), st.text(max_size=5)), max_size=60), st.randoms())
def test_all_looks_of_a_figure_differ_in_any_order(names: list[str], dice: random.Random):
    found = looks(names)
    shuffled = dice.sample(names, len(names))
    assert looks(shuffled) == found
    assert list(found) == list(dict.fromkeys(names))
    assert len({look.colour for look in found.values()}) == len(found)
    assert all(re.fullmatch("#[0-9A-F]{6}", look.colour) for look in found.values())
    assert all(found[name] == LOOKS[name] for name in found if name in LOOKS)
    others = [look for name, look in found.items() if name not in LOOKS]
    assert not {look.colour for look in others} & {look.colour for look in LOOKS.values()}
    assert not any(look.filled for look in others)
    if len(others) <= 12:
        assert len({look.marker for look in others}) == len(others)


def test_training_seeds_and_programs_are_distinguished():
    names = [f"seed{i}" for i in range(8)] + ["evolved", "best", "first"]
    found = looks(names)
    assert nearest([found[name].colour for name in names] + [each.colour for each in LOOKS.values()], "normal") > 8
