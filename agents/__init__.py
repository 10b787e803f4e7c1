"""What acts in the environment and learns; run from a checkout with ``python -m agents.…``."""
