"""A small transformer of the Llama architecture; the embeddings of tokens are also the output layer."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from agents.reasoner.problems import MODULUS, state
from agents.reasoner.vocabulary import END, TOKENS, encode

CONTEXT = 640
"""Longest sequence, in tokens."""

ROPE_BASE = 1_000.0
EPSILON = 1e-5


@dataclass(frozen=True)
class Shape:
    """Sizes of a model.

    Attributes:
        width: of the residual stream; a multiple of heads.
        layers: blocks.
        heads: of attention.
        hidden: width of the feed-forward layers.
    """

    width: int
    layers: int
    heads: int
    hidden: int

    def as_dict(self) -> dict[str, int]:
        """The sizes by name."""
        return asdict(self)


SHAPES = {"tiny": Shape(80, 3, 5, 192), "micro": Shape(48, 3, 3, 96)}
"""The sizes that ship, by name."""

Cache = list[tuple[Tensor, Tensor]]
"""Keys and values of each block, each (N, heads, T, head width) float32."""


class Block(nn.Module):
    """Attention and a feed-forward layer, each on the normalised residual stream."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.attention_norm = nn.Parameter(torch.ones(shape.width))
        self.qkv = nn.Linear(shape.width, 3 * shape.width, bias=False)
        self.out = nn.Linear(shape.width, shape.width, bias=False)
        self.feed_norm = nn.Parameter(torch.ones(shape.width))
        self.gate_up = nn.Linear(shape.width, 2 * shape.hidden, bias=False)
        self.down = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor, turn: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the residual stream (N, T, width) after the block, and all keys and values."""
        n, t, width = x.shape
        q, k, v = (
            self.qkv(functional.rms_norm(x, (width,), self.attention_norm, EPSILON))
            .view(n, t, 3, self.heads, width // self.heads)
            .permute(2, 0, 3, 1, 4)
        )
        q, k = turned(q, turn), turned(k, turn)
        if past is not None:
            k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=past is None)
        x = x + self.out(mixed.transpose(1, 2).reshape(n, t, width))
        gate, up = self.gate_up(functional.rms_norm(x, (width,), self.feed_norm, EPSILON)).chunk(2, -1)
        return x + self.down(functional.silu(gate) * up), k, v


def turned(x: Tensor, turn: Tensor) -> Tensor:
    """Rotate neighbouring pairs of the last axis, as llama.cpp does for this architecture.

    Args:
        x: (N, heads, T, head width) float32.
        turn: (T, head width / 2) complex64.
    """
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turn).flatten(-2)


class Reasoner(nn.Module):
    """The model.

    Args:
        shape: its sizes.
        seed: of its weights.
    """

    turns: Tensor

    def __init__(self, shape: Shape, seed: int = 0) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Parameter(torch.empty(len(TOKENS), shape.width))
        self.blocks: Iterable[Block] = nn.ModuleList(Block(shape) for _ in range(shape.layers))  # type: ignore[assignment]
        self.norm = nn.Parameter(torch.ones(shape.width))
        pairs = torch.arange(0, shape.width // shape.heads, 2) / (shape.width // shape.heads)
        angles = torch.arange(CONTEXT)[:, None] / ROPE_BASE**pairs
        self.register_buffer("turns", torch.polar(torch.ones_like(angles), angles), persistent=False)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, weight in self.named_parameters():
                if weight.ndim == 2:
                    scale = 0.02 if name == "embedding" else weight.shape[1] ** -0.5
                    if name.endswith(("out.weight", "down.weight")):
                        scale /= (2 * shape.layers) ** 0.5
                    weight.normal_(0, scale, generator=generator)
            tens, ones = torch.empty(2, 10, shape.width).normal_(0, 0.02, generator=generator)
            for number in range(MODULUS):  # a sum is then learned digit by digit, not pair by pair
                self.embedding[encode([str(number), state(number)])] += tens[number // 10] + ones[number % 10]

    def hidden(self, ids: Tensor, past: Cache | None = None) -> tuple[Tensor, Cache]:
        """Return the last residual stream (N, T, width), normalised, and the cache for what follows.

        Args:
            ids: (N, T) int64 tokens; T = 1 where there is a past.
            past: the cache of what came before.
        """
        begin = past[0][0].shape[2] if past else 0
        turn = self.turns[begin : begin + ids.shape[1]]
        x, cache = self.embedding[ids], []
        for i, block in enumerate(self.blocks):
            x, k, v = block(x, turn, past[i] if past else None)
            cache.append((k, v))
        return functional.rms_norm(x, (self.shape.width,), self.norm, EPSILON), cache

    def loss(self, ids: Tensor, weights: Tensor) -> Tensor:
        """Return the weighted mean of the cross-entropy, in nats.

        Args:
            ids: (N, T) int64 tokens.
            weights: (N, T) float32 of each token; 0: it is not learned.
        """
        hidden, _ = self.hidden(ids[:, :-1])
        weights, ids = weights[:, 1:], ids[:, 1:]
        learned = weights > 0
        losses = functional.cross_entropy(hidden[learned] @ self.embedding.T, ids[learned], reduction="none")
        return (losses * weights[learned]).sum() / weights.sum()

    @torch.no_grad()
    def generate(
        self, prompts: Tensor, limit: int, temperature: float, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return (N, limit) int64 tokens that follow; after the end of text, more of its token.

        Args:
            prompts: (N, T) int64 tokens, all of one length.
            limit: tokens to write.
            temperature: of sampling; 0: the most likely token.
            generator: of the draws.
        """
        hidden, cache = self.hidden(prompts)
        written: list[Tensor] = []
        for _ in range(limit):
            logits = hidden[:, -1] @ self.embedding.T
            if temperature:
                token = torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)
            else:
                token = logits.argmax(-1, keepdim=True)
            if written:
                token[written[-1] == END] = END
            written.append(token)
            if bool((token == END).all()):
                break
            hidden, cache = self.hidden(token, cache)
        tokens = torch.cat(written, 1)
        return functional.pad(tokens, (0, limit - tokens.shape[1]), value=END)
