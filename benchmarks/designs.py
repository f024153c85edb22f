"""How many FLOP a designed sweep needs for the interval of an even log grid: simulated, and replayed on real runs.

    python benchmarks/designs.py [FOLDER]

Simulated: noise on losses of published coefficients, half of its variance common to the forks of a trunk; 400 fits of
each sweep from the truth; the robust standard deviation of ln forecast at the target. The sweep is designed under one
published set and the losses come from the same or another, which the design has not seen. Two minutes on one core.

Replayed on the published tables in FOLDER: rows of finished runs are trained when they are chosen. Rows up to 1/30 of
the largest budget and from 5 to 160 tokens a parameter, as designs have by default, may be chosen, by both. The
interval is what the rows leave at the largest run under the law and the noise of the whole table, parameters alone; the
error is the stack's median error on the rows above a quarter of the largest budget.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from scaling.bands import robust_sd
from scaling.designing import NOISE, SHARED, design_runs
from scaling.errors import ScalingError
from scaling.fitting import Fit, fit, problem_of
from scaling.forecasting import forecast
from scaling.information import (
    Target,
    grouped_information,
    prior_information,
    sensitivities,
    target_gradient,
    variance,
)
from scaling.lattice import Lattice, build_lattice
from scaling.laws.hoffmann2022 import chinchilla, chinchilla_optimum
from scaling.published import find_published
from scaling.run_choice import even_choice
from scaling.search import minimise_near
from scaling.shapes import Shape, ShapeRule
from scaling.stacking import stack
from scaling.table import read_table

REPEATS = 400
SETS = ("besiroglu2024", "hoffmann2022")


def simulated(lattice: Lattice, chosen: np.ndarray, truth: dict[str, float], at: tuple[float, float]) -> float:
    """Robust sd of ln forecast at (N, D) over fits of the chosen runs with noise."""
    group, column = np.nonzero(chosen)
    n, d = lattice.N[group], lattice.D[group, column]
    table = pd.DataFrame({"N": n, "D": d, "loss": chinchilla(n, d, **truth)})
    problem = problem_of(fit("chinchilla", table, starts=4))
    rng = np.random.default_rng(1)
    common = rng.standard_normal((REPEATS, len(lattice.shapes)))[:, group] * np.sqrt(SHARED)
    noise = NOISE * (common + np.sqrt(1 - SHARED) * rng.standard_normal((REPEATS, len(n))))
    start = problem.coordinates(np.array([[truth[name] for name in problem.free]]))
    ends = minimise_near(problem, np.repeat(start, REPEATS, 0), None, noise)
    values = problem.parameters(problem.natural(ends.u))
    forecasts = chinchilla(*at, **{name: v[:, 0] for name, v in values.items()})
    return robust_sd(np.log(forecasts / np.median(forecasts)))


def even(lattice: Lattice, flops: float, sizes: int, horizons: int) -> np.ndarray | None:
    """An even grid of so many sizes by horizons, its largest size as large as the budget allows."""
    best = None
    columns = np.unique(np.linspace(0, lattice.D.shape[1] - 1, horizons).round().astype(int))
    for top in range(sizes - 1, len(lattice.shapes)):
        chosen = np.zeros(lattice.D.shape, bool)
        chosen[np.ix_(np.unique(np.linspace(0, top, sizes).round().astype(int)), columns)] = True
        best = chosen if lattice.price(chosen).sum() <= flops else best
    return best


def simulate() -> None:
    print(
        "| designed under | losses of | FLOP | target | even 5 x 4 | best of 16 even | designed | 1/2 | 1/4 | 1/8 |\n"
        "|---|---|---|---|---|---|---|---|---|---|"
    )
    for budget, prior in ((b, p) for b in (1e20, 1e22) for p in SETS):
        source = find_published(f"chinchilla:{prior}")
        lattice = build_lattice(ShapeRule(counts="matmul"), budget)
        grid = even_choice(lattice, budget)
        assert grid is not None
        price, target = float(lattice.price(grid).sum()), Target(C=1000 * budget)
        designs = [
            design_runs(source, target, price * share, build_lattice(lattice.rule, price * share), drift=0.0)
            for share in (1, 1 / 2, 1 / 4, 1 / 8)
        ]
        layouts = [even(lattice, price, s, h) for s in (3, 4, 5, 6) for h in (2, 3, 4, 6)]
        for truth in SETS:
            values = dict(chinchilla.published[truth])
            at = chinchilla_optimum(1000 * budget, **values)
            own = simulated(lattice, grid, values, at)
            best = min(simulated(lattice, layout, values, at) for layout in layouts if layout is not None)
            shown = " | ".join(f"{simulated(x.lattice, x.chosen, values, at):.2%}" for x in designs)
            print(
                f"| {prior} | {truth} | {price:.2g} | C = {1000 * budget:.0e} | {own:.2%} | {best:.2%} | {shown} |",
                flush=True,
            )


def rows_as_lattice(table: pd.DataFrame) -> Lattice:
    """Rows of a table as runs that share nothing, priced at 6 N D."""
    shapes = tuple(Shape(1, 1, int(n)) for n in table["N"])
    return Lattice(ShapeRule(), shapes, table[["D"]].to_numpy(float), 6 * table["N"].to_numpy(float), 1.0)


def even_rows(table: pd.DataFrame, flops: float) -> np.ndarray:
    """The rows nearest to an even 5 x 4 grid in ln N and ln D below the largest C that the budget allows."""
    x, c = np.log(table[["N", "D"]].to_numpy(float)), table["C"].to_numpy(float)
    best = np.zeros((len(table), 1), bool)
    for top in np.unique(c):
        inside = np.flatnonzero(c <= top)
        lo, hi = x[inside].min(0), x[inside].max(0)
        grid = np.stack(np.meshgrid(np.linspace(lo[0], hi[0], 5), np.linspace(lo[1], hi[1], 4)), -1).reshape(-1, 2)
        near = {int(inside[np.argmin((((x[inside] - g) / (hi - lo + 1e-9)) ** 2).sum(1))]) for g in grid}
        if len(near) >= 8 and c[list(near)].sum() <= flops:
            best = np.zeros((len(table), 1), bool)
            best[list(near)] = True
    return best


def replay(name: str, table: pd.DataFrame, prior: str) -> None:
    """Even grids of a tenth, a fifth and two fifths of the FLOP below 1/30 of the largest budget, and designs of their
    price, half and a quarter of it: the interval that each leaves at the largest run, and its error."""
    table = table.assign(C=6 * table["N"] * table["D"]).sort_values("N", ignore_index=True)
    whole = fit("chinchilla", table)
    held = table[table["C"] > table["C"].max() / 4]
    ratio = table["D"] / table["N"]
    allowed = (table["C"] <= table["C"].max() / 30) & (ratio > 4.9) & (ratio < 163)
    below = table[allowed].reset_index(drop=True)
    lattice, largest = rows_as_lattice(below), held.loc[held["C"].idxmax()]
    target = Target(N=float(largest["N"]), D=float(largest["D"]))

    def judged(chosen: np.ndarray) -> str:
        rows = below[chosen[:, 0]]
        half = 1.645 * left_by(whole, rows, target)
        spent = rows["C"].sum() / below["C"].sum()
        try:
            seen = forecast(stack(rows), N=held["N"].to_numpy(), D=held["D"].to_numpy())["loss"].to_numpy()
        except ScalingError:
            return f"{len(rows)} runs, {spent:.0%}: +-{half:.2%}, no forecast"
        return f"{len(rows)} runs, {spent:.0%}: +-{half:.2%}, {np.median(np.abs(np.log(seen / held['loss']))):.2%}"

    for share in (0.1, 0.2, 0.4):
        grid = even_rows(below, share * below["C"].sum())
        spent = float(below["C"][grid[:, 0]].sum())
        cells = [judged(grid)] if grid.any() else ["none"]
        for flops in (spent, spent / 2, spent / 4):
            try:
                found = design_runs(find_published(prior), target, flops, lattice, noise=whole.residual_sd, drift=0.0)
                cells.append(judged(found.chosen))
            except ScalingError:
                cells.append("no design")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def left_by(whole: Fit, rows: pd.DataFrame, target: Target) -> float:
    """The parameters' standard deviation at the target after these rows, under the law and the noise of the table."""
    params = np.array([whole.params[name] for name in whole.law.names])
    n, d = (rows[name].to_numpy(float) for name in ("N", "D"))
    known = prior_information(whole.law, params, float(np.exp(np.log(n).mean())), float(np.exp(np.log(d).mean())))
    known = known + grouped_information(
        sensitivities(whole.law, params, n, d), np.arange(len(n)), whole.residual_sd, 0.0
    )
    return float(np.sqrt(variance(known, target_gradient(whole.law, params, target)[0])))


