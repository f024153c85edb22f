from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import pandas as pd
import pytest

import scaling
from scaling.fitting import problem_of
from scaling.law import Exponent, Floor, Param, Scale
from scaling.laws import LAWS
from scaling.problem import Prior
from scaling.search import minimise_near

#: A floor of which much is known before the data.
Believed = Annotated[float, Param(lo=0.0, linear=True, prior=(1.5, 1e-6))]
#: A slope that may point either way.
Slope = Annotated[float, Param(start=(-1.0, 1.0))]
TRUE = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658}


def runs(noise: float = 0.01, seed: int = 0, rows: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    n, d = 10 ** rng.uniform(7.5, 10, rows), 10 ** rng.uniform(8.5, 11.5, rows)
    loss = LAWS["chinchilla"](n, d, **TRUE) * np.exp(noise * rng.normal(size=rows))
    return pd.DataFrame({"N": n, "D": d, "loss": loss})


def test_a_prior_counts_as_one_more_measurement() -> None:
    fit = scaling.fit("chinchilla", runs(), priors={"E": (1.5, 0.01), "alpha": (0.3, 0.05)})
    rows = scaling.Objective().rho(fit.residuals).sum()
    beliefs = 0.5 * (np.log(fit.params["E"] / 1.5) / 0.01) ** 2 + 0.5 * (np.log(fit.params["alpha"] / 0.3) / 0.05) ** 2
    assert fit.value == pytest.approx(rows + beliefs, rel=1e-9)


def test_a_firm_prior_decides_and_a_vague_one_is_not_felt() -> None:
    table = runs()
    firm = scaling.fit("chinchilla", table, priors={"E": (1.5, 1e-6)})
    assert firm.params["E"] == pytest.approx(1.5, rel=1e-5)
    vague, plain = scaling.fit("chinchilla", table, priors={"E": (1.5, 1e4)}), scaling.fit("chinchilla", table)
    assert vague.params["E"] == pytest.approx(plain.params["E"], rel=1e-5)
    assert vague.notes == ("prior: ln E is normal about ln 1.5, sd 10000",)


def test_the_end_with_priors_is_the_minimum_of_their_sum_with_the_rows() -> None:
    fit = scaling.fit("chinchilla", runs(), priors={"E": (1.6, 1.0), "beta": (0.3, 2.0)}, objective="log-squared")
    problem = problem_of(fit)
    u = problem.coordinates(fit.free_values[None])
    assert problem.cost(problem.residuals(u), u=u)[0] == pytest.approx(fit.value, rel=1e-12)
    for step in np.concatenate([np.eye(5), -np.eye(5)]) * 1e-4:
        assert problem.cost(problem.residuals(u + step), u=u + step)[0] > fit.value


def test_resamples_keep_the_prior() -> None:
    draws = scaling.bootstrap(scaling.fit("chinchilla", runs(), priors={"E": (1.5, 1e-6)}), 20, seed=1)
    assert draws.params[:, 0] == pytest.approx(np.full(20, 1.5), rel=1e-4)


def test_a_fit_with_priors_reads_back_from_json() -> None:
    fit = scaling.fit("chinchilla", runs(), priors={"E": (1.6, 0.1)})
    again = scaling.from_json(scaling.to_json(fit))
    assert dict(again.priors) == {"E": Prior(1.6, 0.1)}
    assert problem_of(again).priors == problem_of(fit).priors


def test_a_law_may_carry_a_prior_which_a_fit_may_take_away() -> None:
    @scaling.law(cite="this test")
    def own(
        N: Any, *, E: Annotated[float, Param(lo=0.0, linear=True, prior=(1.5, 1e-6))], A: Scale, a: Exponent
    ) -> Any:
        """E + A / N^a"""
        return E + A * N**-a

    n = np.geomspace(1e7, 1e10, 20)
    table = pd.DataFrame({"N": n, "loss": 1.8 + 400 * n**-0.35})
    assert scaling.fit(own, table).params["E"] == pytest.approx(1.5, rel=1e-4)
    assert scaling.fit(own, table, priors={"E": None}).params["E"] == pytest.approx(1.8, rel=1e-6)


def test_a_parameter_that_may_be_negative_has_its_prior_on_itself() -> None:
    @scaling.law(cite="this test")
    def line(N: Any, *, E: Floor, slope: Slope) -> Any:
        """E + slope ln N"""
        return E + slope * np.log(N)

    table = pd.DataFrame({"N": np.geomspace(1e6, 1e9, 12), "loss": 5 - 0.1 * np.log(np.geomspace(1e6, 1e9, 12))})
    fit = scaling.fit(line, table, priors={"slope": (-0.2, 1e-6)}, objective="squared")
    assert fit.params["slope"] == pytest.approx(-0.2, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"priors": {"gamma": (1, 1)}}, "no parameter 'gamma'"),
        ({"priors": {"E": (-1, 1)}}, "E lies between 0 and inf"),
        ({"priors": {"E": (1, 0)}}, "positive standard deviation"),
        ({"priors": {"E": 1.8}}, "a prior is .centre, sd."),
        ({"priors": {"E": (1, 1)}, "fix": {"E": 1.0}}, "held at 1"),
        ({"priors": {"beta": (1, 1)}, "tie": {"beta": "alpha"}}, "beta is = alpha"),
    ],
)
def test_priors_that_cannot_be_meant_are_refused(options: dict, says: str) -> None:
    with pytest.raises(scaling.ScalingError, match=says):
        scaling.fit("chinchilla", runs(), **options)


def test_problems_that_differ_in_row_weights_are_minimised_in_one_call() -> None:
    table = runs()
    fit = scaling.fit("chinchilla", table, priors={"E": (1.6, 0.2)}, objective="log-huber", delta=0.01)
    problem = problem_of(fit)
    weights = np.random.default_rng(0).uniform(0.5, 2, (3, len(table)))
    together = minimise_near(problem, np.repeat(problem.coordinates(fit.free_values[None]), 3, 0), weights)
    for one, cost in zip(weights, together.cost, strict=True):
        alone = scaling.fit("chinchilla", table, priors={"E": (1.6, 0.2)}, delta=0.01, weights=one)
        assert cost == pytest.approx(alone.value, rel=1e-9)
