"""The search: starts from the data, then damped Newton on all starts at once, ended on the exact objective.

Descent has two phases. The first takes Gauss-Newton steps on the quadratic that majorises the robust cost, which comes
down from anywhere. Near the optimum of a Huber cost few rows are in the quadratic zone, and that phase crawls; so the
second takes the exact Hessian, curvature of the law included, and converges to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling.law import Param
from scaling.problem import LIMIT, Problem
from scaling.projection import nonnegative_least_squares

Array = NDArray[np.float64]
GRID = 256  # candidate values of the nonlinear parameters, each with its linear ones solved for
BATCH = 1_000_000  # numbers in one batch of derivatives: what stays in a processor's cache is fastest
AGREE = 1e-6  # two ends are the same optimum when their objectives differ by less, relatively


@dataclass(frozen=True)
class Ends:
    """Where B descents ended: coordinates (B, k), objective (B,), and whether the last Newton step was negligible."""

    u: Array
    cost: Array
    converged: NDArray[np.bool_]


def descend(
    problem: Problem,
    u: Array,
    *,
    weights: Array | None = None,
    shift: Array | None = None,
    exact: bool,
    iterations: int,
    tolerance: float,
) -> Ends:
    """Damped Newton from every row of u (B, k).

    weights, shift (B, n) make B problems of one: each has its own weights, and its own losses, whose residuals are less
    by `shift`. Stops a row when the decrease that its quadratic model predicts is below `tolerance` of its objective.
    """
    u = u.copy()
    everywhere = (len(u), len(problem.loss))
    weights = np.broadcast_to(problem.weights if weights is None else weights, everywhere)
    shift = np.broadcast_to(0.0 if shift is None else shift, everywhere)
    cost = problem.cost(problem.residuals(u) - shift, weights, u)
    damping = np.full(len(u), 1e-3)
    converged = np.zeros(len(u), bool)
    active = np.flatnonzero(np.isfinite(cost))
    for _ in range(iterations):
        if not len(active):
            break
        w, away = weights[active], shift[active]
        gradient, hessian, scale = _quadratic(problem, u[active], w, away, exact)
        values, vectors = np.linalg.eigh(hessian)
        curvature = np.maximum(np.abs(values), 1e-12)
        along = np.einsum("bij,bi->bj", vectors, gradient)
        promised = 0.5 * (along**2 / curvature).sum(1)
        step = -np.einsum("bij,bj->bi", vectors, along / (curvature + damping[active, None])) / scale
        step *= np.minimum(1, 3.0 / np.maximum(np.abs(step).max(1, keepdims=True), 1e-300))
        trial = np.clip(u[active] + step, -LIMIT, LIMIT)
        new = problem.cost(problem.residuals(trial) - away, w, trial)
        better = new < cost[active]
        gain, taken = active[better], trial[better]
        u[gain], cost[gain] = taken, new[better]
        damping[gain] = np.maximum(damping[gain] * 0.1, 1e-12)
        damping[active[~better]] *= 8
        floor = np.maximum(tolerance * np.abs(cost[active]), 1e-300)
        done = (promised < floor) | (damping[active] > 1e12)
        converged[active[done]] = True
        active = active[~done]
    return Ends(u, cost, converged)


def _quadratic(problem: Problem, u: Array, weights: Array, shift: Array, exact: bool) -> tuple[Array, Array, Array]:
    """Gradient (B, k), Hessian (B, k, k) in coordinates scaled by the Gauss-Newton diagonal, and that scale (B, k)."""
    r, jac = problem.jacobian(u)
    r = r - shift
    objective = problem.objective
    slope = weights * objective.slope(r)
    gradient = np.matmul(jac, slope[:, :, None])[..., 0]
    major = np.matmul(jac * (weights * objective.reweight(r))[:, None], jac.transpose(0, 2, 1))
    _, by_prior, bend = problem.penalty(u)
    held = bend[:, :, None] * np.eye(bend.shape[1])
    gradient, major = gradient + by_prior, major + held
    scale = np.sqrt(np.einsum("bii->bi", major)) + 1e-150
    hessian = major
    if exact:
        hessian = np.matmul(jac * (weights * objective.curvature(r))[:, None], jac.transpose(0, 2, 1))
        hessian = hessian + law_curvature(problem, u, slope) + held
    hessian = hessian / (scale[:, :, None] * scale[:, None, :])
    return np.nan_to_num(gradient / scale), np.nan_to_num(hessian), scale


def law_curvature(problem: Problem, u: Array, slope: Array) -> Array:
    """Sum over rows of slope_i times the Hessian of residual i, (B, k, k): differences of exact gradients."""
    step = 1e-5
    count, k = u.shape
    shifts = np.concatenate([np.eye(k), -np.eye(k)]) * step
    curvature = np.empty((count, k, k))
    size = max(1, BATCH // (2 * k * k * slope.shape[1]))
    for at in range(0, count, size):  # all shifts of a few problems in one call: small problems are all overhead
        part = slice(at, at + size)
        moved = (u[part, None] + shifts).reshape(-1, k)
        jac = problem.jacobian(moved)[1].reshape(-1, 2 * k, k, slope.shape[1])
        by_shift = np.einsum("bskn,bn->bsk", jac, slope[part], optimize=True)
        curvature[part] = (by_shift[:, :k] - by_shift[:, k:]) / (2 * step)
    return 0.5 * (curvature + curvature.transpose(0, 2, 1))


def minimise(problem: Problem, u: Array) -> Ends:
    """Both phases from every row of u. Descents that have come together go on as one, and end as one."""
    member = np.arange(len(u))
    for iterations in (6, 12, 42):
        near = descend(problem, u, exact=False, iterations=iterations, tolerance=1e-5)
        leader, group = _together(near)
        u, member = near.u[leader], group[member]
    ends = descend(problem, u, exact=True, iterations=12, tolerance=1e-14)
    ahead = np.flatnonzero(ends.cost <= 1.1 * ends.cost.min())  # who lags by more is left where it is
    last = descend(problem, ends.u[ahead], exact=True, iterations=100, tolerance=1e-14)
    ends.u[ahead], ends.cost[ahead], ends.converged[ahead] = last.u, last.cost, last.converged
    return Ends(ends.u[member], ends.cost[member], ends.converged[member])


def minimise_near(problem: Problem, u: Array, weights: Array | None = None, shift: Array | None = None) -> Ends:
    """Both phases for B problems that differ in weights or losses, each from its own near start (see `descend`)."""
    near = descend(problem, u, weights=weights, shift=shift, exact=False, iterations=6, tolerance=1e-6)
    return descend(problem, near.u, weights=weights, shift=shift, exact=True, iterations=60, tolerance=1e-13)


def _together(ends: Ends) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Leaders (the best of each group of descents that stand close) and, for every descent, its leader's place."""
    leaders: list[int] = []
    group = np.zeros(len(ends.cost), int)
    for i in np.argsort(ends.cost, kind="stable"):
        for place, leader in enumerate(leaders):
            near = np.abs(ends.u[i] - ends.u[leader]).max() < 0.03
            if near and ends.cost[i] <= 1.01 * ends.cost[leader]:
                group[i] = place
                break
        else:
            group[i] = len(leaders)
            leaders.append(int(i))
    return np.array(leaders, int), group


