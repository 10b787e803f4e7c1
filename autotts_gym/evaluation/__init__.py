"""Evaluation: the outcomes of a controller's episodes and their causes, frontiers with intervals, tables and plots."""

from autotts_gym.evaluation.diagnosis import Diagnosis, diagnose
from autotts_gym.evaluation.frontier import Frontier
from autotts_gym.evaluation.results import EvaluationResult
from autotts_gym.evaluation.runner import evaluate, evaluate_all, play

__all__ = ["Diagnosis", "EvaluationResult", "Frontier", "diagnose", "evaluate", "evaluate_all", "play"]
