"""How far parameters could move: pairs of them under the bootstrap, and profiles of the objective."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from scaling.errors import ScalingError
from scaling.intervals import Draws
from scaling.profiles import Profile
from scaling.style import LogTicks, log_axis, plain, theme

SHOWN = 400  # draws in a cloud: more hide each other
FAR = 50.0  # times the fit's value to which a profile is shown: some have no end
WIDE = 8.0  # ratio of quantiles from which a parameter is drawn on a log axis


def free_names(draws: Draws) -> list[str]:
    """Parameters that the draws move."""
    fit = draws.fit
    moves = draws.params.std(0) > 1e-12 * np.abs(draws.params).max(0)
    return [n for n, m in zip(fit.law.names, moves, strict=True) if m and n not in fit.fixed and n not in fit.tied]


def plot_marginal(ax: Axes, draws: Draws, name: str, *, level: float = 0.9) -> Axes:
    """One parameter under the bootstrap: a histogram, the fit's value and the interval."""
    look = theme()
    own = draws.fit.params[name]
    values = np.append(_values(draws, name), own)
    lo, hi = (float(end) for end in draws.summary(level).loc[name, ["lo", "hi"]].to_numpy(float))
    log = _wide(values)
    bins = np.geomspace(*_range(values), 28) if log else np.linspace(*_range(values), 28)
    ax.hist(values[:-1], bins=bins.tolist(), color=look.law, alpha=0.35)
    ax.axvspan(max(lo, bins[0]), min(hi, bins[-1]), color=look.law, alpha=0.12, lw=0, zorder=0)
    ax.axvline(own, color=look.held, lw=1.4)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.grid(visible=False)
    ax.set_title(f"{name} = {own:.4g}\n{_brief(lo)} to {_brief(hi)}", fontsize=8)
    _scaled(ax, "x", log)
    ax.set_xlim(bins[0], bins[-1])
    return ax


def plot_pair(ax: Axes, draws: Draws, x: str, y: str) -> Axes:
    """Two parameters under the bootstrap, a dot a resample: in a narrow slanted cloud only a mix of them is known."""
    look = theme()
    at = np.unique(np.linspace(0, len(draws.params) - 1, SHOWN).astype(int))
    across, up = (np.append(_values(draws, name), draws.fit.params[name]) for name in (x, y))
    few = len(at) < 60
    ax.plot(across[at], up[at], ".", ms=6 if few else 2.4, color=look.law, alpha=0.8 if few else 0.45, mew=0)
    ax.plot(draws.fit.params[x], draws.fit.params[y], "+", ms=9, mew=1.6, color=look.held, zorder=4)
    _scaled(ax, "x", _wide(across))
    _scaled(ax, "y", _wide(up))
    ax.set_xlim(_range(across))
    ax.set_ylim(_range(up))
    return ax


def plot_parameters(axes: Any, draws: Draws, *, names: Sequence[str] | None = None, level: float = 0.9) -> Any:
    """All parameters: `axes` is a square of Axes, histograms on its diagonal and pairs below it."""
    names = list(names or free_names(draws))
    grid = np.atleast_2d(axes)
    if grid.shape != (len(names), len(names)):
        raise ScalingError(f"{len(names)} parameters need {len(names)} x {len(names)} axes, got {grid.shape}")
    for i, y in enumerate(names):
        for j, x in enumerate(names):
            ax = grid[i, j]
            if j > i:
                ax.axis("off")
                continue
            plot_marginal(ax, draws, x, level=level) if i == j else plot_pair(ax, draws, x, y)
            ax.tick_params(labelsize=7, labelleft=j == 0 and i > 0, labelbottom=i == len(names) - 1)
            if i == len(names) - 1:
                ax.set_xlabel(x)
            if j == 0 and i > 0:
                ax.set_ylabel(y)
    return axes


def plot_profile(ax: Axes, found: Profile) -> Axes:
    """How much worse the fit is with a quantity held at each value, and the interval where that is no more than noise
    explains."""
    look, what = theme(), found.what.partition(" at ")[0]
    curve = found.curve
    x, rise = curve[what].to_numpy(float), curve["t"].to_numpy(float) ** 2
    top = found.critical**2
    shown = (rise <= 3 * top) & (x <= FAR * (abs(found.value) or x.max()))
    if found.value > 0:
        shown &= x >= found.value / FAR
    ax.plot(x[shown], rise[shown], color=look.law, zorder=3)
    ax.axhline(top, color=look.muted, lw=0.8, ls=":")
    inside = (curve[what] >= found.lo) & (curve[what] <= found.hi)
    ax.fill_between(x, 0, top, where=inside & shown, color=look.law, alpha=0.15, lw=0, zorder=0)
    ax.plot([found.value], [0], "o", ms=5, color=look.held, zorder=4, clip_on=False)
    log = bool((x[shown] > 0).all() and x[shown].max() > WIDE * x[shown].min()) if shown.any() else False
    _scaled(ax, "x", log)
    ax.set_ylim(0, 3 * top)
    ax.set_xlabel(found.what)
    ax.set_ylabel("rise of the objective (units of noise)")
    ax.set_title(f"{what} = {found.value:.4g}\n{found.level:.0%}: {_brief(found.lo)} to {_brief(found.hi)}", fontsize=8)
    return ax


def _values(draws: Draws, name: str) -> np.ndarray:
    if name not in draws.fit.law.names:
        raise ScalingError(f"{draws.fit.law.name} has no parameter {name}; it has {', '.join(draws.fit.law.names)}")
    return np.asarray(draws.params[:, draws.fit.law.names.index(name)], dtype=float)


def _brief(value: float) -> str:
    """Three digits."""
    return plain(float(f"{value:.3g}"))


def _range(values: np.ndarray) -> tuple[float, float]:
    """Most of the draws, and the fit's own value, which comes last: the last hundredth would squeeze the others."""
    lo, hi = np.quantile(values, [0.005, 0.995])
    lo, hi = min(lo, values[-1]), max(hi, values[-1])
    if _wide(values):
        return float(lo / 1.1), float(hi * 1.1)
    apart = max(hi - lo, 1e-9 * abs(hi), 1e-300)
    return float(lo - 0.06 * apart), float(hi + 0.06 * apart)


def _wide(values: np.ndarray) -> bool:
    lo, hi = np.quantile(values[:-1], [0.005, 0.995])
    return bool(min(lo, values[-1]) > 0 and hi > WIDE * lo)


def _scaled(ax: Axes, axis: str, log: bool) -> None:
    own = ax.xaxis if axis == "x" else ax.yaxis
    if log:
        log_axis(own, most=4)
        own.set_major_locator(LogTicks(4, 2))
    else:
        own.set_major_locator(MaxNLocator(3))
        own.set_major_formatter(lambda value, _: plain(value))
