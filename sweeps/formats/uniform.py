"""Integers: int1 to int8, 2^bits evenly spaced levels about 0, none at 0 (QuEST, arXiv:2502.05003, section 3)."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from scaling.errors import ScalingError
from sweeps.formats.format import Family, Grid

MOST = 8


def part(match: re.Match[str]) -> Grid:
    bits = int(match[1])
    if not 1 <= bits <= MOST:
        raise ScalingError(f"{match[0]} must have 1 to {MOST} bits, as in int4")
    half = 2 ** (bits - 1)

    def nearest(x: Any) -> Any:
        return (x - 0.5).round().clip(-half, half - 1) + 0.5

    return Grid(tuple((np.arange(-half, half) + 0.5).tolist()), nearest)


FAMILY = Family(
    about=f"intB: 2^B evenly spaced levels, B from 1 to {MOST}",
    pattern=re.compile(r"int(\d{1,3})"),
    part=part,
    names=tuple(f"int{bits}" for bits in range(1, MOST + 1)),
)
