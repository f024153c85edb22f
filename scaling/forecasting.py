"""forecast(draws, ...) -> DataFrame: loss where nobody has trained, with an interval that says how far out it stands.

The variance of ln loss is a sum of three parts: the parameters' (bootstrap), a run's own scatter about the law
(residuals), and the law's drift, which grows with the distance beyond the data (rehearsals; see docs/fitting.md). A
bootstrap alone covers a small part of what it claims: misses come from the law's form, which it cannot see.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

from scaling.errors import ScalingError
from scaling.fitting import Fit, law_inputs
from scaling.intervals import Draws, bootstrap
from scaling.rehearsal import budget, drift_per_decade

Array = NDArray[np.float64]


def forecast(draws: Draws | Fit, *, level: float = 0.9, **inputs: Any) -> pd.DataFrame:
    """Loss with an interval at any inputs of the law, in rows.

    forecast(draws, N=[...], D=[...]) or C=[...] for a law fitted with x="C": columns are the inputs, loss, lo, hi,
    beyond (budget in multiples of the largest fitted) and the standard deviations of ln loss that make the interval:
    sd_parameters, sd_scatter, sd_distance.
    forecast(draws, schedule=lr_per_step) for a law of whole curves: step, loss, lo, hi.

    A Fit in place of Draws is bootstrapped first. Raises ScalingError for inputs the law was not fitted on.
    """
    z = _z(level)
    if isinstance(draws, Fit):
        draws = bootstrap(draws)
    fit = draws.fit
    arguments = law_inputs(fit, inputs)
    if fit.law.kind == "curves":
        return _curve(draws, arguments, z)
    names = [fit.columns[name] for name in fit.law.inputs]
    flat = {name: np.atleast_1d(a).ravel() for name, a in zip(names, arguments, strict=True)}
    loss = np.asarray(fit.law.function(*flat.values(), **fit.params), dtype=float)
    drawn = np.log(values_at(fit, draws.params, tuple(flat.values())))
    beyond = budget(fit, flat) / budget(fit, fit.table).max()
    return pd.DataFrame(flat).assign(**interval(draws, loss, drawn, beyond, z))


def interval(draws: Draws, loss: Array, drawn: Array, beyond: Array, z: float) -> dict[str, Array]:
    """Columns loss, lo, hi, beyond and the parts, from ln loss under every draw (B, m)."""
    parameters = spread(drawn)
    scatter = np.full(len(loss), draws.fit.residual_sd)
    decades = np.maximum(np.log10(beyond), 0.0)
    distance = drift_per_decade(draws.fit, draws.rehearsal) * decades
    sd = np.sqrt(parameters**2 + scatter**2 + distance**2)
    return {
        "loss": loss,
        "lo": loss * np.exp(-z * sd),
        "hi": loss * np.exp(z * sd),
        "beyond": beyond,
        "sd_parameters": parameters,
        "sd_scatter": scatter,
        "sd_distance": distance,
    }


def spread(drawn: Array) -> Array:
    """Half the range from the 15.9th to the 84.1st percentile over draws (B, m): a standard deviation without tails."""
    with np.errstate(invalid="ignore"):
        lo, hi = np.nanquantile(drawn, [0.1587, 0.8413], axis=0)
    return 0.5 * (hi - lo)


def values_at(fit: Fit, params: Array, inputs: tuple[Array, ...]) -> Array:
    """The law at inputs (m,) under parameters (B, p): (B, m), NaN where it has no positive loss."""
    columns = {name: params[:, i : i + 1] for i, name in enumerate(fit.law.names)}
    with np.errstate(all="ignore"):
        values = np.asarray(fit.law.function(*inputs, **columns), dtype=float)
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def _curve(draws: Draws, arguments: tuple[Any, ...], z: float) -> pd.DataFrame:
    fit = draws.fit
    loss = np.asarray(fit.law.function(*arguments, **fit.params), dtype=float)
    total = np.zeros_like(loss)
    if draws.method == "jackknife":
        # variance of the jackknife: (K - 1) / K times the sum of squares over the K fits that each miss one curve
        refits = _one_by_one(fit, draws.params, arguments)
        total = (len(refits) - 1) / len(refits) * ((refits - refits.mean(0)) ** 2).sum(0)
    else:
        step = max(1, len(draws.params) // 200)  # 200 draws give a spread to 5%, and schedules are long
        total = spread(_one_by_one(fit, draws.params[::step], arguments)) ** 2
    sd = np.sqrt(total / loss**2 + fit.residual_sd**2)
    return pd.DataFrame(
        {"step": np.arange(len(loss)), "loss": loss, "lo": loss * np.exp(-z * sd), "hi": loss * np.exp(z * sd)}
    )


def _one_by_one(fit: Fit, params: Array, arguments: tuple[Any, ...]) -> Array:
    named = [dict(zip(fit.law.names, row, strict=True)) for row in params]
    return np.stack([np.asarray(fit.law.function(*arguments, **p), dtype=float) for p in named])


def _z(level: float) -> float:
    if not 0 < level < 1:
        raise ScalingError(f"level is the chance that the interval covers, between 0 and 1; got {level}")
    return float(ndtri(0.5 + level / 2))


def range_warnings(fit: Fit, frame: pd.DataFrame) -> list[str]:
    """In words, where a forecast leaves the range of the runs it rests on."""
    said = []
    for name in (fit.columns[n] for n in fit.law.inputs):
        lo, hi = float(fit.table[name].min()), float(fit.table[name].max())
        for value in np.unique(frame[name]):
            if value > hi * 1.001 or value < lo * 0.999:
                side = f"{value / hi:.3g} times the largest" if value > hi else f"{value / lo:.3g} times the smallest"
                said.append(f"{name} = {value:.3g} lies outside the fitted {lo:.3g} to {hi:.3g} ({side})")
    far = frame["beyond"].max() if "beyond" in frame else 0.0
    if far > 30:
        said.append(
            f"{far:.3g} times beyond the data: on studies the intervals were not tuned on, 90% intervals covered "
            "about 70-80% beyond 30 times"
        )
    return said


def rehearsal_line(draws: Draws) -> str:
    """One sentence about what this law would have got wrong on its own table."""
    rehearsal = draws.rehearsal
    if not len(draws.rehearsal):
        return (
            "no rehearsal: the table is too small or too narrow to hide its largest budgets; the distance part of "
            "the intervals is that of public tables"
        )
    if draws.fit.law.kind == "curves":
        worst = draws.rehearsal.sort_values("rmse").iloc[-1]
        return (
            f"rehearsal: each curve predicted from the others, RMS error {draws.rehearsal['rmse'].mean():.2%} on "
            f"average, {worst['rmse']:.2%} at worst ({worst['run']})"
        )
    error = rehearsal["error"].abs()
    return (
        f"rehearsal: from smaller budgets alone the table's own later runs ({rehearsal['beyond'].min():.2g} to "
        f"{rehearsal['beyond'].max():.2g} times beyond) would have been missed by {error.median():.2%} (median), "
        f"{error.max():.2%} at worst, over {rehearsal['cut'].nunique()} cuts"
    )
