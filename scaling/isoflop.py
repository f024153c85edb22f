"""compare_approaches(table) -> IsoFlop: the best size by the envelope, by parabolas and by a law, and where they part.

The three approaches of Hoffmann 2022 (arXiv:2203.15556, section 3) on one table of runs, each with its uncertainty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.costs import Cost, cost_named, cost_of_table
from scaling.errors import ScalingError
from scaling.fitting import fit
from scaling.intervals import Draws, bootstrap
from scaling.isoflop_budgets import (
    LOST,
    Budget,
    Curve,
    curves_of,
    envelope_of,
    find_budgets,
    parabola_of,
    redrawn,
    residuals_of,
)
from scaling.law import Law
from scaling.laws import find_law
from scaling.optima import Task, at_budget
from scaling.table import usable

Array = NDArray[np.float64]
TOLERANCE = 0.1
SHRUNK = 4.0  # a budget's own noise is judged as if it had this many more residuals of the common size
APPROACHES = ("envelope", "parabola", "law")
PAIRS = (("envelope", "parabola"), ("envelope", "law"), ("parabola", "law"))


@dataclass(frozen=True, eq=False)
class IsoFlop:
    """Best sizes by three approaches. Standard errors and intervals are of ln N over the resamples.

    table    the rows used; `budget` the C of the budget a row belongs to, missing where it belongs to none
    sizes    a row a budget and approach: C, approach, N, N_lo, N_hi, se, D
    growth   a row an approach: N grows as C^a and D as C^b; a, a_lo, a_hi, a_se, b, N and se at the middle budget
    apart    a row a pair of approaches and a budget, and one for the growth: gap, ln of the ratio of N (difference of
             a), and the same in combined standard errors
    refused  budgets without a best size: C, runs, sizes, why
    """

    table: pd.DataFrame
    budgets: tuple[Budget, ...]
    sizes: pd.DataFrame
    growth: pd.DataFrame
    apart: pd.DataFrame
    refused: pd.DataFrame
    draws: Draws
    level: float
    notes: tuple[str, ...]

    def report(self) -> str:
        """All of it in words and tables."""
        return "\n".join(_report(self))


def growth_exponent(C: Any, N: Any) -> float:
    """a of N = k C^a by least squares on logarithms: what a table of optima says of it."""
    return float(np.polyfit(np.log(np.asarray(C, dtype=float)), np.log(np.asarray(N, dtype=float)), 1)[0])


def compare_approaches(
    table: pd.DataFrame, *, law: Law | str = "chinchilla", tolerance: float = TOLERANCE, level: float = 0.9,
    resamples: int = 500, seed: int = 0,
) -> IsoFlop:  # fmt: skip
    """Best sizes of a table of runs (columns N, D, C, loss) by Hoffmann's three approaches.

    A budget is a window of C, a factor 1 + tolerance to either side. A parabola's resamples draw residuals of ln loss
    from all budgets, at a size between theirs and the budget's own; the envelope's add such noise to the runs (Porian
    2024, arXiv:2406.19146, does so for budgets) and keep its spread; the law's are its bootstrap. Where C is not 6 N D,
    the law's best size is taken under the cost that the table itself shows. Raises ScalingError without a budget,
    or without one that has a minimum.
    """
    if not 0 < tolerance < 1:
        raise ScalingError(f"tolerance is a share of the budget between 0 and 1, got {tolerance}")
    Task(find_law(law), cost_named("6ND"))  # refuses laws without a best size before anything is fitted
    kept, dropped = usable(table, {name: name for name in ("N", "D", "C", "loss")}, "the analysis of budgets")
    kept = kept.reset_index(drop=True)
    N, D, C, loss = (kept[name].to_numpy(float) for name in ("N", "D", "C", "loss"))
    groups = find_budgets(C, N, tolerance)
    if not groups:
        raise ScalingError(
            f"no budget: nowhere do 3 sizes lie within {tolerance:.0%} of one C. Give a wider tolerance, or fit a law"
        )
    rng = np.random.default_rng(seed)
    budgets = [parabola_of(rows, C, N, loss) for rows in groups]
    noise = {b.C: residuals_of(b, N, loss) for b in budgets if not b.refused}
    pool = np.concatenate([*noise.values(), np.empty(0)])
    notes = [f"{len(dropped)} rows dropped: {dropped['reason'].iloc[0]}, ..."] if len(dropped) else []
    if len(pool) < 3:
        why = "; ".join(f"{b.C:.3g}: {b.refused}" for b in budgets if b.refused)
        raise ScalingError(f"no budget with a minimum and a run to spare, so nothing can be said. {why}"[:600])
    drawn, judged = [], []
    for b in budgets:
        each = (
            redrawn(b, N, rng.choice(pool, (resamples, len(b.near)))) if not b.refused else np.full(resamples, np.nan)
        )
        lost = float(np.isnan(each).mean())
        if not b.refused and lost > LOST:
            b = Budget(**(vars(b) | {"refused": f"{lost:.0%} of resamples have no minimum: it is not told from noise"}))
        judged.append(b)
        drawn.append(each)
    good = [i for i, b in enumerate(judged) if not b.refused]
    if not good:
        raise ScalingError("no budget has a minimum: " + "; ".join(f"{b.C:.3g}: {b.refused}" for b in judged)[:500])
    at = np.log([judged[i].C for i in good])
    cost = _cost(kept)
    draws = bootstrap(fit(law, kept), resamples, seed=seed)
    own, every = {}, {}
    own["parabola"] = np.array([judged[i].log_n for i in good])
    every["parabola"] = np.array([drawn[i] for i in good]).T
    own["law"], every["law"] = _by_law(draws, cost, at)
    own["envelope"], every["envelope"] = _by_envelope(
        curves_of(C, N), loss, rng.choice(pool, (min(resamples, 200), len(kept))), at
    )
    if np.isnan(own["envelope"]).all():
        notes.append("no envelope: it needs 3 sizes of 2 horizons or more, and a best size between others")
    notes.append(f"{cost.said}; a budget is a factor of {1 + tolerance:g} to either side")
    sizes = _sizes(judged, good, own, every, level, N, D)
    growth, slopes = _growth(at, own, every, level)
    refused = [
        {"C": b.C, "runs": len(b.rows), "sizes": len(np.unique(np.round(np.log(N[b.rows]), 2))), "why": b.refused}
        for b in judged if b.refused
    ]  # fmt: skip
    kept["budget"] = np.nan
    for b in judged:
        kept.loc[b.rows, "budget"] = b.C
    return IsoFlop(
        kept, tuple(judged), sizes, growth, _apart(at, own, every, slopes),
        pd.DataFrame(refused, columns=["C", "runs", "sizes", "why"]), draws, level, tuple(notes),
    )  # fmt: skip


def _own_share(own: Array, pool: Array) -> float:
    """The size of a budget's noise over that of all: its own residuals, as many as they are, against SHRUNK of all."""
    total = float(np.mean(pool**2))
    spare = max(len(own) - 3, 0)
    mixed = (float(np.mean(own**2)) * spare + total * SHRUNK if spare else total * SHRUNK) / (spare + SHRUNK)
    return float(np.sqrt(mixed / total)) if total > 0 else 1.0


