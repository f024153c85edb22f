"""Plots one would print: functions that draw on given Axes and return them, in one colour-blind safe style.

Sizes are shades of one map, fitted runs are dots, held-out runs are stars, the law is a line, a forecast is a band.
"""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from scaling.allocation import optimum
from scaling.errors import ScalingError
from scaling.files import write_whole
from scaling.fitting import Fit
from scaling.forecasting import forecast
from scaling.heldout import HeldOut
from scaling.intervals import Draws
from scaling.rehearsal import budget

LAW, HELD, BAND = "#0072B2", "#D55E00", "#56B4E9"  # Okabe & Ito 2008: distinct under all common colour blindness
SIZES = mpl.colormaps["viridis"]
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.4,
    "figure.dpi": 110,
    "savefig.dpi": 200,
    "svg.fonttype": "none",
}
UNITS = {"N": "parameters $N$", "D": "training tokens $D$", "C": "training compute $C = 6ND$ (FLOP)"}


def plot_compute(
    ax: Axes, draws: Draws, *, curves: pd.DataFrame | None = None, held: HeldOut | None = None, level: float = 0.9
) -> Axes:
    """Loss against compute for a law of N and D: every run, its curve if given, the law at each size, the frontier's
    band.

    `curves` has columns run, tokens, loss and N (a run's curve is drawn at 6 N tokens).
    """
    fit = draws.fit
    sizes = np.unique(fit.table["N"])
    if held is not None:
        sizes = np.unique(np.concatenate([sizes, held.outcome["N"]]))
    norm = LogNorm(sizes.min() / 1.3, sizes.max() * 1.3)
    c_fit = budget(fit, fit.table)
    c_max = c_fit.max() if held is None else max(c_fit.max(), budget(fit, held.outcome).max())
    span = np.geomspace(c_fit.min() / 1.5, c_max * 2, 60)
    if curves is not None:
        for _, rows in curves.groupby("run", sort=False):
            n = float(rows["N"].iloc[0])
            ax.plot(6 * n * rows["tokens"], rows["loss"], color=SIZES(norm(n)), lw=0.7, alpha=0.45, zorder=1)
    front = optimum(draws, C=span, level=level)
    ax.fill_between(
        front["C"],
        front["lo"],
        front["hi"],
        color=BAND,
        alpha=0.25,
        lw=0,
        zorder=0,
        label=f"{level:.0%} forecast at the optimum",
    )
    ax.plot(front["C"], front["loss"], color=LAW, zorder=3, label="law at the optimal $N$")
    for n in sizes:
        at = fit.table["N"] == n
        ds = list(fit.table["D"][at]) + (list(held.outcome["D"][held.outcome["N"] == n]) if held is not None else [])
        d = np.geomspace(min(ds), max(ds), 40)
        ax.plot(6 * n * d, fit.predict(N=n, D=d), color=SIZES(norm(n)), lw=1, ls=(0, (4, 2)), zorder=2)
    ax.scatter(
        c_fit,
        fit.table["loss"],
        c=SIZES(norm(fit.table["N"])),
        s=22,
        edgecolor="white",
        lw=0.5,
        zorder=4,
        label="fitted runs",
    )
    if held is not None:
        c_held = budget(fit, held.outcome)
        _held_points(ax, c_held, held.outcome)
    losses = np.concatenate([fit.table["loss"], [] if held is None else held.outcome["observed"]])
    _log_axes(ax, UNITS["C"], "validation loss (nats/token)")
    lowest = np.inf if held is None else held.outcome["lo"].min()
    ax.set_ylim(min(losses.min(), front["loss"].min(), lowest * 1.02) * 0.96, losses.max() * 1.08)
    ax.set_xlim(span[0], span[-1])
    bar = ax.figure.colorbar(mpl.cm.ScalarMappable(norm, SIZES), ax=ax, pad=0.02, fraction=0.05)
    bar.set_label(UNITS["N"])
    bar.ax.yaxis.set_major_formatter(FuncFormatter(_short))
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    bar.outline.set_visible(False)
    ax.legend(loc="upper right")
    return ax


