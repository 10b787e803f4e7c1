"""Model servers: what they are asked, and how each of them wants it."""

from autotts_gym.models.base import GREEDY, Capabilities, Endpoint, Piece, Place, Prompt, Request, Sampling
from autotts_gym.models.completion import Completion, complete
from autotts_gym.models.connect import open_endpoint
from autotts_gym.models.failures import (
    ContextError,
    EndpointError,
    GaveUpError,
    ModelChangedError,
    Patience,
    RetryableError,
)

__all__ = [
    "GREEDY",
    "Capabilities",
    "Completion",
    "ContextError",
    "Endpoint",
    "EndpointError",
    "GaveUpError",
    "ModelChangedError",
    "Patience",
    "Piece",
    "Place",
    "Prompt",
    "Request",
    "RetryableError",
    "Sampling",
    "complete",
    "open_endpoint",
]
