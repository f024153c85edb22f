"""Mixtures of code, documentation and headers, from data/mixtures: which model knows the best, and whether it was.

    python benchmarks/mixtures.py [--figure docs/figures/mixtures.png]

Scores laws and regressions on mixtures left out and on held-out ones, names the best mixture from the fitted runs, and
sets the runs that were then trained there, at the even mixture and at sources as large as they are, beside what was
expected.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

import scaling
from scaling.experts import read_experts
from scaling.figures.mixtures import plot_scores, plot_triangle
from scaling.mixture_optimum import BestMixture, optimal_mixture
from scaling.mixture_scores import Scores, compare_models
from scaling.mixture_table import read_mixtures
from scaling.style import drawing, save, theme

DATA = Path(__file__).parents[1] / "data" / "mixtures"
LARGE = {"code": 0.63, "docs": 0.14, "headers": 0.23}  # by their tokens
PLACES = ("best", "even", "as large")
RESAMPLES = 300


def errors(scores: Scores) -> pd.DataFrame:
    """Models by error of the target, with rank correlations and the mean squared error over sources."""
    target = scores.table[scores.table["loss"] == "target"].set_index("model")
    each = scores.table[scores.table["loss"] != "target"].groupby("model")["mse"].mean()
    return pd.DataFrame(
        {
            "rmse": target["rmse"], "lo": np.sqrt(target["mse_lo"]), "hi": np.sqrt(target["mse_hi"]),
            "spearman": target["spearman"], "rank_lo": target["spearman_lo"], "rank_hi": target["spearman_hi"],
            "mse_each": each, "best_in": target["best"],
        }
    )  # fmt: skip


def trained(runs: pd.DataFrame, best: BestMixture) -> pd.DataFrame:
    """Expected and trained loss at the three places that were checked, and the difference to the best by seed."""
    checked = runs[runs["group"] == "checked"]
    target = checked[[name for name in checked if name.startswith("loss_on_")]].mean(axis=1)
    by_code = {"even": 1 / 3, "as large": LARGE["code"]}
    place = checked["share_code"].map(
        lambda share: next((name for name, code in by_code.items() if abs(share - code) < 1e-6), "best")
    )
    table = checked.assign(target=target, place=place).pivot(index="seed", columns="place", values="target")
    expected = best.expected.replace({"mixture": {"asked": "as large"}}).set_index("mixture")
    rows = []
    for name in PLACES:
        values, more = table[name], table[name] - table["best"]
        row = expected.loc[name]
        rows.append(
            {
                "mixture": name, "expected": row["loss"], "lo": row["lo"], "hi": row["hi"], "trained": values.mean(),
                "sd": values.std(), "inside": int(((row["lo"] <= values) & (values <= row["hi"])).sum()),
                "over_best": more.mean(), "se": more.std() / np.sqrt(len(more)),
            }
        )  # fmt: skip
    table.attrs["rows"] = pd.DataFrame(rows)
    return table


def plot_trained(ax: Axes, table: pd.DataFrame) -> Axes:
    """What was expected, with its interval, and what came out, seed by seed."""
    look = theme()
    for place, row in enumerate(table.attrs["rows"].to_dict("records")):
        ends = [[row["expected"] - row["lo"]], [row["hi"] - row["expected"]]]
        label = {"label": "expected"} if not place else {}
        ax.errorbar(
            place - 0.1, row["expected"], yerr=ends, fmt="o", ms=5, color=look.law, elinewidth=1.4, capsize=3, **label
        )
        values = table[row["mixture"]]
        ax.scatter(
            np.full(len(values), place + 0.1), values, s=18, marker="D", color=look.held, edgecolor=look.paper, lw=0.6,
            zorder=4, **({"label": "trained, a seed each"} if not place else {}),
        )  # fmt: skip
    ax.set_xticks(range(len(PLACES)), ["best", "even", "as large\nas sources"])
    ax.set_xlim(-0.5, len(PLACES) - 0.5)
    ax.set_ylabel("mean loss on the three sources (nats/token)")
    ax.legend(loc="upper left")
    return ax


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--figure", metavar="FILE", help="draw all three here: png, svg or pdf")
    options = parser.parse_args()
    runs = scaling.read_table(DATA / "runs.csv")
    experts = read_experts(DATA / "experts.csv")
    fitted = read_mixtures(runs[runs["group"].isin(["mixtures", "experts"])], experts=experts)
    held = read_mixtures(runs[runs["group"] == "held_out"], experts=experts)
    crossed, apart = compare_models(fitted), compare_models(fitted, held=held)
    bare = compare_models(fitted.rows(~fitted.corner))
    for name, scores in (("left out in turn", crossed), ("the same without experts' runs", bare), ("held out", apart)):
        print(f"{name}: {scores.how}\n\n" + errors(scores).to_string(float_format="{:.4g}".format) + "\n")
    best = optimal_mixture(fitted, crossed, experts=experts, at=LARGE, resamples=RESAMPLES)
    print(f"{best.model}: {best.setting}\n\n" + best.shares.to_string(float_format="{:.3f}".format) + "\n")
    print("\n".join(best.notes) + "\n")
    table = trained(runs, best)
    print(table.attrs["rows"].to_string(index=False, float_format="{:.4f}".format))
    if options.figure:
        with drawing():
            figure, axes = plt.subplots(1, 3, figsize=(12.6, 3.9), width_ratios=[1.1, 1.15, 0.85], layout="constrained")
            plot_scores(axes[0], crossed)
            plot_triangle(axes[1], fitted, crossed, best, experts, held)
            plot_trained(axes[2], table)
            save(figure, options.figure)


if __name__ == "__main__":
    main()
