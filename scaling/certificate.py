"""How good a fit is, in words, problems first, each with its next step."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling import curve_checks
from scaling.constrained import Quantity
from scaling.problem import Problem
from scaling.search import AGREE
from scaling.solution import Solution, bounded_term
from scaling.standing import Standing
from scaling.tracing import trace, trace_from_zero

Array = NDArray[np.float64]
EDGE = 1e-5  # a parameter this close to its bound, relative to its range, stands on it
VAGUE = 1.0  # standard error of a logarithm above which a parameter is not determined
TOGETHER = 0.98  # correlation above which two vague parameters are determined only together
STEEP = 1e-5  # cosine of residuals and a column above which the end is no optimum; Newton steps end near 1e-8
ROUNDING = 1e-9  # residuals of ln loss below which a law passes through its rows
LOOSE = 0.1  # standard error of ln of the floor above which its range is traced
CHANCE = 1e-4  # of residuals as smooth as these by luck, below which the law's form is blamed
EXPLAINED = 0.5  # least share of the residuals' ranks that a smooth surface must explain to be worth saying
FLOORS = ("E", "L0", "L_inf")
ENOUGH = 20_000  # rows that tell whether residuals have a shape
LEVEL = 0.9  # of the range that is named for a floor


def diagnose(
    problem: Problem, found: Solution, stand: Standing, table: pd.DataFrame, columns: dict[str, str]
) -> list[str]:
    """Problems of a solved fit: an empty list is a good fit. `stand` is the solution's standing."""
    at_edge = _edges(problem, found)
    floor = _floor(problem, found, stand)
    return [
        *_coverage(problem, table, columns),
        *_agreement(found, stand),
        *_interpolation(found),
        *at_edge.values(),
        *floor.values(),
        *_undetermined(stand, set(at_edge) | set(floor)),
        *_shape(found, columns),
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
        return said + curve_checks.doubts(problem, table)
    logs = {
        name: _logs(problem, name, table[column].to_numpy(float)) for name, column in columns.items() if name != "loss"
    }
    for name, values in logs.items():
        levels = len(np.unique(np.round(values[:1000], 2)))
        if levels < 3:
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


def _logs(problem: Problem, name: str, values: Any) -> Array:
    """The logarithm of an input, or the input itself where it may be 0."""
    values = np.asarray(values, dtype=float)
    return values if name in problem.law.zero else np.log(values)


def _agreement(found: Solution, stand: Standing) -> list[str]:
    ends = found.ends
    near = _largest_residual(found) < ROUNDING
    if not near and (not ends.converged[found.best] or stand.gradient > STEEP):
        return [
            f"the search stopped before it converged (gradient norm {stand.gradient:.1g}, 0 at an optimum); try more "
            "starts=, or a law with fewer parameters"
        ]
    if len(ends.cost) > 1 and found.agreed == 1 and not near:
        second = np.sort(ends.cost)[1] / found.value - 1
        return [
            f"only 1 of {len(ends.cost)} starts reached the best objective (the next is {second:.2g} above it, "
            f"relatively; the same is {AGREE:g}); raise starts= and see whether it falls further"
        ]
    return []


def _largest_residual(found: Solution) -> float:
    problem = found.problem
    predicted = problem.predicted(problem.natural(found.u[None]))[0]
    size = np.abs(problem.loss).max() or 1.0  # of residuals in the unit of what is predicted
    return float(np.max(np.abs(problem.apart(predicted)))) / (size if problem.law.signed else 1.0)


def _interpolation(found: Solution) -> list[str]:
    largest = _largest_residual(found)
    if largest < ROUNDING and len(found.problem.loss) < len(found.problem.free) + 3:
        return [
            "the law passes through every row, as it must with so few: nothing here says that it is right; add runs, "
            "or hold a parameter with fix= or tie="
        ]
    return []


def _edges(problem: Problem, found: Solution) -> dict[str, str]:
    said = {
        name: f"{name} is at its lower bound 0: the data ask for no such term; drop it with fix={{'{name}': 0.0}} or "
        "add runs that show it"
        for name in found.collapsed
        if name not in FLOORS
    }
    theta = found.problem.natural(found.u[None])[0]
    least = float(problem.loss.min())
    for name, value in zip(found.problem.free, theta, strict=True):
        p = problem.law.param(name)
        if np.isfinite(p.hi) and min(value - p.lo, p.hi - value) < EDGE * (p.hi - p.lo):
            bound = p.lo if value - p.lo < p.hi - value else p.hi
            said[name] = (
                f"{name} is at its bound {bound:g}: the law does not describe these data, or they do not reach far "
                f"enough; add runs farther apart, try another law, or hold it with fix={{'{name}': VALUE}}"
            )
        elif name in FLOORS and bounded_term(problem, name) and value > least:
            said[name] = (
                f"{name} = {value:.4g} lies above the least loss {least:.4g}: the law does not describe these data; "
                "try another law, or leave out the runs that miss the trend"
            )
    return said


def _floor(problem: Problem, found: Solution, stand: Standing) -> dict[str, str]:
    """What the data leave open about the loss that no size removes: 0 bounds it below, the least loss above."""
    names = [n for n in FLOORS if n in problem.free and bounded_term(problem, n) and n not in problem.tied.values()]
    if not names or problem.law.kind == "curves":
        return {}
    name, least = names[0], float(problem.loss.min())
    groups = len(problem.loss)
    if name in found.collapsed:
        theta = np.array([0.0 if n in found.collapsed else _of(found, n) for n in problem.free])
        hi = float(np.exp(trace_from_zero(problem, name, theta, found.value, LEVEL, groups, None).hi))
        return {
            name: f"{name} is at its lower bound 0, and up to {min(hi, least):.4g} fits about as well ({LEVEL:.0%} "
            f"profile; the least loss is {least:.4g}): forecasts far out fall too low; hold it with "
            f"fix={{'{name}': VALUE}} or add larger runs"
        }
    if not stand.flat and stand.log_se[name] < LOOSE:
        return {}
    j = found.problem.free.index(name)
    along = np.eye(len(found.problem.free))[j]
    quantity = Quantity(lambda u: u[:, j], lambda u: np.broadcast_to(along, u.shape), linear=True)
    traced = trace(found.problem, quantity, found.u, stand, LEVEL, groups)
    lo, hi = float(np.exp(traced.lo)), min(float(np.exp(traced.hi)), least)
    if hi - lo < 0.5 * least:
        return {}
    return {
        name: f"{name} is not identified: any value from {lo:.3g} to {hi:.3g} fits about as well ({LEVEL:.0%} profile; "
        f"the least loss is {least:.4g}), so forecasts far out are open; hold it with fix={{'{name}': VALUE}} or add "
        "larger runs"
    }


def _of(found: Solution, name: str) -> float:
    return float(found.problem.natural(found.u[None])[0][found.problem.free.index(name)])


def _undetermined(stand: Standing, known: set[str]) -> list[str]:
    if stand.flat:
        return [
            f"the data do not determine the direction {' against '.join(stand.flat)}: predictions inside the data "
            "stand, these parameters and forecasts do not; hold one with fix= or widen the range of the runs"
        ]
    said = []
    errors = stand.log_se
    spread = np.array([errors[name] for name in stand.names])
    named: set[str] = set()
    correlation = np.abs(stand.covariance) / np.maximum(np.outer(spread, spread), 1e-300)
    for i, (name, error) in enumerate(errors.items()):
        if not error > VAGUE or name in known or name in named:
            continue
        factor = f"a factor of {np.exp(error):.3g}" if error < 20 else "many orders of magnitude"
        partners = [n for j, n in enumerate(stand.names) if j != i and correlation[i, j] > TOGETHER]
        if partners:
            named |= {name, *partners}
            which = f"{name} against {' and '.join(partners)}"
            said.append(
                f"the data hardly determine the direction {which}: {name} alone is known to {factor} (one standard "
                f"error), and only together with {' and '.join(partners)}; hold one with fix= or widen the range of "
                "the runs"
            )
        else:
            said.append(
                f"{name} is determined only to {factor} (one standard error); hold it with fix= or add runs farther "
                "apart"
            )
    return said


def _shape(found: Solution, columns: dict[str, str]) -> list[str]:
    """Whether residuals follow a smooth surface of the inputs, which noise does not: the law's form is wrong.

    An F-test of a quadratic surface (a cubic for one input) in the logarithms of the inputs, on normal scores of the
    residuals so that outliers count as ranks.
    """
    problem = found.problem
    if problem.law.kind == "curves" or _largest_residual(found) < ROUNDING:
        return []
    residuals, inputs = problem.residuals(found.u[None])[0], problem.inputs
    if len(residuals) > ENOUGH:
        rows = np.random.default_rng(0).choice(len(residuals), ENOUGH, replace=False)
        residuals, inputs = residuals[rows], tuple(np.asarray(x)[rows] for x in inputs)
    n, k = len(residuals), len(problem.free)
    named = zip(problem.law.inputs, inputs, strict=True)
    logs = [(x - x.mean()) / (x.std() or 1.0) for x in (_logs(problem, name, x) for name, x in named)]
    terms = [np.ones(n), *logs, *(x * y for i, x in enumerate(logs) for y in logs[i:])]
    terms += [x**3 for x in logs]
    surface = np.stack(terms, 1)
    normal = np.array([NormalDist().inv_cdf(i / (n + 1)) for i in range(1, n + 1)])
    scores = normal[np.argsort(np.argsort(residuals))]
    fitted, _, rank, _ = np.linalg.lstsq(surface, scores, rcond=1e-8)
    free = n - int(rank) - k
    if free < 8 or rank < 2:
        return []
    explained = 1 - float(((scores - surface @ fitted) ** 2).sum() / (scores**2).sum())
    if explained < EXPLAINED:
        return []
    from scipy.special import fdtrc  # costs a third of a second to import: only who needs it pays

    if fdtrc(rank - 1, free, explained / (rank - 1) / max((1 - explained) / free, 1e-300)) > CHANCE:
        return []
    names = " and ".join(("" if n in problem.law.zero else "ln ") + columns[n] for n in problem.law.inputs)
    return [
        f"the residuals are not noise: a smooth surface of {names} explains {explained:.0%} of them, so the law's form "
        "is not that of these data, and forecasts will miss by more than the scatter; try another law, or leave out "
        "the smallest runs"
    ]


def report(fit: Any) -> str:
    """The fit as text: law, problems, parameters, objective, rows."""
    lines = [f"{fit.law.name}: {fit.law.equation}", f"  {fit.law.cite}", ""]
    lines += [f"PROBLEM  {p}" for p in fit.problems] or ["no problems found"]
    lines += ["", fit.summary().to_string(float_format=lambda v: f"{v:.6g}", na_rep=""), ""]
    dropped = f", {len(fit.dropped)} dropped" if len(fit.dropped) else ""
    lines.append(f"objective  {fit.value:.7g}  sum of {fit.objective_name} over {len(fit.table)} rows{dropped}")
    lines.append(
        f"residual   {fit.residual_sd:.4g} {fit.law.unit} (robust standard deviation of predicted - observed)"
        if fit.law.signed
        else f"residual   {fit.residual_sd:.3%} (robust standard deviation of ln predicted / observed)"
    )
    lines.append(f"search     {fit.agreed} of {fit.started} starts reached this optimum")
    lines.append(f"standing   gradient norm {fit.gradient_norm:.1g} (0 at an optimum), condition {fit.condition:.2g}")
    for reason, rows in fit.dropped.groupby("reason", sort=False)["row"] if len(fit.dropped) else ():
        shown = ", ".join(map(str, rows.iloc[:5])) + (", ..." if len(rows) > 5 else "")
        lines.append(f"dropped    {len(rows)}: {reason} (row {shown})")
    lines += [f"note       {note}" for note in fit.notes]
    return "\n".join(lines)
