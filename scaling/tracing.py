"""How far a quantity can be moved before the objective rises by more than noise explains: the profile of a fit.

The rise of a sum of squares over its variance is a chi-squared; the rise of Huber's sum is not, nor is that of rows
that share noise. Both are, after division by one factor for the quantity at hand: the ratio of the variance that the
scores show to the curvature. For rows that are independent it is the scores' variance over their mean derivative
(Schrader & Hettmansperger 1980, Biometrika 67, 93-101); along a direction v it is v'Jv / v'Hv with H the bread and J
the meat of the sandwich, J by clusters (Kent 1982, Biometrika 69, 19-27; Chandler & Bate 2007, Biometrika 94,
167-183). The larger of the two is used. For squares and independent rows of one variance both are s^2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scaling.constrained import Quantity, constrained
from scaling.problem import LIMIT, Problem
from scaling.solution import off_bounds
from scaling.standing import Standing, standing

Array = NDArray[np.float64]
POINTS = 8  # on each side of the fit, before the ends are sought
ROUNDS = 7  # times that a side is doubled before it is called unbounded
UNKNOWN = 0.3  # half-width, of a logarithm, to begin with where the data give no standard error


@dataclass(frozen=True, eq=False)
class Trace:
    """at (m,) increasing values of the quantity, u (m, k) the coordinates there, cost (m,) the objective.

    root       signed root of the rise of the objective, in units of its noise: Student's t with `freedom` degrees
    critical   the root at the ends of the interval; lo, hi: those ends, infinite where the rise stays below
    scale      the factor by which the rise is divided
    better     whether a point was found whose objective is below the fit's
    """

    at: Array
    u: Array
    cost: Array
    root: Array
    critical: float
    lo: float
    hi: float
    scale: float
    freedom: int
    better: bool


def trace(
    problem: Problem,
    quantity: Quantity,
    u: Array,
    stand: Standing,
    level: float,
    groups: int,
    limits: tuple[float, float] = (-LIMIT, LIMIT),
) -> Trace:
    """The profile of a quantity about the fit's coordinates u (k,); `groups` counts independent rows or clusters."""
    n, k = len(problem.loss), len(u)
    freedom = max(min(n - k, groups - 1), 1)
    critical = _student(freedom, 0.5 + level / 2)
    slope = np.nan_to_num(quantity.gradient(u[None])[0])
    size = np.maximum(np.sqrt(np.diag(stand.bread)), 1e-150)
    inverse = np.linalg.pinv(stand.bread / np.outer(size, size), rcond=1e-10) / np.outer(size, size)
    v = inverse @ slope
    bread = float(slope @ v)
    scale, width = stand.scale, UNKNOWN
    if bread > 0:
        scale = max(scale, float(v @ stand.meat @ v) / bread)
    scale = max(scale, 1e-300)
    if bread > 0 and not stand.flat:
        width = min(np.sqrt(scale * bread), 3.0)
    path = v / bread if bread > 0 else slope / max(float(slope @ slope), 1e-300)
    centre = float(quantity.values(u[None])[0])
    base = float(problem.cost(problem.residuals(u[None]), u=u[None])[0])

    def solved(at: Array, starts: Array) -> tuple[Array, Array]:
        return constrained(problem, quantity, at, starts)

    step = critical * width * 1.3 * np.arange(1, POINTS + 1) / POINTS
    at = np.concatenate([centre - step[::-1], centre + step])
    at = at[(at > limits[0]) & (at < limits[1])]
    us, cost = solved(at, u + np.clip((at - centre)[:, None] * path, -3, 3))
    at, us, cost = _merged(at, us, cost, np.array([centre]), u[None], np.array([base]))
    limit = base + 0.5 * scale * critical**2
    for _ in range(ROUNDS):
        reach = []
        for side, end in ((-1, 0), (1, -1)):
            if cost[end] < limit:
                reach.append(centre + side * (abs(at[end] - centre) + 1e-12) * np.array([1.4, 2.0]))
        more = np.concatenate(reach) if reach else np.empty(0)
        more = more[(more > limits[0]) & (more < limits[1])]
        if not len(more):
            break
        found = solved(more, us[np.where(more < centre, 0, -1)])
        at, us, cost = _merged(at, us, cost, more, *found)
    for side in (-1, 1):  # every point again from its neighbour's solution: a valley is followed, not jumped into
        inner = np.clip(np.arange(len(at)) + side, 0, len(at) - 1)
        again, lower = solved(at, us[inner])
        gain = lower < cost
        us[gain], cost[gain] = again[gain], lower[gain]
    for _ in range(3):
        root = _root(at, cost, centre, base, scale)
        wanted = np.array([_crossing(at, root, side * critical) for side in (-1, 1)])
        fresh = wanted[np.isfinite(wanted) & ~np.isclose(wanted[:, None], at, rtol=0, atol=1e-9).any(1)]
        if not len(fresh):
            break
        nearest = np.abs(fresh[:, None] - at).argmin(1)
        at, us, cost = _merged(at, us, cost, fresh, *solved(fresh, us[nearest]))
    root = _root(at, cost, centre, base, scale)
    lo, hi = (_crossing(at, root, side * critical) for side in (-1, 1))
    better = bool(cost.min() < base * (1 - 1e-7) - 1e-15)
    return Trace(at, us, cost, root, critical, lo, hi, scale, freedom, better)


