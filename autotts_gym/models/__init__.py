"""Model servers: what they are asked, and how each of them wants it."""

from autotts_gym.models.base import (
    GREEDY,
    Capabilities,
    ContextError,
    Endpoint,
    EndpointError,
    GaveUpError,
    ModelChangedError,
    Piece,
    Place,
    Prompt,
    Request,
    RetryableError,
    Sampling,
)
from autotts_gym.models.completion import Completion, Patience, complete
from autotts_gym.models.connect import open_endpoint

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
