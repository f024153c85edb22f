"""fit(law, table) -> Fit: the optimum, where it stands, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling import certificate, curve_checks, units
from scaling.bands import robust_sd
from scaling.curves import assumptions, trajectory, with_schedules
from scaling.errors import FitError, ScalingError, TableError, nearest
from scaling.law import Law
from scaling.laws import find_law
from scaling.objective import Objective, find_objective, objective_name
from scaling.priors import Given, in_words, merged
from scaling.problem import Prior, Problem
from scaling.solution import solve
from scaling.standing import standing
from scaling.table import checkpoints, usable
from scaling.trajectory import Trajectory, whole

Array = NDArray[np.float64]
SHARES = 2e-3  # shares of one whole may miss a sum of 1 by this much: they are logged to three digits


@dataclass(frozen=True, eq=False)
class Fit:
    """A law fitted to a table. `value` is the minimised objective, summed over the rows of `table` and the `priors`.

    columns        what the law reads -> column of the table; under "loss" the column that it predicts
    at_bound       linear parameters that the data put at their bound 0
    gradient_norm  largest cosine between residuals and a parameter's column: 0 at an optimum, rounding aside
    condition      ratio of largest to least curvature, each parameter in its own scale
    dropped  rows left out, with reasons; problems: words, empty when the fit is good; notes: what was assumed
    """

    law: Law
    params: Mapping[str, float]
    value: float
    objective: Objective
    table: pd.DataFrame
    dropped: pd.DataFrame
    columns: Mapping[str, str]
    fixed: Mapping[str, float]
    tied: Mapping[str, str]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    started: int
    agreed: int
    log_se: Mapping[str, float]
    at_bound: tuple[str, ...]
    gradient_norm: float
    condition: float
    priors: Mapping[str, Prior] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """No problems found."""
        return not self.problems

    @property
    def objective_name(self) -> str:
        return objective_name(self.objective)

    @property
    def residuals(self) -> Array:
        """ln(predicted / observed) of every row; predicted - observed for laws of what may be 0 or negative."""
        problem = problem_of(self)
        return problem.apart(problem.predicted(self.free_values[None])[0])

    @property
    def residual_sd(self) -> float:
        """1.4826 times the median absolute residual: the standard deviation if the core is normal."""
        return robust_sd(self.residuals)

    @property
    def free_values(self) -> Array:
        return np.array([self.params[n] for n in self.law.names if n not in self.fixed and n not in self.tied])

    def predict(self, **inputs: Any) -> Array:
        """Loss in the table's unit: predict(N=..., D=...), or predict(schedule=lr_per_step) for a law of whole curves.

        Inputs are named as the table's columns, array-like, and broadcast; a curve law gives the loss after every step.
        """
        arguments = law_inputs(self, inputs)
        with np.errstate(divide="ignore"):  # before the first update above 0 a curve law has no loss to offer but inf
            return np.asarray(self.law.function(*arguments, **self.params), dtype=float)

    def summary(self) -> pd.DataFrame:
        """One row a parameter: value, standard error (sandwich, rows independent), unit, and how it was found."""
        rows = []
        for p in self.law.params:
            how = "fixed" if p.name in self.fixed else f"= {self.tied[p.name]}" if p.name in self.tied else "fitted"
            how = "at bound" if p.name in self.at_bound else how
            value = self.params[p.name]
            if np.isinf(p.lo):
                slope = 1.0
            else:
                slope = value - p.lo if np.isinf(p.hi) else (value - p.lo) * (p.hi - value) / (p.hi - p.lo)
            rows.append((p.name, value, self.log_se.get(p.name, np.nan) * slope, p.unit, how))
        return pd.DataFrame(rows, columns=["parameter", "value", "se", "unit", "how"]).set_index("parameter")

    def report(self) -> str:
        """The fit in words and numbers, problems first."""
        return certificate.report(self)

    def __repr__(self) -> str:
        values = ", ".join(f"{k}={v:.5g}" for k, v in self.params.items())
        return f"Fit({self.law.name}: {values}; objective {self.value:.7g}, {len(self.problems)} problems)"


def fit(
    law: str | Law,
    table: pd.DataFrame,
    *,
    x: str | None = None,
    objective: str | Objective | None = None,
    delta: float | None = None,
    quantile: float | None = None,
    weights: str | Any = None,
    se: str | None = None,
    fix: Mapping[str, float] | None = None,
    tie: Mapping[str, str] | None = None,
    priors: Given | None = None,
    starts: int = 16,
    seed: int = 0,
) -> Fit:
    """Fit a law to a table of runs, or a curve law to a table of curves, by the global minimum of a robust objective.

    law        a name in scaling.laws.LAWS or a Law of your own
    x          for laws of one variable, the column to use: "C", "N" or "D"
    objective  log-huber (delta 1e-3, summed), log-squared, huber, squared, or an Objective; by default log-huber, and
               squared for laws of what may be 0 or negative
    delta      Huber's threshold, in the objective's unit
    quantile   other than 0.5, the law is led through that quantile of the losses; a small one is their lower envelope
    weights    a column's name or one number a row; rows count in proportion
    se         a column of standard errors of the loss: rows count by the inverse of their relative variance, the
               median row once, in place of weights
    fix, tie   {"E": 1.69} holds a parameter; {"beta": "alpha"} makes one equal another
    priors     {"E": (1.8, 0.1)}: ln E normal about ln 1.8 with that standard deviation, as one more measurement, whose
               half square adds to the objective and to `value` (the parameter itself where it may be negative)
    starts     how many separate descents must be compared; seed: of the low-discrepancy grid they come from

    Raises TableError when a column or enough rows are missing, FitError when no start leads anywhere.
    """
    law = find_law(law)
    choice = find_objective(objective or default_objective(law), delta, quantile)
    if law.signed and choice.space == "log":
        raise ScalingError(
            f"{law.name} predicts {law.predicts}, which may be 0 or negative and has no logarithm; choose the "
            "objective squared or huber"
        )
    if starts < 1:
        raise ScalingError(f"starts must be at least 1, got {starts}")
    if not isinstance(table, pd.DataFrame):
        raise ScalingError(f"fit(law, table) takes a DataFrame, as from scaling.read_table; got {type(table).__name__}")
    if seed < 0:
        raise ScalingError(f"a seed is a whole number from 0 up, got {seed}")
    if not table.index.is_unique:  # as pd.concat leaves it
        attrs, table = table.attrs, table.reset_index(drop=True)
        table.attrs = {k: v for k, v in attrs.items() if k != "damaged"}
    columns = _columns(law, table, x)
    fixed, tied = _held(law, fix or {}, tie or {})
    believed = merged(law, priors or {}, fixed, tied)
    notes = [*table.attrs.get("notes", ()), *in_words(law, believed)]
    if law.kind == "curves":
        kept, dropped = _usable_curves(table, law, notes)
    else:
        kept, dropped = usable_rows(law, table, columns)
    if se is not None:
        weights = _precision(table, se, weights)
    weight = _weights(kept, table, weights)
    problem = _problem(law, kept, columns, choice, fixed, tied, weight, believed)
    if not len(kept) or len(kept) + len(believed) < len(problem.free):
        reasons = [f"{len(g)} because {reason}" for reason, g in dropped.groupby("reason", sort=False)]
        why = "; ".join(reasons[:4]) + ("; ..." if len(reasons) > 4 else "")
        raise TableError(
            f"{law.name} has {len(problem.free)} free parameters and needs at least as many rows; "
            f"{len(kept)} of {len(kept) + len(dropped)} rows can be used" + (f" (dropped {why})" if why else "")
        )
    if not problem.free:
        theta, started, agreed = np.empty(0), 0, 0
        at_bound: tuple[str, ...] = ()
        value = float(problem.cost(problem.residuals(np.empty((1, 0))))[0])
        problems: list[str] = []
        stand = standing(problem, theta)
    else:
        found = solve(problem, starts, seed)
        if found is None:
            raise FitError(
                f"{law.name}: no start gave a finite loss on these {len(kept)} rows; check the units of "
                f"{', '.join(columns.values())}"
            )
        value, started, agreed, at_bound = found.value, len(found.ends.cost), found.agreed, found.collapsed
        solved = found.problem.parameters(found.problem.natural(found.u[None]))
        theta = np.array([solved[name][0, 0] for name in problem.free])
        stand = standing(found.problem, found.u)
        problems = certificate.diagnose(problem, found, stand, kept, columns)
        if law.kind == "curves":
            notes += [
                *curve_checks.noise_note(kept),
                *curve_checks.ruled_by_priors(found.problem, found.u, stand.bread),
            ]
        if law.kind == "points":
            problems = [*checkpoints(kept, columns), *problems]
            notes = [note for note in notes if note not in table.attrs.get("checkpoints", ())]
            predicted = found.problem.predicted(found.problem.natural(found.u[None]))[0]
            if law.predicts == "loss":
                apart = units.of_residuals(problem.apart(predicted), kept.index)
                problems = [*units.suspicions(kept, columns), *([apart] if apart else []), *problems]
            notes += units.notes(kept)
    if len(kept) and law.kind == "points" and "run" in kept:
        shared = int(kept["run"].duplicated(keep=False).sum())
        notes += [f"{shared} rows share a run with others; they are resampled together"] if shared else []
    params = {k: float(v[0, 0]) for k, v in problem.parameters(theta[None]).items()}
    return Fit(
        law=law,
        params=MappingProxyType(params),
        value=value,
        objective=choice,
        table=_with_weight(kept, weights, weight),
        dropped=dropped,
        columns=MappingProxyType(columns),
        fixed=MappingProxyType(fixed),
        tied=MappingProxyType(tied),
        problems=tuple(problems),
        notes=tuple(dict.fromkeys(notes)),
        started=started,
        agreed=agreed,
        log_se=MappingProxyType(dict(stand.log_se)),
        at_bound=at_bound,
        gradient_norm=stand.gradient,
        condition=stand.condition,
        priors=MappingProxyType(believed),
    )


def problem_of(fit: Fit) -> Problem:
    """The minimisation behind a fit, on the rows it used."""
    weight = fit.table["_weight"].to_numpy(float) if "_weight" in fit.table else np.ones(len(fit.table))
    held = dict(fit.fixed), dict(fit.tied)
    return _problem(fit.law, fit.table, dict(fit.columns), fit.objective, *held, weight, dict(fit.priors))


def law_inputs(fit: Fit, given: Mapping[str, Any]) -> tuple[Any, ...]:
    """The law's inputs, in order, from keyword arguments named as the table's columns; raises ScalingError."""
    if fit.law.kind == "curves":
        if set(given) != set(fit.law.inputs):
            others = "".join(f" and {name}=" for name in fit.law.inputs[1:])
            raise ScalingError(
                f"{fit.law.name} predicts whole curves: give schedule=, the learning rate of every step{others}"
            )
        schedule = given["schedule"]
        path = schedule if isinstance(schedule, Trajectory) else whole(checked_schedule(schedule))
        rest = positive_arrays({name: given[name] for name in fit.law.inputs[1:]})
        return path, *rest.values()
    wanted = [fit.columns[name] for name in fit.law.inputs]
    if set(given) != set(wanted):
        raise ScalingError(f"{fit.law.name} was fitted on {', '.join(wanted)}; got {', '.join(given) or 'nothing'}")
    zero = tuple(fit.columns[name] for name in fit.law.zero)
    return tuple(positive_arrays({name: given[name] for name in wanted}, zero).values())


def positive_arrays(given: Mapping[str, Any], zero: tuple[str, ...] = ()) -> dict[str, Array]:
    """The named values as arrays of one shape; raises ScalingError unless they are positive (those in `zero` may be 0),
    finite and broadcast."""
    arrays = {name: np.asarray(values, dtype=float) for name, values in given.items()}
    for name, values in arrays.items():
        if not (np.isfinite(values) & ((values > 0) | ((values == 0) & (name in zero)))).all():
            raise ScalingError(f"{name} must be {'0 or ' if name in zero else ''}positive and finite, got {values}")
    try:
        return dict(zip(arrays, np.broadcast_arrays(*arrays.values()), strict=True))
    except ValueError:
        shapes = [values.shape for values in arrays.values()]
        raise ScalingError(f"{', '.join(arrays)} have lengths that do not match: {shapes}") from None


def checked_schedule(schedule: Any) -> Array:
    lr = np.asarray(schedule, dtype=float)
    if lr.ndim != 1 or not len(lr) or not (np.isfinite(lr) & (lr >= 0)).all() or not lr.any():
        raise ScalingError("schedule must be a list of learning rates, one a step, none negative, not all 0")
    return lr


def _columns(law: Law, table: pd.DataFrame, x: str | None) -> dict[str, str]:
    if law.kind == "curves":
        if x is not None:
            raise ScalingError(f"{law.name} describes whole curves and takes no x=")
        return {name: name for name in law.inputs[1:]} | {"loss": "loss"}
    if law.inputs == ("x",):
        if x is None:
            have = [c for c in ("C", "N", "D") if c in table]
            raise ScalingError(f'{law.name} is a law of one variable: say which column, as in x="{(have or ["C"])[0]}"')
        return {"x": x, "loss": law.predicts}
    if x is not None:
        raise ScalingError(f"{law.name} reads {', '.join(law.inputs)}; x= is for laws of one variable, such as power")
    return {name: name for name in law.inputs} | {"loss": law.predicts}


def default_objective(law: Law) -> str:
    """Residuals of the logarithm where there is one."""
    return "squared" if law.signed else "log-huber"


def usable_rows(law: Law, table: pd.DataFrame, columns: Mapping[str, str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows that a law of points can read, and the others with `row` and `reason` (see `scaling.table.usable`)."""
    zero = tuple(columns[name] for name in law.zero)
    kept, dropped = usable(table, columns, law.name, zero=zero, signed=(columns["loss"],) if law.signed else ())
    reasons: dict[Any, str] = {}
    if law.simplex and len(kept):
        whole = kept[[columns[name] for name in law.simplex]].sum(axis=1)
        for row, total in whole[(whole - 1).abs() > SHARES].items():
            reasons[row] = f"{' + '.join(columns[n] for n in law.simplex)} is {total:.4g}, not 1"
    for name, levels in law.levels.items():
        for row, value in kept[columns[name]][~kept[columns[name]].isin(levels)].items():
            reasons[row] = f"{columns[name]} is {value:g}, not one of {', '.join(f'{n:g}' for n in levels)}"
    if not reasons:
        return kept, dropped
    gone = pd.DataFrame({"row": list(reasons), "reason": list(reasons.values())})
    attrs, kept = kept.attrs, kept.drop(index=list(reasons))
    kept.attrs = attrs
    return kept, pd.concat([dropped, gone], ignore_index=True)


