"""Plots of mixtures: the errors of models where they were not fitted, and the expected loss over the shares."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.tri import Triangulation
from numpy.typing import NDArray

from scaling.experts import Experts, experts_on, losses_on
from scaling.mixture_models import MODELS
from scaling.mixture_optimum import BestMixture
from scaling.mixture_scores import TARGET, Scores
from scaling.mixture_table import Mixtures
from scaling.style import log_axis, theme, words

Array = NDArray[np.float64]
#: Steps of a share along a side of the triangle that the loss is drawn over.
FINE = 60
LEVELS = 9
CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(3) / 2]])


def plot_scores(ax: Axes, scores: Scores) -> Axes:
    """Error of the target by model, where it was not fitted, with intervals; the best on top."""
    look = theme()
    rows = scores.table[scores.table["loss"] == TARGET].sort_values("mse", ascending=False)
    at = np.arange(len(rows))
    ends = np.sqrt(rows[["mse_lo", "mse_hi"]].to_numpy(float)).T
    rmse = rows["rmse"].to_numpy(float)
    ax.errorbar(rmse, at, xerr=np.abs(ends - rmse), fmt="o", ms=5, color=look.law, elinewidth=1.4, capsize=3, zorder=3)
    for y, (x, rank) in enumerate(zip(rmse, rows["spearman"], strict=True)):
        if np.isfinite(rank):
            ax.annotate(f"rank corr. {rank:.2f}", (x, y), (0, 6), textcoords="offset points", ha="center", fontsize=7)
    ax.set_yticks(at, [str(name) for name in rows["model"]])
    ax.set_ylim(-0.5, len(rows) - 0.3)
    log_axis(ax.xaxis)
    ax.set_xlim(ends.min() / 1.3, ends.max() * 1.3)  # room for the words
    ax.set_xlabel("error of the target loss where not fitted (rms, nats/token)")
    return ax


def plot_triangle(
    ax: Axes, found: Mixtures, scores: Scores, best: BestMixture, experts: Experts | None = None,
    held: Mixtures | None = None,
) -> Axes:  # fmt: skip
    """Expected target over the shares of three domains, under the model that found the best mixture; and the runs."""
    look = theme()
    steps = np.array([[i, j, FINE - i - j] for i in range(FINE + 1) for j in range(FINE + 1 - i)]) / FINE
    mixed = None
    if MODELS[best.model].experts and experts is not None:
        mixed = losses_on(experts_on(experts, found.domains), steps, found.sources)
    predict = MODELS[best.model].fit(found.shares, found.experts, found.losses)
    loss = np.asarray(predict(steps, mixed), float) @ scores.weights
    # even steps in rank: most of the triangle is near the least loss, and one corner may be far above it
    levels = np.unique(np.quantile(loss, np.linspace(0, 1, LEVELS + 1)).round(4))
    shape = Triangulation(*(steps @ CORNERS).T)
    ax.tricontourf(shape, loss, levels=levels, cmap=look.sizes.reversed(), alpha=0.85)
    lines = ax.tricontour(shape, loss, levels=levels[1:-1], colors=look.paper, linewidths=0.6)
    said = ax.clabel(lines, fmt="%.4g", fontsize=6.5, colors=look.ink)
    for text in said:
        text.set_path_effects([withStroke(linewidth=2, foreground=look.paper)])
    ax.plot(*np.vstack([CORNERS, CORNERS[:1]]).T, color=look.ink, lw=0.8)
    x, y = (found.shares @ CORNERS).T
    ax.scatter(x, y, s=14, color=look.ink, edgecolor=look.paper, lw=0.6, zorder=4, label="fitted")
    if held is not None:
        x, y = (held.shares @ CORNERS).T
        ax.scatter(x, y, s=18, marker="D", color=look.held, edgecolor=look.paper, lw=0.6, zorder=4,
            label="held out",
        )  # fmt: skip
    x, y = best.shares["share"].to_numpy(float) @ CORNERS
    ax.scatter(x, y, s=150, marker="*", color=look.good, edgecolor=look.paper,
        lw=0.8, zorder=6, label=f"best under {best.model}",
    )  # fmt: skip
    for corner, name, (dx, dy), side in zip(
        CORNERS, found.domains, ((-2, -11), (2, -11), (0, 5)), ("left", "right", "center"), strict=True
    ):
        ax.annotate(words(name), corner, (dx, dy), textcoords="offset points", ha=side, fontsize=8.5)
    ax.set_aspect("equal")
    ax.set_axis_off()
    ax.legend(loc="upper left", bbox_to_anchor=(-0.02, 1.0), borderpad=0, handletextpad=0.3)
    return ax


def plot_shares(ax: Axes, found: Mixtures, best: BestMixture) -> Axes:
    """The best share of every domain, with its interval."""
    look, at = theme(), np.arange(len(found.domains))
    share = best.shares["share"].to_numpy(float)
    ends = np.abs(best.shares[["lo", "hi"]].to_numpy(float).T - share)
    ax.errorbar(share, at, xerr=ends, fmt="*", ms=10, color=look.good, elinewidth=1.2, capsize=3, zorder=3)
    ax.set_yticks(at, [words(name) for name in found.domains])
    ax.set_xlabel(f"share of the best mixture under {best.model}")
    ax.set_xlim(-0.02, 1.02)
    return ax


def mixture_figure(
    found: Mixtures, scores: Scores, best: BestMixture, experts: Experts | None = None, held: Mixtures | None = None
) -> Figure:
    """Errors of the models beside the best mixture: in a triangle for three domains, else share by share."""
    figure = Figure(figsize=(9.6, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.1, 1])
    plot_scores(left, scores)
    if len(found.domains) == 3:
        plot_triangle(right, found, scores, best, experts, held)
    else:
        plot_shares(right, found, best)
    return figure
