"""The explorer: proposers write controllers as programs, replay judges them, and what is learned goes into the next."""
