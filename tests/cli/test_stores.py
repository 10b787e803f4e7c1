import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autotts_gym.replay import ReplayStore, load_store, synthesize

ITEM = {
    "question": "What is 1 + 1?",
    "final_answers_trace": ["2", "2.0"],
    "each_branch": [[["ERR", "2"], 900, "2"], [["3"], 400, "2.0"]],
    "gold_answer": "2",
    "probe_freq": 500,
}


def autotts(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the command as a user does."""
    command = [sys.executable, "-W", "error", "-m", "autotts_gym.cli.main", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """Checks that a run ended as bad use does, and returns its one line."""
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "toy" / "sums.json.gz"
    path.parent.mkdir()
    path.write_bytes(gzip.compress(json.dumps([ITEM]).encode()))
    return path


def test_import_turns_a_file_into_a_store(source, tmp_path):
    done = autotts("import", source, "-o", tmp_path / "new" / "sums.h5")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path}/new/sums.h5: 1 questions, 2 branches, 3 probes\n"
    assert load_store(tmp_path / "new" / "sums.h5").same_content(ReplayStore.from_autotts_json(source))


def test_import_takes_names_equivalence_and_format(source, tmp_path):
    target = tmp_path / "x.h5"
    names = ("--model", "M", "--benchmark", "B")
    done = autotts("import", source, "-o", target, *names, "--equivalence", "math", "--format", "autotts")
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 answers merged" in done.stdout
    assert load_store(target).name == "M/B"
    assert "question 0: probe_matrix_mxn" in refused(
        autotts("import", source, "-o", tmp_path / "y.h5", "--format", "parallel-probe")
    )


def test_import_turns_a_folder_into_a_folder_of_stores(source, tmp_path):
    done = autotts("import", tmp_path, "-o", tmp_path / "stores")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{tmp_path}/stores/toy/sums.h5: ")
    assert load_store(tmp_path / "stores/toy/sums.h5").name == "toy/sums"
    assert "--model and --benchmark name the store of one file" in refused(
        autotts("import", tmp_path, "-o", tmp_path / "other", "--model", "M")
    )


def test_import_says_what_it_trimmed_left_out_and_noticed(tmp_path):
    rows = [["12"], 3000, "12"], [[], 3400, "[invalid]"], [["12"], 90, "12"]
    log = {"question": "q", "each_branch": rows, "gold_answer": None, "probe_freq": 500}
    path = tmp_path / "logs" / "m" / "b.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(f"{json.dumps(log)}\n{json.dumps(log)}\n")
    (tmp_path / "logs" / "package.json").write_text("{}")
    line = refused(autotts("import", tmp_path / "logs", "-o", tmp_path / "out"))
    assert "question 0, branch 0: probes: expected 4 to 7 probes for 3000 tokens with probe_freq 500, got 1" in line
    assert "--probes none" in line
    options = ("--probes", "none", "--no-answer", "[invalid]", "--no-answer", "?")
    done = autotts("import", tmp_path / "logs", "-o", tmp_path / "out", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert "left out 1 JSON files without branches: package.json" in done.stdout
    assert "1 questions have the text of an earlier one" in done.stdout
    assert "2 questions, 6 branches, no probes, 2 questions unlabelled" in done.stdout
    store = tmp_path / "out/m/b.h5"
    assert load_store(store).finals.tolist() == [0, -1, 0] * 2
    printed = autotts("info", store)
    assert (printed.returncode, printed.stderr) == (0, "")
    for text in ("without probes", "2 of 2 questions have no gold answer", "agreement: 66.7%"):
        assert text in printed.stdout
    assert json.loads(autotts("info", "--json", store).stdout)[0]["pass_at_1"] is None
    played = autotts("evaluate", store, "--controller", "sc", "--seeds", 2)
    assert played.returncode == 0
    assert "agreement" in played.stdout
    for command in (("benchmark", store), ("diagnose", store, "--controller", "sc")):
        assert "--labelled-only" in refused(autotts(*command))
    assert "expected a store with probes" in refused(autotts("evaluate", store, "--controller", "cmc"))
    assert "expected a question with a gold answer" in refused(
        autotts("import", path, "-o", tmp_path / "x.h5", "--labelled-only", *options)
    )


def test_import_replaces_nothing_unless_forced(source, tmp_path):
    target = tmp_path / "x.h5"
    target.write_text("precious")
    assert "exists already" in refused(autotts("import", source, "-o", target))
    assert target.read_text() == "precious"
    assert autotts("import", source, "-o", target, "--force").returncode == 0
    assert load_store(target).num_questions == 1


def test_bad_input_is_one_line_that_names_file_and_field_and_leaves_nothing(tmp_path):
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps([ITEM, {**ITEM, "each_branch": [[["2"], -5, "2"], [["2"], 5, "2"]]}]))
    line = refused(autotts("import", bad, "-o", tmp_path / "out.h5"))
    assert line.startswith(f"autotts: error: {bad}: question 1, branch 0: tokens: expected")
    assert os.listdir(tmp_path) == ["bad.json"]
    assert "no such file" in refused(autotts("import", tmp_path / "absent.json", "-o", tmp_path / "out.h5"))
    assert "ends in .h5" in refused(autotts("import", bad, "-o", tmp_path / "out.json"))
    (tmp_path / "broken.h5").write_bytes(b"no HDF5")
    assert "broken.h5: expected a readable HDF5 store" in refused(autotts("info", tmp_path / "broken.h5"))


@pytest.mark.parametrize(
    "arguments",
    [(), ("frobnicate",), ("import",), ("import", "x.json"), ("info",), ("synth", "-o", "x.h5", "--seed", "one")],
)
def test_bad_arguments_are_one_line_and_exit_code_2(arguments):
    line = refused(autotts(*arguments))
    assert line.startswith("autotts")
    assert "--help" in line


def test_help_and_version_exit_with_0():
    assert autotts("--version").stdout.startswith("autotts ")
    for arguments in (("--help",), ("import", "--help"), ("info", "--help"), ("synth", "--help")):
        done = autotts(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("usage: autotts")


def test_info_shows_a_table_and_provenance():
    done = autotts("info", "synthetic/search", "synthetic/heldout")
    assert (done.returncode, done.stderr) == (0, "")
    header, first, second = done.stdout.splitlines()[:3]
    assert header.split() == [
        "store", "questions", "branches", "interval", "tokens/branch", "tokens", "answers/question",
        "pass@1", "majority", "coverage",
    ]  # fmt: skip
    assert first.split()[:4] == ["synthetic/search", "30", "128", "500"]
    assert second.split()[0] == "synthetic/heldout"
    assert "synthetic: true" in done.stdout
    assert "No language model" in done.stdout


def test_info_gives_json(source, tmp_path):
    target = tmp_path / "x.h5"
    autotts("import", source, "-o", target)
    done = autotts("info", "--json", target)
    (item,) = json.loads(done.stdout)
    assert item["path"] == str(target)
    assert item["name"] == "toy/sums"
    assert (item["pass_at_1"], item["majority_accuracy"], item["coverage"]) == (0.5, 1.0, 1.0)
    assert item["attributes"]["source"] == "sums.json.gz"


def test_info_of_an_unknown_store_lists_those_there_are(tmp_path):
    line = refused(autotts("info", "no/such", cwd=tmp_path))
    assert "no/such: expected a .h5 file or the name of a store" in line
    assert "synthetic/heldout, synthetic/search" in line


def test_synth_makes_signals_and_info_names_them(tmp_path):
    target = tmp_path / "signals.h5"
    assert autotts("synth", "-o", target, "--questions", "2", "--branches", "4", "--signals").returncode == 0
    assert set(load_store(target).signals) == {"certainty", "confidence"}
    assert "  signals: certainty, confidence\n" in autotts("info", target).stdout
    assert json.loads(autotts("info", target, "--json").stdout)[0]["signals"] == ["certainty", "confidence"]


def test_synth_makes_the_store_that_the_function_makes(tmp_path):
    target = tmp_path / "made" / "here.h5"
    options = ("--questions", 3, "--branches", 5, "--interval-tokens", 100, "--seed", 4, "--model", "m")
    done = autotts("synth", "-o", target, *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert load_store(target).same_content(synthesize(3, 5, 100, seed=4, model="m", benchmark="here"))
    assert "exists already" in refused(autotts("synth", "-o", target, *options))
    assert autotts("synth", "-o", target, *options, "--force").returncode == 0
    assert "branches: expected at least 1, got 0" in refused(
        autotts("synth", "-o", tmp_path / "none.h5", "--branches", 0)
    )


def test_an_interrupt_exits_with_130_and_leaves_no_store(tmp_path):
    command = [sys.executable, "-m", "autotts_gym.cli.main", "synth", "-o", tmp_path / "big.h5", "--questions", 200_000]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr == "autotts: interrupted\n"
    assert os.listdir(tmp_path) == []


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    command = [sys.executable, "-m", "autotts_gym.cli.main", "info", *["synthetic/search"] * 200]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 141


def test_progress_is_shown_to_a_person_only(source, tmp_path):
    pty = pytest.importorskip("pty")
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "autotts_gym.cli.main", "import", str(tmp_path), "-o", str(tmp_path / "stores")]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=child, text=True, timeout=60)
    os.close(child)
    shown = os.read(parent, 100_000).decode()
    os.close(parent)
    assert done.returncode == 0
    assert "importing" in shown
    assert done.stdout.count("\n") == 1


def test_the_published_data_becomes_stores_with_one_command(replay_root, tmp_path):
    done = autotts("import", replay_root, "-o", tmp_path / "stores")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("30 questions, 3840 branches") == 8
    assert load_store(tmp_path / "stores/Qwen3-8B/aime25.h5").name == "Qwen3-8B/aime25"
