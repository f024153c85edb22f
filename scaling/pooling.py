"""Sums over the past of a schedule, sum over updates k <= t of f(lr_k, S(k), S(t) - S(k-1)), in O(log t) terms a row.

Laws that convolve the learning rate with a power-law memory need such a sum at every logged row; written out, that is
one term an update. Here updates far from a row are pooled. Updates stand in a binary tree of neighbours; a group
serves a row whole when it is narrow beside its distance, in S, from the row and from the start, and the learning rate
hardly changes in it; else its halves are tried. The criterion is in S and not in steps, so a drop of the learning rate,
after which all of the past lies close by, asks for fine groups by itself. A group is replaced by the two points that
have its first four moments (Gauss quadrature of its own weights); ln lr is carried to them by its regression on S.

Error: with f a product of powers, a group of half-width h at distance d is off by about q(q+1)(q+2)(q+3) / 135 (h/d)^4
of its own share at exponent -q, 1e-5 at RATIO, and all groups together by less, for most are narrower: see the test
that holds sums to 3e-6 of the loss against `exact`, for schedules with jumps, cooldowns to 0 and re-warming.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scaling.knots import Between

Array = NDArray[np.float64]
Kind = Literal["updates", "drops", "all drops", "drops by step"]

RATIO = 0.15  # largest half-width of a group over its distance from the row
ORIGIN = 0.3  # the same over its distance from the start: S^-s is gentler, and early updates weigh little
RANGE = 0.25  # largest range of ln lr within a group
LEAF = 8  # updates in the smallest group; fewer are taken one by one
LEAST = 1e-12  # learning rate, relative to the peak, that stands for 0 in logarithms


@dataclass(frozen=True, eq=False)
class Past:
    """What lies behind n rows: g terms a row, flat arrays of shape (n * g,), rows that have fewer padded with count 0.

    count  how many updates a term stands for; of drops, their size lr_{k-1} - lr_k, negative where the rate rises
    lag    S(t) - S(k-1): the learning rates from update k to the row, summed
    lr     learning rate of update k
    area   S(k)
    """

    rows: int
    count: Array
    lag: Array
    lr: Array
    area: Array
    between: Between | None = None

    @cached_property
    def logs(self) -> tuple[Array, Array, Array]:
        """ln of lag, lr and area."""
        return np.log(self.lag), np.log(self.lr), np.log(self.area)

    @cached_property
    def linear(self) -> Array:
        """Columns (n, g, 4) for `moments`: counts times 1, x, y, z, the logarithms of lag, lr and area."""
        return self._columns([np.ones_like(self.lag), *self.logs])

    @cached_property
    def quadratic(self) -> Array:
        """Columns (n, g, 6) for `moments`: counts times x^2, x y, y^2, z^2, z x, z y."""
        x, y, z = self.logs
        return self._columns([x * x, x * y, y * y, z * z, z * x, z * y])

    def _columns(self, every: list[Array]) -> Array:
        return (np.stack(every, 1) * self.count[:, None]).reshape(self.rows, -1, len(every))

    @cached_property
    def _counts(self) -> Array:
        return self.count.reshape(self.rows, -1)

    def sum(self, values: Array) -> NDArray:
        """Sum of count * values (..., n * g) over each row's terms: (..., n)."""
        by_row = values.reshape(*values.shape[:-1], self.rows, -1)
        return self._spread(np.einsum("...ng,ng->...n", by_row, self._counts))

    def moments(self, values: Array, columns: Array) -> Array:
        """Sums of values (B, n * g) times columns (n, g, m) over each row's terms, (m, B, n). Columns carry counts."""
        by_row = values.reshape(len(values), self.rows, -1).transpose(1, 0, 2)
        return self._spread(np.matmul(by_row, columns).transpose(2, 1, 0))

    def _spread(self, sums: NDArray) -> NDArray:
        return sums if self.between is None else self.between(sums)