def _low_discrepancy(count: int, dimensions: int, seed: int) -> Array:
    """Points in the unit cube, (count, dimensions): a Kronecker sequence on the generalised golden ratio."""
    ratio = 2.0
    for _ in range(40):
        ratio = (1 + ratio) ** (1 / (dimensions + 1))
    steps = ratio ** -np.arange(1.0, dimensions + 1)
    shift = np.random.default_rng(seed).random(dimensions)
    return (shift + np.arange(1, count + 1)[:, None] * steps) % 1.0


def starts(problem: Problem, count: int, seed: int) -> Array:
    """Coordinates (count, k) of the most promising candidates that stand apart, from the data's own scales."""
    candidates = _declared(problem) if problem.law.starts is not None else _projected(problem, seed)
    candidates = candidates[np.isfinite(candidates).all(1)]
    cost = problem.cost(problem.residuals(candidates), u=candidates)
    order = np.argsort(cost, kind="stable")
    order = order[np.isfinite(cost[order])]
    if not len(order):
        return candidates[:0]
    spread = candidates[order].std(0) + 1e-9
    chosen: list[int] = []
    for reach in (0.5, 0.2, 0.0):  # distant ones first, closer ones if there is room left
        for i in order:
            if len(chosen) == count:
                break
            if i in chosen:
                continue
            distance = np.abs((candidates[i] - candidates[chosen]) / spread).max(1) if chosen else np.array([np.inf])
            if distance.min() >= reach:
                chosen.append(int(i))
    return candidates[chosen]


