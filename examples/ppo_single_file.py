"""Proximal policy optimisation (Schulman et al. 2017) on ``gym.make_vec``, in one file, from top to bottom.

    python examples/ppo_single_file.py --total-steps 400000

One policy learns all of the frontier: every episode draws a cost weight and shows it to the policy. Actions that are
not admissible have no probability. Needs the extra ``agents`` (PyTorch).
"""

import argparse
import time
from dataclasses import dataclass, fields

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import nn

import autotts_gym  # noqa: F401 - registers the environments


@dataclass
class Args:
    """Arguments."""

    store: str = "tiny/search"  # name or path of the store to learn
    env: str = "AutoTTS-ReplayRounds-v0"  # one macro action a round
    seed: int = 0  # of everything random
    num_envs: int = 256  # environments side by side
    num_steps: int = 32  # steps of each between two updates
    total_steps: int = 400_000  # steps of all environments
    learning_rate: float = 1e-3  # of Adam, falling to 0
    gamma: float = 1.0  # discount; returns are what is reported, so none
    gae_lambda: float = 0.95  # of generalised advantage estimation
    epochs: int = 4  # passes over the data of an update
    minibatches: int = 8  # of a pass
    clip: float = 0.2  # of the ratio of probabilities
    entropy: float = 0.01  # weight of the entropy bonus
    value: float = 0.5  # weight of the value loss
    max_grad_norm: float = 0.5  # of a gradient step


class Agent(nn.Module):
    """A policy and a value, each a network of two layers."""

    def __init__(self, features: int, actions: int) -> None:
        super().__init__()
        self.policy = nn.Sequential(
            nn.Linear(features, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, actions)
        )
        self.value = nn.Sequential(nn.Linear(features, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))

    def act(self, observation: torch.Tensor, mask: torch.Tensor) -> torch.distributions.Categorical:
        """The distribution over the admissible actions."""
        return torch.distributions.Categorical(logits=self.policy(observation).masked_fill(~mask, -1e8))


def train(args: Args) -> list[float]:
    """Learn; returns the mean return of the episodes that ended, an entry an update."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)  # such small networks are slower with more
    envs = gym.make_vec(
        args.env,
        num_envs=args.num_envs,
        store=args.store,
        observation="evidence",
        cost_weight=(0.05, 1.0),
        shaping=True,
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    features, actions = envs.single_observation_space.shape[0], int(envs.single_action_space.n)
    agent = Agent(features, actions)
    optimizer = torch.optim.Adam(agent.parameters(), lr=args.learning_rate, eps=1e-5)
    shape = (args.num_steps, args.num_envs)
    observations = torch.zeros((*shape, features))
    masks = torch.zeros((*shape, actions), dtype=torch.bool)
    taken = torch.zeros(shape, dtype=torch.int64)
    logprobs, rewards, dones, values = (torch.zeros(shape) for _ in range(4))
    observation, info = envs.reset(seed=args.seed)
    returns, running, history = [], np.zeros(args.num_envs), []
    updates, start = args.total_steps // (args.num_steps * args.num_envs), time.perf_counter()
    for update in range(updates):
        optimizer.param_groups[0]["lr"] = args.learning_rate * (1 - update / updates)
        for step in range(args.num_steps):
            observations[step] = torch.from_numpy(observation)
            masks[step] = torch.from_numpy(info["action_mask"]).bool()
            with torch.no_grad():
                chosen = agent.act(observations[step], masks[step])
                taken[step] = chosen.sample()
                logprobs[step] = chosen.log_prob(taken[step])
                values[step] = agent.value(observations[step]).flatten()
            observation, reward, terminated, truncated, info = envs.step(taken[step].numpy())
            done = terminated | truncated
            rewards[step], dones[step] = torch.from_numpy(reward), torch.from_numpy(done)
            running += reward
            returns += running[done].tolist()
            running[done] = 0.0
        # Generalised advantage estimation (Schulman et al. 2016), backwards in time.
        advantages, last = torch.zeros(shape), torch.zeros(args.num_envs)
        with torch.no_grad():
            following = agent.value(torch.from_numpy(observation)).flatten()
        for step in reversed(range(args.num_steps)):
            going = 1.0 - dones[step]
            delta = rewards[step] + args.gamma * following * going - values[step]
            advantages[step] = last = delta + args.gamma * args.gae_lambda * going * last
            following = values[step]
        targets = advantages + values
        flat = [each.flatten(0, 1) for each in (observations, masks, taken, logprobs, advantages, targets)]
        for _ in range(args.epochs):
            for rows in torch.randperm(args.num_steps * args.num_envs).chunk(args.minibatches):
                seen, mask, action, before, advantage, target = (each[rows] for each in flat)
                policy = agent.act(seen, mask)
                ratio = (policy.log_prob(action) - before).exp()
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                clipped = ratio.clamp(1 - args.clip, 1 + args.clip)
                loss = -torch.min(ratio * advantage, clipped * advantage).mean()
                loss = loss - args.entropy * policy.entropy().mean()
                loss = loss + args.value * (agent.value(seen).flatten() - target).square().mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), args.max_grad_norm)
                optimizer.step()
        history.append(float(np.mean(returns)) if returns else float("nan"))
        rate = (update + 1) * args.num_steps * args.num_envs / (time.perf_counter() - start)
        print(f"update {update + 1}/{updates}: mean return {history[-1]:.3f}, {rate / 1e3:.0f} k steps/s", flush=True)
        returns.clear()
    envs.close()
    return history


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in fields(Args):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=field.type, default=field.default)
    train(Args(**vars(parser.parse_args())))
