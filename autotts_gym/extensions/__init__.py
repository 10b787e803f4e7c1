"""Extensions of users: objects by reference, as in ``package.module:object`` or ``path/to/file.py:object``.

A file becomes a module whose name holds its path, so that what is defined in it can be pickled: other processes, such
as the workers of ``evaluate``, find the file by that name. ``load`` returns the object, and ``make`` an instance of
a class. The caller says which type is expected.
"""

from autotts_gym.extensions.references import is_reference, load, make

__all__ = ["is_reference", "load", "make"]
