"""The schedule of least predicted loss at fixed steps, and what a law must not be asked.

A schedule is a linear warm-up and straight lines between knots that stand ever closer towards the end, where decays
bend. The loss at its end and its gradient by the knots come from the law's own equation (`scaling.ending`). A search
finds whatever a law gets wrong, so a law that credits steps at learning rate 0 is refused: see `exploits`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.ending import Ending, loss_at
from scaling.errors import ScalingError
from scaling.law import Law
from scaling.reverse import Traced
from scaling.schedule import COOLDOWNS, constant, cosine, wsd
from scaling.trajectory import Trajectory

Array = NDArray[np.float64]

KNOTS = 80
WIDTH = 0.015  # width of a cell over its distance from the end, and from the start
LOSS = 1e4  # what losses are multiplied by in searches: they end at differences of 1e-8
CREDIT = 1e-3  # nats/token by which steps at rate 0 may lower a prediction before the law is refused


def _standard() -> dict[str, Callable[[int, float, int], Array]]:
    def cooled(percent: int, shape: str) -> Callable[[int, float, int], Array]:
        return lambda steps, peak, warmup: wsd(steps, peak, warmup, min(steps * percent // 100, steps - warmup), shape)

    found: dict[str, Callable[[int, float, int], Array]] = {
        "cosine to 0": cosine,
        "cosine to 10%": lambda steps, peak, warmup: cosine(steps, peak, warmup, 0.1),
    }
    return found | {f"wsd {c}% {shape}": cooled(c, shape) for c in (10, 20, 40) for shape in COOLDOWNS}


#: Standard schedules, functions (steps, peak, warmup); the cooldowns of wsd are in percent of all steps.
STANDARD = _standard()
CREDITS = "it credits steps at learning rate 0: its optimum is a jump to 0"
NEVER = {
    "tissue": CREDITS,
    "tissue_sizes": CREDITS,
    "area_power": "it does not know when learning rate was spent, and never decays it",
}


@dataclass(frozen=True, eq=False)
class Grid:
    """Schedules of `steps` updates by their rates at knots `at`, the first at the end of the warm-up.

    middle, fall  (m, n): rates at the knots to the rate in the middle of each cell, and to its fall
    """

    steps: int
    warmup: int
    at: NDArray[np.int64]
    middle: Array
    fall: Array
    count: Array

    def rates(self, values: Array) -> Array:
        """The learning rate of every update from those at the knots, (T,)."""
        return _lines(np.arange(self.steps), self.at, self.warmup) @ values

    def loss(
        self, law: Law, params: Mapping[str, float], values: Array, sizes: Mapping[str, float]
    ) -> tuple[float, Array]:
        """Loss at the end, and its gradient by the rates at the knots."""
        given = Traced(values)
        loss = loss_at(law, params, Ending(given.through(self.middle), given.through(self.fall), self.count), sizes)
        return float(loss.value.sum()), loss.gradient(given)[0]


def grid(steps: int, warmup: int, knots: int = KNOTS) -> Grid:
    """Knots and cells for schedules of so many updates. Raises ScalingError where there is nothing to choose."""
    if not 0 <= warmup < steps - 1:
        raise ScalingError(f"warmup must lie between 0 and steps - 2 = {steps - 2}, got {warmup}")
    if knots < 4:
        raise ScalingError(f"a schedule needs at least 4 knots to have a shape, got {knots}")
    first = max(warmup - 1, 0)
    rest = np.linspace(1.0, 0.0, knots) ** 3  # what is left of the run: spacing goes as its 2/3rd power
    at = np.unique(np.round(steps - 1 - rest * (steps - 1 - first)).astype(int))
    edges = [0]
    while edges[-1] < steps:
        k = edges[-1]
        edges.append(k + max(1, int(WIDTH * min(k, steps - k))))
    cuts = np.unique(np.concatenate([[e for e in edges if e < steps], at + 1, [steps]]))
    begin, end = cuts[:-1], cuts[1:]
    before = _lines(np.maximum(begin - 1, 0), at, warmup)
    fall = before - _lines(end - 1, at, warmup)
    return Grid(steps, warmup, at, _lines(0.5 * (begin + end - 1), at, warmup), fall, (end - begin).astype(float))


def _lines(x: Any, at: NDArray[np.int64], warmup: int) -> Array:
    """Weights (len(x), n) of the knots at the updates x."""
    x = np.asarray(x, dtype=float)
    right = np.clip(np.searchsorted(at, x, side="left"), 1, len(at) - 1)
    share = np.clip((x - at[right - 1]) / (at[right] - at[right - 1]), 0.0, 1.0)
    weight = np.zeros((len(x), len(at)))
    rows = np.arange(len(x))
    weight[rows, right - 1] = 1 - share
    weight[rows, right] += share
    rising = x < at[0]
    weight[rising, 0] = (x[rising] + 1) / max(warmup, 1)
    return weight


@dataclass(frozen=True, eq=False)
class Choice:
    """Which schedules are searched: rates up to `peak`, a number or (least, greatest) where the peak is free too.

    monotone  the rate never rises after the warm-up, which ends at the peak; else any rates from 0 to the peak
    """

    grid: Grid
    peak: tuple[float, float]
    monotone: bool = True

    def values(self, u: Array) -> Array:
        """Rates at the knots from a point of the search."""
        peak = self._peak(u)
        return peak * (_falling(u[1:]) if self.monotone else u[1:])

    def _peak(self, u: Array) -> float:
        lo, hi = self.peak
        return float(lo * (hi / lo) ** u[0])

    def pulled(self, u: Array, slope: Array) -> Array:
        """Derivatives by the point of the search from those by the rates at the knots."""
        lo, hi = self.peak
        values, peak = self.values(u), self._peak(u)
        if self.monotone:
            x = values / peak
            own = peak * (np.cumsum(slope) - slope @ x) / u[1:].sum()
        else:
            own = peak * slope
        return np.append(slope @ values * np.log(hi / lo), own)

    def start(self, shape: Array, peak: float) -> Array:
        """The point of the search whose rates, relative to `peak`, are `shape`."""
        lo, hi = self.peak
        first = np.log(peak / lo) / np.log(hi / lo) if hi > lo else 0.0
        steps = -np.diff(np.append(shape, 0.0)) if self.monotone else shape
        return np.append(first, np.maximum(steps, 0.0))


def _falling(falls: Array) -> Array:
    return falls[::-1].cumsum()[::-1] / falls.sum()


@dataclass(frozen=True, eq=False)
class Best:
    """Where searches ended: rates at the knots, loss there, and the loss that each start led to."""

    grid: Grid
    values: Array
    loss: float
    ends: tuple[float, ...]

    @property
    def lr(self) -> Array:
        return np.clip(self.grid.rates(self.values), 0.0, None)


def best_schedule(
    law: Law,
    params: Mapping[str, float],
    choice: Choice,
    sizes: Mapping[str, float],
    shapes: Sequence[Array] = (),
    evaluations: int = 400,
) -> Best:
    """The schedule of least loss at the end under one set of parameters, from several starts.

    shapes  where to start: rates at the knots relative to the peak; by default three decays
    """
    from scipy.optimize import minimize

    points = choice.grid
    if not len(shapes):
        run = (points.at - points.at[0]) / (points.at[-1] - points.at[0])
        shapes = [np.minimum(1.0, (1.0 - run) / part) ** power for part, power in ((0.2, 1.0), (0.4, 1.0), (0.9, 1.5))]
    lo, hi = choice.peak

    def objective(u: Array) -> tuple[float, Array]:
        loss, slope = points.loss(law, params, choice.values(u), sizes)
        return LOSS * loss, LOSS * choice.pulled(u, slope)

    bounds = [(0.0, 1.0 if hi > lo else 0.0)] + [(0.0, 1.0)] * len(points.at)
    found, ends = None, []
    for shape in shapes:
        start = choice.start(0.001 + 0.999 * np.asarray(shape), np.sqrt(lo * hi))
        options = {"maxfun": evaluations, "maxiter": evaluations, "ftol": 1e-13, "gtol": 1e-5, "maxcor": 30}
        with np.errstate(all="ignore"):
            end = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        ends.append(float(end.fun) / LOSS)
        if found is None or end.fun < found.fun:
            found = end
    assert found is not None
    return Best(points, choice.values(found.x), float(found.fun) / LOSS, tuple(ends))


def ends_of(law: Law, params: Mapping[str, Any], lrs: Sequence[Array], sizes: Mapping[str, Any]) -> Array:
    """Losses at the ends of schedules (m,), or (B, m) under parameters of shape (B, 1)."""
    ends = Trajectory(tuple(lrs), tuple(np.array([len(lr) - 1]) for lr in lrs))
    inputs = [np.broadcast_to(np.asarray(sizes[name], dtype=float), (len(lrs),)) for name in law.inputs[1:]]
    with np.errstate(all="ignore"):
        return np.asarray(law.function(ends, *inputs, **params), dtype=float)


def exploits(
    law: Law, params: Mapping[str, float], lrs: Mapping[str, Array], sizes: Mapping[str, float]
) -> tuple[float, str]:
    """By how much at most steps at learning rate 0, put behind schedules, lower the prediction; and where.

    Such steps change no weight, so a law must predict no change; after a constant rate they are a hard drop to 0.
    """
    worst, where = 0.0, ""
    for name, lr in lrs.items():
        counts = sorted({max(1, round(share * len(lr))) for share in (0.01, 0.05, 0.2)})
        padded = [lr, *(np.append(lr, np.zeros(n)) for n in counts)]
        losses = ends_of(law, params, padded, sizes)
        least = int(np.nanargmin(losses))
        if losses[0] - losses[least] > worst:
            worst, where = float(losses[0] - losses[least]), f"{counts[least - 1]} such steps after {name}"
    return worst, where


def refusal(
    law: Law, params: Mapping[str, float], steps: int, peak: float, warmup: int, sizes: Mapping[str, float]
) -> str:
    """In words, why this law with these parameters must not choose schedules; empty where it may."""
    if law.name in NEVER:
        return f"{law.name} must not choose schedules: {NEVER[law.name]}. Fit ncl to the same curves"
    sharp = {"mpl": "gamma", "mpl_rises": "gamma", "mpl_tied": "beta"}.get(law.name)
    if sharp and params[sharp] > 0.98:
        return (
            f"{law.name} with {sharp} = {params[sharp]:.3g} must not choose schedules: from 1 on, a drop of the "
            "learning rate to 0 is credited in full at once. Fit ncl to the same curves"
        )
    if sharp and not 1e-4 < params["C"] < 1e5:
        return (
            f"{law.name} with C = {params['C']:.3g} at its bound must not choose schedules: how fast a drop of the "
            "learning rate acts is then unknown. Fit ncl to the same curves, or curves with other decays"
        )
    standard = {
        "a constant rate": constant(steps, peak, warmup),
        "a linear decay to 10%": wsd(steps, peak, warmup, (steps - warmup) // 5, "linear", 0.1),
    }
    credit, where = exploits(law, params, standard, sizes)
    if credit <= CREDIT:
        return ""
    return (
        f"{law.name} must not choose schedules: steps at learning rate 0 change no weight, but {where} lower its "
        f"prediction by {credit:.2g} nats/token, and a search would find that. Fit ncl to the same curves"
    )
