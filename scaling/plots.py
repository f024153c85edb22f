"""Figures of a fit by name: what `scaling plot --kind` draws, and the figure that suits a law best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from scaling.errors import ScalingError, nearest
from scaling.figures.allocation import plot_allocation
from scaling.figures.budgets import plot_frontier, plot_power
from scaling.figures.certainty import free_names, plot_parameters, plot_profile
from scaling.figures.checks import plot_observed, plot_rehearsal, plot_residuals, residual_columns
from scaling.figures.curves import plot_curve, plot_curves
from scaling.figures.surface import plot_contour
from scaling.fitting import Fit
from scaling.heldout import HeldOut
from scaling.intervals import Draws
from scaling.profiles import profile
from scaling.style import drawing


@dataclass(frozen=True)
class Shown:
    """What a figure shows beside the fit: held-out runs, curves (run, tokens, loss, N), budgets in FLOP."""

    draws: Draws
    held: HeldOut | None = None
    curves: pd.DataFrame | None = None
    budgets: Sequence[float] | None = None
    level: float = 0.9

    @property
    def fit(self) -> Fit:
        return self.draws.fit


@dataclass(frozen=True)
class Kind:
    """One kind of figure: what it shows in words, which laws have it, and how it is drawn."""

    says: str
    suits: Callable[[Fit], bool]
    draw: Callable[[Shown], Figure]


def figure_of(
    draws: Draws,
    kind: str | None = None,
    *,
    held: HeldOut | None = None,
    curves: pd.DataFrame | None = None,
    budgets: Sequence[float] | None = None,
    level: float = 0.9,
    theme: str | None = None,
) -> Figure:
    """A figure by kind (see KINDS); without one the figure that suits the law: compute beside predicted-observed, one
    variable, or curves above schedules. Raises ScalingError for a kind that the law does not have."""
    name = kind or "overview"
    if name not in KINDS:
        raise ScalingError(f"no plot is called {name!r}; {nearest(name, KINDS)}")
    if not KINDS[name].suits(draws.fit):
        can = ", ".join(kinds_of(draws.fit))
        raise ScalingError(f"{draws.fit.law.name} has no plot {name} ({KINDS[name].says}); it has {can}")
    with drawing(theme):
        return KINDS[name].draw(Shown(draws, held, curves, budgets, level))


def kinds_of(fit: Fit) -> list[str]:
    """Kinds of figures that a fit's law has."""
    return [name for name, kind in KINDS.items() if kind.suits(fit)]


