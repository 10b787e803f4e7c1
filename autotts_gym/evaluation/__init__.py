"""Evaluation: what a controller's episodes came to, frontiers with their intervals, tables and plots."""

from autotts_gym.evaluation.evaluate import evaluate, evaluate_all, play
from autotts_gym.evaluation.frontier import Frontier
from autotts_gym.evaluation.results import EvaluationResult

__all__ = ["EvaluationResult", "Frontier", "evaluate", "evaluate_all", "play"]