def _cost(table: pd.DataFrame) -> Cost:
    """6 N D where the table's C is that, else the power of N and D that C is."""
    off = np.abs(np.log(table["C"] / (6 * table["N"] * table["D"])))
    return cost_named("6ND") if off.max() < 0.01 else cost_of_table(table)


def _by_law(draws: Draws, cost: Cost, at: Array) -> tuple[Array, Array]:
    task = Task(draws.fit.law, cost)
    row = np.array([[draws.fit.params[name] for name in draws.fit.law.names]])
    with np.errstate(all="ignore"):
        both = [np.log([at_budget(task, p, np.exp(c)).N for c in at]).T for p in (row, draws.params)]
    return both[0][0], both[1]


def _by_envelope(curves: list[Curve], loss: Array, noise: Array, at: Array) -> tuple[Array, Array]:
    """The straight line through the envelope, read at the budgets inside its range; and the same with noise added."""

    def line(losses: Array) -> Array:
        x, y = envelope_of(curves, losses)
        if len(np.unique(y)) < 2:
            return np.full(len(at), np.nan)
        slope, level = np.polyfit(x, y, 1)
        return np.where((at > x[0] - 0.7) & (at < x[-1] + 0.7), level + slope * at, np.nan)

    own, every = line(loss), np.array([line(loss * np.exp(e)) for e in noise])
    known = np.isfinite(every).any(0)
    middle = np.full(len(at), np.nan)
    middle[known] = np.nanmedian(every[:, known], axis=0)
    return own, every - middle + own  # a least of noisy losses drifts with the noise: its spread is kept, not its drift


def _sizes(
    budgets: list[Budget], good: list[int], own: dict[str, Array], every: dict[str, Array], level: float, N: Array,
    D: Array,
) -> pd.DataFrame:  # fmt: skip
    tail, rows = (1 - level) / 2, []
    for j, i in enumerate(good):
        b = budgets[i]
        order = np.argsort(N[b.rows])
        for name in APPROACHES:
            each = every[name][:, j]
            lo, hi = _quantiles(each, tail)
            d = np.exp(np.interp(own[name][j], np.log(N[b.rows])[order], np.log(D[b.rows])[order]))
            rows.append(
                {"C": b.C, "approach": name, "N": np.exp(own[name][j]), "N_lo": np.exp(lo), "N_hi": np.exp(hi),
                 "se": _se(each), "D": d}
            )  # fmt: skip
    return pd.DataFrame(rows)


