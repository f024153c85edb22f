"""Is the loss of an encoder-decoder a function of both sizes, or of their sum? From data/encoder_decoder.

    python benchmarks/encoder_decoder.py [--figure docs/figures/encoder_decoder.png]

Fits `ghorbani`, L(N_e, N_d), and `power`, L(N_e + N_d), to the same runs, and prints exponents and the best split with
90% intervals; then what is held against either law: AIC, lack of fit beside the spread of seeds, and the error on
shapes that were left out, both seeds of one, or all of one width or depth at a time.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats

import scaling
from scaling.fitting import Fit
from scaling.intervals import Draws, bootstrap
from scaling.laws.ghorbani2021 import encoder_decoder_split
from scaling.style import count, drawing, log_axis, save, theme

DATA = Path(__file__).parents[1] / "data" / "encoder_decoder"
SHAPE = ["width", "encoder_depth", "depth"]
RESAMPLES = 1000


def read() -> pd.DataFrame:
    """The runs, with the parameters of both stacks together as N_both."""
    runs = scaling.read_table(DATA / "runs.csv")
    return runs.assign(N_both=runs["N_e"] + runs["N_d"])


def fitted(name: str, runs: pd.DataFrame, **options: Any) -> Fit:
    """A fit to squared errors of ln L: errors of seeds have no tails here, and tests below compare squares."""
    return scaling.fit(name, runs, objective="log-squared", x="N_both" if name == "power" else None, **options)


def errors(fit: Fit, runs: pd.DataFrame) -> np.ndarray:
    """ln(predicted / observed) of runs."""
    inputs = {column: runs[fit.columns[column]].to_numpy() for column in fit.law.inputs}
    return np.log(fit.law.function(**inputs, **fit.params) / runs["loss"].to_numpy())


def lack_of_fit(fit: Fit, runs: pd.DataFrame) -> tuple[float, float]:
    """F of the misfit of shapes' means beside the spread of seeds, and the chance of one so large if the law held."""
    log, parameters = np.log(runs["loss"]), len(fit.params)
    groups = log.groupby([runs[name] for name in SHAPE])
    pure, shapes = float(((log - groups.transform("mean")) ** 2).sum()), groups.ngroups
    total = float((errors(fit, runs) ** 2).sum())
    free = shapes - parameters, len(runs) - shapes
    ratio = (total - pure) / free[0] / (pure / free[1])
    return ratio, float(stats.f.sf(ratio, *free))


def aic(fit: Fit, runs: pd.DataFrame) -> float:
    """Akaike's criterion of normal errors of ln L."""
    return len(runs) * float(np.log(np.mean(errors(fit, runs) ** 2))) + 2 * (len(fit.params) + 1)


def left_out(runs: pd.DataFrame, by: list[str]) -> Iterator[pd.DataFrame]:
    """For every value of some columns: errors of both laws, fitted to all others, on the runs that have it."""
    for _, held in runs.groupby(by):
        rest = runs.drop(index=held.index)
        rest.attrs = runs.attrs
        yield pd.DataFrame({name: errors(fitted(name, rest), held) for name in ("ghorbani", "power")}, index=held.index)


def gain(found: pd.DataFrame, runs: pd.DataFrame) -> tuple[float, float, float]:
    """Ratio of mean squared errors, power over ghorbani, with a 90% interval from resampling shapes."""
    sums = (found**2).groupby([runs[name] for name in SHAPE]).sum().to_numpy()
    picks = np.random.default_rng(0).integers(len(sums), size=(RESAMPLES, len(sums)))
    several = sums[picks].sum(axis=1)
    whole = sums.sum(axis=0)
    lo, hi = np.quantile(several[:, 1] / several[:, 0], [0.05, 0.95])
    return float(whole[1] / whole[0]), float(lo), float(hi)


def say(title: str, fit: Fit, draws: Draws, total: float) -> None:
    """Parameters, their difference and the best split, with 90% intervals."""
    both = {name: draws.params[:, fit.law.names.index(name)] for name in fit.law.names}
    print(f"{title}")
    for name, values in both.items():
        print(f"  {name:24} {fit.params[name]:9.4g}  {interval(values)}")
    more = both["p_d"] - both["p_e"]
    print(f"  {'p_d - p_e':24} {fit.params['p_d'] - fit.params['p_e']:9.4g}  {interval(more)}, "
          f"above 0 in {np.mean(more > 0):.1%} of resamples")  # fmt: skip
    share = encoder_decoder_split(1.0, **fit.params)[0]
    print(f"  {'encoder share, best split':24} {share:8.4g}  {interval(encoder_decoder_split(1.0, **both)[0])}")
    print(f"  of {total:,.0f} parameters: N_e = {share * total:,.0f}, N_d = {(1 - share) * total:,.0f}\n")


def held_against(runs: pd.DataFrame, fits: dict[str, Fit]) -> None:
    """What tells the two laws apart, a line each."""
    names = tuple(fits)
    print(f"{'':26} " + " ".join(f"{name:>10}" for name in names))
    rms = [100 * float(np.sqrt(np.mean(errors(fits[name], runs) ** 2))) for name in names]
    log = np.log(runs["loss"]).groupby([runs[name] for name in SHAPE])
    seeds = 100 * float(np.sqrt(log.var().mean()))
    print(f"{'rms error, %':26} {rms[0]:10.3f} {rms[1]:10.3f}   seeds differ by {seeds:.3f} (sd)")
    print(f"{'AIC':26} {aic(fits[names[0]], runs):10.1f} {aic(fits[names[1]], runs):10.1f}")
    lack = [lack_of_fit(fits[name], runs) for name in names]
    print(f"{'lack of fit, F':26} {lack[0][0]:10.2f} {lack[1][0]:10.2f}")
    print(f"{'  chance if the law held':26} {lack[0][1]:10.2g} {lack[1][1]:10.2g}")
    for what, by in (
        ("shape", SHAPE),
        ("width", ["width"]),
        ("encoder depth", ["encoder_depth"]),
        ("depth", ["depth"]),
    ):
        found = pd.concat(left_out(runs, by)).sort_index()
        ratio, lo, hi = gain(found, runs)
        each = [100 * float(np.sqrt((found[name] ** 2).mean())) for name in names]
        print(f"{'a ' + what + ' left out, rms %':26} {each[0]:10.3f} {each[1]:10.3f}   "
              f"squares {ratio:.2f} times ({lo:.2f} to {hi:.2f})")  # fmt: skip