def plot_power(ax: Axes, draws: Draws, *, held: HeldOut | None = None, level: float = 0.9, reach: float = 10.0) -> Axes:
    """A law of one variable: the runs, the law, and its forecast band up to `reach` times beyond them."""
    fit = draws.fit
    column = fit.columns[fit.law.inputs[0]]
    x = fit.table[column].to_numpy()
    top = x.max() * reach if held is None else max(x.max(), held.outcome[column].max()) * 1.5
    span = np.linspace(x.min(), top, 100) if fit.law.zero else np.geomspace(x.min(), top, 100)
    at: dict[str, Any] = {column: span}
    band = forecast(draws, level=level, **at)
    ax.fill_between(span, band["lo"], band["hi"], color=BAND, alpha=0.25, lw=0, label=f"{level:.0%} forecast")
    ax.plot(span, band["loss"], color=LAW, label=fit.law.name)
    ax.scatter(
        x, fit.table[fit.columns["loss"]], s=20, color="0.25", edgecolor="white", lw=0.5, zorder=4, label="fitted runs"
    )
    if held is not None:
        _held_points(ax, held.outcome[column], held.outcome)
    ax.axvline(x.max(), color="0.6", lw=0.8, ls=":")
    label = f"{fit.law.predicts} ({fit.law.unit})"
    if fit.law.signed or fit.law.zero:
        ax.set_xlabel(UNITS.get(column, column))
        ax.set_ylabel(label)
    else:
        _log_axes(ax, UNITS.get(column, column), label)
    ax.legend(loc="best")
    return ax


def plot_observed(ax: Axes, fit: Fit, *, held: HeldOut | None = None) -> Axes:
    """Predicted against observed loss, held-out runs with their intervals."""
    observed = fit.table[fit.columns["loss"]].to_numpy()
    predicted = observed + fit.residuals if fit.law.signed else observed * np.exp(fit.residuals)
    every = [observed, predicted]
    ax.scatter(
        observed, predicted, s=20, color=LAW, edgecolor="white", lw=0.5, zorder=3, label=f"fitted, {len(observed)} rows"
    )
    if held is not None:
        out = held.outcome
        ax.errorbar(
            out["observed"], out["loss"], yerr=_bars(out), fmt="none", ecolor=HELD, elinewidth=1, capsize=2, zorder=3
        )
        label = f"held out, {int(out['inside'].sum())} of {len(out)} inside"
        ax.scatter(
            out["observed"], out["loss"], marker="*", s=95, color=HELD, edgecolor="white", lw=0.5, zorder=5, label=label
        )
        every += [out[name].to_numpy() for name in ("observed", "lo", "hi")]
    lo, hi = min(v.min() for v in every), max(v.max() for v in every)
    lo, hi = (lo - 0.03 * (hi - lo), hi + 0.03 * (hi - lo)) if fit.law.signed else (lo * 0.985, hi * 1.015)
    ax.plot([lo, hi], [lo, hi], color="0.5", lw=0.8, zorder=1)
    ax.set_xlim(lo, hi)
    ax.set_ylim(lo, hi)
    ax.set_aspect("equal")
    ax.set_xlabel(f"observed {fit.law.predicts} ({fit.law.unit})")
    ax.set_ylabel(f"predicted {fit.law.predicts} ({fit.law.unit})")
    ax.legend(loc="upper left")
    return ax


def plot_curve(ax: Axes, below: Axes, held: HeldOut, *, fitted: bool = True) -> Axes:
    """A held-out curve with its forecast and band; the learning rates of it and of the fitted curves below."""
    out, table = held.outcome, held.draws.fit.table
    if fitted:
        for i, (run, rows) in enumerate(table.groupby("run", sort=False)):
            ax.plot(
                rows["step"], rows["loss"], color="0.72", lw=0.8, zorder=1, label="fitted curves" if i == 0 else None
            )
            lr = table.attrs["schedules"].lr[str(run)]
            below.plot(np.arange(len(lr)), lr, color="0.72", lw=0.8)
    band = out if held.band is None else held.band[held.band["step"] >= out["step"].min()]
    ax.fill_between(
        band["step"], band["lo"], band["hi"], color=BAND, alpha=0.3, lw=0, zorder=2, label=f"{held.level:.0%} forecast"
    )
    ax.plot(band["step"], band["loss"], color=LAW, zorder=3, label=f"{held.draws.fit.law.name}, forecast")
    ax.plot(out["step"], out["observed"], ".", ms=5, color=HELD, zorder=4, label="held-out curve")
    below.plot(band["step"], band["lr"], color=HELD, lw=1.2)
    _curve_axes(ax, below, pd.concat([out["observed"], out["lo"], out["hi"]]))
    return ax


