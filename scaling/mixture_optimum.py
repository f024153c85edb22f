"""The mixture that a model expects to be best, what loss it expects there, and how sure both are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.errors import ScalingError, nearest
from scaling.experts import Experts, expert_mixture_loss, experts_on, losses_on
from scaling.mixture_models import MODELS, Predict, refit
from scaling.mixture_scores import Scores
from scaling.mixture_table import Mixtures
from scaling.mixtures import best_mixture

Array = NDArray[np.float64]
#: Mixtures drawn to find the best of under each resample: shares are then known to a hundredth or so.
CANDIDATES = 3000
#: Shares are written so, in steps of one over this.
STEPS = 10_000


@dataclass(frozen=True, eq=False)
class BestMixture:
    """shares    by domain: share of the best mixture and its interval lo, hi over resamples of the fitted runs
    expected  one row each for the best mixture, the even one, the best that was trained, and one that was asked for:
              loss of the target and its interval for a new run there, and the predicted loss on each source
    agreed    of `started` searches ended there
    notes     what to mind, in words
    """

    model: str
    shares: pd.DataFrame
    expected: pd.DataFrame
    level: float
    started: int
    agreed: int
    notes: tuple[str, ...]

    @property
    def setting(self) -> str:
        """The mixture as a line of a grid."""
        names, values = self.shares.index, rounded(self.shares["share"].to_numpy())
        return "mixture = { " + ", ".join(f"{n} = {v:g}" for n, v in zip(names, values, strict=True) if v) + " }"


def rounded(shares: Array) -> Array:
    """Shares in steps of 1 / STEPS that still sum to 1."""
    whole = np.asarray(shares, float) / np.sum(shares) * STEPS
    floor = np.floor(whole + 1e-9)
    floor[np.argsort(-(whole - floor), kind="stable")[: round(STEPS - floor.sum())]] += 1
    return floor / STEPS


def optimal_mixture(
    found: Mixtures,
    scores: Scores,
    model: str | None = None,
    *,
    experts: Experts | None = None,
    limits: Mapping[str, tuple[float, float]] | None = None,
    at: Mapping[str, float] | None = None,
    level: float = 0.9,
    resamples: int = 100,
    seed: int = 0,
) -> BestMixture:
    """The mixture of least expected target.

    scores   of the models on these mixtures: the weights of the target, the best model where none is named, and how far
             off its predictions were where it was not fitted, which the intervals hold besides the model's own
    experts  needed by models that read them; limits: domain -> (least, greatest share); at: shares of a mixture whose
             loss is wanted too
    """
    from_experts = {name for name, one in MODELS.items() if one.experts}
    if model is None:
        able = scores.table[~scores.table["model"].isin(set() if experts else from_experts)]
        able = able[(able["loss"] == "target") & (able["model"] != "mean")]
        if not len(able):
            raise ScalingError("no model that says which mixture is best was compared: name one")
        model = str(able["model"].iloc[int(able["mse"].to_numpy().argmin())])
    if model not in scores.predicted or model == "mean":
        raise ScalingError(
            f"the model {model} was not compared, or ranks no mixtures; compared: {', '.join(scores.predicted)}"
        )
    if model in from_experts and experts is None:
        raise ScalingError(
            f"the best mixture under {model} needs the table of experts, the experts.csv of `sweeps collect -o`"
        )
    own = experts_on(experts, found.domains) if model in from_experts and experts is not None else None
    predict = MODELS[model].fit(found.shares, found.experts, found.losses)

    def loss(r: Array) -> Array:
        e = None
        if own is not None:  # complex shares too, for slopes
            e = np.array([[expert_mixture_loss(own.probabilities[source], r) for source in found.sources]])
        return (predict(r[None], e) @ scores.weights)[0]

    best = best_mixture(loss, found.domains, limits=limits, starts=len(found.domains) + 1)
    shares = np.array([best.shares[name] for name in found.domains])
    rng = np.random.default_rng(seed)
    candidates = _candidates(found, shares, limits, rng)
    named = {"best": shares, "even": np.full(len(shares), 1 / len(shares))}
    trained = int((found.losses @ scores.weights).argmin())
    named["best trained"] = found.shares[trained]
    if at:
        named["asked"] = _shares(found, at)
    asked = np.vstack([*named.values(), candidates])
    mixed = None if own is None else losses_on(own, asked, found.sources)
    drawn = np.stack([p(asked, mixed) @ scores.weights for p in _refits(found, model, resamples, rng)])  # (B, q)
    winners = candidates[drawn[:, len(named) :].argmin(axis=1)]
    tail = (1 - level) / 2
    lo, hi = np.quantile(winners, [tail, 1 - tail], axis=0)
    table = pd.DataFrame({"share": shares, "lo": lo, "hi": hi}, index=pd.Index(found.domains, name="domain"))
    new = drawn[:, : len(named)] + rng.choice(scores.residuals(model), (resamples, len(named)))
    values = np.asarray(predict(asked[: len(named)], None if mixed is None else mixed[: len(named)]), float)
    ends = np.quantile(new, [tail, 1 - tail], axis=0)
    expected = pd.DataFrame(
        {"mixture": list(named), "loss": values @ scores.weights, "lo": ends[0], "hi": ends[1]}
        | {f"loss_on_{source}": values[:, i] for i, source in enumerate(found.sources)}
        | {name: [named[row][i] for row in named] for i, name in enumerate(found.domains)}
    )
    return BestMixture(
        model, table, expected, level, best.started, best.agreed, _notes(found, shares, expected, drawn, level)
    )


def _shares(found: Mixtures, at: Mapping[str, float]) -> Array:
    """Shares (k,) of a mixture by domain; those not named are 0."""
    for name in at:
        if name not in found.domains:
            raise ScalingError(f"there is no domain {name!r}; {nearest(name, found.domains)}")
    shares = np.array([float(at.get(name, 0.0)) for name in found.domains])
    if (shares < 0).any() or not abs(shares.sum() - 1) <= 1e-3:
        raise ScalingError(f"shares are from 0 up and sum to 1; those asked for sum to {shares.sum():g}")
    return shares / shares.sum()


def _refits(found: Mixtures, model: str, resamples: int, rng: np.random.Generator) -> Sequence[Predict]:
    """The model fitted to resampled mixtures; runs on one domain alone stay in all."""
    names, place = np.unique(found.groups, return_inverse=True)
    drawn = np.unique(place[~found.corner])
    counts = np.zeros((resamples, len(names)), int)
    counts[:, drawn] = rng.multinomial(len(drawn), np.full(len(drawn), 1 / len(drawn)), resamples)
    rows = np.where(found.corner, 1, counts[:, place.reshape(-1)])
    return refit(MODELS[model], found.shares, found.experts, found.losses, rows)


def _candidates(
    found: Mixtures, best: Array, limits: Mapping[str, tuple[float, float]] | None, rng: np.random.Generator
) -> Array:
    """Mixtures to choose from: the best, many about it, others drawn evenly, and nearer to sides and corners."""
    k = len(found.domains)
    spread = [np.full(k, 1.0), np.full(k, 0.4), *(0.5 + near * best for near in (30, 150, 750))]
    drawn = np.vstack([best, np.eye(k), *(rng.dirichlet(each, CANDIDATES // len(spread)) for each in spread)])
    ends = [(limits or {}).get(name, (0.0, 1.0)) for name in found.domains]
    kept = np.arange(len(drawn)) == 0
    kept |= np.all([(drawn[:, i] >= lo) & (drawn[:, i] <= hi) for i, (lo, hi) in enumerate(ends)], axis=0)
    return drawn[kept]


def _notes(found: Mixtures, shares: Array, expected: pd.DataFrame, drawn: Array, level: float) -> tuple[str, ...]:
    notes = []
    out = [name for name, share in zip(found.domains, shares, strict=True) if share == 0]
    if out:
        notes.append(f"the best mixture leaves out {', '.join(out)}: look whether any fitted mixture is so extreme")
    inner = found.shares[~found.corner]
    beyond = [
        name for i, name in enumerate(found.domains)
        if len(inner) and not inner[:, i].min() - 0.02 <= shares[i] <= inner[:, i].max() + 0.02
    ]  # fmt: skip
    if beyond and not out:
        notes.append(f"the share of {', '.join(beyond)} lies outside of those fitted: the prediction extrapolates")
    gain = np.quantile(drawn[:, 1] - drawn[:, 0], (1 - level) / 2)
    if gain <= 0:
        notes.append("the best mixture cannot be told from the even one")
    noise = expected["hi"][0] - expected["lo"][0]
    if expected["loss"][1] - expected["loss"][0] < noise / 2:
        notes.append(
            f"the gain over the even mixture, {expected['loss'][1] - expected['loss'][0]:.4f}, is within the error of "
            f"a single run: several seeds are needed to see it"
        )
    return tuple(notes)
