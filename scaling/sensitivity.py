"""sensitivity(fit) -> DataFrame: how far the headline numbers move under choices that nobody can defend to the end.

A number that moves with Huber's threshold, or with one run left out, by more than its interval has no such interval.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.allocation import best_size
from scaling.errors import ScalingError
from scaling.fitting import Fit, problem_of
from scaling.intervals import clusters
from scaling.objective import Objective, objective_name
from scaling.problem import Problem
from scaling.rehearsal import budget
from scaling.search import minimise, minimise_near, starts
from scaling.solution import off_bounds

Array = NDArray[np.float64]
DELTAS = (1e-4, 1e-3, 1e-2, 1e-1)
WORST = (0.02, 0.05, 0.1)  # shares of the rows, by absolute residual, that are left out
STARTS = 8  # of the refits under another objective; those that leave rows out start at the fit
FARTHER = 10.0  # the budget of the headline numbers, in multiples of the largest


def sensitivity(fit: Fit) -> pd.DataFrame:
    """Refits under other objectives, other thresholds, and without the worst rows or one cluster of runs.

    One row a refit: `kind` ("as fitted", "objective", "delta", "worst rows", "cluster"), `change`, `rows` used, the
    law's parameters and, for laws of points, `loss_10x`: the forecast at ten times the largest budget (its row's N and
    D each times the root of 10; for one variable that variable times 10). For laws of N and D also `N_opt` and
    `tokens_per_param` at ten times that budget. Missing where the refit found no finite objective or no best size.
    """
    if not fit.free_values.size:
        raise ScalingError("every parameter of this fit is fixed: nothing can move")
    problem = problem_of(fit)
    near = off_bounds(problem, fit.free_values)[None]
    rows = [("as fitted", fit.objective_name, len(problem.loss), fit.free_values)]
    for kind, objective in _objectives(fit.objective, fit.law.signed):
        other = replace(problem, objective=objective)
        ends = minimise(other, np.concatenate([near, starts(other, STARTS, seed=0)]))
        rows.append((kind, objective_name(objective), len(problem.loss), _ended(problem, ends.u, ends.cost)))
    without = list(_left_out(fit, problem))
    if without:
        weights = problem.weights * np.stack([keep for _, _, keep in without])
        ends = minimise_near(problem, np.repeat(near, len(without), 0), weights)
        for i, (kind, change, keep) in enumerate(without):
            theta = _ended(problem, ends.u[i : i + 1], ends.cost[i : i + 1])
            rows.append((kind, change, int(keep.sum()), theta))
    values = problem.parameters(np.stack([theta for *_, theta in rows]))
    params = np.concatenate([values[name] for name in fit.law.names], axis=1)
    frame = pd.DataFrame([row[:3] for row in rows], columns=["kind", "change", "rows"])
    frame[list(fit.law.names)] = params
    return frame.assign(**_headlines(fit, params))


def movements(frame: pd.DataFrame) -> pd.DataFrame:
    """The least and greatest of each number in each kind of refit: one row a kind and number, with where they stand."""
    said = []
    own = frame.iloc[0]
    for kind, part in frame.iloc[1:].groupby("kind", sort=False):
        for name in frame.columns[3:]:
            values = part[name].dropna()
            if not len(values):
                continue
            lo, hi = int(values.to_numpy().argmin()), int(values.to_numpy().argmax())
            changes = part["change"][values.index].to_list()
            said.append((kind, name, own[name], values.iloc[lo], changes[lo], values.iloc[hi], changes[hi]))
    return pd.DataFrame(said, columns=["kind", "number", "fitted", "least", "least_at", "greatest", "greatest_at"])


def _objectives(own: Objective, signed: bool) -> Iterator[tuple[str, Objective]]:
    for other in (
        Objective("log", "huber", 1e-3),
        Objective("log", "squared"),
        Objective("raw", "huber", 1e-3),
        Objective("raw", "squared"),
    ):
        if (other.space, other.loss) != (own.space, own.loss) and not (signed and other.space == "log"):
            yield "objective", other
    for delta in DELTAS:
        if own.loss == "huber" and delta != own.delta:
            yield "delta", replace(own, delta=delta)


def _left_out(fit: Fit, problem: Problem) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """Kind, words, and the rows that stay: refits that leave too few rows for the law are not tried."""
    n = len(problem.loss)
    order = np.argsort(-np.abs(fit.residuals), kind="stable")
    counts = dict.fromkeys([1, *(int(np.ceil(share * n)) for share in WORST)])
    for count in counts:
        keep = np.ones(n, bool)
        keep[order[:count]] = False
        if keep.sum() > len(problem.free):
            yield "worst rows", f"without the worst {count}" if count > 1 else "without the worst row", keep
    cluster = clusters(fit)
    first = np.unique(cluster, return_index=True)[1]
    named = next((c for c in ("trunk", "run") if c in fit.table and fit.table[c].notna().all()), None)
    for number, at in enumerate(first):
        keep = cluster != number
        if keep.sum() > len(problem.free):
            name = f"{named} {fit.table[named].iloc[at]}" if named else f"row {fit.table.index[at]}"
            yield "cluster", f"without {name}", keep


def _ended(problem: Problem, u: Array, cost: Array) -> Array:
    best = int(np.argmin(cost))
    theta = problem.natural(u[best : best + 1])[0]
    return theta if np.isfinite(cost[best]) else np.full_like(theta, np.nan)


def _headlines(fit: Fit, params: Array) -> dict[str, Array]:
    if fit.law.kind == "curves":
        return {}
    cost = budget(fit, fit.table)
    largest = fit.table.iloc[int(np.argmax(cost))]
    names = [fit.columns[name] for name in fit.law.inputs]
    step = FARTHER ** (1 / len(names))
    at = [np.array([float(largest[name]) * step]) for name in names]
    columns = {name: params[:, i : i + 1] for i, name in enumerate(fit.law.names)}
    with np.errstate(all="ignore"):
        loss = np.broadcast_to(np.asarray(fit.law.function(*at, **columns), dtype=float), (len(params), 1))[:, 0]
    found = {"loss_10x": np.where(np.isfinite(loss), loss, np.nan)}
    if fit.law.weighs_sizes:
        c = FARTHER * 6 * float(largest["N"]) * float(largest["D"])
        size, _ = best_size(fit, params, c)
        found |= {"N_opt": size, "tokens_per_param": c / (6 * size**2)}
    return found
