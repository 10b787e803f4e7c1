"""The files of policies: their names, and the digest that keeps them from being misread."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from test_agents_benchmark import untrained

import agents
from agents.evaluation import split
from agents.policies import main, make_model, policy_card, to_zip
from autotts_gym import evaluate, make_controller, synthesize
from autotts_gym.actions.macros import MACROS, Macro
from autotts_gym.controllers.policies import Policy, read_identity
from autotts_gym.engine import Bank
from autotts_gym.errors import ControllerError
from autotts_gym.replay import ReplayStore

SHIPPED = Path(agents.__file__).parent / "trained" / "default.zip"


def changed(path, change):
    """The file with another identity; without one if ``change`` gives none."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    identity = change(json.loads(entries.pop("identity.json")))
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
        if identity is not None:
            archive.writestr("identity.json", json.dumps(identity))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return untrained(tmp_path_factory.mktemp("runs"), "tiny", 0)


def test_the_policy_that_ships_says_what_it_was_trained_with():
    identity = read_identity(SHIPPED)
    assert identity is not None
    assert list(identity["actions"]) == ["stop", "stop_weighted", "read_1"]
    assert Policy(SHIPPED).name == identity["name"] == "default"


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("features", "feature 'opened' is another"),
        ("actions", "action 'read_1' is another"),
        ("constants", "constant 'STUBBORN' is another"),
    ],
)
def test_a_policy_of_other_features_macros_or_constants_is_refused_by_what_differs(part, words, tmp_path):
    name = words.split("'")[1]
    path = changed(
        shutil.copy(SHIPPED, tmp_path / "other.zip"),
        lambda identity: {**identity, part: {**identity[part], name: "another"}},
    )
    with pytest.raises(
        ControllerError, match=rf"other\.zip: expected a policy trained with .*{words}.*commit [0-9a-f]{{7}}"
    ):
        make_controller(path)


def test_an_older_file_is_played_with_a_warning_until_it_is_stamped(made, tmp_path, capsys):
    path = changed(shutil.copy(made, tmp_path / "old.zip"), lambda identity: None)
    with pytest.warns(UserWarning, match=r"saved before files said what .* python -m agents\.policies "):
        Policy(path)
    assert main([str(path)]) == 0
    assert Policy(path).identity == {**read_identity(made), "name": "old"}
    assert main([str(path)]) == 2
    assert "expected a policy without identity.json" in capsys.readouterr().err


def test_a_policy_with_macros_of_ones_own_plays_with_them_and_with_no_others(tmp_path):
    from tiny import SMALL

    from agents.config import Config
    from agents.vec_env import make_vec_env
    from autotts_gym.controllers.policies import IDENTITY, identity_of

    def first(revealed, rows, plan):
        plan.deepen[rows, 0] = 1

    own = Macro("first", "one step of branch 0", first)
    config = Config(**{**SMALL, "name": "own", "log_dir": str(tmp_path)})
    macros = [MACROS[0], MACROS[6], own]
    env = make_vec_env(config.env, 1, cost_weight=config.cost_weight, **config.env_arguments, macros=macros)
    card = {**policy_card(config, [], "made", "none"), "macros": [macro.name for macro in macros]}
    path = tmp_path / "own.zip"
    path.write_bytes(to_zip(make_model(config, env), card, macros=[own]))
    env.close()
    assert IDENTITY
    assert identity_of(card, [own])["actions"]["first"]
    result = evaluate(make_controller(path, macros=[own]), seeds=range(1), max_branches=8)
    assert result.correct.shape == (1, 30)
    with pytest.raises(ControllerError, match=r"expected the macros .*macros=\[\.\.\.\]"):
        make_controller(path)
    with pytest.raises(ControllerError, match="action 'first' is another"):
        make_controller(path, macros=[Macro("first", "", lambda revealed, rows, plan: None)])


