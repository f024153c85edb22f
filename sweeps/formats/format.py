"""What a format is: which numbers of a vector become 0, and which levels the others are rounded to.

A vector is what one product sums over: the weights of one output, or the activations of one token. It is stored with
one scale, its root mean square times the scale that is best for a normal variable (QuEST, Panferov 2025,
arXiv:2502.05003), so nothing has to be fitted or learnt. To add a format: a file beside this one that makes a Family,
and a line in `listed.py`. Nothing here imports torch; `nearest` and `mask` work on what they are given.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]
#: A normal variable is followed this far out, in this many cells: GMSE then are good to six digits. The best scale is
#: looked for with fewer, since at the best the error is flat in it.
FARTHEST, CELLS, FEWER = 9.0, 2**18, 2**14


@dataclass(frozen=True)
class Grid:
    """Levels to round to.

    levels   all of them, rising, in units that the best scale makes up for
    nearest  an array of numpy or of torch -> the nearest level of each of its numbers
    """

    levels: tuple[float, ...]
    nearest: Callable[[Any], Any]


@dataclass(frozen=True)
class Zeros:
    """Which numbers of a vector become 0.

    mask    magnitudes (..., n) -> which stay, of the same shape
    chance  magnitudes, width of a cell around each -> how likely a number of that size stays in a long normal vector
    check   length n of vectors -> None; raises ScalingError where such a vector cannot be stored
    """

    mask: Callable[[Tensor], Tensor]
    chance: Callable[[Array, float], Array]
    check: Callable[[int], None]


@dataclass(frozen=True)
class Format:
    """How vectors are stored: some numbers set to 0, the others rounded; either may be left out.

    scale  unit of the levels for a vector of root mean square 1: that of the least GMSE
    gmse   mean squared error on N(0, 1) (Panferov 2025, arXiv:2506.01863): what the capacity law reads
    """

    name: str
    zeros: Zeros | None
    grid: Grid | None
    scale: float
    gmse: float


@dataclass(frozen=True)
class Family:
    """Formats whose names one pattern matches.

    part   a match of the whole name -> what it stands for; raises ScalingError for a number that is out of range
    names  some of them, for messages and tables
    """

    about: str
    pattern: re.Pattern[str]
    part: Callable[[re.Match[str]], Grid | Zeros]
    names: tuple[str, ...]


def made(name: str, zeros: Zeros | None, grid: Grid | None) -> Format:
    """The format of these parts, its levels scaled to the least GMSE."""
    scale = 1.0 if grid is None else best_scale(zeros, grid)
    return Format(name, zeros, grid, scale, gmse(zeros, grid, scale))


def gmse(zeros: Zeros | None, grid: Grid | None, scale: float = 1.0, cells: int = CELLS) -> float:
    """Mean squared error of storing a normal variable with levels in units of `scale`: an integral over its density."""
    width = FARTHEST / cells
    size: Array = (np.arange(cells, dtype=np.float64) + 0.5) * width
    density = np.exp(-(size**2) / 2) / math.sqrt(2 * math.pi) * width
    stays = np.ones(cells) if zeros is None else zeros.chance(size, width)
    rounding = 0.0 if grid is None else sum((grid.nearest(x / scale) * scale - x) ** 2 for x in (size, -size)) / 2
    return float(np.sum(2 * density * (stays * rounding + (1 - stays) * size**2)))


def best_scale(zeros: Zeros | None, grid: Grid) -> float:
    """The unit of the levels with the least GMSE."""
    from scipy.optimize import minimize_scalar  # planning starts without it

    largest = max(abs(level) for level in grid.levels)
    found = minimize_scalar(
        lambda log: gmse(zeros, grid, math.exp(log), FEWER),
        bounds=(math.log(0.2 / largest), math.log(12 / largest)),
        method="bounded",
        options={"xatol": 1e-7},
    )
    return math.exp(float(found.x))


def stored(x: Tensor, how: Format) -> Tensor:
    """Vectors x (..., n) as they are stored, each with a scale of its own. Gradients pass straight through."""
    wide = x.detach()
    wide = wide if wide.element_size() >= 4 else wide.float()
    size = wide.square().mean(dim=-1, keepdim=True).sqrt()
    out = wide
    if how.grid is not None:
        unit = size.clamp(min=1e-30) * how.scale  # a vector of zeros stays one
        out = how.grid.nearest(wide / unit) * unit
    if how.zeros is not None:
        out = out * how.zeros.mask(wide.abs())
    return x + (out.to(x.dtype) - x).detach()
