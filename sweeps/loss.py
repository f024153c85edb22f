"""Cross-entropy of a linear head over (R, tokens, vocab), whole or in chunks of tokens that never hold all logits.

The losses of R stacked models need R * tokens * vocab logits, and differentiating them as many again: from a vocabulary
of some thousands on that is the largest thing in memory. In chunks, logits are made for some tokens at a time, reduced
to their losses, and dropped; the backward makes each chunk's logits once more and turns them into gradients at once.
That is four products of matrices instead of three, for memory that no longer grows with tokens * vocab. Wijmans 2024
(arXiv:2411.09009) goes further: logits never leave the chip, and gradients that round to zero are skipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

#: Bytes of all logits up to which they are held whole: on a CPU measured (benchmarks/loss_memory.py), else a guess.
WHOLE_BYTES = {"cpu": 2**28, "cuda": 2**32}
#: Least bytes of the logits of one chunk. On a CPU glibc keeps what is freed of smaller ones, three times as much as is
#: held, and on CUDA it is a guess.
CHUNK_BYTES = {"cpu": 2**25, "cuda": 2**28}
#: Most chunks: a compiled step is as long as there are chunks.
MOST_CHUNKS = 32


def linear_cross_entropy(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """Losses in nats (R, n) of the logits hidden @ head: hidden (R, n, w), head (R, w, vocab), targets (R, n).

    The products are in the number format of `head`; losses are in float64 for float64, else in float32.
    """
    (replicas, tokens), vocab, device = targets.shape, head.shape[-1], hidden.device.type
    if fits_whole(replicas, tokens, vocab, head.dtype, device):
        return whole_cross_entropy(hidden, head, targets)
    return chunked_cross_entropy(hidden, head, targets, chunk_length(hidden.shape, vocab, head.dtype, device))


def fits_whole(replicas: int, tokens: int, vocab: int, dtype: torch.dtype, device: str) -> bool:
    """Whether all logits of `tokens` tokens of each replica are held at once on a kind of device."""
    return replicas * tokens * vocab * _precise(dtype).itemsize <= WHOLE_BYTES[_kind(device)]


def chunk_length(hidden: Sequence[int], vocab: int, dtype: torch.dtype, device: str) -> int:
    """Tokens of each replica in one chunk, for hidden states of the shape (R, n, w) on a kind of device.

    At least w: the gradient of the head, which each chunk reads and adds to, is as large as the logits of w tokens.
    """
    replicas, tokens, width = hidden
    each = replicas * vocab * _precise(dtype).itemsize
    return min(tokens, max(-(-CHUNK_BYTES[_kind(device)] // each), -(-tokens // MOST_CHUNKS), width))


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


def _kind(device: str) -> str:
    return device if device in WHOLE_BYTES else "cuda"
