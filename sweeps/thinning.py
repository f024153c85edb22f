"""Fewer rows of every curve: those that laws need, and some of the others."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from numpy.typing import NDArray

#: Largest error of a learning rate between two rows that are kept, joined by a straight line, over the peak.
BEND = 1e-3


def thinned(curves: pd.DataFrame, rows: int) -> pd.DataFrame:
    """A table of curves with `rows` rows a run, or what it needs where that is more, as they were logged.

    It needs the first and the last row, those that were validated, and as many as it takes for the rates between
    kept rows, joined by straight lines, to be the logged ones within BEND of the peak. Others are spread evenly.
    """
    if not len(curves):
        return curves
    runs = curves["run"].to_numpy()
    ends = np.flatnonzero(np.r_[runs[1:] != runs[:-1], True]) + 1
    kept = [
        start + chosen(table["step"].to_numpy(), table["lr"].to_numpy(), table["val_loss"].notna().to_numpy(), rows)
        for start, stop in zip(np.r_[0, ends[:-1]], ends, strict=True)
        for table in (curves.iloc[start:stop],)
    ]
    return curves.iloc[np.concatenate(kept)].reset_index(drop=True)


def chosen(step: NDArray, lr: NDArray, needed: NDArray, rows: int) -> NDArray[np.int64]:
    """Places, rising, of the rows of one curve to keep; `needed` (n,) says which are kept in any case."""
    keep = np.array(needed, dtype=bool)
    keep[[0, -1]] = True
    while True:
        at = np.flatnonzero(keep)
        error = np.abs(np.interp(step, step[at], lr[at]) - lr)
        far = [i + int(error[i:j].argmax()) for i, j in itertools.pairwise(at)]
        far = [i for i in far if error[i] > BEND * lr.max()]
        if not far:
            break
        keep[far] = True
    others = np.flatnonzero(~keep)
    more = min(max(0, rows - len(step) + len(others)), len(others))
    keep[others[((np.arange(more) + 0.5) * len(others) / max(more, 1)).astype(int)]] = True
    return np.flatnonzero(keep)
