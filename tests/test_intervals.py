from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import scaling
from scaling import intervals
from scaling.fitting import problem_of
from scaling.intervals import clusters
from scaling.solution import solve
from tests.test_fit import runs


def in_trunks(noise: float = 0.004, seed: int = 3) -> pd.DataFrame:
    """16 trunks, of the three shorter and the three longer runs of each size, whose noise is nearly all the trunk's."""
    table = runs(noise=0.0005, seed=seed)
    trunk = np.arange(48) % 8 * 2 + np.arange(48) // 24
    shared = noise * np.random.default_rng(seed).normal(size=16)
    return table.assign(trunk=[f"t{i}" for i in trunk], loss=table["loss"] * np.exp(shared[trunk]))


def test_clusters_are_trunks_else_runs_else_rows() -> None:
    table = in_trunks()
    assert len(np.unique(clusters(scaling.fit("chinchilla", table)))) == 16
    by_run = table.drop(columns="trunk").assign(run=np.arange(48) // 2)
    assert (clusters(scaling.fit("chinchilla", by_run)) == np.arange(48) // 2).all()
    by_row = table.drop(columns=["trunk", "run"])
    assert (clusters(scaling.fit("chinchilla", by_row)) == np.arange(48)).all()


def test_rows_of_a_curve_never_part(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pd.concat([runs().assign(loss=lambda t, f=f: t["loss"] * f) for f in (1.0, 1.001)], ignore_index=True)
    found = scaling.fit("chinchilla", table)
    seen: list[np.ndarray] = []
    real = intervals.minimise_near

    def spy(problem, u, weights=None, shift=None):
        seen.append(weights)
        return real(problem, u, weights, shift)

    monkeypatch.setattr(intervals, "minimise_near", spy)
    scaling.bootstrap(found, 20, method="cases")
    drawn = np.concatenate(seen)
    assert (drawn[:, :48] == drawn[:, 48:]).all()  # both rows of a run are drawn as often
    assert (drawn.sum(1) == 96).all()


@pytest.mark.parametrize("method", ["cases", "wild", "parametric"])
def test_noise_that_trunks_share_is_seen_by_every_method(method: str) -> None:
    table = in_trunks()
    spreads = []
    for each in (table, table.drop(columns="trunk")):
        found = scaling.fit("chinchilla", each, objective="log-squared")
        draws = scaling.bootstrap(found, 300, method=method)
        spreads.append(np.subtract(*np.quantile(draws.params[:, 0], [0.84, 0.16])))
    # sixteen clusters estimate a spread to a quarter or so; rows taken as independent would see a ratio of 1
    assert spreads[0] > 1.15 * spreads[1]


def test_the_parametric_bootstrap_of_squares_has_the_textbook_standard_error() -> None:
    found = scaling.fit("chinchilla", runs(), objective="log-squared")
    draws = scaling.bootstrap(found, 2000, method="parametric")
    assert draws.method == "parametric"
    # standard errors from the sandwich and from 48 residuals' median agree to a fifth or so
    assert draws.summary().loc["alpha", "se"] == pytest.approx(found.summary().loc["alpha", "se"], rel=0.35)


@pytest.mark.parametrize("method", ["cases", "wild", "parametric"])
def test_the_same_seed_draws_the_same(method: str) -> None:
    found = scaling.fit("chinchilla", runs(), objective="log-squared")
    one, two, other = (scaling.bootstrap(found, 20, method=method, seed=s).params for s in (1, 1, 2))
    assert (one == two).all() and not (one == other).all()


def test_an_interrupt_returns_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    found = scaling.fit("chinchilla", runs(), objective="log-squared")
    monkeypatch.setattr(intervals, "BATCH", 10 * 48 * 5)
    whole = scaling.bootstrap(found, 40).params
    calls = []
    real = intervals.minimise_near

    def stop(*args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(intervals, "minimise_near", stop)
    draws = scaling.bootstrap(found, 40)
    assert (draws.params == whole[:20]).all()
    assert "interrupted: 20 of 40 resamples were done" in draws.notes


def test_an_interrupt_before_anything_is_done_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args):
        raise KeyboardInterrupt

    found = scaling.fit("chinchilla", runs())
    monkeypatch.setattr(intervals, "minimise_near", stop)
    with pytest.raises(KeyboardInterrupt):
        scaling.bootstrap(found, 40)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(scaling.ScalingError, match="cases, wild or parametric"):
        scaling.bootstrap(scaling.fit("chinchilla", runs()), 20, method="rows")


def test_resamples_of_a_rugged_objective_end_where_cold_fits_do() -> None:
    rng = np.random.default_rng([77, 0])  # 36 runs, 5% of noise: no row in Huber's zone, optima side by side
    n, d = 10 ** rng.uniform(7, 9.5, 36), 10 ** rng.uniform(8.5, 11, 36)
    floor, a, b = rng.uniform(1, 2.2), rng.uniform(0.3, 1.5) * 1e8**0.3, rng.uniform(0.3, 1.5) * 1e10**0.3
    loss = (floor + a * n**-0.3 + b * d**-0.3) * np.exp(0.05 * rng.normal(size=36))
    fit = scaling.fit("chinchilla", pd.DataFrame({"N": n, "D": d, "loss": loss}))
    weights = rng.multinomial(36, np.full(36, 1 / 36), 50).astype(float)
    refits = intervals.refits(fit, weights, None)
    for own, found in zip(weights[:20], refits, strict=False):
        problem = replace(problem_of(fit), weights=own)
        predicted = problem.law(*problem.inputs, **dict(zip(fit.law.names, found, strict=True)))
        cost = problem.cost(problem.residuals_of(predicted[None]))[0]
        assert cost <= solve(problem, 16, 1).value * (1 + 1e-6)
