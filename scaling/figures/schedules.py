"""Schedules above, the loss curves that a law predicts for them below, on one axis of steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from scaling.choosing import compare_schedules
from scaling.errors import ScalingError
from scaling.forecasting import forecast
from scaling.intervals import Draws
from scaling.style import drawing, label, theme, words

POINTS = 800  # of a drawn line


def schedule_figure(
    draws: Draws, schedules: Mapping[str, Any], *, level: float = 0.9, sizes: Mapping[str, float] | None = None
) -> Figure:
    """Learning rates {name: (T,)} above, predicted losses with bands below, and the final losses aside.

    Of several schedules the ends are shown as differences from the first: those are known far better than the losses.
    """
    colours = theme().cycle
    if not 0 < len(schedules) <= len(colours):
        raise ScalingError(f"a figure shows from 1 to {len(colours)} schedules, got {len(schedules)}")
    given: dict[str, Any] = dict(sizes or {})
    lrs = {name: np.asarray(lr, dtype=float) for name, lr in schedules.items()}
    ends = compare_schedules(draws, lrs, level=level, **given)
    with drawing():
        figure = Figure(figsize=(7.0, 4.6), layout="constrained")
        axes = figure.subplot_mosaic([["lr", "key"], ["loss", "end"]], height_ratios=[1, 2], width_ratios=[2.4, 1])
        axes["loss"].sharex(axes["lr"])
        shown = []
        for colour, (name, lr) in zip(colours, lrs.items(), strict=False):
            band = forecast(draws, schedule=lr, level=level, **given)
            curve = band.iloc[np.unique(np.linspace(0, len(lr) - 1, POINTS).astype(int))]
            axes["lr"].plot(curve["step"], lr[curve["step"]], color=colour, label=_short(name))
            axes["loss"].plot(curve["step"], curve["loss"], color=colour, zorder=3)
            axes["loss"].fill_between(curve["step"], curve["lo"], curve["hi"], color=colour, alpha=0.15, lw=0)
            shown.append(float(curve["loss"].iloc[len(curve) // 8]))
        _curves(axes["lr"], axes["loss"], draws, max(shown), float(ends["lo"].min()), int(ends["steps"].max()))
        axes["key"].axis("off")
        axes["key"].legend(*axes["lr"].get_legend_handles_labels(), loc="upper left", borderaxespad=0.0)
        _ends(axes["end"], ends, level)
        return figure


def _curves(top: Axes, below: Axes, draws: Draws, highest: float, least: float, steps: int) -> None:
    top.set_ylabel(label("lr"))
    top.set_ylim(bottom=0)
    top.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
    top.tick_params(labelbottom=False)
    below.set_xlabel(label("step"))
    below.xaxis.set_major_formatter(EngFormatter(sep=""))
    below.set_ylabel("predicted loss (nats/token)")
    below.set_title(draws.fit.law.name, loc="right", fontsize=8, color=theme().muted, y=0.9)
    below.set_xlim(0, steps * 1.005)
    below.set_ylim(least - 0.04 * (highest - least), highest)


def _ends(ax: Axes, ends: pd.DataFrame, level: float) -> None:
    """Final losses; of several schedules, how far each lies above the first, with the interval of the difference."""
    several = len(ends) > 1
    names = ("difference", "difference_lo", "difference_hi") if several else ("loss", "lo", "hi")
    middle, lo, hi = (ends[name] for name in names)
    for place, colour in zip(range(len(ends)), theme().cycle, strict=False):
        value = middle.iloc[place]
        apart = [[value - lo.iloc[place]], [hi.iloc[place] - value]]
        ax.errorbar(value, -place, xerr=apart, fmt="o", ms=4, color=colour, elinewidth=1.2, capsize=2.5)
        ax.annotate(
            f"{ends['loss'].iloc[place]:.4f}", (value, -place), xytext=(0, 6), textcoords="offset points", ha="center",
            fontsize=7.5, color=colour,
        )  # fmt: skip
    if several:
        ax.axvline(0, color=theme().muted, lw=0.8, zorder=0)
    ax.set_yticks([])
    ax.set_ylim(-len(ends) + 0.4, 0.75)
    ax.margins(x=0.2)
    ax.spines["left"].set_visible(False)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel(f"final loss above the first, {level:.0%}" if several else f"final loss, {level:.0%}")
    ax.xaxis.set_major_locator(MaxNLocator(nbins=3))


def _short(name: str) -> str:
    """A spec as a legend has room for it: its name and what is not the same everywhere."""
    if ":" not in name:
        return words(name.rsplit("/", 1)[-1])
    kind, _, rest = name.partition(":")
    kept = [part for part in rest.split(",") if part.partition("=")[0].strip() not in ("steps", "peak", "warmup")]
    return words(" ".join([kind, *kept]))
