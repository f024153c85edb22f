"""A fit as a minimisation: which parameters are free, how they map to unbounded coordinates, what the residuals are.

Coordinates u of shape (B, k) hold B candidate solutions at once. Parameters bounded below by 0 are searched by their
logarithm, those bounded on both sides by their logit, so no search step can leave the bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.law import Law, value_and_gradient
from scaling.objective import Objective
from scaling.trajectory import Trajectory

Array = NDArray[np.float64]
LIMIT = 300.0  # |u| beyond this is a bound for every purpose: exp(300) is 1e130


@dataclass(frozen=True)
class Prior:
    """What is believed of a parameter before the data: the logarithm of one bounded below by 0 or above, else the
    parameter itself, is normal about `centre` with standard deviation `sd`.

    It counts as a measurement: half the square of its distance in standard deviations, times `weight`, adds to the
    objective.
    """

    centre: float
    sd: float
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class Problem:
    """`fixed` holds parameters at a value, `tied` makes one equal another, `weights` multiply the rows' costs, `priors`
    add to them."""

    law: Law
    inputs: tuple[Any, ...]
    loss: Array
    weights: Array
    objective: Objective
    fixed: Mapping[str, float]
    tied: Mapping[str, str]
    priors: Mapping[str, Prior] = field(default_factory=dict)

    @cached_property
    def free(self) -> tuple[str, ...]:
        return tuple(n for n in self.law.names if n not in self.fixed and n not in self.tied)

    @property
    def width(self) -> int:
        """Numbers that one candidate's losses may take to compute: what batches are measured by."""
        sizes = [x.width() for x in self.inputs if isinstance(x, Trajectory)]
        return max([len(self.loss), *sizes])

    def blocks(self, rows: int) -> tuple[Problem, ...]:
        """The problem as several of at most so many rows, whose costs add up to its own; without the priors."""
        return tuple(
            replace(
                self,
                inputs=tuple(np.asarray(x)[at : at + rows] for x in self.inputs),
                loss=self.loss[at : at + rows],
                weights=self.weights[at : at + rows],
                priors={},
            )
            for at in range(0, len(self.loss), rows)
        )

    @cached_property
    def _bounds(self) -> tuple[Array, Array]:
        params = [self.law.param(name) for name in self.free]
        return np.array([p.lo for p in params]), np.array([p.hi for p in params])

    @cached_property
    def _kinds(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_], Array, Array]:
        """Of each free parameter: bounded on both sides, bounded below, the lower bound or 0, the range or 1."""
        lo, hi = self._bounds
        both, below = np.isfinite(lo) & np.isfinite(hi), np.isfinite(lo)
        return both, below, np.where(below, lo, 0.0), np.where(both, hi - lo, 1.0)

    def natural(self, u: Array) -> Array:
        """Free parameters (B, k) from coordinates (B, k)."""
        both, below, base, span = self._kinds
        with np.errstate(over="ignore"):
            return np.where(both, base + span / (1 + np.exp(-u)), np.where(below, base + np.exp(u), u))

    def coordinates(self, theta: Array) -> Array:
        """Coordinates (B, k) from free parameters (B, k); values at or over a bound are moved just inside."""
        both, below, base, span = self._kinds
        share = np.clip((theta - base) / span, 1e-12, 1 - 1e-12)
        logit = np.log(share) - np.log1p(-share)
        log = np.log(np.maximum(theta - base, 1e-130))
        return np.clip(np.where(both, logit, np.where(below, log, theta)), -LIMIT, LIMIT)

    def _slope(self, u: Array, theta: Array) -> Array:
        """d theta / d u, (B, k)."""
        both, below, base, span = self._kinds
        with np.errstate(invalid="ignore"):
            logit = (theta - base) * (base + span - theta) / span
        return np.where(both, logit, np.where(below, theta - base, 1.0))

    def parameters(self, theta: Array) -> dict[str, Array]:
        """All parameters, fixed and tied ones included, as columns (B, 1) that broadcast against the rows."""
        values = {name: theta[:, i : i + 1] for i, name in enumerate(self.free)}
        values |= {name: np.full((len(theta), 1), value) for name, value in self.fixed.items()}
        values |= {name: values[source] for name, source in self.tied.items()}
        return {name: values[name] for name in self.law.names}

    def predicted(self, theta: Array) -> Array:
        """The law's values (B, n) at free parameters (B, k)."""
        with np.errstate(all="ignore"):
            return np.broadcast_to(
                self.law.function(*self.inputs, **self.parameters(theta)), (len(theta), len(self.loss))
            )

    def residuals(self, u: Array) -> Array:
        """Residuals (B, n); NaN where the law has no loss to offer."""
        return self.residuals_of(self.predicted(self.natural(u)))

    def slopes(self, theta: Array, wanted: list[str]) -> tuple[Array, list[Array]]:
        """The law's values and its derivatives by the free parameters named, each (B, n), at parameters (B, k)."""
        shape = (len(theta), len(self.loss))
        names = {name: [name, *(t for t, source in self.tied.items() if source == name)] for name in wanted}
        every = tuple(dict.fromkeys(n for group in names.values() for n in group))
        with np.errstate(all="ignore"):
            value, columns = value_and_gradient(self.law, self.inputs, self.parameters(theta), every)
        by_name = dict(zip(every, columns, strict=True))
        summed = [by_name[w] if len(names[w]) == 1 else sum(by_name[n] for n in names[w]) for w in wanted]
        return _spread(value, shape), [_spread(column, shape) for column in summed]

    def residuals_of(self, f: Array) -> Array:
        """Residuals (B, n) of losses f (B, n)."""
        with np.errstate(all="ignore"):
            if self.objective.space == "log":
                return np.where(f > 0, np.log(f / self.loss), np.nan)
            return f - self.loss

    def apart(self, f: Array) -> Array:
        """How far losses f (B, n) are from the observed, whatever is minimised: ln(f / observed), or f - observed where
        either may be 0 or negative."""
        with np.errstate(all="ignore"):
            return f - self.loss if self.law.signed else np.log(f / self.loss)

    def jacobian(self, u: Array) -> tuple[Array, Array]:
        """Residuals (B, n) and their derivatives by the coordinates (B, k, n)."""
        theta = self.natural(u)
        with np.errstate(all="ignore"):
            f, columns = value_and_gradient(self.law, self.inputs, self.parameters(theta), self.law.names)
            f = _spread(f, (len(u), len(self.loss)))
            by_name = dict(zip(self.law.names, columns, strict=True))
            for name, source in self.tied.items():
                by_name[source] = by_name[source] + by_name[name]
            log = self.objective.space == "log"
            slope = self._slope(u, theta)
            jac = np.empty((len(u), len(self.free), len(self.loss)))
            for i, name in enumerate(self.free):
                np.multiply(by_name[name], slope[:, i : i + 1], out=jac[:, i])
            if log:
                jac *= (1 / f)[:, None]
            r = np.where(f > 0, np.log(f / self.loss), np.nan) if log else f - self.loss
        return r, jac

    def expansion(self, u: Array, scores: Any = None) -> tuple[Array, Array, Array | None]:
        """Residuals (B, n), their derivatives (B, k, n), and, for laws that declare them, the sum of second derivatives
        (B, k, k) weighted by scores (B, n), or by what the function `scores` makes of the residuals."""
        if self.law.derivatives is None or scores is None:
            return (*self.jacobian(u), None)
        theta = self.natural(u)
        with np.errstate(all="ignore"):
            f, by_param, second = self.law.derivatives(*self.inputs, **self.parameters(theta))
            slope = self._slope(u, theta)
            log = self.objective.space == "log"
            r = np.log(f / self.loss) if log else f - self.loss
            rows = len(self.loss)
            at = {name: i for i, name in enumerate(self.free)}
            at |= {name: at[source] for name, source in self.tied.items()}
            jac = np.zeros((len(u), len(self.free), rows))
            scale = 1 / f if log else 1.0
            for name, column in zip(self.law.names, by_param, strict=True):
                if name in at:
                    i = at[name]
                    column = column * slope[:, i : i + 1]
                    jac[:, i] += column * scale if log else column
            score = scores(r) if callable(scores) else scores
            # of the residual's second derivative in the logarithm, f''/f - r' r', only the first is the law's
            total = np.zeros((len(u), len(self.free), len(self.free)))
            by_row = score * scale
            for (a, b), column in second().items():
                if a not in at or b not in at:
                    continue
                i, j = at[a], at[b]
                value = np.einsum("bn,bn->b", by_row, _spread(column, r.shape)) * slope[:, i] * slope[:, j]
                total[:, i, j] += value
                if a != b:
                    total[:, j, i] += value
            if log:
                total -= np.matmul(jac * score[:, None], jac.swapaxes(1, 2))
            bend = np.matmul(jac, score[:, :, None])[..., 0] * self._turn(u)
            total[:, range(len(self.free)), range(len(self.free))] += bend
        return r, jac, total

    def _turn(self, u: Array) -> Array:
        """Second derivative of theta by u over the first, (B, k)."""
        both, below, _, _ = self._kinds
        return np.where(both, -np.tanh(u / 2), np.where(below, 1.0, 0.0))

    def penalty(self, u: Array) -> tuple[Array, Array, Array]:
        """The priors' share of the objective (B,), and its first and second derivatives by each coordinate (B, k).

        The second derivative leaves out the curvature of the logarithm in coordinates bounded on both sides.
        """
        value, slope, bend = np.zeros(len(u)), np.zeros_like(u), np.zeros_like(u)
        if not self.priors:
            return value, slope, bend
        theta = self.natural(u)
        slopes = self._slope(u, theta)
        for name, prior in self.priors.items():
            i = self.free.index(name)
            at, by_u = theta[:, i], slopes[:, i]
            if self.law.param(name).lo >= 0:
                at = np.maximum(at, 1e-300)
                away, by_u = np.log(at / prior.centre) / prior.sd, by_u / at
            else:
                away = (at - prior.centre) / prior.sd
            value += 0.5 * prior.weight * away**2
            slope[:, i] = prior.weight * away * by_u / prior.sd
            bend[:, i] = prior.weight * (by_u / prior.sd) ** 2
        return value, slope, bend

    def cost(self, r: Array, weights: Array | None = None, u: Array | None = None) -> Array:
        """Objective (B,) of residuals (B, n), with the priors at u (B, k); infinite where a residual is not finite."""
        total = (self.objective.rho(r) * (self.weights if weights is None else weights)).sum(-1)
        if self.priors and u is not None:
            total = total + self.penalty(u)[0]
        return np.where(np.isfinite(total), total, np.inf)


def _spread(values: Any, shape: tuple[int, ...]) -> Array:
    """The values broadcast, where they have not that shape yet: numpy takes as long to find nothing to do."""
    return values if np.shape(values) == shape else np.broadcast_to(values, shape)
