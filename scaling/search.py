"""The search: starts from the data, then damped Newton on all starts at once, ended on the exact objective.

Descent has two phases. The first takes Gauss-Newton steps on the quadratic that majorises the robust cost, which comes
down from anywhere. Near the optimum of a Huber cost few rows are in the quadratic zone, and that phase crawls; so the
second takes the exact Hessian, curvature of the law included, and converges to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.law import Param
from scaling.problem import LIMIT, Problem
from scaling.projection import nonnegative_least_squares

Array = NDArray[np.float64]
GRID = 256  # candidate values of the nonlinear parameters, each with its linear ones solved for
BATCH = 60_000  # numbers in one batch of derivatives: what stays in a processor's cache is fastest
CURVE_BATCH = 400_000  # the same for sums over the past of curves
MANY = 4000  # rows: of more, a part is searched, and all are used from its optima on
FEW = 40  # rows a curve: the same for curves, where sums over the past hold more than WHOLE numbers
WHOLE = 20_000
STRAIGHT = 3  # starts that descend on the objective itself from the first step on
AGREE = 1e-6  # two ends are the same optimum when their objectives differ by less, relatively


@dataclass(frozen=True)
class Ends:
    """Where B descents ended: coordinates (B, k), objective (B,), whether the last Newton step was negligible, and
    the damping that was reached."""

    u: Array
    cost: Array
    converged: NDArray[np.bool_]
    damping: Array

    def of(self, which: NDArray[np.int64]) -> Ends:
        return Ends(self.u[which], self.cost[which], self.converged[which], self.damping[which])


def descend(
    problem: Problem,
    u: Array,
    *,
    weights: Array | None = None,
    shift: Array | None = None,
    exact: bool,
    iterations: int,
    tolerance: float,
    damping: Array | None = None,
    project: bool = False,
) -> Ends:
    """Damped Newton from every row of u (B, k).

    weights, shift (B, n) make B problems of one: each has its own weights, and its own losses, whose residuals are less
    by `shift`. Stops a row when the decrease that its quadratic model predicts is below `tolerance` of its objective.
    `damping` (B,) is that with which an earlier descent ended. `project` solves for the linear parameters after each
    step: the exponents then need not follow the curved valley that they form with their amplitudes.
    """
    u = u.copy()
    damping = np.full(len(u), 1e-3) if damping is None else damping.copy()
    converged = np.zeros(len(u), bool)
    cost, gradient, hessian = _quadratic(problem, u, weights, shift, exact)
    active = np.flatnonzero(np.isfinite(cost))
    values, vectors, along, scale = _axes(gradient, hessian)
    for _ in range(iterations):
        if not len(active):
            break
        size = np.maximum(np.abs(values[active]), 1e-12)
        promised = 0.5 * (along[active] ** 2 / size).sum(1)
        step = -np.matmul(vectors[active], (along[active] / (size + damping[active, None]))[..., None])[..., 0]
        step /= scale[active]
        step *= np.minimum(1, 3.0 / np.maximum(np.abs(step).max(1, keepdims=True), 1e-300))
        trial = np.clip(u[active] + step, -LIMIT, LIMIT)
        if project:
            trial = _projected_on(problem, trial)
        own = None if weights is None else weights[active]
        new, gradient, hessian = _quadratic(problem, trial, own, None if shift is None else shift[active], exact)
        better = new < cost[active]
        gain = active[better]
        u[gain], cost[gain] = trial[better], new[better]
        values[gain], vectors[gain], along[gain], scale[gain] = _axes(gradient[better], hessian[better])
        damping[gain] = np.maximum(damping[gain] * 0.1, 1e-12)
        damping[active[~better]] *= 8
        floor = np.maximum(tolerance * np.abs(cost[active]), 1e-300)
        done = (promised < floor) | (damping[active] > 1e12)
        converged[active[done]] = True
        active = active[~done]
    return Ends(u, cost, converged, damping)


def _projected_on(problem: Problem, u: Array) -> Array:
    """u (B, k) with one reweighted least-squares step of the parameters that are linear in the loss."""
    linear = _linear(problem)
    if not linear:
        return u
    at = [problem.free.index(name) for name in linear]
    theta = problem.natural(u)
    with np.errstate(all="ignore"):
        value, columns = problem.slopes(theta, linear)
        r = problem.residuals_of(value)
        rows = np.stack(columns, 1) * theta[:, at, None]
        if problem.objective.space == "log":
            rows /= value[:, None]
        weighted = rows * (problem.weights * problem.objective.reweight(r))[:, None]
        square = np.matmul(weighted, rows.swapaxes(1, 2))
        moment = np.matmul(weighted, r[:, :, None])
    size = np.einsum("bii->bi", square)
    square = _numbers(square) + (1e-10 * _numbers(size) + 1e-200)[:, :, None] * np.eye(len(at))
    factor = 1 - np.linalg.solve(square, _numbers(moment))[..., 0]
    moved = u.copy()
    moved[:, at] += np.log(np.clip(factor, 0.1, 10.0))
    return np.clip(moved, -LIMIT, LIMIT)


def _linear(problem: Problem) -> list[str]:
    """Free parameters that are linear in the loss, not below 0, and tied to no other that is not linear."""
    linear = [n for n in problem.free if problem.law.param(n).linear and problem.law.param(n).lo == 0]
    return [n for n in linear if not any(s == n and not problem.law.param(t).linear for t, s in problem.tied.items())]


def _axes(gradient: Array, hessian: Array) -> tuple[Array, Array, Array, Array]:
    """Eigenvalues (B, k) and -vectors (B, k, k) of the Hessian in coordinates scaled by its diagonal, the gradient
    along them, and that scale (B, k)."""
    diagonal = np.abs(np.einsum("bii->bi", hessian))
    scale = np.sqrt(np.maximum(diagonal, 1e-12 * diagonal.max(1, keepdims=True, initial=0.0))) + 1e-150
    values, vectors = np.linalg.eigh(_numbers(hessian / (scale[:, :, None] * scale[:, None, :])))
    return values, vectors, np.matmul(_numbers(gradient / scale)[:, None], vectors)[:, 0], scale


def _numbers(values: Array) -> Array:
    """The values with 0 for what is none, and finite bounds for what is infinite."""
    return values if np.isfinite(values).all() else np.nan_to_num(values)


def _quadratic(
    problem: Problem, u: Array, weights: Array | None, shift: Array | None, exact: bool
) -> tuple[Array, Array, Array]:
    """Objective (B,), gradient (B, k) and Hessian (B, k, k), or that of the majorising quadratic, at each row of u."""
    count, k = u.shape
    cost, gradient, hessian = np.empty(count), np.empty((count, k)), np.empty((count, k, k))
    if problem.law.kind == "points" and len(problem.loss) > MANY and weights is None and shift is None:
        sums = [_summed(block, u, block.weights, 0.0, exact) for block in problem.blocks(BATCH // k)]
        cost, gradient, hessian = (np.sum(parts, 0) for parts in zip(*sums, strict=True))
    else:
        size = _batch(problem, k)
        for at in range(0, count, size):
            part = slice(at, at + size)
            own = problem.weights if weights is None else weights[part]
            away = 0.0 if shift is None else shift[part]
            cost[part], gradient[part], hessian[part] = _summed(problem, u[part], own, away, exact)
    if problem.priors:
        value, by_prior, bend = problem.penalty(u)
        cost, gradient = cost + value, gradient + by_prior
        hessian[:, range(k), range(k)] += bend
    return np.where(np.isfinite(cost), cost, np.inf), gradient, hessian


def _summed(problem: Problem, u: Array, weights: Array, shift: Any, exact: bool) -> tuple[Array, Array, Array]:
    objective = problem.objective
    r, jac, bend = problem.expansion(u, (lambda r: weights * objective.slope(r - shift)) if exact else None)
    with np.errstate(all="ignore"):
        r = r - shift
        cost = (objective.rho(r) * weights).sum(-1)
        slope = weights * objective.slope(r)
        gradient = np.matmul(jac, slope[:, :, None])[..., 0]
        second = weights * (objective.curvature(r) if exact else objective.reweight(r))
        hessian = np.matmul(jac * second[:, None], jac.swapaxes(1, 2))
        if exact:
            hessian = hessian + (_differences(problem, u, slope) if bend is None else bend)
    return cost, gradient, hessian


def _batch(problem: Problem, k: int) -> int:
    """How many candidates to evaluate at once."""
    if problem.law.kind == "curves":
        return max(1, CURVE_BATCH // problem.width)
    return max(1, BATCH // (len(problem.loss) * k))


def law_curvature(problem: Problem, u: Array, slope: Array) -> Array:
    """Sum over rows of slope_i times the Hessian of residual i, (B, k, k), as declared or by differences."""
    bend = problem.expansion(u, slope)[2]
    return _differences(problem, u, slope) if bend is None else bend


def _differences(problem: Problem, u: Array, slope: Array) -> Array:
    """The same by differences of exact gradients."""
    step = 1e-5
    count, k = u.shape
    shifts = np.concatenate([np.eye(k), -np.eye(k)]) * step
    curvature = np.empty((count, k, k))
    size = max(1, _batch(problem, k) // (2 * k))
    for at in range(0, count, size):  # all shifts of a few problems in one call: small problems are all overhead
        part = slice(at, at + size)
        moved = (u[part, None] + shifts).reshape(-1, k)
        jac = problem.jacobian(moved)[1].reshape(-1, 2 * k, k, slope.shape[1])
        by_shift = np.einsum("bskn,bn->bsk", jac, slope[part], optimize=True)
        curvature[part] = (by_shift[:, :k] - by_shift[:, k:]) / (2 * step)
    return 0.5 * (curvature + curvature.transpose(0, 2, 1))


def minimise(problem: Problem, u: Array) -> Ends:
    """All phases from every row of u. Descents that have come together go on as one, and end as one.

    With a Huber threshold far below the residuals the objective is all edges and descents from afar crawl along them;
    so they first come down on the same objective with a threshold of the residuals' own size. The most promising starts
    also go straight down, lest the wide threshold leads away from the optimum.
    """
    return _minimise_many(problem, u) if _many(problem) else _minimise_all(problem, u)


def _minimise_all(problem: Problem, u: Array) -> Ends:
    count, own = len(u), np.argsort(problem.cost(problem.residuals(u), u=u), kind="stable")[:STRAIGHT]
    ends, member = _together(descend(_widened(problem, u), u, exact=False, iterations=9, tolerance=1e-4, project=True))
    u = np.concatenate([ends.u, u[own]])
    member = np.concatenate([member, len(ends.u) + np.arange(len(own))])
    damping = np.full(len(u), 1e-3)
    for exact, iterations in ((False, 6), (True, 5), (True, 5), (True, 5)):
        reached = descend(
            problem, u, exact=exact, iterations=iterations, tolerance=1e-14, damping=damping, project=not exact
        )
        ends, group = _together(reached)
        u, damping, member = ends.u, ends.damping, group[member]
    ends, group = _arrived(problem, ends)
    member = group[member]
    member[own] = np.where(ends.cost[member[count:]] < ends.cost[member[own]], member[count:], member[own])
    return ends.of(member[:count])


def _arrived(problem: Problem, ends: Ends) -> tuple[Ends, NDArray[np.int64]]:
    """Distinct ends, those near the best arrived at their optimum, and the number of its end for each of `ends`."""
    member = np.arange(len(ends.cost))
    # with few rows in Huber's zone Newton steps turn at edge after edge; who lags by ever less is left where it is
    for margin, iterations in ((0.1, 50), (0.1, 50), (0.03, 200), (0.01, 700), (0.003, 2000)):
        ahead = np.flatnonzero((ends.cost <= (1 + margin) * ends.cost.min()) & ~ends.converged)
        if not len(ahead):
            break
        last = descend(
            problem, ends.u[ahead], exact=True, iterations=iterations, tolerance=1e-14, damping=ends.damping[ahead]
        )
        ends.u[ahead], ends.cost[ahead], ends.converged[ahead] = last.u, last.cost, last.converged
        ends.damping[ahead] = last.damping
        ends, group = _together(ends)
        member = group[member]
    return ends, member


def _many(problem: Problem) -> bool:
    if problem.law.kind == "curves":
        if len(problem.loss) <= FEW * len(problem.inputs[0].steps):
            return False
        problem.residuals(np.zeros((1, len(problem.free))))  # it now knows its width
        return problem.width > WHOLE
    return len(problem.loss) > MANY


def _thinned(problem: Problem) -> Problem:
    """The problem on MANY of its rows, drawn at random, or on FEW of each curve, evenly spread, that weigh as much
    more."""
    count = len(problem.loss)
    if problem.law.kind == "curves":
        path, rows = problem.inputs[0].some(FEW)
        inputs: tuple[Any, ...] = (path, *(np.asarray(values)[rows] for values in problem.inputs[1:]))
        weights = problem.weights[rows] * (count / len(rows))
        return replace(problem, inputs=inputs, loss=problem.loss[rows], weights=weights)
    rows = np.sort(np.random.default_rng(0).choice(count, MANY, replace=False))
    inputs = tuple(np.asarray(values)[rows] for values in problem.inputs)
    return replace(problem, inputs=inputs, loss=problem.loss[rows], weights=problem.weights[rows] * (count / MANY))


def _minimise_many(problem: Problem, u: Array) -> Ends:
    """The search on a part of the rows; its best distinct ends then descend on all of them."""
    few = minimise(_thinned(problem), u)
    leaders, member = _together(few)
    for i in range(len(leaders.cost)):  # what a part of the rows says of an end is no cost of the whole
        leaders.cost[i] = problem.cost(problem.residuals(leaders.u[i : i + 1]), u=leaders.u[i : i + 1])[0]
    order = np.argsort(leaders.cost, kind="stable")[:6]
    ahead = order[leaders.cost[order] <= 1.2 * leaders.cost[order[0]]]
    last = descend(problem, leaders.u[ahead], exact=True, iterations=60, tolerance=1e-13)
    if problem.law.kind == "curves":
        found, group = _arrived(problem, last)
        last = found.of(group)
    leaders.u[ahead], leaders.cost[ahead], leaders.converged[ahead] = last.u, last.cost, last.converged
    return leaders.of(member)


def _widened(problem: Problem, u: Array) -> Problem:
    """The problem with a threshold no smaller than the typical residual of the best of u (B, k)."""
    if problem.objective.loss == "squared":
        return problem
    r = problem.residuals(u)
    best = r[np.argmin(problem.cost(r, u=u))]
    delta = max(problem.objective.delta, 1.5 * float(np.median(np.abs(best))))
    ratio = problem.objective.delta / delta  # tails then weigh the same, and priors count for as much
    return replace(problem, objective=replace(problem.objective, delta=delta), weights=problem.weights * ratio)


def minimise_near(problem: Problem, u: Array, weights: Array | None = None, shift: Array | None = None) -> Ends:
    """Both phases for B problems that differ in weights or losses, each from its own near start (see `descend`)."""
    near = descend(problem, u, weights=weights, shift=shift, exact=False, iterations=4, tolerance=1e-6)
    return descend(
        problem, near.u, weights=weights, shift=shift, exact=True, iterations=600, tolerance=1e-13, damping=near.damping
    )


def _together(ends: Ends) -> tuple[Ends, NDArray[np.int64]]:
    """Leaders (the best of each group of descents that stand close) and, for every descent, its leader's place."""
    leaders: list[int] = []
    group = np.zeros(len(ends.cost), int)
    for i in np.argsort(ends.cost, kind="stable"):
        if leaders:
            near = np.abs(ends.u[leaders] - ends.u[i]).max(1) < 0.1
            near &= ends.cost[i] <= 1.01 * ends.cost[leaders]
            if near.any():
                group[i] = near.argmax()
                continue
        group[i] = len(leaders)
        leaders.append(int(i))
    return ends.of(np.array(leaders, int)), group


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
    if _many(problem):
        problem = _thinned(problem)
    candidates, r = (_declared if problem.law.starts is not None else _projected)(problem, count, seed)
    with np.errstate(invalid="ignore"):
        cost = problem.cost(r, u=candidates)
    cost = np.where(np.isfinite(candidates).all(1), cost, np.inf)
    order = np.argsort(cost, kind="stable")
    order = order[np.isfinite(cost[order])]
    sorted_ = candidates[order]
    place = sorted_ / (sorted_.std(0) + 1e-9) if len(order) else sorted_
    chosen: list[int] = []
    apart = np.full(len(order), np.inf)  # distance from the nearest that is chosen
    for reach in (0.5, 0.2, 0.0):  # distant ones first, closer ones if there is room left
        while len(chosen) < count and (apart >= reach).any():
            chosen.append(int(np.argmax(apart >= reach)))
            apart = np.minimum(apart, np.abs(place - place[chosen[-1]]).max(1))
            apart[chosen] = -1.0
    return sorted_[chosen]


