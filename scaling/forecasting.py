"""forecast(...) -> DataFrame: loss where nobody has trained, with an interval that says how far out it stands.

Given a table, the forecast is that of a stack of regularised laws (see `scaling/stacking.py`); given Draws or a Fit, of
that one law. The variance of ln loss is a sum of parts: the parameters' (bootstrap), a run's own scatter about the law
(residuals), the laws' spread in a stack, and drift, which grows with the distance beyond the data (rehearsals; see
docs/calibration.md). A bootstrap alone covers a small part of what it claims: misses come from the law's form, which it
cannot see.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.bands import half_width, spread
from scaling.curve_bands import curve_band
from scaling.errors import ScalingError
from scaling.fitting import Fit, law_inputs, positive_arrays
from scaling.intervals import Draws, bootstrap
from scaling.rehearsal import budget, drift_per_decade, too_little
from scaling.stacking import FAR, TOO_FAR, Stack, stack

Array = NDArray[np.float64]


def forecast(
    source: pd.DataFrame | Stack | Draws | Fit, *, level: float = 0.9, cautious: bool = False, **inputs: Any
) -> pd.DataFrame:
    """Loss with an interval at any inputs, in rows.

    forecast(table, N=[...], D=[...]) with columns N, D, loss: a stack of regularised laws weighted by rehearsal on that
    table (or hand it a Stack). Columns N, D, loss, lo, hi, beyond (budget in multiples of the largest fitted) and the
    standard deviations of ln loss that make the interval: sd_parameters, sd_scatter, sd_laws, sd_distance.
    `attrs["laws"]` has each law's own forecasts, `attrs["weights"]` its weight, `attrs["said"]` what to know about it.
    `cautious` widens the interval by a fifth, as beyond 30 times the data's compute.
    forecast(draws, N=[...], D=[...]) or C=[...] for a law fitted with x="C": that law alone; no sd_laws.
    forecast(draws, schedule=lr_per_step) for a law of whole curves: step, loss, lo, hi. A law over sizes takes N= of
    that one run besides; `scaling.finals.final_losses` gives the last losses of many runs.

    A Fit in place of Draws is bootstrapped first. Raises ScalingError for inputs the law was not fitted on, and for a
    table that is too small to reach beyond.
    """
    if isinstance(source, pd.DataFrame | Stack):
        return _stacked(source if isinstance(source, Stack) else stack(source), level, cautious, inputs)
    if cautious:
        raise ScalingError("cautious intervals are for a forecast from a table; give the table in place of the fit")
    draws = source
    z = half_width(level)
    if isinstance(draws, Fit):
        draws = bootstrap(draws)
    fit = draws.fit
    arguments = law_inputs(fit, inputs)
    if fit.law.kind == "curves":
        return curve_band(draws, arguments, z)
    names = [fit.columns[name] for name in fit.law.inputs]
    flat = {name: np.atleast_1d(a).ravel() for name, a in zip(names, arguments, strict=True)}
    loss = np.asarray(fit.law.function(*flat.values(), **fit.params), dtype=float)
    drawn = values_at(fit, draws.params, tuple(flat.values()))
    drawn = drawn if fit.law.signed else np.log(drawn)
    beyond = budget(fit, flat) / budget(fit, fit.table).max()
    return pd.DataFrame(flat).assign(**interval(draws, loss, drawn, beyond, z))


def interval(draws: Draws, loss: Array, drawn: Array, beyond: Array, z: float) -> dict[str, Array]:
    """Columns loss, lo, hi, beyond and the parts, from ln loss under every draw (B, m).

    For a law of what may be 0 or negative all of it is in that quantity itself, not in its logarithm.
    """
    parameters = spread(drawn)
    scatter = np.full(len(loss), draws.fit.residual_sd)
    decades = np.maximum(np.log10(beyond), 0.0)
    distance = drift_per_decade(draws.fit, draws.rehearsal) * decades
    sd = np.sqrt(parameters**2 + scatter**2 + distance**2)
    return {
        "loss": loss,
        "lo": loss - z * sd if draws.fit.law.signed else loss * np.exp(-z * sd),
        "hi": loss + z * sd if draws.fit.law.signed else loss * np.exp(z * sd),
        "beyond": beyond,
        "sd_parameters": parameters,
        "sd_scatter": scatter,
        "sd_distance": distance,
    }


def values_at(fit: Fit, params: Array, inputs: tuple[Array, ...]) -> Array:
    """The law at inputs (m,) under parameters (B, p): (B, m), NaN where it has no positive loss."""
    columns = {name: params[:, i : i + 1] for i, name in enumerate(fit.law.names)}
    with np.errstate(all="ignore"):
        values = np.asarray(fit.law.function(*inputs, **columns), dtype=float)
    return np.where(np.isfinite(values) & ((values > 0) | fit.law.signed), values, np.nan)


def _stacked(stacked: Stack, level: float, cautious: bool, given: dict[str, Any]) -> pd.DataFrame:
    if set(given) != {"N", "D"}:
        raise ScalingError(f"a forecast from a table takes N= and D=; got {', '.join(given) or 'nothing'}")
    arrays = positive_arrays(given)
    n, d = (np.atleast_1d(arrays[name]).ravel() for name in ("N", "D"))
    frame = stacked.forecast(n, d, level, cautious)
    fitted = stacked.table[["N", "D"]].to_numpy().T
    why = too_little(stacked.size, fitted)
    ranges = [(own.min(), own.max()) for own in fitted]
    inside = all(
        ((lo * 0.999 <= asked) & (asked <= hi * 1.001)).all() for asked, (lo, hi) in zip((n, d), ranges, strict=True)
    )
    if why and not (inside and (frame["beyond"] < 1.001).all()):
        (least_n, most_n), (least_d, most_d) = ranges
        raise ScalingError(
            f"these runs are too few to forecast beyond them: {why}. Add runs, or ask within N {least_n:.3g} to "
            f"{most_n:.3g}, D {least_d:.3g} to {most_d:.3g}, C up to {stacked.reach:.3g}"
        )
    each = np.exp(stacked.each(n, d))
    names = [law.member.name for law in stacked.laws]
    frame.attrs["laws"] = dict(zip(names, each.tolist(), strict=True))
    frame.attrs["weights"] = dict(zip(names, stacked.weights.tolist(), strict=True))
    frame.attrs["said"] = said_of(stacked, frame, level)
    return frame


def said_of(stacked: Stack, frame: pd.DataFrame, level: float = 0.9) -> list[str]:
    """In words, what a forecast by a stack rests on and where it leaves the data."""
    table = stacked.table
    said = [rehearsed(stacked, level)]
    weak = [f"{law.member.name} {', '.join(law.prior_dominated)}" for law in stacked.laws if law.prior_dominated]
    if weak:
        said.append(f"prior-dominated, within half a standard deviation of what was assumed: {'; '.join(weak)}")
    for name, own, asked in (
        ("N", table["N"], frame["N"]),
        ("D", table["D"], frame["D"]),
        ("D / N", table["D"] / table["N"], frame["D"] / frame["N"]),
    ):
        said += _outside(name, own, asked)
    said += _far(float(frame["beyond"].max()))
    if frame["beyond"].max() > TOO_FAR:
        said.append(f"beyond {TOO_FAR:g} times the data nothing was measured: do not call this interval calibrated")
    return said


def rehearsed(stacked: Stack, level: float = 0.9) -> str:
    """One sentence: what this procedure would have missed on the table's own later runs, or that it cannot tell."""
    if not stacked.earlier:
        why = too_little(stacked.size, stacked.table[["N", "D"]].to_numpy().T)
        return (
            "no rehearsal: the table is too small or too narrow to hide its largest budgets"
            f"{f' ({why})' if why else ''}; the laws count equally, and the interval adds the drift of public tables "
            "to this one's scatter: its coverage here is not known"
        )
    past = stacked.rehearsal(level)
    by_cut = past.groupby("cut")["error"].median()
    return (
        "rehearsal: having seen only smaller budgets, this procedure would have missed the table's own later runs "
        f"({past['beyond'].min():.2g} to {past['beyond'].max():.2g} times beyond) by "
        f"{past['error'].abs().median():.2%} (median) over {len(by_cut)} cut{'s' * (len(by_cut) > 1)}, too low at "
        f"{int((by_cut < 0).sum())} of them; its {level:.0%} intervals held {past['inside'].mean():.0%} of the runs"
    )


