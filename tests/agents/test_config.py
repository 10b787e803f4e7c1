import argparse
import json
from pathlib import Path

import pytest

from agents.config import CONFIGS, Config, add_options, chosen
from autotts_gym.errors import AutottsError


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*.json")))
def test_the_configurations_of_the_repository_are_valid(name: str) -> None:
    config = Config.load(name)
    assert config.total_steps or config.minutes


def test_a_configuration_survives_its_file(tmp_path: Path) -> None:
    config = Config(
        store=("a/b", "c/d"), cost_weight=(0.1, 0.2), macros=("stop", "open_1"), validation_questions=(1, 2)
    )
    (tmp_path / "config.json").write_text(config.to_json())
    assert Config.load(tmp_path / "config.json") == config
    assert json.loads(Config(seed=3).to_json(every=False)) == {"seed": 3}


def test_options_override_fields() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser)
    given = [
        "--cost-weight",
        "0.1",
        "2",
        "--store",
        "a/b",
        "c/d",
        "--no-progress",
        "--net_arch",
        "8",
        "8",
        "--gamma",
        "1",
    ]
    values = chosen(parser.parse_args(given))
    assert set(values) == {"cost_weight", "store", "progress", "net_arch", "gamma"}
    config = Config().updated(values)
    assert (config.cost_weight, config.store, config.progress) == ((0.1, 2.0), ("a/b", "c/d"), False)
    assert (config.net_arch, config.gamma) == ((8, 8), 1.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nothing": 1}, "got nothing"),
        ({"algo": "sarsa"}, "algo: expected one of"),
        ({"seed": "three"}, "seed: expected int, got 'three'"),
        ({"seed": True}, "seed: expected int"),
        ({"cost_weight": [1.0]}, "cost_weight: expected 2 values"),
        ({"net_arch": 64}, "net_arch: expected a list"),
        ({"extractor": "deep_sets"}, "extractor: expected none unless"),
        ({"env": "AutoTTS-Replay-v0", "macros": ["stop"]}, "macros: expected none"),
        ({"name": "../elsewhere"}, "name: expected a name without folders"),
    ],
)
def test_a_wrong_field_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(AutottsError, match=message):
        Config.of(values, "file.json")
