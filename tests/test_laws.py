"""The contract every law in LAWS is held to."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import numpy as np
import pandas as pd
import pytest

import scaling
from scaling.law import CUSTOM, Law, Param, law, value_and_gradient
from scaling.laws import FAMILIES, LAWS, find_law
from scaling.laws.hoffmann2022 import chinchilla_optimum
from scaling.schedule import annealing_sum, lr_area
from scaling.trajectory import whole
from tests.law_examples import example_inputs, table_of

EVERY = pytest.mark.parametrize("one", LAWS.values(), ids=LAWS)
EVERY_PUBLISHED = pytest.mark.parametrize(
    ("one", "name"),
    [(one, name) for one in LAWS.values() for name in one.published],
    ids=lambda v: getattr(v, "name", v),
)


#: Every published set, and the example of a law that has none.
EVERY_SET = pytest.mark.parametrize(
    ("one", "name"),
    [(one, name) for one in LAWS.values() for name in one.published or ("example",)],
    ids=lambda v: getattr(v, "name", v),
)


def coefficients(one: Law, name: str) -> dict[str, float]:
    return dict(one.published[name] if one.published else one.example)


Wide = Annotated[float, Param(lo=0.0, hi=3.0, start=(0.05, 2.5))]


@EVERY_PUBLISHED
def test_published_values_are_complete_and_within_bounds(one: Law, name: str) -> None:
    values = one.published[name]
    assert set(values) == set(one.names)
    for p in one.params:
        assert p.lo < values[p.name] < p.hi


@EVERY
def test_a_law_says_what_it_is_about_and_over_what(one: Law) -> None:
    assert one.family in FAMILIES and one.family != CUSTOM
    assert one.cite and one.units and one.instead and one.unit
    assert set(one.coefficients()) == set(one.names)
    assert not (one.published and one.example)
    assert set(one.ranges_for) <= set(one.published)
    for ranges in (one.ranges, *one.ranges_for.values()) if one.kind == "points" else ():
        assert set(ranges) == set(one.inputs) - set(one.simplex)
        for name, (lo, hi) in ranges.items():
            assert (lo >= 0 if name in one.zero else lo > 0) and lo < hi < np.inf


@EVERY_SET
def test_values_at_published_coefficients_are_such_as_can_be_measured(one: Law, name: str) -> None:
    values = np.asarray(one(*example_inputs(one, name), **coefficients(one, name)), dtype=float)
    assert np.isfinite(values).all()
    assert one.signed or (values > 0).all()


@EVERY
def test_parameters_that_claim_to_be_linear_are(one: Law) -> None:
    inputs = example_inputs(one)
    params = one.coefficients()
    for p in one.params:
        steps = [np.asarray(one(*inputs, **(params | {p.name: params[p.name] * k}))) for k in (1.0, 0.9, 0.8)]
        first, second = (b - a for a, b in pairwise(steps))
        if p.linear:
            np.testing.assert_allclose(first, second, rtol=1e-7, atol=1e-12)
        else:
            assert not np.allclose(first, second, rtol=1e-7, atol=1e-12), f"{p.name} is linear and does not say so"


@EVERY
def test_the_gradient_agrees_with_central_differences(one: Law) -> None:
    inputs = example_inputs(one)
    params = one.coefficients()
    _, columns = value_and_gradient(one, inputs, params, one.names)
    for name, column in zip(one.names, columns, strict=True):
        h = 1e-6 * abs(1 - params[name] if one.param(name).hi == 1 else params[name])
        ahead, behind = (one(*inputs, **(params | {name: params[name] + s * h})) for s in (1, -1))
        expected = (ahead - behind) / (2 * h)
        # rounding of the difference: eps * loss / h
        np.testing.assert_allclose(column, expected, rtol=1e-5, atol=1e-14 * np.max(np.abs(ahead)) / h)


@pytest.mark.parametrize("one", [one for one in LAWS.values() if one.derivatives], ids=lambda one: one.name)
def test_declared_second_derivatives_agree_with_differences_of_the_first(one: Law) -> None:
    assert one.derivatives is not None
    inputs, params = example_inputs(one), one.coefficients()
    value, _, more = one.derivatives(*inputs, **params)
    declared = more()
    for i, first in enumerate(one.names):
        for second in one.names:
            h = 1e-5 * (1 - params[second] if second == "lam" else params[second])
            ahead, behind = (
                np.asarray(one.derivatives(*inputs, **(params | {second: params[second] + s * h}))[1][i])
                for s in (1, -1)
            )
            column = declared.get((first, second), declared.get((second, first), 0.0))
            difference = np.broadcast_to((ahead - behind) / (2 * h), np.shape(value))
            size = 1e-5 * np.max(np.abs(ahead)) / h  # differences lose five digits of this
            np.testing.assert_allclose(
                np.broadcast_to(column, difference.shape), difference, rtol=1e-4, atol=1e-9 * size
            )


@EVERY
def test_equations_broadcast_over_a_batch_of_parameters(one: Law) -> None:
    inputs = example_inputs(one)
    params = one.coefficients()
    batch = {k: np.array([[v], [v * 0.9]]) for k, v in params.items()}
    if "lam" in batch:
        batch["lam"] = np.array([[0.999], [0.99]])
    values = one(*inputs, **batch)
    for i in range(2):
        np.testing.assert_allclose(values[i], one(*inputs, **{k: float(v[i, 0]) for k, v in batch.items()}), rtol=1e-12)


@EVERY_SET
def test_noiseless_data_gives_the_coefficients_back(one: Law, name: str) -> None:
    inputs, values = example_inputs(one, name), coefficients(one, name)
    table = table_of(one, inputs, np.asarray(one(*inputs, **values)))
    held = {p: values[p] for p in one.hold}
    none = {p.name: None for p in one.params if p.prior is not None}  # they would pull from what the data say
    found = scaling.fit(one, table, x="C" if one.inputs == ("x",) else None, fix=held, priors=none)
    # the objective is the square of the error: rounding of the losses leaves parameters their square root
    for parameter, value in values.items():
        assert found.params[parameter] == pytest.approx(value, rel=1e-4), found.report()
    assert found.value < 1e-12


def test_an_unknown_law_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(scaling.ScalingError, match="did you mean chinchilla"):
        find_law("chinchila")


def test_a_law_of_ones_own_fits_like_any_other() -> None:
    @law(cite="this test")
    def tokens_only(D, *, E: scaling.Floor, B: scaling.Scale, beta: scaling.Exponent):
        """L(D) = E + B / D^beta"""
        return E + B * D**-beta

    d = np.geomspace(1e8, 1e11, 12)
    found = scaling.fit(tokens_only, pd.DataFrame({"D": d, "loss": 1.7 + 400 * d**-0.3}))
    assert found.params["beta"] == pytest.approx(0.3, rel=1e-5)
    assert found.params["E"] == pytest.approx(1.7, rel=1e-5)


def test_a_law_that_is_undefined_in_part_of_its_box_still_fits() -> None:
    @law(cite="this test")
    def broken(D, *, E: scaling.Floor, B: scaling.Scale, beta: Wide):
        """L(D) = E + B / D^beta where beta < 1, nothing elsewhere"""
        return E + B * D**-beta * np.where(np.real(beta) < 1, 1, np.nan)

    d = np.geomspace(1e8, 1e11, 12)
    found = scaling.fit(broken, pd.DataFrame({"D": d, "loss": 1.7 + 400 * d**-0.3}))
    assert found.params["beta"] == pytest.approx(0.3, rel=1e-4)


def test_a_parameter_without_an_annotation_is_refused() -> None:
    with pytest.raises(TypeError, match="needs an annotation that holds a Param"):

        @law(cite="this test")
        def wrong(D, *, E):
            return E * D


def test_a_false_gradient_would_be_seen() -> None:
    def lie(D, *, E, B):
        return np.ones_like(D), 2.0 / D

    @law(cite="this test", gradient=lie)
    def lying(D, *, E: scaling.Floor, B: scaling.Scale):
        """L = E + B / D"""
        return E + B / D

    d = np.array([1.0, 2.0])
    _, columns = value_and_gradient(lying, (d,), {"E": 1.0, "B": 1.0}, ("E", "B"))
    assert not np.allclose(columns[1], 1 / d)


def test_published_chinchilla_values_predict_the_published_losses() -> None:
    # Hoffmann 2022 reports 40B at Gopher's budget for approach 3 (figure 3 of the TeX coefficients' replication)
    besiroglu = LAWS["chinchilla"].published["besiroglu2024"]
    assert LAWS["chinchilla"](7e10, 1.4e12, **besiroglu) == pytest.approx(1.9738819, rel=1e-7)
    n, _ = chinchilla_optimum(5.76e23, **LAWS["chinchilla"].published["hoffmann2022"])
    assert n == pytest.approx(40.31e9, rel=1e-3)
    n, d = chinchilla_optimum(5.76e23, **besiroglu)
    assert n == pytest.approx(72.25e9, rel=1e-3)
    assert 6 * n * d == pytest.approx(5.76e23, rel=1e-12)


def test_kaplan_has_its_published_limits() -> None:
    values = LAWS["kaplan"].published["kaplan2020"]
    assert LAWS["kaplan"](1e9, 2.2e10, **values) == pytest.approx(2.3693163, rel=1e-7)
    n_only = (values["N_c"] / 1e9) ** values["alpha_N"]
    assert LAWS["kaplan"](1e9, 1e30, **values) == pytest.approx(n_only, rel=1e-6)


def test_tissue_reproduces_the_authors_example() -> None:
    # S1 and S2 of the authors' cosine at step 20000, and the loss their coefficients give there
    path = LAWS["tissue"]
    lr = np.concatenate([np.full(501, 2e-4), 1e-4 * (1 + np.cos(np.pi * np.arange(1, 19501) / 19500))])
    values = path.published["tissue2024"]
    assert lr_area(lr)[20000] == pytest.approx(2.0501, rel=1e-6)
    assert annealing_sum(lr, 0.999)[20000] == pytest.approx(0.1974738377, rel=1e-8)
    assert path(whole(lr, exact=True), **values)[20000] == pytest.approx(2.836215337929605, rel=1e-8)
    assert path(whole(lr), **values)[20000] == pytest.approx(2.836215337929605, rel=1e-7)


Any_ = Annotated[float, Param(start=(-2.0, 2.0))]


@law(cite="this test", predicts="reward", signed=True, zero=("H",), family="representation")
def reward(H, *, a: scaling.Scale, b: Any_):
    """R = -a exp(H) + b"""
    return -a * np.exp(H) + b


def test_a_law_of_what_may_be_negative_reads_its_own_column_and_zeros() -> None:
    h = np.linspace(0.0, 1.2, 13)
    table = pd.DataFrame({"H": h, "reward": 0.9 - 0.8 * np.exp(h)})
    found = scaling.fit(reward, table)
    assert found.params["a"] == pytest.approx(0.8, rel=1e-6) and found.params["b"] == pytest.approx(0.9, rel=1e-6)
    assert len(found.dropped) == 0 and found.objective_name == "squared"
    assert found.columns["loss"] == "reward"
    np.testing.assert_allclose(found.residuals, 0, atol=1e-9)
    assert found.predict(H=0.0) == pytest.approx(0.1)
    with pytest.raises(scaling.ScalingError, match="has no logarithm"):
        scaling.fit(reward, table, objective="log-huber")
    with pytest.raises(scaling.ScalingError, match="must be 0 or positive"):
        found.predict(H=-1.0)


def test_shares_that_do_not_sum_to_one_are_dropped_with_the_sum() -> None:
    @law(cite="this test", simplex=("p", "q"), zero=("p", "q"))
    def mixed(p, q, *, c: scaling.Floor, d: scaling.Floor):
        """L = c p + d q"""
        return c * p + d * q

    p = np.array([0.0, 0.2, 0.5, 0.7, 1.0, 0.5])
    q = np.array([1.0, 0.8, 0.5, 0.3, 0.0, 0.6])
    found = scaling.fit(mixed, pd.DataFrame({"p": p, "q": q, "loss": 2 * p + 3 * q}))
    assert found.params == pytest.approx({"c": 2.0, "d": 3.0})
    assert found.dropped["reason"].tolist() == ["p + q is 1.1, not 1"]


def test_a_declaration_that_names_what_the_equation_lacks_is_refused() -> None:
    with pytest.raises(TypeError, match="zero names S; the equation has D, E"):

        @law(cite="this test", zero=("S",))
        def wrong(D, *, E: scaling.Floor):
            return E + 0 * D
