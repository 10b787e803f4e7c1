"""Any executable may propose: it learns where things are, is bounded, and nothing of it is left behind."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from asking import gone, recorded, request

from agents.explorer.proposers.base import ProposerError, Usage
from agents.explorer.proposers.executable import ExecutableProposer
from agents.explorer.proposers.replies import extract_program
from autotts_gym.errors import AutottsError

SOLVE = "def solve(session, beta):\n    return None\n"


def shell(script, **options):
    return ExecutableProposer(f"sh -c {shlex.quote(script)} sh {{prompt}} {{output}}", **options)


def propose(script, folder, **options):
    return shell(script, **options).propose(request(folder), lambda _: None)


def test_it_reads_a_prompt_and_writes_a_file(tmp_path):
    proposal = propose('{ echo "# $(cat)"; printf "def solve(s, b):\\n    return None\\n"; } > "$2"', tmp_path)
    assert proposal.source == "# Write a controller.\ndef solve(s, b):\n    return None\n"
    assert proposal.reply == proposal.source
    assert (proposal.model, proposal.usage) == ("sh", Usage(1, usd=0.0))


def test_the_prompt_is_a_file_too_and_places_are_in_the_environment(tmp_path):
    script = """cmp "$1" "$AUTOTTS_PROMPT" && test "$2" = "$AUTOTTS_OUTPUT" && cat "$AUTOTTS_PARENTS/p7.py" "$1" > "$2"
    echo "# $AUTOTTS_SEED" >> "$2" """
    assert propose(script, tmp_path).source == '"""A parent."""\nWrite a controller.# 3\n'


def test_what_it_prints_is_an_answer_where_it_writes_no_file(tmp_path):
    reply = tmp_path / "reply.md"
    reply.write_text(recorded("momentum"))
    proposal = propose(f"cat {reply}", tmp_path)
    assert proposal.reply == recorded("momentum")
    assert proposal.source == extract_program(recorded("momentum")) != ""
    assert propose("echo I would rather not", tmp_path).source == ""


def test_stderr_is_shown_as_it_comes_and_its_last_line_is_the_reason(tmp_path):
    shown = []
    with pytest.raises(ProposerError, match=r"exit code 3: the model is out$"):
        shell("echo loading '\033[31m'>&2; echo the model is out >&2; exit 3").propose(request(tmp_path), shown.append)
    assert "".join(shown) == "loading [31m\nthe model is out\n"
    with pytest.raises(ProposerError, match="exit code 4: nothing on stderr"):
        propose("exit 4", tmp_path)
    with pytest.raises(ProposerError, match="killed by signal 9"):
        propose("kill -9 $$", tmp_path)


def test_bytes_that_are_no_text_do_no_harm(tmp_path):
    proposal = propose("printf '\\377\\376def solve(s, b): 1\\n' > \"$2\"", tmp_path)
    assert proposal.source == "\ufffd\ufffddef solve(s, b): 1\n"


@pytest.mark.parametrize(
    ("report", "usage"),
    [
        ({"usd": 0.25}, Usage(1, usd=0.25)),
        ({"input_tokens": 10, "cached_tokens": 99, "output_tokens": 5}, Usage(1, 10, 10, 5)),
        ({"input_tokens": 10, "output_tokens": 5, "usd": 1}, Usage(1, 10, 0, 5, 1.0)),
        ({"usd": -1}, Usage(1, usd=0.5)),
        ({"input_tokens": "many"}, Usage(1, usd=0.5)),
        ({}, Usage(1, usd=0.5)),
        ([], Usage(1, usd=0.5)),
    ],
)
def test_it_may_report_its_cost_and_otherwise_has_cost_what_the_user_said(report, usage, tmp_path):
    script = f"echo {shlex.quote(json.dumps(report))} > $AUTOTTS_USAGE; exit $CODE"
    assert propose(script, tmp_path, max_usd=0.5).usage == usage
    with pytest.raises(ProposerError) as caught:
        propose(script.replace("$CODE", "1"), tmp_path, max_usd=0.5)
    assert caught.value.usage == usage


def test_its_environment_is_scrubbed_and_keys_it_gets_are_blotted_out(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOTTS_STORES", "/stores")
    monkeypatch.setenv("MY_KEY", "sk-secret")
    assert "/stores" not in propose("env", tmp_path).reply
    assert "MY_KEY" not in propose("env", tmp_path).reply
    assert "MY_KEY=***" in propose("env", tmp_path, env=["MY_KEY"]).reply
    with pytest.raises(ProposerError, match=r"bad key \*\*\*"):
        propose('echo "bad key $MY_KEY" >&2; exit 1', tmp_path, env="MY_KEY")


def test_too_much_output_ends_it(tmp_path):
    with pytest.raises(ProposerError, match="expected at most 2097152 bytes of output, got more"):
        propose("yes", tmp_path, timeout=60.0)
    with pytest.raises(ProposerError, match="what was printed: expected at most 1048576 bytes, got more"):
        propose("head -c 1100000 /dev/zero", tmp_path)


def test_too_long_ends_it_and_all_it_started(tmp_path):
    script = f"""
    sleep 1000 & echo $! > {tmp_path}/child
    env -i sleep 1000 & echo $! > {tmp_path}/bare
    setsid sh -c 'echo $$ > {tmp_path}/stray; exec sleep 1000' &
    sleep 1000"""
    began = time.monotonic()
    with pytest.raises(ProposerError, match="took more than 1 s") as caught:
        propose(script, tmp_path, timeout=1.0, max_usd=0.5)
    assert caught.value.usage == Usage(1, usd=0.5)
    assert time.monotonic() - began < 60
    for name in ("child", "bare", "stray"):
        assert gone(int((tmp_path / name).read_text()))


def test_what_it_leaves_running_is_ended_and_not_waited_for(tmp_path):
    script = f"""
    sleep 1000 & echo $! > {tmp_path}/child
    setsid sh -c 'echo $$ > {tmp_path}/stray; exec sleep 1000' &
    while ! test -s {tmp_path}/stray; do sleep 0.02; done
    echo done > $2"""
    assert propose(script, tmp_path, timeout=100.0).source == "done\n"
    for name in ("child", "stray"):
        assert gone(int((tmp_path / name).read_text()))


def test_it_ends_with_the_search_even_if_that_is_killed(tmp_path):
    request(tmp_path)
    code = f"""