def sized(curves: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Curves as `figure_of` draws them behind runs: rows run, tokens, loss and N, by the table of runs."""
    lacking = [n for n in ("run", "tokens", "loss") if n not in curves] + [n for n in ("run", "N") if n not in table]
    if lacking:
        raise ScalingError(
            "to draw curves behind runs the curves need columns run, tokens, loss and the runs run, N; missing: "
            + ", ".join(lacking)
        )
    sizes = pd.Series(table["N"].to_numpy(float), index=table["run"].astype(str)).groupby(level=0).first()
    found = curves[["run", "tokens", "loss"]].assign(N=curves["run"].astype(str).map(sizes))
    return found[found["loss"].notna() & found["N"].notna()]


def _overview(shown: Shown) -> Figure:
    fit = shown.fit
    if fit.law.kind == "curves":
        return _curves(shown)
    if len(fit.law.inputs) > 1 and not fit.law.weighs_sizes:  # no one axis to draw it along
        figure = _observed(shown)
        figure.suptitle(fit.law.name, fontsize=9.5)
        return figure
    figure = Figure(figsize=(10.4, 4.3), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
    if fit.law.weighs_sizes:
        plot_frontier(left, shown.draws, curves=shown.curves, held=shown.held, level=shown.level)
    else:
        plot_power(left, shown.draws, held=shown.held, level=shown.level)
    plot_observed(right, fit, held=shown.held)
    figure.suptitle(f"{fit.law.name}: ${_tex(fit)}$" if _tex(fit) else fit.law.name, fontsize=9.5)
    return figure


def _along(column: str) -> Callable[[Shown], Figure]:
    def draw(shown: Shown) -> Figure:
        figure = Figure(figsize=(6.4, 4.3), layout="constrained")
        plot_frontier(figure.subplots(), shown.draws, column, curves=shown.curves, held=shown.held, level=shown.level)
        return figure

    return draw


def _frontier(shown: Shown) -> Figure:
    if shown.fit.law.weighs_sizes:
        return _along("C")(shown)
    figure = Figure(figsize=(6.4, 4.3), layout="constrained")
    plot_power(figure.subplots(), shown.draws, held=shown.held, level=shown.level)
    return figure


def _contour(shown: Shown) -> Figure:
    figure = Figure(figsize=(5.8, 4.8), layout="constrained")
    plot_contour(figure.subplots(), shown.draws, budgets=shown.budgets, held=shown.held, level=shown.level)
    return figure


def _observed(shown: Shown) -> Figure:
    figure = Figure(figsize=(4.6, 4.6), layout="constrained")
    plot_observed(figure.subplots(), shown.fit, held=shown.held)
    return figure


def _residuals(shown: Shown) -> Figure:
    columns = residual_columns(shown.fit)
    wide = min(3, len(columns))
    tall = -(-len(columns) // wide)
    figure = Figure(figsize=(3.3 * wide + 0.3, 2.5 * tall + 0.2), layout="constrained")
    grid = np.atleast_2d(figure.subplots(tall, wide, sharey=True, squeeze=False))
    for i, ax in enumerate(grid.flat):
        if i >= len(columns):
            ax.set_visible(False)
            continue
        plot_residuals(ax, shown.fit, columns[i], held=shown.held)
        if i % wide:
            ax.set_ylabel("")
    return figure


def _parameters(shown: Shown) -> Figure:
    count = len(free_names(shown.draws))
    if not count:
        raise ScalingError("every parameter is held: there is nothing to draw")
    side = max(3.2, 1.75 * count)
    figure = Figure(figsize=(side, side), layout="constrained")
    plot_parameters(figure.subplots(count, count, squeeze=False), shown.draws, level=shown.level)
    return figure


def _profiles(shown: Shown) -> Figure:
    names = [n for n in shown.fit.law.names if n not in shown.fit.fixed and n not in shown.fit.tied]
    if not names:
        raise ScalingError("every parameter is held: there is nothing to draw")
    wide = min(3, len(names))
    tall = -(-len(names) // wide)
    figure = Figure(figsize=(3.2 * wide, 2.5 * tall), layout="constrained")
    grid = figure.subplots(tall, wide, sharey=True, squeeze=False)
    for i, ax in enumerate(grid.flat):
        if i >= len(names):
            ax.set_visible(False)
            continue
        plot_profile(ax, profile(shown.fit, names[i], level=shown.level))
        ax.set_ylabel("")
    figure.supylabel("rise of the objective (units of noise)", fontsize=9)
    return figure


def _rehearsal(shown: Shown) -> Figure:
    rows = shown.draws.rehearsal["run"].nunique() if shown.fit.law.kind == "curves" else 0
    figure = Figure(figsize=(6.2, max(3.4, 0.26 * rows + 1.2)), layout="constrained")
    plot_rehearsal(figure.subplots(), shown.draws, level=shown.level)
    return figure


def _allocation(shown: Shown) -> Figure:
    figure = Figure(figsize=(10.4, 3.4), layout="constrained")
    for ax, what in zip(figure.subplots(1, 3), ("N", "D", "ratio"), strict=True):
        plot_allocation(ax, shown.draws, what, budgets=shown.budgets, level=shown.level)
        if what == "N":
            ax.legend(loc="upper left")
    return figure


def _curves(shown: Shown) -> Figure:
    figure = Figure(figsize=(6.2, 4.6), layout="constrained")
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    if shown.held is not None:
        plot_curve(top, below, shown.held)
    else:
        plot_curves(top, below, shown.fit)
    return figure


def _weighs(fit: Fit) -> bool:
    return fit.law.weighs_sizes


def _is_points(fit: Fit) -> bool:
    return fit.law.kind == "points"


def _is_curves(fit: Fit) -> bool:
    return fit.law.kind == "curves"


#: What `scaling plot` can draw, by name.
KINDS = {
    "overview": Kind("the figure that suits the law best", lambda fit: True, _overview),
    "frontier": Kind(
        "loss against compute, or against the law's one variable, with the frontier and its band",
        lambda fit: fit.law.weighs_sizes or (_is_points(fit) and len(fit.law.inputs) == 1),
        _frontier,
    ),
    "size": Kind("loss against parameters", _weighs, _along("N")),
    "tokens": Kind("loss against tokens", _weighs, _along("D")),
    "contour": Kind("contours of L(N, D), runs, budgets and the efficient frontier", _weighs, _contour),
    "allocation": Kind("optimal N, D and tokens per parameter against compute", _weighs, _allocation),
    "observed": Kind("predicted against observed, held-out runs marked", lambda fit: True, _observed),
    "residuals": Kind("residuals against every column", lambda fit: True, _residuals),
    "rehearsal": Kind("rehearsed errors against distance beyond the data", lambda fit: True, _rehearsal),
    "parameters": Kind("parameters under the bootstrap, in pairs", lambda fit: True, _parameters),
    "profile": Kind("profile of the objective for every parameter", _is_points, _profiles),
    "curves": Kind("curves, the law on each, learning rates below", _is_curves, _curves),
}


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
