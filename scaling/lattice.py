"""Runs that could be trained: shapes that can be built by horizons, and what a choice of them costs.

With a warm-up, stable, decay schedule the runs of one shape share a trunk at the full learning rate, so that a longer
horizon costs what it adds to the trunk and its own cooldown (`sweeps` trains them so).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling import flops
from scaling.errors import ScalingError
from scaling.shapes import Shape, ShapeRule, nearest_shape

Array = NDArray[np.float64]
RATIOS = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0)
SHAPES = 12
REACH = 100.0  # from the largest size that the budget can train at all, at the least ratio, down to this much smaller


@dataclass(frozen=True, eq=False)
class Lattice:
    """Shapes by horizons. D (shapes, horizons), tokens; rate (shapes,), training FLOP a token, attention included.

    cooldown  share of a run that is its cooldown; 1 where nothing is shared
    """

    rule: ShapeRule
    shapes: tuple[Shape, ...]
    D: Array
    rate: Array
    cooldown: float

    @property
    def N(self) -> Array:
        """Parameters as the rule counts them, (shapes,)."""
        return np.array([shape.N for shape in self.shapes], dtype=float)

    @property
    def C(self) -> Array:
        """6 N D of every run, (shapes, horizons)."""
        return 6 * self.N[:, None] * self.D

    def alone(self) -> Array:
        """FLOP of every run trained alone, (shapes, horizons)."""
        return self.rate[:, None] * self.D

    def price(self, chosen: NDArray[np.bool_]) -> Array:
        """FLOP of the chosen horizons of each shape, (..., shapes, horizons) -> (..., shapes): one trunk to where the
        longest cools down, and every cooldown."""
        tokens = np.where(chosen, self.D, 0.0)
        return self.rate * ((1 - self.cooldown) * tokens.max(-1) + self.cooldown * tokens.sum(-1))


def build_lattice(
    rule: ShapeRule, flops_budget: float, *, ratios: Sequence[float] = RATIOS, sizes: tuple[float, float] | None = None,
    count: int = SHAPES, cooldown: float = 0.2, forked: bool = True,
) -> Lattice:  # fmt: skip
    """Shapes evenly in ln N, by default from the largest that the budget can train at the least ratio down to a
    hundredth of it, each at the same tokens a parameter."""
    low, high = min(ratios), max(ratios)
    if not (np.isfinite(flops_budget) and flops_budget > 0 and low > 0 and 0 < cooldown <= 1):
        raise ScalingError(
            f"a budget and tokens a parameter must be above 0, a cooldown a share up to 1; got {flops_budget:g}, "
            f"{low:g} to {high:g}, {cooldown:g}"
        )
    top = np.sqrt(flops_budget / (6 * low))
    lo, hi = sizes or (top / REACH, top)
    if not 0 < lo < hi:
        raise ScalingError(f"sizes go from a smaller to a larger, both above 0; got {lo:g} to {hi:g}")
    shapes = sorted({nearest_shape(n, rule) for n in np.geomspace(lo, hi, count)}, key=lambda s: s.N)
    if len(shapes) < 2:
        raise ScalingError(
            f"sizes from {lo:.3g} to {hi:.3g} are one shape of {rule}: give a larger budget, smaller heads or a "
            "smaller vocabulary"
        )
    n = np.array([shape.N for shape in shapes], dtype=float)
    rate = np.array(
        [
            flops.flops_per_token(rule.groups(s.width, s.depth), width=s.width, depth=s.depth, context=rule.context)[
                "6N_with_attention"
            ]
            for s in shapes
        ]
    )
    horizons = n[:, None] * np.sort(np.asarray(ratios, dtype=float))[None, :]
    return Lattice(rule, tuple(shapes), horizons, rate, cooldown if forked else 1.0)
