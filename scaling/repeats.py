"""Runs that more of the same text, or more parameters on it, have made worse: laws of repeated data have none.

Muennighoff 2023 (arXiv:2305.16264) leaves them out before the fit, for its form only saturates. What is left is the
loss of somebody who stops, or takes a smaller model, once more does harm.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from scaling.errors import ScalingError


def before_harm(runs: pd.DataFrame, *, margin: float = 0.0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows that the law of repeated data can describe, and those that more did harm to; the order is kept.

    A row (columns N, D, U, loss) is left out if there is a run of no more parameters and no more tokens, fewer of one,
    on as many unique tokens, whose loss is lower by more than `margin` (a share). Where there are seeds, compare runs
    of one: pass the rows of each. Rows without a loss stay with the first. Raises ScalingError without the columns.
    """
    missing = [name for name in ("N", "D", "U", "loss") if name not in runs]
    if missing:
        raise ScalingError(f"runs on repeated data need the columns N, D, U and loss; there is no {', '.join(missing)}")
    n, d, loss = (runs[name].to_numpy(float) for name in ("N", "D", "loss"))
    seen = np.minimum(runs["U"].to_numpy(float), d)
    harmed = np.zeros(len(runs), bool)
    for i in range(len(runs)):
        # text of which nothing repeats is fresh, however much there is of it
        alike = (seen == seen[i]) | ((d <= seen) & (d[i] <= seen[i]))
        less = alike & (n <= n[i]) & (d <= d[i]) & ((n < n[i]) | (d < d[i]))
        harmed[i] = bool((loss[less] * (1 + margin) < loss[i]).any())
    return runs[~harmed], runs[harmed]
