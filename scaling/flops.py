"""Parameter and FLOP counts of a decoder-only transformer, under each convention by its name.

All counts are exact for the model in `sweeps/model.py`: no biases, one gain vector per RMSNorm, QK-norm gains of
head_dim, an MLP of two matrices, an untied head. FLOPs are per trained token, forward and backward, a multiply-add
counted as two and the backward as twice the forward (Kaplan 2020, arXiv:2001.08361, section 2.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def parameter_groups(*, width: Any, depth: Any, head_dim: int, mlp_ratio: float, vocab: int) -> dict[str, Any]:
    """Parameters by group: embedding, attention, mlp, norm, head. Of a width that is no int nothing is rounded."""
    hidden = round(mlp_ratio * width) if isinstance(width, int) else mlp_ratio * width
    return {
        "embedding": vocab * width,
        "attention": depth * 4 * width * width,
        "mlp": depth * 2 * width * hidden,
        "norm": depth * (2 * width + 2 * head_dim) + width,
        "head": width * vocab,
    }


def decoder_groups(
    *, width: float, depth: float, hidden: float, vocab: float, inner: float, kv: float, gated: bool = False
) -> dict[str, int]:
    """Parameters by group of other people's decoders, from their settings: matrices only, no biases, no gains.

    hidden  width of the MLP, of three matrices where it is `gated`, else two
    inner   width of all query heads together; kv of all key heads together, less where heads share keys
    A head that is tied to the embedding still multiplies activations, and is counted as a head of its own.
    """
    return {
        "embedding": int(vocab * width),
        "attention": int(depth * (2 * width * inner + 2 * width * kv)),
        "mlp": int(depth * (3 if gated else 2) * width * hidden),
        "norm": 0,
        "head": int(width * vocab),
    }


def parameter_counts(groups: Mapping[str, Any]) -> dict[str, Any]:
    """N under each convention.

    matmul      all but the token embedding, head included: the count that 6 N D needs at small sizes
                (Porian 2024, arXiv:2406.19146: leaving the head out is the largest part of Kaplan's discrepancy)
    kaplan      neither embedding nor head (Kaplan 2020, section 2.1, "non-embedding")
    chinchilla  all parameters (Hoffmann 2022, arXiv:2203.15556)
    """
    total = sum(groups.values())
    return {
        "matmul": total - groups["embedding"],
        "kaplan": total - groups["embedding"] - groups["head"],
        "chinchilla": total,
    }


def flops_per_token(groups: Mapping[str, Any], *, width: Any, depth: Any, context: int) -> dict[str, Any]:
    """Training FLOPs per token under each convention.

    6N                  six times the matmul parameters
    6N_kaplan           six times the parameters without embedding and head
    6N_chinchilla       six times all parameters
    6N_with_attention   6N plus the products of queries, keys and values: 12 depth context width, the mask not
                        discounted (PaLM, arXiv:2204.02311, appendix B)
    """
    n = parameter_counts(groups)
    return {
        "6N": 6.0 * n["matmul"],
        "6N_kaplan": 6.0 * n["kaplan"],
        "6N_chinchilla": 6.0 * n["chinchilla"],
        "6N_with_attention": 6.0 * n["matmul"] + 12.0 * depth * context * width,
    }
