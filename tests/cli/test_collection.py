"""``autotts collect`` and its stages as a person uses them: against servers on loopback, killed, continued, refused."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from scripted import serving

from autotts_gym.cli import collection
from autotts_gym.cli.main import main
from autotts_gym.collection.index import Index
from autotts_gym.collection.questions import source_name
from autotts_gym.replay import load_store

QUESTIONS = [{"id": "a", "question": "How many?", "answer": "40"}, {"id": "b", "question": "How much?", "answer": "7"}]
SMALL = ("--branches", "3", "--interval", "8", "--max-tokens", "300", "--concurrency", "4")


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "quiz.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    return str(path)


def command(*words):
    """The arguments of a command."""
    return [str(word) for word in words]


def test_from_questions_to_a_store(questions, tmp_path, capsys):
    with serving() as server:
        assert main(command("collect", questions, "--model", server.address, "--out", tmp_path / "out", *SMALL)) == 0
    out, err = capsys.readouterr()
    assert "chars on llama.cpp scripted: token ids, context 4,096 tokens" in err
    folder = tmp_path / "out" / "chars"
    assert sorted(each.name for each in folder.iterdir() if not each.name.startswith(".")) == [
        "quiz.h5",
        "quiz.journal",
        "quiz.png",
    ]
    assert "2 questions, 6 branches" in out
    assert "pass@1" in out
    assert f"{folder / 'quiz.h5'}: chars/quiz" in out
    store = load_store(folder / "quiz.h5")
    assert store.token_unit == round(64 * store.tokens.mean())
    assert main(["info", str(folder / "quiz.h5")]) == 0
    out, _ = capsys.readouterr()
    assert "server: llama.cpp scripted" in out
    assert 'suffix: "\\n\\n**Final Answer**\\n\\\\boxed{"' in out
    words = ("--controller", "sc", "--param", "branches=2", "--seeds", 4)
    assert main(command("evaluate", folder / "quiz.h5", *words)) == 0


def test_stages_stand_alone(questions, tmp_path, capsys):
    out = tmp_path / "out"
    journal = out / "chars" / "quiz.journal"
    with serving(kind="vllm") as server:
        assert main(command("sample", questions, "--model", server.address, "--out", out, *SMALL)) == 0
        assert not load_store(journal.with_suffix(".h5")).has_probes
        sampled = len(server.asked)
        assert main(command("probe", journal, "--model", server.address)) == 0
        assert all(body["max_tokens"] <= 32 for body in server.asked[sampled:])
    store = load_store(journal.with_suffix(".h5"))
    assert store.has_probes
    capsys.readouterr()
    target = tmp_path / "other.h5"
    words = command("extract", journal, "-o", target, "--extractor", "number", "--benchmark", "renamed")
    assert main(words) == 0
    assert load_store(target).benchmark == "renamed"
    assert main(words) == 2
    assert "--force" in capsys.readouterr().err
    assert main([*words, "--force"]) == 0


def test_shards_and_their_merge(questions, tmp_path, capsys):
    with serving() as server:
        for number in (1, 2):
            words = command("collect", questions, "--model", server.address, "--out", tmp_path / "parts", *SMALL)
            assert main([*words, "--shard", f"{number}/2"]) == 0
        assert main(command("collect", questions, "--model", server.address, "--out", tmp_path / "whole", *SMALL)) == 0
    parts = sorted((tmp_path / "parts" / "chars").glob("*.journal"))
    assert [each.name for each in parts] == ["quiz.1-of-2.journal", "quiz.2-of-2.journal"]
    assert main(command("merge", *parts, "-o", tmp_path / "merged.h5")) == 0
    one, two = load_store(tmp_path / "merged.h5"), load_store(tmp_path / "whole" / "chars" / "quiz.h5")
    assert one.tokens.tolist() == two.tokens.tolist()
    assert one.probes.tolist() == two.probes.tolist()
    capsys.readouterr()
    assert main(command("merge", parts[0], "-o", tmp_path / "half.h5")) == 2
    assert not (tmp_path / "half.h5").exists()
    assert not (tmp_path / "half.journal").exists()


def test_a_merge_may_be_made_again(questions, tmp_path, capsys):
    with serving() as server:
        for number in (1, 2):
            words = command("sample", questions, "--model", server.address, "--out", tmp_path / "parts", *SMALL)
            assert main([*words, "--shard", f"{number}/2"]) == 0
    parts = sorted((tmp_path / "parts" / "chars").glob("*.journal"))
    (tmp_path / "mine.py").write_text("def fails(text):\n    raise KeyError('x')\n")
    words = command("merge", *parts, "-o", tmp_path / "merged.h5")
    assert main([*words, "--extractor", f"{tmp_path / 'mine.py'}:fails"]) == 2
    assert "KeyError" in capsys.readouterr().err
    assert not list(tmp_path.glob("*merged*"))
    assert main(words) == 0
    assert main(words) == 2
    assert "--force" in capsys.readouterr().err
    before = (tmp_path / "merged.h5").read_bytes()
    (tmp_path / "merged.journal").write_bytes(b"")
    assert main([*words, "--force"]) == 0
    assert (tmp_path / "merged.h5").read_bytes() == before
    assert len(Index.read(tmp_path / "merged.journal").tokens) == 6
    assert main(command("merge", *parts, "-o", parts[0].with_suffix(".h5"), "--force")) == 2
    assert "another name than that of a shard" in capsys.readouterr().err


def test_no_picture_of_others_is_replaced(questions, tmp_path, capsys):
    with serving() as server:
        assert main(command("sample", questions, "--model", server.address, "--out", tmp_path / "out", *SMALL)) == 0
    picture = tmp_path / "a.png"
    picture.write_text("mine")
    words = command("extract", tmp_path / "out" / "chars" / "quiz.journal", "-o", tmp_path / "a.h5")
    assert main(words) == 2
    assert "a.png: exists already" in capsys.readouterr().err
    assert picture.read_text() == "mine"
    assert not (tmp_path / "a.h5").exists()


@pytest.mark.parametrize("name", ["a/b", "../esc", "..", ".hidden", "q/", "a\\b"])
def test_names_that_lead_elsewhere(questions, tmp_path, capsys, name):
    with pytest.raises(SystemExit):
        main(command("collect", questions, "--model", "tiny", "--out", tmp_path / "out", "--benchmark", name))
    assert "expected a name without slashes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("a/aime.2024.jsonl", "aime.2024"),
        ("aime.jsonl.gz", "aime"),
        ("x.CSV", "x"),
        (".x.json", "x"),
        ("hf:org/set:test", "set"),
        ("a\nb.json", "a_b"),
    ],
)
def test_names_of_files_are_those_of_benchmarks(source, name):
    assert source_name(source) == name


@pytest.mark.parametrize("name", ["", "org/", "x\ny", "\u202eevil", ".."])
def test_a_name_that_no_store_can_have_is_refused_at_the_start(questions, tmp_path, capsys, name):
    with serving(kind="vllm", model=name) as server:
        assert main(command("collect", questions, "--model", server.address, "--out", tmp_path / "out", *SMALL)) == 2
        assert not any("How" in "".join(map(chr, body["prompt"])) for body in server.asked)
    assert "model: expected a printable name" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_store_is_written_before_anything_is_printed(questions, tmp_path, monkeypatch):
    def fails(outcome, price):
        raise KeyboardInterrupt

    monkeypatch.setattr(collection, "_report_run", fails)
    with serving() as server:
        assert main(command("sample", questions, "--model", server.address, "--out", tmp_path / "out", *SMALL)) == 130
    assert load_store(tmp_path / "out" / "chars" / "quiz.h5").num_branches == 6


def test_an_estimate_after_sampling_scales_probes_by_themselves(questions, tmp_path, capsys):
    words = ("--out", tmp_path / "out", *SMALL, "--branches", 20)
    with serving(kind="vllm") as server:
        assert main(command("sample", questions, "--model", server.address, *words)) == 0
        capsys.readouterr()
        assert main(command("collect", questions, "--model", server.address, *words, "--dry-run")) == 0
        out = capsys.readouterr().out
        assert main(command("collect", questions, "--model", server.address, *words)) == 0
    assert "from 40 branches" in out
    estimate = int(next(line for line in out.splitlines() if "of probes" in line).split()[0].replace(",", ""))
    truth = Index.read(tmp_path / "out" / "chars" / "quiz.journal").accounts.probe_tokens
    assert 0.7 * truth < estimate < 1.4 * truth


def test_a_dry_run_estimates_all(questions, tmp_path, capsys):
    prices = tmp_path / "prices.json"
    prices.write_text(json.dumps({"models": {"chars": {"input": 1, "output": 4, "cached": 0.1}}}))
    with serving() as server:
        words = command("collect", questions, "--model", server.address, "--out", tmp_path / "out", *SMALL)
        assert main([*words, "--dry-run", "--prices", str(prices)]) == 0
        out = capsys.readouterr().out
        assert "from 2 branches" in out
        assert "all 6 branches" in out
        assert "USD" in out
        assert main([*words, "--prices", str(prices), "--budget-usd", "0.0001"]) == 0
        assert "the budget ended it" in capsys.readouterr().out
        assert main(words) == 0


def test_kill_and_go_on(questions, tmp_path):
    out = tmp_path / "out"
    journal = out / "chars" / "quiz.journal"
    with serving(delay=0.001) as server:
        words = command("collect", questions, "--model", server.address, "--out", out, *SMALL, "--branches", 8)
        for number in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            before = journal.stat().st_size if journal.exists() else 0
            process = subprocess.Popen(
                [sys.executable, "-m", "autotts_gym.cli.main", *words],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            deadline = time.monotonic() + 60
            while not (journal.exists() and journal.stat().st_size > before + 4000) and process.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.send_signal(number)
            errors = process.communicate(timeout=60)[1]
            assert process.returncode in (-9, 130, 143, 0), errors
            assert "Traceback" not in errors
            if process.returncode == 0:
                break
        before = set(Index.read(journal).tokens)
        assert before
        server.delay = 0.0
        assert main(words) == 0
    index = Index.read(journal)
    assert before <= set(index.tokens)
    assert len(index.tokens) == 16


@pytest.mark.parametrize("numbers", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGTERM)])
@pytest.mark.parametrize("pause", [0.0, 0.02])
def test_a_second_signal_ends_it_at_once(questions, tmp_path, numbers, pause):
    with serving(delay=0.01) as server:
        words = command("collect", questions, "--model", server.address, "--out", tmp_path / "out", *SMALL)
        for _ in range(4):
            process = subprocess.Popen(
                [sys.executable, "-m", "autotts_gym.cli.main", *words],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            deadline = time.monotonic() + 60
            before = len(server.asked)
            while len(server.asked) < before + 14 and process.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            for number in numbers:
                process.send_signal(number)
                time.sleep(pause)
            errors = process.communicate(timeout=20)[1].decode()
            assert process.returncode in (-numbers[0], 128 + numbers[0]), errors
            assert "Traceback" not in errors
    assert Index.read(tmp_path / "out" / "chars" / "quiz.journal").sessions


def test_a_second_process_is_refused(questions, tmp_path, capsys):
    out = tmp_path / "out"
    with serving(delay=0.01) as server:
        words = command("collect", questions, "--model", server.address, "--out", out, *SMALL)
        process = subprocess.Popen([sys.executable, "-m", "autotts_gym.cli.main", *words], stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 60
            while not (out / "chars" / "quiz.journal").exists():
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert main(words) == 2
            assert "another process writes this journal" in capsys.readouterr().err
        finally:
            process.kill()
            process.wait(10)


def test_logs_of_others_are_probed(tmp_path, capsys):
    log = tmp_path / "log.jsonl"
    rows = [
        {
            "problem": "p",
            "answer": "5",
            "generations": ["Perhaps it is 5. So \\boxed{5}", "Perhaps it is 6. \\boxed{6}"],
        },
        {"problem": "q", "answer": "6", "generations": ["Perhaps it is 6. So it is \\boxed{6}"]},
    ]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with serving() as server:
        words = command("probe", log, "--model", server.address, "--interval", 10)
        assert main(words) == 2
        assert "--out" in capsys.readouterr().err
        assert main([*words, "--out", str(tmp_path / "out")]) == 0
    store = load_store(tmp_path / "out" / "chars" / "log.h5")
    assert store.num_branches == 3
    assert store.summary().coverage == 1.0


def test_logs_need_a_server_of_token_ids(tmp_path, capsys):
    log = tmp_path / "log.jsonl"
    log.write_text(json.dumps({"problem": "p", "answer": "5", "generations": ["So \\boxed{5}"]}) + "\n")
    with serving(kind="openai") as server:
        assert main(command("probe", log, "--model", server.address, "--out", tmp_path / "out")) == 2
    assert "expected a server of token ids" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("--interval", "4"),
        ("--suffix", "x"),
        ("--closing", ""),
        ("--probe-tokens", "1"),
        ("--prompt", "text"),
        ("--template", "x"),
        ("--system", ""),
        ("--thinking", "on"),
        ("--question-column", "x"),
        ("--benchmark", "x"),
        ("--branches-column", "x"),
        ("--out", "x"),
    ],
)
def test_a_journal_keeps_its_own_settings(questions, tmp_path, capsys, words):
    with serving() as server:
        assert main(command("sample", questions, "--model", server.address, "--out", tmp_path / "out", *SMALL)) == 0
        capsys.readouterr()
        journal = tmp_path / "out" / "chars" / "quiz.journal"
        assert main(command("probe", journal, "--model", server.address, *words)) == 2
    assert capsys.readouterr().err.startswith(f"autotts: error: {words[0][2:]}: expected none, since a journal")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model", "nowhere"), "endpoint: expected http"),
        (("--model", "http://127.0.0.1:9/v1", "--retries", "0"), "127.0.0.1:9"),
        (("--model", "local:none.gguf"), "none.gguf"),
        (("--model", "tiny", "--interval", "0"), "interval"),
        (("--model", "tiny", "--probes", "often"), "probes: expected every"),
        (("--model", "tiny", "--shard", "3/2"), "shard: expected K/N"),
        (("--model", "tiny", "--shard", "1/9"), "at most 2 shards"),
        (("--model", "tiny", "--extractor", "none"), "extractor"),
        (("--model", "tiny", "--temperature", "-1"), "temperature"),
        (("--model", "tiny", "--temperature", "nan"), "temperature"),
        (("--model", "tiny", "--top-p", "0"), "top_p"),
        (("--model", "tiny", "--concurrency", "0"), "concurrency"),
        (("--model", "tiny", "--timeout", "0"), "timeout"),
        (("--model", "tiny", "--budget-usd", "1"), "prices"),
        (("--model", "tiny", "--budget-tokens", "-1"), "budget-tokens"),
        (("--model", "tiny", "--limit", "0"), "limit"),
        (("--model", "tiny", "--question-column", "x"), "expected a column 'x'"),
        (("--model", "tiny", "--template", "@none.txt"), "none.txt"),
        (("--model", "tiny", "--suffix", ""), "suffix"),
    ],
)
def test_bad_use_is_one_line(questions, tmp_path, capsys, words, message):
    assert main(command("collect", questions, "--out", tmp_path / "out", *words)) == 2
    err = capsys.readouterr().err
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "template",
    [
        "{{ nothing }}",
        "{{ question",
        "{{ 1 / 0 }}",
        "{% for %}",
        "{{ '%(a)s' % {} }}",
        "{{ [].pop() }}",
        "{{ question.split(1) }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    ],
)
def test_bad_templates(questions, tmp_path, capsys, template):
    with serving() as server:
        words = command("collect", questions, "--model", server.address, "--out", tmp_path, "--template", template)
        assert main(words) == 2
    assert "template" in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["quiz.jsonl"]


def test_no_such_files(tmp_path, capsys):
    for words in (("extract", "none.journal", "-o", "x.h5"), ("probe", "none.journal", "--model", "tiny")):
        assert main(list(words)) == 2
        assert "none.journal" in capsys.readouterr().err
    assert main(command("extract", Path(__file__), "-o", tmp_path / "x.h5")) == 2
    assert "expected a journal" in capsys.readouterr().err
    assert main(command("extract", "a.journal", "-o", "x.txt")) == 2
    assert "ends in .h5" in capsys.readouterr().err
