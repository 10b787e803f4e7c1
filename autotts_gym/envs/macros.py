"""Where macro actions are looked for by code that was written before they had a room of their own."""

from autotts_gym.actions.macros import MACROS, BuiltIn, Macro, MacroTable, choose_macros

__all__ = ["MACROS", "BuiltIn", "Macro", "MacroTable", "choose_macros"]
