"""Errors that a user can cause and mend: one line each, naming what was expected and what came."""


class AutottsError(ValueError):
    """Base of every error raised for bad input; the command line prints it in one line and exits with 2."""


class StoreError(AutottsError):
    """A store or a file to import is wrong; the message names the file and the field."""


class ControllerError(AutottsError):
    """A controller's name, setting or answer is wrong."""
