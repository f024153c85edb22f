"""McCandlish et al. 2018, An Empirical Model of Large-Batch Training (arXiv:1812.06162)."""

from __future__ import annotations

from typing import Annotated, Any

from scaling.law import Param, law


@law(
    cite="McCandlish 2018, arXiv:1812.06162, eq. 2.11",
    units="batch: examples or tokens an update; steps: updates to reach one loss",
    family="hyper-parameters",
    predicts="steps",
    unit="updates",
    ranges={"batch": (1e4, 1e7)},
    example={"S_min": 4e3, "E_min": 2e9},
    instead="kaplan_batch for the critical batch as a function of the loss; steplaw_batch for the batch of least loss",
    symbols={
        "batch": "examples or tokens an update", "steps": "updates to the target loss",
        "S_min": "updates at an unlimited batch", "E_min": "examples or tokens at a vanishing batch",
    },
    notes="One loss a fit; E_min / S_min is the critical batch. The coefficients depend on task and loss; the example "
    "is made up.",
)  # fmt: skip
def mccandlish(
    batch: Any,
    *,
    S_min: Annotated[float, Param(lo=0.0, linear=True, start=(1.0, 1e6), unit="updates")],
    E_min: Annotated[float, Param(lo=0.0, linear=True, start=(1e3, 1e12), unit="as batch x updates")],
) -> Any:
    """steps(batch) = S_min + E_min / batch, or (S / S_min - 1) (E / E_min - 1) = 1 with E = S batch"""
    return S_min + E_min / batch


def critical_batch(*, S_min: Any, E_min: Any) -> Any:
    """The batch that costs twice the least updates and twice the least examples."""
    return E_min / S_min


def best_rate(batch: Any, rate_max: Any, noise_scale: Any) -> Any:
    """Learning rate of the largest descent at a batch, for gradient descent: rate_max / (1 + noise_scale / batch)."""
    return rate_max / (1 + noise_scale / batch)


def noise_scale(small: float, large: float, norm2_small: Any, norm2_large: Any) -> Any:
    """The simple noise scale tr(Sigma) / |G|^2, in examples, from squared gradient norms at two batches (appendix A.1).

    E |g_B|^2 = |G|^2 + tr(Sigma) / B, so both parts follow without bias; average each over updates before dividing,
    as a ratio of noisy numbers is biased. Raises ValueError unless large > small > 0.
    """
    if not large > small > 0:
        raise ValueError(f"the batches must be positive and differ: small {small}, large {large}")
    signal = (large * norm2_large - small * norm2_small) / (large - small)
    noise = (norm2_small - norm2_large) / (1 / small - 1 / large)
    return noise / signal


def hyperbola(batch: Any, *, S_min: Any, E_min: Any) -> Any:
    """(S / S_min - 1) (E / E_min - 1) at a batch, E = S batch: 1 wherever the law holds (eq. 2.11)."""
    S = mccandlish(batch, S_min=S_min, E_min=E_min)
    return (S / S_min - 1) * (S * batch / E_min - 1)