def _declared(problem: Problem, count: int, seed: int) -> tuple[Array, Array]:
    """The law's own candidates (S, k), scattered where `count` asks for more than there are, and their residuals."""
    assert problem.law.starts is not None
    named = dict(zip(problem.law.inputs, problem.inputs, strict=True))
    found = problem.law.starts(named, problem.loss)
    u = problem.coordinates(
        np.array([[s[name] for name in problem.free] for s in found]).reshape(len(found), len(problem.free))
    )
    if len(u) and count > len(u):
        more = np.random.default_rng(seed).normal(size=(2 * count, u.shape[1])) * u.std(0)
        u = np.concatenate([u, np.clip(u[np.arange(2 * count) % len(u)] + 0.5 * more, -LIMIT, LIMIT)])
    return u, problem.residuals(u)


def _projected(problem: Problem, count: int, seed: int) -> tuple[Array, Array]:
    """Candidates (S, k) on a grid of the nonlinear parameters, the linear ones by non-negative least squares, and their
    residuals (S, n)."""
    linear = _linear(problem)
    shape = [n for n in problem.free if n not in linear]
    size = max(GRID // 4 if problem.law.kind == "curves" else GRID, 2 * count) if shape else 1
    theta = np.ones((size, len(problem.free)))
    if shape:
        unit = _low_discrepancy(size, len(shape), seed)
        for j, name in enumerate(shape):
            lo, hi = _start_range(problem, problem.law.param(name))
            theta[:, problem.free.index(name)] = _between(lo, hi, unit[:, j], problem.law.param(name))
    if not linear:
        u = problem.coordinates(theta)
        return u, problem.residuals(u)
    at = [problem.free.index(name) for name in linear]
    theta[:, at] = 1.0
    value, columns = problem.slopes(theta, linear)
    base = value - sum(columns)
    # relative errors, or those of the values themselves where there may be a 0 to divide by
    unit = np.full_like(problem.loss, np.abs(problem.loss).max() or 1.0) if problem.law.signed else problem.loss
    stacked = np.stack(columns, 1)
    stacked /= unit
    base = base / unit
    usable = np.isfinite(stacked).all((1, 2)) & np.isfinite(base).all(1)
    if not usable.all():
        theta, base, stacked = theta[usable], base[usable], stacked[usable]
    solution = nonnegative_least_squares(stacked, problem.loss / unit - base)[0].T
    zero, place = np.nonzero(solution <= 0)
    # a coefficient that came out 0 starts at a hundredth of the loss instead: its logarithm must be finite
    solution[zero, place] = 0.01 / np.maximum(np.abs(stacked[zero, place]).max(1, initial=0.0), 1e-100)
    theta[:, at] = solution
    share = base + np.matmul(solution[:, None], stacked)[:, 0]
    return problem.coordinates(theta), problem.residuals_of(share * unit)


def _start_range(problem: Problem, param: Param) -> tuple[float, float]:
    lo, hi = param.start
    if param.of in problem.law.inputs:
        values = problem.inputs[problem.law.inputs.index(param.of)]
        centre = float(np.exp(np.mean(np.log(values[values > 0])))) if (values > 0).any() else 1.0
        return lo * centre, hi * centre
    return lo, hi


def _between(lo: float, hi: float, x: Array, param: Param) -> Array:
    """Values from lo to hi at fractions x: even in the logarithm of the distance to the nearer natural edge."""
    if lo > 0 and param.lo >= 0 and param.hi != 1.0:
        return lo * (hi / lo) ** x
    if param.hi == 1.0 and lo > 0.5:
        return 1 - (1 - lo) * ((1 - hi) / (1 - lo)) ** x
    return lo + (hi - lo) * x
