"""Clark et al. 2022, Unified Scaling Laws for Routed Language Models (arXiv:2202.01169)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from scaling.law import Param, law

Power = Annotated[float, Param(lo=-3.0, hi=0.0, start=(-0.3, -0.02))]
Bend = Annotated[float, Param(lo=-0.5, hi=0.5, start=(-0.05, 0.05))]
Offset = Annotated[float, Param(start=(0.5, 2.0), unit="log10 of nats/token")]
Least = Annotated[float, Param(lo=0.5, start=(1.0, 10.0), unit="experts")]
Most = Annotated[float, Param(lo=16.0, start=(60.0, 2000.0), unit="experts")]


def saturating_experts(E: Any, E_start: Any, E_max: Any) -> Any:
    """Experts that count: E_start at E = 1, E_max at infinitely many."""
    return 1 / (1 / (E - 1 + 1 / (1 / E_start - 1 / E_max)) + 1 / E_max)


def _starts(inputs: Mapping[str, Any], loss: NDArray[np.float64]) -> list[dict[str, float]]:
    # the logarithm of the loss is linear in a, b, c, d once the saturation is known
    n, found = np.log10(inputs["N"]), []
    for least, most in product((1.2, 2.0, 4.0, 7.0), (60.0, 130.0, 300.0, 900.0)):
        e = np.log10(saturating_experts(inputs["E"], least, most))
        a, b, c, d = np.linalg.lstsq(np.stack([n, e, n * e, np.ones_like(n)], 1), np.log10(loss), rcond=None)[0]
        inside = {"a": min(a, -1e-3), "b": min(b, -1e-3), "c": float(np.clip(c, -0.4, 0.4)), "d": d}
        found.append({k: float(v) for k, v in inside.items()} | {"E_start": least, "E_max": most})
    return found


@law(
    cite="Clark 2022, arXiv:2202.01169",
    starts=_starts,
    example={"a": -0.085, "b": -0.13, "c": 0.011, "d": 1.14, "E_start": 2.5, "E_max": 300.0},
    family="experts",
    units="N: parameters of the dense model that is routed (active ones); E: experts, 1 for the dense model; loss: "
    "nats/token; logarithms to base 10",
    ranges={"N": (1.5e7, 1.3e9), "E": (1.0, 512.0)},
    symbols={
        "a": "power of size", "b": "power of experts", "c": "how the gain of experts fades with size",
        "E_start": "what one expert counts for", "E_max": "what infinitely many count for",
    },
    notes="One budget of tokens, 130e9 in the paper: not for others. Published coefficients rest on one secondary "
    "source and are not listed; the released runs (google-deepmind/scaling_laws_for_routing) determine E_start and "
    "E_max "
    "weakly, and the predictions well.",
    instead="ludziejewski where tokens vary too.",
)  # fmt: skip
def clark(N: Any, E: Any, *, a: Power, b: Power, c: Bend, d: Offset, E_start: Least, E_max: Most) -> Any:
    """log L(N, E) = a log N + b log E' + c log N log E' + d, 1/E' = 1/(E - 1 + 1/(1/E_start - 1/E_max)) + 1/E_max"""
    n, e = np.log10(N), np.log10(saturating_experts(E, E_start, E_max))
    return 10.0 ** (a * n + b * e + c * n * e + d)


def cutoff_size(*, b: Any, c: Any, **_: Any) -> Any:
    """N at which more experts stop to help: 10^(-b / c). Rounded b and c move it by factors."""
    return 10.0 ** (-b / c)


def dense_equivalent(N: Any, E: Any, *, a: Any, b: Any, c: Any, E_start: Any, E_max: Any, **_: Any) -> Any:
    """Size of the dense model of the same loss: L(N', 1) = L(N, E)."""
    n, e, one = np.log10(N), np.log10(saturating_experts(E, E_start, E_max)), np.log10(E_start)
    return 10.0 ** ((a * n + b * (e - one) + c * n * e) / (a + c * one))
