"""Kumar et al. 2024, Scaling Laws for Precision (arXiv:2411.04330)."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from scaling.law import Exponent, Floor, Param, Scale, law

Bits = Annotated[float, Param(lo=0.0, start=(0.3, 5.0), unit="bits")]
Offset = Annotated[float, Param(lo=-10.0, hi=10.0, start=(-0.5, 2.5))]


def precision_share(bits: Any, gamma: Any, n: Any) -> Any:
    """Share of the parameters that count at a number of bits: 1 - exp(n - bits / gamma)."""
    return 1 - np.exp(n - bits / gamma)


@law(
    cite="Kumar 2024, arXiv:2411.04330, appendix K, table 2",
    published={
        "kumar2024": {
            "E": 2.7648, "A": 4299.0, "B": 18060.0, "alpha": 0.4965, "g_w": 2.6745, "n_w": 0.3037, "g_a": 2.2102,
            "n_a": 1.4072, "g_kv": 0.9578, "n_kv": 2.4185,
        }
    },
    family="compressed formats",
    units="N: parameters without embeddings; D: tokens; P_w, P_a, P_kv: bits of integer weights, activations and "
    "key-value "
    "cache in training; loss: nats/token",
    ranges={"N": (3e7, 2.2e8), "D": (1.5e9, 2.6e10), "P_w": (3.0, 16.0), "P_a": (4.0, 16.0), "P_kv": (3.0, 16.0)},
    symbols={
        "g_w": "bits by which the loss of weights falls by e", "g_a": "the same of activations",
        "g_kv": "the same of the cache", "n_w": "offset of weights", "n_a": "offset of activations",
        "n_kv": "offset of the cache",
    },
    notes="One exponent for N and D. That the offsets n stand as 1 - exp(n - P / g) is inferred: with that sign the "
    "best "
    "precision comes out at the paper's 7 to 8 bits. No loss below 3.1 bits of activations and 2.3 of the cache, where "
    "the count of parameters would be negative. The authors do not expect the coefficients to hold elsewhere.",
    instead="panferov or quest for formats other than integers of so many bits.",
)  # fmt: skip
def kumar(
    N: Any, D: Any, P_w: Any, P_a: Any, P_kv: Any, *, E: Floor, A: Scale, B: Scale, alpha: Exponent, g_w: Bits,
    n_w: Offset, g_a: Bits, n_a: Offset, g_kv: Bits, n_kv: Offset,
) -> Any:  # fmt: skip
    """L(N, D, P) = E + A / N'^alpha + B / D^alpha, N' = N (1 - exp(n_w - P_w / g_w)) (same of P_a) (same of P_kv)"""
    shares = [precision_share(p, g, n) for p, g, n in ((P_w, g_w, n_w), (P_a, g_a, n_a), (P_kv, g_kv, n_kv))]
    good = np.all([np.real(s) > 0 for s in np.broadcast_arrays(*shares)], axis=0)
    share = np.where(good, shares[0] * shares[1] * shares[2], np.nan)
    return E + A * (N * share) ** -alpha + B * D**-alpha


def best_precision(*, g_w: float, n_w: float, g_a: float, n_a: float, g_kv: float, n_kv: float, **_: float) -> float:
    """Bits of all three at which compute buys most parameters that count: least P / share(P)."""
    p = np.linspace(0.5, 16, 155001)
    shares = [precision_share(p, g, n) for g, n in ((g_w, n_w), (g_a, n_a), (g_kv, n_kv))]
    with np.errstate(divide="ignore", invalid="ignore"):
        cost = np.where(np.min(shares, axis=0) > 0, p / np.prod(shares, axis=0), np.inf)
    return float(p[np.argmin(cost)])


@law(
    cite="Kumar 2024, arXiv:2411.04330, appendix K, table 2",
    published={"kumar2024": {"C_T": 0.0598, "gamma_D": 0.5068, "gamma_N": 0.3439, "g_post": 0.5907, "b_post": 1.1277}},
    hold=("b_post",),
    predicts="dloss",
    family="compressed formats",
    units="N: parameters; D: tokens of training; P: bits that weights are rounded to afterwards; dloss: nats/token "
    "that "
    "rounding adds",
    ranges={"N": (3e7, 2.2e8), "D": (1.5e9, 2.6e10), "P": (3.0, 6.0)},
    symbols={"C_T": "size of the harm", "g_post": "bits by which it falls by e", "b_post": "offset of the bits"},
    notes="Grows with tokens: more training can make a model worse once it is rounded. b_post only scales C_T: hold "
    "it.",
    instead="kumar for models trained at the precision that they are used at.",
)
def kumar_rounded(
    N: Any, D: Any, P: Any, *, C_T: Scale, gamma_D: Exponent, gamma_N: Exponent, g_post: Bits, b_post: Offset
) -> Any:
    """dL(N, D, P) = C_T D^gamma_D / N^gamma_N exp(b_post - P / g_post)"""
    return C_T * D**gamma_D * N**-gamma_N * np.exp(b_post - P / g_post)
