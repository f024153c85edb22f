"""A small plot of every law of a family on one sheet, at published coefficients."""

from __future__ import annotations

import io
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from scaling.law import Law
from scaling.schedule import cosine, wsd
from scaling.style import drawing, theme
from scaling.trajectory import whole

COLUMNS = 4
SMALL: Any = {
    "font.size": 6.5, "axes.linewidth": 0.5, "lines.linewidth": 1.0, "axes.titlesize": 7,
    "axes.titlelocation": "center", "axes.grid": False,
}  # fmt: skip
STEPS, PEAK, WARMUP = 4000, 2e-4, 200


def sheet(laws: list[Law]) -> bytes:
    """The sheet as a PNG of few colours, to keep it small."""
    rows = -(-len(laws) // COLUMNS)
    with drawing("light"), mpl.rc_context(SMALL):
        figure = Figure(figsize=(8.4, 1.75 * rows), layout="constrained")
        axes = np.atleast_1d(figure.subplots(rows, COLUMNS)).ravel()
        for ax, law in zip(axes, laws, strict=False):
            draw(ax, law)
        for ax in axes[len(laws) :]:
            ax.axis("off")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=90)
    image = Image.open(buffer).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    small = io.BytesIO()
    image.save(small, format="PNG", optimize=True)
    return small.getvalue()


def draw(ax: Axes, law: Law) -> None:
    """The law along its first input, at three values of the last, the others in the middle of their range."""
    style = "-" if law.published else "--"
    ax.set_title(law.name + (f" ({next(iter(law.published))})" if law.published else ""))
    ax.tick_params(length=2, pad=1.5)
    if law.kind == "curves":
        _curves(ax, law, style)
        return
    first, *others = [name for name in law.inputs if name not in law.simplex] or [law.inputs[0]]
    x = _span(law, first, np.linspace(0, 1, 120))
    lines = (0.0, 0.5, 1.0) if others else (0.5,)
    for share, colour in zip(lines, _tints(), strict=False):
        values: dict[str, Any] = {name: _span(law, name, 0.5) for name in others}
        if others:
            values[others[-1]] = _span(law, others[-1], share)
        label = f"{others[-1]} = {values[others[-1]]:.3g}" if others else None
        values[first] = x
        rest = [name for name in law.simplex if name != first]
        for name in rest:
            values[name] = (1 - x) / len(rest) if first in law.simplex else 1 / len(rest) + 0 * x
        y = np.asarray(law(*(values[name] + 0 * x for name in law.inputs), **law.coefficients()), dtype=float)
        ax.plot(x, y, style, color=colour, label=label)
    if _logarithmic(law, first):
        ax.set_xscale("log")
        ax.minorticks_off()
    ax.set_xlabel(first, labelpad=1)
    ax.set_ylabel(law.predicts, labelpad=1)
    y = np.concatenate([line.get_ydata() for line in ax.get_lines()])
    if (y > 0).all() and y.max() > (100 if law.unit == "1" else 20) * y.min():
        ax.set_yscale("log")
        ax.minorticks_off()
    if others:
        ax.legend(frameon=False, fontsize=5.5, handlelength=1.2, labelspacing=0.2)


def _tints() -> list[str]:
    """Three that are told apart at this size: the first two of the theme, and its ink."""
    return [*theme().cycle[:2], theme().ink]


def _curves(ax: Axes, law: Law, style: str) -> None:
    schedules = {"cosine": cosine(STEPS, PEAK, WARMUP), "wsd": wsd(STEPS, PEAK, WARMUP, STEPS // 5)}
    for (name, lr), colour in zip(schedules.items(), _tints(), strict=False):
        sizes = [np.full(len(lr), 1e8) for _ in law.inputs[1:]]
        with np.errstate(all="ignore"):
            loss = np.asarray(law(whole(lr), *sizes, **law.coefficients()), dtype=float)
        ax.plot(np.arange(len(lr))[WARMUP:], loss[WARMUP:], style, color=colour, label=name)
    ax.set_xlabel("step", labelpad=1)
    ax.set_ylabel("loss", labelpad=1)
    ax.legend(frameon=False, fontsize=5.5, handlelength=1.2)


def _logarithmic(law: Law, name: str) -> bool:
    lo, hi = law.ranges.get(name, (0.0, 1.0))
    return lo > 0 and hi / lo >= 50


def _span(law: Law, name: str, share: Any) -> Any:
    if name in law.levels:
        levels = np.asarray(law.levels[name])
        return levels[np.rint(np.asarray(share) * (len(levels) - 1)).astype(int)]
    lo, hi = law.range_of(next(iter(law.published), "")).get(name, (0.0, 1.0))
    return lo * (hi / lo) ** share if _logarithmic(law, name) else lo + (hi - lo) * share
