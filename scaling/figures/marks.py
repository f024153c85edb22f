"""Marks that several plots share: fitted runs, held-out runs with their forecasts, bands, reference lines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from scaling.fitting import Fit
from scaling.style import theme

DENSE = 4000  # points from which an SVG or PDF holds them as a picture: each as a shape would make it slow and large


def fitted_points(ax: Axes, x: Any, y: Any, colours: Any = None, *, size: float = 22) -> None:
    """Runs that the fit has seen."""
    given: dict[str, Any] = {"color": theme().ink} if colours is None else {"c": colours}
    given["rasterized"] = len(y) > DENSE
    ax.scatter(x, y, s=size, edgecolor=theme().paper, lw=0.5, zorder=4, label="fitted runs", **given)


def held_points(ax: Axes, x: Any, out: pd.DataFrame) -> None:
    """Held-out runs as stars, their forecasts as bars."""
    held_bars(ax, x, out, label="forecast")
    ax.scatter(
        x, out["observed"], marker="*", s=110, color=theme().held, edgecolor=theme().paper, lw=0.6, zorder=6,
        label="held-out runs",
    )  # fmt: skip


def held_bars(ax: Axes, x: Any, out: pd.DataFrame, label: str | None = None) -> None:
    """Intervals of forecasts of held-out runs."""
    bars: Any = np.stack([out["loss"] - out["lo"], out["hi"] - out["loss"]])
    ax.errorbar(
        x, out["loss"], yerr=bars, fmt="none", ecolor=theme().held, elinewidth=1.1, capsize=2.5, zorder=4, label=label
    )


def band(ax: Axes, x: Any, lo: Any, hi: Any, label: str | None = None) -> None:
    """An interval along x."""
    ax.fill_between(x, lo, hi, color=theme().law, alpha=0.18, lw=0, zorder=0, label=label)


def losses(fit: Fit) -> str:
    """What the fit predicts and its unit, as an axis says it."""
    return f"{fit.law.predicts} ({fit.law.unit})"


def percent(ax: Axes, what: str, axis: str = "y") -> None:
    """An axis of shares: its ticks in per cent."""
    own = ax.yaxis if axis == "y" else ax.xaxis
    own.set_major_formatter(lambda value, _: f"{100 * value:.4g}%")
    own.set_label_text(what)


def shares(fit: Fit, held: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Residuals of the fitted rows and errors of the held-out ones, as the fit measures them."""
    if held is None:
        return fit.residuals, np.empty(0)
    out = held.outcome
    apart = out["loss"] - out["observed"] if fit.law.signed else np.log(out["loss"] / out["observed"])
    return fit.residuals, np.asarray(apart, dtype=float)
