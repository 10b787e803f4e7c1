import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from agents.config import CONFIGS, Config
from agents.settings import read_command_line
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


def read(*arguments: str) -> dict[str, Any]:
    return read_command_line("agents.train", "Train.", Config, {"resume": (str, "a run")}, arguments)


def test_options_override_fields() -> None:
    given = ["--cost-weight", "0.1", "2", "--store", "a/b", "c/d", "--no-progress", "--net_arch", "8", "8"]
    values = read(*given, "--gamma", "1", "--learning-rate-end", "-1e-3")
    assert set(values) == {"cost_weight", "store", "progress", "net_arch", "gamma", "learning_rate_end"}
    config = Config().updated(values)
    assert (config.cost_weight, config.store, config.progress) == ((0.1, 2.0), ("a/b", "c/d"), False)
    assert (config.net_arch, config.gamma, config.learning_rate_end) == ((8, 8), 1.0, -0.001)


def test_an_option_of_any_number_of_values_may_be_repeated_or_empty() -> None:
    assert read("--store", "a/b", "--seed", "3", "--store", "c/d", "e/f")["store"] == ("a/b", "c/d", "e/f")
    assert read("--store")["store"] == ()
    assert read("--resume", "runs/a", "--seed", "3") == {"resume": "runs/a", "seed": 3}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seed", "three"], "--seed: .*'three'"),
        (["--seed"], "missing value for argument '--seed'"),
        (["--cost-weight", "1"], "missing value .*'--cost-weight'. Expected 2 values"),
        (["--net-arch", "wide"], "--net-arch: .*'wide'"),
        (["--colour", "red"], "unrecognized options: --colour, red"),
        (["--progress=1"], "unrecognized options: 1"),
        (["stray"], "unrecognized options: stray"),
    ],
)
def test_a_command_line_that_is_not_understood_is_refused_in_one_line_that_says_where_help_is(
    arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(AutottsError, match=rf"^{message}.* \(see python -m agents.train --help\)$"):
        read(*arguments)
    assert capfd.readouterr() == ("", "")


def test_help_lists_every_field_with_its_documentation_and_default(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        read("--help")
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for item in fields(Config):
        assert f"--{item.name.replace('_', '-')}" in text
        assert item.metadata["help"] in text
    assert "range of the reward paid per token unit of total tokens (default: 0.03 3.0)" in text
    assert "--progress, --no-progress" in text


def test_a_limit_of_steps_takes_the_place_of_that_of_time() -> None:
    assert Config.chosen(None, {}).minutes > 0
    config = Config.chosen(None, {"total_steps": 5})
    assert (config.total_steps, config.minutes) == (5, 0.0)
    config = Config.chosen("dqn", {"total_steps": 5, "minutes": 3.0})
    assert (config.algo, config.total_steps, config.minutes) == ("dqn", 5, 3.0)


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
        ({"gradient_steps": 0}, "gradient_steps: expected at least 1, or -1"),
        ({"net_arch": [64, 0]}, "net_arch: expected widths of at least 1"),
        ({"num_envs": 0}, "num_envs: expected at least 1, got 0"),
        ({"gamma": 1.5}, r"gamma: expected a number in \[0, 1\], got 1.5"),
        ({"name": "../elsewhere"}, "name: expected a name without folders"),
    ],
)
def test_a_wrong_field_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(AutottsError, match=message):
        Config.of(values, "file.json")
