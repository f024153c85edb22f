"""The critical batch from runs at several batches, and from the noise scale along them: data/critical_batch."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from scaling.laws.mccandlish2018 import mccandlish

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = spec_from_file_location("critical_batch", ROOT / "benchmarks" / "critical_batch.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_updates_to_a_loss_are_found_between_validations(benchmark: ModuleType) -> None:
    curve = pd.DataFrame({"step": [0, 9, 99, 999], "val_loss": [5.0, 4.0, 3.0, 2.0]})  # a nat a decade of updates
    assert benchmark.updates_to(curve, 2.5) == pytest.approx(10**2.5)
    assert benchmark.updates_to(curve.assign(val_loss=[5.0, 4.0, 4.5, 2.0]), 3.0) == pytest.approx(
        10**2.5
    )  # not back up
    assert np.isnan(benchmark.updates_to(curve, 1.9))


def test_the_rate_of_the_fewest_updates_is_taken_at_each_batch(benchmark: ModuleType) -> None:
    runs, curves = [], []
    for batch in (64, 256, 1024):
        for lr, slower in ((0.01, 1.5), (0.02, 1.0), (0.04, 1.2)):
            name = f"{batch}-{lr}"
            runs.append({"run": name, "tokens_per_step": batch, "lr": lr, "seed": 0})
            needed = slower * mccandlish(batch, S_min=20.0, E_min=8000.0)
            steps = np.round(needed * np.array([0.1, 1.0, 10.0])) - 1
            curves.append(pd.DataFrame({"run": name, "step": steps, "val_loss": [4.0, 3.0, 2.0]}))
    table = benchmark.at_best_rates(pd.DataFrame(runs), pd.concat(curves), 3.0)
    assert table["lr"].tolist() == [0.02] * 3 and not table["edge"].any()
    np.testing.assert_allclose(table["steps"], mccandlish(table["batch"], S_min=20.0, E_min=8000.0), rtol=0.02)


def test_a_noise_scale_that_does_not_change_is_its_own_average_on_the_way(benchmark: ModuleType) -> None:
    curve = pd.DataFrame({"step": [0, 9, 99], "val_loss": [5.0, 4.0, 3.0]})
    bands = pd.DataFrame({"loss": [5.0, 3.0], "scale": [700.0, 700.0]})
    assert benchmark.on_the_way(curve, 256, 3.2, bands) == pytest.approx(700.0)
    grown = benchmark.on_the_way(curve, 256, 3.2, bands.assign(scale=[100.0, 700.0]))
    assert 100 < grown < 700


def test_the_runs_are_what_the_grid_asks_for() -> None:
    from sweeps.grid import read_grid, with_corpus

    runs = pd.read_csv(ROOT / "data" / "critical_batch" / "runs.csv")
    grid = with_corpus(read_grid("critical_batch"), runs["corpus"].iloc[0])
    assert {run.key for run in grid.runs} == set(runs["run"])


def test_the_critical_batch_grows_as_the_loss_falls_and_is_the_noise_scale_at_first_only(benchmark: ModuleType) -> None:
    runs, curves = benchmark.read()
    found, points = benchmark.compared(runs, curves, benchmark.noise_scales(benchmark.best_runs(runs, curves), curves))
    assert found["critical batch"].is_monotonic_increasing and (found["lo"] < found["critical batch"]).all()
    ratio = found["critical batch"] / found["noise scale there"]
    assert ratio[found["loss"] >= 2.6].between(0.8, 1.25).all() and ratio.between(0.8, 5.0).all()  # measured: up to 4.4
    assert found["off by %"].max() < 10  # the law describes the updates
    assert all(table["batch"].nunique() == 7 for table in points)  # every batch gets there
