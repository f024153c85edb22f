"""How every plot looks: two themes of colours that the colour-blind can tell apart, ticks and labels that can be read.

A plot is drawn inside `with drawing("dark"):`, and asks `theme()` for its colours by what they mean. Outside of any
`with` the theme is the light one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import Colormap, LinearSegmentedColormap, LogNorm, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, Locator, MaxNLocator, NullFormatter, NullLocator

from scaling.errors import ScalingError, nearest
from scaling.files import write_whole

FORMATS = ("png", "svg", "pdf")
TINTS = 64  # shades in the map of sizes: an SVG draws its bar of them as shapes, which can change colour with the page


@dataclass(frozen=True)
class Theme:
    """Colours by what they mean. `cycle` tells series apart; its first is `law`, its second `held`.

    Light: Okabe & Ito 2008, without the yellow that white paper swallows. Dark: the same hues, lighter where a dark
    page would swallow them, and the yellow in place of the orange that there stands for the vermilion.
    """

    name: str
    paper: str
    ink: str  # text, axes, fitted points where they have no size
    muted: str  # lines that only help: a diagonal, a limit
    faint: str  # the grid
    law: str
    held: str  # rows that the fit has not seen, and what was asked
    good: str  # an optimum, a frontier
    cycle: tuple[str, ...]
    shades: tuple[float, float]  # the part of viridis that is seen on this paper

    @property
    def sizes(self) -> Colormap:
        """A map from small to large, lightness monotone."""
        return LinearSegmentedColormap.from_list(
            f"sizes-{self.name}", mpl.colormaps["viridis"](np.linspace(*self.shades, 256)), TINTS
        )


_OKABE_ITO = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_ON_DARK = ("#56b4e9", "#e69f00", "#1fc195", "#e3a3c8", "#f0e442", "#ff8a50", "#ffffff")
LIGHT = Theme(
    "light", "#ffffff", "#1b1b1f", "#77777b", "#e4e4e7", _OKABE_ITO[0], _OKABE_ITO[1], _OKABE_ITO[2], _OKABE_ITO,
    (0.0, 0.88),
)  # fmt: skip
DARK = Theme(
    "dark", "#15171c", "#e9e9ec", "#96979b", "#33353b", _ON_DARK[0], _ON_DARK[1], _ON_DARK[2], _ON_DARK, (0.27, 1.0)
)
THEMES = {theme.name: theme for theme in (LIGHT, DARK)}
_CURRENT: ContextVar[Theme] = ContextVar("theme", default=LIGHT)

#: What axes say of a column: the words, its symbol and its unit.
LABELS = {
    "N": "parameters $N$",
    "D": "training tokens $D$",
    "C": "training compute $C = 6ND$ (FLOP)",
    "loss": "validation loss (nats/token)",
    "lr": "learning rate",
    "step": "step (updates)",
    "tokens": "training tokens",
    "batch": "batch (sequences)",
    "width": "width",
    "depth": "depth (blocks)",
    "tokens_per_param": "tokens per parameter $D/N$",
    "beyond": "distance beyond the fitted budgets (times)",
}


def theme() -> Theme:
    """The theme that is being drawn in."""
    return _CURRENT.get()


def find_theme(name: str) -> Theme:
    """A theme by name. Raises ScalingError for a name that is none."""
    if name not in THEMES:
        raise ScalingError(f"no theme is called {name!r}; {nearest(name, THEMES)}")
    return THEMES[name]


@contextmanager
def drawing(name: str | None = None) -> Iterator[Theme]:
    """Draw in a theme, by default the one at hand: matplotlib's settings and `theme()`, both put back at the end."""
    found = find_theme(name) if name else theme()
    token = _CURRENT.set(found)
    try:
        with mpl.rc_context(settings(found)):
            yield found
    finally:
        _CURRENT.reset(token)


def settings(look: Theme) -> Any:
    """matplotlib's settings of a theme."""
    return {
        "font.size": 9,
        "figure.facecolor": look.paper,
        "figure.dpi": 110,
        "savefig.dpi": 200,
        "savefig.facecolor": "auto",
        "axes.facecolor": look.paper,
        "axes.edgecolor": look.ink,
        "axes.labelcolor": look.ink,
        "axes.titlesize": 9.5,
        "axes.titlelocation": "left",
        "axes.linewidth": 0.7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.prop_cycle": cycler(color=list(look.cycle)),
        "grid.color": look.faint,
        "grid.linewidth": 0.6,
        "text.color": look.ink,
        "xtick.color": look.ink,
        "ytick.color": look.ink,
        "legend.frameon": False,
        "legend.fontsize": 8,
        "lines.linewidth": 1.4,
        "svg.fonttype": "none",  # text stays text: it can be searched, selected and read aloud
        "svg.hashsalt": "scaling",  # the same plot is the same file
        "pdf.fonttype": 42,
    }


# ---- axes


def label(column: str, unit: str = "") -> str:
    """What an axis says of a column: its words and unit where we know them, else its name."""
    said = LABELS.get(column) or words(column)
    return f"{said} ({unit})" if unit and "(" not in said else said


