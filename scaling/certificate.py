"""How good a fit is, in words, problems first, each with its next step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.problem import Problem
from scaling.search import AGREE, Ends, law_curvature

Array = NDArray[np.float64]
EDGE = 1e-6  # a parameter this close to its bound, relative to its range, stands on it
VAGUE = 1.0  # standard error of a logarithm above which a parameter is not determined


def diagnose(problem: Problem, best: Array, ends: Ends, table: pd.DataFrame, columns: dict[str, str]) -> list[str]:
    """Problems of the fit that ended at coordinates `best` (k,): an empty list is a good fit."""
    at_edge = _edges(problem, best)
    return [
        *_coverage(problem, table, columns),
        *_agreement(ends),
        *at_edge.values(),
        *_undetermined(problem, best, set(at_edge)),
    ]


def _coverage(problem: Problem, table: pd.DataFrame, columns: dict[str, str]) -> list[str]:
    said = []
    free, rows = len(problem.free), len(problem.loss)
    if rows < free + 3:
        said.append(
            f"{rows} rows for {free} free parameters leave nothing to check the law with; add runs, or hold a "
            "parameter with fix= or tie="
        )
    if problem.law.kind == "curves":
        lrs = [table.attrs["schedules"].lr[str(run)] for run in table["run"].unique()]
        if all((np.diff(lr[int(np.argmax(lr)) :]) >= 0).all() for lr in lrs):
            said.append(
                "no curve has a falling learning rate, so annealing is not identified; add a run with a decay (wsd "
                "or cosine)"
            )
        return said
    logs = {name: np.log(table[column].to_numpy(float)) for name, column in columns.items() if name != "loss"}
    for name, values in logs.items():
        levels = len(np.unique(np.round(values, 2)))
        if levels < 3:
            said.append(
                f"{columns[name]} has {levels} level{'s' * (levels > 1)}; an exponent needs 3 or more: add runs at "
                f"other {columns[name]}"
            )
    if len(logs) == 2:
        a, b = logs.values()
        if a.std() > 0 and b.std() > 0 and abs(np.corrcoef(a, b)[0, 1]) > 0.99:
            names = " and ".join(columns[n] for n in logs)
            said.append(
                f"{names} rise together in all rows, so their terms cannot be told apart; vary one at a fixed other"
            )
    return said


def _agreement(ends: Ends) -> list[str]:
    best = ends.cost.min()
    agree = int((ends.cost <= best * (1 + AGREE) + 1e-15).sum())
    said = []
    if not ends.converged[int(np.argmin(ends.cost))]:
        said.append("the search stopped before it converged; try more starts=, or a law with fewer parameters")
    if len(ends.cost) > 1 and agree == 1:
        said.append(
            f"only 1 of {len(ends.cost)} starts reached the best objective; raise starts= and see whether it falls "
            "further"
        )
    return said


def _edges(problem: Problem, best: Array) -> dict[str, str]:
    said = {}
    theta = problem.natural(best[None])[0]
    least = float(problem.loss.min())
    for name, value in zip(problem.free, theta, strict=True):
        p = problem.law.param(name)
        if p.linear and p.lo == 0 and _share(problem, name, theta) < EDGE:
            said[name] = (
                f"{name} is at its lower bound 0: the data ask for no such term; drop it with fix={{'{name}': 0.0}} "
                "or add runs that show it"
            )
        elif np.isfinite(p.hi) and min(value - p.lo, p.hi - value) < EDGE * (p.hi - p.lo) * 10:
            bound = p.lo if value - p.lo < p.hi - value else p.hi
            said[name] = (
                f"{name} is at its bound {bound:g}: the law does not describe these data, or they do not reach far "
                "enough"
            )
        elif p.linear and name in ("E", "L0", "L_inf") and value > least:
            said[name] = (
                f"{name} = {value:.4g} lies above the least loss {least:.4g}: the law does not describe these data"
            )
    return said


def _share(problem: Problem, name: str, theta: Array) -> float:
    """Largest share of the loss that a linear parameter's term has in any row."""
    without = theta.copy()
    without[problem.free.index(name)] = 0.0
    both = problem.predicted(np.stack([theta, without]))
    return float(np.max(np.abs(both[0] - both[1]) / np.abs(both[0])))


def _undetermined(problem: Problem, best: Array, known: set[str]) -> list[str]:
    errors, flat = log_errors(problem, best)
    said = []
    if flat:
        said.append(
            f"the data do not determine the direction {' against '.join(flat)}: predictions inside the data stand, "
            "these parameters and forecasts do not; hold one with fix= or widen the range of the runs"
        )
    for name, error in errors.items():
        if error > VAGUE and name not in known and name not in flat:
            factor = f"a factor of {np.exp(error):.3g}" if error < 20 else "many orders of magnitude"
            said.append(
                f"{name} is determined only to {factor} (one standard error); hold it with fix= or add runs farther "
                "apart"
            )
    return said


def log_errors(problem: Problem, best: Array) -> tuple[dict[str, float], list[str]]:
    """Sandwich standard errors of the searched coordinates, and the parameters of a direction with no curvature.

    Coordinates are logarithms of parameters bounded below (and near enough so for the others). M-estimation: Huber
    1967.
    """
    r, jac = problem.jacobian(best[None])
    slope = problem.weights * problem.objective.slope(r)
    curved = jac[0] * (problem.weights * problem.objective.curvature(r[0]))
    hessian = curved @ jac[0].T + law_curvature(problem, best[None], slope)[0]
    major = (jac[0] * (problem.weights * problem.objective.reweight(r[0]))) @ jac[0].T
    scale = np.sqrt(np.diag(major))
    dead = scale <= 1e-12 * max(float(scale.max(initial=0.0)), 1e-300)
    if dead.any():
        return {}, [n for n, d in zip(problem.free, dead, strict=True) if d]
    values, vectors = np.linalg.eigh(np.nan_to_num(hessian / np.outer(scale, scale)))
    if values[0] < 1e-9:
        return {}, [n for n, v in zip(problem.free, np.abs(vectors[:, 0]), strict=True) if v > 0.3]
    inverse = (vectors / values) @ vectors.T / np.outer(scale, scale)
    scores = jac[0] * slope[0]
    covariance = inverse @ (scores @ scores.T) @ inverse
    return dict(zip(problem.free, np.sqrt(np.diag(covariance)), strict=True)), []


def report(fit: Any) -> str:
    """The fit as text: law, problems, parameters, objective, rows."""
    lines = [f"{fit.law.name}: {fit.law.equation}", f"  {fit.law.cite}", ""]
    lines += [f"PROBLEM  {p}" for p in fit.problems] or ["no problems found"]
    lines += ["", fit.summary().to_string(float_format=lambda v: f"{v:.6g}", na_rep=""), ""]
    dropped = f", {len(fit.dropped)} dropped" if len(fit.dropped) else ""
    lines.append(f"objective  {fit.value:.7g}  sum of {fit.objective_name} over {len(fit.table)} rows{dropped}")
    lines.append(f"residual   {fit.residual_sd:.3%} (robust standard deviation of ln predicted / observed)")
    lines.append(f"search     {fit.agreed} of {fit.started} starts reached this optimum")
    for reason, rows in fit.dropped.groupby("reason", sort=False)["row"] if len(fit.dropped) else ():
        shown = ", ".join(map(str, rows.iloc[:5])) + (", ..." if len(rows) > 5 else "")
        lines.append(f"dropped    {len(rows)}: {reason} (row {shown})")
    lines += [f"note       {note}" for note in fit.notes]
    return "\n".join(lines)
