"""Inputs and tables for laws, made from what each law declares of itself."""

from __future__ import annotations

import numpy as np
import pandas as pd

import scaling
from scaling.law import Law
from scaling.schedule import constant, cosine, wsd
from scaling.trajectory import Trajectory

LEVELS = {1: 40, 2: 7, 3: 5, 4: 4}  # values of each input on a grid; of more inputs, points are drawn
DRAWN = 400


def example_inputs(one: Law, published: str = "") -> tuple:
    """Inputs over the declared range: a grid, or points of a simplex; for a law of curves, three schedules."""
    if one.kind == "curves":
        lrs = (constant(4000, 2e-4, 200), cosine(4000, 2e-4, 200), wsd(4000, 2e-4, 200, 800))
        sizes = (np.repeat([3e7, 1e8, 3e8], 75),) if one.inputs[1:] else ()
        return (Trajectory(lrs, (np.arange(250, 4000, 50),) * 3), *sizes)
    ranges = one.range_of(published)
    free = [name for name in one.inputs if name not in one.simplex]
    if one.simplex or len(free) > max(LEVELS):
        rng = np.random.default_rng(0)
        values = {name: _levels(one, name, ranges, rng.random(DRAWN)) for name in free}
        shares = rng.dirichlet(np.ones(len(one.simplex)), DRAWN).T if one.simplex else ()
        values |= dict(zip(one.simplex, shares, strict=True))
    else:
        each = [
            _levels(one, name, ranges, np.linspace(0, 1, max(LEVELS[len(free)], len(one.levels.get(name, ())))))
            for name in free
        ]
        values = {name: grid.ravel() for name, grid in zip(free, np.meshgrid(*each), strict=True)}
    return tuple(values[name] for name in one.inputs)


def _levels(one: Law, name: str, ranges, share: np.ndarray) -> np.ndarray:
    if name in one.levels:
        return np.asarray(one.levels[name])[
            np.minimum(share * len(one.levels[name]), len(one.levels[name]) - 1).astype(int)
        ]
    lo, hi = ranges[name]
    even = lo == 0 or name in one.zero or hi / lo < 10
    return lo + (hi - lo) * share if even else lo * (hi / lo) ** share


def table_of(one: Law, inputs: tuple, values: np.ndarray) -> pd.DataFrame:
    """A table that `fit` reads, with `values` in the column that the law predicts."""
    if one.kind == "curves":
        path, *sizes = inputs
        frames = [
            pd.DataFrame({"run": f"r{i}", "step": steps, "lr": lr[steps]})
            for i, (lr, steps) in enumerate(zip(path.lrs, path.steps, strict=True))
        ]
        table = pd.concat(frames, ignore_index=True).assign(
            loss=values, **dict(zip(one.inputs[1:], sizes, strict=True))
        )
        return scaling.read_curves(table, schedules={f"r{i}": lr for i, lr in enumerate(path.lrs)})
    names = ("C",) if one.inputs == ("x",) else one.inputs
    return pd.DataFrame(dict(zip(names, inputs, strict=True))).assign(**{one.predicts: values})