class LogTicks(Locator):
    """Ticks of a log axis at numbers a person would choose: powers of ten, with 3, or 2 and 5, or more between them
    as the range is short, and plain steps where it is shorter still."""

    ladders = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7))

    def __init__(self, most: int = 7, fewest: int = 4) -> None:
        self.most, self.fewest = most, fewest

    def __call__(self) -> Any:
        return self.tick_values(*self.axis.get_view_interval())  # type: ignore[union-attr]

    def tick_values(self, vmin: float, vmax: float) -> Any:
        lo, hi = sorted((float(vmin), float(vmax)))
        if not (lo > 0 and np.isfinite(hi)) or lo == hi:
            return np.array([])
        decades = np.arange(np.floor(np.log10(lo)), np.ceil(np.log10(hi)) + 1)
        found = np.array([])
        for ladder in self.ladders:
            ticks = (10.0 ** decades[:, None] * np.array(ladder)).ravel()
            ticks = ticks[(ticks >= lo * (1 - 1e-9)) & (ticks <= hi * (1 + 1e-9))]
            if len(ticks) > self.most:
                break
            found = ticks
            if len(found) >= self.fewest:
                return found
        powers = 10.0 ** decades[(10.0**decades >= lo) & (10.0**decades <= hi)]
        if len(powers) > self.most:
            return powers[:: -(-len(powers) // self.most)]
        if len(found) >= 3:
            return found
        plain: Any = MaxNLocator(nbins=self.most - 1, steps=[1, 2, 2.5, 5, 10]).tick_values(lo, hi)
        return plain[(plain >= lo) & (plain <= hi) & (plain > 0)]


def log_axis(axis: Axis, kind: str = "plain", *, most: int = 7) -> None:
    """Make `ax.xaxis` or `ax.yaxis` logarithmic with ticks to read.

    kind  "plain" 2.5, "count" 70M and 1.5B (N, D), "power" 3x10^21 (FLOP)
    """
    axis._set_axes_scale("log")  # type: ignore[attr-defined]  # set_xscale and set_yscale in one
    axis.set_major_locator(LogTicks(most))
    axis.set_major_formatter(FuncFormatter(FORMATTERS[kind]))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def words(text: object, most: int = 40) -> str:
    """Text of others, such as a run's name, as a label: cut, and with no sign that would be read as mathematics."""
    said = str(text)
    return (said if len(said) <= most else said[: most - 1] + "…").replace("$", r"\$")


def column_axis(axis: Axis, column: str, unit: str = "", *, log: bool = True, most: int = 7) -> None:
    """Label an axis by its column and give it ticks that suit it, log ones or plain."""
    kind = KINDS.get(column, "plain")
    axis.set_label_text(label(column, unit))
    if log:
        log_axis(axis, kind, most=most)
    else:
        axis.set_major_locator(MaxNLocator(most - 1))
        axis.set_major_formatter(FuncFormatter(FORMATTERS[kind]))


def count(value: float, _: Any = None) -> str:
    """A count as people say it: 70M, 1.5B, 2T."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9995:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


def power(value: float, _: Any = None) -> str:
    """A number as a power of ten, in mathtext."""
    if value == 0:
        return "0"
    exponent = int(np.floor(np.log10(abs(value)) + 1e-9))
    mantissa = f"{value / 10.0**exponent:.3g}"
    return rf"$10^{{{exponent}}}$" if mantissa == "1" else rf"${mantissa}{{\times}}10^{{{exponent}}}$"


def plain(value: float, _: Any = None) -> str:
    """A number as it is written; powers of ten only where the zeros could not be counted."""
    if 1e4 <= abs(value) < 1e6 and value == round(value, -2):
        return count(value)
    return f"{value:.6g}" if value == 0 or 1e-3 <= abs(value) < 1e5 else power(value)


FORMATTERS: dict[str, Any] = {"plain": plain, "count": count, "power": power}
KINDS = {"N": "count", "D": "count", "tokens": "count", "N_opt": "count", "D_opt": "count", "C": "power"}


def size_scale(values: Any) -> LogNorm:
    """The scale of `theme().sizes` for model sizes, a little wider than they are."""
    values = np.asarray(values, dtype=float)
    return LogNorm(values.min() / 1.3, values.max() * 1.3)


def size_bar(ax: Axes, scale: LogNorm, words: str = LABELS["N"]) -> None:
    """A bar of sizes beside the axes."""
    bar = ax.figure.colorbar(mpl.cm.ScalarMappable(scale, theme().sizes), ax=ax, pad=0.02, fraction=0.05)
    bar.set_label(words)
    bar.solids.set_rasterized(False)  # type: ignore[union-attr]
    bar.solids.set_edgecolor("face")  # type: ignore[union-attr]  # no seams between the shades
    bar.ax.yaxis.set_major_locator(LogTicks(8))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(count))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.outline.set_visible(False)


# ---- files


def save(figure: Figure, path: str) -> None:
    """Write a figure; the ending of `path` chooses the format: png, svg or pdf. No date is written into it."""
    ending = str(path).rsplit(".", 1)[-1].lower()
    if ending not in FORMATS:
        raise ScalingError(f"cannot write a plot to {path}: its name must end in {', '.join('.' + k for k in FORMATS)}")
    undated: Any = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}
    with mpl.rc_context(settings(theme())):
        write_whole(path, lambda file: figure.savefig(file, format=ending, metadata=undated[ending]))


def dark_of(colour: str) -> str:
    """The colour that stands on the dark page for one of the light page, as #rrggbb; other colours stay."""
    return _dark().get(colour.lower(), colour)


def swaps(svg: str) -> dict[str, str]:
    """The colours of the light theme in an SVG's text, each with the one that stands for it on a dark page."""
    return {found: dark_of(found) for found in sorted(set(re.findall(r"#[0-9a-f]{6}\b", svg))) if found in _dark()}


@cache
def _dark() -> dict[str, str]:
    pairs = [(getattr(LIGHT, one.name), getattr(DARK, one.name)) for one in fields(Theme) if one.type == "str"]
    pairs += zip(LIGHT.cycle, DARK.cycle, strict=True)
    shades = (colours(range(TINTS)) for colours in (LIGHT.sizes, DARK.sizes))
    pairs += [(to_hex(light), to_hex(dark)) for light, dark in zip(*shades, strict=True)]
    return {light: dark for light, dark in pairs if light.startswith("#")}
