"""The learning rate of every update, rebuilt from the rows that a log has."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
SAME = 1e-6  # relative difference of two logged rates that is rounding
STEADY = 0.02  # relative difference of two slopes that is one slope


def every_update(at: Array, lr: Array, last: int) -> Array:
    """Rates (last + 1,) from rates `lr` logged at the updates `at`, both (n,), rising.

    Straight lines join the rows, with two exceptions after a stretch of equal rates: a change to another such stretch
    is a jump, at the row that first shows it; and a decay of constant slope, or of constant slope of the logarithm,
    begins where its line meets the old rate.
    """
    rates = np.interp(np.arange(last + 1), at, lr)
    if len(at) < 4:
        return rates
    level = np.abs(np.diff(lr)) <= SAME * lr.max()
    for i in np.flatnonzero(~level[1:-1] & level[:-2]) + 1:  # rows i and i + 1 differ, i - 1 and i do not
        before, after = int(at[i]), int(at[i + 1])
        if after - before < 2:
            continue
        begin = after if level[i + 1] else _begin(at[i:], lr[i:])
        if begin is not None:
            rates[before:begin] = lr[i]
            if begin < after:
                rest = np.arange(begin, after)
                rates[begin:after] = np.interp(rest, [begin, after], [lr[i], lr[i + 1]])
    return rates


def _begin(at: Array, lr: Array) -> int | None:
    """Where the decay through the rows after the first left the first row's rate; None if it has no one slope."""
    if len(at) < 4:
        return None
    for scale in (np.asarray, np.log):
        if lr[:4].min() <= 0 and scale is np.log:
            return None
        y = scale(lr[:4])
        slopes = np.diff(y[1:]) / np.diff(at[1:4])
        if slopes[0] != 0 and abs(slopes[1] / slopes[0] - 1) < STEADY:
            begin = round(float(at[1] - (y[1] - y[0]) / slopes[0]))
            return begin if at[0] <= begin <= at[1] else None
    return None
