"""What share of its parameters a model keeps in each format, from data/compressed; shares predicted and multiplied.

    python benchmarks/compressed.py [--figure docs/figures/compressed.png]

1. One share rho for each format, uncompressed runs at 1 (the form of QuEST, arXiv:2502.05003), with 90% intervals.
2. The law of capacity (Panferov 2025, arXiv:2506.01863) fitted to some formats of a kind, and the shares it predicts
   for those held out, from nothing but their mean squared error on a normal variable.
3. Shares of two formats one after another against their product.
N is the number of parameters inside of blocks: those that are stored in the format.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

import scaling
from scaling.fitting import Fit
from scaling.intervals import bootstrap
from scaling.laws.frantar2025 import by_format
from scaling.laws.panferov2025 import capacity
from scaling.style import column_axis, count as style_count, drawing, log_axis, save, theme

DATA = Path(__file__).parents[1] / "data" / "compressed"
RESAMPLES, LEVEL = 400, 0.9
DENSE = "none, none"
#: Formats whose losses are drawn over size.
SHOWN = ("int4, none", "int1, none", "top87.5, none", "int2, int2")
#: Kinds of weight formats: those that the law of capacity is fitted to, and those held out.
KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "levels": (("int1", "int2", "int4"), ("ternary", "fp4")),
    "zeros": (("top50", "top75", "top87.5"), ("2:4",)),
}
#: Weights and activations, and the two formats whose shares should multiply.
PRODUCTS = {
    "top50+int2, none": ("top50, none", "int2, none"),
    "top75+int1, none": ("top75, none", "int1, none"),
    "int2, int2": ("int2, none", "none, int2"),
    "int1, int2": ("int1, none", "none, int2"),
}


@dataclass(frozen=True)
class Shares:
    """A fit with one share a format, in the order of `formats`, and its draws (resamples, formats)."""

    fit: Fit
    formats: tuple[str, ...]
    draws: NDArray[np.float64]

    def of(self, name: str) -> tuple[float, NDArray[np.float64]]:
        """The share of a format and its draws."""
        place = self.formats.index(name)
        return self.fit.params[f"rho_{place + 1}"], self.draws[:, place]


def read_runs(path: Path = DATA / "runs.csv") -> pd.DataFrame:
    """The runs, N those inside of blocks, `format` both formats in a word."""
    runs = scaling.read_table(path)
    n = runs["N"] - runs["N_embedding"]  # the head is as large as the embedding; gains are few
    both = runs["weight_format"] + ", " + runs["activation_format"]
    return runs.assign(N=n, C=6 * n * runs["D"], format=both)


def fitted_shares(runs: pd.DataFrame) -> Shares:
    """One share a format, resampled by trunk."""
    formats = tuple(name for name in dict.fromkeys(runs["format"]) if name != DENSE)
    numbers = {name: i + 1 for i, name in enumerate(formats)}
    law = by_format({f"rho_{i}": i for i in numbers.values()}, dense=0, column="kind", name="shares")
    table = runs.assign(kind=runs["format"].map(numbers).fillna(0))
    fit = scaling.fit(law, table, objective="log-squared", starts=4)
    draws = bootstrap(fit, RESAMPLES, method="wild")  # residuals are kicked: no resample lacks a format
    places = [fit.law.names.index(f"rho_{i}") for i in numbers.values()]
    return Shares(fit, formats, draws.params[:, places])


def predicted(
    runs: pd.DataFrame, fitted: Sequence[str], held: Sequence[str]
) -> tuple[Fit, dict[str, tuple[float, NDArray[np.float64]]], NDArray[np.float64]]:
    """The law of capacity on some weight formats and uncompressed runs; shares of those held out, with draws.

    Its ceiling is held at 1: at that rho uncompressed runs, of error 0, have the share 1.
    """
    names = {f"{name}, none" for name in fitted} | {DENSE}
    table = runs[runs["format"].isin(names)].assign(gmse=lambda rows: rows["gmse_weights"])
    fit = scaling.fit("panferov", table, fix={"ceiling": 1.0}, objective="log-squared")
    params = bootstrap(fit, RESAMPLES, method="wild").params
    shapes = [params[:, fit.law.names.index(name)] for name in ("ceiling", "F", "power")]
    errors = runs.drop_duplicates("format").set_index("format")["gmse_weights"]
    out = {}
    for name in held:
        error = float(errors[f"{name}, none"])
        c, f, p = shapes
        out[name] = float(capacity(error, **fit.params)), capacity(error, ceiling=c, F=f, power=p)
    return fit, out, np.stack(shapes)


def interval(draws: NDArray[np.float64]) -> tuple[float, float]:
    lo, hi = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(lo), float(hi)


def noise(runs: pd.DataFrame) -> float:
    """Standard deviation of ln(loss) between seeds of one run."""
    logs = np.log(runs["loss"])
    return float(np.sqrt(logs.groupby([runs["format"], runs["width"], runs["D"]]).var(ddof=1).mean()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--figure", metavar="FILE", help="draw all three here: png, svg or pdf")
    options = parser.parse_args()
    runs = read_runs()
    shares = fitted_shares(runs)
    rms = float(np.sqrt(np.mean(shares.fit.residuals**2)))
    print(f"{len(runs)} runs; seeds of one run differ by {noise(runs):.2%} (sd); the fit is off by {rms:.2%} (rms)\n")
    print(" ".join(f"{name} {shares.fit.params[name]:.4g}" for name in ("E", "A", "alpha", "B", "beta")) + "\n")
    print(f"{'weights, activations':22} {'GMSE':>15}  {'share':>6}  90% interval")
    errors = runs.drop_duplicates("format").set_index("format")
    for name in shares.formats:
        value, draws = shares.of(name)
        lo, hi = interval(draws)
        w, a = errors.loc[name, ["gmse_weights", "gmse_activations"]]
        print(f"{name:22} {w:7.4f} {a:7.4f}  {value:6.3f}  {lo:.3f} to {hi:.3f}")
    print(f"\n{'held out':9} {'from':26} {'predicted':>9}  {'90% interval':15} {'fitted':>6}  90% interval")
    curves = {}
    for kind, (fitted, held) in KINDS.items():
        fit, found, shapes = predicted(runs, fitted, held)
        curves[kind] = shapes
        for name, (value, draws) in found.items():
            own, own_draws = shares.of(f"{name}, none")
            (a, b), (c, d) = interval(draws), interval(own_draws)
            line = f"{name:9} {', '.join(fitted):26} {value:9.3f}  {f'{a:.3f} to {b:.3f}':15}"
            print(f"{line} {own:6.3f}  {c:.3f} to {d:.3f}")
        print(f"{'':9} F {fit.params['F']:.3f}, power {fit.params['power']:.3f}")
    print(f"\n{'one after another':22} {'share':>6} {'product':>8} {'share / product':>16}  90% interval")
    for name, pair in PRODUCTS.items():
        value, draws = shares.of(name)
        parts = [shares.of(part) for part in pair]
        product = parts[0][0] * parts[1][0]
        lo, hi = interval(draws / (parts[0][1] * parts[1][1]))
        print(f"{name:22} {value:6.3f} {product:8.3f} {value / product:16.2f}  {lo:.2f} to {hi:.2f}")
    if options.figure:
        with drawing():
            save(figure(runs, shares, curves), options.figure)


def figure(runs: pd.DataFrame, shares: Shares, curves: dict[str, NDArray[np.float64]]) -> Figure:
    """Loss over size; shares over error, with the law of capacity; shares of two formats over their products."""
    look = theme()
    drawn, (left, middle, right) = plt.subplots(1, 3, figsize=(12.5, 4.0), layout="constrained")
    longest = runs[runs["D"] == runs["D"].max()]
    sizes = np.geomspace(longest["N"].min(), longest["N"].max(), 80)
    for colour, name in zip(look.cycle, (DENSE, *SHOWN), strict=False):
        own = longest[longest["format"] == name]
        kind = shares.formats.index(name) + 1 if name != DENSE else 0
        left.plot(sizes, shares.fit.predict(N=sizes, D=longest["D"].iloc[0], kind=kind), color=colour)
        label = "uncompressed" if name == DENSE else name.removesuffix(", none")
        left.scatter(own["N"], own["loss"], color=colour, s=16, zorder=3, label=label)
    column_axis(left.xaxis, "N", most=5)
    left.set_xlabel("parameters inside of blocks $N$")
    left.set_ylabel("validation loss (nats/token)")
    left.legend(title="weights, activations", title_fontsize=8)
    left.set_title(f"Loss at {style_count(longest['D'].iloc[0])} tokens: one share a format")

    errors = runs.drop_duplicates("format").set_index("format")["gmse_weights"]
    for colour, (kind, (fitted, held)) in zip(look.cycle, KINDS.items(), strict=False):
        line = np.geomspace(errors[errors > 0].min() / 1.3, errors.max() * 1.15, 120)
        band = capacity(line[:, None], **dict(zip(("ceiling", "F", "power"), curves[kind], strict=True)))
        lo, mid, hi = np.quantile(band, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2], axis=1)
        middle.fill_between(line, lo, hi, color=colour, alpha=0.15, lw=0)
        middle.plot(line, mid, color=colour, label=f"law of capacity, {kind}")
        for name in (*fitted, *held):
            bar(middle, errors[f"{name}, none"], shares.of(f"{name}, none"), colour, filled=name in fitted)
            place = (errors[f"{name}, none"], shares.of(f"{name}, none")[0])
            middle.annotate(name, place, xytext=(4, 5), textcoords="offset points", fontsize=7.5, color=look.ink)
    log_axis(middle.xaxis, most=5)
    middle.set_ylim(0, 1.35)
    middle.set_xlabel("mean squared error on N(0, 1)")
    middle.set_ylabel("share of the parameters")
    middle.legend(loc="lower left")
    middle.set_title("Shares over errors; hollow: held out")

    for colour, (name, pair) in zip(look.cycle, PRODUCTS.items(), strict=False):
        (a, some), (b, others) = (shares.of(part) for part in pair)
        bar(right, (a * b, some * others), shares.of(name), colour, filled=True, label=name.removesuffix(", none"))
    most = right.get_xlim()[1] * 1.02, right.get_ylim()[1]
    right.plot([0, max(most)], [0, max(most)], color=look.muted, lw=1, ls="--")
    right.set_xlim(0, max(most))
    right.set_ylim(0, max(most))
    right.set_xlabel("product of the shares of each")
    right.set_ylabel("share of both together")
    right.legend(loc="lower right")
    right.set_title("One format after another")
    return drawn


def bar(
    ax: Axes, x: float | tuple[float, NDArray[np.float64]], y: tuple[float, NDArray[np.float64]], colour: str, *,
    filled: bool, label: str | None = None,
) -> None:  # fmt: skip
    """A point with 90% intervals, of y and, where it has draws, of x."""
    lo, hi = interval(y[1])
    middle, xerr = x if isinstance(x, tuple) else (x, None)
    wide = None if xerr is None else [[middle - interval(xerr)[0]], [interval(xerr)[1] - middle]]
    ax.errorbar(
        [middle], [y[0]], xerr=wide, yerr=[[max(y[0] - lo, 0)], [max(hi - y[0], 0)]], color=colour, marker="o", ms=5,
        mfc=colour if filled else theme().paper, lw=1, ls="", zorder=3, label=label,
    )  # fmt: skip


if __name__ == "__main__":
    main()
