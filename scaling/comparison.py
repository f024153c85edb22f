"""compare(laws, table) -> Comparison: which law to believe, by how well each would have forecast the larger runs.

A law that fits best is not the law that forecasts best: the fit sees every row, the forecast none of those it is scored
on. So laws are ranked by rehearsal, and the criteria that weigh fit against size stand beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.errors import FitError, ScalingError, TableError
from scaling.fitting import Fit, fit
from scaling.forecasting import forecast
from scaling.intervals import bootstrap
from scaling.law import Law
from scaling.laws import LAWS, find_law
from scaling.persistence import frame_json
from scaling.regularised import MEMBERS, regularise
from scaling.rehearsal import AHEAD, FEWEST, budget, expanding_cuts, rehearse
from scaling.stacking import Stack, stack

Array = NDArray[np.float64]
STACK = "stack"


@dataclass(frozen=True, eq=False)
class Comparison:
    """Laws rehearsed on one table. `fits` holds each law fitted to all rows; `rehearsals` what each would have missed.

    rehearsals  law -> DataFrame of cut, fitted, beyond, observed, loss, lo, hi, error, inside
    stacked     the regularised stack that `forecast(table, ...)` uses; None for laws of one variable
    """

    fits: dict[str, Fit]
    stacked: Stack | None
    rehearsals: dict[str, pd.DataFrame]
    ranking: pd.DataFrame
    level: float
    notes: tuple[str, ...]

    def summary(self) -> pd.DataFrame:
        """One row a law, best forecaster first.

        error: mean over the cuts in compute of the median |ln predicted / observed| beyond the cut; far: the same over
        rows 4 times beyond or more; bias: signed; by_N, by_D: cuts in those; cuts: how many in compute; coverage:
        share of those rows inside the interval of nominal chance `nominal`; free: parameters; aicc, bic: of the plain
        fit, ln residuals taken as normal, smaller is better.
        """
        return self.ranking

    def report(self) -> str:
        """The ranking as text, with what to know about it."""
        shown = self.ranking.copy()
        for name in ("error", "far", "by_N", "by_D", "coverage", "nominal"):
            if name in shown:
                shown[name] = [f"{v:.0%}" if name in ("coverage", "nominal") else f"{v:.2%}" for v in shown[name]]
        shown["bias"] = [f"{v:+.2%}" for v in shown["bias"]]
        for name in ("aicc", "bic"):
            shown[name] = [f"{v:.1f}" for v in shown[name]]
        text = shown.replace({"nan%": "", "+nan%": "", "nan": ""}).to_string()
        return "\n".join(["rehearsed forecasts, best first", text, *(f"note  {note}" for note in self.notes)])

    def to_json(self) -> str:
        """The ranking as a JSON list, best first."""
        return frame_json(self.ranking.reset_index())

    def __repr__(self) -> str:
        order = ", ".join(f"{law} {error:.2%}" for law, error in self.ranking["error"].items())
        return f"Comparison({order})"


def compare(
    laws: Sequence[str | Law] | str | Law | None,
    table: pd.DataFrame,
    *,
    x: str | None = None,
    level: float = 0.9,
    resamples: int = 60,
    seed: int = 0,
    quick: bool = False,
    **options: Any,
) -> Comparison:
    """Rank laws by rehearsed forecast error on a table of runs.

    laws     names or Laws; None takes every law of LAWS that reads the table, and with N and D the stack of
             regularised laws that `forecast(table, ...)` uses
    x        the column that laws of one variable read: "C", "N" or "D"
    quick    each law is refitted from its own optimum, in compute alone and without intervals (coverage is empty): in a
             tenth of the time
    options  go to `fit`

    The largest budgets are hidden, at every cut in compute that leaves enough rows; each law is fitted to the rest and
    forecasts what was hidden, with its interval. Raises TableError when no law can be fitted.
    """
    if not isinstance(options.get("weights", ""), str | None):
        raise ScalingError("compare takes weights= as a column's name: each rehearsal sees other rows")
    chosen = _candidates(laws, table, x)
    quantities = {law.predicts for law in chosen}
    if len(quantities) > 1 or any(law.signed for law in chosen):
        raise ScalingError(
            "compare ranks laws of one positive quantity by relative errors; these predict "
            f"{', '.join(sorted(quantities))}"
        )
    fits: dict[str, Fit] = {}
    notes: list[str] = []
    for law in chosen:
        named: dict[str, Any] = {"x": x} if law.inputs == ("x",) else {}
        try:
            fits[law.name] = fit(law, table, seed=seed, **named, **options)
        except (FitError, TableError) as error:
            if len(chosen) == 1:
                raise
            notes.append(f"{law.name} was left out: {error}")
    if not fits:
        raise TableError(f"no law can be fitted to this table: {'; '.join(notes)}")
    stacked = None
    if laws is None and {"N", "D"} <= set(table.columns):
        try:
            stacked = stack(table, resamples=resamples, seed=seed)
        except TableError as error:
            notes.append(f"no stack: {error}")
    if quick:
        rehearsals = {name: _nearby(one) for name, one in fits.items()}
        rows = {name: _row(one, rehearsals[name], {}) for name, one in fits.items()}
    else:
        rehearsals = {name: _by_compute(one, level, resamples, seed, options) for name, one in fits.items()}
        rows = {name: _row(one, rehearsals[name], _by_inputs(one, seed, options)) for name, one in fits.items()}
    if stacked is not None:
        rehearsals[STACK] = stacked.rehearsal(level)
        rows[STACK] = _scores(rehearsals[STACK]) | ({} if quick else _stack_by_inputs(stacked.table))
    ranking = pd.DataFrame.from_dict(rows, orient="index").assign(nominal=level)
    order = ["error", "far", "bias", "by_N", "by_D", "cuts", "coverage", "nominal", "free", "aicc", "bic"]
    ranking = ranking.reindex(columns=[c for c in order if c in ranking or c in ("free", "aicc", "bic")])
    ranking["free"] = ranking["free"].astype("Int64")
    ranking = ranking.sort_values(["error", "aicc"], na_position="last").rename_axis("law")
    notes += _words(ranking, stacked)
    return Comparison(fits, stacked, rehearsals, ranking, level, tuple(notes))


def _candidates(laws: Sequence[str | Law] | str | Law | None, table: pd.DataFrame, x: str | None) -> list[Law]:
    if laws is not None:
        given = [find_law(law) for law in ([laws] if isinstance(laws, str | Law) else laws)]
        curves = [law.name for law in given if law.kind == "curves"]
        if curves:
            raise ScalingError(f"{', '.join(curves)} describes whole curves; compare ranks laws of finished runs")
        return given
    reads = set(map(str, table.columns))
    laws_of_loss = [law for law in LAWS.values() if law.kind == "points" and law.predicts == "loss" and law.ranked]
    if x is not None:
        return [law for law in laws_of_loss if law.inputs == ("x",)]
    # where N and D both vary, a law of one of them alone would be blamed for the other
    both = {"N", "D"} & reads if {"N", "D"} <= reads else set()
    found = [law for law in laws_of_loss if both <= set(law.inputs) <= reads]
    if not found:
        raise TableError(f"no law of finished runs reads {', '.join(sorted(reads))}; name N and D, or give x=")
    return found


def _by_compute(whole: Fit, level: float, resamples: int, seed: int, options: dict[str, Any]) -> pd.DataFrame:
    """Forecasts of the rows beyond each cut in compute, with intervals, by fits that have not seen them."""
    size = budget(whole, whole.table)
    frames = [pd.DataFrame(columns=["cut", "fitted", "beyond", "loss", "lo", "hi", "observed", "error", "inside"])]
    names = [whole.columns[name] for name in whole.law.inputs]
    for cut in _cuts(whole, size):
        past = _refit(whole, whole.table[size <= cut], seed, options)
        if past is None:
            continue
        ahead = whole.table[size >= AHEAD * cut]
        asked: dict[str, Any] = {name: ahead[name].to_numpy() for name in names}
        band = forecast(bootstrap(past, resamples, seed=seed), level=level, **asked)
        observed = ahead[whole.columns["loss"]].to_numpy()
        frames.append(
            band[["beyond", "loss", "lo", "hi"]].assign(
                cut=cut,
                fitted=len(past.table),
                observed=observed,
                error=np.log(band["loss"] / observed),
                inside=(band["lo"] <= observed) & (observed <= band["hi"]),
            )
        )
    return pd.concat(frames[1:] or frames, ignore_index=True)


def _nearby(whole: Fit) -> pd.DataFrame:
    """The same forecasts by fits that start at the optimum of all rows, without intervals."""
    past = rehearse(whole).rename(columns={"predicted": "loss"})
    return past.assign(lo=np.nan, hi=np.nan, inside=np.nan)


def _by_inputs(whole: Fit, seed: int, options: dict[str, Any]) -> dict[str, float]:
    """Mean over the cuts of the median error when rows of large N, or of large D, are hidden."""
    names = [whole.columns[name] for name in whole.law.inputs]
    if len(names) < 2:
        return {}
    found = {}
    for name in names:
        size = whole.table[name].to_numpy()
        missed = []
        for cut in _cuts(whole, size):
            past = _refit(whole, whole.table[size <= cut], seed, options)
            if past is not None:
                ahead = whole.table[size >= AHEAD * cut]
                error = np.log(past.predict(**{n: ahead[n] for n in names}) / ahead[whole.columns["loss"]])
                missed.append(float(np.median(np.abs(error))))
        found[f"by_{name}"] = float(np.mean(missed)) if missed else np.nan
    return found


def _stack_by_inputs(table: pd.DataFrame) -> dict[str, float]:
    """The same for the stack, its laws counting equally: they have rehearsed in compute only."""
    found = {}
    for name in ("N", "D"):
        size = table[name].to_numpy()
        missed = []
        for cut in expanding_cuts(size, table[["N", "D"]].to_numpy().T):
            seen, ahead = (
                part[["N", "D", "loss"]].to_numpy().T for part in (table[size <= cut], table[size >= AHEAD * cut])
            )
            centre = np.mean([regularise(member, *seen).log_loss(ahead[0], ahead[1]) for member in MEMBERS], axis=0)
            missed.append(float(np.median(np.abs(centre - np.log(ahead[2])))))
        found[f"by_{name}"] = float(np.mean(missed)) if missed else np.nan
    return found


def _cuts(whole: Fit, size: Array) -> list[float]:
    inputs = np.stack([whole.table[whole.columns[name]].to_numpy(float) for name in whole.law.inputs])
    free = len(whole.law.names) - len(whole.fixed) - len(whole.tied)
    return expanding_cuts(size, inputs, max(FEWEST, free + 2))


def _refit(whole: Fit, part: pd.DataFrame, seed: int, options: dict[str, Any]) -> Fit | None:
    part = part.drop(columns="_weight", errors="ignore")
    named: dict[str, Any] = {"starts": 4} | options
    if whole.law.inputs == ("x",):
        named["x"] = whole.columns["x"]
    try:
        return fit(whole.law, part, seed=seed, **named)
    except (FitError, TableError):
        return None


def _row(whole: Fit, rehearsal: pd.DataFrame, by: dict[str, float]) -> dict[str, float]:
    n = len(whole.table)
    free = len(whole.free_values)
    p = free + 1  # the noise's variance is one more
    deviance = n * np.log(max(float(np.mean(whole.residuals**2)), 1e-300))
    correction = 2 * p * (p + 1) / (n - p - 1) if n > p + 1 else np.inf
    fitted = {"free": free, "aicc": deviance + 2 * p + correction, "bic": deviance + p * np.log(n)}
    return _scores(rehearsal) | by | fitted


def _scores(rehearsal: pd.DataFrame) -> dict[str, float]:
    if not len(rehearsal):
        return dict.fromkeys(("error", "far", "bias", "coverage"), np.nan) | {"cuts": 0}
    far = rehearsal[rehearsal["beyond"] >= 4 * 0.998]
    by_cut = rehearsal.groupby("cut")
    return {
        "error": float(by_cut["error"].apply(lambda e: e.abs().median()).mean()),
        "far": float(far.groupby("cut")["error"].apply(lambda e: e.abs().median()).mean()) if len(far) else np.nan,
        "bias": float(by_cut["error"].median().mean()),
        "coverage": float(by_cut["inside"].mean().mean()),
        "cuts": len(by_cut),
    }


def _words(ranking: pd.DataFrame, stacked: Stack | None) -> list[str]:
    if not (ranking["cuts"] > 0).any():
        return [
            "no rehearsal: the table is too small or too narrow to hide its largest budgets; laws are ordered by AICc, "
            "which says how well they fit, not how well they forecast"
        ]
    said = []
    if stacked is not None:
        said.append(f"{STACK}: four regularised laws weighted by rehearsal, as `scaling forecast TABLE` uses")
    if ranking["cuts"].max() < 3:
        said.append("fewer than 3 cuts: this ranking rests on little")
    return said
