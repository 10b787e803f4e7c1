"""What users add: an object of theirs by reference, as in ``package.module:object`` or ``path/to/file.py:object``.

A file becomes a module whose name holds its path, so that what is defined in it can be pickled: other processes, such
as the workers of ``evaluate``, find the file by that name. ``load`` gives the object, ``make`` what a class makes; what
it has to be, its user says.
"""

from autotts_gym.extensions.references import is_reference, load, make

__all__ = ["is_reference", "load", "make"]
