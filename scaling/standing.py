"""Where a fit stands: its gradient, the shape of the objective around it, and how far residuals' noise can move it.

With Huber's threshold below the scatter only a few rows lie in the quadratic zone, and their count is a poor measure of
curvature. So the second derivative of each row's cost is taken by differences over a bandwidth of the residuals' own
scale: for Huber and for quantiles that is Powell's estimator, which lets the scatter differ between rows (Powell 1991;
Koenker 2005, Quantile Regression, section 3.4.2), and for squares it is exactly 1. On Chinchilla's 240 points, whose
small runs scatter more, one mean for all rows gave standard errors half of those of the bootstrap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling.bands import robust_sd
from scaling.problem import Problem

Array = NDArray[np.float64]
SINGULAR = 1e-9  # least eigenvalue, relative to the diagonal, below which a direction has no curvature


@dataclass(frozen=True, eq=False)
class Standing:
    """gradient   largest cosine between the residuals and a parameter's column: 0 at an optimum (the criterion `gtol`
               of More 1978, MINPACK), with the cost's weights
    condition  ratio of largest to least curvature over all directions, each parameter in its own scale
    flat       parameters of the direction without curvature, if there is one
    covariance of the coordinates (k, k), sandwich (Huber 1967), rows or clusters independent; NaN when a direction
               is flat
    bread      curvature (k, k): second derivatives of the rows' costs times the columns' products
    meat       products (k, k) of the scores, summed over clusters, with n / (n - k) for the parameters fitted
    scale      variance of a score over its mean derivative, rows independent: half the rise of the objective over
               this is a chi-squared (Schrader & Hettmansperger 1980, Biometrika 67, 93-101)
    """

    names: tuple[str, ...]
    gradient: float
    condition: float
    flat: tuple[str, ...]
    covariance: Array
    bread: Array
    meat: Array
    scale: float

    @property
    def log_se(self) -> Mapping[str, float]:
        """Standard errors of the coordinates by name; empty when a direction is flat."""
        if self.flat:
            return {}
        return dict(zip(self.names, np.sqrt(np.diag(self.covariance)).tolist(), strict=True))


def standing(problem: Problem, u: Array, clusters: NDArray[np.int64] | None = None) -> Standing:
    """The standing of coordinates u (k,); `clusters` (n,) numbers rows that share their noise."""
    r, jac = problem.jacobian(u[None])
    r, jac = r[0], np.nan_to_num(jac[0])
    k, n = jac.shape
    if not k:
        return Standing((), 0.0, 1.0, (), np.empty((0, 0)), np.empty((0, 0)), np.empty((0, 0)), np.nan)
    objective, weights = problem.objective, problem.weights
    scores = weights * objective.slope(r)
    major = weights * objective.reweight(r)
    lengths = np.sqrt((jac * jac * major).sum(1))
    total = np.sqrt((major * r * r).sum())
    _, by_prior, bend = problem.penalty(u[None])
    with np.errstate(all="ignore"):
        cosines = np.abs(jac @ scores + by_prior[0]) / (lengths * total)
    gradient = float(np.max(np.where(lengths > 0, cosines, 0.0))) if total > 0 else 0.0
    free = max(n - k, 1)
    used = max(float((weights > 0).sum()), 1.0)
    bends = _row_curvature(problem, r)
    slope = float((weights * bends).sum() / max(weights.sum(), 1e-300))
    bread = (jac * weights * bends) @ jac.T + np.diag(bend[0])
    each = jac * scores
    if clusters is not None:
        each = np.stack([np.bincount(clusters, row) for row in each])
    groups = each.shape[1]
    meat = each @ each.T * (n / free) * (groups / max(groups - 1, 1) if groups < n else 1.0)
    scale = float((scores**2).sum() / max(weights.sum(), 1e-300) * (used / max(used - k, 1.0)) / max(slope, 1e-300))
    nothing = np.full((k, k), np.nan)
    size = np.sqrt(np.diag(bread))
    dead = size <= 1e-12 * max(float(size.max()), 1e-300)
    if dead.any():
        flat = tuple(name for name, d in zip(problem.free, dead, strict=True) if d)
        return Standing(problem.free, gradient, np.inf, flat, nothing, bread, meat, scale)
    values, vectors = np.linalg.eigh(bread / np.outer(size, size))
    condition = float(values[-1] / values[0]) if values[0] > 0 else np.inf
    if values[0] < SINGULAR:
        flat = tuple(name for name, v in zip(problem.free, np.abs(vectors[:, 0]), strict=True) if v > 0.3)
        return Standing(problem.free, gradient, condition, flat, nothing, bread, meat, scale)
    inverse = (vectors / values) @ vectors.T / np.outer(size, size)
    return Standing(problem.free, gradient, condition, (), inverse @ meat @ inverse, bread, meat, scale)


def _row_curvature(problem: Problem, r: Array) -> Array:
    """Second derivative of each row's cost (n,), by differences over a bandwidth of the residuals' own scale."""
    objective = problem.objective
    width = 1.06 * robust_sd(r) * len(r) ** -0.2  # 1.06 n^(-1/5) is Silverman's rule
    if not width > 0:
        return objective.curvature(r)
    return (objective.slope(r + width) - objective.slope(r - width)) / (2 * width)
