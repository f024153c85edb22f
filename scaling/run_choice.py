"""A choice among runs that could be trained: what it is worth to a target, what it costs, and how one is found.

A choice is a mask over the lattice's shapes and horizons; functions take many at once, (..., shapes, horizons).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.errors import ScalingError
from scaling.information import of_sums, variance
from scaling.lattice import Lattice

Array = NDArray[np.float64]
Chosen = NDArray[np.bool_]
RUNS, SIZES, SPAN, HORIZONS = 8, 4, 8.0, 3  # the least that a design holds: see `spread_enough`
SWAPS = 8  # passes of exchange


@dataclass(frozen=True, eq=False)
class Worth:
    """What a choice is scored by: the variance of ln target that it leaves."""

    lattice: Lattice
    J: Array  # (shapes, horizons, p)
    gradient: Array
    known: Array  # information held before
    noise: float
    shared: float
    drift: float
    aimed: float  # 6 N D of the target; 0 where distance does not count
    largest: float  # of the rows that are already there

    def score(self, chosen: Chosen) -> Array:
        """Variance of ln target left by choices (..., shapes, horizons), drift included."""
        return self.parameters(chosen) + self.distance(chosen) ** 2

    def parameters(self, chosen: Chosen) -> Array:
        """The part of the law's parameters."""
        products = np.einsum("...gh,ghi,ghj->...gij", chosen.astype(float), self.J, self.J)
        sums = np.einsum("...gh,ghi->...gi", chosen.astype(float), self.J)
        each = of_sums(products, sums, chosen.sum(-1).astype(float), self.noise, self.shared)
        return variance(self.known + each.sum(-3), self.gradient)

    def distance(self, chosen: Chosen) -> Array:
        """The standard deviation that drift adds beyond the largest run."""
        reach = np.maximum(np.where(chosen, self.lattice.C, 0.0).max((-1, -2)), self.largest)
        with np.errstate(divide="ignore"):
            decades = np.maximum(np.log10(self.aimed) - np.log10(reach), 0.0) if self.aimed else np.zeros(reach.shape)
        return np.asarray(self.drift * np.where(np.isfinite(decades), decades, 0.0))

    def price(self, chosen: Chosen) -> Array:
        return self.lattice.price(chosen).sum(-1)

    def parts(self, chosen: Chosen) -> dict[str, float]:
        parameters, distance = float(np.sqrt(self.parameters(chosen))), float(self.distance(chosen))
        scatter = self.noise if self.aimed else 0.0
        total = float(np.sqrt(parameters**2 + scatter**2 + distance**2))
        return {"parameters": parameters, "scatter": scatter, "distance": distance, "total": total}


def spread_enough(lattice: Lattice, chosen: Chosen) -> Any:
    """Whether choices (..., shapes, horizons) hold 8 runs, 4 sizes a factor of 8 apart and 3 numbers of tokens a
    parameter: what a forecast and its rehearsal ask for, whatever the law believes."""
    sizes, horizons = chosen.any(-1), chosen.any(-2)
    n = lattice.N
    top = np.where(sizes, n, -np.inf).max(-1)
    bottom = np.where(sizes, n, np.inf).min(-1)
    span = min(SPAN, float(n.max() / n.min()))
    return (
        (chosen.sum((-1, -2)) >= min(RUNS, chosen[..., :, :].shape[-1] * len(n)))
        & (sizes.sum(-1) >= min(SIZES, len(n)))
        & (top >= span * bottom * 0.999)
        & (horizons.sum(-1) >= min(HORIZONS, chosen.shape[-1]))
    )


def even_choice(lattice: Lattice, flops: float, sizes: int = 5) -> Chosen | None:
    """An even grid in logarithms: `sizes` shapes by four horizons, the largest shape as large as the budget allows.

    None where it allows no such grid.
    """
    best = None
    columns = np.unique(np.linspace(0, lattice.D.shape[1] - 1, 4).round().astype(int))
    for top in range(sizes - 1, len(lattice.shapes)):
        chosen = np.zeros(lattice.D.shape, bool)
        rows = np.unique(np.linspace(0, top, sizes).round().astype(int))
        chosen[np.ix_(rows, columns)] = True
        if lattice.price(chosen).sum() <= flops:
            best = chosen
    return best