def past(lr: Array, steps: NDArray[np.int64], kind: Kind, exact: bool = False) -> Past:
    """The past of the rows at `steps` (n,) of one schedule `lr` (T,).

    kind: "updates" counts every update at a rate above 0; "drops" counts changes of the rate after the warm-up, "all
    drops" those of the warm-up too, all of which are rises; "drops by step" are all drops with steps in place of S, so
    that a lag is the steps from an update to the row, 1 for the row's own. `exact` makes every update a term of its
    own.
    """
    pace = np.ones_like(lr) if kind == "drops by step" else lr
    area = np.cumsum(pace)
    floor = LEAST * pace.max()
    if kind == "updates":
        at = np.flatnonzero(lr > 0)
        groups = [_terms(lr, area, steps, at, lr[at] ** 2, 1.0, floor, exact)]
    else:
        fall = np.zeros_like(lr)
        fall[1:] = lr[:-1] - lr[1:]
        if kind == "drops":
            fall[: warmup_of(lr) + 1] = 0.0
        groups = []
        for sign in (1.0, -1.0):  # a pool of rises and drops has no centre
            at = np.flatnonzero(fall * sign > 0)
            groups.append(_terms(pace, area, steps, at, fall[at] * sign, sign, floor, exact))
    rows = np.concatenate([g[0] for g in groups])
    order = np.argsort(rows, kind="stable")
    count, at_area, rate = (np.concatenate([g[i] for g in groups])[order] for i in (1, 2, 3))
    if kind == "updates":
        count = count / rate**2
    return _padded(len(steps), rows[order], count, at_area, rate, area[steps])


def warmup_of(lr: Array) -> int:
    """Index of the update at which the first rise of the learning rate ends: the warm-up's last."""
    change = np.diff(lr)
    falls = np.flatnonzero(change < 0)
    rises = np.flatnonzero(change[: falls[0] if len(falls) else None] > 0)
    return int(rises[-1]) + 1 if len(rises) else 0


