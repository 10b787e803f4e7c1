"""Coding agents of the command line, run without a person in a folder that holds only what they may see.

An agent runs with the user's rights and is trusted as far as the user trusts it; what it writes is not. Its own fences
are put up: Claude Code may read and write in the folder and has no other tools, no settings, memories, hooks or servers
of the user's or of a repository around it; Codex runs commands in its sandbox, which may write in the folder only and
has no network, though it may read elsewhere. The environment is scrubbed. The flags were tried on Claude Code 2.1 and
Codex 0.169.
"""

import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from agents.explorer.proposers.arguments import number, text, variables, words
from agents.explorer.proposers.base import Proposal, ProposerError, Request, Usage
from agents.explorer.proposers.processes import Command, Finished, ProcessError, found, run
from agents.explorer.proposers.replies import MAX_REPLY_BYTES, clean, displayable, one_line
from agents.explorer.proposers.workspace import PROMPT, furnish, program_of
from autotts_gym.errors import LONGEST_QUOTE, AutottsError, plain
from autotts_gym.files import write_atomically
from autotts_gym.validation import integer, is_real

INSTRUCTIONS = Path(__file__).parent / "coding_agent.md"
TRANSCRIPT = "transcript.jsonl"
MAX_TRANSCRIPT_BYTES = 32 * MAX_REPLY_BYTES


@dataclass
class Transcript:
    """What an agent has written of its work.

    Attributes:
        texts: what it said.
        usage: what it says it used, once it has.
        error: why it failed, if it did.
        answered: whether a model has answered it; before that, nothing can have been paid.
    """

    texts: list[str] = field(default_factory=list)
    usage: Usage | None = None
    error: str = ""
    answered: bool = False


class CodingAgent(ABC):
    """An agent, as a proposer.

    Args:
        model: that it uses; empty: its own choice.
        executable: its name on the path, or where it is.
        timeout: seconds.
        env: names of environment variables it gets, beside the usual ones and those of its keys.
        arguments: further arguments, as on a command line.
        instructions: file put at the end of the prompt; by default ``coding_agent.md`` beside this module.

    Raises:
        AutottsError: an argument is wrong, or there is no such executable.
    """

    kind: ClassVar[str]
    command: ClassVar[str]
    passed: ClassVar[tuple[str, ...]]
    variables: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        model: str = "",
        *,
        executable: str = "",
        timeout: float = 1800.0,
        env: str | Sequence[str] = (),
        arguments: str = "",
        instructions: str = "",
    ) -> None:
        self.model = text(f"{self.kind}: model", model) or self.kind
        self._chosen = model
        self._executable = found(text(f"{self.kind}: executable", executable) or self.command, self.kind)
        self.timeout = number(f"{self.kind}: timeout", timeout)
        self._env = (*self.passed, *variables(f"{self.kind}: env", env))
        self._extra = words(f"{self.kind}: arguments", arguments)
        file = Path(text(f"{self.kind}: instructions", instructions)) if instructions else INSTRUCTIONS
        try:
            self._instructions = file.read_text()
        except (OSError, ValueError) as error:
            raise AutottsError(f"{file}: expected a prompt file, got {plain(error)}") from error

    @property
    def name(self) -> str:
        """As given to ``--proposer``."""
        return f"{self.kind}:{self._chosen}" if self._chosen else self.kind

    @abstractmethod
    def _arguments(self) -> list[str]:
        """Its arguments; the prompt comes on stdin."""

    @abstractmethod
    def _read(self, event: Mapping[str, Any], transcript: Transcript) -> str:
        """Take an event that it prints into the transcript; returns what to show of it."""

    @abstractmethod
    def bound(self, request: Request) -> Usage:
        """The most that one proposal can use."""

    def propose(self, request: Request, progress: Callable[[str], None]) -> Proposal:
        """Run the agent.

        Raises:
            ProposerError: it failed, took too long, or wrote too much.
        """
        furnish(request, self._instructions)
        folder = request.workspace.resolve()
        secrets = [os.environ.get(name, "") for name in self._env if _secret(name)]
        transcript, printed, begun = Transcript(), bytearray(), list[bytes]()

        def take(data: bytes) -> None:
            printed.extend(data)
            *lines, rest = data.split(b"\n")
            for line in lines:
                shown = self._event(b"".join([*begun, line]), transcript).rstrip("\n")
                begun.clear()
                if shown:
                    progress(displayable(f"{shown}\n", secrets))
            begun.append(rest)

        command = Command(
            words=[self._executable, *self._arguments(), *self._extra],
            folder=folder,
            stdin=folder / PROMPT,
            variables=self.variables,
            passed=self._env,
        )
        finished: Finished | ProcessError
        try:
            finished = run(command, self.timeout, MAX_TRANSCRIPT_BYTES, take, lambda _: None)
        except ProcessError as error:
            finished = error
        written = clean(printed.decode("utf-8", "replace"), secrets)
        write_atomically(folder / TRANSCRIPT, written.encode())
        cut_off = isinstance(finished, ProcessError) and finished.started
        usage = transcript.usage or (self.bound(request) if transcript.answered or cut_off else Usage())
        try:
            if isinstance(finished, ProcessError):
                raise ProposerError(str(finished))
            reply = clean("\n\n".join(transcript.texts), secrets)
            if len(reply.encode()) > MAX_REPLY_BYTES:
                raise ProposerError(f"expected a reply of at most {MAX_REPLY_BYTES} bytes, got more")
            source = program_of(request, reply, secrets)
            # An agent that its own limits stopped may have written the program before; the checks decide.
            if not source and (transcript.error or finished.code):
                said = transcript.error or finished.complaint or "it did not say why"
                raise ProposerError(f"{finished}: {one_line(said, secrets, LONGEST_QUOTE)}")
        except ProposerError as error:
            raise ProposerError(f"{self.name}: {error}", usage) from error
        return Proposal(source, reply, usage, self.model)

    def _event(self, line: bytes, transcript: Transcript) -> str:
        """What to show of a line that the agent prints; a line that is no event is passed over."""
        try:
            event = json.loads(line)
            return self._read(event, transcript) if isinstance(event, dict) else ""
        except (ValueError, TypeError, AttributeError, LookupError, RecursionError):
            return ""