def range_warnings(fit: Fit, frame: pd.DataFrame) -> list[str]:
    """In words, where a forecast leaves the range of the runs it rests on."""
    said = []
    for name in (fit.columns[n] for n in fit.law.inputs):
        said += _outside(name, fit.table[name], frame[name])
    return said + _far(float(frame["beyond"].max()) if "beyond" in frame else 0.0)


def _outside(name: str, own: pd.Series, asked: pd.Series) -> list[str]:
    lo, hi = float(own.min()), float(own.max())
    said = []
    for value in np.unique(asked):
        if value > hi * 1.001 or value < lo * 0.999:
            side = f"{value / hi:.3g} times the largest" if value > hi else f"{value / lo:.3g} times the smallest"
            said.append(f"{name} = {value:.3g} lies outside the fitted {lo:.3g} to {hi:.3g} ({side})")
    return said


def _far(beyond: float) -> list[str]:
    if beyond <= FAR:
        return []
    return [
        f"{beyond:.3g} times beyond the data: on studies the intervals were not tuned on, 90% intervals covered about "
        f"70-80% beyond {FAR:g} times"
    ]


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
        covered = draws.rehearsal["covered"].dropna()
        said = ""
        if len(covered):
            each = ", ".join(f"{x:.0%}" for x in covered)
            said = f"; 90% bands made without a curve held {covered.mean():.0%} of its rows ({each})"
        return (
            f"rehearsal: each curve predicted from the others, RMS error {draws.rehearsal['rmse'].mean():.2%} on "
            f"average, {worst['rmse']:.2%} at worst ({worst['run']}){said}"
        )
    error = rehearsal["error"].abs()
    return (
        f"rehearsal: from smaller budgets alone the table's own later runs ({rehearsal['beyond'].min():.2g} to "
        f"{rehearsal['beyond'].max():.2g} times beyond) would have been missed by {error.median():.2%} (median), "
        f"{error.max():.2%} at worst, over {rehearsal['cut'].nunique()} cuts"
    )
