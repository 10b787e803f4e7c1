"""Coding agents run fenced in, bounded in time and output, and report what they cost."""

import json
import os
import stat
import sys
import time
from pathlib import Path

import agent_stub
import pytest
from asking import PARENT, gone, request

from agents.explorer.proposers.base import ProposerError, Usage
from agents.explorer.proposers.coding_agent import ClaudeCode, Codex
from autotts_gym.errors import AutottsError

KEY = "sk-secret-0123456789"
CLAUDE_USED = Usage(2, 122, 10, 51, 0.6015555)


@pytest.fixture(autouse=True)
def agents(tmp_path, monkeypatch):
    """Stubs under the agents' names, on the path; and an environment with things they must not get."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("claude", "codex"):
        stub = folder / name
        stub.write_text(f"#!{sys.executable}\n{Path(agent_stub.__file__).read_text()}")
        stub.chmod(stub.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "CODEX_API_KEY"):
        monkeypatch.setenv(name, KEY)
    monkeypatch.setenv("AUTOTTS_STORES", "/stores")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not yours")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def propose(agent, folder, do, shown=None):
    return agent.propose(request(folder, f"Write a controller. DO: {do}"), [].append if shown is None else shown.append)


def called(folder):
    return json.loads((folder / "workspace" / "called.json").read_text())


def sleepers(mark):
    """Processes that have an environment variable."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_claude_writes_a_program_and_reports_its_cost(tmp_path):
    shown = []
    proposal = propose(ClaudeCode("claude-test"), tmp_path, "write", shown)
    assert proposal.source == agent_stub.SOLVE
    assert proposal.usage == CLAUDE_USED
    assert proposal.model == "claude-test"
    assert proposal.reply == "I write \x1b[31mit.\u202e"
    assert "".join(shown) == "I write [31mit.\n[Write program.py]\n"


