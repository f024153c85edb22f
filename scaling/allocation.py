"""optimum(draws, C=...) -> DataFrame: the compute-optimal model size and tokens at a budget, with intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.bands import half_width
from scaling.errors import ScalingError
from scaling.fitting import Fit
from scaling.forecasting import interval
from scaling.intervals import Draws, bootstrap
from scaling.rehearsal import budget

Array = NDArray[np.float64]
GRID = 481
ROUNDS = 3  # the last grid steps 0.1% in N; the vertex of its parabola is good to 1e-6


def optimum(draws: Draws | Fit, *, C: Any, level: float = 0.9) -> pd.DataFrame:
    """N and D that minimise the law's loss at C = 6 N D FLOP, a row a budget, by search: any law of N and D.

    Columns: C, N, N_lo, N_hi, D, D_lo, D_hi, tokens_per_param (_lo, _hi), loss, lo, hi, beyond. The intervals of N, D
    are percentiles over the draws; that of the loss is a forecast's. Raises ScalingError where no size is best.
    """
    if isinstance(draws, Fit):
        draws = bootstrap(draws)
    fit, z = draws.fit, half_width(level)
    if not fit.law.weighs_sizes:
        raise ScalingError(
            f"optimum needs a law of N and D, such as chinchilla, that predicts a loss; {fit.law.name} reads "
            f"{', '.join(fit.law.inputs)} and predicts {fit.law.predicts}"
        )
    budgets = np.atleast_1d(np.asarray(C, dtype=float))
    if budgets.ndim != 1 or not (np.isfinite(budgets) & (budgets > 36)).all():
        raise ScalingError(f"C must be FLOP budgets, positive and finite, got {C}")
    own = np.array([[fit.params[name] for name in fit.law.names]])
    tail = (1 - level) / 2
    rows = []
    for c in budgets:
        best, loss = best_size(fit, own, c)
        if np.isnan(best[0]):
            raise ScalingError(
                f"{fit.law.name} has no compute-optimal size at C = {c:g}: its loss falls to the edge of the range; "
                f"the fit's problems: {'; '.join(fit.problems) or 'none found'}"
            )
        sizes, losses = best_size(fit, draws.params, c)
        n_lo, n_hi = np.nanquantile(sizes, [tail, 1 - tail])
        d_lo, d_hi = c / (6 * n_hi), c / (6 * n_lo)
        n, d = float(best[0]), float(c / (6 * best[0]))
        beyond = np.array([c / budget(fit, fit.table).max()])
        band = interval(draws, loss, np.log(losses)[:, None], beyond, z)
        rows.append(
            {
                "C": c, "N": n, "N_lo": n_lo, "N_hi": n_hi, "D": d, "D_lo": d_lo, "D_hi": d_hi,
                "tokens_per_param": d / n, "tokens_per_param_lo": d_lo / n_hi, "tokens_per_param_hi": d_hi / n_lo,
            }
            | {name: float(band[name][0]) for name in ("loss", "lo", "hi", "beyond")}
        )  # fmt: skip
    return pd.DataFrame(rows)


def best_size(fit: Fit, params: Array, c: float) -> tuple[Array, Array]:
    """N of least loss and that loss under each parameter row (B, p), by grids that close in; NaN at an edge."""
    rows = np.arange(len(params))
    lo, hi = np.zeros(len(params)), np.full(len(params), np.log(c / 6))
    edge = np.zeros(len(params), bool)
    at, loss = lo, lo
    for round_ in range(ROUNDS):
        u = lo[:, None] + (hi - lo)[:, None] * np.linspace(0, 1, GRID if round_ == 0 else 21)
        size = np.exp(u)
        columns = {name: params[:, i : i + 1] for i, name in enumerate(fit.law.names)}
        with np.errstate(all="ignore"):
            values = np.asarray(fit.law.function(size, c / (6 * size), **columns), dtype=float)
        values = np.where(np.isfinite(values), values, np.inf)
        k = values.argmin(1)
        if round_ == 0:
            edge = (k == 0) | (k == u.shape[1] - 1)
        k = np.clip(k, 1, u.shape[1] - 2)
        at, loss = u[rows, k], values[rows, k]
        if round_ == ROUNDS - 1:
            at = at + _vertex(values, rows, k) * (u[rows, k] - u[rows, k - 1])
        lo, hi = u[rows, k - 1], u[rows, k + 1]
    return np.where(edge, np.nan, np.exp(at)), np.where(edge, np.nan, loss)


def _vertex(values: Array, rows: NDArray[np.int64], k: NDArray[np.int64]) -> Array:
    """Where between its neighbours the parabola through three values has its vertex, in steps from the middle one."""
    left, middle, right = values[rows, k - 1], values[rows, k], values[rows, k + 1]
    bend = left - 2 * middle + right
    with np.errstate(all="ignore"):
        return np.where(bend > 0, np.clip(0.5 * (left - right) / bend, -1, 1), 0.0)
