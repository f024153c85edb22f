"""profile(fit, "alpha") -> Profile: the values that the data allow a parameter, or anything that follows from the fit.

A bootstrap asks how far the estimate would move; a profile asks which values fit nearly as well, and so sees a valley
that no resample leaves. How much worse is too much is said in `scaling/tracing.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.allocation import best_size
from scaling.constrained import Quantity
from scaling.errors import ScalingError, nearest
from scaling.fitting import Fit, law_inputs, problem_of
from scaling.intervals import clusters
from scaling.objective import Objective
from scaling.problem import Problem
from scaling.search import minimise_near
from scaling.solution import off_bounds
from scaling.standing import standing
from scaling.tracing import trace, trace_from_zero

Array = NDArray[np.float64]
DERIVED = ("loss", "N_opt", "D_opt", "tokens_per_param")
NARROW = 1e-2  # step in ln N of the differences that find a best size


@dataclass(frozen=True, eq=False)
class Profile:
    """`curve` has a row a value: the quantity, the least `objective` there, `t` (the signed root of its rise, in units
    of noise) and the law's parameters. lo and hi are where |t| reaches the critical value of `level`; where it never
    does, lo or hi is the bound, and `notes` says so."""

    what: str
    value: float
    lo: float
    hi: float
    level: float
    critical: float
    curve: pd.DataFrame
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Profile({self.what} = {self.value:.5g}, {self.level:.0%} interval {self.lo:.5g} to {self.hi:.5g})"


@dataclass(frozen=True, eq=False)
class _Target:
    """A quantity on its own scale: `natural` takes the logarithm (or other coordinate) back, `limits` bound it."""

    quantity: Quantity
    natural: Any
    falls: bool = False  # whether natural decreases


def profile(fit: Fit, what: str, *, level: float = 0.9, **at: Any) -> Profile:
    """The interval of a parameter or of a derived quantity by the profile of the fit's own objective.

    what   a parameter; "loss" at inputs named as the table's columns (N=7e10, D=1.4e12, or C=1e24); or "N_opt",
           "D_opt", "tokens_per_param" at a budget C=1e24
    level  chance that the interval should cover the value of the law that is nearest to the truth. It holds no drift
           of the law itself: forecasts with `forecast` do

    A tied parameter has the profile of the one it follows. Raises ScalingError for what the law does not have, for a
    parameter that is fixed, and for a law of whole curves.
    """
    if not 0 < level < 1:
        raise ScalingError(f"level is the chance that the interval covers, between 0 and 1; got {level}")
    if fit.law.kind == "curves":
        raise ScalingError(
            f"{fit.law.name} describes whole curves, whose rows share their noise in ways a profile cannot count; use "
            "bootstrap, which leaves out one curve at a time"
        )
    problem = problem_of(fit)
    target = _target(fit, problem, what, at)
    label = what if not at else f"{what} at " + ", ".join(f"{k}={float(v):.6g}" for k, v in at.items())
    u = problem.coordinates(fit.free_values[None])[0]
    notes: list[str] = []
    source = fit.tied.get(what, what)
    groups = clusters(fit)
    count = int(groups.max()) + 1
    shared = groups if count < len(groups) else None
    if source in fit.at_bound:
        found = trace_from_zero(problem, source, fit.free_values, fit.value, level, count, shared)
        notes.append(f"{source} is at its bound 0: the interval is one-sided")
    else:
        if fit.at_bound:  # a term of 0 may return as the quantity is moved: searches start with a little of it
            u = minimise_near(problem, off_bounds(problem, fit.free_values, 1e-4)[None]).u[0]
        found = trace(problem, target.quantity, u, standing(problem, u, shared), level, count)
    values = target.natural(found.at)
    theta = problem.natural(found.u)
    columns = problem.parameters(theta)
    curve = pd.DataFrame({what: values, "objective": found.cost, "t": -found.root if target.falls else found.root})
    for name in fit.law.names:
        if name != what:
            curve[name] = columns[name][:, 0]
    curve = curve[np.isfinite(curve["objective"])].sort_values(what, ignore_index=True)
    lo, hi = sorted(float(target.natural(np.array([end]))[0]) for end in (found.lo, found.hi))
    low, high = (found.hi, found.lo) if target.falls else (found.lo, found.hi)
    if np.isinf(low) and source not in fit.at_bound:
        notes.append(f"the data set no lower end: {label} down to {lo:g} fits")
    if np.isinf(high):
        notes.append(f"the data set no upper end: {label} up to {hi:g} fits")
    if found.better:
        notes.append("a better optimum was found on the way; fit again with more starts=")
    own = fit.params[what] if what in fit.params else float(target.natural(target.quantity.values(u[None]))[0])
    return Profile(label, own, lo, hi, level, found.critical, curve, tuple(notes))


def _target(fit: Fit, problem: Problem, what: str, at: dict[str, Any]) -> _Target:
    if what in fit.law.names:
        if at:
            raise ScalingError(f"{what} is a parameter and is the same everywhere; leave out {', '.join(at)}")
        name = fit.tied.get(what, what)
        if name in fit.fixed:
            raise ScalingError(f"{what} is fixed at {fit.params[what]:g}: there is nothing to profile")
        return _parameter(problem, name)
    if what == "loss":
        inputs = law_inputs(fit, at)
        if any(np.size(a) != 1 for a in inputs):
            raise ScalingError("a profile is of one loss: give one number for each of " + ", ".join(at))
        return _Target(_loss(problem, tuple(np.reshape(a, 1).astype(float) for a in inputs)), np.exp)
    if what not in DERIVED:
        raise ScalingError(f"no parameter or derived quantity {what!r}; {nearest(what, [*fit.law.names, *DERIVED])}")
    if not fit.law.weighs_sizes:
        raise ScalingError(f"{what} needs a law of N and D, such as chinchilla; {fit.law.name} is not one")
    if set(at) != {"C"} or not (np.isfinite(at["C"]) and at["C"] > 36):
        raise ScalingError(f"{what} is taken at a budget: C=1e24, in FLOP, one number")
    c = float(at["C"])
    own, _ = best_size(fit, np.array([[fit.params[name] for name in fit.law.names]]), c)
    # ln N_opt is all but linear in the coordinates, and second differences of it would cost more than they save
    quantity = Quantity(lambda u: _best(problem, u, c, float(np.log(own[0]))), linear=True)
    if not np.isfinite(own).all():
        raise ScalingError(
            f"{fit.law.name} has no compute-optimal size at C = {c:g}: its loss falls to the range's end"
        )
    if what == "N_opt":
        return _Target(quantity, np.exp)
    if what == "D_opt":
        return _Target(quantity, lambda q: c / 6 * np.exp(-q), falls=True)
    return _Target(quantity, lambda q: c / 6 * np.exp(-2 * q), falls=True)


def _parameter(problem: Problem, name: str) -> _Target:
    j = problem.free.index(name)
    along = np.eye(len(problem.free))[j]

    def natural(q: Array) -> Array:
        u = np.zeros((len(q), len(problem.free)))
        u[:, j] = q
        return problem.natural(u)[:, j]

    return _Target(Quantity(lambda u: u[:, j], lambda u: np.broadcast_to(along, u.shape), linear=True), natural)


def _loss(problem: Problem, inputs: tuple[Array, ...]) -> Quantity:
    """ln of the law's loss at one point, with its exact gradient: the residual of a problem of one row with loss 1."""
    one = np.ones(1)
    there = Problem(problem.law, inputs, one, one, Objective("log", "squared"), problem.fixed, problem.tied)
    return Quantity(lambda u: there.residuals(u)[:, 0], lambda u: there.jacobian(u)[1][:, :, 0])


def _best(problem: Problem, u: Array, c: float, start: float) -> Array:
    """ln of the compute-optimal N at C = c under coordinates u (B, k): (B,), NaN where there is none.

    Newton on differences of a fixed step, which makes it smooth in the parameters and moves it by less than 1e-5.
    """
    columns = problem.parameters(problem.natural(u))
    q = np.full(len(u), start)
    for _ in range(40):
        n = np.exp(q[:, None] + np.array([-NARROW, 0.0, NARROW]))
        with np.errstate(all="ignore"):
            f = np.asarray(problem.law.function(n, c / (6 * n), **columns), dtype=float)
            bend = (f[:, 0] - 2 * f[:, 1] + f[:, 2]) / NARROW**2
            move = -(f[:, 2] - f[:, 0]) / (2 * NARROW) / np.where(bend > 0, bend, np.nan)
        q = q + np.clip(move, -1.0, 1.0)
        if not (np.abs(move) > 1e-11).any():
            break
    return q
