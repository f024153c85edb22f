"""Whether the law holds: predicted against observed, residuals against every column, rehearsed errors by distance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from scaling.bands import half_width
from scaling.errors import ScalingError
from scaling.figures.marks import DENSE, fitted_points, held_bars, losses, percent, shares
from scaling.fitting import Fit
from scaling.heldout import HeldOut
from scaling.intervals import Draws
from scaling.rehearsal import drift_per_decade
from scaling.style import column_axis, theme, words

MOST = 9  # columns that a sheet of residuals shows
GROUPS = 12  # values up to which a column of words is worth a panel
SPREAD = 20.0  # ratio of largest to least from which a column is drawn on a log axis


def plot_observed(ax: Axes, fit: Fit, *, held: HeldOut | None = None) -> Axes:
    """Predicted against observed loss, held-out runs with their intervals."""
    look = theme()
    observed = fit.table[fit.columns["loss"]].to_numpy()
    predicted = observed + fit.residuals if fit.law.signed else observed * np.exp(fit.residuals)
    every = [observed, predicted]
    ax.scatter(
        observed, predicted, s=20, color=look.law, edgecolor=look.paper, lw=0.5, zorder=3,
        label=f"fitted, {len(observed)} rows", rasterized=len(observed) > DENSE,
    )  # fmt: skip
    if held is not None:
        out = held.outcome
        held_bars(ax, out["observed"], out)
        label = f"held out, {int(out['inside'].sum())} of {len(out)} inside"
        ax.scatter(
            out["observed"], out["loss"], marker="*", s=95, color=look.held, edgecolor=look.paper, lw=0.5, zorder=5,
            label=label,
        )  # fmt: skip
        every += [out[name].to_numpy() for name in ("observed", "lo", "hi")]
    lo, hi = min(v.min() for v in every), max(v.max() for v in every)
    lo, hi = (lo - 0.03 * (hi - lo), hi + 0.03 * (hi - lo)) if fit.law.signed else (lo * 0.985, hi * 1.015)
    ax.plot([lo, hi], [lo, hi], color=look.muted, lw=0.8, zorder=1)
    ax.set_xlim(lo, hi)
    ax.set_ylim(lo, hi)
    ax.set_aspect("equal")
    ax.set_xlabel(f"observed {losses(fit)}")
    ax.set_ylabel(f"predicted {losses(fit)}")
    ax.legend(loc="upper left")
    return ax


def residual_columns(fit: Fit, most: int = MOST) -> list[str]:
    """Columns that residuals may follow: the law's inputs, what it predicts, then all others that vary, words last.

    A column that names every row, or moves with one before it all but exactly, is left out.
    """
    table = _with_sizes(fit.table)
    first = [c for c in (*fit.columns.values(), "C", "tokens_per_param") if c in table]
    chosen: list[str] = []
    numeric = [str(c) for c in table.select_dtypes("number") if str(c)[:1] != "_"]
    words = [str(c) for c in table if str(c) not in numeric and str(c)[:1] != "_"]
    for column in dict.fromkeys([*first, *numeric, *words]):
        values = table[column].dropna()
        if values.nunique() < 2:
            continue
        if column in words:
            if values.astype(str).nunique() > min(GROUPS, len(table) // 2):
                continue
        elif column not in first and any(_together(table, column, other) for other in chosen if other in numeric):
            continue
        chosen.append(column)
    return chosen[:most]


def plot_residuals(ax: Axes, fit: Fit, column: str, *, held: HeldOut | None = None) -> Axes:
    """Residuals, ln predicted / observed, against one column, with the robust standard deviation to either side of 0
    and the running median where rows are many. Words are places along the axis."""
    look, table = theme(), _with_sizes(fit.table)
    if column not in table:
        raise ScalingError(f"the fitted table has no column {column}; it has {', '.join(map(str, table))}")
    own, missed = shares(fit, held)
    x = table[column]
    names: list[str] = []
    if not pd.api.types.is_numeric_dtype(x):
        codes, found = pd.factorize(x.astype(str), sort=True)
        names, x = [str(name) for name in found], pd.Series(codes, index=table.index, dtype=float)
    ax.axhspan(-fit.residual_sd, fit.residual_sd, color=look.law, alpha=0.12, lw=0, zorder=0)
    ax.axhline(0, color=look.muted, lw=0.8, zorder=1)
    spread = _logarithmic(x) and not names
    if len(x) >= 30 and x.nunique() >= 8:
        middle = pd.Series(own).groupby(pd.qcut(x.rank(method="first").to_numpy(), 6, labels=False)).median()
        at = x.reset_index(drop=True).groupby(pd.qcut(x.rank(method="first").to_numpy(), 6, labels=False)).median()
        ax.plot(at, middle, color=look.held, lw=1.2, zorder=3)
    jitter = np.random.default_rng(0).uniform(-0.18, 0.18, len(x)) if names else 0.0
    fitted_points(ax, x + jitter, own, [look.law] * len(own), size=14)
    if held is not None and column in _with_sizes(held.outcome) and not names:
        ax.scatter(_with_sizes(held.outcome)[column], missed, marker="*", s=80, color=look.held, edgecolor=look.paper,
                   lw=0.5, zorder=5)  # fmt: skip
    column_axis(ax.xaxis, column, log=spread, most=5)
    if names:
        ax.set_xticks(range(len(names)), [words(name, 14) for name in names], rotation=30 if len(names) > 3 else 0,
                      ha="right" if len(names) > 3 else "center")  # fmt: skip
        ax.grid(axis="x", visible=False)
    if fit.law.signed:
        ax.set_ylabel(f"residual ({fit.law.unit})")
    else:
        percent(ax, "predicted / observed - 1")
    return ax


def plot_rehearsal(ax: Axes, draws: Draws, *, level: float = 0.9) -> Axes:
    """Rehearsed errors against how far beyond the rows then fitted, and the band that forecasts draw from them.

    For a law of whole curves: each curve's error when the others predict it. Raises ScalingError where the table was
    too small to rehearse.
    """
    look, fit, past = theme(), draws.fit, draws.rehearsal
    if not len(past):
        raise ScalingError(
            "there is no rehearsal to draw: the table is too small or too narrow to hide its largest budgets"
        )
    if fit.law.kind == "curves":
        return _left_out(ax, past)
    cuts = sorted(past["cut"].unique())
    top = float(past["beyond"].max()) * 1.3
    x = np.geomspace(1, top, 60)
    z, drift = half_width(level), drift_per_decade(fit, past)
    width = z * np.sqrt(fit.residual_sd**2 + (drift * np.log10(x)) ** 2)
    ax.fill_between(x, -width, width, color=look.law, alpha=0.15, lw=0, label=f"{level:.0%}: scatter and distance")
    ax.axhline(0, color=look.muted, lw=0.8)
    shades = look.sizes(np.linspace(0.05, 0.95, len(cuts)))
    for shade, cut in zip(shades, cuts, strict=True):
        rows = past[past["cut"] == cut]
        said = f"{len(cuts)} cuts, shaded by budget" if cut == cuts[len(cuts) // 2] else None
        ax.scatter(
            rows["beyond"], rows["error"], s=18, color=shade, edgecolor=look.paper, lw=0.4, zorder=3, label=said,
            rasterized=len(past) > DENSE,
        )  # fmt: skip
    column_axis(ax.xaxis, "beyond")
    if fit.law.signed:
        ax.set_ylabel(f"rehearsed error ({fit.law.unit})")
    else:
        percent(ax, "rehearsed error, predicted / observed - 1")
    ax.set_xlim(1, top)
    ax.legend(loc="best")
    return ax


def _left_out(ax: Axes, past: pd.DataFrame) -> Axes:
    look, places = theme(), np.arange(len(past))
    ax.barh(places, past["rmse"], color=look.law, alpha=0.35, height=0.6, label="RMS error of the curve")
    ax.plot(past["final_error"].abs(), places, "D", ms=5, color=look.held, label="error of its last row")
    ax.set_yticks(places, [words(run, 28) for run in past["run"]])
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    percent(ax, "error of each curve, predicted from the others", "x")
    ax.set_xlim(left=0)
    ax.margins(x=0.1)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, borderaxespad=0.3)
    return ax


def _with_sizes(table: pd.DataFrame) -> pd.DataFrame:
    """The table with C and tokens per parameter where N and D say them."""
    found: dict[str, Any] = {}
    if {"N", "D"} <= set(table.columns):
        found["tokens_per_param"] = table["D"] / table["N"]
        if "C" not in table:
            found["C"] = 6 * table["N"] * table["D"]
    return table.assign(**found)


def _together(table: pd.DataFrame, one: str, other: str) -> bool:
    """Whether one column follows from the other but for a factor or a power."""
    both = table[[one, other]].dropna().to_numpy(float)
    both = np.log(both) if (both > 0).all() else both
    return bool(len(both) > 2 and (both.std(0) > 0).all() and abs(np.corrcoef(both.T)[0, 1]) > 0.9999)


def _logarithmic(x: pd.Series) -> bool:
    return bool((x > 0).all() and x.max() > SPREAD * x.min())
