import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from agents.extractors import EXTRACTORS, SetExtractor
from autotts_gym.observation import branches, pool

M = 10


def observations() -> dict[str, torch.Tensor]:
    """Of episodes in their midst, with open, finished, pruned and closed slots."""
    envs = gym.make_vec("AutoTTS-Replay-v0", num_envs=5, max_branches=M)
    found, infos = envs.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(60):
        masks = infos["action_mask"].astype(float) * (np.arange(2 + 2 * M) > 0)
        actions = [rng.choice(len(mask), p=mask / mask.sum()) if mask.any() else 0 for mask in masks]
        found, _, _, _, infos = envs.step(np.array(actions))
    return {key: torch.as_tensor(value) for key, value in found.items()}


def extractor(name: str) -> tuple[SetExtractor, int]:
    """One for the store that ships, whose branch slots have signals besides; and the features of a slot."""
    space = gym.make("AutoTTS-Replay-v0", max_branches=M).observation_space
    of_branch = spaces.utils.flatdim(space["branches"]) // M  # type: ignore[index]
    assert of_branch == len(branches.FEATURES) + 4 * 4
    return EXTRACTORS[name](space, width=16, of_branch=of_branch), of_branch  # type: ignore[arg-type]


@pytest.mark.parametrize("name", EXTRACTORS)
def test_the_order_of_the_branches_and_the_number_of_closed_slots_do_not_matter(name: str) -> None:
    torch.manual_seed(0)
    extract, of_branch = extractor(name)
    extract.eval()
    batch = observations()
    features = extract(batch)
    assert features.shape == (5, extract.features_dim)
    slots = batch["branches"].reshape(5, M, of_branch)
    turned = slots[:, torch.randperm(M)]
    assert not torch.equal(turned, slots)
    padded = torch.cat([turned, torch.zeros(5, 6, of_branch)], dim=1)
    for changed in (turned, padded):
        again = extract({"pool": batch["pool"], "branches": changed.reshape(5, -1)})
        torch.testing.assert_close(features, again, rtol=1e-5, atol=1e-6)
    other = slots.clone()
    other[:, 0, 3] = 1 - other[:, 0, 3]
    assert not torch.allclose(features, extract({"pool": batch["pool"], "branches": other.reshape(5, -1)}))


@pytest.mark.parametrize("name", EXTRACTORS)
def test_a_pool_without_an_open_branch_has_finite_features_and_gradients(name: str) -> None:
    extract, of_branch = extractor(name)
    nothing = {"pool": torch.rand(2, len(pool.FEATURES)), "branches": torch.zeros(2, M * of_branch)}
    features = extract(nothing)
    features.sum().backward()
    assert torch.isfinite(features).all()
    assert all(torch.isfinite(p.grad).all() for p in extract.parameters() if p.grad is not None)