def plot_curves(ax: Axes, below: Axes, fit: Fit) -> Axes:
    """Fitted curves, the law on each, and their learning rates below."""
    runs = list(fit.table.groupby("run", sort=False))
    tints = mpl.colormaps["cividis"](np.linspace(0, 0.85, len(runs)))
    for tint, (run, rows) in zip(tints, runs, strict=True):
        lr = fit.table.attrs["schedules"].lr[str(run)]
        first = int(rows["step"].min())
        ax.plot(rows["step"], rows["loss"], ".", ms=3, color=tint, alpha=0.6)
        law = fit.predict(schedule=lr, **{name: rows[name].iloc[0] for name in fit.law.inputs[1:]})
        ax.plot(np.arange(first, len(lr)), law[first:], color=tint, label=str(run) if len(runs) <= 8 else None)
        below.plot(np.arange(len(lr)), lr, color=tint, lw=1)
    _curve_axes(ax, below, fit.table["loss"])
    return ax


def figure_of(
    draws: Draws, *, held: HeldOut | None = None, curves: pd.DataFrame | None = None, level: float = 0.9
) -> Figure:
    """The figure that suits the law: compute and predicted-observed, one variable, or curves above schedules."""
    fit = draws.fit
    with mpl.rc_context(STYLE):
        if fit.law.kind == "curves":
            figure = Figure(figsize=(6.2, 4.6), layout="constrained")
            top, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
            if held is not None:
                plot_curve(top, below, held)
            else:
                plot_curves(top, below, fit)
            return figure
        if len(fit.law.inputs) > 1 and not fit.law.weighs_sizes:  # no one axis to draw it along
            figure = Figure(figsize=(4.6, 4.6), layout="constrained")
            plot_observed(figure.subplots(), fit, held=held)
            figure.suptitle(fit.law.name, fontsize=9.5)
            return figure
        figure = Figure(figsize=(10.4, 4.3), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
        if fit.law.weighs_sizes:
            plot_compute(left, draws, curves=curves, held=held, level=level)
        else:
            plot_power(left, draws, held=held, level=level)
        plot_observed(right, fit, held=held)
        figure.suptitle(f"{fit.law.name}: ${_tex(fit)}$" if _tex(fit) else fit.law.name, fontsize=9.5)
        return figure


def save(figure: Figure, path: str) -> None:
    """Write a figure; the ending of `path` chooses the format: png, svg or pdf."""
    known = ("png", "svg", "pdf")
    ending = str(path).rsplit(".", 1)[-1].lower()
    if ending not in known:
        raise ScalingError(f"cannot write a plot to {path}: its name must end in {', '.join('.' + k for k in known)}")
    with mpl.rc_context(STYLE):
        write_whole(path, lambda file: figure.savefig(file, format=ending))


def _tex(fit: Fit) -> str:
    p = fit.params
    if fit.law.name == "chinchilla":
        return (
            rf"L = {_sci(p['E'])} + {_sci(p['A'])}\, N^{{-{p['alpha']:.3f}}} + {_sci(p['B'])}\, D^{{-{p['beta']:.3f}}}"
        )
    if fit.law.name == "power":
        return rf"L = {_sci(p['L_inf'])} + ({_sci(p['x0'])} / {fit.columns['x']})^{{{p['alpha']:.3f}}}"
    return ""


def _sci(value: float) -> str:
    if value < 1e-9:
        return "0"
    if 1e-2 <= value < 1e4:
        return f"{value:.4g}"
    mantissa, power = f"{value:.2e}".split("e")
    return rf"{mantissa}\times 10^{{{int(power)}}}"


def _held_points(ax: Axes, x: Any, out: pd.DataFrame) -> None:
    ax.errorbar(
        x,
        out["loss"],
        yerr=_bars(out),
        fmt="none",
        ecolor=HELD,
        elinewidth=1.1,
        capsize=2.5,
        zorder=4,
        label="forecast",
    )
    ax.scatter(
        x, out["observed"], marker="*", s=110, color=HELD, edgecolor="white", lw=0.6, zorder=6, label="held-out runs"
    )


def _bars(out: pd.DataFrame) -> Any:
    return np.stack([out["loss"] - out["lo"], out["hi"] - out["loss"]])


def _log_axes(ax: Axes, x: str, y: str) -> None:
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.yaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.yaxis.set_minor_locator(LogLocator(subs=[]))


def _curve_axes(ax: Axes, below: Axes, losses: pd.Series) -> None:
    ax.set_ylabel("loss (nats/token)")
    lo, hi = float(losses.min()), float(losses.quantile(0.97))  # the first steps fall off the top, by design
    ax.set_ylim(lo - 0.06 * (hi - lo), hi + 0.05 * (hi - lo))
    below.set_ylabel("learning rate")
    below.set_xlabel("step")
    below.set_ylim(bottom=0)
    below.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
    handles, labels = ax.get_legend_handles_labels()
    if labels:
        ax.legend(handles, labels, loc="upper right")


def _short(value: float, _: Any = None) -> str:
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