def interval(values: np.ndarray) -> str:
    lo, hi = np.quantile(values, [0.05, 0.95])
    return f"({lo:.3g} to {hi:.3g})"


def draw(runs: pd.DataFrame, fits: dict[str, Fit], draws: Draws, path: str) -> None:
    """Loss over the sum of sizes, over the sizes weighed by their exponents, and over the encoder's share."""
    look, fit = theme(), fits["ghorbani"]
    share = encoder_decoder_split(1.0, **fit.params)[0]
    weighed = runs["N_e"] ** share * runs["N_d"] ** (1 - share)
    total = float(np.median(runs["N_both"]))
    figure, (one, two, three) = plt.subplots(1, 3, figsize=(10.5, 3.5), layout="constrained")
    part = runs["N_e"] / runs["N_both"]
    marks = dict(zip(sorted(runs["width"].unique()), "osD", strict=False))
    for axes, x in ((one, runs["N_both"]), (two, weighed)):
        for width, mark in marks.items():
            own = runs["width"] == width
            points = axes.scatter(
                x[own], runs["loss"][own], c=part[own], cmap=look.sizes, vmin=part.min(), vmax=part.max(),
                marker=mark, s=22, lw=0.4, edgecolor=look.ink, zorder=3, label=f"width {width}",
            )  # fmt: skip
        log_axis(axes.xaxis, "count")
    sizes = np.geomspace(runs["N_both"].min(), runs["N_both"].max(), 100)
    one.plot(sizes, fits["power"].predict(N_both=sizes), color=look.muted, label="$L(N_e + N_d)$")
    sizes = np.geomspace(weighed.min(), weighed.max(), 100)
    two.plot(sizes, fit.predict(N_e=sizes, N_d=sizes), color=look.law, label="$L(N_e, N_d)$")
    rms = {name: 100 * float(np.sqrt(np.mean(errors(own, runs) ** 2))) for name, own in fits.items()}
    one.set_title(f"The sum of sizes: errors of {rms['power']:.2f}%")
    two.set_title(f"Both sizes: errors of {rms['ghorbani']:.2f}%")
    three.set_title(f"What a split costs, {count(total)} parameters")
    one.set(xlabel="parameters of both stacks $N_e + N_d$", ylabel="validation loss (nats/target token)")
    two.set(xlabel=f"$N_e^{{{share:.2f}}}\\, N_d^{{{1 - share:.2f}}}$", ylim=one.get_ylim())
    for axes in (one, two):
        axes.legend()
    figure.colorbar(points, ax=two, pad=0.02, fraction=0.05, label="encoder's share of parameters")
    shares = np.linspace(part.min(), part.max(), 181)  # what was trained
    best = encoder_decoder_split(1.0, **{n: draws.params[:, fit.law.names.index(n)] for n in ("p_e", "p_d")})[0]
    lines = np.stack([
        fit.law.function(total * shares, total * (1 - shares), **dict(zip(fit.law.names, row, strict=True)))
        for row in draws.params
    ])  # fmt: skip
    least = lines.min(axis=1, keepdims=True)
    lo, hi = np.quantile(100 * (lines / least - 1), [0.05, 0.95], axis=0)
    whole = fit.predict(N_e=total * shares, N_d=total * (1 - shares))
    three.fill_between(shares, lo, hi, color=look.law, alpha=0.2, lw=0)
    three.plot(shares, 100 * (whole / whole.min() - 1), color=look.law)
    three.axvspan(*np.quantile(best, [0.05, 0.95]), ymax=0.86, color=look.good, alpha=0.18, lw=0)
    three.axvline(share, ymax=0.86, color=look.good, label="best split, 90% interval")
    three.set(
        xlabel="encoder's share of parameters",
        ylabel="loss above the best split (%)",
        xlim=(0, 1),
        ylim=(0, 1.12 * hi.max()),
    )
    three.legend(loc="upper left")
    save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--figure", metavar="FILE", help="draw it here: png, svg or pdf")
    options = parser.parse_args()
    runs = read()
    fits = {name: fitted(name, runs) for name in ("ghorbani", "power")}
    print("\n".join(fits["ghorbani"].problems) + "\n")
    total = float(runs["N_both"].max())
    draws = bootstrap(fits["ghorbani"], RESAMPLES)
    say("all runs", fits["ghorbani"], draws, total)
    without = fitted("ghorbani", runs, fix={"L_inf": 0.0})
    say("without a floor", without, bootstrap(without, RESAMPLES), total)
    for width, own in runs.groupby("width"):
        alone = fitted("ghorbani", own, fix={"L_inf": 0.0})
        say(f"width {width} alone, without a floor", alone, bootstrap(alone, RESAMPLES), float(own["N_both"].max()))
    held_against(runs, fits)
    if options.figure:
        with drawing():
            draw(runs, fits, draws, options.figure)


if __name__ == "__main__":
    main()
