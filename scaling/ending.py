"""The loss at the end of a schedule and its derivative by every learning rate, in O(steps).

A law of whole curves reads a trajectory: sums of the learning rate and terms that stand for its past. At one row, the
last, those are vectors of the schedule's length, and the law's own equation is run on traced ones (`scaling.reverse`).
So the equation stands once, and any law that reads trajectories has its gradient, a user's own too.

Neighbouring updates may be taken together as a cell, with the rate in its middle: `count` says how many each stands
for. Cells that are narrow beside their distance from the end give the loss to 1e-5, from a thousand terms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.errors import ScalingError
from scaling.law import Law
from scaling.pooling import LEAST, Kind, warmup_of
from scaling.reverse import Traced
from scaling.trajectory import annealed

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class EndPast:
    """`scaling.pooling.Past` of one row, the schedule's last, in traced arrays of shape (m,)."""

    count: Traced
    lag: Traced
    lr: Traced
    area: Traced

    @cached_property
    def logs(self) -> tuple[Any, Any, Any]:
        return tuple(np.log(x) for x in (self.lag, self.lr, self.area))

    def sum(self, values: Any) -> Traced:
        """Sum of count * values over the terms: shape (1,)."""
        product: Traced = self.count * values
        return product.sum()


@dataclass(frozen=True, eq=False)
class Ending:
    """What a law reads at the last step of a schedule of m cells.

    lr     learning rate in the middle of each cell, (m,)
    fall   fall of the learning rate over each cell, that from the cell before included; the first cell's is 0
    count  updates in each cell: ones where every update is a cell
    """

    lr: Traced
    fall: Traced
    count: Array
    exact: bool = False
    _pasts: dict[Kind, EndPast] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return 1

    @cached_property
    def _sums(self) -> Traced:
        return (self.lr * self.count).cumsum()

    @cached_property
    def area(self) -> Traced:
        """S1 at the end, shape (1,)."""
        return self._sums.last()

    @cached_property
    def log_area(self) -> Any:
        return np.log(self.area)

    def past(self, kind: Kind) -> EndPast:
        if kind not in self._pasts:
            self._pasts[kind] = self._past(kind)
        return self._pasts[kind]

    def _past(self, kind: Kind) -> EndPast:
        rates: Any = self.lr
        rate = np.maximum(rates, LEAST * self.lr.value.max())
        early = self._sums - 0.5 * (self.count + 1) * self.lr  # S(k - 1) of the update in the middle of the cell
        lag = np.maximum(self.area - early, rate)
        if kind == "updates":
            return EndPast(Traced(self.count), lag, rate, early + rate)
        fall = self.fall
        if kind == "drops":
            fall = fall * (np.arange(len(self.count)) > warmup_of(self.lr.value))
        if kind == "drops by step":
            passed = np.cumsum(self.count)
            steps = passed[-1] - passed + 0.5 * (self.count + 1)
            one = Traced(np.ones_like(steps))
            return EndPast(fall, Traced(steps), one, Traced(passed))
        return EndPast(fall, lag, rate, early + rate)

    def annealing(self, lam: Any) -> Any:
        """S2 at the end, shape (1,)."""
        return annealed(self.past("drops by step"), lam)


def ending_of(lr: Any) -> tuple[Traced, Ending]:
    """The traced learning rates of a schedule, a cell an update, and its ending."""
    rates = Traced(lr)
    if rates.value.ndim != 1 or not len(rates.value):
        raise ScalingError(f"a schedule is one learning rate an update, got shape {rates.shape}")
    before = Traced(np.concatenate([rates.value[:1], rates.value[:-1]]), ((rates, _shifted),))
    return rates, Ending(rates, before - rates, np.ones(len(rates.value)))


def _shifted(slope: Array) -> Array:
    back = np.append(slope[1:], 0.0)
    back[0] += slope[0]
    return back


def final_loss(law: Law, params: Mapping[str, float], lr: Any, **sizes: float) -> tuple[float, Array]:
    """Loss after the last update of `lr` (T,) and its derivatives by every learning rate, (T,), in O(T).

    params    {name: number}; sizes: the law's other inputs, such as N=1e8
    Raises ScalingError for a law that does not read schedules, or whose equation uses a function that has no rule.
    """
    rates, ending = ending_of(lr)
    loss = loss_at(law, params, ending, sizes)
    return float(loss.value.sum()), loss.gradient(rates)[0]


def loss_at(law: Law, params: Mapping[str, float], ending: Ending, sizes: Mapping[str, float]) -> Traced:
    """The law's equation at one ending, traced."""
    if law.kind != "curves":
        raise ScalingError(
            f"{law.name} reads {', '.join(law.inputs)}, not a schedule; use a law of curves, such as ncl"
        )
    if set(sizes) != set(law.inputs[1:]):
        raise ScalingError(
            f"{law.name} reads {', '.join(law.inputs)}: give {', '.join(f'{n}=' for n in law.inputs[1:]) or 'no size'}"
        )
    try:
        loss = law.function(ending, *(np.array([float(sizes[name])]) for name in law.inputs[1:]), **params)
    except (AttributeError, TypeError) as error:
        raise ScalingError(
            f"the equation of {law.name} cannot be differentiated ({error}); it may use area, log_area, past(kind) and "
            "annealing(lam) of the schedule, and numpy's elementary functions"
        ) from None
    if not isinstance(loss, Traced):
        raise ScalingError(f"{law.name} does not depend on the schedule")
    return loss
