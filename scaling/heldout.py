"""The test of a forecast: fit without some runs, forecast them, set what they came to beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scaling.curve_checks import shared_rows
from scaling.curves import with_schedules
from scaling.errors import ScalingError
from scaling.fitting import fit, usable_rows
from scaling.forecasting import forecast
from scaling.intervals import Draws, bootstrap
from scaling.law import Law
from scaling.where import select


@dataclass(frozen=True, eq=False)
class HeldOut:
    """A forecast of rows the fit has not seen.

    outcome  for runs: the forecast's columns and run, observed, error (predicted / observed - 1), inside (the
    interval);
             for a curve: step, lr, loss, lo, hi, observed, error, inside
    band     for a curve, its forecast after every step of its schedule: step, lr, loss, lo, hi
    """

    draws: Draws
    outcome: pd.DataFrame
    notes: tuple[str, ...]
    band: pd.DataFrame | None = None
    level: float = 0.9


def hold_out(
    law: str | Law,
    table: pd.DataFrame,
    hold: str,
    *,
    level: float = 0.9,
    seed: int = 0,
    resamples: int = 1000,
    **options: Any,
) -> HeldOut:
    """Fit `law` to the rows for which the filter `hold` is false and forecast those for which it is true.

    `options` go to `fit`. A held-out run that shares its trunk with a fitted one shares its noise: `notes` says so.
    Raises ScalingError when the filter holds out nothing or everything.
    """
    held = select(table, hold)
    rest = table.drop(index=held.index)
    rest.attrs = table.attrs
    if not len(held) or not len(rest):
        raise ScalingError(
            f"{hold!r} holds out {len(held)} of {len(table)} rows; it must leave some to fit and some to forecast"
        )
    fitted = fit(law, rest, **options)
    held, dropped = usable_rows(fitted.law, held, fitted.columns)
    if not len(held):
        raise ScalingError(f"no held-out row can be scored: {'; '.join(dropped['reason'].unique())}")
    draws = bootstrap(fitted, resamples, seed=seed)
    inputs: dict[str, Any] = {fitted.columns[n]: held[fitted.columns[n]].to_numpy() for n in fitted.law.inputs}
    outcome = forecast(draws, level=level, **inputs)
    outcome.insert(0, "run", held["run"].to_numpy() if "run" in held else held.index.to_numpy())
    outcome = _scored(outcome, held[fitted.columns["loss"]].to_numpy())
    notes = (
        [f"{len(dropped)} held-out rows cannot be scored: {'; '.join(dropped['reason'].unique())}"]
        if len(dropped)
        else []
    )
    if "trunk" in table:
        shared = set(held["trunk"].dropna()) & set(fitted.table["trunk"].dropna())
        if shared:
            notes.append(
                f"{len(shared)} held-out trunks are shared with fitted runs: these forecasts are easier than they look"
            )
    return HeldOut(draws, outcome.sort_values("beyond", ignore_index=True), tuple(notes), level=level)


def hold_out_curve(
    law: str | Law, curves: pd.DataFrame, run: str, *, level: float = 0.9, seed: int = 0, **options: Any
) -> HeldOut:
    """Fit a law of whole curves to all runs but one and forecast every logged step of that one from its schedule.

    A law over sizes reads the column N of the curves, of the held-out run too.
    """
    if "schedules" not in curves.attrs:
        curves = with_schedules(curves)
    held = curves[(curves["run"].astype(str) == run) & curves["loss"].notna()].sort_values("step")
    rest = curves[curves["run"].astype(str) != run]
    if not len(held) or not len(rest):
        raise ScalingError(
            f"the curves hold {len(held)} rows of run {run!r} and {len(rest)} of others; both are needed"
        )
    draws = bootstrap(fit(law, rest, **options), seed=seed)
    schedule = curves.attrs["schedules"].lr[run]
    steps = held["step"].to_numpy().astype(int)
    others: dict[str, Any] = {name: float(held[name].iloc[0]) for name in draws.fit.law.inputs[1:]}
    band = forecast(draws, schedule=schedule, level=level, **others)
    band.insert(1, "lr", schedule)
    outcome = _scored(band.iloc[steps].reset_index(drop=True), held["loss"].to_numpy(float))
    fitted = {str(r): rows for r, rows in draws.fit.table.groupby("run", sort=False)}
    shared = shared_rows(steps, held["loss"].to_numpy(float), fitted)
    notes = [*draws.notes, *band.attrs["said"]]
    if shared.any():
        error = np.log(outcome["loss"].to_numpy() / outcome["observed"].to_numpy())
        new = f"{np.sqrt(np.mean(error[~shared] ** 2)):.2%}" if not shared.all() else "nothing"
        notes.append(
            f"{int(shared.sum())} of {len(shared)} rows stand in a fitted curve too, bit by bit, and test nothing: RMS "
            f"error {new} on the new part, {np.sqrt(np.mean(error**2)):.2%} on all"
        )
    return HeldOut(draws, outcome.assign(shared=shared), tuple(notes), band, level)


def _scored(outcome: pd.DataFrame, observed: Any) -> pd.DataFrame:
    observed = np.asarray(observed, dtype=float)
    return outcome.assign(
        observed=observed,
        error=outcome["loss"].to_numpy() / observed - 1,
        inside=(outcome["lo"].to_numpy() <= observed) & (observed <= outcome["hi"].to_numpy()),
    )
