"""The best mixture of training domains under a law, or any loss, of their shares.

Shares are not below 0 and sum to 1. The loss is minimised from several starts by sequential quadratic programming with
gradients by complex steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.errors import ScalingError
from scaling.law import COMPLEX_STEP, Law

Array = NDArray[np.float64]
LEAST = 1e-9  # share below which a domain counts as left out: laws may have no value at 0


@dataclass(frozen=True)
class Mixture:
    """Best shares by domain and the loss there; `agreed` of `started` descents ended at that loss (to 1e-6)."""

    shares: Mapping[str, float]
    loss: float
    started: int
    agreed: int


def mixture_loss(
    parts: Sequence[tuple[Law, Mapping[str, float], float]], **fixed: float
) -> tuple[tuple[str, ...], Callable[[Any], Any]]:
    """Domains, and the weighted loss as a function of their shares (k,), from laws of one set of domains.

    parts  (law, its coefficients, weight), one for each validation loss; fixed: values of the laws' other inputs
    """
    domains = parts[0][0].simplex if parts else ()
    if not domains:
        raise ScalingError("the laws of a mixture need domains: inputs that are shares, as of ye, regmix or shukor")
    for law, _, _ in parts:
        others = set(law.inputs) - set(law.simplex)
        if law.simplex != domains or others != set(fixed):
            needs, got = (", ".join(sorted(names)) or "nothing else" for names in (others, fixed))
            raise ScalingError(
                f"{law.name} reads the shares {', '.join(law.simplex)} and {needs}; expected the shares "
                f"{', '.join(domains)} and {got}"
            )

    def loss(shares: Any) -> Any:
        named = dict(zip(domains, shares, strict=True))
        return sum(
            weight * law.function(*(named.get(i, fixed.get(i)) for i in law.inputs), **params)
            for law, params, weight in parts
        )

    return domains, loss


def best_mixture(
    loss: Callable[[Any], Any],
    domains: Sequence[str],
    *,
    limits: Mapping[str, tuple[float, float]] | None = None,
    starts: int = 24,
    seed: int = 0,
) -> Mixture:
    """Shares of least loss, from `starts` starts: the even mixture, leanings to each domain, and random ones.

    loss    of shares (k,), analytic: it is called with complex shares
    limits  domain -> (least, greatest share); raises ScalingError where no mixture keeps them
    """
    from scipy.optimize import minimize

    k = len(domains)
    bounds = [(limits or {}).get(d, (0.0, 1.0)) for d in domains]
    lo, hi = (np.array(b, float) for b in zip(*bounds, strict=True))
    if set(limits or {}) - set(domains) or (lo < 0).any() or (lo > hi).any() or lo.sum() > 1 or hi.sum() < 1:
        raise ScalingError(f"no mixture of {', '.join(domains)} keeps the limits {dict(limits or {})}")
    lo = np.maximum(lo, LEAST)

    def with_slope(r: Array) -> tuple[float, Array]:
        value = float(np.real(loss(r)))
        return value, np.array([np.imag(loss(r + 1j * COMPLEX_STEP * e)) / COMPLEX_STEP for e in np.eye(k)])

    rng = np.random.default_rng(seed)
    leaning = 0.7 * np.eye(k) + 0.3 / k
    first = np.concatenate([np.full((1, k), 1 / k), leaning, rng.dirichlet(np.ones(k), max(starts, 1))])[
        : max(starts, 1)
    ]
    ends = []
    for start in first:
        found = minimize(
            with_slope,
            _into(start, lo, hi),
            jac=True,
            method="SLSQP",
            bounds=list(zip(lo, np.maximum(hi, lo), strict=True)),
            constraints={"type": "eq", "fun": lambda r: r.sum() - 1, "jac": lambda r: np.ones(k)},
            options={"ftol": 1e-13, "maxiter": 500},
        )
        if np.isfinite(found.fun) and abs(found.x.sum() - 1) < 1e-8:
            ends.append((float(found.fun), found.x))
    if not ends:
        raise ScalingError("the loss has no finite value at any start: check the coefficients")
    value, best = min(ends, key=lambda e: e[0])
    agreed = sum(abs(v - value) <= 1e-6 * abs(value) for v, _ in ends)
    shares = np.where(best <= 2 * LEAST, 0.0, best)
    return Mixture(dict(zip(domains, (shares / shares.sum()).tolist(), strict=True)), value, len(first), agreed)


def _into(start: Array, lo: Array, hi: Array) -> Array:
    """A start within the limits whose shares sum to 1."""
    r = np.clip(start, lo, hi)
    for _ in range(100):
        r = np.clip(r + (1 - r.sum()) / len(r), lo, hi)
    return r
