"""Rehearsed forecasts: hide a table's own largest budgets, fit the rest, forecast what was hidden, and see.

The errors say what this law, on these runs, would have got wrong had the forecast been made earlier.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.curve_bands import left_out
from scaling.fitting import Fit, problem_of
from scaling.search import minimise_near

Array = NDArray[np.float64]
STEP = 1.9  # cuts stand at least this factor apart in compute
AHEAD = 1.9 * 0.998  # rows this factor beyond the cut are scored; budgets are rounded
MERGED = 1.02  # budgets closer than this factor are one: isoFLOP runs meet theirs only nearly
SPAN = 3.0  # least range of compute in a rehearsed fit
FEWEST = 8  # rows a rehearsed fit must have, and at least two more than parameters
CURVE_COLUMNS = ["run", "rows", "rmse", "bias", "final_error", "covered"]
LEVELS = 3  # distinct values of every input in a rehearsed fit


def budget(fit: Fit, inputs: dict[str, Array] | pd.DataFrame) -> Array:
    """What distance is measured in: 6 N D where the law reads N and D, else C, else the product of the inputs that
    cannot be 0; without any of these nothing is beyond."""
    values = {fit.columns[name]: np.asarray(inputs[fit.columns[name]], dtype=float) for name in fit.law.inputs}
    if {"N", "D"} <= set(values):
        return 6 * values["N"] * values["D"]
    if "C" in values:
        return values["C"]
    sizes = [values[fit.columns[name]] for name in fit.law.inputs if name not in (*fit.law.zero, *fit.law.simplex)]
    return np.prod(sizes, axis=0) if sizes else np.ones(len(next(iter(values.values()))))


def rehearse(fit: Fit, without: Array | None = None) -> pd.DataFrame:
    """One row a rehearsed forecast: cut, fitted (rows), run, beyond (budget / cut), observed, predicted, error.

    error is ln(predicted / observed), a difference for what may be 0 or negative. Empty when the table cannot support a
    rehearsal: too few rows or too short a range. For a law of whole curves the rows are curves, each predicted by the
    fit without it (`without`, one row a curve).
    """
    if fit.law.kind == "curves":
        return pd.DataFrame(columns=CURVE_COLUMNS) if without is None else left_out(fit, without)
    columns = ["cut", "fitted", "run", "beyond", "observed", "predicted", "error"]
    problem = problem_of(fit)
    size = budget(fit, fit.table)
    inputs = np.stack([fit.table[fit.columns[name]].to_numpy(float) for name in fit.law.inputs])
    cuts = expanding_cuts(size, inputs, max(FEWEST, len(problem.free) + 2))
    if not cuts or not problem.free:
        return pd.DataFrame(columns=columns)
    weights = problem.weights * np.array([size <= cut for cut in cuts])
    start = np.repeat(problem.coordinates(fit.free_values[None]), len(cuts), 0)
    ends = minimise_near(problem, start, weights)
    predicted = problem.predicted(problem.natural(ends.u))
    runs = fit.table["run"].to_numpy() if "run" in fit.table else fit.table.index.to_numpy()
    frames = []
    for i, cut in enumerate(cuts):
        ahead = size >= AHEAD * cut
        observed = problem.loss[ahead]
        frames.append(
            pd.DataFrame(
                {
                    "cut": cut,
                    "fitted": int((size <= cut).sum()),
                    "run": runs[ahead],
                    "beyond": size[ahead] / cut,
                    "observed": observed,
                    "predicted": predicted[i, ahead],
                    "error": problem.apart(predicted)[i, ahead],
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def expanding_cuts(size: Array, inputs: Array, fewest: int = FEWEST) -> list[float]:
    """Budgets c such that rows up to c can be fitted and rows from 1.9 c on be scored, each 1.9 times the one before.

    size (n,) is what distance is measured in, inputs (columns, n). Budgets within 2% are one.
    """
    cuts: list[float] = []
    levels = np.unique(size)
    for cut, following in pairwise(levels):
        inside = size <= cut
        if following < MERGED * cut or (cuts and cut < STEP * cuts[-1]) or size.max() < AHEAD * cut:
            continue
        if too_little(size[inside], inputs[:, inside], fewest):
            continue
        cuts.append(float(cut))
    return cuts


def too_little(size: Array, inputs: Array, fewest: int = FEWEST) -> str:
    """In words, why rows cannot carry a fit that is asked about larger ones; empty when they can."""
    if len(size) < fewest:
        return f"{len(size)} rows, and {fewest} are needed"
    with np.errstate(divide="ignore"):  # an input may be 0 in some laws: that is a level too
        levels = [len(np.unique(np.round(np.log(values), 2))) for values in inputs]
    if min(levels) < LEVELS:
        return f"an input with {min(levels)} level{'s' * (min(levels) > 1)}, and {LEVELS} are needed"
    if size.max() < SPAN * size.min():
        return f"a range of {size.max() / size.min():.2g} times from the least to the largest, and {SPAN:g} are needed"
    return ""


#: Standard deviation of ln loss that a forecast gains with each decade beyond the data, before a table has rehearsed:
#: fitted to 15 public tables of seven studies (docs/fitting.md), where raw bootstraps covered 20-56% at nominal 90%.
PER_DECADE = 0.015
PRIOR_CUTS = 4.0  # the public tables count as much as this many cuts of the user's own


def drift_per_decade(fit: Fit, rehearsal: pd.DataFrame) -> float:
    """Standard deviation of ln loss gained with each decade beyond the data: public tables and this one's rehearsal."""
    # of what may be 0 or negative, the public tables' share is taken of its typical size
    size = float(np.median(np.abs(fit.table[fit.columns["loss"]]))) if fit.law.signed else 1.0
    total, cuts = PRIOR_CUTS * (PER_DECADE * size) ** 2, PRIOR_CUTS
    if len(rehearsal):
        for _, rows in rehearsal.groupby("cut"):
            decades = np.log10(rows["beyond"].to_numpy())
            excess = np.maximum(rows["error"].to_numpy() ** 2 - fit.residual_sd**2, 0.0)
            total += float(excess.sum() / (decades**2).sum())
            cuts += 1
    return float(np.sqrt(total / cuts))
