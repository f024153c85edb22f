"""What a fit minimises: a sum over rows of w * rho(r), r the residual of the log of the loss, or of the loss.

The sum, never the mean: with a mean of Huber terms near 1e-6 an optimizer's default tolerances stop far from the
optimum, which is how the published Chinchilla fit went wrong (Besiroglu 2024, arXiv:2404.10102).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scaling.errors import ScalingError, nearest

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Objective:
    """space: residuals are ln(predicted / observed) for "log", predicted - observed for "raw".

    loss: "huber" is r^2 / 2 up to `delta` and linear beyond (Huber 1964); "squared" is r^2 / 2 throughout.

    quantile: other than 0.5, rows whose loss lies above the law count 2 quantile, those below 2 (1 - quantile). With
    Huber's function that is the pinball function, smooth within `delta`, so that about this share of the losses ends
    below the law (Koenker & Bassett 1978): a small one traces the lower envelope.
    """

    space: Literal["log", "raw"] = "log"
    loss: Literal["huber", "squared"] = "huber"
    delta: float = 1e-3
    quantile: float = 0.5

    def _sided(self, value: Array, r: Array) -> Array:
        """The values of rows times what a row counts by the side it lies on; r above 0 is a loss below the law."""
        if self.quantile == 0.5:
            return value
        return value * np.where(r > 0, 2 * (1 - self.quantile), 2 * self.quantile)

    def rho(self, r: Array) -> Array:
        """Cost of each residual."""
        if self.loss == "squared":
            return self._sided(0.5 * r * r, r)
        a = np.abs(r)
        near = np.minimum(a, self.delta)
        return self._sided(near * (a - 0.5 * near), r)

    def slope(self, r: Array) -> Array:
        """First derivative of rho."""
        return self._sided(r if self.loss == "squared" else np.minimum(np.maximum(r, -self.delta), self.delta), r)

    def curvature(self, r: Array) -> Array:
        """Second derivative of rho."""
        return self._sided(np.ones_like(r) if self.loss == "squared" else (np.abs(r) <= self.delta).astype(float), r)

    def reweight(self, r: Array) -> Array:
        """slope(r) / r: the weights whose squared cost majorises rho (iteratively reweighted least squares)."""
        if self.loss == "squared":
            return self._sided(np.ones_like(r), r)
        return self._sided(self.delta / np.maximum(np.abs(r), self.delta), r)


#: Objectives by name. The default is the field's: Hoffmann 2022 (arXiv:2203.15556), eq. 3, delta 1e-3.
OBJECTIVES = {
    "log-huber": Objective("log", "huber", 1e-3),
    "log-squared": Objective("log", "squared"),
    "huber": Objective("raw", "huber", 1e-3),
    "squared": Objective("raw", "squared"),
}


def find_objective(objective: str | Objective, delta: float | None = None, quantile: float | None = None) -> Objective:
    """The objective of that name, with `delta` and `quantile` in place of its own; raises ScalingError."""
    if isinstance(objective, str):
        if objective not in OBJECTIVES:
            raise ScalingError(f"no objective is called {objective!r}; {nearest(objective, OBJECTIVES)}")
        objective = OBJECTIVES[objective]
    if quantile is not None:
        if not 0 < quantile < 1:
            raise ScalingError(f"quantile is the share of losses below the law, between 0 and 1; got {quantile}")
        objective = replace(objective, quantile=float(quantile))
    if delta is None:
        return objective
    if not (delta > 0 and np.isfinite(delta)):
        raise ScalingError(f"delta must be positive and finite, got {delta}")
    return replace(objective, delta=float(delta))


def objective_name(objective: Objective) -> str:
    """The objective as text: its name, and its delta where it has one."""
    name = ("log-" if objective.space == "log" else "") + objective.loss
    said = [f"delta {objective.delta:g}"] if objective.loss == "huber" else []
    said += [f"quantile {objective.quantile:g}"] if objective.quantile != 0.5 else []
    return f"{name} ({', '.join(said)})" if said else name
