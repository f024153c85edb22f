"""Which model of mixtures to believe: errors on mixtures that it was not fitted to, in cross-validation or held out.

Runs of one mixture are left out together. Runs on one domain alone, as experts are, are always fitted and never scored:
the experts' own loss is what mixed experts give there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.errors import ScalingError, nearest
from scaling.mixture_models import MixtureModel, find_models, refit
from scaling.mixture_table import Mixtures

Array = NDArray[np.float64]
FOLDS, REPEATS = 5, 10
#: Name of the weighted mean of the losses among those scored.
TARGET = "target"
#: Says the same of all mixtures: what rank correlation it gets is that of a mean with what it was left without.
UNRANKED = "mean"


@dataclass(frozen=True, eq=False)
class Scores:
    """Errors of every model where it was not fitted.

    table       one row a model and loss (each validation source, and `target`): mse, rmse, spearman with intervals
                mse_lo, mse_hi, spearman_lo, spearman_hi; best: in which part of the resamples its mse is the least
    predicted   model -> predictions of what is scored, (repeats, n, m)
    observed    (n, m) of the mixtures scored
    how         in words
    """

    table: pd.DataFrame
    predicted: Mapping[str, Array]
    observed: Array
    weights: Array
    how: str

    @property
    def best(self) -> str:
        """The model of least mean squared error of the target."""
        rows = self.table[self.table["loss"] == TARGET]
        return str(rows["model"].iloc[int(rows["mse"].to_numpy().argmin())])

    def residuals(self, model: str) -> Array:
        """Observed minus predicted target, (repeats * n,)."""
        return ((self.observed - self.predicted[model]) @ self.weights).reshape(-1)


def target_weights(found: Mixtures, weights: Mapping[str, float] | None) -> Array:
    """Weights (m,) of the validation sources in the target, scaled to sum 1; all the same where none are given."""
    if not weights:
        return np.full(len(found.sources), 1 / len(found.sources))
    for name, weight in weights.items():
        if name not in found.sources:
            raise ScalingError(f"there is no loss on {name!r}; {nearest(name, found.sources)}")
        if not (weight >= 0 and np.isfinite(weight)):
            raise ScalingError(f"the weight of a loss is a number from 0 up, got {name}={weight:g}")
    given = np.array([float(weights.get(name, 0.0)) for name in found.sources])
    if given.sum() <= 0:
        raise ScalingError("some loss needs a weight above 0")
    return given / given.sum()


def compare_models(
    found: Mixtures,
    models: Sequence[str] = (),
    *,
    held: Mixtures | None = None,
    weights: Mapping[str, float] | None = None,
    folds: int = FOLDS,
    repeats: int = REPEATS,
    level: float = 0.9,
    resamples: int = 2000,
    seed: int = 0,
) -> Scores:
    """Score models on mixtures left out in turn, or on `held` where that is given.

    weights  of the validation sources in the target; resamples: of the scored mixtures, for the intervals
    ScalingError where there are too few mixtures to fit or to score.
    """
    chosen = find_models(tuple(models), found.experts is not None and (held is None or held.experts is not None))
    target = target_weights(found, weights)
    if held is not None:
        if held.domains != found.domains or held.sources != found.sources:
            raise ScalingError("held-out runs must have the domains and losses of those that are fitted")
        scored = held.rows(~held.corner)
        if len(scored.shares) < 2:
            raise ScalingError(f"two mixtures or more must be held out, there are {len(scored.shares)}")
        predicted = {one.name: _fitted(one, found, scored)[None] for one in chosen}
        how = f"{len(scored.shares)} runs held out, {len(found.shares)} fitted"
    else:
        scored = found.rows(~found.corner)
        count = len(np.unique(scored.groups))
        if count < max(folds, 2):
            raise ScalingError(
                f"cross-validation in {folds} parts needs as many mixtures, and there are {count} beside runs on one "
                f"domain: train more, or hold some out"
            )
        rng = np.random.default_rng(seed)
        parts = np.stack([_parts(scored.groups, folds, rng) for _ in range(repeats)])
        predicted = {one.name: _crossed(one, found, parts) for one in chosen}
        how = f"{count} mixtures, cross-validated in {folds} parts, {repeats} times"
    table = _scored(predicted, scored, target, level, resamples, np.random.default_rng([seed, 1]))
    return Scores(table, predicted, scored.losses, target, how)


def _fitted(model: MixtureModel, train: Mixtures, asked: Mixtures) -> Array:
    """Predictions for `asked` by the model fitted to `train`, (n, m)."""
    _check_enough(model, train, len(train.shares))
    predict = model.fit(train.shares, train.experts, train.losses)
    return np.asarray(predict(asked.shares, asked.experts), float)


def _check_enough(model: MixtureModel, found: Mixtures, count: int) -> None:
    k, m = len(found.domains), len(found.sources)
    if count < model.fewest(k, m):
        raise ScalingError(
            f"the model {model.name} of {k} domains needs {model.fewest(k, m)} mixtures to fit, got {count}"
        )


def _parts(groups: NDArray[np.int64], folds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The part that each row is in, (n,): groups whole, parts equal up to one group."""
    names = np.unique(groups)
    order = rng.permutation(len(names)) % folds
    return np.asarray(order[np.searchsorted(names, groups)])


