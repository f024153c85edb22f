"""Few steps of a schedule from which sums over its past follow at every step, by cubic interpolation.

Such sums bend where the learning rate does, and are smooth elsewhere on the scale of the distance from the nearest
bend. So knots stand close at bends (the start, the end, jumps, where a decay begins) and ever farther apart away from
them, and no interpolation reaches over a bend.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Steps = NDArray[np.int64]

PER_OCTAVE = 12  # knots for each doubling of the distance from a bend
CLOSE = 16  # steps on either side of a bend that are all knots
SHARP = 5e-7  # least change of slope a step, relative to the peak, that is a bend and not rounding
WORTH = 1.5  # rows a knot below which all rows are summed exactly


@dataclass(frozen=True, eq=False)
class Between:
    """Rows from knots: row i is the sum of weight[i] * value[index[i]], both (rows, 4)."""

    index: NDArray[np.int64]
    weight: Array

    def __call__(self, values: NDArray) -> NDArray:
        """Values (..., knots) at all rows, (..., rows)."""
        found = values[..., self.index[:, 0]] * self.weight[:, 0]
        for j in range(1, 4):
            found += values[..., self.index[:, j]] * self.weight[:, j]
        return found

    def after(self, knots: int) -> Between:
        """The same behind `knots` others."""
        return Between(self.index + knots, self.weight)


def bends(lr: Array) -> Steps:
    """Steps at which the learning rate's slope changes at once, the first and the last step included."""
    change = np.diff(lr, n=2)
    padded = np.pad(change, 2)
    alone = np.abs(change - 0.5 * (padded[:-4] + padded[4:]))
    at = np.flatnonzero((alone > SHARP * lr.max()) & (alone > 0.5 * np.abs(change))) + 1
    return np.unique(np.concatenate([[0], at, [len(lr) - 1]]))


def knots(lr: Array) -> Steps:
    """The knots of a schedule (T,), in order."""
    far = int(np.ceil(PER_OCTAVE * np.log2(max(len(lr) / CLOSE, 2.0))))
    grown = np.round(CLOSE * 2.0 ** (np.arange(far + 1) / PER_OCTAVE)).astype(int)
    offsets = np.unique(np.concatenate([np.arange(CLOSE + 1), grown]))
    found = [np.empty(0, int)]
    edges = bends(lr)
    for start, end in pairwise(edges):
        half = offsets[offsets <= (end - start + 1) // 2]
        found += [start + half, end - half]
    return np.unique(np.concatenate([*found, edges]))


def between(lr: Array, at: Steps, rows: Steps) -> Between:
    """How values at the knots `at` give those at `rows`: cubic in the step, from four knots of the same stretch."""
    edges = np.searchsorted(at, bends(lr))
    last = np.searchsorted(edges, np.searchsorted(at, rows, side="right") - 1, side="right").clip(1, len(edges) - 1)
    low, high = edges[last - 1], edges[last]
    first = np.clip(np.searchsorted(at, rows, side="right") - 2, low, np.maximum(high - 3, low))
    index = first[:, None] + np.arange(4)
    inside = index <= high[:, None]
    index = np.minimum(index, len(at) - 1)
    x = np.where(inside, at[index], -1.0 - np.arange(4))
    weight = np.where(inside, 1.0, 0.0)
    for j in range(4):
        for other in range(4):
            if other != j:
                part = (rows - x[:, other]) / (x[:, j] - x[:, other])
                weight[:, j] *= np.where(inside[:, other], part, 1.0)
    return Between(index, weight)
