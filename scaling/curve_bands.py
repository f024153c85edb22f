"""Bands of whole curves: how far a law of curves is off on a schedule that it has not seen.

Residuals of the fitted curves say nothing of it: the law's own error differs between schedules, and every band made of
residuals, by the Hessian or by any bootstrap of rows, covered 29-61% of what it claimed (docs/annealing.md). What does
show it is how the prediction moves when a whole curve is left out. With one or two curves nothing can be left out, and
the band is that of the law's priors, conditioned on the curves.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.bands import half_width, spread
from scaling.curve_checks import beyond_the_curves
from scaling.fitting import Fit, problem_of
from scaling.problem import Problem
from scaling.search import descend, minimise_near

Array = NDArray[np.float64]
#: Standard deviation of ln loss between two runs of one schedule: in Luo 2025's curves those at a constant rate that
#: are logged twice differ by .0010 to .0013 in loss beyond step 10,000.
RUN_TO_RUN = 5e-4
MOST = 12  # curves up to which every pair is left out, to see what bands made without a curve hold of it
DRAWN = 40  # draws from priors


def curve_band(draws: Any, arguments: tuple[Any, ...], z: float) -> pd.DataFrame:
    """Columns step, loss, lo, hi at every row of the schedule that `arguments` begin with; `attrs["said"]` has where it
    leaves the fitted ones."""
    fit: Fit = draws.fit
    frame = pd.DataFrame({"step": np.concatenate(arguments[0].steps), **curve_interval(draws, arguments, z)})
    fitted = [fit.table.attrs["schedules"].lr[str(run)] for run in fit.table["run"].unique()]
    frame.attrs["said"] = [word for lr in arguments[0].lrs for word in beyond_the_curves(fitted, lr)]
    return frame


def curve_interval(draws: Any, arguments: tuple[Any, ...], z: float) -> dict[str, Array]:
    """Columns loss, lo, hi of a law of whole curves at every row of its trajectory, NaN before the first update."""
    fit: Fit = draws.fit
    with np.errstate(divide="ignore", invalid="ignore"):  # steps before the first update above 0 have no loss
        loss = np.asarray(fit.law.function(*arguments, **fit.params), dtype=float)
        loss = np.where(np.isfinite(loss), loss, np.nan)
        sd = band_sd(fit, loss, one_by_one(fit, draws.params, arguments, draws.method), draws.method)
    return {"loss": loss, "lo": loss * np.exp(-z * sd), "hi": loss * np.exp(z * sd)}


def band_sd(fit: Fit, loss: Array, refits: Array, method: str) -> Array:
    """Standard deviation (n,) of ln loss about `loss` (n,), from the refits' losses (B, n)."""
    return np.sqrt((deviation(loss, refits, method) / loss) ** 2 + fit.residual_sd**2 + RUN_TO_RUN**2)


def deviation(value: Array, refits: Array, method: str) -> Array:
    """Standard deviation (n,) of what the fit puts at `value` (n,) and the refits at `refits` (B, n).

    The jackknife sums squares about the fit of all curves, not about the refits' mean: with three curves that mean is
    itself far off.
    """
    if method in ("jackknife", "prior"):
        total = ((refits - value) ** 2).mean(0)
        return np.asarray(np.sqrt(total * (len(refits) - 1 if method == "jackknife" else 1)))
    return spread(refits)


def one_by_one(fit: Fit, params: Array, arguments: tuple[Any, ...], method: str = "jackknife") -> Array:
    """The law at its inputs under every draw (B, n); of many like ones, 200 give a spread to 5%."""
    step = max(1, len(params) // 200) if method == "blocks" else 1
    named = [dict(zip(fit.law.names, row, strict=True)) for row in params[::step]]
    return np.stack([np.asarray(fit.law.function(*arguments, **p), dtype=float) for p in named])


def prior_draws(fit: Fit, kick: Array, seed: int) -> Array:
    """Parameters (B, p) of refits whose priors are centred at draws from themselves and whose residuals are multiplied
    by kick (B, n): draws from the posterior, up to what the equation bends (randomise then optimise; Bardsley 2014)."""
    rng = np.random.default_rng(seed)
    problem = problem_of(fit)
    start = problem.coordinates(np.maximum(fit.free_values, 1e-12)[None])
    residual = problem.residuals(problem.coordinates(fit.free_values[None]))[0]
    found = []
    for row in kick:
        priors = {
            name: replace(
                p,
                centre=p.centre * np.exp(p.sd * rng.normal())
                if fit.law.param(name).lo >= 0
                else p.centre + p.sd * rng.normal(),
            )
            for name, p in problem.priors.items()
        }
        drawn = replace(problem, priors=priors)
        shift = (residual * (1 - row))[None]
        near = descend(drawn, start, shift=shift, exact=False, iterations=60, tolerance=1e-7)
        found.append(_row(drawn, near.u))
    return np.concatenate(found)


def _row(problem: Problem, u: Array) -> Array:
    values = problem.parameters(problem.natural(u))
    return np.concatenate([values[name] for name in problem.law.names], axis=1)


def left_out(fit: Fit, params: Array, level: float = 0.9) -> pd.DataFrame:
    """Each curve predicted by the fit without it, `params` (curves, p): run, rows, rmse, bias, final_error in ln loss.

    covered is the share of its rows inside the band of the other curves' own jackknife; empty with fewer than 3 curves
    or more than 12.
    """
    problem = problem_of(fit)
    groups = fit.table.groupby("run", sort=False).indices
    values = one_by_one(fit, params, problem.inputs)
    pairs = _pairs(fit, problem, [np.asarray(at) for at in groups.values()]) if 3 <= len(groups) <= MOST else {}
    rows = []
    for i, (run, at) in enumerate(groups.items()):
        error = np.log(values[i][at] / problem.loss[at])
        covered = np.nan
        if pairs:
            others = np.stack([pairs[min(i, j), max(i, j)][at] for j in range(len(groups)) if j != i])
            sd = band_sd(fit, values[i][at], others, "jackknife")
            covered = float((np.abs(error) <= half_width(level) * sd).mean())
        rows.append((run, len(at), float(np.sqrt(np.mean(error**2))), float(error.mean()), float(error[-1]), covered))
    return pd.DataFrame(rows, columns=["run", "rows", "rmse", "bias", "final_error", "covered"])


def _pairs(fit: Fit, problem: Problem, groups: list[NDArray[np.int64]]) -> dict[tuple[int, int], Array]:
    """The law at the fit's own rows, (n,), for every pair of curves left out."""
    which = list(combinations(range(len(groups)), 2))
    weights = np.tile(problem.weights, (len(which), 1))
    for row, pair in zip(weights, which, strict=True):
        for i in pair:
            row[groups[i]] = 0.0
    start = np.repeat(problem.coordinates(fit.free_values[None]), len(which), 0)
    ends = minimise_near(problem, start, weights)
    values = one_by_one(fit, _row(problem, ends.u), problem.inputs)
    return dict(zip(which, values, strict=True))
