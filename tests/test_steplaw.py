"""Li 2025 (arXiv:2503.04715) from its public grids of learning rate and batch: both laws, and what they cost.

The table holds 15 cells of (N, D), N over a factor of 2.5 alone, with grids a factor of 1.4 apart. A cell's optimum
is its run of least smoothed loss. How the authors chose theirs is not said with the data, and they had more cells.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scaling
from scaling.laws import LAWS

CONTEXT = 2048  # tokens a sequence: tokens / (steps x batch_size) in every row


@pytest.fixture(scope="module")
def grid(datasets: Path) -> pd.DataFrame:
    table = pd.read_csv(datasets / "li2025_steplaw.csv.gz").rename(columns={"params": "N", "tokens": "D"})
    np.testing.assert_allclose(table["D"] / (table["steps"] * table["batch_size"]), CONTEXT, rtol=0.003)
    return table.assign(batch=CONTEXT * table["batch_size"])


def test_the_exponents_of_both_laws_lie_within_the_bootstrap_of_the_grids_optima(grid: pd.DataFrame) -> None:
    best = grid.loc[grid.groupby(["N", "D"])["smooth_loss"].idxmin()]
    table = pd.DataFrame({"N": best["N"], "D": best["D"], "lr_opt": best["lr"], "batch_opt": best["batch"]})
    for name in ("steplaw_lr", "steplaw_batch"):
        fit = scaling.fit(name, table, objective="log-squared")
        lo, hi = np.quantile(scaling.bootstrap(fit, 400).params, [0.025, 0.975], axis=0)
        published = LAWS[name].published["li2025"]
        for i, exponent in enumerate(LAWS[name].names[1:], 1):
            said = f"{name} {exponent}: {fit.params[exponent]:.4g} ({lo[i]:.4g} to {hi[i]:.4g})"
            print(f"{said}, published {published[exponent]}")
            assert lo[i] <= published[exponent] <= hi[i]
        # k moves with the exponents by orders of magnitude; what it stands for is the level within the table
        inputs = {x: table[x] for x in LAWS[name].inputs}
        level = np.median(LAWS[name](*inputs.values(), **published) / fit.predict(**inputs))
        print(f"{name}: published over refitted optimum, median of the cells: {level:.3f}")
        assert 1 / np.sqrt(2) < level < np.sqrt(2)  # one step of the grid


def test_following_both_laws_costs_a_third_of_a_percent_at_most(grid: pd.DataFrame) -> None:
    costs = []
    for (n, d), cell in grid.groupby(["N", "D"]):
        lr, batch = (LAWS[f"steplaw_{x}"] for x in ("lr", "batch"))
        away = np.log(cell["lr"] / lr(n, d, **lr.published["li2025"])) ** 2
        away += np.log(cell["batch"] / batch(d, **batch.published["li2025"])) ** 2
        costs.append(cell.loc[away.idxmin(), "smooth_loss"] / cell["smooth_loss"].min() - 1)
    print(
        f"loss at the nearest point of the grid over the least: median {np.median(costs):.3%}, worst {max(costs):.3%}"
    )
    assert len(costs) == 15
    assert np.median(costs) < 0.001 and max(costs) < 0.0033
