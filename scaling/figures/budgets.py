"""Loss against compute, size or tokens: every run and curve, the law, the frontier and its band."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from scaling.allocation import optimum
from scaling.errors import ScalingError
from scaling.figures.marks import band, fitted_points, held_points, losses
from scaling.forecasting import forecast
from scaling.heldout import HeldOut
from scaling.intervals import Draws
from scaling.rehearsal import budget
from scaling.style import LABELS, column_axis, size_bar, size_scale, theme

LINES = 8  # of the law at one size each, before they are too many to tell apart


def plot_compute(
    ax: Axes, draws: Draws, *, curves: pd.DataFrame | None = None, held: HeldOut | None = None, level: float = 0.9
) -> Axes:
    """Loss against compute for a law of N and D: `plot_frontier` along C."""
    return plot_frontier(ax, draws, "C", curves=curves, held=held, level=level)


def plot_frontier(
    ax: Axes,
    draws: Draws,
    along: str = "C",
    *,
    curves: pd.DataFrame | None = None,
    held: HeldOut | None = None,
    level: float = 0.9,
    reach: float = 2.0,
) -> Axes:
    """Loss along compute "C", tokens "D" or size "N" for a law of N and D: every run, its curve if given, the law at
    each size (along N: at each number of tokens), and the frontier (the loss at the optimal N and D) with its band, up
    to `reach` times the largest budget.

    `curves` has columns run, tokens, loss and N (a run's curve stands at 6 N tokens FLOP). Raises ScalingError for a
    law that does not weigh sizes.
    """
    fit = draws.fit
    if along not in ("C", "N", "D"):
        raise ScalingError(f"loss is drawn along C, N or D, got {along!r}")
    if not fit.law.weighs_sizes:
        raise ScalingError(f"a frontier needs a law of N and D, such as chinchilla; {fit.law.name} is not one")
    by = "D" if along == "N" else "N"  # what the shades are
    points = _points(fit.table, fit.columns["loss"])
    rows = points if held is None else pd.concat([points, _points(held.outcome, "observed")], ignore_index=True)
    scale, shade = size_scale(rows[by]), theme().sizes
    if curves is not None and along != "N":
        for _, one in curves.groupby("run", sort=False):
            n = float(one["N"].iloc[0])
            x = one["tokens"] * (6 * n if along == "C" else 1)
            ax.plot(x, one["loss"], color=shade(scale(n)), lw=0.7, alpha=0.45, zorder=1)
    front = _frontier(draws, budget(fit, rows), level, reach)
    if front is not None:
        band(ax, front[along], front["lo"], front["hi"], f"{level:.0%} forecast at the optimum")
        ax.plot(front[along], front["loss"], color=theme().law, zorder=3, label="law at the optimum")
    name = f"law at one ${by}$"
    for value, x in _lines(rows, by, along):
        at = {by: value, along: x} if along != "C" else {"N": value, "D": x / (6 * value)}
        ax.plot(x, fit.predict(**at), color=shade(scale(value)), lw=1, ls=(0, (4, 2)), zorder=2, label=name)
        name = "_nolegend_"
    fitted_points(ax, points[along], points["loss"], shade(scale(points[by])))
    if held is not None:
        held_points(ax, _points(held.outcome, "observed")[along], held.outcome)
    column_axis(ax.xaxis, along)
    column_axis(ax.yaxis, "loss" if fit.law.predicts == "loss" else losses(fit))
    _limits(ax, rows, along, front, held, reach)
    size_bar(ax, scale, LABELS[by])
    if along == "C":
        ax.legend(loc="upper right")
    else:  # runs fill the corners
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, borderaxespad=0.3)
    return ax


def plot_power(ax: Axes, draws: Draws, *, held: HeldOut | None = None, level: float = 0.9, reach: float = 10.0) -> Axes:
    """A law of one variable: the runs, the law, and its forecast band up to `reach` times beyond them."""
    fit = draws.fit
    column = fit.columns[fit.law.inputs[0]]
    x = fit.table[column].to_numpy()
    top = x.max() * reach if held is None else max(x.max(), held.outcome[column].max()) * 1.5
    span = np.linspace(x.min(), top, 100) if fit.law.zero else np.geomspace(x.min(), top, 100)
    at: dict[str, Any] = {column: span}
    found = forecast(draws, level=level, **at)
    band(ax, span, found["lo"], found["hi"], f"{level:.0%} forecast")
    ax.plot(span, found["loss"], color=theme().law, label=fit.law.name)
    fitted_points(ax, x, fit.table[fit.columns["loss"]])
    if held is not None:
        held_points(ax, held.outcome[column], held.outcome)
    ax.axvline(x.max(), color=theme().muted, lw=0.8, ls=":")
    logarithmic = not (fit.law.signed or fit.law.zero)
    column_axis(ax.xaxis, column, log=logarithmic)
    column_axis(ax.yaxis, losses(fit), log=logarithmic)
    ax.legend(loc="best")
    return ax


def _points(table: pd.DataFrame, loss: str) -> pd.DataFrame:
    found = table[["N", "D"]].astype(float).assign(loss=table[loss].astype(float)).reset_index(drop=True)
    return found.assign(C=6 * found["N"] * found["D"])


def _frontier(draws: Draws, size: Any, level: float, reach: float) -> pd.DataFrame | None:
    """The optimum over the runs' budgets and `reach` times beyond; None where the law has no best size."""
    try:
        return optimum(draws, C=np.geomspace(size.min() / 1.5, size.max() * reach, 60), level=level)
    except ScalingError:
        return None


def _lines(rows: pd.DataFrame, by: str, along: str) -> list[tuple[float, Any]]:
    """Values of `by` at which the law is drawn, each with where: between its own runs, or where values are too many
    for that, at a few round the whole range."""
    own = np.round(np.log(rows[by]) / 0.02)
    found = []
    if own.nunique() <= LINES:
        for _, part in rows.groupby(own):
            if part[along].max() > part[along].min() * 1.01:
                found.append((float(part[by].median()), np.geomspace(part[along].min(), part[along].max(), 40)))
        return found
    for value in np.geomspace(rows[by].min(), rows[by].max(), LINES):
        near = rows[(rows[by] / value).between(0.4, 2.5)]
        if len(near) > 1:
            found.append((float(value), np.geomspace(near[along].min(), near[along].max(), 40)))
    return found


def _limits(ax: Axes, rows: pd.DataFrame, along: str, front: Any, held: HeldOut | None, reach: float) -> None:
    top = rows[along].max() * (reach if along == "C" else 1.3)
    lowest = [rows["loss"].min()]
    if front is not None:
        top = max(top, front[along].max() if along == "C" else front[along].iloc[-1] ** 0.5 * rows[along].max() ** 0.5)
        lowest.append(front["loss"][front[along] <= top].min())
    if held is not None:
        lowest.append(held.outcome["lo"].min() * 1.02)
    ax.set_xlim(rows[along].min() / 1.5, top)
    ax.set_ylim(min(lowest) * 0.96, rows["loss"].max() * 1.08)
