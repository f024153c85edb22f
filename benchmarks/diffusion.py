"""Masked diffusion beside autoregression on few unique tokens, from data/diffusion.

    python benchmarks/diffusion.py [--figure docs/figures/diffusion.png]

The law of repeated data (Muennighoff 2023) is fitted to the runs of either objective, less those that more epochs or
parameters made worse, with all its parameters free and alpha = beta as in the paper. Printed are coefficients, from
how many epochs and from how much compute on the law of diffusion lies below that of autoregression, and where the
runs themselves cross at each size: the law is that of somebody who stops before harm, the runs go on.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import scaling
from scaling.style import drawing, log_axis, save

DATA = Path(__file__).parents[1] / "data" / "diffusion"
OBJECTIVES = ("autoregressive", "diffusion")
UNIQUE = (8192, 32768)
RESAMPLES = 200


def fitted(runs: pd.DataFrame) -> tuple[scaling.Draws, pd.DataFrame]:
    """The law on the runs that repeats did no harm, with its draws, and the runs left out."""
    parts = [scaling.before_harm(part) for _, part in runs.groupby("seed")]
    kept, harmed = (pd.concat([part[i] for part in parts]) for i in (0, 1))
    fit = scaling.fit("muennighoff", kept, tie={"beta": "alpha"})
    return scaling.bootstrap(fit, RESAMPLES), harmed


def crossings(runs: pd.DataFrame) -> pd.DataFrame:
    """Epochs from which on the runs of diffusion lie below those of autoregression, by size, text and seed.

    Between horizons the logarithm of the loss is taken as straight in that of the tokens; inf where they do not cross.
    """
    rows = []
    for (width, u, seed), part in runs[runs["U"].isin(UNIQUE)].groupby(["width", "U", "seed"]):
        table = part.pivot(index="D", columns="objective", values="loss").dropna()
        gap = np.log(table["diffusion"]) - np.log(table["autoregressive"])
        above = np.flatnonzero(gap.to_numpy() > 0)
        at = np.inf
        if len(above) and above[-1] + 1 < len(gap):
            k = above[-1]
            share = gap.iloc[k] / (gap.iloc[k] - gap.iloc[k + 1])
            at = float(np.exp(np.log(gap.index[k]) + share * np.log(gap.index[k + 1] / gap.index[k])))
        best = table.min()
        rows.append(
            {"width": width, "N": part["N"].iloc[0], "U": u, "seed": seed, "epochs": at / u, "last": gap.index[-1] / u}
            | {f"best {name}": best[name] for name in OBJECTIVES}
        )
    return pd.DataFrame(rows)


def shown(draws: scaling.Draws) -> pd.DataFrame:
    """The coefficients with 90% intervals."""
    return draws.summary(level=0.9)[["value", "lo", "hi"]]


def draw(runs: pd.DataFrame, draws: dict[str, scaling.Draws], file: str) -> None:
    """Loss over epochs of one size on the smaller text; and over unique tokens where the runs cross."""
    with drawing() as look:
        figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharey=True)
        for ax, u in zip(axes, UNIQUE, strict=True):
            for name, color in zip(OBJECTIVES, look.cycle, strict=False):
                part = runs[(runs["U"] == u) & (runs["objective"] == name)]
                for (width, seed), own in part.groupby(["width", "seed"]):
                    if seed == 0:
                        own = own.sort_values("D")
                        strength = {8: 0.35, 16: 0.65, 32: 1.0}[width]
                        ax.plot(own["D"] / u, own["loss"], color=color, marker="o", ms=3, lw=1.2, alpha=strength)
                n = float(part.loc[part["width"] == 32, "N"].iloc[0])
                d = np.geomspace(part["D"].min(), part["D"].max(), 200)
                ax.plot(d / u, draws[name].fit.predict(N=n, D=d, U=u), color=color, ls="--", lw=1.2)
            log_axis(ax.xaxis)
            ax.set_xlabel(f"epochs of {u:,} unique tokens")
        log_axis(axes[0].yaxis)
        axes[0].set_ylabel("validation loss (nats/token)")
        marks: list[Any] = [
            plt.Line2D([], [], color=color, marker="o", ms=3, label=name)
            for name, color in zip(OBJECTIVES, look.cycle, strict=False)
        ]
        sizes = runs.groupby("width")["N"].first()
        marks += [
            plt.Line2D([], [], color=look.ink, marker="o", ms=3, alpha=a, label=f"{sizes[w]:,.0f} parameters")
            for w, a in ((8, 0.35), (16, 0.65), (32, 1.0))
        ]
        marks.append(plt.Line2D([], [], color=look.ink, ls="--", label="law, stopped before harm"))
        axes[1].legend(handles=marks, frameon=False, fontsize=8)
        save(figure, file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--figure", metavar="FILE", help="draw the losses here: png, svg or pdf")
    options = parser.parse_args()
    runs = scaling.read_table(DATA / "runs.csv")
    draws = {}
    for name in OBJECTIVES:
        own = runs[runs["objective"] == name]
        draws[name], harmed = fitted(own)
        print(f"{name}: {len(own)} runs, {len(harmed)} left out that more epochs or parameters made worse")
        print(shown(draws[name]).to_string(float_format=lambda v: f"{v:.4g}") + "\n")
        print("\n".join(draws[name].fit.problems) + "\n")
    first, second = (draws[name] for name in OBJECTIVES)
    rows = []
    for u in UNIQUE:
        for n in sorted(runs["N"].unique()):
            row = scaling.crossover(first, second, along="D", span=(u, 250 * u), N=float(n), U=float(u)).iloc[0]
            rows.append({"along": "epochs", "U": u, "N": n} | {k: row[k] / u for k in ("at", "lo", "hi")})
            rows[-1] |= {"cross": row["cross"], "ahead": row["ahead"]}
        row = scaling.crossover(first, second, along="C", span=(1e9, 1e14), U=float(u)).iloc[0]
        rows.append({"along": "C", "U": u} | {k: row[k] for k in ("at", "lo", "hi", "cross", "ahead")})
    print("the fitted laws cross, 1 to 250 epochs, and over compute at the best sizes, 1e9 to 1e14 FLOP")
    print(pd.DataFrame(rows).to_string(index=False, float_format=lambda v: f"{v:.4g}") + "\n")
    print("the runs cross, and their least losses")
    print(crossings(runs).to_string(index=False, float_format=lambda v: f"{v:.4g}"))
    if options.figure:
        draw(runs, draws, options.figure)


if __name__ == "__main__":
    main()
