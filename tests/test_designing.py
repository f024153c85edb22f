"""Which runs to train next: information against Monte Carlo, choices against brute force, prices against the plan."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scaling
from scaling.bands import robust_sd
from scaling.designing import NOISE, cheapest_design, design_runs, expected
from scaling.errors import ScalingError
from scaling.fitting import problem_of
from scaling.gridfile import grid_text
from scaling.information import (
    Target,
    grouped_information,
    of_sums,
    prior_information,
    sensitivities,
    target_gradient,
    variance,
)
from scaling.lattice import Lattice, build_lattice
from scaling.laws import LAWS
from scaling.laws.hoffmann2022 import chinchilla, chinchilla_optimum
from scaling.published import find_published
from scaling.run_choice import even_choice, spread_enough
from scaling.search import minimise_near
from scaling.shapes import ShapeRule
from sweeps.counting import parameter_counts
from sweeps.grid import read_grid
from sweeps.plan import build_plan
from tests.test_fit import runs

TRUE = dict(LAWS["chinchilla"].published["besiroglu2024"])
PARAMS = np.array([TRUE[name] for name in LAWS["chinchilla"].names])
PRIOR = find_published("besiroglu2024")
RULE = ShapeRule(counts="matmul", vocab=4096, context=256, head_dim=32)


@pytest.fixture(scope="module")
def lattice() -> Lattice:
    return build_lattice(RULE, 1e19)


@pytest.fixture(scope="module")
def design(lattice: Lattice):
    return design_runs(PRIOR, Target(C=1e22), 1e19, lattice)


def test_sensitivities_are_derivatives_of_the_logarithm() -> None:
    n, d = np.array([1e8, 3e9]), np.array([1e10, 2e10])
    found = sensitivities(chinchilla, PARAMS, n, d)
    for j, name in enumerate(chinchilla.names):
        ahead, behind = (chinchilla(n, d, **(TRUE | {name: TRUE[name] * (1 + s * 1e-6)})) for s in (1, -1))
        np.testing.assert_allclose(found[:, j], np.log(ahead / behind) / 2e-6, rtol=1e-6)


def test_shared_noise_is_counted_by_its_covariance() -> None:
    rng = np.random.default_rng(0)
    J, groups = rng.normal(size=(9, 3)), np.array([0, 0, 0, 1, 1, 1, 1, 2, 3])
    covariance = 0.01**2 * (0.6 * np.eye(9) + 0.4 * (groups[:, None] == groups))
    expected_information = J.T @ np.linalg.inv(covariance) @ J
    np.testing.assert_allclose(grouped_information(J, groups, 0.01, 0.4), expected_information, rtol=1e-10)
    assert of_sums(np.zeros((3, 3)), np.zeros(3), np.array(0.0), 0.01, 0.4).max() == 0


def test_the_delta_method_is_what_refits_scatter() -> None:
    table = runs(noise=0.0, sizes=6, horizons=5)
    truth = scaling.fit("chinchilla", table, objective="log-squared")
    problem = problem_of(truth)
    noise = 0.003 * np.random.default_rng(0).normal(size=(400, len(table)))
    start = problem.coordinates(truth.free_values[None])
    ends = minimise_near(problem, np.repeat(start, 400, 0), None, noise)
    values = {k: v[:, 0] for k, v in problem.parameters(problem.natural(ends.u)).items()}
    own = np.array([truth.params[name] for name in truth.law.names])
    J = sensitivities(truth.law, own, table["N"].to_numpy(), table["D"].to_numpy())
    known = grouped_information(J, np.arange(len(table)), 0.003, 0.0)
    targets = {
        Target(N=1e11, D=2e12): np.log(truth.law(1e11, 2e12, **values)),
        Target("N_opt", C=1e22): np.log(chinchilla_optimum(1e22, **values)[0]),
    }
    for target, seen in targets.items():
        gradient, _, _ = target_gradient(truth.law, own, target)
        # 400 refits know their spread to 4%, and the robust one to 6%
        assert np.sqrt(variance(known, gradient)) == pytest.approx(robust_sd(seen - np.median(seen)), rel=0.2)


def test_the_prior_believes_terms_and_exponents_apart() -> None:
    inverse = np.linalg.inv(prior_information(chinchilla, PARAMS, 1e9, 1e10))
    assert np.sqrt(inverse[0, 0]) == pytest.approx(0.2)  # ln E
    names = list(chinchilla.names)
    term = np.zeros(5)
    term[names.index("A")], term[names.index("alpha")] = 1.0, -TRUE["alpha"] * np.log(1e9)
    assert np.sqrt(term @ inverse @ term) == pytest.approx(0.5)  # ln (A / N^alpha) at 1e9, whatever alpha


def test_a_design_keeps_its_budget_its_spread_and_beats_an_even_grid(design, lattice: Lattice) -> None:
    assert lattice.price(design.chosen).sum() <= 1e19
    assert design.runs["flops_added"].sum() == pytest.approx(lattice.price(design.chosen).sum())
    assert spread_enough(lattice, design.chosen)
    assert design.even is not None and design.before is None
    assert design.after["parameters"] < 0.7 * design.even["parameters"]
    assert design.after["total"] < design.even["total"]
    both = design.after["parameters"] ** 2 + design.after["scatter"] ** 2 + design.after["distance"] ** 2
    assert design.after["total"] ** 2 == pytest.approx(both)
    assert design.after["scatter"] == NOISE
    assert expected(PRIOR, Target(C=1e22), lattice, design.chosen) == design.after


def test_no_choice_that_keeps_the_spread_is_much_better_on_a_lattice_small_enough_to_try_all() -> None:
    small = build_lattice(RULE, 1e18, ratios=(5, 20, 80), sizes=(2e6, 3e7), count=4)
    assert small.D.shape == (4, 3)
    budget = float(small.price(np.ones((4, 3), bool)).sum()) * 0.6
    target = Target(C=1e21)
    found = design_runs(PRIOR, target, budget, small)
    best = np.inf
    for k in range(8, 13):
        for at in combinations(range(12), k):
            chosen = np.zeros(12, bool)
            chosen[list(at)] = True
            chosen = chosen.reshape(4, 3)
            if small.price(chosen).sum() <= budget and spread_enough(small, chosen):
                best = min(best, expected(PRIOR, target, small, chosen)["total"])
    assert best <= found.after["total"] <= best * 1.01


def test_the_spread_is_kept_where_the_law_would_train_one_corner() -> None:
    lattice = build_lattice(RULE, 1e19)
    corner = Target(N=float(lattice.N[0]), D=float(lattice.D[0, 2]))
    found = design_runs(PRIOR, corner, 1e17, lattice, drift=0.0, noise=0.05)
    assert spread_enough(lattice, found.chosen)
    sizes, horizons = found.chosen.any(1), found.chosen.any(0)
    assert found.chosen.sum() >= 8 and sizes.sum() >= 4 and horizons.sum() >= 3
    assert lattice.N[sizes].max() >= 8 * lattice.N[sizes].min()
    lone = np.zeros(lattice.D.shape, bool)
    lone[:2] = True  # twelve runs of two sizes
    assert not spread_enough(lattice, lone)


def test_more_trunks_cost_more_than_their_forks(lattice: Lattice) -> None:
    chosen = np.zeros(lattice.D.shape, bool)
    chosen[3, [1, 4]] = True
    short, long = lattice.D[3, [1, 4]]
    assert lattice.price(chosen).sum() == pytest.approx(lattice.rate[3] * (0.8 * long + 0.2 * (short + long)))
    alone = build_lattice(RULE, 1e19, forked=False)
    assert alone.price(chosen).sum() == pytest.approx(alone.alone()[chosen].sum())


def test_runs_that_are_there_count_and_the_interval_narrows() -> None:
    few = runs(sizes=5, horizons=3)
    fitted = scaling.fit("chinchilla", few[few["N"] * few["D"] < few["N"].max() * few["D"].max() / 30])
    lattice = build_lattice(ShapeRule(counts="matmul"), 1e20)
    found = design_runs(fitted, Target(N=7e10, D=1.4e12), 1e20, lattice)
    assert found.before is not None
    assert found.after["parameters"] < 0.8 * found.before["parameters"]
    assert found.after["distance"] <= found.before["distance"]
    assert found.noise == 0.002  # seven rows and five parameters hide their noise
    many = scaling.fit("chinchilla", runs(noise=0.01))
    noisy = design_runs(many, Target(N=7e10, D=1.4e12), 1e20, lattice).noise
    assert noisy == pytest.approx(many.residual_sd * np.sqrt(48 / 43))
    unknowing = design_runs(PRIOR, Target(N=7e10, D=1.4e12), 1e20, lattice, noise=found.noise)
    assert found.after["parameters"] < unknowing.after["parameters"]


def test_what_is_wanted_changes_the_runs(lattice: Lattice, design) -> None:
    size = design_runs(PRIOR, Target("N_opt", C=1e22), 1e19, lattice)
    assert size.after["distance"] == size.after["scatter"] == 0
    assert not np.array_equal(size.chosen, design.chosen)
    at_loss = expected(PRIOR, Target("N_opt", C=1e22), lattice, design.chosen)
    assert size.after["parameters"] < at_loss["parameters"]


def test_drift_asks_for_larger_runs_than_the_law_does(lattice: Lattice, design) -> None:
    believed = design_runs(PRIOR, Target(C=1e22), 1e19, lattice, drift=0.0)
    assert believed.after["distance"] == 0
    assert believed.runs["C"].max() <= design.runs["C"].max()


def test_the_cheapest_design_reaches_the_interval_of_a_grid_for_less_than_half(lattice: Lattice) -> None:
    grid = even_choice(lattice, 1e19)
    target = Target(C=1e22)
    price = float(lattice.price(grid).sum())
    aimed = expected(PRIOR, target, lattice, grid, drift=0.0)["total"]
    found = cheapest_design(PRIOR, target, lattice, aimed, price, drift=0.0)
    assert found.after["total"] <= aimed
    assert found.flops < 0.5 * price
    with pytest.raises(ScalingError, match="give more"):
        cheapest_design(PRIOR, target, lattice, aimed / 50, price)
    with pytest.raises(ScalingError, match="nothing needs to be trained"):
        cheapest_design(scaling.fit("chinchilla", runs()), target, lattice, 0.5, price)


def test_refits_of_the_designed_runs_scatter_less_than_those_of_an_even_grid_of_twice_the_price(lattice) -> None:
    target = Target(C=1e22)
    grid = even_choice(lattice, 1e19)
    half = float(lattice.price(grid).sum()) / 2
    found = design_runs(PRIOR, target, half, build_lattice(RULE, half), drift=0.0)
    at = chinchilla_optimum(1e22, **TRUE)

    def scatter(own: Lattice, chosen: np.ndarray) -> float:
        group, column = np.nonzero(chosen)
        n, d = own.N[group], own.D[group, column]
        table = pd.DataFrame({"N": n, "D": d, "loss": chinchilla(n, d, **TRUE)})
        problem = problem_of(scaling.fit("chinchilla", table, starts=2))
        rng = np.random.default_rng(0)
        noise = rng.normal(size=(200, len(own.shapes)))[:, group] + rng.normal(size=(200, len(n)))
        start = problem.coordinates(np.array([[TRUE[name] for name in problem.free]]))
        ends = minimise_near(problem, np.repeat(start, 200, 0), None, NOISE * noise / np.sqrt(2))
        values = {k: v[:, 0] for k, v in problem.parameters(problem.natural(ends.u)).items()}
        ends_at = np.log(chinchilla(*at, **values))
        return robust_sd(ends_at - np.median(ends_at))

    assert scatter(found.lattice, found.chosen) < 0.8 * scatter(lattice, grid)


def test_the_grid_is_read_and_planned_at_the_price_of_the_design(design, tmp_path: Path) -> None:
    path = tmp_path / "grid.toml"
    path.write_text(grid_text(design, lr=0.01))
    grid = read_grid(path)
    assert len(grid.runs) == len(design.runs) and grid.repeated == 0
    assert "loss at C = 1e+22" in grid.question
    plan = build_plan(grid.runs)
    # updates are whole, and the warm-up belongs to the trunk
    assert plan.flops_shared == pytest.approx(design.runs["flops_added"].sum(), rel=0.01)
    assert plan.flops_alone == pytest.approx(design.runs["flops"].sum(), rel=0.01)
    sizes = {parameter_counts(run)["matmul"] for run in grid.runs}
    assert sizes == set(design.runs["N"].astype(int))
    assert min(run.steps for run in grid.runs) >= 1000
    assert all(run.cooldown == pytest.approx(0.2 * run.steps, abs=1) for run in grid.runs)


def test_what_cannot_be_designed_is_refused(lattice: Lattice) -> None:
    for said, what in (
        ("least spread of runs", lambda: design_runs(PRIOR, Target(C=1e22), 1e12, lattice)),
        ("a target is loss", lambda: Target(N=1e9)),
        ("a target is loss", lambda: Target("N_opt", N=1e9, D=1e10)),
        ("law of N and D", lambda: design_runs(find_published("muennighoff2023"), Target(C=1e22), 1e19, lattice)),
        ("one shape", lambda: build_lattice(RULE, 1e8)),
        ("above 0", lambda: build_lattice(RULE, -1.0)),
        ("above 0", lambda: design_runs(PRIOR, Target(C=1e22), 1e19, lattice, noise=0.0)),
        ("fit it freely", lambda: design_runs(
            scaling.fit("chinchilla", runs(), fix={"E": 1.8}), Target(C=1e22), 1e19, lattice)),
        ("smaller batch", lambda: grid_text(design_runs(PRIOR, Target(C=1e22), 1e19, lattice), lr=0.01, batch=10**6)),
    ):  # fmt: skip
        with pytest.raises(ScalingError, match=said):
            what()
