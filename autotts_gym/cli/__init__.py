"""The autotts command."""
