"""A run that still trains: its curve so far, its family's, and the forecast of the rest."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling.figures.curves import curve_axes
from scaling.figures.marks import band
from scaling.style import drawing, theme
from scaling.watching import Watch


def plot_watch(ax: Axes, below: Axes, watch: Watch) -> Axes:
    """The observed rows, the forecast with its band from the last of them on, and the planned learning rates below."""
    look, table = theme(), watch.fit.table
    for i, name in enumerate(watch.family):
        rows = table[table["run"] == name]
        said = f"family, {len(watch.family)} curves" if i == 0 else None
        ax.plot(rows["step"], rows["loss"], color=look.muted, alpha=0.5, lw=0.8, zorder=1, label=said)
        lr = table.attrs["schedules"].lr[name]
        below.plot(np.arange(len(lr)), lr, color=look.muted, alpha=0.4, lw=0.8)
    ahead = watch.band[watch.band["step"] >= watch.now]
    band(ax, ahead["step"], ahead["lo"], ahead["hi"], f"{watch.level:.0%} band")
    ax.plot(ahead["step"], ahead["loss"], color=look.law, zorder=3, label=f"{watch.fit.law.name}, forecast")
    seen = watch.observed[watch.observed["step"] >= table["step"].min()]
    ax.plot(seen["step"], seen["loss"], ".", ms=4, color=look.held, zorder=4, label=f"{watch.run[:40]}, so far")
    end = watch.steps - 1
    sides = np.array([[watch.loss - watch.lo], [watch.hi - watch.loss]])
    ax.errorbar([end], [watch.loss], yerr=sides, fmt="o", ms=4, color=look.law, capsize=3, zorder=5)
    at = watch.band["step"]
    below.plot(at[at <= watch.now], watch.band["lr"][at <= watch.now], color=look.held, lw=1.4)
    below.plot(at[at >= watch.now], watch.band["lr"][at >= watch.now], color=look.law, lw=1.4, ls="--")
    for axes in (ax, below):
        axes.axvline(watch.now, color=look.muted, lw=0.8, ls=":")
    losses = pd.concat([seen["loss"], ahead["lo"], ahead["hi"]])
    curve_axes(ax, below, losses, pd.concat([seen["step"], ahead["step"], ahead["step"]]))
    return ax


def watch_figure(watch: Watch) -> Figure:
    """The forecast of a run as a figure of its own."""
    with drawing():
        figure = Figure(figsize=(7.2, 5.2), layout="constrained")
        ax, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1]})
        plot_watch(ax, below, watch)
    return figure