@pytest.mark.parametrize(
    ("observation", "extractor"), [("dict", "deep_sets"), ("flat", "none"), ("file.py:LIST", "none")]
)
def test_a_policy_that_observes_signals_finds_them_wherever_it_is_played(observation, extractor, tmp_path):
    from tiny import begin

    from agents import train as training

    if observation == "file.py:LIST":
        (tmp_path / "file.py").write_text("LIST = ['pool.spent', 'signals.confidence.mean', 'branches.active']\n")
        observation = f"{tmp_path / 'file.py'}:LIST"
    store = synthesize(10, 12, seed=1, signals=True)
    stores = (str(store.save(tmp_path / "store.h5")),)
    run = begin(tmp_path, total_steps=256, store=stores, observation=observation, extractor=extractor)
    assert training.train(run) == 0
    trained = make_controller(run.path / "final.zip")
    names = ("confidence",) if "file.py" in observation else ("certainty", "confidence")
    assert trained.needs_signals == names
    kept, _ = split([store], run.config)
    assert trained.card["signals"] == {name: list(Bank(kept).signal_ranges[name]) for name in names}
    result = evaluate(trained, store, seeds=range(4), max_branches=8)
    lines = [json.loads(line) for line in (run.path / "evaluations.jsonl").read_text().splitlines()]
    assert lines[-1]["total_tokens"]
    # Another store has more signals, so that these stand elsewhere.
    more = {"a": np.zeros(store.num_probes, np.float32), **store.signals}
    parts = (store._columns, store._answers, store._questions)
    wider = ReplayStore(*parts, model="m", benchmark="b", interval_tokens=500, signals=more)
    again = evaluate(trained, wider, seeds=range(4), max_branches=8)
    assert (result.total_tokens == again.total_tokens).all()
    with pytest.raises(ControllerError, match=f"expected stores with the signal '{names[0]}', got .* without"):
        evaluate(trained, synthesize(2, 12), seeds=range(1), max_branches=8)
    assert training.main(["--resume", str(run.path), "--total-steps", "512"]) == 0


def test_a_policy_has_a_readable_name(made, tmp_path):
    assert Policy(made).name == "tiny"  # its run's
    assert read_identity(made)["name"] == "MaskablePPO agent"  # nobody named it when it was saved
    assert Policy(shutil.copy(made, tmp_path / "best.zip")).name == "MaskablePPO agent"
    assert Policy(shutil.copy(made, tmp_path / "mine.zip")).name == "mine"


def test_a_checkpoint_of_another_version_is_refused_in_one_line(tmp_path, capsys):
    import pickle

    from tiny import begin

    from agents import train as training

    run = begin(tmp_path, total_steps=128)
    assert training.train(run) == 0
    file = run.checkpoints[-1] / "state.pkl"
    state = pickle.loads(file.read_bytes())
    state["identity"]["features"]["spent"] = "another"
    for data, words in ((pickle.dumps(state), "feature 'spent' is another"), (b"\x80\x04.", "UnpicklingError")):
        file.write_bytes(data)
        capsys.readouterr()
        assert training.main(["--resume", str(run.path), "--total-steps", "512"]) == 2
        printed = capsys.readouterr().err
        assert words in printed
        assert "versions.json" in printed
        assert printed.count("\n") == 1


def test_a_training_too_short_to_learn_says_so(tmp_path, capsys):
    from tiny import begin

    from agents import train as training

    run = begin(tmp_path, total_steps=0, minutes=0.0001, n_steps=100_000)
    assert training.train(run) == 0  # it ends within its first rollout, of which it has seen no end
    summary = json.loads((run.path / "summary.json").read_text())
    assert summary["note"].startswith("too short to learn anything: the policy was never updated")
    assert summary["note"] in capsys.readouterr().err
    assert 0 < summary["steps"] < 8 * 100_000
    assert summary["seconds"] < 60
    assert training.main(["--resume", str(run.path), "--minutes", "0.0002"]) == 0
