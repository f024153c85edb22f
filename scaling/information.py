"""What runs say about a law before they are trained: Fisher information of ln loss, and what a target needs of it.

Parameters are taken in coordinates: the logarithm of one that is bounded below by 0, else the parameter itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling.costs import cost_named
from scaling.errors import ScalingError
from scaling.law import Law, value_and_gradient
from scaling.optima import Task, at_budget

Array = NDArray[np.float64]
#: Standard deviations of what is believed before anything is trained, in logarithms: a floor, an exponent, a term at
#: the middle of the sizes or horizons, and any other parameter. The first two are the priors of the forecasts
#: (docs/calibration.md); a term that is known to a factor of 1.6 is a guess.
FLOOR, EXPONENT, TERM, OTHER = 0.2, 0.3, 0.5, 1.0


@dataclass(frozen=True)
class Target:
    """What is to be known: "loss" at N, D; "loss" at C, of the best size there; or the best size "N_opt" at C."""

    what: str = "loss"
    N: float | None = None
    D: float | None = None
    C: float | None = None

    def __post_init__(self) -> None:
        given = tuple(v is not None for v in (self.N, self.D, self.C))
        values = [v for v in (self.N, self.D, self.C) if v is not None]
        fine = given == (False, False, True) or (given == (True, True, False) and self.what == "loss")
        if self.what not in ("loss", "N_opt") or not fine or not all(np.isfinite(v) and v > 0 for v in values):
            raise ScalingError("a target is loss at N=..,D=.., loss at C=.., or N_opt at C=.., all above 0")

    def __str__(self) -> str:
        where = f"C = {self.C:.4g}" if self.C else f"N = {self.N:.4g}, D = {self.D:.4g}"
        return {"loss": "loss", "N_opt": "best size"}[self.what] + f" at {where}"


def sensitivities(law: Law, params: Array, N: Array, D: Array) -> Array:
    """d ln loss / d coordinate at every run, (n, p)."""
    named = {name: np.array([[value]]) for name, value in zip(law.names, params, strict=True)}
    value, columns = value_and_gradient(law, (N, D), named, law.names)
    return np.stack(
        [(column * scale / value)[0] for column, scale in zip(columns, _scales(law, params), strict=True)], 1
    )


def target_gradient(law: Law, params: Array, target: Target) -> tuple[Array, float, float]:
    """d ln target / d coordinate (p,), and the N and D at which it lies."""
    if target.C is None:
        assert target.N is not None and target.D is not None
        n, d = target.N, target.D
        return sensitivities(law, params, np.array([n]), np.array([d]))[0], n, d
    task = Task(law, cost_named("6ND"))
    best = at_budget(task, params[None], target.C)
    n, d = float(best.N[0]), float(best.D[0])
    if not np.isfinite(n):
        raise ScalingError(f"{law.name} has no best size at C = {target.C:g} under these coefficients")
    if target.what == "loss":  # at the optimum its own shift does not count
        return sensitivities(law, params, np.array([n]), np.array([d]))[0], n, d
    h = 1e-5
    steps = np.diag(h * _scales(law, params))
    moved = at_budget(task, np.concatenate([params + steps, params - steps]), target.C).N
    ahead, behind = np.log(moved).reshape(2, -1)
    return (ahead - behind) / (2 * h), n, d


def prior_information(law: Law, params: Array, N: float, D: float) -> Array:
    """Inverse of the covariance believed before anything is trained, (p, p), about coefficients from elsewhere.

    N, D  the middle of the runs, at which the terms are believed to a factor: an amplitude alone means nothing, for it
          moves with its exponent
    """
    names = list(law.names)
    sd = np.full(len(names), OTHER)
    mixes = np.eye(len(names))
    for amplitude, exponent, middle in (("A", "alpha", N), ("B", "beta", D)):
        if amplitude in names and exponent in names:
            i, j = names.index(amplitude), names.index(exponent)
            sd[i], sd[j] = TERM, EXPONENT
            mixes[i, j] = params[j] * np.log(middle)  # ln A = ln(A / N^alpha) + alpha ln N
    if "E" in names:
        sd[names.index("E")] = FLOOR
    covariance = mixes @ np.diag(sd**2) @ mixes.T
    return np.asarray(np.linalg.inv(covariance))


def grouped_information(J: Array, groups: NDArray[np.int64], noise: float, shared: float) -> Array:
    """Fisher information (p, p) of runs with sensitivities J (n, p), noise of ln loss, and `shared` of its variance in
    common among the runs of a group."""
    total = np.zeros((J.shape[1], J.shape[1]))
    for group in np.unique(groups):
        part = J[groups == group]
        total += of_sums(part.T @ part, part.sum(0), np.array(float(len(part))), noise, shared)
    return total


def of_sums(products: Array, sums: Array, count: Array, noise: float, shared: float) -> Array:
    """The information of one group from the sum of its runs' J J' (..., p, p), of J (..., p), and how many they are.

    The inverse of noise^2 ((1 - r) I + r 1 1') is (I - r / (1 + (k - 1) r) 1 1') / (noise^2 (1 - r)).
    """
    share = shared / (1 + (np.maximum(count, 1) - 1) * shared)
    both = sums[..., :, None] * sums[..., None, :]
    return np.asarray((products - share[..., None, None] * both) / (noise**2 * (1 - shared)))


def variance(information: Array, gradient: Array) -> Array:
    """Delta-method variance of the target under information (..., p, p)."""
    # scaled to a unit diagonal: coordinates differ by orders of magnitude in how well they are known
    scale = np.sqrt(np.einsum("...ii->...i", information))
    scaled = information / (scale[..., :, None] * scale[..., None, :])
    pull = gradient / scale
    solved = np.linalg.solve(scaled, pull[..., None])[..., 0]
    return np.maximum(np.einsum("...i,...i->...", pull, solved), 0.0)


def _scales(law: Law, params: Array) -> Array:
    """d parameter / d coordinate."""
    return np.array([value if p.lo == 0 else 1.0 for p, value in zip(law.params, params, strict=True)])
