"""Cross-entropy of a linear head over (R, tokens, vocab), whole or in chunks of tokens that never hold all logits.

The losses of R stacked models need R * tokens * vocab logits, and differentiating them as many again: from a vocabulary
of some thousands on that is the largest thing in memory. In chunks, logits are made for some tokens at a time, reduced
to their losses, and dropped; the backward makes each chunk's logits once more and turns them into gradients at once.
That is four products of matrices instead of three, for memory that no longer grows with tokens * vocab. Wijmans 2024
(arXiv:2411.09009) goes further: logits never leave the chip, and gradients that round to zero are skipped.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

#: Bytes of all logits up to which they are held whole: on a CPU measured (benchmarks/loss_memory.py), else a guess.
WHOLE_BYTES = {"cpu": 2**28, "cuda": 2**32}
#: Bytes of the logits of one chunk: smaller ones add to the gradient of the head too often. Measured and guessed alike.
CHUNK_BYTES = {"cpu": 2**24, "cuda": 2**28}
#: Most chunks: a compiled step is as long as there are chunks.
MOST_CHUNKS = 32


def linear_cross_entropy(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """Losses in nats (R, n) of the logits hidden @ head: hidden (R, n, w), head (R, w, vocab), targets (R, n).

    The products are in the number format of `head`; losses are in float64 for float64, else in float32.
    """
    replicas, tokens, _ = hidden.shape
    chunk = chunk_length(replicas, tokens, head.shape[-1], head.dtype, hidden.device.type)
    if chunk is None:
        return whole_cross_entropy(hidden, head, targets)
    return chunked_cross_entropy(hidden, head, targets, chunk)


def chunk_length(replicas: int, tokens: int, vocab: int, dtype: torch.dtype, device: str) -> int | None:
    """Tokens of one chunk, for each replica, on a kind of device; None where all logits are held whole."""
    kind = device if device in WHOLE_BYTES else "cuda"
    each = replicas * vocab * _precise(dtype).itemsize
    if tokens * each <= WHOLE_BYTES[kind]:
        return None
    return max(1, CHUNK_BYTES[kind] // each, -(-tokens // MOST_CHUNKS))


def whole_cross_entropy(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """`linear_cross_entropy` with all logits at once."""
    logits = torch.bmm(hidden.to(head.dtype), head).to(_precise(head.dtype))
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)


def chunked_cross_entropy(hidden: Tensor, head: Tensor, targets: Tensor, chunk: int) -> Tensor:
    """`linear_cross_entropy` with the logits of `chunk` tokens of every replica at a time."""
    return _Chunked.apply(hidden.to(head.dtype), head, targets, chunk)


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, chunk: int) -> Tensor:
        ctx.save_for_backward(hidden, head, targets)
        ctx.chunk = chunk
        losses = []
        for x, t in zip(hidden.split(chunk, 1), targets.split(chunk, 1), strict=True):
            logits = torch.bmm(x, head).to(_precise(head.dtype))
            losses.append(-logits.log_softmax(-1).gather(-1, t.unsqueeze(-1)).squeeze(-1))
        return torch.cat(losses, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        hidden, head, targets = ctx.saved_tensors
        precise, upstream = _precise(head.dtype), gradients[0].unsqueeze(-1)
        parts = []
        # in the precise format: a sum over chunks in bfloat16 would lose what each of them adds
        of_head = torch.zeros(head.shape, dtype=precise, device=head.device)
        minus_one = torch.full((), -1.0, dtype=precise, device=head.device)
        for x, t, g in zip(*(each.split(ctx.chunk, 1) for each in (hidden, targets, upstream)), strict=True):
            chances = torch.bmm(x, head).to(precise).softmax(-1)
            t = t.unsqueeze(-1)
            # of the loss by its logits; what comes from above scales the ends of the products, which are narrow
            slope = chances.scatter_add_(-1, t, minus_one.expand(t.shape)).to(head.dtype)
            parts.append((torch.bmm(slope, head.mT) * g).to(hidden.dtype))
            scaled = (x * g).to(head.dtype)
            if head.dtype == precise:
                of_head.baddbmm_(scaled.mT, slope)
            else:
                of_head += torch.bmm(scaled.mT, slope)
        return torch.cat(parts, 1), of_head.to(head.dtype), None, None


def _precise(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32
