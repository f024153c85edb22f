"""The critical batch from one size trained at seven batches, and from the gradient noise scale along the same runs.

    python benchmarks/critical_batch.py [--figure docs/figures/critical_batch.png]

Reads data/critical_batch (the grid critical_batch). For each of some losses: the updates that reach it at every
batch, at the learning rate that takes the fewest (geometric mean over seeds); the law `mccandlish`, whose E_min / S_min
is the critical batch, with 90% intervals from resampling runs; the noise scale where those runs pass that loss; and its
average over the way there, which is what the critical batch should be: an update at batch B is worth
1 / (1 + noise scale / B) of one at an unlimited batch, S_min is the sum of these worths and E_min that of noise scale
times worth.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

import scaling
from scaling.intervals import bootstrap
from scaling.laws.mccandlish2018 import critical_batch, mccandlish
from scaling.style import drawing, log_axis, save

DATA = Path(__file__).parents[1] / "data" / "critical_batch"
#: Validation losses, nats per byte, that runs of every batch reach.
TARGETS = (2.8, 2.6, 2.45, 2.35, 2.25)
#: Borders of loss between which measurements of the noise scale are averaged.
BANDS = (5.6, 4.0, 3.2, 2.9, 2.7, 2.5, 2.4, 2.3, 2.2, 2.1)
RESAMPLES = 2000


def read() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs with their batch in tokens, and the validated rows of their curves."""
    runs = pd.read_csv(DATA / "runs.csv")
    runs["tokens_per_step"] = runs["batch"] * runs["context"]
    return runs, pd.read_csv(DATA / "curves.csv")


def updates_to(curve: pd.DataFrame, loss: float) -> float:
    """Updates after which `curve` first reaches `loss`, between validations by logarithms; nan if it does not."""
    lowest = np.minimum.accumulate(curve["val_loss"].to_numpy(float))
    done = np.log(curve["step"].to_numpy(float) + 1)
    at = int(np.argmax(lowest <= loss))
    if lowest[at] > loss or at == 0:
        return np.nan
    part = (lowest[at - 1] - loss) / (lowest[at - 1] - lowest[at])
    return float(np.exp(done[at - 1] + part * (done[at] - done[at - 1])))


def at_best_rates(runs: pd.DataFrame, curves: pd.DataFrame, loss: float) -> pd.DataFrame:
    """Rows batch (tokens), steps, lr, seed, run: the runs at the rate of each batch that reaches `loss` first.

    `edge` says that the rate is the lowest or highest that was tried.
    """
    own = dict(tuple(curves.groupby("run")))
    table = runs[["run", "tokens_per_step", "lr", "seed"]].rename(columns={"tokens_per_step": "batch"})
    table["steps"] = [updates_to(own[run], loss) for run in table["run"]]
    best = []
    for _, group in table.groupby("batch"):
        means = np.log(group["steps"]).groupby(group["lr"]).mean()  # empty where no seed gets there
        if means.notna().any():
            rate = means.idxmin()
            chosen = group[(group["lr"] == rate) & group["steps"].notna()]
            best.append(chosen.assign(edge=rate in (group["lr"].min(), group["lr"].max())))
    return pd.concat(best, ignore_index=True)


