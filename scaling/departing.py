"""Whether a run that still trains has left what its family, and its own first half, led one to expect."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]
#: |z| of the last stretch from which a run is said to drift: 0.3% of normal variables. Of 175 forecasts of public runs
#: that trained well none came so far, the farthest to 2.4; of runs whose seeds differ by 1%, 2 of 68.
DRIFT = 3.0
TAIL = 0.25  # share of the rows since the earlier forecast that the last stretch is
SPIKE, LEAST_SPIKE = 8.0, 0.01  # standard deviations of a row, and of ln loss, by which a spike stands out
DIVERGED = 0.1  # rise of ln loss over the expected at which a run is said to diverge


@dataclass(frozen=True, eq=False)
class Earlier:
    """The forecast of rows (n,) made after the step `since`: ln of the expected loss, and its standard deviation."""

    since: int
    steps: NDArray[np.int64]
    ln_loss: Array
    sd: float


@dataclass(frozen=True)
class Departure:
    """The rows since an earlier forecast beside it.

    since  the step after which nothing of the run was used; excess: mean of ln observed / expected over the last
    stretch; z: that in standard deviations; spikes: steps; said: in words, what is wrong, empty when nothing is
    """

    since: int
    excess: float
    z: float
    spikes: tuple[int, ...]
    said: tuple[str, ...]

    @property
    def departs(self) -> bool:
        """Something is wrong."""
        return bool(self.said)


def departure_of(own: pd.DataFrame, earlier: Earlier, noise: float, run_sd: float = 5e-4) -> Departure | None:
    """Compare the rows of a run with what was forecast of them; None with fewer than 4 rows since.

    noise  standard deviation of ln loss of single rows; run_sd: between two runs of one schedule
    """
    rows = own[own["step"] > earlier.since]
    if len(rows) < 4:
        return None
    apart = np.log(rows["loss"].to_numpy(float)) - earlier.ln_loss
    tail = max(3, round(TAIL * len(apart)))
    excess = float(np.mean(apart[-tail:]))
    z = excess / float(np.sqrt(earlier.sd**2 + run_sd**2 + noise**2 / tail))
    middle = pd.Series(apart).rolling(7, center=True, min_periods=4).median().to_numpy()
    above = apart - middle
    steps = rows["step"].to_numpy(int)
    spikes = tuple(int(s) for s in steps[above > max(SPIKE * noise, LEAST_SPIKE)])
    said = []
    last = float(np.median(apart[-3:]))
    if last > DIVERGED and z > DRIFT:
        said.append(
            f"diverges: the last losses are {np.expm1(last):.0%} above what was expected at step {earlier.since}; stop "
            "it, or go back to a checkpoint and lower the learning rate"
        )
    elif abs(z) > DRIFT:
        side = "above" if z > 0 else "below"
        why = (
            "a learning rate, data or a batch that is not the family's, or a fault"
            if z > 0
            else "easier or repeated data, a leak of the validation set, or another model than the family's"
        )
        said.append(
            f"departs: the last {tail} losses are {abs(np.expm1(excess)):.2%} {side} what was expected at step "
            f"{earlier.since} ({abs(z):.1f} standard deviations); look for {why}"
        )
    if spikes:
        shown = ", ".join(map(str, spikes[:4])) + (", ..." if len(spikes) > 4 else "")
        said.append(f"{len(spikes)} spike{'s' * (len(spikes) > 1)} of the loss, at step {shown}")
    return Departure(earlier.since, excess, z, spikes, tuple(said))