class ClaudeCode(CodingAgent):
    """Claude Code, as ``claude -p``.

    Args:
        model: that it uses; empty: its own choice.
        max_usd: the limit that it gets. It notices only after the call that passes it, so the bound is twice that.
        options: those of every agent: see ``CodingAgent``.
    """

    kind = "claude-code"
    command = "claude"
    passed = (
        "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "CLAUDE_CODE_OAUTH_TOKEN",
        "CLAUDE_CONFIG_DIR",
    )  # fmt: skip
    variables: ClassVar[Mapping[str, str]] = {
        "DISABLE_AUTOUPDATER": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }

    def __init__(self, model: str = "", *, max_usd: float = 1.0, **options: Any) -> None:
        self.max_usd = number(f"{self.kind}: max_usd", max_usd)
        super().__init__(model, **options)

    def _arguments(self) -> list[str]:
        return [
            "-p",
            "--output-format=stream-json",
            "--verbose",
            "--safe-mode",  # without CLAUDE.md, hooks, plugins and the like
            "--strict-mcp-config",
            "--no-session-persistence",
            "--tools=Read,Write,Edit,Glob,Grep",
            "--allowedTools=Read(./**),Write(./**),Edit(./**)",
            "--permission-mode=dontAsk",  # what is not allowed is denied
            f"--max-budget-usd={self.max_usd:g}",
            *([f"--model={self._chosen}"] if self._chosen else []),
        ]

    def bound(self, request: Request) -> Usage:
        """The most that one proposal can use."""
        return Usage(1, usd=2 * self.max_usd)

    def _read(self, event: Mapping[str, Any], transcript: Transcript) -> str:
        if event.get("type") == "assistant":
            transcript.answered = True
            shown = []
            for block in event["message"]["content"]:
                if block["type"] == "text":
                    transcript.texts.append(str(block["text"]))
                    shown.append(str(block["text"]))
                elif block["type"] == "tool_use":
                    shown.append(f"[{block['name']} {block['input'].get('file_path', '')}]".replace(" ]", "]"))
            return "\n".join(shown)
        if event.get("type") == "result":
            if event.get("is_error"):
                errors = [str(error) for error in event.get("errors") or ()]
                transcript.error = str(event.get("result") or "; ".join(errors) or event.get("subtype"))
            transcript.usage = _claude_usage(event)
        return ""