def noise_scales(runs: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """Noise scale in tokens by bands of loss: ratio of sums, 90% intervals from resampling runs."""
    rng, out = np.random.default_rng(0), []
    rows = curves[curves["run"].isin(runs["run"])]
    for above, below in itertools.pairwise(BANDS):
        part = rows[(rows["val_loss"] <= above) & (rows["val_loss"] > below)]
        sums = part.groupby("run")[["gradient_signal", "gradient_noise"]].sum().to_numpy()
        signal, noise = sums[rng.integers(len(sums), size=(RESAMPLES, len(sums)))].sum(axis=1).T
        drawn = np.sort(np.where(signal > 0, noise / np.where(signal > 0, signal, 1.0), np.inf))  # no signal: no bound
        total = sums.sum(axis=0)
        out.append(
            {
                "loss": part["val_loss"].mean(), "rows": len(part), "scale": total[1] / total[0],
                "lo": drawn[int(0.05 * RESAMPLES)], "hi": drawn[int(0.95 * RESAMPLES)],
            }
        )  # fmt: skip
    return pd.DataFrame(out)


def best_runs(runs: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """The runs that reach some of TARGETS first at their batch."""
    names = pd.concat([at_best_rates(runs, curves, loss)["run"] for loss in TARGETS])
    return runs[runs["run"].isin(names)]


def on_the_way(curve: pd.DataFrame, batch: int, loss: float, bands: pd.DataFrame) -> float:
    """Average noise scale in tokens over the worth of the updates to `loss`, from the noise scale at each loss."""
    last = updates_to(curve, loss)
    done = np.arange(1, int(np.ceil(last)) + 1)
    lowest = np.minimum.accumulate(curve["val_loss"].to_numpy(float))
    passed = np.interp(np.log(done), np.log(curve["step"].to_numpy(float) + 1), lowest)
    ranked = bands.sort_values("loss")
    scale = np.exp(np.interp(passed, ranked["loss"], np.log(ranked["scale"])))
    worth = 1 / (1 + scale / batch)
    return float((scale * worth).sum() / worth.sum())


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    lo, hi = np.quantile(values, [0.05, 0.95])
    return float(lo), float(hi)


def compared(runs: pd.DataFrame, curves: pd.DataFrame, bands: pd.DataFrame) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """A row each of TARGETS: the fit, its critical batch, the noise scale there and on the way; and the points."""
    own, rows, points = dict(tuple(curves.groupby("run"))), [], []
    for loss in TARGETS:
        table = at_best_rates(runs, curves, loss)
        fit = scaling.fit("mccandlish", table[["run", "batch", "steps"]])
        draws = bootstrap(fit, RESAMPLES)
        each = [draws.params[:, fit.law.names.index(name)] for name in ("S_min", "E_min")]
        lo, hi = interval(critical_batch(S_min=each[0], E_min=each[1]))
        ways = [on_the_way(own[row.run], row.batch, loss, bands) for row in table.itertuples()]
        ranked = bands.sort_values("loss")
        rows.append(
            {
                "loss": loss, "S_min": fit.params["S_min"], "E_min": fit.params["E_min"],
                "critical batch": critical_batch(**fit.params), "lo": lo, "hi": hi,
                "off by %": 100 * np.std(np.log(table["steps"] / fit.predict(batch=table["batch"].to_numpy(float)))),
                "noise scale there": np.exp(np.interp(loss, ranked["loss"], np.log(ranked["scale"]))),
                "on the way": np.median(ways), "least": min(ways), "most": max(ways),
                "rates at an edge": table.loc[table["edge"], "batch"].nunique(),
            }
        )  # fmt: skip
        points.append(table)
    return pd.DataFrame(rows), points


def draw(path: str, found: pd.DataFrame, points: list[pd.DataFrame], bands: pd.DataFrame) -> None:
    """Updates over the batch with the law, a colour a loss; critical batch and noise scale over the loss."""
    with drawing("light") as look:
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
        for i, (row, table) in enumerate(zip(found.to_dict("records"), points, strict=True)):
            color = look.sizes(i / (len(points) - 1))
            batches = np.geomspace(table["batch"].min() / 1.3, table["batch"].max() * 1.3, 100)
            left.plot(batches, mccandlish(batches, S_min=row["S_min"], E_min=row["E_min"]), color=color, lw=1.2)
            left.plot(table["batch"], table["steps"], "o", ms=4, color=color, label=f"{row['loss']:g} nats")
            top = row["critical batch"]
            left.plot(top, 2 * row["S_min"], "o", ms=9, mfc="none", mec=color)
        for axis in (left.xaxis, left.yaxis, right.yaxis):
            log_axis(axis)
        left.set_xlabel("batch (tokens)")
        left.set_ylabel("updates to reach the loss")
        left.set_title("ring: the critical batch, twice the least updates")
        left.legend()
        most = 1.5 * bands["scale"].max()
        right.fill_between(bands["loss"], bands["lo"], bands["hi"].clip(upper=most), color=look.law, alpha=0.2, lw=0)
        right.plot(bands["loss"], bands["scale"], color=look.law, label="noise scale, measured")
        right.plot(found["loss"], found["on the way"], "--", color=look.law, label="its average on the way")
        errors = np.stack([found["critical batch"] - found["lo"], found["hi"] - found["critical batch"]])
        right.errorbar(
            found["loss"], found["critical batch"], yerr=errors, fmt="o", ms=4, color=look.ink, label="critical batch"
        )
        right.set_xlim(3.3, found["loss"].min() - 0.1)
        right.set_xlabel("validation loss (nats/byte)")
        right.set_ylabel("tokens")
        right.legend()
        save(figure, path)
        plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--figure", metavar="FILE", help="draw both here: png, svg or pdf")
    options = parser.parse_args()
    runs, curves = read()
    every = noise_scales(runs, curves)
    bands = noise_scales(best_runs(runs, curves), curves)
    found, points = compared(runs, curves, bands)
    for loss, table in zip(TARGETS, points, strict=True):
        means = table.groupby("batch").agg(lr=("lr", "first"), steps=("steps", "mean"))
        print(f"{loss:g} nats: " + ", ".join(f"{b} {r.steps:.0f} (lr {r.lr:g})" for b, r in means.iterrows()))
    print("\n" + found.to_string(index=False, float_format="{:.4g}".format))
    for name, own in (("runs at the best rates", bands), ("all runs", every)):
        print(f"\nnoise scale of {name}\n" + own.to_string(index=False, float_format="{:.4g}".format))
    if options.figure:
        draw(options.figure, found, points, bands)


if __name__ == "__main__":
    main()
