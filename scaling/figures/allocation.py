"""What a budget should buy: optimal size, tokens and tokens per parameter along compute, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from scaling.allocation import optimum
from scaling.figures.marks import DENSE, band
from scaling.intervals import Draws
from scaling.rehearsal import budget
from scaling.style import column_axis, count, theme

REACH = 100.0  # times the largest fitted budget
WHAT = {"N": "N", "D": "D", "ratio": "tokens_per_param"}


def plot_allocation(
    ax: Axes, draws: Draws, what: str = "N", *, budgets: Sequence[float] | None = None, level: float = 0.9
) -> Axes:
    """The optimal "N", "D" or tokens per parameter ("ratio") against compute, from the runs' budgets to a hundred times
    beyond, or to the largest of `budgets`, which are marked with their values. Left of the line the runs are."""
    look, name = theme(), WHAT[what]
    fit = draws.fit
    own = budget(fit, fit.table)
    asked = np.asarray(budgets or [], dtype=float)
    top = max(own.max() * REACH, *(asked * 1.5)) if len(asked) else own.max() * REACH
    front = optimum(draws, C=np.geomspace(own.min(), top, 40), level=level)
    band(ax, front["C"], front[f"{name}_lo"], front[f"{name}_hi"], f"{level:.0%} interval")
    ax.plot(front["C"], front[name], color=look.law, zorder=3, label=f"optimum by {fit.law.name}")
    values: Any = fit.table["D"] / fit.table["N"] if what == "ratio" else fit.table[name]
    many = len(own) > DENSE
    ax.scatter(own, values, s=9, color=look.muted, lw=0, alpha=0.7, zorder=1, label="fitted runs", rasterized=many)
    ax.axvline(own.max(), color=look.muted, lw=0.8, ls=":")
    if len(asked):
        at = optimum(draws, C=asked, level=level)
        bars = np.stack([at[name] - at[f"{name}_lo"], at[f"{name}_hi"] - at[name]])
        ax.errorbar(at["C"], at[name], yerr=bars, fmt="o", ms=5, color=look.held, capsize=3, zorder=5, label="budget")
        for c, value in zip(at["C"], at[name], strict=True):
            said = count(float(f"{value:.3g}"))
            text = ax.annotate(
                said, (c, value), xytext=(-6, 5), textcoords="offset points", ha="right", fontsize=8, color=look.held,
                zorder=6,
            )  # fmt: skip
            text.set_path_effects([withStroke(linewidth=2, foreground=look.paper)])
    column_axis(ax.xaxis, "C", most=6)
    column_axis(ax.yaxis, name)
    ax.set_xlim(own.min() / 1.3, top)
    return ax
