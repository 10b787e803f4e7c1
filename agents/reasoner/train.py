"""Train the tiny reasoner and write it as GGUF: ``python -m agents.reasoner.train --out tiny.gguf``.

The same command gives the same file, bit for bit, on one machine with as many ``--threads``. The training stops after
``--steps``; it needs no data but what ``agents.reasoner.problems`` draws.
"""

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch

from agents.reasoner.data import batches
from agents.reasoner.export import gguf_bytes
from agents.reasoner.model import SHAPES, Reasoner
from agents.settings import NonNegativeInt, PositiveFloat, PositiveInt, Settings, one_of, read_command_line, setting
from autotts_gym.cli import ending
from autotts_gym.errors import AutottsError
from autotts_gym.files import write_atomically
from autotts_gym.progress import Progress

WARM_UP = 0.05
"""Share of the steps over which the learning rate rises."""


@dataclass(frozen=True)
class Options(Settings):
    """Options of the command; ``--help`` lists them."""

    out: str = setting("file to write, .gguf", "")
    size: Annotated[str, one_of(*SHAPES)] = setting("tiny or micro", "tiny")
    steps: PositiveInt = setting("gradient steps", 4000)
    batch_tokens: PositiveInt = setting("tokens of a batch, padding included", 2048)
    learning_rate: PositiveFloat = setting("highest learning rate", 3e-3)
    seed: NonNegativeInt = setting("seed of weights and data", 0)
    threads: PositiveInt = setting("threads of PyTorch", 1)
    progress: bool = setting("show how far it is: a bar on a terminal, elsewhere a line every 30 s", True)


def train(options: Options) -> tuple[Reasoner, float]:
    """Train a model; returns it and its mean loss, in nats a token, over the last tenth of the steps."""
    torch.set_num_threads(options.threads)
    model = Reasoner(SHAPES[options.size], options.seed)
    matrices = [weight for weight in model.parameters() if weight.ndim == 2]
    vectors = [weight for weight in model.parameters() if weight.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=options.learning_rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, options.steps))
    losses: list[float] = []
    with Progress("training", options.steps, options.progress) as progress:
        for (ids, weights), _ in zip(
            batches(options.seed, options.batch_tokens, options.steps), range(options.steps), strict=False
        ):
            loss = model.loss(ids, weights)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            recent = losses[-50:]
            progress.update(len(losses), f"loss {sum(recent) / len(recent):.3f}")
    last = losses[-max(1, options.steps // 10) :]
    return model, sum(last) / len(last)


def rate(step: int, steps: int) -> float:
    """The learning rate of a step, as a part of the highest: a straight rise, then half a cosine down to a fiftieth."""
    rise = max(1, round(WARM_UP * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.02 + 0.98 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise))) / 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; see ``autotts_gym.cli.ending.run``."""

    def work() -> int:
        options = Options(**read_command_line("agents.reasoner.train", __doc__, Options, {}, arguments))
        if Path(options.out).suffix != ".gguf":
            raise AutottsError(f"--out: expected a path that ends in .gguf, got {options.out!r}")
        began = time.monotonic()
        model, loss = train(options)
        data = gguf_bytes(model, options.size)
        write_atomically(options.out, data)
        numbers = sum(weight.numel() for weight in model.parameters())
        seconds = time.monotonic() - began
        print(f"{options.out}: {numbers} weights, {len(data)} bytes, loss {loss:.4f}, {seconds:.0f} s")
        return 0

    return ending.run(work)


if __name__ == "__main__":
    sys.exit(main())
