"""What isoFLOP runs say without a law: budgets found in C, a parabola in ln N for each, the envelope of all sizes.

Hoffmann 2022 (arXiv:2203.15556), section 3: approach 2 is the parabola, approach 1 the envelope.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
SIZES = 4  # distinct sizes that a parabola needs: one more than its coefficients
REACH = 8.0  # sizes further than this factor from the best run's are left out where enough are nearer: see docs
NEAR = 5  # how many are enough
LOST = 0.1  # share of resamples without a minimum from which on a budget's minimum is not told from noise
POINTS = 60  # budgets at which the envelope is read


@dataclass(frozen=True, eq=False)
class Budget:
    """Runs of one budget, their sizes and losses, and the parabola through the near ones: loss = p0 + p1 x + p2 x^2,
    x = ln N - centre.

    rows      places in the table; near which of them the parabola is fitted to
    refused   why the budget has no best size, in words; empty where it has one
    """

    C: float
    rows: NDArray[np.int64]
    near: NDArray[np.int64]
    centre: float
    coefficients: Array
    log_n: float
    loss: float
    refused: str


def find_budgets(C: Array, N: Array, tolerance: float) -> list[NDArray[np.int64]]:
    """Rows of each budget: the window of C, a factor (1 + tolerance) to either side, that holds the most distinct
    sizes, then the next of what is left, while one holds 3 sizes or more. Sorted by C; rows in none are left out, and
    so are windows nearer than a factor (1 + tolerance)^3 to one before: the frayed edge of a budget is not another.
    """
    log_c, size = np.log(C), np.round(np.log(N), 2)
    width = 2 * np.log1p(tolerance)
    left = np.argsort(log_c, kind="stable")
    found: list[NDArray[np.int64]] = []
    middles: list[float] = []
    while len(left):
        values = log_c[left]
        ends = np.searchsorted(values, values + width, side="right")
        counts = [len(np.unique(size[left[i:end]])) for i, end in enumerate(ends)]
        best = int(np.argmax(counts))
        if counts[best] < SIZES - 1:
            break
        rows = left[best : ends[best]]
        middle = float(np.median(log_c[rows]))
        if all(abs(middle - other) > 3 * np.log1p(tolerance) for other in middles):
            found.append(rows)
            middles.append(middle)
        left = np.concatenate([left[:best], left[ends[best] :]])
    return sorted(found, key=lambda rows: float(np.median(C[rows])))


def parabola_of(rows: NDArray[np.int64], C: Array, N: Array, loss: Array) -> Budget:
    """The parabola of one budget, or why it has no best size."""
    x, y = np.log(N[rows]), loss[rows]
    lowest = int(np.argmin(y))
    kept = np.abs(x - x[lowest]) <= np.log(REACH)
    near = rows[kept] if len(np.unique(np.round(x[kept], 2))) >= NEAR else rows
    x, y = np.log(N[near]), loss[near]
    centre, sizes = float(x.mean()), len(np.unique(np.round(x, 2)))
    nothing = np.full(3, np.nan)

    def refused(why: str, coefficients: Array = nothing) -> Budget:
        return Budget(float(np.median(C[rows])), rows, near, centre, coefficients, np.nan, np.nan, why)

    if sizes < SIZES:
        return refused(f"{sizes} sizes, and {SIZES} are needed")
    p = solve_parabola(x - centre, y[None])[0]
    at = x[int(np.argmin(y))]
    if at in (x.min(), x.max()):
        return refused(
            f"the lowest loss is at the {'smallest' if at == x.min() else 'largest'} size: none lies beyond", p
        )
    if not p[2] > 0:
        return refused("the losses do not bend upwards", p)
    best = -p[1] / (2 * p[2])
    if not x.min() < best + centre < x.max():
        return refused("the parabola's least value lies outside of the sizes", p)
    loss_there = float(p[0] - p[1] ** 2 / (4 * p[2]))
    return Budget(float(np.median(C[rows])), rows, near, centre, p, best + centre, loss_there, "")


def solve_parabola(x: Array, y: Array) -> Array:
    """Least-squares coefficients (B, 3) of parabolas through y (B, n) at x (n,)."""
    return np.asarray(y @ np.linalg.pinv(_powers(x)).T)


def _powers(x: Array) -> Array:
    return np.stack([np.ones_like(x), x, x**2], axis=1)


def residuals_of(budget: Budget, N: Array, loss: Array) -> Array:
    """ln loss about the parabola, raised by what three coefficients took of it; empty without runs to spare."""
    x = np.log(N[budget.near]) - budget.centre
    spare = len(x) - 3
    if spare < 1:
        return np.empty(0)
    fitted = _powers(x) @ budget.coefficients
    return np.asarray(np.log(loss[budget.near] / fitted) * np.sqrt(len(x) / spare))


def redrawn(budget: Budget, N: Array, noise: Array) -> Array:
    """ln of the best N under losses about the parabola with noise (B, runs) of ln loss; NaN where none lies inside."""
    x = np.log(N[budget.near]) - budget.centre
    fitted = _powers(x) @ budget.coefficients
    p = solve_parabola(x, fitted * np.exp(noise))
    with np.errstate(all="ignore"):
        best = -p[:, 1] / (2 * p[:, 2])
        inside = (p[:, 2] > 0) & (best > x.min()) & (best < x.max())
    return np.where(inside, best + budget.centre, np.nan)


@dataclass(frozen=True, eq=False)
class Curve:
    """One size with runs at several budgets: ln of its mean N, ln C of its horizons, the table's rows by C, and where
    each horizon's rows begin among them."""

    log_n: float
    log_c: Array
    rows: NDArray[np.int64]
    starts: NDArray[np.int64]


def curves_of(C: Array, N: Array) -> list[Curve]:
    """The sizes that have two horizons or more; sizes within 1% are one."""
    size, found = np.round(np.log(N), 2), []
    for s in np.unique(size):
        rows = np.flatnonzero(size == s)
        rows = rows[np.argsort(C[rows], kind="stable")]
        log_c, starts = np.unique(np.log(C[rows]), return_index=True)
        if len(log_c) >= 2:
            found.append(Curve(float(np.log(N[rows]).mean()), log_c, rows, starts))
    return found


def envelope_of(curves: list[Curve], loss: Array) -> tuple[Array, Array]:
    """ln C and ln N along the lower envelope of sizes' curves, each drawn straight in logarithms through its best runs.

    Read at 60 budgets; those at which the best size is the smallest or the largest of those that have a curve there are
    left out, as are those with fewer than three.
    """
    if len(curves) < 3:
        return np.empty(0), np.empty(0)
    log_loss, sizes = np.log(loss), np.array([curve.log_n for curve in curves])
    grid = np.linspace(min(c.log_c[0] for c in curves), max(c.log_c[-1] for c in curves), POINTS)
    values = np.stack(
        [
            np.interp(grid, c.log_c, np.minimum.reduceat(log_loss[c.rows], c.starts), left=np.inf, right=np.inf)
            for c in curves
        ]
    )
    there = np.isfinite(values)
    smallest = np.where(there, sizes[:, None], np.inf).min(0)
    largest = np.where(there, sizes[:, None], -np.inf).max(0)
    best = sizes[values.argmin(0)]
    keep = (there.sum(0) >= 3) & (best > smallest) & (best < largest)
    return grid[keep], best[keep]
