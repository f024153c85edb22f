"""Do forecasts come true? Expanding windows over the final losses of seven public families of runs, 15 tables.

Every cut hides the larger budgets of a table; the rest is fitted and forecasts them: by the plain law of Hoffmann 2022
with its bootstrap alone, and by the regularised stack that `scaling.forecast(table, ...)` uses. Prints the errors, the
coverage of nominal 90% intervals with standard errors over clusters, and their width beside an oracle's: the same
intervals times the one factor that makes them cover 90%. Writes docs/figures/calibration_*.png.

    SCALING_DATASETS=FOLDER python benchmarks/forecasts.py

The folder holds the tidy files named in `tables`, each a gzipped CSV with columns params, tokens, loss;
docs/calibration.md says where each comes from. Without it there is nothing to measure, and the script says so.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import scaling
from scaling.rehearsal import too_little
from scaling.stacking import Stack
from scaling.style import LIGHT, drawing, save

FIGURES = Path(__file__).parents[1] / "docs" / "figures"
NEAR, FAR = 4 * 0.998, 30 * 0.998  # budgets are rounded
BANDS = ((4, 10), (10, 30), (30, 100), (100, np.inf))


def tables(folder: Path) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Family, name and runs of each table; the filters are part of the measurement."""

    def read(name: str) -> pd.DataFrame:
        return scaling.read_table(folder / f"{name}.csv.gz", map={"N": "params", "D": "tokens"})

    # Chinchilla's Figure 4 as digitised by Besiroglu 2024, without the five rows that they leave out
    yield "hoffmann", "figure 4", read("hoffmann2022_besiroglu2024").query("epoch_outlier == 0")
    # Gadre 2024, models trained on C4: each evaluation set is a table, parameters with embeddings
    for name, part in read("gadre2024_c4").groupby("eval"):
        yield "gadre", short(str(name)), part
    # Porian 2024, RefinedWeb: the two experiments with a cosine decay to each run's own end and a short warm-up
    porian = read("porian2024_rw")
    for count, split in (("standard", "val"), ("attention", "train")):
        name = f"rw|base|short|chinchilla|{count}|{split}"
        yield "porian", f"{count}, {split}", porian[porian["experiment"] == name]
    # Li 2025 (Step Law): the best learning rate and batch size of each (N, D)
    yield "steplaw", "best of each cell", best(read("li2025_steplaw"))
    # McLeish 2025 (Gemstones): the ends of the cooldowns
    yield "gemstones", "cooldown ends", read("mcleish2025_gemstones").query("set == 'cool_end'")
    # Li 2025 (Misfitting): runs that reached their last step, the best learning rate of each (N, D)
    yield "misfitting", "finals", best(read("li2025_misfitting").query("step == total_steps"))
    # Muennighoff 2023: runs that saw no token twice
    yield "muennighoff", "one epoch", read("muennighoff2023").query("epochs <= 1.0001")


def short(name: str) -> str:
    words = name.replace("val_tok_mult/", "").split("/")
    return words[0].replace("paloma_", "").replace("c4_val", "c4")


def best(table: pd.DataFrame) -> pd.DataFrame:
    return table.loc[table.groupby(["N", "D"])["loss"].idxmin()]


