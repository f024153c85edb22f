"""Do laws of whole curves, fitted to constant, wsd and cosine runs, predict re-warmed and cyclic ones?

    python benchmarks/untested.py [--from-step 250] [--figure FILE]

Every law is fitted to the nine curves of data/untested (three schedules, three seeds) and predicts schedules on seeds
that it has not seen. Errors are of ln loss on validation text, in %: of the whole curve; of the part after the rate
first rises again (for the longer wsd and cosine, after step 3000, where the fitted runs end); of that part without its
mean, which a seed shifts; and of the last loss. The floor is what seeds of one schedule differ by (standard deviation,
over that part).
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import pandas as pd
from joint import kept, read_sweep

import scaling
from scaling.trajectory import Trajectory

LAWS = ("ncl", "tissue", "mpl", "mpl_tied", "fsl", "area_power")
FITTED = ("constant", "wsd", "cosine")


def turn_of(lr: Any) -> int:
    """The update at which the rate first rises again after it fell, or where the fitted runs end."""
    change = np.diff(lr)
    fell = int(np.flatnonzero(change < 0)[0])
    again = np.flatnonzero(change[fell:] > 0)
    return fell + int(again[0]) + 1 if len(again) else 3000


def rms(x: Any) -> float:
    return float(100 * np.sqrt(np.mean(np.square(x))))


def schedules(runs: pd.DataFrame, lrs: Any) -> dict[str, list[str]]:
    """Name of a held-out schedule -> its runs, one a seed."""
    found: dict[str, list[str]] = {}
    for run in runs[~runs["group"].isin(FITTED)].sort_values("seed").itertuples():
        lr = lrs[run.run]
        name = run.group.replace("_", " ")
        if run.group == "restarts":
            name = f"{int((np.diff(lr) > 0.5 * lr.max()).sum()) + 1} cosines"
        if run.group == "rewarm":
            name = f"re-warmed to {lr[turn_of(lr) :].max() / lr.max():.0%}"
        found.setdefault(name, []).append(run.run)
    return found


def errors(fit: scaling.Fit, curves: pd.DataFrame, names: list[str]) -> tuple[list[float], float]:
    """Errors of a schedule (see the top), root mean squares over its seeds, and the floor."""
    lrs = curves.attrs["schedules"].lr
    rows, late = [], []
    for run in names:
        own = curves[curves["run"] == run].sort_values("step")
        steps = own["step"].to_numpy().astype(int)
        predicted = fit.law.function(Trajectory((lrs[run],), (steps,)), **fit.params)
        error = np.log(predicted / own["loss"].to_numpy())
        after = error[steps >= turn_of(lrs[run])]
        rows.append([rms(error), rms(after), rms(after - after.mean()), 100 * abs(error[-1])])
        late.append(after)
    apart = np.std(late, axis=0, ddof=1)  # the prediction is one: errors differ as losses do
    return list(np.sqrt(np.mean(np.square(rows), axis=0))), rms(apart)


def draw(fits: dict[str, scaling.Fit], curves: pd.DataFrame, held: dict[str, list[str]], path: str) -> None:
    """Four held-out schedules: the mean of the seeds, three laws, and the learning rate below."""
    import matplotlib.pyplot as plt

    lrs = curves.attrs["schedules"].lr
    names = ["re-warmed to 100%", "re-warmed to 50%", "2 cosines", "4 cosines"]
    figure, axes = plt.subplots(2, 4, figsize=(13, 5), sharex=True, sharey="row", height_ratios=[3, 1])
    for (above, below), name in zip(axes.T, names, strict=True):
        own = curves[curves["run"].isin(held[name])]
        by_step = own.groupby("step")["loss"].agg(["mean", "min", "max"])
        lr = lrs[held[name][0]]
        above.fill_between(by_step.index, by_step["min"], by_step["max"], color="0.8", label="three seeds")
        above.plot(by_step.index, by_step["mean"], color="0.35", lw=1, label="their mean")
        steps = np.arange(int(own["step"].min()), len(lr))
        for law, color in (("ncl", "#0072b2"), ("tissue", "#d55e00"), ("mpl", "#009e73")):
            fit = fits[law]
            predicted = fit.law.function(Trajectory((lr,), (steps,)), **fit.params)
            above.plot(steps, predicted, color=color, lw=1.2, label=law)
        above.set_title(name)
        below.plot(np.arange(len(lr)), lr * 1e3, color="0.35", lw=1)
        below.set_xlabel("step")
        above.set_ylim(1.55, 2.2)
        above.set_xlim(0, 4000)
    axes[0, 0].set_ylabel("validation loss, nats/byte")
    axes[1, 0].set_ylabel("rate x 1e3")
    axes[0, 3].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description="re-warmed and cyclic schedules, predicted")
    parser.add_argument("--from-step", type=int, default=250, help="first row to fit and to score (default 250)")
    parser.add_argument("--figure", metavar="FILE", help="draw the held-out curves and three laws")
    args = parser.parse_args()
    runs, curves = read_sweep("untested")
    curves = kept(curves, curves["step"] >= args.from_step).drop(columns="N")
    fitted = runs[runs["group"].isin(FITTED)]["run"]
    fits = {law: scaling.fit(law, kept(curves, curves["run"].isin(fitted)), starts=8) for law in LAWS}
    for law, fit in fits.items():
        values = ", ".join(f"{k} {v:.3g}" for k, v in fit.params.items())
        print(f"{law:11} residuals {rms(fit.residuals):.2f}%  {values}")
    print(f"\n{'schedule':18} {'floor':>6} {'law':11} {'whole':>6} {'after':>6} {'shape':>6} {'last':>6}")
    every = schedules(runs, curves.attrs["schedules"].lr)
    for name, held in every.items():
        for law, fit in fits.items():
            found, floor = errors(fit, curves, held)
            print(f"{name:18} {floor:6.2f} {law:11} " + " ".join(f"{e:6.2f}" for e in found), flush=True)
    if args.figure:
        draw(fits, curves, every, args.figure)


if __name__ == "__main__":
    main()
