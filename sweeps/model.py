"""The transformer, R replicas of it side by side: every weight has a leading replica axis and every product is a bmm.

Decoder-only: RMSNorm before each half of a block, rotary positions (Su 2021, arXiv:2104.09864), RMSNorm of queries and
keys (Henry 2020, arXiv:2010.04245), an MLP with squared ReLU (So 2021, arXiv:2109.08668), no biases, an untied head.

All weights of a replica lie in one row of a flat tensor (R, P); a weight is a view of some of its columns. Clipping,
AdamW and snapshots then are a handful of operations on (R, P), whatever the depth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from sweeps import parametrization
from sweeps.compression import activation_stored, weight_stored
from sweeps.loss import linear_cross_entropy
from sweeps.runs import Run
from sweeps.weights import Weight

#: Added to the mean square in RMSNorm.
NORM_EPS = 1e-6
#: Longest wavelength of the rotary positions is 2 pi times this (arXiv:2104.09864, section 3.2.2).
ROPE_BASE = 10_000.0

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}


def master_dtype(run: Run) -> torch.dtype:
    """Number format of weights and moments: that of the run, but float32 for bfloat16 runs."""
    return torch.float64 if run.dtype == "float64" else torch.float32


def views(flat: Tensor, weights: Sequence[Weight], run: Run) -> dict[str, Tensor]:
    """The weights of all replicas, name -> (R, *shape): views of `flat` (R, P), matrices in the number format of `run`,
    those inside of blocks as the format of its weights stores them.

    They are split off in one operation, whose gradient is one concatenation: that of `flat` comes as one tensor.
    """
    parts = flat.split([weight.size for weight in weights], dim=1)
    out = {}
    for weight, part in zip(weights, parts, strict=True):
        view = part.view(-1, *weight.shape)
        view = weight_stored(view, run) if weight.in_block else view
        out[weight.name] = view.to(DTYPES[run.dtype]) if weight.is_matrix else view
    return out


def embed(weights: Mapping[str, Tensor], tokens: Tensor, run: Run) -> Tensor:
    """The residual stream before the first block, (R, B*T, width), for `tokens` (R, B, T)."""
    table = weights["embedding"]
    offsets = torch.arange(len(tokens), device=tokens.device).view(-1, 1, 1) * table.shape[1]
    return F.embedding((tokens + offsets).flatten(1), table.reshape(-1, run.width))


def block(
    weights: Mapping[str, Tensor],
    i: int | str,
    x: Tensor,
    batch: int,
    run: Run,
    causal: bool = True,
    depth: int | None = None,
) -> Tensor:
    """The residual stream after block `i` of so many: x is (R, B*T, width), with B = `batch`."""
    x = add_branch(x, attention(weights, i, x, batch, run, causal), run, depth)
    return add_branch(x, mlp(weights, i, x, run), run, depth)


def add_branch(x: Tensor, branch: Tensor, run: Run, depth: int | None = None) -> Tensor:
    """The stream with what a branch adds to it, scaled by the depth of the run, or of a stack of `depth` blocks."""
    return torch.add(x, branch, alpha=parametrization.branch_multiplier(run, depth))


def attention(
    weights: Mapping[str, Tensor], i: int | str, x: Tensor, batch: int, run: Run, causal: bool = True
) -> Tensor:
    """What attention of block `i` has to add to the stream x (R, B*T, width), B = `batch`, not yet scaled.

    causal  every token looks at itself and those before it; else at all
    """
    replicas, length = x.shape[0], x.shape[1] // batch
    cos, sin = rotation(length, run.head_dim, x.dtype, x.device)
    qkv = product(normed(x, weights[f"norm_attention.{i}"]), weights[f"attention_in.{i}"], run)
    qkv = qkv.view(replicas, batch, length, 3, -1, run.head_dim)
    gain = weights[f"norm_qk.{i}"].view(replicas, 1, 1, 2, 1, run.head_dim)
    qk = rotate(normed(qkv[:, :, :, :2], gain), cos, sin).to(qkv.dtype)
    q, k, v = (t.flatten(0, 1).transpose(1, 2) for t in (*qk.unbind(3), qkv[:, :, :, 2]))
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=causal)  # (R*B, heads, T, head_dim)
    return product(mixed.transpose(1, 2).reshape(x.shape), weights[f"attention_out.{i}"], run)


def mlp(weights: Mapping[str, Tensor], i: int | str, x: Tensor, run: Run) -> Tensor:
    """What the MLP of block `i` has to add to the stream x (R, n, width), not yet scaled."""
    h = F.relu(product(normed(x, weights[f"norm_mlp.{i}"]), weights[f"mlp_in.{i}"], run))
    return product(h * h, weights[f"mlp_out.{i}"], run)  # the backward of a product is faster than that of square()


def hidden(weights: Mapping[str, Tensor], tokens: Tensor, run: Run, causal: bool = True) -> Tensor:
    """What the head reads after each of `tokens` (R, B, T), integers: (R, B*T, width)."""
    x = embed(weights, tokens, run)
    for i in range(run.depth):
        x = block(weights, i, x, tokens.shape[1], run, causal)
    # the output multiplier scales the logits; on the gain it costs (R, width) instead of (R, B*T, vocab)
    return normed(x, weights["norm_head"] * parametrization.output_multiplier(run))


def forward(weights: Mapping[str, Tensor], tokens: Tensor, run: Run) -> Tensor:
    """Logits (R, B*T, vocab) of the next token after each of `tokens` (R, B, T), integers."""
    return bmm(hidden(weights, tokens, run), weights["head"])


def losses(weights: Mapping[str, Tensor], sequences: Tensor, run: Run) -> Tensor:
    """Cross-entropy in nats of every predicted token, (R, B, T), for `sequences` (R, B, T + 1)."""
    x = hidden(weights, sequences[:, :, :-1], run)
    nll = linear_cross_entropy(x, weights["head"], sequences[:, :, 1:].flatten(1))
    return nll.view(sequences.shape[0], sequences.shape[1], -1)


def product(x: Tensor, weight: Tensor, run: Run) -> Tensor:
    """x (R, n, in) by a matrix inside of blocks (R, in, out), in the number format of the weight; x is stored in the
    format of activations first."""
    return bmm(activation_stored(x, run), weight)


def bmm(x: Tensor, weight: Tensor) -> Tensor:
    """x (R, n, in) by weight (R, in, out), in the number format of the weight."""
    return torch.bmm(x.to(weight.dtype), weight)


def normed(x: Tensor, gain: Tensor) -> Tensor:
    """RMSNorm over the last axis with a gain per replica: (R, n) for x (R, m, n), or broadcastable to x."""
    if gain.dim() == 2:
        gain = gain.unsqueeze(1)
    return F.rms_norm(x.to(gain.dtype), x.shape[-1:], eps=NORM_EPS) * gain


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions: x (R, B, T, 2, heads, head_dim) turned by `rotation`; channel i pairs with i + head_dim / 2."""
    return x * cos + x.roll(x.shape[-1] // 2, -1) * sin


@torch.compiler.assume_constant_result  # traced, its sines in float64 would be worked out anew for every activation
def rotation(length: int, head_dim: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines of the rotary angles, each (T, 1, 1, head_dim): minus in the first half."""
    return _rotation(length, head_dim, dtype, device)


@lru_cache(maxsize=16)
def _rotation(length: int, head_dim: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    frequency = ROPE_BASE ** -(torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angle = torch.outer(torch.arange(length, dtype=torch.float64), frequency).view(length, 1, 1, -1)
    cos, sin = torch.cat([angle.cos()] * 2, dim=-1), torch.cat([-angle.sin(), angle.sin()], dim=-1)
    return cos.to(device, dtype), sin.to(device, dtype)