def _growth(
    at: Array, own: dict[str, Array], every: dict[str, Array], level: float
) -> tuple[pd.DataFrame, dict[str, tuple[float, Array]]]:
    """Power laws through the budgets of each approach, weighted by their precision; slopes of the resamples besides."""
    columns = ["approach", "budgets", "a", "a_lo", "a_hi", "a_se", "b", "C", "N", "se"]
    rows, slopes = [], {}
    middle = float(at.mean())
    for name in APPROACHES:
        se = np.array([_se(every[name][:, j]) for j in range(len(at))])
        known = np.isfinite(own[name]) & np.isfinite(se)
        if known.sum() < 2:
            continue
        weight = 1 / np.maximum(se[known], 1e-6)
        whole = every[name][np.isfinite(every[name][:, known]).all(1)][:, known]
        lines = np.polyfit(at[known] - middle, np.vstack([own[name][known], whole]).T, 1, w=weight)
        lo, hi = _quantiles(lines[0, 1:], (1 - level) / 2)
        slopes[name] = (float(lines[0, 0]), lines[0, 1:])
        rows.append(
            dict(zip(columns, (name, int(known.sum()), lines[0, 0], lo, hi, _se(lines[0, 1:]), 1 - lines[0, 0],
                               np.exp(middle), np.exp(lines[1, 0]), _se(lines[1, 1:])), strict=True))
        )  # fmt: skip
    return pd.DataFrame(rows, columns=columns), slopes


def _apart(
    at: Array, own: dict[str, Array], every: dict[str, Array], slopes: dict[str, tuple[float, Array]]
) -> pd.DataFrame:
    rows = []
    for first, second in PAIRS:
        for j, c in enumerate(at):
            se = np.hypot(_se(every[first][:, j]), _se(every[second][:, j]))
            gap = own[first][j] - own[second][j]
            rows.append({"what": "ln N", "C": np.exp(c), "pair": f"{first} - {second}", "gap": gap, "in_se": gap / se})
        if first in slopes and second in slopes:
            gap = slopes[first][0] - slopes[second][0]
            se = np.hypot(_se(slopes[first][1]), _se(slopes[second][1]))
            rows.append({"what": "a", "C": np.nan, "pair": f"{first} - {second}", "gap": gap, "in_se": gap / se})
    return pd.DataFrame(rows)


def _se(values: Array) -> float:
    known = values[np.isfinite(values)]
    if len(known) < 10:
        return np.nan
    lo, hi = np.quantile(known, [0.1587, 0.8413])
    return float(hi - lo) / 2


def _quantiles(values: Array, tail: float) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    return (float(np.quantile(known, tail)), float(np.quantile(known, 1 - tail))) if len(known) else (np.nan, np.nan)


def _report(found: IsoFlop) -> list[str]:
    wide = found.sizes.pivot(index="C", columns="approach", values=["N", "N_lo", "N_hi"])
    runs = {b.C: len(b.rows) for b in found.budgets}
    gaps = found.apart[found.apart["what"] == "ln N"].pivot(index="C", columns="pair", values="in_se")
    shown = pd.DataFrame({"C": [f"{c:.3g}" for c in wide.index], "runs": [runs[c] for c in wide.index]})
    for name in APPROACHES:
        shown[f"N by {name}"] = [
            f"{wide['N'][name][c]:.3g} ({wide['N_lo'][name][c]:.3g} .. {wide['N_hi'][name][c]:.3g})" for c in wide.index
        ]
    for pair in gaps:
        shown[pair] = [f"{v:+.1f}" for v in gaps[pair]]
    lines = [f"best N by budget, {found.level:.0%} intervals, and how far apart in standard errors", ""]
    lines += [shown.replace(r"nan.*", "-", regex=True).to_string(index=False), "", "N = k C^a, D ~ C^b"]
    few = "fewer than two budgets have a best size, so none says how it grows"
    lines.append(found.growth.to_string(index=False, float_format=lambda v: f"{v:.4g}") if len(found.growth) else few)
    for row in found.apart[found.apart["what"] == "a"].to_dict("records"):
        lines.append(f"a, {row['pair']}: {row['gap']:+.3f} ({row['in_se']:+.1f} standard errors)")
    refused = [f"refused: C = {r['C']:.3g} ({r['runs']} runs): {r['why']}" for r in found.refused.to_dict("records")]
    outside = int(found.table["budget"].isna().sum())
    more = [f"{outside} of {len(found.table)} runs belong to no budget; the envelope and the law read them"] * (
        outside > 0
    )
    return [*lines, *refused, *more, *found.notes]
