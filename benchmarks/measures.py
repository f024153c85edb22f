"""Entropy of hidden states over size, and the gradient noise scale over training, from data/representation.

    python benchmarks/measures.py [--figure docs/figures/measures.png]

Fits the law `wei` to entropy over ln(width), and prints the noise scale of all updates measured in each band of loss:
single estimates are noisy, so signal and noise are averaged first and then divided, with intervals over the runs.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import scaling
from scaling.intervals import bootstrap
from scaling.style import column_axis, drawing, log_axis, save

DATA = Path(__file__).parents[1] / "data" / "representation"
BANDS = (5.6, 4.0, 3.0, 2.6, 2.4, 2.2, 2.0, 1.8, 1.6)
RESAMPLES = 2000


def noise_scales(rows: pd.DataFrame) -> pd.DataFrame:
    """Noise scale in tokens by bands of validation loss, with 90% intervals from resampling runs."""
    rng = np.random.default_rng(0)
    out = []
    for above, below in itertools.pairwise(BANDS):
        part = rows[(rows["val_loss"] <= above) & (rows["val_loss"] > below)]
        sums = part.groupby("run")[["gradient_signal", "gradient_noise"]].sum().to_numpy()
        picks = rng.integers(len(sums), size=(RESAMPLES, len(sums)))
        signal, noise = sums[picks].sum(axis=1).T
        scale = noise / np.where(signal > 0, signal, np.nan)  # a resample without a signal bounds nothing from above
        ranked = np.sort(np.where(np.isnan(scale), np.inf, scale))
        ends = ranked[int(0.05 * RESAMPLES)], ranked[int(0.95 * RESAMPLES)]
        total = sums.sum(axis=0)
        out.append(
            {
                "loss": part["val_loss"].mean(),
                "rows": len(part),
                "tokens": total[1] / total[0] if total[0] > 0 else np.nan,
            }
            | {"lo": ends[0], "hi": ends[1]}
        )
    return pd.DataFrame(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--figure", metavar="FILE", help="draw both here: png, svg or pdf")
    options = parser.parse_args()
    runs = scaling.read_table(DATA / "runs.csv")
    curves = pd.read_csv(DATA / "curves.csv")
    runs["matrix_entropy"] = runs["matrix_entropy"] / np.log(runs["width"])
    whole = scaling.fit("wei", runs)
    print(whole.report() + "\n\nwithout a floor:\n")
    fit = scaling.fit("wei", runs, fix={"L_inf": 0.0})
    draws = bootstrap(fit, RESAMPLES)
    for name in ("x0", "alpha"):
        lo, hi = np.quantile(draws.params[:, fit.law.names.index(name)], [0.05, 0.95])
        print(f"{name:8} {fit.params[name]:.4g} ({lo:.3g} to {hi:.3g})")
    bands = noise_scales(curves)
    print("\n" + bands.to_string(index=False, float_format=lambda value: f"{value:.4g}"))
    if options.figure:
        with drawing() as look:
            figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
            sizes = np.geomspace(runs["N"].min(), runs["N"].max(), 100)
            left.plot(sizes, fit.predict(N=sizes), color=look.law)
            left.scatter(runs["N"], runs["matrix_entropy"], color=look.ink, s=16, zorder=3)
            column_axis(left.xaxis, "N")
            left.set_ylabel("matrix entropy / ln(width)")
            right.fill_between(bands["loss"], bands["lo"], bands["hi"].clip(upper=1e5), color=look.law, alpha=0.2, lw=0)
            right.plot(bands["loss"], bands["tokens"], color=look.law, marker="o", ms=4)
            log_axis(right.yaxis)
            right.invert_xaxis()
            right.set_xlabel("validation loss (nats/token)")
            right.set_ylabel("gradient noise scale (tokens)")
            save(figure, options.figure)


if __name__ == "__main__":
    main()
