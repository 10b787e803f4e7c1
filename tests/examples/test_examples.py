"""The examples: one file each, short, and doing what it says, from Python and from the command line."""

import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from autotts_gym import evaluate, load_store, make_controller
from autotts_gym.actions.macros import MACROS
from autotts_gym.errors import AutottsError, StoreError
from autotts_gym.replay import importers

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"


def test_an_extension_takes_less_than_sixty_lines():
    for path in EXAMPLES.glob("*.py"):
        most = 160 if path.name == "ppo_single_file.py" else 60
        lines = len(path.read_text().splitlines())
        assert lines < most, path.name
        assert f"`{path.name}` {lines}" in (ROOT / "docs" / "extending.md").read_text(), path.name


def run(*command, **options):
    return subprocess.run(
        [sys.executable, "-m", *map(str, command)], cwd=ROOT, capture_output=True, text=True, check=True, **options
    )


def test_the_controller_stops_once_an_answer_leads():
    controller = make_controller(f"{EXAMPLES / 'controller.py'}:Margin", lead=3)
    result = evaluate(controller, "tiny/search", seeds=range(10))
    assert evaluate(make_controller("sc", branches=3), "tiny/search", seeds=range(10)).accuracy < result.accuracy
    assert result.branches_opened.min() >= 3
    assert result.mean_tokens < evaluate(make_controller("sc"), "tiny/search", seeds=range(10)).mean_tokens / 2
    done = run("autotts_gym.cli.main", "evaluate", "tiny/search", "--seeds", 2, "--controller",
               "examples/controller.py:Margin", "--param", "lead=2")  # fmt: skip
    assert "margin(branches=64, lead=2)" in done.stdout


def test_the_reward_halves_what_a_right_answer_is_worth():
    env = gym.make("AutoTTS-Replay-v0", store="synthetic/search", reward=f"{EXAMPLES / 'reward.py'}:patience")
    seen = 0
    for seed in range(20):
        _, info = env.reset(seed=seed)
        total, ended = 0.0, False
        while not ended:
            opened = env.unwrapped.revealed.pools["opened"][0]
            _, reward, ended, _, info = env.step(1 if opened < 8 else 0)
            total += reward
        assert total == pytest.approx(info["correct"] * 0.5 ** (info["total_tokens"] / 200_000))
        seen += info["correct"]
    assert seen


def test_the_aggregator_counts_short_branches_more():
    reference = f"{EXAMPLES / 'aggregator.py'}:short_votes"
    controller = make_controller("sc", branches=16)
    own, majority = (
        evaluate(controller, "synthetic/search", seeds=range(20), aggregator=each) for each in (reference, None)
    )
    assert own.accuracy > majority.accuracy, "right branches are shorter"
    np.testing.assert_array_equal(own.total_tokens, majority.total_tokens)
    done = run("autotts_gym.cli.main", "evaluate", "synthetic/search", "--seeds", 2, "--controller", "sc",
               "--aggregator", "examples/aggregator.py:short_votes")  # fmt: skip
    assert "STOP answers by examples/aggregator.py:short_votes." in done.stdout


def test_the_macro_widens_only_in_doubt():
    macros = ["stop", "deepen_all", f"{EXAMPLES / 'macro.py'}:widen_in_doubt"]
    env = gym.make("AutoTTS-ReplayRounds-v0", store="synthetic/search", macros=macros)
    _, info = env.reset(seed=0)
    assert info["action_mask"].tolist() == [1, 0, 1]
    doubts = 0
    for _ in range(40):
        pool = env.unwrapped.revealed.pools[0]
        doubt = pool["voters"] == 0 or 3 * pool["leader_votes"] < 2 * pool["voters"]
        assert info["action_mask"][2] == (doubt and pool["opened"] < 64)
        if doubt and pool["opened"] == 64:
            break
        before, doubts = pool["opened"], doubts + bool(doubt)
        _, _, ended, _, info = env.step(2 if doubt else 1)
        if ended:
            break
        assert env.unwrapped.revealed.pools["opened"][0] == min(before + 2 * bool(doubt), 64)
    assert 1 < doubts < 40
    assert all(macro.name != "widen_in_doubt" for macro in MACROS)


def test_the_compiled_macro_grows_what_agrees_with_the_leader():
    macros = ["stop", "open_4", "deepen_all", f"{EXAMPLES / 'macro.py'}:grow_leader"]
    envs = gym.make_vec("AutoTTS-ReplayRounds-v0", num_envs=3, macros=macros)
    envs.reset(seed=0)
    for action in (1, 2, 2, 2, 3, 3):
        slots, leader = envs.revealed.slots.copy(), envs.revealed.pools["leader"].copy()
        envs.step(np.full(3, action))
        if action == 3:
            grown = (slots["status"] == 1) & (slots["answer"] == leader[:, None]) & (leader[:, None] >= 0)
            changed = (envs.revealed.slots["depth"] > slots["depth"]) | (
                envs.revealed.slots["status"] != slots["status"]
            )
            assert (changed == grown).all()
            assert grown.any()
    envs.close()


def test_the_feature_counts_changes_of_mind():
    env = gym.make("AutoTTS-Replay-v0", observation=["pool.top_share", f"{EXAMPLES / 'feature.py'}:restlessness"])
    observation, info = env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(300):
        slots = env.unwrapped.revealed.slots[0]
        assert observation[1] == pytest.approx(slots["changes"].sum() / (slots["changes"].sum() + 8))
        observation, _, ended, _, info = env.step(int(rng.choice(np.flatnonzero(info["action_mask"])[1:])))
        if ended:
            break
    assert slots["changes"].sum() > 10


