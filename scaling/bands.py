"""What intervals are made of: a normal quantile, and a spread that tails do not move."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from scaling.errors import ScalingError

Array = NDArray[np.float64]


def half_width(level: float) -> float:
    """Standard deviations to either side of the centre of a normal interval that covers with chance `level`."""
    if not 0 < level < 1:
        raise ScalingError(f"level is the chance that the interval covers, between 0 and 1; got {level}")
    return NormalDist().inv_cdf(0.5 + level / 2)


def spread(drawn: Array) -> Array:
    """Half the range from the 15.9th to the 84.1st percentile over draws (B, m): a standard deviation without tails."""
    with np.errstate(invalid="ignore"):
        lo, hi = np.nanquantile(drawn, [0.1587, 0.8413], axis=0)
    return 0.5 * (hi - lo)


def robust_sd(residuals: Array) -> float:
    """1.4826 times the median absolute residual: the standard deviation if the core is normal."""
    return float(1.4826 * np.median(np.abs(residuals)))
