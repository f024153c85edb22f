"""Laws fitted for forecasting: weak priors on the exponents and on the floor, larger budgets weighing more.

A plain fit is the right answer to "which coefficients are most likely?", and forecasts worse than this. The settings
come from a study of rehearsed forecasts on 15 public tables of seven families of runs (docs/calibration.md); of all of
them the centre of the floor's prior is the one that matters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scaling.law import Law
from scaling.laws.hoffmann2022 import chinchilla
from scaling.laws.joined import skaling
from scaling.objective import Objective
from scaling.problem import Prior, Problem
from scaling.search import descend, minimise_near, starts as find_starts

Array = NDArray[np.float64]

OBJECTIVE = Objective("log", "huber", 1e-2)
WEIGHT_POWER = 0.5  # rows count as the square root of their compute
FLOOR = (0.6, 0.2)  # E: centre as a share of the least fitted loss, standard deviation of its logarithm
EXPONENT = 0.35  # centre of the exponents' priors
JOINT_SD = 0.4  # standard deviation of ln k about 0
STRENGTH = 4.0  # priors count as if the noise were twice its standard deviation
LEAST_NOISE = 0.004  # standard deviation of ln loss below which residuals are not believed: seeds differ by as much
STARTS = 8


@dataclass(frozen=True)
class Member:
    """One way to read N and D: a law, which of its parameters are tied, how widely its exponents may differ."""

    name: str
    law: Law
    tied: Mapping[str, str] = field(default_factory=dict)
    exponent_sd: float = 0.3

    @property
    def free(self) -> int:
        return len(self.law.names) - len(self.tied)


#: The four that are stacked. The first is the one that is bootstrapped.
MEMBERS = (
    Member("chinchilla", chinchilla),
    Member("one exponent", chinchilla, {"beta": "alpha"}),
    Member("skaling", skaling),
    Member("kaplan with floor", skaling, {"k": "beta"}, 0.5),
)


@dataclass(frozen=True, eq=False)
class Regularised:
    """A member fitted to some rows: all its parameters, and the minimisation that gave them."""

    member: Member
    params: Mapping[str, float]
    problem: Problem
    u: Array

    def log_loss(self, N: Array, D: Array) -> Array:
        """ln of the forecast loss."""
        return np.log(np.asarray(self.member.law.function(N, D, **self.params), dtype=float))

    @property
    def prior_dominated(self) -> tuple[str, ...]:
        """Parameters that stand within half a standard deviation of their prior's centre: the data hardly spoke."""
        centres = priors_of(self.member, self.problem.loss)
        moved = {n: abs(np.log(self.params[n] / p.centre)) / p.sd for n, p in centres.items()}
        return tuple(n for n, m in moved.items() if m < 0.5)


def priors_of(member: Member, loss: Array, strength: float = 1.0) -> dict[str, Prior]:
    """The member's priors, normal in the logarithm of each parameter; `strength` divides their variances."""
    scale = 1 / np.sqrt(strength)
    priors = {"E": Prior(FLOOR[0] * float(loss.min()), FLOOR[1] * scale)}
    for name in ("alpha", "beta"):
        if name not in member.tied:
            priors[name] = Prior(EXPONENT, member.exponent_sd * scale)
    if "k" in member.law.names and "k" not in member.tied:
        priors["k"] = Prior(1.0, JOINT_SD * scale)
    return priors


def regularise(member: Member, N: Array, D: Array, loss: Array) -> Regularised:
    """The member at its best penalised fit to the rows (n,), n more than its free parameters.

    Minimises sum w rho(r) + t/2 sum ((ln theta - centre) / sd)^2 with w = sqrt(C) of mean 1 and rho Huber's function of
    ln predicted / observed. The strength t follows the noise: the residuals of a fit with next to no priors, though
    never less than seeds differ by.
    """
    weights = (N * D) ** WEIGHT_POWER
    weights = weights / weights.mean()
    rho = OBJECTIVE.rho

    def problem(strength: float) -> Problem:
        return Problem(member.law, (N, D), loss, weights, OBJECTIVE, {}, member.tied, priors_of(member, loss, strength))

    # the loose fit only measures the noise and gives a start: it need not converge to rounding
    loose = problem(2e-6 * float(rho(np.array(0.01))))
    ends = descend(loose, find_starts(loose, STARTS, 0), exact=False, iterations=25, tolerance=1e-4)
    best = ends.u[[int(np.argmin(ends.cost))]]
    noise = float(rho(loose.residuals(best)).mean()) * 2 * len(loss) / max(len(loss) - member.free, 2)
    firm = problem(STRENGTH * max(noise, 2 * float(rho(np.array(LEAST_NOISE)))))
    centred = _at_the_priors(firm, best)
    ends = minimise_near(firm, np.concatenate([ends.u, centred]))
    u = ends.u[int(np.argmin(ends.cost))]
    values = firm.parameters(firm.natural(u[None]))
    return Regularised(member, {name: float(v[0, 0]) for name, v in values.items()}, firm, u)


def _at_the_priors(problem: Problem, u: Array) -> Array:
    """Coordinates (1, k) with every parameter that has a prior at its centre, and amplitudes that keep their terms."""
    theta = problem.natural(u)
    named = dict(zip(problem.free, theta[0], strict=True))
    moved = named | {name: prior.centre for name, prior in problem.priors.items()}
    n, d = (float(np.exp(np.log(values).mean())) for values in problem.inputs)
    for amplitude, exponent, at in (("A", "alpha", n), ("B", problem.tied.get("beta", "beta"), d)):
        moved[amplitude] = named[amplitude] * at ** (moved[exponent] - named[exponent])
    return problem.coordinates(np.array([[moved[name] for name in problem.free]]))


def redraw(
    fitted: Regularised, weights: Array | None = None, shift: Array | None = None
) -> dict[str, NDArray[np.float64]]:
    """Parameters (B, 1) each of refits, under row weights (B, n) that multiply the fit's own or losses less by `shift`.

    The priors and their strength stay.
    """
    given = weights if weights is not None else shift
    assert given is not None
    problem = fitted.problem
    start = np.repeat(fitted.u[None], len(given), 0)
    ends = minimise_near(problem, start, None if weights is None else weights * problem.weights, shift)
    return problem.parameters(problem.natural(ends.u))