from pathlib import Path
from agents.explorer.proposers.base import Request
from agents.explorer.proposers.executable import ExecutableProposer
folder = Path({str(tmp_path)!r})
proposer = ExecutableProposer(f"sh -c 'echo $$ > {{folder}}/pid; exec sleep 1000'")
proposer.propose(Request("x", 0, [], [], folder / "workspace"), print)
"""
    search = subprocess.Popen([sys.executable, "-c", code])
    pid = tmp_path / "pid"
    try:
        while not pid.exists() or not pid.read_text().strip():
            assert search.poll() is None
            time.sleep(0.02)
    finally:
        os.kill(search.pid, signal.SIGKILL)
        search.wait()
    deadline = time.monotonic() + 20
    while not gone(int(pid.read_text())) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert gone(int(pid.read_text()))


def test_it_runs_where_the_search_was_started(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = Path("propose.sh")
    script.write_text("#!/bin/sh\npwd\n")
    script.chmod(0o755)
    proposer = ExecutableProposer("./propose.sh")
    monkeypatch.chdir("/")
    assert proposer.propose(request(tmp_path), lambda _: None).reply == f"{tmp_path}\n"
    assert proposer.name == "exec:./propose.sh"


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        ("", {}, "expected a command, exec:COMMAND, got none"),
        ("sh -c '", {}, "expected a command line"),
        ("no-such-command", {}, "expected an executable 'no-such-command'"),
        ("sh", {"timeout": -1}, "timeout: expected a number above 0"),
        ("sh", {"max_usd": float("inf")}, "max_usd: expected a number of at least 0"),
        ("sh", {"env": 5}, "env: expected names"),
    ],
)
def test_wrong_arguments_are_named(command, options, message):
    with pytest.raises(AutottsError, match=message):
        ExecutableProposer(command, **options)
