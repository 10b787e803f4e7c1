"""Feature extractors for ``observation="dict"`` that do not depend on the order of the branches.

Their output is one vector for the pool: made for macro actions. The primitive actions name slots, which an invariant
vector cannot distinguish.
"""

from collections.abc import Mapping

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from autotts_gym.observation.branches import FEATURES

STATUSES = 3  # the first features of a branch: active, finished, pruned; all 0 where the slot is closed


class SetExtractor(BaseFeaturesExtractor):
    """Embeds every branch alike, pools the open ones, and appends the features of the pool.

    Args:
        observation_space: of ``observation="dict"``.
        width: size of a branch's embedding.
        of_branch: features of a branch slot.
    """

    def __init__(self, observation_space: spaces.Dict, width: int = 64, of_branch: int = len(FEATURES)) -> None:
        pool = spaces.utils.flatdim(observation_space["pool"])
        super().__init__(observation_space, self.pooled(width) + pool)
        self.of_branch = of_branch
        self.embed = nn.Sequential(nn.Linear(of_branch, width), nn.ReLU(), nn.Linear(width, width))

    @staticmethod
    def pooled(width: int) -> int:
        """Size of the pooled embedding."""
        raise NotImplementedError

    def summarise(self, pool: Tensor, slots: Tensor, is_open: Tensor) -> Tensor:
        """Pool embeddings (B, M, width), of which (B, M) are open, to (B, ``pooled(width)``)."""
        raise NotImplementedError

    def forward(self, observations: Mapping[str, Tensor]) -> Tensor:
        """Features (B, ``features_dim``) of a batch of observations."""
        pool = observations["pool"]
        branches = observations["branches"].reshape(len(pool), -1, self.of_branch)
        is_open = branches[..., :STATUSES].sum(-1) > 0
        summary = self.summarise(pool, self.embed(branches), is_open)
        return torch.cat([pool, summary], dim=1)


class DeepSetsExtractor(SetExtractor):
    """Mean and maximum over the open branches (Zaheer et al. 2017, "Deep Sets")."""

    @staticmethod
    def pooled(width: int) -> int:
        """Mean and maximum side by side."""
        return 2 * width

    def summarise(self, pool: Tensor, slots: Tensor, is_open: Tensor) -> Tensor:
        """Mean and maximum; zeros where no branch is open."""
        slots = torch.relu(slots) * is_open[..., None]
        count = is_open.sum(1, keepdim=True).clamp(min=1)
        return torch.cat([slots.sum(1) / count, slots.amax(1)], dim=1)


class AttentionExtractor(SetExtractor):
    """The pool attends to the open branches (Lee et al. 2019, "Set Transformer": pooling by attention)."""

    def __init__(
        self, observation_space: spaces.Dict, width: int = 64, of_branch: int = len(FEATURES), heads: int = 4
    ) -> None:
        super().__init__(observation_space, width, of_branch)
        self.ask = nn.Linear(spaces.utils.flatdim(observation_space["pool"]), width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    @staticmethod
    def pooled(width: int) -> int:
        """What the pool's query brings."""
        return width

    def summarise(self, pool: Tensor, slots: Tensor, is_open: Tensor) -> Tensor:
        """Attention by the pool over itself and the open branches, so that there is always something to attend to."""
        query = self.ask(pool)[:, None]
        keys = torch.cat([query, slots], dim=1)
        closed = torch.cat([torch.zeros_like(is_open[:, :1]), ~is_open], dim=1)
        seen, _ = self.attention(query, keys, keys, key_padding_mask=closed, need_weights=False)
        summary: Tensor = seen[:, 0]
        return summary


EXTRACTORS: dict[str, type[SetExtractor]] = {"deep_sets": DeepSetsExtractor, "attention": AttentionExtractor}