def _crossed(model: MixtureModel, found: Mixtures, parts: NDArray[np.int64]) -> Array:
    """Predictions of all rows that are not corners, (repeats, n, m), each by the model fitted to the other parts and
    the corners; `parts` (repeats, n) say which part a row is in."""
    inner = np.flatnonzero(~found.corner)
    left = [(i, inner[part == fold]) for i, part in enumerate(parts) for fold in np.unique(part)]
    counts = np.ones((len(left), len(found.shares)), int)
    for row, (_, rows) in zip(counts, left, strict=True):
        row[rows] = 0
    _check_enough(model, found, int(counts.sum(axis=1).min()))
    predictions = refit(model, found.shares, found.experts, found.losses, counts)
    out = np.empty((len(parts), len(found.shares), len(found.sources)))
    for (i, rows), predict in zip(left, predictions, strict=True):
        asked = found.rows(rows)
        out[i, rows] = predict(asked.shares, asked.experts)
    return out[:, inner]


def _scored(
    predicted: Mapping[str, Array], scored: Mixtures, target: Array, level: float, resamples: int,
    rng: np.random.Generator,
) -> pd.DataFrame:  # fmt: skip
    names, place = np.unique(scored.groups, return_inverse=True)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), resamples)
    counts = np.vstack([np.ones(len(place), int), drawn[:, place.reshape(-1)]])  # the first is what there is
    losses = [(source, np.eye(len(scored.sources))[i]) for i, source in enumerate(scored.sources)] + [(TARGET, target)]
    tail, rows = (1 - level) / 2, []
    for loss, weights in losses:
        observed = scored.losses @ weights
        each = {model: values @ weights for model, values in predicted.items()}  # (repeats, n)
        squares = np.stack([((values - observed) ** 2).mean(axis=0) for values in each.values()])
        errors = squares @ counts.T / counts.sum(axis=1)  # (models, 1 + resamples)
        least = errors[:, 1:].argmin(axis=0)
        for number, (model, values) in enumerate(each.items()):
            ranks = np.full(2, np.nan)
            if model != UNRANKED:
                ranks = np.mean([rank_correlations(row, observed, counts) for row in values], axis=0)
            ends = np.quantile(errors[number, 1:], [tail, 1 - tail])
            known = ranks[1:][np.isfinite(ranks[1:])]
            lo, hi = np.quantile(known, [tail, 1 - tail]) if len(known) else (np.nan, np.nan)
            rows.append(
                {
                    "model": model, "loss": loss, "mse": errors[number, 0], "mse_lo": ends[0], "mse_hi": ends[1],
                    "rmse": float(np.sqrt(errors[number, 0])), "spearman": ranks[0], "spearman_lo": lo,
                    "spearman_hi": hi, "best": float((least == number).mean()), "n": len(observed),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def rank_correlations(values: Array, observed: Array, counts: NDArray[Any]) -> Array:
    """Spearman's rank correlation of two quantities (n,) for each row of `counts` (B, n), how often every row counts;
    ties share their mean rank; nan where one quantity is constant."""
    ranks, counts = [], counts.astype(float)  # products of whole numbers are slow
    for x in (values, observed):
        below, same = x[None] < x[:, None], x[None] == x[:, None]
        rank = counts @ below.T.astype(float) + (counts @ same.T.astype(float) + 1) / 2
        ranks.append(rank - (counts * rank).sum(axis=1, keepdims=True) / counts.sum(axis=1, keepdims=True))
    a, b = ranks
    size = np.sqrt((counts * a**2).sum(axis=1) * (counts * b**2).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(size > 0, (counts * a * b).sum(axis=1) / size, np.nan))
