"""What `sweeps` trains, written again plainly: one model of torch's own modules, torch's AdamW, one loop, no stacks.

Tests of a regime hold its final losses to those of such a model, with seeds and batches of its own. Nothing here may
come from the packages: an error in them must not be repeated by what judges them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn


def second_order_text(size: int = 60_000, symbols: int = 32) -> NDArray[np.uint8]:
    """Letters of which each is the one two places before plus 1 to 3: bigrams are as even as ln(symbols), where who
    looks back two places can reach ln 3."""
    rng = np.random.default_rng(0)
    walks = np.cumsum(rng.integers(1, 4, (size // 2, 2)), axis=0)
    return (walks.reshape(-1) % symbols).astype(np.uint8)


def bigram_loss(train: NDArray, validation: NDArray, symbols: int = 256) -> float:
    """Nats per token of `validation` (n, T + 1), T predicted each, by counts of pairs in `train`, a tenth added."""
    pairs = np.bincount(train[:-1].astype(int) * symbols + train[1:], minlength=symbols**2).reshape(symbols, symbols)
    chances = (pairs + 0.1) / (pairs + 0.1).sum(axis=1, keepdims=True)
    return float(-np.log(chances[validation[:, :-1], validation[:, 1:]]).mean())


class Norm(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


def matrix(fan_in: int, fan_out: int) -> nn.Linear:
    linear = nn.Linear(fan_in, fan_out, bias=False)
    nn.init.normal_(linear.weight, std=fan_in**-0.5)
    return linear


def turned(x: Tensor) -> Tensor:
    """Rotary positions as complex numbers: x (B, heads, T, head_dim), channel i with channel i + head_dim / 2."""
    length, size = x.shape[-2:]
    angle = torch.arange(length)[:, None] * 10_000.0 ** -(torch.arange(0, size, 2) / size)
    both = torch.complex(*x.chunk(2, dim=-1)) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([both.real, both.imag], dim=-1)


class Attention(nn.Module):
    """Self-attention, or attention to `memory` where that is given; heads of `head_dim`, queries and keys normed."""

    def __init__(self, width: int, head_dim: int, rotary: bool = True) -> None:
        super().__init__()
        self.head_dim, self.rotary = head_dim, rotary
        self.query, self.key, self.value, self.out = (matrix(width, width) for _ in range(4))
        self.query_norm, self.key_norm = Norm(head_dim), Norm(head_dim)

    def forward(self, x: Tensor, causal: bool, memory: Tensor | None = None) -> Tensor:
        source = x if memory is None else memory

        def heads(y: Tensor) -> Tensor:
            return y.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)

        q, k = self.query_norm(heads(self.query(x))), self.key_norm(heads(self.key(source)))
        if self.rotary:
            q, k = turned(q), turned(k)
        scores = q @ k.transpose(-1, -2) / math.sqrt(self.head_dim)
        if causal:
            scores = scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), -math.inf)
        return self.out((scores.softmax(-1) @ heads(self.value(source))).transpose(1, 2).flatten(2))


class Feedforward(nn.Module):
    def __init__(self, width: int, ratio: float) -> None:
        super().__init__()
        hidden = round(ratio * width)
        self.rise, self.fall = matrix(width, hidden), matrix(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fall(F.relu(self.rise(x)) ** 2)


class Block(nn.Module):
    def __init__(self, width: int, head_dim: int, ratio: float) -> None:
        super().__init__()
        self.before, self.between = Norm(width), Norm(width)
        self.attention, self.feedforward = Attention(width, head_dim), Feedforward(width, ratio)

    def forward(self, x: Tensor, causal: bool) -> Tensor:
        x = x + self.attention(self.before(x), causal)
        return x + self.feedforward(self.between(x))


class Decoder(nn.Module):
    """Logits (B, T, vocab) for tokens (B, T). At the base width and depth of the runs it is compared with."""

    def __init__(
        self, *, width: int, depth: int, head_dim: int, mlp_ratio: float, vocab: int, symbols: int | None = None,
        causal: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.causal = causal
        self.embedding = nn.Embedding(symbols or vocab, width)
        nn.init.normal_(self.embedding.weight)
        self.blocks = nn.ModuleList(Block(width, head_dim, mlp_ratio) for _ in range(depth))
        self.last, self.head = Norm(width), matrix(width, vocab)
        nn.init.zeros_(self.head.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, self.causal)
        return self.head(self.last(x))


class EncoderDecoder(nn.Module):
    """Logits (B, T, vocab) for what a decoder has read (B, T) and an encoder reads (B, S); one embedding for both."""

    def __init__(
        self, *, width: int, depth: int, encoder_depth: int, head_dim: int, mlp_ratio: float, vocab: int
    ) -> None:  # fmt: skip
        super().__init__()
        self.embedding = nn.Embedding(vocab, width)
        nn.init.normal_(self.embedding.weight)
        self.encoder = nn.ModuleList(Block(width, head_dim, mlp_ratio) for _ in range(encoder_depth))
        self.decoder = nn.ModuleList(Block(width, head_dim, mlp_ratio) for _ in range(depth))
        self.crossing = nn.ModuleList(Attention(width, head_dim, rotary=False) for _ in range(depth))
        self.between = nn.ModuleList(Norm(width) for _ in range(depth))
        self.read, self.last, self.head = Norm(width), Norm(width), matrix(width, vocab)
        nn.init.zeros_(self.head.weight)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, x = self.embedding(source), self.embedding(target)
        for block in self.encoder:
            memory = block(memory, False)
        memory = self.read(memory)
        for block, norm, crossing in zip(self.decoder, self.between, self.crossing, strict=True):
            x = x + block.attention(block.before(x), True)
            x = x + crossing(norm(x), False, memory)
            x = x + block.feedforward(block.between(x))
        return self.head(self.last(x))


def optimizer(
    model: nn.Module, *, embedding_lr: float, head_lr: float, gain_lr: float, weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.95),
) -> torch.optim.AdamW:  # fmt: skip
    """AdamW at learning rate 1: embeddings (their names have "embedding"), heads ("head"), gains, and matrices, which
    alone decay."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        of_kind = {"embedding": embedding_lr, "head": head_lr, "gain": gain_lr}
        factor = next((f for kind, f in of_kind.items() if kind in name), 1.0)
        groups.setdefault(factor if factor != 1.0 else 0.0, []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": p, "factor": f or 1.0, "weight_decay": 0.0 if f else weight_decay}
            for f, p in groups.items()
        ],
        betas=betas,
    )  # fmt: skip


def train(
    model: nn.Module, how: torch.optim.Optimizer, rates: Sequence[float], loss_of: Callable[[int], Tensor]
) -> None:
    """One update a rate, each on the loss of `loss_of(step)`, gradients clipped to norm 1."""
    for step, rate in enumerate(rates):
        for group in how.param_groups:
            group["lr"] = rate * group["factor"]
        how.zero_grad()
        loss_of(step).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        how.step()


def windows(text: NDArray, context: int, batch: int, rng: np.random.Generator) -> Tensor:
    """Random sequences (batch, context + 1) of a text."""
    starts = rng.integers(0, len(text) - context, batch)
    return torch.from_numpy(text[starts[:, None] + np.arange(context + 1)].astype(np.int64))


def assert_alike(ours: Sequence[float], plain: Sequence[float]) -> None:
    """The two means lie within 2 standard deviations between seeds, those of either side pooled."""
    a, b = np.asarray(ours), np.asarray(plain)
    spread = math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    assert abs(a.mean() - b.mean()) < 2 * spread, f"{a.mean():.4f} against {b.mean():.4f}, {spread:.4f} between seeds"