def _claude_usage(event: Mapping[str, Any]) -> Usage | None:
    """What a result says was used; by model, as the total is left empty where a limit ended the work."""
    usd = event.get("total_cost_usd")
    if usd is None or not is_real(usd, 0.0):
        return None
    models = [model for model in (event.get("modelUsage") or {}).values() if isinstance(model, dict)]
    new, written, cached, output = (
        sum(int(model.get(name) or 0) for model in models)
        for name in ("inputTokens", "cacheCreationInputTokens", "cacheReadInputTokens", "outputTokens")
    )
    turns = event.get("num_turns")
    calls = turns if isinstance(turns, int) and turns > 0 else 1
    return Usage(calls, new + written + cached, cached, output, float(usd))


class Codex(CodingAgent):
    """Codex, as ``codex exec``.

    Args:
        model: that it uses; empty: its own choice.
        max_input_tokens: what one proposal reads at most, and
        max_output_tokens: writes at most: the bound, by the user's word, as Codex has no such limit. It reports
            tokens and no cost, so the model needs a price.
        options: those of every agent: see ``CodingAgent``.
    """

    kind = "codex"
    command = "codex"
    passed = ("CODEX_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL", "CODEX_HOME")

    def __init__(
        self, model: str = "", *, max_input_tokens: int = 1_000_000, max_output_tokens: int = 50_000, **options: Any
    ) -> None:
        self.max_input_tokens = integer(f"{self.kind}: max_input_tokens", max_input_tokens, 1)
        self.max_output_tokens = integer(f"{self.kind}: max_output_tokens", max_output_tokens, 1)
        super().__init__(model, **options)

    def _arguments(self) -> list[str]:
        settings = {
            "approval_policy": "never",
            "web_search": "disabled",
            "project_doc_max_bytes": 0,  # without the AGENTS.md of a repository around the folder
            "sandbox_workspace_write.network_access": False,
            "sandbox_workspace_write.exclude_slash_tmp": True,
            "sandbox_workspace_write.exclude_tmpdir_env_var": True,
            "shell_environment_policy.inherit": "core",
        }
        if os.environ.get("OPENAI_BASE_URL"):
            settings["openai_base_url"] = os.environ["OPENAI_BASE_URL"]
        return [
            "exec",
            "--json",
            "--color=never",
            "--sandbox=workspace-write",
            "--skip-git-repo-check",
            "--ephemeral",
            "--ignore-user-config",
            "--ignore-rules",
            *(f"--config={name}={json.dumps(value)}" for name, value in settings.items()),
            *([f"--model={self._chosen}"] if self._chosen else []),
            "-",
        ]

    def bound(self, request: Request) -> Usage:
        """The most that one proposal can use."""
        return Usage(1, self.max_input_tokens, 0, self.max_output_tokens)

    def _read(self, event: Mapping[str, Any], transcript: Transcript) -> str:
        kind = event.get("type")
        if kind == "turn.completed":
            used = event["usage"]
            read, cached = int(used["input_tokens"]), int(used.get("cached_input_tokens") or 0)
            if min(read, cached, int(used["output_tokens"])) >= 0:
                transcript.usage = Usage(1, read, min(read, cached), int(used["output_tokens"]))
        elif kind == "turn.failed":
            transcript.error = str(event["error"]["message"])
            transcript.answered = transcript.answered or not re.search(r"\bstatus [45]\d\d\b", transcript.error)
        elif kind == "error":  # it tries again, or turn.failed follows
            return f"[{event['message']}]"
        elif kind == "item.completed" and event["item"]["type"] != "error":
            transcript.answered = True
            item = event["item"]
            if item["type"] == "agent_message":
                transcript.texts.append(str(item["text"]))
                return str(item["text"])
            return f"[{item['type']} {item.get('command', '')}]".replace(" ]", "]")
        return ""


def _secret(name: str) -> bool:
    return name.endswith(("_KEY", "_TOKEN", "_SECRET"))
