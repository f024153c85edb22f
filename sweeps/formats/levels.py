"""Levels that are not evenly spaced, or have one at 0: ternary, and fp4 (E2M1: sign, two exponent bits, one mantissa
bit; magnitudes 0, 0.5, 1, 1.5, 2, 3, 4, 6)."""

from __future__ import annotations

import re
from typing import Any

from sweeps.formats.format import Family, Grid

E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def nearest_e2m1(x: Any) -> Any:
    """Levels are 0.5 apart up to 2, then 1, and 2 from 4 on."""
    x = x.clip(-E2M1[-1], E2M1[-1])
    apart = 0.5 + 0.5 * (abs(x) >= 2) + 1.0 * (abs(x) >= 4)
    return (x / apart).round() * apart


def nearest_ternary(x: Any) -> Any:
    return x.clip(-1, 1).round()


GRIDS = {
    "fp4": Grid((*(-m for m in reversed(E2M1[1:])), *E2M1), nearest_e2m1),
    "ternary": Grid((-1.0, 0.0, 1.0), nearest_ternary),
}
FAMILY = Family(
    about="ternary: -1, 0, 1; fp4: E2M1 floats, 15 levels",
    pattern=re.compile("|".join(GRIDS)),
    part=lambda match: GRIDS[match[0]],
    names=tuple(GRIDS),
)
