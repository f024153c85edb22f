"""Alabdulmohsin, Neyshabur & Zhai 2022, Revisiting Neural Scaling Laws in Language and Vision (arXiv:2209.06640).

Four estimators of an error over one size. M1 is `kaplan_power`, M2 is `power` (beta = x0^alpha, c = -alpha); M3 and M4
stand here.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from scaling.law import Param, law

Beta = Annotated[float, Param(lo=0.0, linear=True, start=(1e-3, 1e6), unit="error x input^c")]
_UNITS = "x: examples, tokens or FLOP; error: error rate or loss"
_CITE = "Alabdulmohsin 2022, arXiv:2209.06640"


@law(
    cite=f"{_CITE}, M3, as in the authors' code",
    units=_UNITS,
    family="language models",
    ranked=False,
    unit="as measured",
    ranges={"x": (5e5, 5e8)},
    example={"beta": 500.0, "gamma": 2e-7, "c": 0.5},
    instead="power (M2), of which it keeps the floor in another form; m4 where the error starts at guessing",
    symbols={"x": "the column that x= names", "gamma": "1 / x at which the error bends to its floor, beta gamma^c"},
    notes="The authors' code has no further floor. The example is made up.",
)
def m3(
    x: Any,
    *,
    beta: Beta,
    gamma: Annotated[float, Param(lo=0.0, start=(1e-12, 1e-3), unit="1 / x")],
    c: Annotated[float, Param(lo=0.0, hi=3.0, start=(0.05, 1.2))],
) -> Any:
    """L(x) = beta (1 / x + gamma)^c"""
    return beta * (1 / x + gamma) ** c


def _solve(target: Any, span: Any, alpha: Any) -> Any:
    """w in (0, span) with w / (span - w)^alpha = target: ln w - alpha ln(span - w) rises from -inf to inf.

    Newton on the logit of w / span, in which the left side rises with a slope between min(1, alpha) and max(1, alpha);
    halved where it overshoots.
    """
    log_target = np.log(target)
    lo = np.full(np.broadcast_shapes(np.shape(target), np.shape(span), np.shape(alpha)), -700.0)
    hi = np.full_like(lo, 700.0)
    z = np.clip(log_target - (1 - alpha) * np.log(span), -600, 600) + 0 * lo
    for _ in range(100):
        log_share, log_rest = -np.logaddexp(0, -z), -np.logaddexp(0, z)
        off = log_share + np.log(span) - alpha * (log_rest + np.log(span)) - log_target
        lo, hi = np.where(off < 0, z, lo), np.where(off < 0, hi, z)
        share = np.exp(log_share)
        step = z - off / (1 - share + alpha * share)
        moved = np.where((step > lo) & (step < hi), step, (lo + hi) / 2)
        if np.all(np.abs(moved - z) <= 1e-15 * (1 + np.abs(z))):
            break
        z = moved
    return span * np.exp(-np.logaddexp(0, -z))


def _gradient(x: Any, *, beta: Any, c: Any, alpha: Any, e_inf: Any, e_0: Any) -> tuple[Any, ...]:
    # With w = e - e_inf and u = e_0 - e: ln w - alpha ln u = ln beta + c ln x, differentiated.
    log_x = np.log(x)
    e = m4.function(x, beta=beta, c=c, alpha=alpha, e_inf=e_inf, e_0=e_0)
    w, u = e - e_inf, e_0 - e
    slope = 1 / (1 / w + alpha / u)
    return slope / beta, slope * log_x, slope * np.log(u), slope / w, slope * alpha / u


@law(
    cite=f"{_CITE}, M4",
    # the authors' estimator on 10 sizes of their NMT runs with 6 + 6 layers
    published={
        "nmt": {
            "beta": 3783.279712563251,
            "c": -0.6385903746938245,
            "alpha": 0.13578299261447344,
            "e_inf": 0.32343876026814117,
            "e_0": 0.9999310299645718,
        }
    },
    gradient=_gradient,
    units=_UNITS,
    family="language models",
    ranked=False,
    unit="as measured",
    ranges={"x": (5e5, 5.12e8)},
    instead="power (alpha = 0) where no row is near guessing",
    symbols={"x": "the column that x= names", "e_inf": "error that no x removes", "e_0": "error of guessing",
             "alpha": "how slowly the error leaves guessing"},
    notes="Implicit in the error. Hold e_0 where guessing is known. The authors fit ln of both sides and keep the "
    "first guess of e_0 in the regressor, so a joint optimum differs from theirs.",
)  # fmt: skip
def m4(
    x: Any,
    *,
    beta: Annotated[float, Param(lo=0.0, start=(1e-2, 1e5), unit="error^(1 - alpha) / input^c")],
    c: Annotated[float, Param(lo=-3.0, hi=0.0, start=(-1.2, -0.05))],
    alpha: Annotated[float, Param(lo=0.0, hi=5.0, start=(0.02, 1.5))],
    e_inf: Annotated[float, Param(lo=0.0, start=(1e-3, 1.0), unit="error")],
    e_0: Annotated[float, Param(lo=0.0, start=(0.5, 5.0), unit="error")],
) -> Any:
    """L(x): (L - e_inf) / (e_0 - L)^alpha = beta x^c"""
    span = np.where(np.asarray(e_0) > e_inf, e_0 - np.asarray(e_inf), np.nan)
    return e_inf + _solve(beta * x**c, span, alpha)
