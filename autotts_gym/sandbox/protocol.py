"""The protocol of the sandbox: the kinds of messages, and the names that a program may use.

A message is a header of two little-endian words of 4 bytes (length of the rest, kind) and, for kind ``ROUND``, words of
8 bytes. Down, for every episode that still runs::

    episode, total tokens, answers seen, opened, active, finished, sure, new answers, and then so many
    latest answers, depths, active branches, finished branches in the order of their completion, new answers by branch

``sure`` is how many branches can surely be opened, those that are open included. Where all pools have as many branches
as there are slots it is the number of slots. Elsewhere it grows as the program asks, and the program must open what it
asked for.

Up, for every episode that was sent something, in the same order::

    episode, verb, answer, open, read, prunes, deepens, the branches to prune, those to deepen, the steps of each

The verb is GO_ON, STOP, or ASK: whether as many branches can be opened and read as it names. An episode that asks
gets a message before the round is played, and what it then requests opens and reads at least what it was promised.

The first message down and the other kinds up are JSON.
"""

LAYERS = ("rlimits", "no_new_privs", "seccomp", "landlock", "namespaces", "clock")
"""All layers that confine a process, by name; docs/sandbox.md says which protects against what."""

ROUND, FAILURE, SCHEDULE = 0, 1, 2

GO_ON, STOP, ASK = 0, 1, 2

MAX_STEPS = 127
"""Steps that a plan can hold for one branch."""

ALLOWED_MODULES = frozenset(
    (
        *("__future__", "abc", "argparse", "bisect", "cmath", "collections", "contextlib", "copy", "dataclasses"),
        *("decimal", "enum", "fractions", "functools", "heapq", "itertools", "json", "math", "numbers", "operator"),
        *("pprint", "random", "re", "statistics", "string", "textwrap", "types", "typing", "warnings"),
    )
)
"""What a program may import of the standard library."""

FORBIDDEN_BUILTINS = frozenset(
    (
        *("breakpoint", "compile", "copyright", "credits", "delattr", "eval", "exec", "exit", "globals", "help"),
        *("input", "license", "locals", "open", "quit", "setattr", "vars"),
    )
)
"""Built-in functions that a program does not have."""

SPECIAL_ATTRIBUTES = frozenset(
    (
        *("__init__", "__post_init__", "__name__", "__doc__", "__len__", "__getitem__", "__setitem__"),
        *("__contains__", "__iter__", "__next__", "__eq__", "__lt__", "__hash__", "__repr__", "__call__"),
    )
)
"""Attributes with two underscores that a program may name."""