def test_the_observation_is_a_list_of_features_of_the_episode_and_of_branches():
    env = gym.make("AutoTTS-ReplayRounds-v0", max_branches=4, observation=f"{EXAMPLES / 'observation.py'}:DOUBT")
    assert env.observation_space.shape == (7 + 4 * 2,)
    env.reset(seed=0)
    observation = env.step(7)[0]
    assert observation[6] == 1
    assert observation[7:].tolist() == [1, 0] * 4
    env.close()


def test_an_agent_is_trained_with_them_and_its_policy_is_played(tmp_path):
    pytest.importorskip("sb3_contrib")
    run("agents.train", "--config", "maskable_ppo", "--store", "tiny/search", "--total-steps", 1024, "--num-envs",
        16, "--n-steps", 64, "--threads", 1, "--env-threads", 1, "--eval-seeds", 1, "--eval-points", 2, "--samples", 0,
        "--log-dir", tmp_path, "--name", "run", "--reward", "examples/reward.py:patience", "--macros", "stop",
        "read_1", "examples/macro.py:widen_in_doubt", "examples/macro.py:grow_leader",
        "--observation", "examples/observation.py:DOUBT")  # fmt: skip
    done = run("autotts_gym.cli.main", "evaluate", "tiny/heldout", "--seeds", 1, "--controller",
               tmp_path / "run" / "final.zip")  # fmt: skip
    assert "tiny/heldout" in done.stdout


def test_ppo_in_a_single_file_learns_the_store_that_ships():
    pytest.importorskip("torch")
    lines = run("examples.ppo_single_file", "--total-steps", 100_000, timeout=300).stdout.splitlines()
    returns = [float(line.split("mean return ")[1].split(",")[0]) for line in lines if "mean return" in line]
    assert np.mean(returns[-3:]) > np.mean(returns[:3]) + 0.2
    assert np.mean(returns[-3:]) > 0.4


LOG = """\
1 + 1?\t2\t1400\t2\t- 2
1 + 1?\t2\t900\t3\t3
2 + 2?\t-\t600\t-\t-
"""


def test_the_importer_reads_a_log_of_its_own_form(tmp_path):
    source, target = tmp_path / "logs.tsv", tmp_path / "mine.h5"
    source.write_text(LOG)
    options = ("--model", "m", "--benchmark", "b", "--format", "examples/importer.py:tsv")
    run("autotts_gym.cli.main", "import", source, "-o", target, *options)
    store = load_store(target)
    assert (store.num_questions, store.num_branches, store.interval_tokens) == (2, 3, 500)
    assert store.answers(0) == ["2", "3"]
    assert store.labelled.tolist() == [True, False]
    assert store.attributes["importer"] == "tsv"
    source.write_text("one column\n")
    failed = subprocess.run(
        [sys.executable, "-m", "autotts_gym.cli.main", "import", str(source), "-o", str(tmp_path / "x.h5"), *options],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert failed.returncode == 2
    assert failed.stderr.count("\n") == 1
    assert "tsv failed: ValueError: line 1: expected 5 columns, got 1" in failed.stderr


def test_an_importer_that_a_package_brings_detects_its_files(tmp_path, monkeypatch):
    source = tmp_path / "logs.tsv"
    source.write_text(LOG)
    monkeypatch.syspath_prepend(EXAMPLES)
    brought = EntryPoint("tsv", "importer:tsv", importers.ENTRY_POINTS)
    monkeypatch.setattr(importers, "entry_points", lambda group: [brought] if group == brought.group else [])
    assert importers.import_json(source).attributes["importer"] == "tsv"
    with pytest.raises(StoreError, match=r"probes: not for files that an importer of one's own reads \(tsv\)"):
        importers.import_json(source, probes="none")
    published = {"question": "q", "each_branch": [[["1"], 600, "1"]], "gold_answer": "1", "probe_freq": 500}
    (tmp_path / "x.json").write_text(json.dumps([published]))
    assert importers.import_json(tmp_path / "x.json").attributes["importer"] == "autotts"


def test_what_is_no_importer_is_refused(tmp_path):
    source = tmp_path / "logs.tsv"
    source.write_text(LOG)
    with pytest.raises(StoreError, match=r"layout: expected math:pi to be an Importer, got float"):
        importers.import_json(source, layout="math:pi")
    with pytest.raises(AutottsError, match=r"layout: expected a file, got 'nowhere\.py'"):
        importers.import_json(source, layout="nowhere.py:x")


def test_the_proposer_changes_a_number_in_a_run_that_goes_on(tmp_path):
    pytest.importorskip("tensorboard")
    small = ("--proposals", 1, "--seeds", 2, "--betas", 3, "--screen-betas", 2, "--programs", "agents/programs/asc.py")
    proposer = ("--proposer", "examples/proposer.py:Scale", "--option", "factor=2")
    run("agents.explorer", *proposer, "--rounds", 1, *small, "--out", tmp_path / "run")
    run("agents.explorer", "--resume", tmp_path / "run", "--rounds", 2)
    replies = [path.read_text() for path in sorted((tmp_path / "run").rglob("reply*"))]
    assert [" becomes " in reply for reply in replies] == [False, True, True]


def test_a_misspelled_proposer_is_refused_with_a_list_of_what_there_is():
    from agents.explorer.proposers import make_proposer

    for spec in ("evolv", "opnai:gpt4", "examples/proposer.py:NUMBER", "examples/proposer.py:Nope"):
        with pytest.raises(AutottsError, match="expected"):
            make_proposer(spec)