def trace_from_zero(
    problem: Problem,
    name: str,
    theta: Array,
    base: float,
    level: float,
    groups: int,
    clusters: NDArray[np.int64] | None,
) -> Trace:
    """The profile of a linear parameter whose best value is its bound 0, upwards to where it alone is the loss.

    theta (k,) are the free parameters of the fit, base its objective. `at` holds logarithms; lo is minus infinity.
    """
    without = replace(problem, fixed={**problem.fixed, name: 0.0})
    j = problem.free.index(name)
    stand = standing(without, without.coordinates(np.delete(theta, j)[None])[0], clusters)
    freedom = max(min(len(problem.loss) - len(theta), groups - 1), 1)
    critical = _student(freedom, 0.5 + level / 2)
    along = np.eye(len(theta))[j]
    quantity = Quantity(lambda u: u[:, j], lambda u: np.broadcast_to(along, u.shape), linear=True)
    start = off_bounds(problem, theta, 1.0)
    at = start[j] + np.log(np.concatenate([np.linspace(0.02, 0.98, 25), [0.99, 0.999]]))
    us, cost = constrained(problem, quantity, at, np.repeat(start[None], len(at), 0))
    for side in (-1, 1):
        again, lower = constrained(problem, quantity, at, us[np.clip(np.arange(len(at)) + side, 0, len(at) - 1)])
        gain = lower < cost
        us[gain], cost[gain] = again[gain], lower[gain]
    scale = max(stand.scale, 1e-300)
    root = _root(at, cost, -np.inf, base, scale)
    better = bool(cost.min() < base * (1 - 1e-7) - 1e-15)
    hi = _crossing(at, root, critical)
    return Trace(at, us, cost, root, critical, -np.inf, hi, scale, freedom, better)


def raised(problem: Problem, name: str, theta: Array, part: float = 0.5) -> Array:
    """The least objective, as coordinates (k,), with a linear parameter at a part of the value at which it alone would
    be some row's whole loss: where a search that may want it or not can start. theta (k,) are the free parameters."""
    j = problem.free.index(name)
    along = np.eye(len(theta))[j]
    start = off_bounds(problem, theta, part)
    quantity = Quantity(lambda u: u[:, j], lambda u: np.broadcast_to(along, u.shape), linear=True)
    return constrained(problem, quantity, start[j : j + 1], start[None])[0][0]


def _merged(at: Array, u: Array, cost: Array, more: Array, us: Array, costs: Array) -> tuple[Array, Array, Array]:
    at, u, cost = np.concatenate([at, more]), np.concatenate([u, us]), np.concatenate([cost, costs])
    order = np.argsort(at, kind="stable")
    return at[order], u[order], cost[order]


def _root(at: Array, cost: Array, centre: float, base: float, scale: float) -> Array:
    with np.errstate(invalid="ignore"):
        rise = np.sqrt(np.maximum(2 * (cost - base) / scale, 0))
    return np.sign(at - centre) * rise


def _crossing(at: Array, root: Array, wanted: float) -> float:
    """Where the root first passes `wanted`, going outward from the fit; infinite where it does not."""
    side = np.sign(wanted)
    order = np.argsort(side * at)
    at, high = at[order], side * root[order]
    passed = np.flatnonzero(high >= abs(wanted))
    if not len(passed):
        return float(side * np.inf)
    i = int(passed[0])
    if i == 0 or not np.isfinite(high[i]):
        return float(at[i])
    part = (abs(wanted) - high[i - 1]) / (high[i] - high[i - 1])
    return float(at[i - 1] + part * (at[i] - at[i - 1]))


def _student(freedom: float, share: float) -> float:
    """Quantile of Student's t."""
    from scipy.special import stdtrit  # costs a fifth of a second to import: only who traces pays

    return float(stdtrit(freedom, share))
