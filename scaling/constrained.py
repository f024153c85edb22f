"""The least objective among parameters that give a quantity a stated value: many values at once, exactly.

The constraint is never a penalty: every Newton step is taken in the plane tangent to it, with the curvature of the
Lagrangian, and the point is then put back on it (a reduced-gradient method; Nocedal & Wright 2006, section 18.3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling.problem import LIMIT, Problem
from scaling.search import law_curvature

Array = NDArray[np.float64]
ON_IT = 1e-9  # a point is on the constraint when the quantity, a logarithm, misses by less
STEP = 1e-4  # of central differences in coordinates


@dataclass(frozen=True, eq=False)
class Quantity:
    """A smooth function of the coordinates, on a logarithmic scale: values(u (B, k)) -> (B,).

    slopes   its gradient (B, k); by central differences when none is given
    linear   whether the gradient is constant, or near enough for Newton's steps to leave out its change
    """

    values: Callable[[Array], Array]
    slopes: Callable[[Array], Array] | None = None
    linear: bool = False

    def gradient(self, u: Array) -> Array:
        if self.slopes is not None:
            return self.slopes(u)
        return self._differences(self.values, u)

    def curvature(self, u: Array) -> Array:
        """Second derivatives (B, k, k)."""
        k = u.shape[1]
        if self.linear:
            return np.zeros((len(u), k, k))
        bend = self._differences(self.gradient, u, 10 * STEP)
        return 0.5 * (bend + bend.swapaxes(1, 2))

    def _differences(self, function: Callable[[Array], Array], u: Array, step: float = STEP) -> Array:
        k = u.shape[1]
        shifts = step * np.concatenate([np.eye(k), -np.eye(k)])
        moved = function((u[:, None] + shifts).reshape(-1, k))
        moved = moved.reshape(len(u), 2 * k, *moved.shape[1:])
        return (moved[:, :k] - moved[:, k:]) / (2 * step)


def constrained(problem: Problem, quantity: Quantity, targets: Array, u: Array) -> tuple[Array, Array]:
    """Coordinates (B, k) and objectives (B,) of the minima at quantity = targets (B,), from near starts u (B, k).

    The objective is infinite where no point with that value was found.
    """
    u = _restored(problem, quantity, targets, u.copy(), np.ones_like(u), rounds=30)
    for exact, iterations, tolerance in ((False, 8, 1e-6), (True, 60, 1e-12)):
        cost = _cost(problem, quantity, targets, u)
        damping = np.full(len(u), 1e-3)
        active = np.flatnonzero(np.isfinite(cost))
        for _ in range(iterations):
            if not len(active) or u.shape[1] < 2:
                break
            step, scale, promised = _tangent_step(problem, quantity, u[active], damping[active], exact)
            trial = np.clip(u[active] + step, -LIMIT, LIMIT)
            trial = _restored(problem, quantity, targets[active], trial, scale, rounds=6)
            new = _cost(problem, quantity, targets[active], trial)
            better = new < cost[active]
            gain = active[better]
            u[gain], cost[gain] = trial[better], new[better]
            damping[gain] = np.maximum(damping[gain] * 0.1, 1e-12)
            damping[active[~better]] *= 8
            done = (promised < np.maximum(tolerance * np.abs(cost[active]), 1e-300)) | (damping[active] > 1e12)
            active = active[~done]
    return u, _cost(problem, quantity, targets, u)


def _tangent_step(
    problem: Problem, quantity: Quantity, u: Array, damping: Array, exact: bool
) -> tuple[Array, Array, Array]:
    """A damped Newton step along the constraint (B, k), the coordinates' scale, and the decrease that it promises."""
    r, jac = problem.jacobian(u)
    jac = np.nan_to_num(jac)
    objective, weights = problem.objective, problem.weights
    scores = weights * objective.slope(r)
    gradient = np.matmul(jac, scores[:, :, None])[..., 0]
    hessian = np.matmul(jac * (weights * objective.reweight(r))[:, None], jac.swapaxes(1, 2))
    _, by_prior, bend = problem.penalty(u)
    held = bend[:, :, None] * np.eye(bend.shape[1])
    gradient, hessian = gradient + by_prior, hessian + held
    scale = np.sqrt(np.einsum("bii->bi", hessian))
    scale = np.where(scale > 1e-150, scale, 1.0)
    slope = quantity.gradient(u) / scale
    gradient = gradient / scale
    if exact:
        hessian = np.matmul(jac * (weights * objective.curvature(r))[:, None], jac.swapaxes(1, 2))
        hessian = hessian + law_curvature(problem, u, scores) + held
    hessian = hessian / (scale[:, :, None] * scale[:, None, :])
    if exact and not quantity.linear:
        multiplier = (slope * gradient).sum(1) / np.maximum((slope * slope).sum(1), 1e-300)
        curved = quantity.curvature(u) / (scale[:, :, None] * scale[:, None, :])
        hessian = hessian - multiplier[:, None, None] * np.nan_to_num(curved)
    across = np.linalg.svd(np.nan_to_num(slope)[:, None, :])[2][:, 1:]  # rows span the plane tangent to the constraint
    inside = np.matmul(across, np.nan_to_num(gradient)[:, :, None])[..., 0]
    values, vectors = np.linalg.eigh(np.matmul(np.matmul(across, np.nan_to_num(hessian)), across.swapaxes(1, 2)))
    curvature = np.maximum(np.abs(values), 1e-12)
    along = np.einsum("bij,bi->bj", vectors, inside)
    promised = 0.5 * (along**2 / curvature).sum(1)
    step = -np.einsum("bij,bj->bi", vectors, along / (curvature + damping[:, None]))
    step = np.einsum("bij,bi->bj", across, step) / scale
    step *= np.minimum(1, 3.0 / np.maximum(np.abs(step).max(1, keepdims=True), 1e-300))
    return step, scale, promised


def _restored(problem: Problem, quantity: Quantity, targets: Array, u: Array, scale: Array, rounds: int) -> Array:
    """u put on the constraint by Newton steps along the quantity's gradient, in the scale of the coordinates."""
    for _ in range(rounds):
        missing = targets - quantity.values(u)
        if not (np.abs(missing) > 0.1 * ON_IT).any():
            break
        slope = quantity.gradient(u) / scale
        step = missing[:, None] * slope / np.maximum((slope * slope).sum(1, keepdims=True), 1e-300) / scale
        step *= np.minimum(1, 3.0 / np.maximum(np.abs(step).max(1, keepdims=True), 1e-300))
        u = np.clip(u + np.nan_to_num(step), -LIMIT, LIMIT)
    return u


def _cost(problem: Problem, quantity: Quantity, targets: Array, u: Array) -> Array:
    missing = np.abs(quantity.values(u) - targets)
    return np.where(missing < ON_IT, problem.cost(problem.residuals(u), u=u), np.inf)
