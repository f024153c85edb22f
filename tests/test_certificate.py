from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scaling
from scaling.fitting import problem_of
from scaling.laws import LAWS
from scaling.standing import standing
from tests.test_fit import TRUE, runs
from tests.test_profiles import no_floor


def said(fit: scaling.Fit) -> str:
    return " | ".join(fit.problems)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("noise", [0.0, 0.001, 0.01])
def test_a_good_fit_has_no_problems_whatever_the_noise(seed: int, noise: float) -> None:
    assert scaling.fit("chinchilla", runs(noise=noise, seed=seed)).ok


def test_a_good_fit_stands_at_an_optimum_and_says_so() -> None:
    found = scaling.fit("chinchilla", runs())
    # MINPACK's own default for the same cosine is 1e-8; a Newton step from there ends at rounding
    assert found.gradient_norm < 1e-8
    assert 1 < found.condition < 1e8
    assert "gradient norm" in found.report() and "condition" in found.report()


def test_the_gradient_norm_sees_a_point_that_is_no_optimum() -> None:
    problem = problem_of(scaling.fit("chinchilla", runs()))
    u = problem.coordinates(np.array([[TRUE[name] for name in problem.free]]))[0]
    assert standing(problem, u).gradient > 1e-3


def test_standing_survives_a_file() -> None:
    found = scaling.fit("chinchilla", no_floor())
    back = scaling.from_json(scaling.to_json(found))
    assert (back.gradient_norm, back.condition, back.at_bound) == (found.gradient_norm, found.condition, found.at_bound)
    flat = scaling.fit("chinchilla", runs(sizes=1, horizons=20))
    assert scaling.from_json(scaling.to_json(flat)).condition == flat.condition


@pytest.mark.parametrize("seed", range(8))
def test_a_floor_that_is_not_asked_for_is_0_and_the_search_converges(seed: int) -> None:
    table = no_floor()
    table["loss"] *= np.exp(0.001 * np.random.default_rng(seed).normal(size=len(table)))
    found = scaling.fit("chinchilla", table, seed=seed)
    assert found.params["E"] == 0.0 and found.at_bound == ("E",)
    assert found.summary().loc["E", "how"] == "at bound"
    assert found.agreed > 1
    assert not any(word in said(found) for word in ("before it converged", "only 1 of"))
    assert "E is at its lower bound 0, and up to" in said(found)
    assert found.value == pytest.approx(scaling.fit("chinchilla", table, fix={"E": 0.0}).value, rel=1e-9)


def test_a_small_term_that_is_asked_for_stays() -> None:
    table = runs(noise=0)
    table["loss"] = 0.002 + 900 * table["N"] ** -0.3 + 4000 * table["D"] ** -0.35
    found = scaling.fit("chinchilla", table)
    assert found.at_bound == ()
    assert found.params["E"] == pytest.approx(0.002, rel=1e-3)


def narrow(noise: float, seed: int) -> pd.DataFrame:
    """One decade of N and of D: hardly enough to see three terms through the noise."""
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(1e7, 1e8, 6), np.geomspace(1e9, 1e10, 6)))
    loss = LAWS["chinchilla"](n, d, **TRUE) * np.exp(noise * np.random.default_rng(seed).normal(size=36))
    return pd.DataFrame({"N": n, "D": d, "loss": loss})


def test_a_resample_can_raise_a_floor_from_its_bound() -> None:
    found = scaling.fit("chinchilla", narrow(0.03, seed=5), objective="log-squared")
    assert found.at_bound == ("E",)
    floors = scaling.bootstrap(found, 200).params[:, 0]
    assert (floors < 1e-3).any() and (floors > 0.5).any()


def test_a_floor_that_nothing_determines_is_given_its_range() -> None:
    table = narrow(0.03, seed=1)
    found = scaling.fit("chinchilla", table)
    line = next(p for p in found.problems if p.startswith("E is not identified"))
    profiled = scaling.profile(found, "E")
    hi = min(profiled.hi, table["loss"].min())
    assert f"any value from 0 to {hi:.3g} fits about as well" in line
    for floor in (0.01 * hi, 0.5 * hi, 0.99 * hi):  # what it says, refitted
        held = scaling.fit("chinchilla", table, fix={"E": floor})
        curve = profiled.curve
        assert held.value <= np.interp(profiled.hi, curve["E"], curve["objective"]) * (1 + 1e-6)


def test_a_floor_above_zero_is_not_called_open() -> None:
    assert not any("E is" in line for line in scaling.fit("chinchilla", runs(noise=0.01)).problems)


def test_a_term_without_a_lever_is_named_with_its_partner() -> None:
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(1e8, 2e8, 4), np.geomspace(1e9, 1e11, 9)))
    loss = LAWS["chinchilla"](n, d, **TRUE) * np.exp(0.03 * np.random.default_rng(0).normal(size=36))
    found = scaling.fit("chinchilla", pd.DataFrame({"N": n, "D": d, "loss": loss}), fix={"E": 1.8})
    assert "direction A against alpha" in said(found)
    assert "direction alpha against A" not in said(found)


def test_the_wrong_law_is_told_by_its_residuals() -> None:
    found = scaling.fit("kaplan", runs())
    assert "the residuals are not noise" in said(found)
    assert "the law's form is not that of these data" in said(found)
    assert "residuals are not noise" not in said(scaling.fit("chinchilla", runs()))


def test_noise_is_hardly_ever_taken_for_a_wrong_law() -> None:
    wrong = [seed for seed in range(40) if "not noise" in said(scaling.fit("chinchilla", runs(seed=seed)))]
    assert not wrong  # the chance of a single one is 40 times 1e-4


def test_as_many_rows_as_parameters_pass_through_and_say_so() -> None:
    found = scaling.fit("power", pd.DataFrame({"C": [1e18, 1e20, 1e22], "loss": [4.0, 3.0, 2.5]}), x="C")
    assert "passes through every row" in said(found)


def test_every_problem_says_what_to_do_next() -> None:
    tables = [no_floor(), runs(sizes=1, horizons=20), runs(sizes=3, horizons=2), runs(sizes=2)]
    lines = [line for table in tables for line in scaling.fit("chinchilla", table).problems]
    lines += scaling.fit("kaplan", runs()).problems
    assert len(lines) > 5
    for line in lines:
        assert any(f" {verb} " in line for verb in ("add", "hold", "vary", "raise", "drop", "try", "widen")), line


def test_standard_errors_follow_scatter_that_differs_between_rows() -> None:
    # small budgets scatter more, as in Chinchilla's figure 4; one curvature for all rows gave half the bootstrap's
    table = runs(noise=0.0)
    rng = np.random.default_rng(2)
    budget = np.log(table["N"] * table["D"])
    noise = 0.012 * np.exp(-0.35 * (budget - budget.min()))
    fitted = scaling.fit("chinchilla", table.assign(loss=table["loss"] * np.exp(noise * rng.normal(size=len(table)))))
    drawn = scaling.bootstrap(fitted, 400, seed=0).summary()["se"]
    said = fitted.summary()["se"]
    for name in ("E", "alpha", "beta"):
        assert 0.6 < said[name] / drawn[name] < 1.6, (name, said[name], drawn[name])
