"""Evaluation: what a controller's episodes came to and why, frontiers with their intervals, tables and plots."""

from autotts_gym.evaluation.diagnosis import Diagnosis, diagnose
from autotts_gym.evaluation.frontier import Frontier
from autotts_gym.evaluation.results import EvaluationResult
from autotts_gym.evaluation.runner import evaluate, evaluate_all, play

__all__ = ["Diagnosis", "EvaluationResult", "Frontier", "diagnose", "evaluate", "evaluate_all", "play"]
