"""Any executable that reads a prompt and writes a program: the way to a model that is reached in some other way.

It runs in the folder the search was started in, and learns in two ways where things are. In its arguments,
``{prompt}`` and ``{output}`` stand for paths; its environment has

==================  =================================================================================
``AUTOTTS_PROMPT``  file with the prompt, which comes on stdin as well
``AUTOTTS_OUTPUT``  file to write the program to
``AUTOTTS_USAGE``   file for what it cost, if it knows: JSON, see below
``AUTOTTS_PARENTS`` folder of the programs to build on, ``<id>.py``, with their figures, ``<id>.json``
``AUTOTTS_SEED``    seed of this proposal
==================  =================================================================================

If it writes no program file, what it prints is taken for a model's answer, and the program is looked for in that.
What it prints on stderr is shown as it comes. It fails by an exit code other than 0, and the last line on stderr says
why. The usage file may hold ``input_tokens``, ``cached_tokens``, ``output_tokens`` and ``usd``.
"""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from agents.explorer.proposers.arguments import number, text, variables, words
from agents.explorer.proposers.base import Proposal, ProposerError, Request, Usage
from agents.explorer.proposers.processes import Command, ProcessError, found, run
from agents.explorer.proposers.replies import MAX_REPLY_BYTES, clean, decoded, displayable, one_line
from agents.explorer.proposers.workspace import PARENTS, PROGRAM, PROMPT, furnish, program_of
from autotts_gym.errors import LONGEST_QUOTE, AutottsError
from autotts_gym.validation import is_integer, is_real

USAGE = "usage.json"


class ExecutableProposer:
    """Runs a command of the user's.

    Args:
        command: the command line, split as a shell would, but run without one.
        timeout: seconds.
        max_usd: what one proposal can cost at most, by the user's word; the ledger reserves it, and charges it where
            the command fails or does not say what it used.
        env: names of environment variables the command gets, beside the usual ones (``PATH``, ``HOME``, …).
        model: who writes, for the record and the price table.

    Raises:
        AutottsError: an argument is wrong, or there is no such executable.
    """

    def __init__(
        self,
        command: str,
        *,
        timeout: float = 900.0,
        max_usd: float = 0.0,
        env: str | Sequence[str] = (),
        model: str = "",
    ) -> None:
        program, *arguments = words("exec", command) or [""]
        if not program:
            raise AutottsError("exec: expected a command, exec:COMMAND, got none")
        self._words = [found(program, "exec"), *arguments]
        self.command = command
        self.timeout = number("exec: timeout", timeout)
        self.max_usd = number("exec: max_usd", max_usd, zero=True)
        self.model = text("exec: model", model) or Path(self._words[0]).name
        self._env = variables("exec: env", env)
        self._folder = Path.cwd()

    @property
    def name(self) -> str:
        """As given to ``--proposer``."""
        return f"exec:{self.command}"

    def bound(self, request: Request) -> Usage:
        """What the user says one proposal costs at most."""
        return Usage(1, usd=self.max_usd)

    def propose(self, request: Request, progress: Callable[[str], None]) -> Proposal:
        """Run the command.

        Raises:
            ProposerError: it failed, took too long, or wrote too much.
        """
        furnish(request)
        folder = request.workspace.resolve()
        (folder / USAGE).unlink(missing_ok=True)
        secrets = [os.environ.get(name, "") for name in self._env]
        places = {"{prompt}": str(folder / PROMPT), "{output}": str(folder / PROGRAM)}
        command = Command(
            words=[self._words[0], *(_filled(word, places) for word in self._words[1:])],
            folder=self._folder,
            stdin=folder / PROMPT,
            variables={
                "AUTOTTS_PROMPT": str(folder / PROMPT),
                "AUTOTTS_OUTPUT": str(folder / PROGRAM),
                "AUTOTTS_USAGE": str(folder / USAGE),
                "AUTOTTS_PARENTS": str(folder / PARENTS),
                "AUTOTTS_SEED": str(request.seed),
            },
            passed=self._env,
        )
        printed = bytearray()

        def show(data: bytes) -> None:
            progress(displayable(data.decode("utf-8", "replace"), secrets))

        try:
            finished = run(command, self.timeout, 2 * MAX_REPLY_BYTES, printed.extend, show)
        except ProcessError as error:
            raise ProposerError(f"{self.name}: {error}", self.bound(request) if error.started else None) from error
        usage = self._usage(request, folder / USAGE)
        try:
            if finished.code:
                said = one_line(finished.complaint or "nothing on stderr", secrets, LONGEST_QUOTE)
                raise ProposerError(f"{finished}: {said}")
            reply = clean(decoded(bytes(printed), "what was printed"), secrets)
            source = program_of(request, reply, secrets)
        except ProposerError as error:
            raise ProposerError(f"{self.name}: {error}", usage) from error
        return Proposal(source, reply or source, usage, self.model)

    def _usage(self, request: Request, path: Path) -> Usage:
        """What the command says it used, or else the bound."""
        try:
            said = json.loads(path.read_text()) if path.is_file() and path.stat().st_size < 1 << 16 else None
        except (OSError, ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            return self.bound(request)
        tokens = [said.get(name, 0) for name in ("input_tokens", "cached_tokens", "output_tokens")]
        usd = said.get("usd")
        good = all(is_integer(number) for number in tokens) and (is_real(usd, 0.0) if usd is not None else any(tokens))
        if not good:
            return self.bound(request)
        return Usage(1, tokens[0], min(tokens[0], tokens[1]), tokens[2], None if usd is None else float(usd))


def _filled(word: str, places: dict[str, str]) -> str:
    for placeholder, path in places.items():
        word = word.replace(placeholder, path)
    return word