def tables(folder: Path) -> dict[str, pd.DataFrame]:
    """The published tables that are replayed: one recipe or evaluation each, one row a size and horizon."""
    porian = read_table(folder / "porian2024_rw.csv.gz", where='experiment == "rw|tuned|short|const|standard|val"')
    gadre = read_table(folder / "gadre2024_c4.csv.gz", where='eval == "c4_val/shard-{0000000..0000010}.tar"')
    runs = read_table(folder / "li2025_misfitting.csv.gz")
    runs = runs[runs["step"] == runs["total_steps"]]
    return {
        "Porian 2024, tuned": porian,
        "Gadre 2024, C4": gadre,
        "Li 2025, best rate": runs.loc[runs.groupby(["model", "D"])["loss"].idxmin()],
        "Hoffmann 2022": read_table(folder / "hoffmann2022_besiroglu2024.csv.gz", where="epoch_outlier == 0"),
    }


def main() -> None:
    if "--replay" not in sys.argv:
        simulate()
    if len(sys.argv) > 1:
        print("\n| table | even grid: runs, FLOP: interval, error | designed | 1/2 | 1/4 |\n|---|---|---|---|---|")
        for name, table in tables(Path(sys.argv[1])).items():
            replay(name, table, "hoffmann2022" if "Hoffmann" in name else "besiroglu2024")


if __name__ == "__main__":
    main()
