"""What a law of whole curves reads: the learning rates of one or more runs, and the steps of their rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.schedule import annealing_sum, lr_area

REMEMBER = 5_000_000  # numbers kept by one trajectory


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Curves laid end to end: n rows in all, in the order of the curves.

    lrs    learning rate of every update of each curve, from update 0
    steps  index of the update after which the loss of each row stands, one array a curve
    """

    lrs: tuple[NDArray[np.float64], ...]
    steps: tuple[NDArray[np.int64], ...]
    _sums: dict[complex, NDArray] = field(default_factory=dict, repr=False)

    @cached_property
    def area(self) -> NDArray[np.float64]:
        """S1 at every row, shape (n,)."""
        return np.concatenate([lr_area(lr)[steps] for lr, steps in zip(self.lrs, self.steps, strict=True)])

    def annealing(self, lam: Any) -> NDArray:
        """S2 at every row: shape (n,) for a number, (B, n) for `lam` of shape (B, 1). Complex `lam` is allowed."""
        if np.ndim(lam) == 0:
            return self._annealing(complex(lam))
        return np.stack([self._annealing(complex(value)) for value in np.ravel(lam)])

    def _annealing(self, lam: complex) -> NDArray:
        if lam not in self._sums:
            if len(self._sums) * len(self.area) > REMEMBER:  # searches ask for the same values over and over
                self._sums.clear()
            exact = lam if lam.imag else lam.real
            self._sums[lam] = np.concatenate(
                [annealing_sum(lr, exact)[steps] for lr, steps in zip(self.lrs, self.steps, strict=True)]
            )
        return self._sums[lam]


def whole(lr: Any) -> Trajectory:
    """The trajectory of one schedule with a row after every step."""
    lr = np.asarray(lr, dtype=float)
    return Trajectory((lr,), (np.arange(len(lr)),))
