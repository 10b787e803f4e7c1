"""The old place of macro actions, for code that was written before ``autotts_gym.actions`` existed."""

from autotts_gym.actions.macros import MACROS, BuiltIn, Macro, MacroTable, choose_macros

__all__ = ["MACROS", "BuiltIn", "Macro", "MacroTable", "choose_macros"]
