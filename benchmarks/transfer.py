"""Does one learning rate serve all widths, depths, horizons and batches, and does it bias a fit of L(N, D)?

    python benchmarks/transfer.py [--figures FOLDER]

Reads the final losses of data/transfer (the grids transfer_width, transfer_depth, horizon and transfer_batch) and
prints the tables of docs/transfer.md. The best rate is that of the grid with the least loss, mean over seeds; beside it
stands the vertex of a parabola through it and its neighbours, in logarithms. A move is counted in steps of the grid,
which are factors of two. The regret is the loss at the rate that is best for the base size, over the least loss.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import scaling
from scaling.style import column_axis, drawing, log_axis, save

DATA = Path(__file__).parents[1] / "data" / "transfer"
#: What is base of what: the rules of width are compared from the middle width, those of depth from depth 2.
RULES = {"width": ("none", "mup"), "depth": ("none", "depth-mup", "completep")}
BASE = {"width": 32, "depth": 2}


def losses(name: str, index: list[str]) -> pd.DataFrame:
    """Mean ln loss over seeds: a row each for `index`, a column a learning rate."""
    runs = scaling.read_table(DATA / f"{name}.csv")
    runs["lr"] = runs["lr"].round(6)
    return (
        np.log(runs.set_index("run")["loss"])
        .groupby([runs.set_index("run")[c] for c in [*index, "lr"]])
        .mean()
        .unstack()
    )


def vertex(row: pd.Series) -> float:
    """The learning rate at the vertex of the parabola through the least loss and its neighbours; nan at an edge."""
    at = int(row.to_numpy().argmin())
    if at in (0, len(row) - 1):
        return np.nan
    x = np.log(row.index.to_numpy(float)[at - 1 : at + 2])
    a, b, _ = np.polyfit(x, row.to_numpy()[at - 1 : at + 2], 2)
    return float(np.exp(-b / (2 * a)))


def transfer(axis: str) -> pd.DataFrame:
    """For each rule and size: the best rate, its moves, the least loss and the regret of the base's best rate."""
    table = losses(axis, ["group", axis])
    rows = []
    for rule in RULES[axis]:
        base = table.loc[("mup" if axis == "width" else "base", BASE[axis])]
        for size, row in sizes_of(table, axis, rule):
            best, top = float(row.idxmin()), float(base.idxmin())
            rows.append(
                {
                    "rule": rule, axis: size, "best": best, "vertex": vertex(row),
                    "moved": np.log2(best / top), "vertex moved": np.log2(vertex(row) / vertex(base)),
                    "least loss": np.exp(row.min()), "regret %": 100 * (np.exp(row[top] - row.min()) - 1),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def sizes_of(table: pd.DataFrame, axis: str, rule: str) -> list[tuple[int, pd.Series]]:
    """The sizes of a rule in order. At the base size all rules are one model, trained once."""
    base = ("mup" if axis == "width" else "base", BASE[axis])
    rows = {size: row for (group, size), row in table.iterrows() if group == rule}  # type: ignore[misc]
    return sorted((rows | {BASE[axis]: table.loc[base]}).items())


def power(name: str, index: list[str], column: str) -> tuple[float, float, pd.DataFrame]:
    """Exponent of the best rate as a power of `column`, its standard error, and the vertices.

    One least-squares fit to the rates within a factor of four of each row's best: ln loss = a level for each row
    + c (ln lr - a_row)^2, where a_row = a level for each width + exponent * ln(column) and c is common. Standard errors
    from its Jacobian.
    """
    from scipy.optimize import least_squares

    table = losses(name, [*index, column])
    ids = table.index.to_frame(index=False)
    group = pd.factorize(ids[index[0]])[0] if index else np.zeros(len(ids), int)
    x = np.log(ids[column].to_numpy(float))
    x0 = x.mean()
    lr = np.log(table.columns.to_numpy(float))
    y = table.to_numpy()
    near = np.abs(lr - lr[y.argmin(1)][:, None]) < np.log(4.1)
    levels = len(np.unique(group))

    def residuals(p: Any) -> Any:
        level, centre, (exponent, c) = p[: len(ids)], p[len(ids) : len(ids) + levels], p[-2:]
        best = centre[group] + exponent * (x - x0)
        return (level[:, None] + c * (lr - best[:, None]) ** 2 - y)[near]

    start = np.concatenate([y.min(1), np.full(levels, np.log(0.006)), [0.0, 0.02]])
    found = least_squares(residuals, start, method="lm")
    free = near.sum() - len(start)
    covariance = np.linalg.inv(found.jac.T @ found.jac) * 2 * found.cost / free
    ids["vertex"] = [vertex(row) for _, row in table.iterrows()]
    ids["best"] = table.idxmin(axis=1).to_numpy()
    ids["fitted"] = np.exp(found.x[len(ids) : len(ids) + levels][group] + found.x[-2] * (x - x0))
    ids["c"] = found.x[-1]
    return float(found.x[-2]), float(np.sqrt(covariance[-2, -2])), ids


def slopes(runs: pd.DataFrame) -> pd.Series:
    """Slope of -ln loss over ln D at each size."""
    return pd.Series({n: -np.polyfit(np.log(own["D"]), np.log(own["loss"]), 1)[0] for n, own in runs.groupby("N")})


def bias() -> pd.DataFrame:
    """Fits of L(N, D) to the runs at one rate, at the best of the grid for each N and D, and nearest to the rule's.

    All but the longest horizon is fitted; the losses there, the least over the rates for each size, are forecast. The
    slope is that of -ln loss over ln D, mean over the sizes; its bias is the difference from that of the best of each,
    with the standard error over the sizes.
    """
    runs = scaling.read_table(DATA / "horizon.csv")
    runs["lr"] = runs["lr"].round(6)
    cells, last = ["N", "D"], runs["D"].max()
    best = runs.loc[runs.groupby(cells)["loss"].idxmin()]
    rule = power("horizon", ["width"], "D")[2].set_index(["width", "D"])["fitted"]
    away = np.abs(np.log(runs["lr"] / runs.set_index(["width", "D"]).index.map(rule)))
    chosen = {f"lr = {lr:g} at all": own for lr, own in runs.groupby("lr")}
    chosen |= {
        "nearest to the rule": runs.loc[away.groupby([runs[c] for c in cells]).idxmin()],
        "the best of each": best,
    }
    least = best.set_index(cells)["loss"]
    lowest, rows = slopes(best), []
    for name, own in chosen.items():
        fit = scaling.fit("chinchilla", own[own["D"] < last])
        over = np.log(own.set_index(cells)["loss"] / least)
        at_last = least.xs(last, level="D")
        said = fit.predict(N=at_last.index.to_numpy(float), D=np.full(len(at_last), float(last)))
        rows.append(
            {
                "fitted": name,
                **{k: fit.params[k] for k in ("E", "alpha", "beta")},
                "slope": slopes(own).mean(),
                "bias": (slopes(own) - lowest).mean(),
                "+-": (slopes(own) - lowest).sem(),
                "over the best, shortest %": 100 * over.xs(runs["D"].min(), level="D").mean(),
                "longest %": 100 * over.xs(last, level="D").mean(),
                "forecast of the best %": 100 * np.mean(np.log(said / at_last)),
            }
        )
    return pd.DataFrame(rows)


def draw_sizes(path: Path) -> None:
    """Loss over the learning rate, a line a size and a panel a rule; a ring at the best rate of each."""
    import matplotlib.pyplot as plt

    panels = [(axis, rule) for axis, rules in RULES.items() for rule in rules]
    with drawing("light") as look:
        figure, axes = plt.subplots(1, len(panels), figsize=(12.5, 3.0), sharey=True, layout="constrained")
        for ax, (axis, rule) in zip(axes, panels, strict=True):
            rows = sizes_of(losses(axis, ["group", axis]), axis, rule)
            for i, (size, row) in enumerate(rows):
                color = look.sizes(i / (len(rows) - 1))
                ax.plot(row.index, np.exp(row), "o-", ms=3, color=color, label=f"{axis} {size}")
                ax.plot(row.idxmin(), np.exp(row.min()), "o", ms=8, mfc="none", mec=color)
            column_axis(ax.xaxis, "lr", most=6)
            ax.set_title(
                f"{axis}: {rule.replace('none', 'no rule').replace('mup', 'muP').replace('completep', 'CompleteP')}"
            )
            ax.legend()
        axes[0].set_ylabel("validation loss (nats/byte)")
        log_axis(axes[0].yaxis)
        save(figure, str(path))
        plt.close(figure)


def draw_horizons(path: Path) -> None:
    """Loss over the rate at each horizon of the widest model; best rates over the horizon and over the batch."""
    import matplotlib.pyplot as plt

    table = losses("horizon", ["width", "D"])
    widest = table.loc[table.index.get_level_values("width").max()]
    with drawing("light") as look:
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11.5, 3.2), layout="constrained")
        for i, (tokens, row) in enumerate(widest.iterrows()):
            color = look.sizes(i / (len(widest) - 1))
            left.plot(row.index, np.exp(row), "o-", ms=3, color=color)
            left.annotate(
                f"{tokens / 1e3:.0f}k", (row.index[-1], np.exp(row.iloc[-1])), (6, -3), textcoords="offset points"
            )
            left.plot(row.idxmin(), np.exp(row.min()), "o", ms=8, mfc="none", mec=color)
        left.set_title(f"width {table.index.get_level_values('width').max()}, 64k to 1024k tokens")
        column_axis(left.xaxis, "lr")
        left.set_ylabel("validation loss (nats/byte)")
        log_axis(left.yaxis)
        left.set_xlim(right=table.columns.max() * 1.45)
        for ax, name, index, column in ((middle, "horizon", ["width"], "D"), (right, "batch", [], "batch")):
            exponent, error, ids = power(name, index, column)
            for i, (size, own) in enumerate(ids.groupby(index[0]) if index else [("", ids)]):
                color = look.sizes(i / 3) if index else look.law
                ax.plot(
                    own[column], own["vertex"], "o", ms=4, color=color, label=f"width {size}" if index else "vertex"
                )
                ax.plot(own[column], own["fitted"], color=color, lw=1)
            ax.set_title(f"best rate: power {exponent:.2f} ± {error:.2f}".replace("-", "−"))
            column_axis(ax.xaxis, column)
            column_axis(ax.yaxis, "lr")
            ax.set_ylabel("best learning rate")
        middle.legend()
        right.set_xticks(ids["batch"])
        save(figure, str(path))
        plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description="one learning rate over widths, depths, horizons and batches")
    parser.add_argument("--figures", metavar="FOLDER", type=Path, help="draw transfer.png and horizon.png there")
    args = parser.parse_args()
    for axis in RULES:
        print(transfer(axis).to_string(index=False, float_format="{:.4g}".format), "\n")
    for name, index, column in (("horizon", ["width"], "D"), ("batch", [], "batch")):
        exponent, error, ids = power(name, index, column)
        print(f"best rate as a power of {column}: {exponent:.3f} +- {error:.3f}")
        print(ids.to_string(index=False, float_format="{:.4g}".format), "\n")
    print(bias().to_string(index=False, float_format="{:.3f}".format))
    if args.figures:
        draw_sizes(args.figures / "transfer.png")
        draw_horizons(args.figures / "horizon.png")


if __name__ == "__main__":
    main()
