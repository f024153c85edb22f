"""Models of the losses of mixtures that nobody has trained: laws and regressions, fitted to mixtures that somebody has.

All are fitted to every validation source at once and predict all of them. Those that read mixed experts get their
losses on the same sources (`scaling.experts.mixed_losses`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.errors import ScalingError, nearest
from scaling.fitting import Fit, fit
from scaling.intervals import refits
from scaling.laws.ye2024 import mixing

Array = NDArray[np.float64]
#: Losses (q, m) at shares (q, k) and, where the model reads them, losses of mixed experts (q, m); complex ones too.
Predict = Callable[[Any, Any], Any]
#: Penalties that a ridge chooses from, in units of the variance of a feature.
PENALTIES = np.concatenate([[0.0], np.logspace(-6, 2, 33)])


@dataclass(frozen=True)
class MixtureModel:
    """name, what it is in a line, whether it reads mixed experts, and fit(shares (n, k), experts (n, m) or None,
    losses (n, m)) -> its prediction; `fewest` rows of k sources and m losses are needed. `many` does the same for each
    row of counts (B, n), how often every mixture counts; without it each is a fit of its own."""

    name: str
    about: str
    experts: bool
    fit: Callable[[Array, Array | None, Array], Predict]
    fewest: Callable[[int, int], int]
    many: Callable[[Array, Array | None, Array, NDArray[np.int64]], list[Predict]] | None = None


def refit(
    model: MixtureModel, shares: Array, experts: Array | None, losses: Array, counts: NDArray[np.int64]
) -> list[Predict]:
    """Predictions of the model fitted once for each row of `counts` (B, n), how often every mixture counts."""
    if model.many is not None:
        return model.many(shares, experts, losses, counts)
    rows = [np.repeat(np.arange(len(shares)), count) for count in counts]
    return [model.fit(shares[i], None if experts is None else experts[i], losses[i]) for i in rows]


def mean(shares: Array, experts: Array | None, losses: Array) -> Predict:
    """The mean loss of the fitted mixtures, whatever the shares: what a model has to beat."""
    centre = losses.mean(axis=0)
    return lambda r, e: np.zeros((len(r), 1)) + centre


def linear(shares: Array, experts: Array | None, losses: Array) -> Predict:
    """Least squares on shares, without an intercept as they sum to 1: the linear model of Liu 2024
    (arXiv:2407.01492)."""
    weights = np.linalg.lstsq(shares, losses, rcond=None)[0]
    return lambda r, e: r @ weights


def exponential(shares: Array, experts: Array | None, losses: Array) -> Predict:
    """The law of Ye 2024 (arXiv:2403.16952, `scaling.laws.ye2024.mixing`) for each loss, k held at 1."""
    return _exponential([each.params for each in _laws(shares, losses)])


def exponentials(shares: Array, experts: Array | None, losses: Array, counts: NDArray[np.int64]) -> list[Predict]:
    """The same, fitted again for every row of `counts`, all at once and each from where the first fit ended."""
    found = _laws(shares, losses)
    drawn = [refits(each, counts.astype(float), None) for each in found]  # m of (B, p)
    names = found[0].law.names
    named = [[dict(zip(names, row, strict=True)) for row in rows] for rows in drawn]
    return [_exponential(params) for params in zip(*named, strict=True)]


def _laws(shares: Array, losses: Array) -> list[Fit]:
    names = [f"share_{i}" for i in range(shares.shape[1])]
    columns = dict(zip(names, shares.T, strict=True))
    law = mixing(names)
    return [fit(law, pd.DataFrame(columns | {"loss": each}), fix={"k": 1.0}, starts=4) for each in losses.T]


def _exponential(params: Sequence[Mapping[str, float]]) -> Predict:
    def predict(r: Any, e: Any) -> Any:
        law = mixing([f"share_{i}" for i in range(np.shape(r)[1])])
        return np.stack([law.function(*np.asarray(r).T, **each) for each in params], axis=-1)

    return predict


def ridge(shares: Array, experts: Array | None, losses: Array) -> Predict:
    """Least squares on shares, shrunk; the penalty of each loss is the one of least leave-one-out error."""
    return _ridge(shares, losses)


def mixed(shares: Array, experts: Array | None, losses: Array) -> Predict:
    """The loss of mixed experts as it is (Belenki 2025, arXiv:2502.15950)."""
    return lambda r, e: e


def mixed_ridge(shares: Array, experts: Array | None, losses: Array) -> Predict:
    """Least squares on shares and the losses of mixed experts on all sources, shrunk: the linear model of Belenki 2025
    (arXiv:2502.15950)."""
    assert experts is not None
    found = _ridge(np.hstack([shares, experts]), losses)
    return lambda r, e: found(np.hstack([r, e]), None)


def _ridge(features: Array, losses: Array) -> Predict:
    """Ridge regressions, one a loss, with an intercept; features scaled to unit variance."""
    centre, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 1e-12, scale, 1.0)
    z, n = (features - centre) / scale, len(features)
    middle = losses.mean(axis=0)
    u, s, vt = np.linalg.svd(z, full_matrices=False)
    kept = s > 1e-10 * s.max(initial=1e-300)  # shares sum to 1: one direction is none
    u, s, vt = u[:, kept], s[kept], vt[kept]
    target = u.T @ (losses - middle)
    weights = np.zeros((features.shape[1], losses.shape[1]))
    least = np.full(losses.shape[1], np.inf)
    for penalty in PENALTIES:
        shrink = s**2 / (s**2 + penalty * n)
        lever = 1 / n + (u**2 * shrink).sum(axis=1)
        if lever.max() > 1 - 1e-9:
            continue  # a row that decides its own prediction has no leave-one-out error
        left = ((losses - middle - u @ (shrink[:, None] * target)) / (1 - lever)[:, None]) ** 2
        better = left.sum(axis=0) < least
        least = np.where(better, left.sum(axis=0), least)
        weights[:, better] = (vt.T @ ((shrink / s)[:, None] * target))[:, better]
    return lambda x, e: (x - centre) / scale @ weights + middle


MODELS: dict[str, MixtureModel] = {
    one.name: one
    for one in (
        MixtureModel("mean", "the mean of the fitted mixtures", False, mean, lambda k, m: 1),
        MixtureModel("linear", "least squares on shares (RegMix, Liu 2024)", False, linear, lambda k, m: k),
        MixtureModel("ridge", "least squares on shares, shrunk", False, ridge, lambda k, m: 3),
        MixtureModel("ye", "the exponential law (Ye 2024)", False, exponential, lambda k, m: k + 2, exponentials),
        MixtureModel("mde", "mixed experts alone (Belenki 2025)", True, mixed, lambda k, m: 0),
        MixtureModel("mde-ridge", "shares and mixed experts, shrunk (Belenki 2025)", True, mixed_ridge, lambda k, m: 3),
    )
}


def find_models(names: Sequence[str], experts: bool) -> list[MixtureModel]:
    """Models by name; without names all that can be fitted. ScalingError where one is unknown or lacks experts."""
    chosen = list(names) or [name for name, one in MODELS.items() if experts or not one.experts]
    for name in chosen:
        if name not in MODELS:
            raise ScalingError(f"there is no model of mixtures {name!r}; {nearest(name, MODELS)}")
        if MODELS[name].experts and not experts:
            raise ScalingError(
                f"the model {name} reads losses of mixed experts: give the table columns mde_on_NAME, which "
                f"`sweeps collect` writes where experts have token_losses = true, or the table of experts"
            )
    return [MODELS[name] for name in chosen]
