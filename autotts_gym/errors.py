"""Errors that a user can cause and mend: one line each, naming what was expected and what came."""


class AutottsError(ValueError):
    """Base of every error raised for bad input; the command line prints it in one line and exits with 2."""


class StoreError(AutottsError):
    """A store or a file to import is wrong; the message names the file and the field."""


class ControllerError(AutottsError):
    """A controller's name, setting or answer is wrong."""


class ProgramError(ControllerError):
    """A controller program is wrong, or failed while it ran.

    Attributes:
        kind: "static" (its text), "schedule", "exception", "timeout", "memory", "answer" (one it has not seen),
            "protocol" (a message that is none), "nondeterminism", or "killed" (its process died).
        message: what was wrong, one line of at most 500 characters, whatever the program had in it.
        line: of the program, from 1; None: not known.
        path: of the program.
    """

    def __init__(self, path: str, kind: str, message: str, line: int | None = None) -> None:
        message = "".join(each if each.isprintable() else " " for each in message[:500])
        where = path if line is None else f"{path}:{line}"
        super().__init__(f"{where}: {kind}: {message}")
        self.path, self.kind, self.message, self.line = path, kind, message, line

    def __reduce__(self) -> tuple[type["ProgramError"], tuple[str, str, str, int | None]]:
        """Pickles as its parts, so that it travels from a worker process."""
        return ProgramError, (self.path, self.kind, self.message, self.line)
