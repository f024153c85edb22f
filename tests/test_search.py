from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import scaling
from scaling.fitting import problem_of
from scaling.law import Exponent, Floor, Scale
from scaling.laws import LAWS
from scaling.objective import Objective
from scaling.problem import Problem
from scaling.search import descend, minimise, minimise_near, starts

TRUE = {
    "chinchilla": {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658},
    "power": {"L_inf": 1.9, "x0": 3e6, "alpha": 0.25},
    "kaplan": {"N_c": 6.4e13, "D_c": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103},
}


def inputs_of(name: str, rows: int, seed: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    return tuple(10 ** rng.uniform(*span, rows) for span in ((7, 10), (8.5, 11.5))[: len(LAWS[name].inputs)])


def noisy(name: str, rows: int = 60, noise: float = 0.01, seed: int = 0, objective: str | None = None) -> Problem:
    law, inputs = LAWS[name], inputs_of(name, rows, seed)
    loss = law(*inputs, **TRUE[name]) * np.exp(noise * np.random.default_rng(seed + 1).normal(size=rows))
    return Problem(law, inputs, loss, np.ones(rows), Objective(), {}, {})


@pytest.mark.parametrize("name", TRUE)
@pytest.mark.parametrize("space", ["log", "raw"])
@pytest.mark.parametrize("tie", [False, True])
def test_declared_second_derivatives_are_those_of_the_equation(name: str, space: str, tie: bool) -> None:
    law = LAWS[name]
    tied = {"beta": "alpha"} if tie and name == "chinchilla" else {}
    problem = replace(noisy(name), objective=Objective(space, "squared"), tied=tied)  # type: ignore[arg-type]
    bare = replace(problem, law=replace(law, derivatives=None))  # whose derivatives are complex steps
    u = problem.coordinates(np.array([[TRUE[name][n] for n in problem.free]])) + 0.1
    scores = np.random.default_rng(5).normal(size=(1, len(problem.loss)))
    r, jac, bend = problem.expansion(u, scores)
    assert bend is not None
    np.testing.assert_allclose(r, bare.residuals(u), atol=1e-13)
    np.testing.assert_allclose(jac, bare.jacobian(u)[1], rtol=1e-9, atol=1e-13)
    for i in range(len(problem.free)):
        step = np.zeros_like(u)
        step[0, i] = 1e-4
        by_row = bare.jacobian(u + step)[1] - bare.jacobian(u - step)[1]
        np.testing.assert_allclose(bend[:, i], (by_row @ scores[0]) / 2e-4, rtol=1e-5, atol=1e-6 * np.abs(bend).max())


def test_resamples_end_where_cold_fits_of_the_same_rows_do() -> None:
    problem = noisy("chinchilla", rows=120)
    best = minimise(problem, starts(problem, 16, 0))
    count = 25
    weights = np.random.default_rng(3).multinomial(120, np.full(120, 1 / 120), count).astype(float)
    near = minimise_near(problem, np.repeat(best.u[[np.argmin(best.cost)]], count, 0), weights)
    for own, cost in zip(weights, near.cost, strict=True):
        alone = replace(problem, weights=own)
        cold = minimise(alone, starts(alone, 16, 1)).cost.min()
        assert cost <= cold * (1 + 1e-6)  # what interval estimates can tell apart is far above


def test_solving_for_linear_parameters_brings_starts_together() -> None:
    problem = replace(noisy("chinchilla"), objective=Objective("log", "squared"))
    u = starts(problem, 16, 0)
    with_it, without = (
        descend(problem, u, exact=False, iterations=8, tolerance=1e-12, project=project) for project in (True, False)
    )
    near = [(ends.cost < 1.01 * with_it.cost.min()).sum() for ends in (with_it, without)]
    assert near[0] >= 12
    assert near[0] > near[1]


def test_a_law_that_has_no_loss_in_part_of_the_box_is_fitted() -> None:
    @scaling.law(cite="this test")
    def partial(N, *, E: Floor, A: Scale, a: Exponent):
        """E + A / N^a, for exponents below .6"""
        return E + A * N**-a + 0 * np.sqrt(0.6 - a)

    n = np.geomspace(1e6, 1e9, 25)
    table = pd.DataFrame({"N": n, "loss": 1.7 + 300 * n**-0.4})
    fit = scaling.fit(partial, table)
    assert fit.params["a"] == pytest.approx(0.4, rel=1e-5)
    assert np.isfinite(problem_of(fit).residuals(problem_of(fit).coordinates(fit.free_values[None]))).all()


def test_random_problems_end_at_the_best_that_many_more_starts_find() -> None:
    from benchmarks import search

    for number in range(10_005, 10_020):  # all laws; few levels, narrow ranges and budgets among them
        case = search.draw(number)
        best = search.reference(case, more=2, scipy_starts=1)
        assert search.miss(case, search.least(case, best)) <= 1e-8, f"problem {number}, {case.problem.law.name}"


def test_many_rows_are_searched_in_part_and_fitted_whole() -> None:
    problem = noisy("power", rows=20_000)
    best = minimise(problem, starts(problem, 8, 0)).cost.min()
    at = minimise_near(problem, problem.coordinates(np.array([[TRUE["power"][n] for n in problem.free]])))
    assert best == pytest.approx(at.cost[0], rel=1e-11)


def test_a_search_in_part_reports_no_costs_of_the_part() -> None:
    problem = noisy("chinchilla", rows=4_200, noise=0.05)  # of more than 4,000 rows a part is searched
    u = starts(problem, 16, 0) + np.random.default_rng(1).normal(size=(16, 5))
    ends = minimise(problem, u)
    np.testing.assert_allclose(ends.cost, problem.cost(problem.residuals(ends.u)), rtol=1e-9)


def test_as_many_starts_as_are_asked_for_are_given() -> None:
    for name in TRUE:  # kaplan and power declare 81 and 32 of their own
        u = starts(noisy(name), 400, 0)
        assert len(np.unique(u, axis=0)) == 400
        assert not np.array_equal(u, starts(noisy(name), 400, 1))
