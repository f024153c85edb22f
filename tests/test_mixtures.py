"""Best mixtures under laws of shares, against closed forms and exhaustive search."""

from __future__ import annotations

import numpy as np
import pytest

import scaling
from scaling.experts import expert_mixture_loss
from scaling.laws import LAWS
from scaling.laws.ge2024 import bimix, bimix_optimum
from scaling.laws.liu2024 import regmix
from scaling.laws.shukor2025 import shukor
from scaling.laws.ye2024 import mixing, ye
from scaling.mixtures import best_mixture, mixture_loss


def test_the_best_mixture_of_two_shares_is_where_the_closed_form_says():
    # minimise a e^-r + b e^-(1 - r): r = (1 + ln(a / b)) / 2
    found = best_mixture(lambda r: 2 * np.exp(-r[0]) + np.exp(-r[1]), ("first", "second"))
    assert found.shares["first"] == pytest.approx((1 + np.log(2)) / 2, abs=1e-6)
    assert found.agreed == found.started


def test_bimix_s_optimum_equalises_gains_and_agrees_with_the_search():
    params = [{"B": 20.0, "C": 1.8, "alpha": 0.1, "beta": 0.4}, {"B": 5.0, "C": 2.5, "alpha": 0.2, "beta": 0.3},
              {"B": 9.0, "C": 1.2, "alpha": 0.05, "beta": 0.5}]  # fmt: skip
    shares = bimix_optimum(1e6, params, weights=[1.0, 2.0, 0.5])
    assert shares.sum() == pytest.approx(1)
    weights = (1.0, 2.0, 0.5)
    found = best_mixture(
        lambda r: sum(w * bimix.function(x, 1e6, **p) for w, x, p in zip(weights, r, params, strict=True)),
        ("a", "b", "c"),
    )
    np.testing.assert_allclose(list(found.shares.values()), shares, atol=1e-5)


def test_the_optimum_of_a_linear_law_is_a_vertex_and_limits_hold_it_back():
    domains, loss = mixture_loss([(regmix, {"w_web": 4.0, "w_code": 3.0, "w_books": 5.0}, 1.0)])
    assert best_mixture(loss, domains).shares == pytest.approx({"web": 0.0, "code": 1.0, "books": 0.0}, abs=1e-6)
    held = best_mixture(loss, domains, limits={"code": (0.0, 0.5), "books": (0.1, 1.0)})
    assert held.shares == pytest.approx({"web": 0.4, "code": 0.5, "books": 0.1}, abs=1e-6)


def test_no_mixture_on_a_fine_grid_is_better_than_the_best_of_the_mixing_law():
    names = ("academic", "prose", "dialogue", "symbolic", "internet")
    domains, loss = mixture_loss([(ye, ye.published[name], 0.2) for name in names])
    found = best_mixture(loss, domains)
    drawn = np.random.default_rng(0).dirichlet(np.ones(5), 100_000).T
    assert found.loss <= np.min(loss(drawn)) < 1.01 * found.loss


def test_the_best_additive_mixture_is_that_of_every_size():
    params = shukor.coefficients()
    small, large = (
        best_mixture(mixture_loss([(shukor, params, 1.0)], N=n, D=d)[1], shukor.simplex).shares
        for n, d in ((1e8, 1e9), (7e9, 2e11))
    )
    assert small == pytest.approx(large, abs=1e-4)


def test_mixed_experts_are_convex_in_their_shares_and_have_an_optimum_inside():
    rng = np.random.default_rng(1)
    p = np.concatenate([rng.beta((5, 1), (2, 4), (500, 2)), rng.beta((1, 5), (4, 2), (300, 2))])
    found = best_mixture(lambda r: expert_mixture_loss(p, r), ("web", "code"))
    ends = [expert_mixture_loss(p, e) for e in np.eye(2)]
    assert 0.5 < found.shares["web"] < 0.9 and found.loss < min(ends)
    grid = [expert_mixture_loss(p, [x, 1 - x]) for x in np.linspace(0.001, 0.999, 999)]
    assert found.loss == pytest.approx(min(grid), rel=1e-5)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (
            lambda: best_mixture(lambda r: r[0], ("a", "b"), limits={"a": (0.0, 0.2), "b": (0.0, 0.3)}),
            "no mixture of a, b",
        ),
        (lambda: mixture_loss([(LAWS["chinchilla"], {}, 1.0)]), "need domains"),
        (
            lambda: mixture_loss([(shukor, shukor.coefficients(), 1.0)], N=1e9),
            "reads the shares web, code, books and D, N",
        ),
    ],
)
def test_mistakes_are_said(wrong, says: str):
    with pytest.raises(scaling.ScalingError, match=says):
        wrong()


def test_a_domain_with_the_name_of_a_parameter_is_refused():
    with pytest.raises(ValueError, match="c is the name of a parameter of my_mixing too: give the input another one"):
        mixing(("c", "python"))
