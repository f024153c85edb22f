"""Prabhudesai et al. 2025, Diffusion Beats Autoregressive in Data-Constrained Settings (arXiv:2507.15857).

The law of Muennighoff 2023 (`muennighoff`), fitted to masked diffusion and to autoregressive models apart. The text
gives how many repeats are worth anything, table 1; the other coefficients are not known to us, so there is no full set.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from scaling.laws.muennighoff2023 import muennighoff_optimum

#: Table 1. The running text has 512.85 and 31.93 for R_D, and the abstract about 500 against Muennighoff's 15.
REPEATS: Mapping[str, Mapping[str, float]] = {
    "diffusion": {"R_D": 493.89, "R_N": 1265.65},
    "autoregressive": {"R_D": 31.19, "R_N": 55.16},
}
#: C_crit grows as this power of the unique tokens (primary text); its factor is not known to us.
CRITICAL_POWER = 2.174


def critical_compute(
    U: float,
    first: Mapping[str, float],
    second: Mapping[str, float],
    *,
    span: tuple[float, float] = (1e16, 1e26),
    points: int = 60,
) -> float:
    """Least compute in FLOP, within `span`, from which on `second` has the lower loss on U unique tokens.

    first, second  coefficients of `muennighoff`; each splits the compute at its own best

    NaN where they do not cross: one lies below at both ends. Losses of a diffusion model are a bound, and floors E
    differ by family, so the answer is as good as the comparison of the two losses.
    """

    def ahead(c: float) -> float:
        return muennighoff_optimum(c, U, **second)[2] - muennighoff_optimum(c, U, **first)[2]

    budgets = np.geomspace(*span, points)
    gaps = np.array([ahead(float(c)) for c in budgets])
    last = np.flatnonzero((gaps[:-1] > 0) & (gaps[1:] <= 0))
    if not len(last) or gaps[-1] > 0:
        return float("nan")
    lo, hi = np.log(budgets[last[-1]]), np.log(budgets[last[-1] + 1])
    for _ in range(40):
        middle = (lo + hi) / 2
        lo, hi = (middle, hi) if ahead(float(np.exp(middle))) > 0 else (lo, middle)
    return float(np.exp((lo + hi) / 2))