def test_claude_sees_its_workspace_and_is_fenced_in(tmp_path):
    propose(ClaudeCode("claude-test", max_usd=0.5, arguments="--effort 'very high'"), tmp_path, "write")
    call = called(tmp_path)
    assert call["seen"] == ["parents", "parents/p7.json", "parents/p7.py", "prompt.md"]
    assert call["prompt"].startswith("Write a controller. DO: write\n\n# Where you are")
    given = set(call["arguments"])
    assert {
        "-p", "--output-format=stream-json", "--safe-mode", "--tools=Read,Write,Edit,Glob,Grep",
        "--allowedTools=Read(./**),Write(./**),Edit(./**)", "--permission-mode=dontAsk", "--max-budget-usd=0.5",
        "--model=claude-test",
    } <= given  # fmt: skip
    assert call["arguments"][-2:] == ["--effort", "very high"]
    assert not any("dangerously" in each or "Bash" in each for each in given)
    assert call["environment"]["ANTHROPIC_API_KEY"] == KEY
    assert not {"AUTOTTS_STORES", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY"} & set(call["environment"])


def test_an_agent_may_be_given_more_of_the_environment(tmp_path):
    propose(ClaudeCode(env="AWS_SECRET_ACCESS_KEY, NOT_SET"), tmp_path, "write")
    assert called(tmp_path)["environment"]["AWS_SECRET_ACCESS_KEY"] == "not yours"


def test_parents_come_with_figures_and_nothing_of_other_proposers(tmp_path):
    propose(ClaudeCode(), tmp_path, "write")
    parents = tmp_path / "workspace" / "parents"
    assert (parents / "p7.py").read_text() == PARENT.source
    figures = json.loads((parents / "p7.json").read_text())
    assert figures == {
        "id": "p7",
        "objective": 0.41,
        "frontier": [
            {"beta": 0.0, "accuracy": 0.3, "tokens": 20000.0},
            {"beta": 1.0, "accuracy": 0.55, "tokens": 600000.0},
        ],
        "diagnosis": {"stopped early": 0.2},
    }


def test_a_program_in_the_answer_counts_if_no_file_was_written(tmp_path):
    assert propose(ClaudeCode(), tmp_path, "answer").source == agent_stub.SOLVE


def test_no_program_at_all_is_an_empty_proposal(tmp_path):
    proposal = propose(ClaudeCode(), tmp_path, "chat")
    assert proposal.source == ""
    assert proposal.usage == CLAUDE_USED


def test_a_program_left_by_an_attempt_that_was_cut_off_is_not_taken(tmp_path):
    made = request(tmp_path)
    (made.workspace / "program.py").write_text("old")
    assert propose(ClaudeCode(), tmp_path, "chat").source == ""


def test_a_program_written_before_the_agents_limit_counts(tmp_path):
    assert propose(ClaudeCode(), tmp_path, "budget").source == agent_stub.SOLVE


def test_the_failure_of_an_agent_is_reported_without_the_key_and_with_its_cost(tmp_path):
    with pytest.raises(ProposerError, match=r"claude-code: exit code 1: Reached the limit, key \*\*\*") as caught:
        propose(ClaudeCode(), tmp_path, "fail")
    assert caught.value.usage == CLAUDE_USED
    assert KEY not in (tmp_path / "workspace" / "transcript.jsonl").read_text()


def test_an_agent_that_does_not_start_to_work_costs_nothing(tmp_path):
    with pytest.raises(ProposerError, match="exit code 1: error: unknown option '--safe-mode'") as caught:
        propose(ClaudeCode(), tmp_path, "unpaid")
    assert caught.value.usage == Usage()


@pytest.mark.parametrize(
    ("do", "message"),
    [
        ("link", "program.py: expected a plain file, got"),
        ("pipe", "program.py: expected a plain file, got another kind"),
        ("huge", "program.py: expected at most 1048576 bytes, got more"),
    ],
)
def test_a_program_that_is_no_plain_small_file_is_refused(do, message, tmp_path):
    with pytest.raises(ProposerError, match=message) as caught:
        propose(ClaudeCode(), tmp_path, do)
    assert caught.value.usage == CLAUDE_USED


def test_lines_that_are_no_events_are_passed_over_and_a_cost_that_is_none_is_the_bound(tmp_path):
    agent = ClaudeCode(max_usd=0.5)
    proposal = propose(agent, tmp_path, "nonsense")
    assert proposal.source == agent_stub.SOLVE
    assert proposal.usage == agent.bound(request(tmp_path)) == Usage(1, usd=1.0)


def test_an_agent_that_takes_too_long_is_killed_with_all_it_started(tmp_path, monkeypatch):
    mark = f"TRACE_{os.getpid()}_{time.monotonic_ns()}"
    monkeypatch.setenv(mark, "here")
    started = []

    def watch(_):
        started.extend(sleepers(mark))

    agent = ClaudeCode(timeout=3.0, env=mark)
    with pytest.raises(ProposerError, match="claude-code: took more than 3 s") as caught:
        agent.propose(request(tmp_path, "DO: hang"), watch)
    assert caught.value.usage == agent.bound(request(tmp_path))
    assert started
    assert [pid for pid in [*started, *sleepers(mark)] if not gone(pid)] == []


def test_codex_writes_a_program_and_reports_its_tokens(tmp_path):
    shown = []
    proposal = propose(Codex("gpt-test"), tmp_path, "write", shown)
    assert proposal.source == agent_stub.SOLVE
    assert proposal.usage == Usage(1, 200, 40, 60, None)
    assert (proposal.model, proposal.reply) == ("gpt-test", "Done.")
    assert "".join(shown) == "[command_execution cat > program.py]\nDone.\n"


def test_codex_is_fenced_in(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    propose(Codex("gpt-test"), tmp_path, "write")
    call = called(tmp_path)
    assert call["arguments"][0] == "exec"
    assert call["arguments"][-1] == "-"
    assert {
        "--json", "--sandbox=workspace-write", "--ignore-user-config", "--ephemeral", "--model=gpt-test",
        '--config=approval_policy="never"', '--config=web_search="disabled"', "--config=project_doc_max_bytes=0",
        "--config=sandbox_workspace_write.network_access=false",
        '--config=openai_base_url="http://127.0.0.1:1/v1"',
    } <= set(call["arguments"])  # fmt: skip
    assert "AUTOTTS_STORES" not in call["environment"]


def test_a_refused_turn_of_codex_costs_nothing_and_a_broken_one_its_bound(tmp_path):
    agent = Codex(max_input_tokens=1000, max_output_tokens=100)
    with pytest.raises(ProposerError, match="codex: exit code 1: unexpected status 401 Unauthorized") as caught:
        propose(agent, tmp_path, "fail")
    assert caught.value.usage == Usage()
    with pytest.raises(ProposerError, match="codex: exit code 101: thread panicked") as caught:
        propose(agent, tmp_path, "die")
    assert caught.value.usage == Usage(1, 1000, 0, 100) == agent.bound(request(tmp_path))


def test_the_instructions_are_a_file_one_can_change(tmp_path):
    file = tmp_path / "mine.md"
    file.write_text("Be brief.")
    propose(ClaudeCode(instructions=str(file)), tmp_path, "write")
    assert called(tmp_path)["prompt"] == "Write a controller. DO: write\n\nBe brief."


def test_names_are_those_given():
    assert [ClaudeCode().name, ClaudeCode("opus").name, Codex().name, Codex("gpt").name] == [
        "claude-code",
        "claude-code:opus",
        "codex",
        "codex:gpt",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"executable": "no-such-agent"}, "expected an executable 'no-such-agent'"),
        ({"timeout": 0}, "timeout: expected a number above 0"),
        ({"max_usd": "much"}, "max_usd: expected a number above 0"),
        ({"arguments": "'"}, "arguments: expected a command line"),
        ({"instructions": "/no/such/file"}, "expected a prompt file"),
        ({"env": 3}, "env: expected names"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(AutottsError, match=message):
        ClaudeCode(**options)