def cheap_spread(worth: Worth, flops: float) -> Chosen:
    """A cheap choice with spread enough: the cheapest runs that add what it lacks, the span of sizes first."""
    lattice = worth.lattice
    n, alone, horizons = lattice.N, lattice.alone(), lattice.D.shape[1]
    order = np.argsort(alone, axis=None, kind="stable")
    chosen = np.zeros(lattice.D.shape, bool)
    chosen.flat[order[0]] = True
    first = n[int(order[0]) // horizons]
    far = np.maximum(n / first, first / n) >= min(SPAN, float(n.max() / n.min())) * 0.999
    lacks: list[Callable[[Any, Any], Any]] = [
        lambda row, column: far[row] & (not chosen[far].any()),
        lambda row, column: ~_held(chosen, 1)[row] & (_held(chosen, 1).sum() < min(SIZES, len(n))),
        lambda row, column: ~_held(chosen, 0)[column] & (_held(chosen, 0).sum() < min(HORIZONS, horizons)),
        lambda row, column: np.full(len(row), int(chosen.sum()) < min(RUNS, chosen.size)),
    ]
    for lacking in lacks:
        while not spread_enough(lattice, chosen):
            left = order[~chosen.ravel()[order]]
            useful = left[lacking(left // horizons, left % horizons)]
            if not len(useful):
                break
            chosen.flat[useful[0]] = True
    price = float(worth.price(chosen))
    if price > flops:
        raise ScalingError(
            f"the least spread of runs (4 sizes over a factor of 8, 3 horizons, 8 runs) costs {price:.3g} FLOP from "
            f"N = {n.min():.3g} up, and the budget is {flops:.3g}: allow smaller sizes or fewer tokens a parameter"
        )
    return chosen


def greedy(worth: Worth, chosen: Chosen, flops: float, most: int, by_price: bool) -> Chosen:
    """Add runs one at a time: the one that lowers ln variance most, or most for each FLOP, while the budget lasts."""
    chosen = chosen.copy()
    while chosen.sum() < most:
        options, at = _with_each(chosen)
        if not len(at):
            break
        score, price = worth.score(options), worth.price(options)
        gain = np.log(float(worth.score(chosen))) - np.log(score)
        each = np.where(price <= flops, gain / (price - float(worth.price(chosen)) if by_price else 1.0), -np.inf)
        best = int(np.argmax(each))
        if not (np.isfinite(each[best]) and gain[best] > 1e-4):
            break
        chosen.flat[at[best]] = True
    return chosen


def exchanged(worth: Worth, chosen: Chosen, flops: float) -> Chosen:
    """Take each run out and put the best in its place, while that narrows the interval, keeps the spread and can be
    paid."""
    chosen = chosen.copy()
    for _ in range(SWAPS):
        before = float(worth.score(chosen))
        for out in np.flatnonzero(chosen):
            without = chosen.copy()
            without.flat[out] = False
            options, _ = _with_each(without)
            fits = (worth.price(options) <= flops) & spread_enough(worth.lattice, options)
            if not fits.any():
                continue
            score = np.where(fits, worth.score(options), np.inf)
            best = int(np.argmin(score))
            if score[best] < float(worth.score(chosen)) * (1 - 1e-6):
                chosen = options[best]
        if float(worth.score(chosen)) > before * (1 - 1e-3):
            break
    return chosen


def _with_each(chosen: Chosen) -> tuple[Chosen, NDArray[np.int64]]:
    """The choice with each run that it lacks, and which that is."""
    at = np.flatnonzero(~chosen)
    options = np.repeat(chosen[None], len(at), 0)
    options.reshape(len(at), -1)[np.arange(len(at)), at] = True
    return options, at


def _held(chosen: Chosen, axis: int) -> Chosen:
    """Which shapes (axis 1) or horizons (axis 0) have a run."""
    return np.asarray(chosen.any(axis))
