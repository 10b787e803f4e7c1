"""Evaluation: what a controller's episodes came to, frontiers with their intervals, tables and plots."""
