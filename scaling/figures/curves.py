"""Whole loss curves above, their learning rates below."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter

from scaling.figures.marks import DENSE, band
from scaling.fitting import Fit
from scaling.heldout import HeldOut
from scaling.style import label, theme, words

NAMED = 8  # curves up to which a legend tells them apart
EARLY = 0.03  # share of the longest run whose steep losses may fall off the top


def plot_curve(ax: Axes, below: Axes, held: HeldOut, *, fitted: bool = True) -> Axes:
    """A held-out curve with its forecast and band; the learning rates of it and of the fitted curves below."""
    out, table, look = held.outcome, held.draws.fit.table, theme()
    if fitted:
        for i, (run, rows) in enumerate(table.groupby("run", sort=False)):
            said = "fitted curves" if i == 0 else None
            ax.plot(rows["step"], rows["loss"], color=look.muted, alpha=0.55, lw=0.8, zorder=1, label=said)
            lr = table.attrs["schedules"].lr[str(run)]
            below.plot(np.arange(len(lr)), lr, color=look.muted, alpha=0.55, lw=0.8)
    found = out if held.band is None else held.band[held.band["step"] >= out["step"].min()]
    band(ax, found["step"], found["lo"], found["hi"], f"{held.level:.0%} forecast")
    ax.plot(found["step"], found["loss"], color=look.law, zorder=3, label=f"{held.draws.fit.law.name}, forecast")
    ax.plot(out["step"], out["observed"], ".", ms=5, color=look.held, zorder=4, label="held-out curve")
    below.plot(found["step"], found["lr"], color=look.held, lw=1.2)
    curve_axes(ax, below, pd.concat([out["observed"], out["lo"], out["hi"]]), pd.concat([out["step"]] * 3))
    return ax


def plot_curves(ax: Axes, below: Axes, fit: Fit) -> Axes:
    """Fitted curves, the law on each, and their learning rates below."""
    runs = list(fit.table.groupby("run", sort=False))
    look = theme()
    tints = look.cycle if len(runs) <= len(look.cycle) else look.sizes(np.linspace(0, 1, len(runs)))
    for tint, (run, rows) in zip(tints, runs, strict=False):
        lr = fit.table.attrs["schedules"].lr[str(run)]
        first = int(rows["step"].min())
        ax.plot(rows["step"], rows["loss"], ".", ms=3, color=tint, alpha=0.6, rasterized=len(fit.table) > DENSE)
        law = fit.predict(schedule=lr, **{name: rows[name].iloc[0] for name in fit.law.inputs[1:]})
        ax.plot(np.arange(first, len(lr)), law[first:], color=tint, label=words(run) if len(runs) <= NAMED else None)
        below.plot(np.arange(len(lr)), lr, color=tint, lw=1)
    curve_axes(ax, below, fit.table["loss"], fit.table["step"])
    return ax


def curve_axes(ax: Axes, below: Axes, losses: pd.Series, steps: pd.Series) -> None:
    """Labels, limits and legend of losses above and learning rates below; `steps` are those of `losses`, row by row."""
    ax.set_ylabel("loss (nats/token)")
    later = losses[steps.to_numpy() >= EARLY * steps.max()]
    lo, hi = float(losses.min()), float(min(losses.quantile(0.97), later.max()))  # the first steps fall off the top
    ax.set_ylim(lo - 0.06 * (hi - lo), hi + 0.05 * (hi - lo))
    below.set_ylabel(label("lr"))
    below.set_xlabel(label("step"))
    below.set_ylim(bottom=0)
    below.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
    below.xaxis.set_major_formatter(EngFormatter(sep=""))
    handles, labels = ax.get_legend_handles_labels()
    if labels:
        ax.legend(handles, labels, loc="upper right")
