"""Zeros: topP sets the smallest P percent of a vector to 0, n:m all but the n largest of every m neighbours.

So top90 keeps the top tenth. Of a short vector a whole number stays, the nearest to the share.
"""

from __future__ import annotations

import math
import re
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scaling.errors import ScalingError
from sweeps.formats.format import Family, Zeros

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]
MOST = 16


def largest(size: Tensor, keep: int) -> Tensor:
    """Which of the magnitudes (..., n) are among the `keep` largest of their vector."""
    return size >= size.topk(keep, dim=-1).values[..., -1:]


def share(match: re.Match[str]) -> Zeros:
    """A share of every vector is set to 0, the smallest numbers."""
    zero = float(match[1]) / 100
    if not 0 < zero < 1:
        raise ScalingError(
            f"{match[0]} must set more than 0% and less than 100% to 0, as in top90, which keeps the largest tenth"
        )
    threshold = NormalDist().inv_cdf((1 + zero) / 2)

    def kept(n: int) -> int:
        return round((1 - zero) * n)

    def check(n: int) -> None:
        if not 0 < kept(n) < n:
            raise ScalingError(
                f"{match[0]} keeps {'none' if not kept(n) else 'all'} of the {n} weights of an output: take "
                f"{'a smaller' if not kept(n) else 'a larger'} share, or another width"
            )

    return Zeros(
        mask=lambda size: largest(size, kept(size.shape[-1])),
        chance=lambda size, cell: np.clip((size - threshold) / cell + 0.5, 0.0, 1.0),
        check=check,
    )


def neighbours(match: re.Match[str]) -> Zeros:
    """Of every `among` neighbours the `keep` largest stay, as accelerators multiply 2:4."""
    keep, among = int(match[1]), int(match[2])
    if not 1 <= keep < among <= MOST:
        raise ScalingError(f"{match[0]} must keep some of at most {MOST} neighbours and not all, as in 2:4")

    def mask(size: Tensor) -> Tensor:
        return largest(size.unflatten(-1, (-1, among)), keep).flatten(-2)

    def chance(size: Array, cell: float) -> Array:
        """Fewer than `keep` of the others are larger."""
        from scipy.special import erfc

        larger = erfc(size / math.sqrt(2))
        others = among - 1
        return sum(math.comb(others, i) * larger**i * (1 - larger) ** (others - i) for i in range(keep))

    def check(n: int) -> None:
        if n % among:
            raise ScalingError(
                f"{match[0]} needs vectors that {among} divides: an output has {n} weights; change width or mlp_ratio"
            )

    return Zeros(mask, chance, check)


def part(match: re.Match[str]) -> Zeros:
    return share(match) if match[1] else neighbours(re.fullmatch(r"(\d+):(\d+)", match[0]))  # type: ignore[arg-type]


FAMILY = Family(
    about=f"topP: the smallest P percent set to 0; n:m: all but the n largest of m neighbours, m up to {MOST}",
    pattern=re.compile(r"top(\d{1,3}(?:\.\d{1,4})?)|\d{1,3}:\d{1,3}"),
    part=part,
    names=("top50", "top75", "top90", "2:4", "4:8"),
)