def backtest(family: str, name: str, table: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """A frame for each cut and procedure: rows 4 times beyond and farther, with error, half width and distance."""
    clean = table[["N", "D", "loss"]].reset_index(drop=True)
    whole = scaling.stack(clean)
    stages: tuple[Stack, ...] = whole.earlier
    for past in stages:
        ahead = whole.size >= NEAR * past.reach
        if not ahead.any():
            continue
        held = whole.table[ahead]
        n, d = held["N"].to_numpy(), held["D"].to_numpy()
        assert not too_little(past.size, past.table[["N", "D"]].to_numpy().T)
        ours = past.forecast(n, d)
        fitted = scaling.fit("chinchilla", past.table, starts=8)
        plain = scaling.forecast(scaling.bootstrap(fitted, 100), N=n, D=d)
        bootstrapped = 1.6448536 * plain["sd_parameters"]
        for procedure, frame, half in (
            ("plain", plain, bootstrapped),
            ("stack", ours, np.log(ours["hi"] / ours["loss"])),
        ):
            yield pd.DataFrame(
                {
                    "family": family, "table": name, "cut": past.reach, "procedure": procedure,
                    "beyond": ours["beyond"], "rows": len(past.table), "half": half,
                    "error": np.log(frame["loss"].to_numpy() / held["loss"].to_numpy()),
                }
            )  # fmt: skip


def cells(found: pd.DataFrame, least: float) -> pd.DataFrame:
    """One row a (procedure, family, table, cut): median absolute error, bias, coverage."""
    far = found[found["beyond"] >= least].assign(
        size=lambda t: t["error"].abs(), inside=lambda t: t["error"].abs() <= t["half"]
    )
    by = far.groupby(["procedure", "family", "table", "cut"])
    return pd.DataFrame(
        {"error": by["size"].median(), "bias": by["error"].median(), "coverage": by["inside"].mean()}
    ).reset_index()


def by_family(found: pd.DataFrame, least: float, what: str) -> pd.DataFrame:
    """Cuts count equally within a table, tables within a family."""
    table = cells(found, least).groupby(["procedure", "family", "table"])[what].mean()
    return table.groupby(["procedure", "family"]).mean().unstack("procedure")


def cluster_error(found: pd.DataFrame, least: float) -> pd.Series:
    """Standard error of each family's coverage, its cells (table, cut) taken as clusters."""
    one = cells(found, least).query("procedure == 'stack'").groupby("family")["coverage"]
    return one.std(ddof=1) / np.sqrt(one.count())


def left_out(found: pd.DataFrame, least: float) -> pd.Series:
    """Coverage of each family when all widths are rescaled to cover 90% on the other families."""
    ours = found[found["procedure"] == "stack"]
    covered = {}
    for family, rows in ours[ours["beyond"] >= least].groupby("family"):
        factor = oracle(ours[ours["family"] != family], least)
        covered[family] = by_family(rows.assign(half=rows["half"] * factor), least, "coverage")["stack"].iloc[0]
    return pd.Series(covered)


def oracle(found: pd.DataFrame, least: float) -> float:
    """The factor on every half width of the stack that makes the mean coverage over families 90%."""
    ours = found[(found["procedure"] == "stack") & (found["beyond"] >= least)]
    lo, hi = 0.05, 20.0
    for _ in range(40):
        middle = np.sqrt(lo * hi)
        covers = by_family(ours.assign(half=ours["half"] * middle), least, "coverage")["stack"].mean()
        lo, hi = (middle, hi) if covers < 0.9 else (lo, middle)
    return float(np.sqrt(lo * hi))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--no-figures", action="store_true", help="print the tables only")
    args = parser.parse_args()
    named = os.environ.get("SCALING_DATASETS")
    if not named:
        print("skipped: set SCALING_DATASETS to the folder of public data sets (docs/calibration.md lists them)")
        return
    start = time.perf_counter()
    frames, sizes = [], []
    for family, name, table in tables(Path(named)):
        parts = list(backtest(family, name, table))
        frames += parts
        sizes.append((family, name, len(table), len(parts) // 2))
    found = pd.concat(frames, ignore_index=True)
    print(pd.DataFrame(sizes, columns=["family", "table", "rows", "cuts"]).to_string(index=False), end="\n\n")
    for least, label in ((NEAR, ">= 4x"), (FAR, ">= 30x")):
        error = by_family(found, least, "error") * 100
        bias = by_family(found, least, "bias") * 100
        covered = by_family(found, least, "coverage") * 100
        shown = pd.DataFrame(
            {
                "plain error %": error["plain"], "stack error %": error["stack"],
                "plain bias %": bias["plain"], "stack bias %": bias["stack"],
                "bootstrap covers %": covered["plain"], "stack covers %": covered["stack"],
                "+-": cluster_error(found, least) * 100,
            }
        )  # fmt: skip
        shown.loc["mean"] = shown.mean()
        shown.loc["mean", "+-"] = covered["stack"].std(ddof=1) / np.sqrt(len(covered))
        print(f"{label} the largest fitted compute, nominal 90%\n{shown.round(2).to_string(na_rep='')}")
        better = int((error["stack"] < error["plain"]).sum())
        print(f"stack better than plain on {better} of {len(error)} families; {len(cells(found, least)) // 2} cuts")
        factor = oracle(found, least)
        print(f"width {1 / factor:.2f} times the oracle's (every interval times {factor:.2f} would cover 90%)")
        print(f"width of each family set by the others: {left_out(found, least).mean():.1%} covered on average\n")
    ours = found[found["procedure"] == "stack"]
    many = ours[ours["rows"] >= 20]
    by_table = cells(many, NEAR).groupby(["family", "table"])["coverage"].agg(["mean", "count"])
    by_table["+-"] = cells(many, NEAR).groupby(["family", "table"])["coverage"].sem() * 100
    by_table["mean"] *= 100
    print("coverage of each set at >= 4x, cuts that leave 20 rows or more (+- one standard error over its cuts)")
    print(by_table.rename(columns={"mean": "covers %", "count": "cuts"}).round(1).to_string(na_rep=""))
    families = by_table["mean"].groupby("family").mean().mean()
    print(f"mean over sets {by_table['mean'].mean():.1f}%, over families {families:.1f}%\n")
    for lo, hi in BANDS:
        part = ours[(ours["beyond"] >= lo * 0.998) & (ours["beyond"] < hi * 0.998)]
        covered = by_family(part, lo * 0.998, "coverage")["stack"].mean()
        half = float(np.exp(np.log(part["half"]).mean()))
        print(f"{lo:>4g} to {hi:<4g} times beyond: covers {covered:.0%}, half width {half:.2%} (geometric mean)")
    if not args.no_figures:
        draw(found)
    print(f"\n{time.perf_counter() - start:.0f} s; numpy {np.__version__}, scaling {scaling.__version__}")


def draw(found: pd.DataFrame) -> None:
    FIGURES.mkdir(exist_ok=True)
    with drawing():
        figure = Figure(figsize=(9.2, 3.8), layout="constrained")
        left, right = figure.subplots(1, 2)
        errors(left, found)
        reliability(right, found)
    save(figure, str(FIGURES / "calibration_errors.png"))
    with drawing():
        figure = Figure(figsize=(9.2, 3.8), layout="constrained")
        distances(figure.subplots(), found)
    save(figure, str(FIGURES / "calibration_distance.png"))


def errors(ax: Axes, found: pd.DataFrame) -> None:
    """Median absolute error by family, 4 times beyond and farther."""
    error = (by_family(found, NEAR, "error") * 100).sort_values("plain")
    at = np.arange(len(error))
    ax.hlines(at, error["stack"], error["plain"], color="0.8", lw=2, zorder=1)
    ax.plot(error["plain"], at, "o", color=LIGHT.held, label="plain law")
    ax.plot(error["stack"], at, "o", color=LIGHT.law, label="regularised stack")
    ax.set_yticks(at, list(error.index))
    ax.set_xlim(left=0)
    ax.set_xlabel("median absolute error beyond 4 times the compute (%)")
    ax.legend(loc="lower right")


def reliability(ax: Axes, found: pd.DataFrame) -> None:
    """Achieved against nominal coverage, mean over families."""
    from scipy.special import ndtri

    levels = np.linspace(0.1, 0.98, 23)
    for procedure, color, label in (
        ("plain", LIGHT.held, "plain law, bootstrap"),
        ("stack", LIGHT.law, "regularised stack"),
    ):
        one = found[found["procedure"] == procedure]
        covers = [
            by_family(one.assign(half=one["half"] * ndtri(0.5 + v / 2) / 1.6448536), NEAR, "coverage")[procedure].mean()
            for v in levels
        ]
        ax.plot(levels * 100, np.array(covers) * 100, color=color, label=label)
    ax.plot([0, 100], [0, 100], color="0.5", lw=0.8)
    ax.set_xlim(0, 100)
    ax.set_ylim(0, 100)
    ax.set_xlabel("nominal coverage (%)")
    ax.set_ylabel("achieved beyond 4 times the compute (%)")
    ax.legend(loc="upper left")


def distances(ax: Axes, found: pd.DataFrame) -> None:
    """Every error of the stack against its distance beyond the data, with the median half width."""
    ours = found[found["procedure"] == "stack"]
    tints = mpl.colormaps["viridis"](np.linspace(0, 0.95, ours["family"].nunique()))
    for tint, (family, rows) in zip(tints, ours.groupby("family"), strict=True):
        ax.plot(rows["beyond"], rows["error"] * 100, ".", ms=2.5, color=tint, alpha=0.6, label=str(family))
    edges = np.geomspace(4, ours["beyond"].max(), 12)
    middle = np.sqrt(edges[1:] * edges[:-1])
    half = ours.groupby(np.clip(np.digitize(ours["beyond"], edges) - 1, 0, 10))["half"].median() * 100
    for sign in (-1, 1):
        ax.plot(middle[half.index], sign * half, color="0.2", lw=1.2, label="median 90% interval" if sign > 0 else None)
    ax.set_xscale("log")
    ax.set_ylim(-32, 32)
    ax.set_xlabel("compute in multiples of the largest fitted")
    ax.set_ylabel("ln predicted / observed (%)")
    ax.legend(loc="lower left", ncols=4, markerscale=4)


if __name__ == "__main__":
    main()
