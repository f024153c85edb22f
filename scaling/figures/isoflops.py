"""Plots of an analysis of budgets: the parabolas, and the best size by each approach against compute."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from scaling.isoflop import APPROACHES, IsoFlop
from scaling.style import column_axis, power, size_scale, theme

SAID = {"envelope": "1: envelope", "parabola": "2: parabolas", "law": "3: {law}"}
MARKS = {"envelope": "s", "parabola": "o", "law": "D"}


def plot_parabolas(ax: Axes, found: IsoFlop) -> Axes:
    """Loss against size, a shade a budget: the runs, the parabola through those near the best, its vertex. Budgets that
    were refused are hollow and have no curve."""
    look = theme()
    scale = size_scale([b.C for b in found.budgets])
    N, loss = (found.table[name].to_numpy(float) for name in ("N", "loss"))
    for b in found.budgets:
        tint = look.sizes(scale(b.C))
        ax.scatter(
            N[b.rows], loss[b.rows], s=16, lw=0.8, zorder=3, edgecolor=look.paper if not b.refused else tint,
            color=tint if not b.refused else "none",
        )  # fmt: skip
        if b.refused:
            continue
        x = np.linspace(np.log(N[b.near].min()), np.log(N[b.near].max()), 80)
        ax.plot(np.exp(x), np.polynomial.polynomial.polyval(x - b.centre, b.coefficients), color=tint, zorder=2)
        ax.plot(np.exp(b.log_n), b.loss, marker="*", ms=11, color=look.held, mec=look.paper, mew=0.6, zorder=5)
        said = ax.annotate(
            power(float(f"{b.C:.3g}")), (np.exp(b.log_n), b.loss), xytext=(0, -13), textcoords="offset points",
            ha="center", fontsize=7, color=look.ink, zorder=6,
        )  # fmt: skip
        said.set_path_effects([withStroke(linewidth=2, foreground=look.paper)])
    column_axis(ax.xaxis, "N")
    column_axis(ax.yaxis, "loss")
    ax.plot([], [], marker="*", ls="", ms=11, color=look.held, label="best size of a budget (FLOP)")
    if any(b.refused for b in found.budgets):
        ax.scatter([], [], s=16, color="none", edgecolor=look.ink, label="refused: no minimum")
    ax.legend(loc="best")
    return ax


def plot_approaches(ax: Axes, found: IsoFlop) -> Axes:
    """The best size against compute by each approach, with intervals, and the power law through each."""
    look = theme()
    span = np.array([found.sizes["C"].min() / 1.5, found.sizes["C"].max() * 1.5])
    for i, name in enumerate(APPROACHES):
        rows = found.sizes[(found.sizes["approach"] == name) & found.sizes["N"].notna()]
        line = found.growth[found.growth["approach"] == name]
        if not len(rows):
            continue
        said = SAID[name].format(law=found.draws.fit.law.name)
        if len(line):  # two budgets or more
            a, middle, at = (float(line[column].iloc[0]) for column in ("a", "C", "N"))
            ax.plot(span, at * (span / middle) ** a, color=look.cycle[i], lw=1, zorder=2)
            said += f", $C^{{{a:.3f}}}$"
        bars = np.abs(rows[["N_lo", "N_hi"]].to_numpy().T - rows["N"].to_numpy())
        ax.errorbar(
            rows["C"] * 1.06 ** (i - 1), rows["N"], yerr=bars, fmt=MARKS[name], ms=4, color=look.cycle[i],
            elinewidth=1, capsize=2, zorder=3, label=said,
        )  # fmt: skip
    column_axis(ax.xaxis, "C")
    column_axis(ax.yaxis, "N")
    ax.set_ylabel("best size, parameters $N$")
    ax.legend(loc="upper left")
    return ax


def isoflop_figure(found: IsoFlop) -> Figure:
    """Both, side by side."""
    figure = Figure(figsize=(10.4, 4.3), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.25, 1])
    plot_parabolas(left, found)
    plot_approaches(right, found)
    return figure
