"""Best sizes: closed forms against the search, against brute force, and under other costs than 6 N D."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest

import scaling
from scaling import flops
from scaling.allocation import built, flatness, off_optimum, optimum, optimum_of
from scaling.costs import COSTS, Cost, cost_named, cost_of_table
from scaling.errors import ScalingError
from scaling.laws import LAWS
from scaling.laws.muennighoff2023 import muennighoff_optimum
from scaling.laws.sardana2024 import inference_optimum, lifetime_flops
from scaling.optima import Repeats, Task, _searched, at_budget, for_loss
from scaling.published import find_published
from scaling.shapes import COUNTS, Shape, ShapeRule, nearest_shape
from tests.test_fit import runs

SIZED = pytest.mark.parametrize("one", [law for law in LAWS.values() if law.weighs_sizes], ids=lambda law: law.name)
BALANCED = pytest.mark.parametrize("one", [law for law in LAWS.values() if law.balance], ids=lambda law: law.name)
TRAINED = [
    cost_named("6ND"),
    cost_named("forward"),
    cost_named("head"),
    cost_named("attention"),
    Cost("x", 3, 0.9, 1.1),
]


@pytest.fixture(scope="module")
def draws() -> scaling.Draws:
    return scaling.bootstrap(scaling.fit("chinchilla", runs()), 200, seed=1)


def row_of(one: scaling.Law) -> np.ndarray:
    return np.array([[one.coefficients()[name] for name in one.names]])


@BALANCED
def test_a_law_that_declares_its_balance_depends_on_that_sum_alone(one: scaling.Law) -> None:
    log_a, alpha, log_b, beta = one.balance(**one.coefficients())
    n = np.geomspace(1e8, 1e11, 7)
    terms = np.exp(log_a - alpha * np.log(n)), np.exp(log_b - beta * np.log(1e11))
    d = ((terms[0][:1] + terms[1] - terms[0]) / np.exp(log_b)) ** (-1 / beta)  # keeps the sum of the first
    keep = np.isfinite(d)
    losses = one(n[keep], d[keep], **one.coefficients())
    np.testing.assert_allclose(losses, losses[0], rtol=1e-9)
    assert one(n[0], 2 * d[0], **one.coefficients()) < losses[0]


@BALANCED
def test_the_closed_form_is_the_search_to_nine_digits(one: scaling.Law) -> None:
    for cost in (Cost("6ND", 6.0), Cost("table", 3.0, 0.9, 1.1)):
        task = Task(one, cost)
        assert task.is_closed
        for c in (1e18, 5.76e23):
            found = _searched(task, row_of(one), np.array([c]))
            np.testing.assert_allclose(found, at_budget(task, row_of(one), c).N, rtol=1e-9)


@SIZED
@pytest.mark.parametrize("cost", TRAINED, ids=lambda cost: cost.name)
def test_no_other_size_on_the_budget_does_better(one: scaling.Law, cost: Cost) -> None:
    best = at_budget(Task(one, cost), row_of(one), 1e21)
    assert cost.training(best.N, best.D)[0] == pytest.approx(1e21, rel=1e-9)
    n = best.N * np.exp(np.linspace(-3, 3, 41))
    losses = np.asarray(one(n, cost.tokens(n, 1e21), **one.coefficients()))
    assert (losses >= best.loss * (1 - 1e-13)).all()
    assert losses.argmin() == 20


@SIZED
def test_the_cheapest_for_a_loss_is_the_best_at_what_it_costs(one: scaling.Law) -> None:
    task = Task(one, cost_named("6ND"))
    best = at_budget(task, row_of(one), 1e22)
    back = for_loss(task, row_of(one), best.loss)
    np.testing.assert_allclose(back.C, 1e22, rtol=1e-6)


def test_serving_moves_the_optimum_as_sardana_says() -> None:
    one = find_published("chinchilla:hoffmann2022")
    params = dict(one.law.published[one.name])
    loss = 2.0
    found = optimum(one, loss=loss, cost=cost_named("6ND", served=2e12)).iloc[0]
    n, d = inference_optimum(loss, 2e12, **params)
    assert (found["N"], found["D"]) == pytest.approx((float(n), float(d)), rel=1e-7)
    assert found["C"] == pytest.approx(float(lifetime_flops(n, d, 2e12)), rel=1e-7)
    assert found["C_train"] == pytest.approx(float(6 * n * d), rel=1e-7)
    assert found["N"] < optimum(one, loss=loss)["N"][0]


@pytest.mark.parametrize("served", [1e9, 1e12, 1e15])
@pytest.mark.parametrize("loss", [1.9, 2.2, 3.5])
def test_every_loss_above_the_floor_has_a_budget_whatever_is_served(loss: float, served: float) -> None:
    one = find_published("besiroglu2024")
    found = optimum(one, loss=loss, cost=cost_named("6ND", served=served)).iloc[0]
    n, d = inference_optimum(loss, served, **one.law.published[one.name])
    assert (found["N"], found["D"]) == pytest.approx((float(n), float(d)), rel=1e-6)


def test_few_unique_tokens_are_repeated_as_muennighoff_says() -> None:
    one = find_published("muennighoff2023")
    found = optimum(one, C=1e22, unique=25e9).iloc[0]
    expected = muennighoff_optimum(1e22, 25e9, **one.law.published[one.name])
    assert (found["N"], found["D"], found["loss"]) == pytest.approx(expected, rel=1e-5)
    # the same constants in Chinchilla's form, with the repeats' worth borrowed, are the same law
    fixed = {k: v for k, v in one.law.published[one.name].items() if k not in ("R_D", "R_N")}
    chinchilla = LAWS["chinchilla"]
    row = np.array([[fixed[name] for name in chinchilla.names]])
    assert at_budget(Task(chinchilla, cost_named("6ND"), Repeats(25e9)), row, 1e22).N[0] == pytest.approx(found["N"])
    plenty = at_budget(Task(chinchilla, cost_named("6ND"), Repeats(1e15)), row, 1e22).N[0]
    assert plenty == pytest.approx(at_budget(Task(chinchilla, cost_named("6ND")), row, 1e22).N[0], rel=1e-6)


def test_a_cost_that_counts_more_buys_fewer_tokens() -> None:
    n, c = 1e8, 1e19
    d = {name: float(cost_named(name).tokens(n, c)) for name in COSTS}
    assert d["attention"] < d["head"] < d["forward"]
    assert d["forward"] == pytest.approx(3 * d["6ND"])
    assert cost_named("6ND", served=1e9).tokens(n, c) == pytest.approx(d["6ND"] - 1e9 / 3)


@pytest.mark.parametrize("counts", COUNTS)
def test_costs_by_shape_are_the_counts_of_the_trainer(counts: str) -> None:
    rule = ShapeRule(aspect=64, head_dim=64, context=1024, vocab=50000, counts=counts)
    width, depth = 1024, 16
    groups = flops.parameter_groups(width=width, depth=depth, head_dim=64, mlp_ratio=4.0, vocab=50000)
    counted = flops.flops_per_token(groups, width=width, depth=depth, context=1024)
    n = flops.parameter_counts(groups)[counts]
    assert rule.width(n) == pytest.approx(width, rel=1e-12)
    assert cost_named("head", rule).training(n, 1e9) == pytest.approx(counted["6N"] * 1e9, rel=1e-9)
    assert cost_named("attention", rule).training(n, 1e9) == pytest.approx(counted["6N_with_attention"] * 1e9, rel=1e-9)
    assert nearest_shape(n * 1.001, rule) == Shape(width, depth, n)


def test_shapes_can_be_built_and_are_the_nearest() -> None:
    rule = ShapeRule(head_dim=128, aspect=96)
    for n in np.geomspace(1e7, 1e12, 23):
        shape = nearest_shape(n, rule)
        assert shape.width % 128 == 0 and shape.depth == max(1, round(shape.width / 96))
        for width in (shape.width - 128, shape.width + 128):
            if width > 0:
                other = rule.size(width, max(1, round(width / 96)))
                assert abs(np.log(other / n)) >= abs(np.log(shape.N / n))


def test_a_cost_is_fitted_to_logged_flop_and_refused_where_it_is_6nd() -> None:
    table = runs()
    rng = np.random.default_rng(0)
    logged = table.assign(C=9 * table["N"] ** 0.97 * table["D"] * np.exp(0.01 * rng.normal(size=len(table))))
    cost = cost_of_table(logged)
    assert (cost.a, cost.b) == pytest.approx((0.97, 1.0), abs=0.005)
    assert cost.scatter == pytest.approx(0.01, rel=0.3)
    with pytest.raises(ScalingError, match="derived and not logged"):
        cost_of_table(table.assign(C=6 * table["N"] * table["D"]))
    with pytest.raises(ScalingError, match="no C"):
        cost_of_table(table.drop(columns="C", errors="ignore"))
    line = logged.assign(D=20 * logged["N"], C=logged["N"] ** 2 * np.linspace(1, 1.1, len(logged)))
    with pytest.raises(ScalingError, match="vary apart"):
        cost_of_table(line)


def test_what_other_sizes_waste_is_what_the_optimum_would_save(draws: scaling.Draws) -> None:
    frame = off_optimum(draws, C=1e21)
    assert list(frame["factor"]) == [0.25, 0.5, 1, 2, 4]
    for row in frame.to_dict("records"):
        cheaper = optimum(draws, C=1e21 * (1 - row["wasted"]))["loss"][0]
        assert cheaper == pytest.approx(row["loss"], rel=1e-7)
        same_size = draws.fit.predict(N=row["N"], D=row["compute"] * 1e21 / (6 * row["N"]))
        assert same_size == pytest.approx(frame["loss"].min(), rel=1e-7)
    assert frame["wasted"][2] == 0 and frame["compute"][2] == pytest.approx(1)
    assert frame["wasted_hi"][2] > 0  # the draws' own optima lie elsewhere
    for row in flatness(draws, C=1e21).to_dict("records"):
        assert row["factor_lo"] < 1 < row["factor_hi"]
        for n in (row["N_lo"], row["N_hi"]):
            end = off_optimum(draws, C=1e21, factors=[n / frame["N"][2]])
            assert end[row["within"]][0] == pytest.approx(row["limit"], rel=1e-5)


def test_a_loss_has_a_budget_and_its_interval_holds_a_runs_scatter(draws: scaling.Draws) -> None:
    aimed = optimum(draws, C=1e21).iloc[0]
    back = optimum(draws, loss=aimed["loss"]).iloc[0]
    assert back["C"] == pytest.approx(1e21, rel=1e-6)
    assert back["C_lo"] < 1e21 < back["C_hi"]
    narrow = for_loss(Task(draws.fit.law, cost_named("6ND")), draws.params, aimed["loss"]).C
    assert np.log(back["C_hi"] / back["C_lo"]) > np.log(np.quantile(narrow, 0.95) / np.quantile(narrow, 0.05))


def test_a_rounded_size_spends_the_same_budget(draws: scaling.Draws) -> None:
    frame = optimum(draws, C=[1e20, 1e22])
    shaped = built(draws, frame, ShapeRule())
    np.testing.assert_allclose(6 * shaped["N"] * shaped["D"], frame["C"], rtol=1e-12)
    assert (shaped["excess"] >= 0).all() and (shaped["excess"] < 1e-3).all()
    assert (shaped["heads"] * 64 == shaped["width"]).all()


def test_a_thousand_draws_take_less_than_a_second() -> None:
    one = LAWS["farseer"]
    params = np.repeat(row_of(one), 1000, 0)
    start = time.process_time()
    at_budget(Task(one, cost_named("attention")), params, 1e22)
    assert time.process_time() - start < 2  # .1 s on one idle core


def test_a_search_that_ends_at_an_edge_finds_no_size() -> None:
    one = LAWS["chinchilla"]
    for name in ("A", "B"):  # without its term the best size is one parameter, or one token
        params = row_of(one)
        params[0, one.names.index(name)] = 1e-12
        assert np.isnan(_searched(Task(one, cost_named("6ND")), params, np.array([1e18]))).all()


def test_draws_with_a_term_at_0_are_left_out_without_a_warning(draws: scaling.Draws) -> None:
    params = draws.params.copy()
    params[:3, draws.fit.law.names.index("A")] = 0.0
    some = dataclasses.replace(draws, params=params)
    task = Task(draws.fit.law, cost_named("6ND"))
    assert np.isnan(at_budget(task, params, 1e21).N[:3]).all()
    assert np.isfinite(optimum(some, C=1e21).to_numpy()).all()
    assert np.isfinite(optimum(some, loss=2.3)["N_lo"][0])


def test_what_has_no_answer_is_refused(draws: scaling.Draws) -> None:
    for said, options in (
        ("either budgets", {}),
        ("either budgets", {"C": 1e20, "loss": 2.0}),
        ("positive and finite", {"C": -1.0}),
        ("no budget reaches", {"loss": 1.0}),
        ("did you mean|expected|known|6ND", {"C": 1e20, "cost": "7ND"}),
        ("must be above 0", {"C": 1e20, "unique": -1.0}),
    ):
        with pytest.raises(ScalingError, match=said):
            optimum(draws, **options)
    with pytest.raises(ScalingError, match="how many tokens are unique"):
        optimum(find_published("muennighoff2023"), C=1e22)
    with pytest.raises(ScalingError, match="no published set"):
        optimum_of("nobody2020", C=1e22)
