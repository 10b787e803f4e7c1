"""Evaluation: what a controller's episodes came to, frontiers with their intervals, tables and plots."""

from autotts_gym.evaluation.frontier import Frontier
from autotts_gym.evaluation.results import EvaluationResult
from autotts_gym.evaluation.runner import evaluate, evaluate_all, play

__all__ = ["EvaluationResult", "Frontier", "evaluate", "evaluate_all", "play"]
