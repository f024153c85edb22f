"""bootstrap(fit) -> Draws: how far the parameters would move had other runs been trained.

Runs are resampled, never rows of one curve, and runs that were forked from one trunk share its noise and move together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.bands import half_width, robust_sd
from scaling.curve_bands import DRAWN, prior_draws
from scaling.errors import ScalingError
from scaling.fitting import Fit, problem_of
from scaling.problem import Problem
from scaling.rehearsal import rehearse
from scaling.search import Ends, minimise_near
from scaling.solution import bounded_term
from scaling.tracing import raised

Array = NDArray[np.float64]
FEW = 12  # with fewer clusters resampling drops whole sizes from the design; the wild bootstrap keeps it
OTHERS = 200  # ends of other resamples that each is compared with
SMOOTH = 5  # rows a parameter in Huber's quadratic zone with which no resample was seen to miss its optimum
BATCH = 2_000_000  # numbers in one batch of residuals
#: Six-point weights for the wild bootstrap with few clusters: Webb 2023, Canadian Journal of Economics 56, 839-858.
WEBB = np.sqrt(np.array([0.5, 1.0, 1.5]))


@dataclass(frozen=True, eq=False)
class Draws:
    """Parameters of the law under resampling, shape (B, parameters) in the order of `fit.law.names`.

    method     "cases" (clusters drawn with replacement), "wild" (clusters' residuals multiplied at random),
               "parametric" (losses drawn about the law, normal, with the residuals' variance within and between
               clusters), "jackknife" (one curve left out at a time), "prior" (one or two curves: priors centred
               at draws from themselves, and stretches within the curves kicked), "blocks" (those kicks alone, for laws
               without priors)
    rehearsal  forecasts of the fitted rows' own larger budgets from their smaller ones (see `scaling.rehearsal`)
    """

    fit: Fit
    params: Array
    method: str
    seed: int
    rehearsal: pd.DataFrame
    notes: tuple[str, ...]

    @property
    def table(self) -> pd.DataFrame:
        """The rows the fit used."""
        return self.fit.table

    def summary(self, level: float = 0.9) -> pd.DataFrame:
        """One row a parameter: value of the fit, standard error and interval over the draws."""
        tail = (1 - level) / 2
        lo, hi = np.quantile(self.params, [tail, 1 - tail], axis=0)
        se = self.params.std(0) * (np.sqrt(len(self.params) - 1) if self.method == "jackknife" else 1.0)
        if self.method == "jackknife":
            values = np.array(list(self.fit.params.values()))
            lo, hi = values - half_width(level) * se, values + half_width(level) * se
        columns = {"value": list(self.fit.params.values()), "se": se, "lo": lo, "hi": hi}
        return pd.DataFrame(columns, index=pd.Index(self.fit.law.names, name="parameter"))

    def __repr__(self) -> str:
        return (
            f"Draws({self.fit.law.name}: {len(self.params)} x {self.params.shape[1]}, {self.method}, seed {self.seed})"
        )


def bootstrap(fit: Fit, resamples: int | None = None, *, seed: int = 0, method: str | None = None) -> Draws:
    """Refit under resampling by trunk, else by run, else by row; the same seed gives the same draws.

    resamples: 1000 by default, 200 for curves. method: "cases", "wild" or "parametric"; by default cases with 12
    clusters or more and wild below. The parametric one believes the law and a normal core of noise: it says what the
    intervals would be if both held. Laws of whole curves leave out one curve at a time, given 3 or more; with fewer,
    the draws hold the noise within the curves and nothing else, and `notes` says so. An interrupt (Ctrl-C) returns the
    draws done so far, if any.
    """
    if resamples is None:
        resamples = 1000 if fit.law.kind == "points" else 200
    if resamples < 2:
        raise ScalingError(f"a bootstrap needs at least 2 resamples, got {resamples}")
    if seed < 0:
        raise ScalingError(f"a seed is a whole number from 0 up, got {seed}")
    problem = problem_of(fit)
    if not problem.free:
        held = np.tile(list(fit.params.values()), (2, 1))
        return Draws(fit, held, "held", seed, rehearse(fit), ("every parameter is held: none has an interval",))
    rng = np.random.default_rng(seed)
    cluster = clusters(fit)
    count = int(cluster.max()) + 1
    notes: list[str] = []
    weights = shift = None
    if fit.law.kind == "curves" and count >= 3:
        method = "jackknife"
        weights = problem.weights * (cluster != np.arange(count)[:, None])
    elif fit.law.kind == "curves":
        method = "prior" if problem.priors else "blocks"
        cluster = _blocks(fit)
        many = f"{count} curve{'s' * (count > 1)}: "
        if problem.priors:
            resamples = min(resamples, DRAWN)
            notes.append(
                f"{many}none can be left out, so the band is that of the law's priors and of the noise within the "
                "curves, and on public curves covered less than it claims; fit 3 or more curves"
            )
        else:
            notes.append(
                f"{many}the band holds the noise within the curves, not the law's error on other schedules, and covers "
                "too little; fit 3 or more curves"
            )
    else:
        method = method or ("cases" if count >= FEW else "wild")
    if method == "cases":
        weights = problem.weights * rng.multinomial(count, np.full(count, 1 / count), resamples)[:, cluster]
    elif method in ("wild", "blocks", "prior"):
        n = int(cluster.max()) + 1
        kick = rng.choice(np.concatenate([WEBB, -WEBB]), (resamples, n))[:, cluster]
        # residuals are predicted against observed; losses kicked to prediction - kick * residual leave kick * residual
        residual = problem.residuals(problem.coordinates(fit.free_values[None]))[0]
        shift = residual * (1 - kick)
    elif method == "parametric":
        residual = problem.residuals(problem.coordinates(fit.free_values[None]))[0]
        between, within = _variances(residual, cluster, len(problem.free))
        common = rng.normal(size=(resamples, count))[:, cluster] * np.sqrt(between)
        shift = residual - common - rng.normal(size=(resamples, len(residual))) * np.sqrt(within)
    elif method != "jackknife":
        raise ScalingError(f"bootstrap method must be cases, wild or parametric, got {method!r}")
    draws = prior_draws(fit, kick, seed) if method == "prior" else refits(fit, weights, shift)
    if len(draws) < resamples and method != "jackknife":
        notes.append(f"interrupted: {len(draws)} of {resamples} resamples were done")
    if method == "wild" and count < FEW:
        notes.append(f"{count} independent runs or trunks: intervals rest on few clusters")
    rehearsal = rehearse(fit, draws if method == "jackknife" else None)
    return Draws(fit, draws, method, seed, rehearsal, tuple(notes))


def clusters(fit: Fit) -> NDArray[np.int64]:
    """Number of the cluster of every row of the fit's table: curves by run; points by trunk, else run, else row."""
    names = ("run",) if fit.law.kind == "curves" else ("trunk", "run")
    for name in names:
        if name in fit.table and fit.table[name].notna().all():
            return np.asarray(pd.factorize(fit.table[name])[0])
    return np.arange(len(fit.table))


def _variances(residual: Array, cluster: NDArray[np.int64], free: int) -> tuple[float, float]:
    """Robust variances of the noise that clusters share and of that within them, together at least the rows' own.

    The total is that of the residuals' core, for n - k degrees of freedom; the part within is that of differences from
    the cluster's median, where clusters have more than a row.
    """
    n = len(residual)
    total = robust_sd(residual) ** 2 * n / max(n - free, 1)
    sizes = np.bincount(cluster)
    many = sizes[cluster] > 1
    if not many.any():
        return 0.0, total
    middle = pd.Series(residual).groupby(cluster).transform("median").to_numpy()
    spare = many.sum() / max(many.sum() - (sizes > 1).sum(), 1)
    within = min(float(np.mean((residual - middle)[many] ** 2)) * spare, total)
    return total - within, within


def _blocks(fit: Fit) -> NDArray[np.int64]:
    """Ten stretches a curve."""
    runs = clusters(fit)
    place = fit.table.groupby("run", sort=False).cumcount().to_numpy()
    size = np.bincount(runs)[runs]
    return np.asarray(pd.factorize(runs * 10 + place * 10 // size)[0])


def refits(fit: Fit, weights: Array | None, shift: Array | None) -> Array:
    """All parameters (B, p) of B refits that start at the fit; those done so far when interrupted.

    weights  of the rows (B, n); shift: losses are less by it, as residuals are counted, (B, n); one of the two is given
    """
    given = weights if weights is not None else shift
    assert given is not None
    attempts = _attempts(fit)
    size = max(1, BATCH // (given.shape[1] * max(len(attempts[0][0].free), 1)))
    found: list[Array] = []
    try:
        for at in range(0, len(given), size):
            part = slice(at, at + size)
            found.append(_best_of(fit, attempts, *(a if a is None else a[part] for a in (weights, shift))))
    except KeyboardInterrupt:
        if not found:
            raise
    return np.concatenate(found)


def _attempts(fit: Fit) -> list[tuple[Problem, Array]]:
    """Problems and the coordinates (k,) from which each resample is refitted: the fit's own.

    A term that the fit put at 0 may be wanted by a resample, and a search by logarithms cannot raise it from there: so
    both the problem without it and the whole one, started with that term at half the loss, are solved.
    """
    problem = problem_of(fit)
    if not fit.at_bound:
        return [(problem, problem.coordinates(fit.free_values[None])[0])]
    without = replace(problem, fixed={**problem.fixed, **dict.fromkeys(fit.at_bound, 0.0)})
    kept = np.array([fit.params[name] for name in without.free])
    lifted = raised(problem, fit.at_bound[0], fit.free_values)
    return [(without, without.coordinates(kept[None])[0]), (problem, lifted)]


def _best_of(fit: Fit, attempts: list[tuple[Problem, Array]], weights: Array | None, shift: Array | None) -> Array:
    count = len(weights if weights is not None else shift)  # type: ignore[arg-type]
    best, least = np.full((count, len(fit.law.names)), np.nan), np.full(count, np.inf)

    def keep(problem: Problem, ends: Ends, which: NDArray[np.int64]) -> None:
        values = problem.parameters(problem.natural(ends.u))
        better = ~(ends.cost >= least[which])
        best[which[better]] = np.concatenate([values[name] for name in fit.law.names], axis=1)[better]
        least[which[better]] = ends.cost[better]

    every = np.arange(count)
    for problem, start in attempts:
        ends = minimise_near(problem, np.repeat(start[None], count, 0), weights, shift)
        keep(problem, ends, every)
        if fit.law.kind == "curves":
            continue
        if (problem.objective.curvature(problem.residuals(start[None])) > 0).sum() < SMOOTH * len(problem.free):
            keep(problem, _exchanged(problem, ends, weights, shift), every)
        for smaller, u, which in _without_terms(problem, start, ends):
            keep(smaller, minimise_near(smaller, u, *(a if a is None else a[which] for a in (weights, shift))), which)
    return best


def _exchanged(problem: Problem, ends: Ends, weights: Array | None, shift: Array | None) -> Ends:
    """Each resample again, from the end of another that suits it best: with Huber's edges there are optima side by
    side, and the one that a descent comes to first need not be the lower."""
    places = np.random.default_rng(0).permutation(len(ends.cost))[:OTHERS]
    r = problem.residuals(ends.u[places])
    if shift is None:
        assert weights is not None
        costs = np.nan_to_num(problem.objective.rho(r), nan=np.inf, posinf=1e300) @ weights.T
    else:
        own = problem.weights if weights is None else weights
        costs = np.stack([(problem.objective.rho(row - shift) * own).sum(1) for row in r])
    costs[np.arange(len(places)), places] = np.inf  # its own end teaches nothing
    start = ends.u[places[np.argmin(costs, axis=0)]]
    return minimise_near(problem, start, weights, shift)


def _without_terms(problem: Problem, start: Array, ends: Ends) -> Iterator[tuple[Problem, Array, NDArray[np.int64]]]:
    """For every term that may vanish: the problem without it, and where the resamples that want less of it begin."""
    for j, name in enumerate(problem.free):
        if bounded_term(problem, name) and name not in problem.priors and len(problem.free) > 1:
            which = np.flatnonzero(ends.u[:, j] < start[j] - 1)
            if len(which):
                smaller = replace(problem, fixed={**problem.fixed, name: 0.0})
                yield smaller, np.delete(ends.u[which], j, 1), which
