"""Contours of L(N, D): where the runs stand on it, what a budget can buy, and which way the best runs go."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.patheffects import withStroke

from scaling.allocation import optimum
from scaling.errors import ScalingError
from scaling.figures.marks import fitted_points
from scaling.heldout import HeldOut
from scaling.intervals import Draws
from scaling.style import column_axis, plain, power, theme

LEVELS = 12
STEPS = 80


def plot_contour(
    ax: Axes,
    draws: Draws,
    *,
    budgets: Sequence[float] | None = None,
    held: HeldOut | None = None,
    level: float = 0.9,
) -> Axes:
    """Contours of the law's loss over N and D, the runs, lines of equal compute, and the efficient frontier: the
    optimal N and D of every budget with the interval of N.

    budgets  FLOP; by default three that span the runs and ten times beyond. Raises ScalingError for a law that does not
    weigh sizes.
    """
    fit = draws.fit
    if not fit.law.weighs_sizes:
        raise ScalingError(f"contours need a law of N and D, such as chinchilla; {fit.law.name} is not one")
    rows = fit.table[["N", "D"]].astype(float)
    every = rows if held is None else pd.concat([rows, held.outcome[["N", "D"]]], ignore_index=True)
    c = 6 * every["N"] * every["D"]
    asked = np.sort(np.asarray(budgets, dtype=float)) if budgets else _decades(c.min(), c.max() * 10)
    front = _frontier(draws, np.geomspace(c.min(), max(c.max() * 10, asked[-1]), 40), level)
    n, d = (_span(every, front, name, budgets is not None) for name in ("N", "D"))
    column_axis(ax.xaxis, "N")
    column_axis(ax.yaxis, "D")
    ax.set_xlim(n[0], n[-1])  # before the labels, whose gaps are measured on the axes as they are
    ax.set_ylim(d[0], d[-1])
    loss = fit.predict(N=n[None, :], D=d[:, None])
    levels = np.exp(np.linspace(np.log(loss.min()), np.log(np.quantile(loss, 0.97)), LEVELS + 2))[1:]
    lines = ax.contour(n, d, loss, levels=levels, cmap=theme().sizes, norm=LogNorm(levels[0], levels[-1]), linewidths=1)
    for text in ax.clabel(lines, fmt=lambda value: plain(round(value, 2)), fontsize=7):
        text.set_path_effects([withStroke(linewidth=2, foreground=theme().paper)])
    for budget in asked:
        ax.plot(n, budget / (6 * n), color=theme().muted, lw=0.8, ls=":", zorder=1)
        at = n[np.searchsorted(-budget / (6 * n), -d[-1]).clip(1, STEPS - 1)]
        _named(ax, float(at), float(budget / (6 * at)), power(float(budget)))
    if front is not None:
        ax.fill_betweenx(front["D"], front["N_lo"], front["N_hi"], color=theme().good, alpha=0.2, lw=0, zorder=2)
        ax.plot(front["N"], front["D"], color=theme().good, lw=1.8, zorder=3, label=f"optimum, {level:.0%} interval")
    fitted_points(ax, rows["N"], rows["D"], size=16)
    if held is not None:
        out = held.outcome
        ax.scatter(
            out["N"], out["D"], marker="*", s=110, color=theme().held, edgecolor=theme().paper, lw=0.6, zorder=6,
            label="held-out runs",
        )  # fmt: skip
    ax.plot([], [], color=theme().muted, lw=0.8, ls=":", label="compute (FLOP)")
    ax.grid(visible=False)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, borderaxespad=0.3)
    return ax


def _named(ax: Axes, x: float, y: float, words: str) -> None:
    text = ax.annotate(
        words, (x, y), xytext=(3, -3), textcoords="offset points", va="top", fontsize=7.5, color=theme().muted,
        zorder=5, annotation_clip=True,
    )  # fmt: skip
    text.set_path_effects([withStroke(linewidth=2, foreground=theme().paper)])


def _frontier(draws: Draws, c: np.ndarray, level: float) -> pd.DataFrame | None:
    try:
        return optimum(draws, C=c, level=level)
    except ScalingError:
        return None


def _decades(lo: float, hi: float) -> np.ndarray:
    powers = np.arange(np.ceil(np.log10(lo)), np.floor(np.log10(hi)) + 1)
    step = max(1, -(-len(powers) // 5))
    return 10.0 ** powers[::step] if len(powers) else np.array([np.sqrt(lo * hi)])


def _span(rows: pd.DataFrame, front: pd.DataFrame | None, name: str, asked: bool) -> np.ndarray:
    """Over the runs and the frontier, up to ten times the runs where no budget was asked for."""
    values = [rows[name].min(), rows[name].max()]
    if front is not None:
        last = front[name].iloc[-1]
        values += [min(front[name].iloc[0], values[0]), last if asked else min(last, values[1] * 10)]
    return np.geomspace(min(values) / 1.6, max(values) * 1.6, STEPS)