def joined(parts: list[Past], between: Between | None = None) -> Past:
    """The pasts of several schedules' rows, laid end to end; `between` leads from them to more rows."""
    width = max(len(p.count) // p.rows for p in parts)
    fields: list[Array] = []
    for name, fill in (("count", 0.0), ("lag", 1.0), ("lr", 1.0), ("area", 1.0)):
        blocks = []
        for p in parts:
            own = getattr(p, name).reshape(p.rows, -1)
            blocks.append(np.pad(own, ((0, 0), (0, width - own.shape[1])), constant_values=fill))
        fields.append(np.concatenate(blocks).ravel())
    count, lag, lr, area = fields
    return Past(sum(p.rows for p in parts), count, lag, lr, area, between)


def _padded(rows: int, row: NDArray[np.int64], count: Array, before: Array, rate: Array, reached: Array) -> Past:
    """Terms sorted by row as a rectangle. before: S(k-1) of the terms; reached: S(t) of the rows."""
    sizes = np.bincount(row, minlength=rows)
    width = max(int(sizes.max(initial=0)), 1)
    place = np.arange(len(row)) - np.repeat(np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes)
    flat = row * width + place
    counts, lags, rates, areas = np.zeros(rows * width), *(np.ones(rows * width) for _ in range(3))
    counts[flat], rates[flat] = count, rate
    lags[flat] = np.maximum(reached[row] - before, rate)  # differences of sums lose the digits of a tiny rate
    areas[flat] = before + rate
    return Past(rows, counts, lags, rates, areas)


@dataclass(frozen=True, eq=False)
class _Level:
    """Groups of neighbours: weight, mean of S(k-1), variance, third moment, mean of ln lr and its covariance
    with S(k-1), first and last S(k-1), least and largest ln lr."""

    weight: Array
    mean: Array
    variance: Array
    third: Array
    log_lr: Array
    slope: Array
    first: Array
    last: Array
    low: Array
    high: Array


def _terms(
    lr: Array, area: Array, steps: NDArray[np.int64], at: NDArray[np.int64], weight: Array, sign: float,
    floor: float, exact: bool,
) -> tuple[NDArray[np.int64], Array, Array, Array]:  # fmt: skip
    """Row, signed weight, S(k-1) and learning rate of every term, for sources at the updates `at`."""
    if not len(at) or not len(steps):
        return np.empty(0, int), np.empty(0), np.empty(0), np.empty(0)
    before = area[at] - lr[at]
    log_lr = np.log(np.maximum(lr[at], floor))
    behind = np.searchsorted(at, steps, side="right")  # sources a row has behind it
    if exact:
        rows = np.repeat(np.arange(len(steps)), behind)
        own = np.arange(len(rows)) - np.repeat(np.cumsum(behind) - behind, behind)
        return rows, sign * weight[own], before[own], np.exp(log_lr[own])
    levels = _tree(before, weight, log_lr)
    reached = area[steps]
    rows, blocks = np.arange(len(steps)), np.zeros(len(steps), int)
    found = []
    for height in range(len(levels) - 1, -1, -1):
        level, size = levels[height], LEAF << (height - 1) if height else 1
        keep = blocks * size < behind[rows]
        rows, blocks = rows[keep], blocks[keep]
        if height == 0:
            found.append((rows, sign * level.weight[blocks], level.mean[blocks], np.exp(level.log_lr[blocks])))
            break
        half, centre = 0.5 * (level.last - level.first), 0.5 * (level.last + level.first)
        smooth = (half <= ORIGIN * (centre + np.exp(level.log_lr))) & (level.high - level.low <= RANGE)
        whole = smooth[blocks] & ((blocks + 1) * size <= behind[rows]) & (level.weight[blocks] > 0)
        whole &= half[blocks] <= RATIO * (reached[rows] - centre[blocks])
        found += _two_points(level, rows[whole], blocks[whole], sign)
        parts = 2 if height > 1 else LEAF
        rows = np.repeat(rows[~whole], parts)
        blocks = (parts * blocks[~whole][:, None] + np.arange(parts)).ravel()
    row, count, mean, rate = (np.concatenate([f[i] for f in found]) for i in range(4))
    kept = count != 0
    return row[kept], count[kept], mean[kept], rate[kept]


def _tree(before: Array, weight: Array, log_lr: Array) -> list[_Level]:
    """Single sources, then groups of LEAF, 2 LEAF, ... neighbours; an odd one is paired with one of no weight."""
    zero = np.zeros_like(before)
    levels = [_Level(weight, before, zero, zero, log_lr, zero, before, before, log_lr, log_lr)]
    if len(before) > 1:
        levels.append(_leaves(before, weight, log_lr))
    while len(levels[-1].weight) > 1:
        levels.append(_paired(levels[-1]))
    return levels


def _leaves(before: Array, weight: Array, log_lr: Array) -> _Level:
    spare = -len(before) % LEAF
    w = np.append(weight, np.zeros(spare)).reshape(-1, LEAF)
    x, e = (np.append(a, np.full(spare, a[-1])).reshape(-1, LEAF) for a in (before, log_lr))
    total = w.sum(1)
    w = w / total[:, None]
    away = x - x[:, :1]
    shift = (w * away).sum(1)
    mean_e = (w * e).sum(1)
    away -= shift[:, None]
    square = w * away * away
    slope = (w * away * (e - mean_e[:, None])).sum(1)
    ends = (x[:, 0], x[:, -1], e.min(1), e.max(1))
    return _Level(total, x[:, 0] + shift, square.sum(1), (square * away).sum(1), mean_e, slope, *ends)


def _paired(level: _Level) -> _Level:
    fields = [level.weight, level.mean, level.variance, level.third, level.log_lr, level.slope]
    fields += [level.first, level.last, level.low, level.high]
    if len(level.weight) % 2:
        fields = [np.append(f, 0.0 if i == 0 else f[-1]) for i, f in enumerate(fields)]
    left, right = ([f[side::2] for f in fields] for side in (0, 1))
    total = left[0] + right[0]
    a = np.where(total > 0, left[0] / np.where(total > 0, total, 1.0), 0.5)
    b = 1 - a
    mean, log_lr = a * left[1] + b * right[1], a * left[4] + b * right[4]
    variance = third = slope = np.zeros_like(mean)
    for share, side in ((a, left), (b, right)):
        away = side[1] - mean
        variance = variance + share * (side[2] + away**2)
        third = third + share * (side[3] + 3 * away * side[2] + away**3)
        slope = slope + share * (side[5] + away * (side[4] - log_lr))
    low, high = np.minimum(left[8], right[8]), np.maximum(left[9], right[9])
    return _Level(total, mean, variance, third, log_lr, slope, left[6], right[7], low, high)


def _two_points(
    level: _Level, rows: NDArray[np.int64], blocks: NDArray[np.int64], sign: float
) -> list[tuple[NDArray[np.int64], Array, Array, Array]]:
    """Both points of every (row, group): a two-point Gauss rule, exact for cubic polynomials of S(k-1)."""
    used, own = np.unique(blocks, return_inverse=True)
    weight, mean, variance, third, log_lr, cov, first, last = (
        getattr(level, name)[used]
        for name in ("weight", "mean", "variance", "third", "log_lr", "slope", "first", "last")
    )
    sd = np.sqrt(variance)
    some = sd > 1e-12 * np.maximum(last, 1e-300)
    skew = np.where(some, third / np.where(some, sd, 1.0) ** 3, 0.0) / 2
    root = np.sqrt(1 + skew**2)
    rise = np.where(some, cov / np.where(some, variance, 1.0), 0.0)
    found = []
    for side in (-1.0, 1.0):
        share = 0.5 * (1 - side * skew / root)
        point = np.clip(mean + sd * (skew + side * root), first, last)
        rate = np.exp(log_lr + rise * (point - mean))
        found.append((rows, (sign * weight * share)[own], point[own], rate[own]))
    return found
