"""Controllers on a served model: a store that is written just before it is read."""