def _held(law: Law, fix: Mapping[str, float], tie: Mapping[str, str]) -> tuple[dict[str, float], dict[str, str]]:
    for name in [*fix, *tie, *tie.values()]:
        if name not in law.names:
            raise ScalingError(f"{law.name} has no parameter {name!r}; {nearest(name, law.names)}")
    for name, value in fix.items():
        p = law.param(name)
        if not (np.isfinite(value) and p.lo <= value <= p.hi):
            raise ScalingError(f"{name} must lie between {p.lo:g} and {p.hi:g}; fix asks for {value}")
    for name, source in tie.items():
        if name in fix or name == source or source in tie:
            raise ScalingError(f"tie {name}={source}: a tied parameter follows one other that is free or fixed itself")
    fixed = {k: float(v) for k, v in fix.items()}
    fixed |= {name: fixed[source] for name, source in tie.items() if source in fixed}
    return fixed, {name: source for name, source in tie.items() if source not in fixed}


def _usable_curves(table: pd.DataFrame, law: Law, notes: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    missing = [c for c in ("step", "loss") if c not in table]
    if missing:
        raise TableError(
            f"{law.name} reads curves with rows run, step, lr, loss; the table has "
            f"{', '.join(map(str, table.columns))}. Read a file of curves with scaling.read_curves"
        )
    if "schedules" not in table.attrs:
        table = with_schedules(table if "run" in table else table.assign(run="run"))
    damaged = {row for row, _ in table.attrs.get("damaged", {})}
    empty = table["loss"].isna() & ~table.index.isin(damaged)
    if empty.any():
        notes.append(f"{int(empty.sum())} rows without a loss were left out")
    attrs = table.attrs
    table = table[~empty].sort_values(["run", "step"], kind="stable")
    table.attrs = attrs
    also = {name: name for name in law.inputs[1:]}
    kept, dropped = usable(table, {"step": "step", "loss": "loss", **also}, law.name, positive=("loss", *also))
    fractional = kept["step"] != np.floor(kept["step"])
    if fractional.any():
        kept["step"] = np.floor(kept["step"])
        notes.append(f"{int(fractional.sum())} steps that were no whole numbers of updates were rounded down")
    idle = trajectory(kept).area <= 0 if len(kept) else np.zeros(0, bool)
    if idle.any():
        reason = "no update had a learning rate above 0 yet"
        gone = pd.DataFrame({"row": kept.index[idle], "reason": reason})
        kept, dropped = kept[~idle], pd.concat([dropped, gone], ignore_index=True)
        kept.attrs = attrs
    rates = [row for row, column in attrs.get("damaged", {}) if column == "lr" and row in kept.index]
    if rates:
        shown = ", ".join(map(str, rates[:5])) + (", ..." if len(rates) > 5 else "")
        notes.append(
            f"{len(rates)} learning rates were no numbers (row {shown}): their losses are kept, and the rates there "
            "are those of the run's other rows"
        )
    notes += assumptions(kept)
    return kept, dropped


def _precision(table: pd.DataFrame, se: str, weights: Any) -> Array:
    """Weights (rows of the table,) from a column of standard errors of the loss; 0 for rows that have none."""
    if weights is not None:
        raise ScalingError("give weights= or se=, not both")
    if se not in table:
        raise TableError(f"se names a column {se!r}; {nearest(se, map(str, table.columns))}")
    relative = pd.to_numeric(table[se], errors="coerce") / pd.to_numeric(table["loss"], errors="coerce")
    good = np.isfinite(relative) & (relative > 0)
    if not good.any():
        raise TableError(f"the column {se!r} has no standard error above 0")
    return np.where(good, (relative[good].median() / relative.where(good, 1.0)) ** 2, 0.0)


def _weights(kept: pd.DataFrame, table: pd.DataFrame, weights: Any) -> Array:
    if weights is None:
        return np.ones(len(kept))
    if isinstance(weights, str):
        if weights not in table:
            raise TableError(f"weights names a column {weights!r}; {nearest(weights, map(str, table.columns))}")
        values = pd.to_numeric(kept[weights], errors="coerce").to_numpy(float)
    else:
        array = np.asarray(weights, dtype=float)
        if array.shape != (len(table),):
            raise ScalingError(f"weights must have one number for each of {len(table)} rows, got shape {array.shape}")
        values = pd.Series(array, index=table.index).loc[kept.index].to_numpy()
    if not (np.isfinite(values) & (values >= 0)).all() or not values.any():
        raise ScalingError("weights must be finite, not negative, and not all 0")
    return values


def _with_weight(kept: pd.DataFrame, weights: Any, weight: Array) -> pd.DataFrame:
    if weights is not None:
        attrs = kept.attrs
        kept = kept.assign(_weight=weight)
        kept.attrs = attrs
    return kept


def _problem(
    law: Law,
    table: pd.DataFrame,
    columns: dict[str, str],
    objective: Objective,
    fixed: dict[str, float],
    tied: dict[str, str],
    weights: Array,
    priors: dict[str, Prior],
) -> Problem:
    inputs: tuple[Any, ...]
    if law.kind == "curves":
        inputs = (trajectory(table), *(table[columns[name]].to_numpy(float) for name in law.inputs[1:]))
    else:
        inputs = tuple(table[columns[name]].to_numpy(float) for name in law.inputs)
    return Problem(law, inputs, table[columns["loss"]].to_numpy(float), weights, objective, fixed, tied, priors)
