"""From a question to the prompt of its branches."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotts_gym.collection.questions import Task
from autotts_gym.errors import AutottsError, plain, quote
from autotts_gym.models import Capabilities, Endpoint, Prompt
from autotts_gym.models.base import Message

THINK_BEGIN, THINK_END = "<think>", "</think>"
"""The marks of a thinking block."""


@dataclass(frozen=True)
class PromptForm:
    """How prompts are made.

    Attributes:
        form: "chat" (the model's chat template), "text" (``template`` alone), or "auto": chat where the server has a
            template.
        template: Jinja, with ``question``, ``id`` and the columns of the row; the message of the user, or the prompt.
        system: message of the system, for a chat; empty: none.
        thinking: "on", "off", or "default": whatever the template does by itself.
        options: more arguments for the chat template.

    Raises:
        AutottsError: the template cannot be read.
    """

    form: str = "auto"
    template: str = "{{ question }}"
    system: str = ""
    thinking: str = "default"
    options: Mapping[str, Any] = field(default_factory=dict)

    def text(self, task: Task) -> str:
        """The template with a question filled in.

        Raises:
            AutottsError: it fails, such as where it names something that the row does not have.
        """
        import jinja2
        from jinja2.sandbox import SandboxedEnvironment

        environment = SandboxedEnvironment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
        values = {**task.columns, "question": task.text, "id": task.id}
        try:
            return environment.from_string(self.template).render(values)
        except Exception as error:  # a template may call what raises anything
            raise AutottsError(
                f"template: {quote(self.template)}: question {plain(task.id)}: {type(error).__name__}: {plain(error)}"
            ) from error

    async def prompt(self, endpoint: Endpoint, capabilities: Capabilities, task: Task) -> tuple[Prompt, bool]:
        """The prompt of a question, and whether it ends inside a thinking block.

        Raises:
            AutottsError: the template fails.
            EndpointError: the server has no chat template, where one is asked for.
        """
        text = self.text(task)
        if self.form == "text" or (self.form == "auto" and not capabilities.chat):
            if self.thinking != "default" or self.system:
                raise AutottsError(
                    "thinking, system: expected a chat, got a prompt of text; write them into the template"
                )
            prompt: Prompt = await endpoint.tokenize(text, begins=True) if capabilities.ids else text
            return prompt, _inside(text)
        messages: list[Message] = [{"role": "system", "content": self.system}] if self.system else []
        messages.append({"role": "user", "content": text})
        options = dict(self.options)
        if self.thinking != "default":
            options["enable_thinking"] = self.thinking == "on"
        rendered, shown = await endpoint.render(messages, options)
        return rendered, _inside(shown)


def _inside(text: str) -> bool:
    """Whether a prompt ends inside a thinking block."""
    return text.rfind(THINK_BEGIN) > text.rfind(THINK_END)


def read_template(text: str) -> str:
    """A template given as text, or as ``@FILE``.

    Raises:
        AutottsError: the file cannot be read.
    """
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise AutottsError(f"{plain(text[1:])}: cannot be read: {plain(error)}") from error


def prompt_digest(prompt: Prompt) -> str:
    """SHA-256 of a prompt, in hexadecimal."""
    return hashlib.sha256(json.dumps(prompt).encode()).hexdigest()
