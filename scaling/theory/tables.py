"""The random-feature model's losses as a table that fits read, and its exponents, predicted and found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scaling.theory.random_features import RandomFeatures, compute_frontier, expected_loss

Array = NDArray[np.float64]

#: Where the command looks: sizes and times at which the powers have set in, and infinity.
TIMES = np.append(np.geomspace(1e1, 1e6, 11), np.inf)
SIZES = np.append(np.geomspace(16, 16384, 6), np.inf)


def surface(model: RandomFeatures, t: Any = TIMES, N: Any = SIZES, P: Any = SIZES) -> pd.DataFrame:
    """Every combination as a row: run, N (features), D (time trained for), P (samples), loss with the labels' variance.

    Time stands where tokens stand in a table of runs: a run of one pass sees new data all the time, and has P = inf.
    """
    grid = np.meshgrid(*(np.atleast_1d(np.asarray(v, float)) for v in (N, t, P)), indexing="ij")
    n, d, p = (v.ravel() for v in grid)
    loss = expected_loss(model, d, n, p) + model.noise**2
    run = [f"N{i:.6g}-t{j:.6g}-P{k:.6g}" for i, j, k in zip(n, d, p, strict=True)]
    return pd.DataFrame({"run": run, "N": n, "D": d, "P": p, "loss": loss})


def exponents(model: RandomFeatures) -> pd.DataFrame:
    """Predicted powers, and the local slopes of the solved losses that they are the limits of; one row a power."""
    ends, budgets, inf = np.array([1e4, 1e5]), np.array([1e7, 1e9]), np.inf
    least, size = compute_frontier(model, budgets)
    m, split = model.size_exponent, "C = N t = 1e7 to 1e9, best split, P = inf"
    rows = [
        ("L against t", -model.time_exponent, ends, expected_loss(model, ends), "t = 1e4 to 1e5, N = P = inf"),
        ("L against N", -m, ends, expected_loss(model, inf, ends), "N = 1e4 to 1e5, t = P = inf"),
        ("L against P", -m, ends, expected_loss(model, inf, inf, ends), "P = 1e4 to 1e5, t = N = inf"),
        ("L against C", -model.compute_exponent, budgets, least, split),
        ("best N against C", model.compute_optimal_size_exponent, budgets, size, "the same"),
    ]
    frame = [(power, predicted, _slope(x, y), where) for power, predicted, x, y, where in rows]
    return pd.DataFrame(frame, columns=["power", "predicted", "found", "where"]).set_index("power")


def _slope(x: Array, y: Array) -> float:
    return float(np.log(y[1] / y[0]) / np.log(x[1] / x[0]))
