"""Laws of compressed formats: a number for each, and the errors of formats on a normal variable."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scaling
from scaling.laws import LAWS
from scaling.laws.frantar2025 import by_format
from scaling.laws.panferov2025 import best_scale, capacity, gmse_of_levels, gmse_sparse, gmse_uniform


@pytest.fixture
def runs() -> pd.DataFrame:
    law = LAWS["quest"]
    grid = [v.ravel() for v in np.meshgrid([3e7, 1e8, 3e8, 8e8], [3e9, 1e10, 4e10], [1.0, 2, 3, 4, 8, 16])]
    table = pd.DataFrame(dict(zip(law.inputs, grid, strict=True)))
    return table.assign(loss=law(*grid, **law.published["quest2025"]))


def test_a_format_that_a_law_does_not_name_is_left_out_and_said(runs: pd.DataFrame):
    runs.loc[[3, 5], "bits"] = [5.0, 6.0]
    found = scaling.fit("quest", runs)
    assert list(found.dropped["row"]) == [3, 5]
    assert found.dropped["reason"][0] == "bits is 5, not one of 1, 2, 3, 4, 8, 16"
    assert found.params["eff_2"] == pytest.approx(0.151870911, rel=1e-4)


def test_formats_of_ones_own_are_numbered(runs: pd.DataFrame):
    mine = by_format({"eff_low": 1, "eff_high": 2}, dense=0, column="kind")
    runs = runs[runs["bits"].isin([16, 4, 8])]
    table = runs.assign(kind=runs["bits"].map({16: 0, 4: 1, 8: 2})).drop(columns="bits")
    found = scaling.fit(mine, table)
    assert found.params["eff_low"] == pytest.approx(0.691831718, rel=1e-4)
    assert found.params["eff_high"] == pytest.approx(1.01619263, rel=1e-4)


def test_the_error_of_levels_is_that_of_a_large_sample():
    x = np.random.default_rng(0).standard_normal(400_000)
    levels = np.array([-1.5, -0.4, 0.1, 0.9, 2.0])
    nearest = levels[np.abs(x[:, None] - levels).argmin(axis=1)]
    assert gmse_of_levels(levels) == pytest.approx(np.mean((x - nearest) ** 2), rel=0.01)


def test_more_bits_and_fewer_zeros_leave_more_capacity():
    shape = {"ceiling": 1.0, "F": 0.5, "power": 0.7}
    bits = capacity(np.array([gmse_uniform(b) for b in (1, 2, 3, 4)]), **shape)
    zeros = capacity(np.array([gmse_sparse(s) for s in (0.9, 0.5, 0.1)]), **shape)
    assert (np.diff(bits) > 0).all() and (np.diff(zeros) > 0).all()
    assert capacity(0.0, **shape) == pytest.approx(1.0)


def test_no_scale_of_the_levels_beats_the_best():
    scale, least = best_scale([-1.0, 0.0, 1.0])
    assert all(gmse_of_levels([-1.0, 0.0, 1.0], scale * k) > least for k in (0.9, 0.99, 1.01, 1.1))
    with pytest.raises(ValueError, match="between 0 and 1"):
        gmse_sparse(1.2)


def test_an_input_of_zeros_is_rehearsed_without_a_warning():
    from scaling.rehearsal import too_little

    size = np.geomspace(1.0, 1e4, 40)
    inputs = np.stack([size, np.tile([0.0, 0.1, 0.2, 0.4], 10)])
    assert too_little(size, inputs) == ""
    assert "1 level" in too_little(size, np.stack([size, np.zeros(40)]))
