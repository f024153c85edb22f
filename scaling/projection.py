"""Variable projection: parameters that are linear in the loss are solved for, not searched.

The solution is a start, not an end: least squares on the loss is not the log-Huber objective, and a joint polish of the
exact objective follows (see `scaling/search.py`).
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def nonnegative_least_squares(columns: Array, target: Array) -> tuple[Array, Array]:
    """Least squares with non-negative coefficients, many small problems at once and exactly.

    columns (S, m, n), target (n,) or (S, n). Returns coefficients (m, S) and the sum of squares (S,). With m <= 5
    columns the best of all 2^m - 1 supports whose solution is positive is the optimum.
    """
    count, m, _ = columns.shape
    target = np.broadcast_to(target, (count, columns.shape[2]))
    gram = columns @ columns.transpose(0, 2, 1)
    scale = np.sqrt(np.einsum("smm->sm", gram))
    scale = np.where((scale > 0) & np.isfinite(scale), scale, 1.0)
    gram = gram / (scale[:, :, None] * scale[:, None, :])
    moment = (columns @ target[:, :, None])[..., 0] / scale
    total = np.einsum("sn,sn->s", target, target)
    best = np.zeros((count, m))
    cost = total.copy()
    for size in range(1, m + 1):
        for support in combinations(range(m), size):
            index = np.array(support)
            block = gram[:, index[:, None], index] + 1e-13 * np.eye(size)
            solution = np.linalg.solve(np.nan_to_num(block) + 1e-300 * np.eye(size), moment[:, index, None])[..., 0]
            value = total - np.einsum("si,si->s", solution, moment[:, index])
            better = (solution > 0).all(1) & (value < cost)
            cost = np.where(better, value, cost)
            full = np.zeros((count, m))
            full[:, index] = solution
            best = np.where(better[:, None], full, best)
    return (best / scale).T, np.maximum(cost, 0.0)