def _declared(problem: Problem) -> Array:
    assert problem.law.starts is not None
    named = dict(zip(problem.law.inputs, problem.inputs, strict=True))
    found = problem.law.starts(named, problem.loss)
    return problem.coordinates(np.array([[s[name] for name in problem.free] for s in found]).reshape(len(found), -1))


def _projected(problem: Problem, seed: int) -> Array:
    """Candidates on a grid of the nonlinear parameters, the linear ones by non-negative least squares."""
    linear = [n for n in problem.free if problem.law.param(n).linear and problem.law.param(n).lo == 0]
    linear = [n for n in linear if not any(s == n and not problem.law.param(t).linear for t, s in problem.tied.items())]
    shape = [n for n in problem.free if n not in linear]
    theta = np.ones((GRID if shape else 1, len(problem.free)))
    if shape:
        unit = _low_discrepancy(GRID, len(shape), seed)
        for j, name in enumerate(shape):
            lo, hi = _start_range(problem, problem.law.param(name))
            theta[:, problem.free.index(name)] = _between(lo, hi, unit[:, j], problem.law.param(name))
    if not linear:
        return problem.coordinates(theta)
    at = [problem.free.index(name) for name in linear]
    theta[:, at] = 0.0
    base = problem.predicted(theta)
    columns = []
    for i in at:
        theta[:, i] = 1.0
        columns.append(problem.predicted(theta) - base)
        theta[:, i] = 0.0
    relative = 1 / problem.loss
    stacked = np.stack(columns, 1) * relative
    usable = np.isfinite(stacked).all((1, 2)) & np.isfinite(base).all(1)
    solution, _ = nonnegative_least_squares(stacked[usable], 1 - base[usable] * relative)
    # a coefficient that came out 0 starts at a hundredth of the loss instead: its logarithm must be finite
    size = np.abs(stacked[usable]).max(2).T
    theta = theta[usable]
    theta[:, at] = np.where(solution > 0, solution, 0.01 / np.maximum(size, 1e-100)).T
    return problem.coordinates(theta)


def _start_range(problem: Problem, param: Param) -> tuple[float, float]:
    lo, hi = param.start
    if param.of in problem.law.inputs:
        centre = float(np.exp(np.mean(np.log(problem.inputs[problem.law.inputs.index(param.of)]))))
        return lo * centre, hi * centre
    return lo, hi


def _between(lo: float, hi: float, x: Array, param: Param) -> Array:
    """Values from lo to hi at fractions x: even in the logarithm of the distance to the nearer natural edge."""
    if lo > 0 and param.lo >= 0 and param.hi != 1.0:
        return lo * (hi / lo) ** x
    if param.hi == 1.0 and lo > 0.5:
        return 1 - (1 - lo) * ((1 - hi) / (1 - lo)) ** x
    return lo + (hi - lo) * x
