"""A tiny model that writes worked solutions: its task, its training, and what its branches are compared with."""
