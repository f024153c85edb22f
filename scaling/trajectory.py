"""What a law of whole curves reads: the learning rates of one or more runs, and the steps of their rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.knots import WORTH, Between, between, knots
from scaling.pooling import Kind, Past, joined, past
from scaling.schedule import annealing_sum, lr_area


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Curves laid end to end: n rows in all, in the order of the curves.

    lrs    learning rate of every update of each curve, from update 0
    steps  index of the update after which the loss of each row stands, one array a curve
    exact  sums over the past have a term for every update, not for groups of them (see `scaling.pooling`)
    """

    lrs: tuple[NDArray[np.float64], ...]
    steps: tuple[NDArray[np.int64], ...]
    exact: bool = False
    _pasts: dict[Kind, Past] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return sum(len(steps) for steps in self.steps)

    @cached_property
    def area(self) -> NDArray[np.float64]:
        """S1 at every row, shape (n,)."""
        return np.concatenate([lr_area(lr)[steps] for lr, steps in zip(self.lrs, self.steps, strict=True)])

    @cached_property
    def log_area(self) -> NDArray[np.float64]:
        """ln S1 at every row, shape (n,)."""
        return np.log(self.area)

    def past(self, kind: Kind) -> Past:
        """The updates, or the drops of the learning rate, that lie behind every row."""
        if kind not in self._pasts:
            parts, links, count = [], [], 0
            for lr, steps in zip(self.lrs, self.steps, strict=True):
                at, link = (steps, None) if self.exact else _summed_at(lr, steps)
                parts.append(past(lr, at, kind, self.exact))
                links.append((link or _themselves(len(at))).after(count))
                count += len(at)
            dense = count < len(self)
            whole = Between(*(np.concatenate([getattr(link, name) for link in links]) for name in ("index", "weight")))
            self._pasts[kind] = joined(parts, whole if dense else None)
        return self._pasts[kind]

    def annealing(self, lam: Any) -> NDArray:
        """S2 at every row: shape (n,) for a number, (B, n) for `lam` of shape (B, 1). Complex `lam` is allowed.

        S2 of Tissue 2024 (arXiv:2408.11029) is the sum over drops of (1 - lam^(t - k + 1)) / (1 - lam); an exact
        trajectory takes it by its recursion.
        """
        if self.exact and np.isrealobj(lam):
            sums = [
                np.concatenate([annealing_sum(lr, float(x))[at] for lr, at in zip(self.lrs, self.steps, strict=True)])
                for x in np.ravel(lam)
            ]
            return np.stack(sums) if np.ndim(lam) else sums[0]
        return annealed(self.past("drops by step"), lam)

    def annealing_slopes(self, lam: Any) -> tuple[NDArray, NDArray, NDArray]:
        """S2 and its first and second derivative by `lam`, each as by `annealing`."""
        past = self.past("drops by step")
        power, lag, gone = past.lag * np.log(lam), past.lag, 1 - lam
        left = np.exp(power)
        gain = -np.expm1(power) / gone
        slope = (gain - lag * left / lam) / gone
        bend = (2 * slope - lag * (lag - 1) * left / lam**2) / gone
        # of a memory far longer than the lag, in powers of 1 - lam: the differences above are lost in rounding
        close, third = lag * gone < 1e-4, lag * (lag - 1) * (lag - 2) / 3
        slope = np.where(close, lag * (lag - 1) / 2 - gone * third, slope)
        bend = np.where(close, third, bend)
        return past.sum(gain), past.sum(slope), past.sum(bend)

    def some(self, most: int) -> tuple[Trajectory, NDArray[np.int64]]:
        """At most that many rows of each curve, evenly spread, and which rows of this one they are."""
        chosen, at = [], 0
        for steps in self.steps:
            chosen.append(at + np.unique(np.linspace(0, len(steps) - 1, min(most, len(steps))).astype(int)))
            at += len(steps)
        first = np.cumsum([0, *(len(s) for s in self.steps)])
        own = tuple(s[c - f] for s, c, f in zip(self.steps, chosen, first, strict=False))
        return Trajectory(self.lrs, own, self.exact), np.concatenate(chosen)

    def width(self) -> int:
        """Numbers that one evaluation of a law may hold: the rows, or the terms of the sums asked for so far."""
        return max([len(self), *(len(p.count) for p in self._pasts.values())])


def annealed(past: Any, lam: Any) -> Any:
    """S2 from the drops by step that lie behind rows (a `Past`, or one of its like)."""
    return -past.sum(np.expm1(past.lag * np.log(lam))) / (1 - lam)


def _summed_at(lr: NDArray[np.float64], steps: NDArray[np.int64]) -> tuple[NDArray[np.int64], Between | None]:
    """The steps at which sums are taken, and how those at `steps` follow, None where they are the same."""
    if len(steps) < 200:
        return steps, None
    at = knots(lr)
    return (at, between(lr, at, steps)) if len(steps) > WORTH * len(at) else (steps, None)


def _themselves(count: int) -> Between:
    index = np.repeat(np.arange(count)[:, None], 4, 1)
    return Between(index, np.tile([1.0, 0.0, 0.0, 0.0], (count, 1)))


def whole(lr: Any, exact: bool = False) -> Trajectory:
    """The trajectory of one schedule with a row after every step."""
    lr = np.asarray(lr, dtype=float)
    return Trajectory((lr,), (np.arange(len(lr)),), exact)
