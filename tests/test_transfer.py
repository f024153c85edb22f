"""One learning rate over widths and depths: what docs/transfer.md says of data/transfer, and how it is worked out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks import transfer
from sweeps.grid import read_grid, with_corpus

GRIDS = {"width": "transfer_width", "depth": "transfer_depth", "horizon": "horizon", "batch": "transfer_batch"}


@pytest.mark.parametrize("name", GRIDS)
def test_the_tables_are_those_of_the_grids_with_every_run_finished(name: str) -> None:
    runs = pd.read_csv(transfer.DATA / f"{name}.csv")
    grid = with_corpus(read_grid(GRIDS[name]), runs["corpus"].iloc[0])
    assert {run.key for run in grid.runs} == set(runs["run"])
    assert set(runs["status"]) == {"finished"}


@pytest.mark.parametrize("axis, rule", [("width", "mup"), ("depth", "completep")])
def test_the_best_rate_stays_within_a_step_over_four_times_the_size(axis: str, rule: str) -> None:
    table = transfer.transfer(axis)
    own = table[table["rule"] == rule]
    assert own[axis].max() == 4 * own[axis].min()
    assert own["moved"].abs().max() <= 1
    assert np.ptp(own["moved"]) <= 1  # from the smallest to the largest


def test_without_the_rule_of_width_the_best_rate_moves_by_two_steps() -> None:
    table = transfer.transfer("width")
    assert np.ptp(table["moved"][table["rule"] == "none"]) == 2


def made(exponent: float) -> pd.DataFrame:
    """Losses with a known best rate at each width and horizon."""
    lr = 0.002 * 2.0 ** np.arange(5)
    index = pd.MultiIndex.from_product([(16, 32), (1e4, 1e5, 1e6)], names=["width", "D"])
    best = [0.008 * (d / 1e5) ** exponent * (w / 16) ** 0.2 for w, d in index]
    rows = [np.log(2 + 1e5 / d) + 0.03 * np.log(lr / b) ** 2 for (_, d), b in zip(index, best, strict=True)]
    return pd.DataFrame(rows, index=index, columns=pd.Index(lr, name="lr"))


def test_a_power_of_the_horizon_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "losses", lambda name, index: made(-0.13))
    exponent, error, ids = transfer.power("any", ["width"], "D")
    assert exponent == pytest.approx(-0.13, abs=1e-6) and error < 1e-6
    assert ids["fitted"].iloc[1] == pytest.approx(0.008) and ids["c"].iloc[0] == pytest.approx(0.03)


def test_the_vertex_of_a_parabola_is_exact_and_that_of_an_edge_is_missing() -> None:
    assert transfer.vertex(made(0.0).iloc[0]) == pytest.approx(0.008)
    assert np.isnan(transfer.vertex(pd.Series([1.0, 1.1, 1.2], index=[0.1, 0.2, 0.4])))
