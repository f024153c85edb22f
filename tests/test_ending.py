"""The final loss of a schedule and its gradient: the law's own, at every update, for every law and a user's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scaling.ending import final_loss
from scaling.errors import ScalingError
from scaling.law import Exponent, Floor, Scale, law
from scaling.laws import LAWS
from scaling.reverse import PARTIALS, Traced
from scaling.schedule import constant, cosine, wsd
from scaling.scheduling import Choice, grid
from scaling.trajectory import Trajectory

STEPS, PEAK, WARMUP = 900, 3e-4, 90
SCHEDULES = {
    "wsd": wsd(STEPS, PEAK, WARMUP, 200, final=0.02),
    "to 0": wsd(STEPS, PEAK, WARMUP, 200, "linear"),
    "re-warmed": np.concatenate([cosine(450, PEAK, WARMUP, 0.05), cosine(450, PEAK, 50, 0.05)]),
    "no warm-up": constant(STEPS, PEAK),
}
CURVES = [name for name, each in LAWS.items() if each.kind == "curves"]


def at_the_end(name: str, lr: np.ndarray, params: dict[str, float]) -> float:
    own = LAWS[name] if isinstance(name, str) else name
    end = Trajectory((lr,), (np.array([len(lr) - 1]),), exact=True)
    return float(own.function(end, *([np.array([3e8])] * (len(own.inputs) - 1)), **params)[0])


def sizes(name: str) -> dict[str, float]:
    return dict.fromkeys(LAWS[name].inputs[1:], 3e8)


@pytest.mark.parametrize("lr", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("name", CURVES)
def test_the_final_loss_is_the_laws_own(name: str, lr: np.ndarray) -> None:
    params = LAWS[name].coefficients()
    loss, slope = final_loss(LAWS[name], params, lr, **sizes(name))
    assert loss == pytest.approx(at_the_end(name, lr, params), rel=1e-9)
    assert slope.shape == (STEPS,)


@pytest.mark.parametrize("name", CURVES)
def test_the_gradient_is_that_of_central_differences(name: str) -> None:
    params, lr = LAWS[name].coefficients(), cosine(STEPS, PEAK, WARMUP, 0.05)
    slope = final_loss(LAWS[name], params, lr, **sizes(name))[1]
    for k in (0, WARMUP // 2, WARMUP + 30, 300, 600, 880, STEPS - 2, STEPS - 1):
        if k < WARMUP and ("mpl" in name or name == "fsl"):
            continue  # these laws jump where a fall within the warm-up ends it
        step = 1e-4 * lr[k]
        ends = [at_the_end(name, lr + side * step * (np.arange(STEPS) == k), params) for side in (1, -1)]
        assert slope[k] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=2e-4, abs=1e-6 * np.abs(slope).max())


@law(cite="nobody's")
def root(schedule: Any, *, L0: Floor, A: Scale, s: Exponent) -> Any:
    """L = L0 + A / sqrt(1 + S^s)"""
    return L0 + A / np.sqrt(1 + np.exp(s * schedule.log_area))


@law(cite="nobody's")
def odd(schedule: Any, *, L0: Floor, A: Scale) -> Any:
    """L = L0 + A arctan(S)"""
    return L0 + A * np.arctan(schedule.area)


def test_a_law_of_ones_own_has_its_gradient_without_writing_it() -> None:
    params, lr = {"L0": 2.0, "A": 1.0, "s": 0.7}, SCHEDULES["wsd"]
    loss, slope = final_loss(root, params, lr)
    assert loss == pytest.approx(2 + 1 / np.sqrt(1 + lr.sum() ** 0.7), rel=1e-12)
    expected = -0.5 * (1 + lr.sum() ** 0.7) ** -1.5 * 0.7 * lr.sum() ** -0.3
    np.testing.assert_allclose(slope, expected, rtol=1e-10)


def test_an_equation_beyond_the_rules_is_said_to_be() -> None:
    with pytest.raises(ScalingError, match=r"uses numpy.arctan, whose derivative is not known here; known: add"):
        final_loss(odd, {"L0": 1.0, "A": 1.0}, SCHEDULES["wsd"])


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("chinchilla", {}, "not a schedule; use a law of curves"),
        ("ncl_sizes", {}, "give N="),
        ("ncl", {"N": 1.0}, "give no size"),
    ],
)
def test_what_cannot_be_asked_is_refused(name: str, given: dict[str, float], said: str) -> None:
    with pytest.raises(ScalingError, match=said):
        final_loss(LAWS[name], LAWS[name].coefficients(), SCHEDULES["wsd"], **given)


def test_every_rule_of_differentiation_is_right() -> None:
    rng = np.random.default_rng(0)
    for ufunc, partials in PARTIALS.items():
        values = [rng.uniform(0.3, 2.0, 5) for _ in partials]
        traced = [Traced(v) for v in values]
        slopes = ufunc(*traced).sum().gradient(*traced)
        for place, slope in enumerate(slopes):
            step = [np.where(i == place, 1e-6, 0.0) for i in range(len(values))]
            ends = [ufunc(*(v + side * h for v, h in zip(values, step, strict=True))) for side in (1, -1)]
            np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-6, rtol=1e-6, err_msg=ufunc.__name__)


def test_broadcast_operands_get_slopes_of_their_own_shape() -> None:
    one, many = Traced([2.0]), Traced([1.0, 2.0, 3.0])
    slopes = (one * many + one).sum().gradient(one, many)
    np.testing.assert_allclose(slopes[0], [9.0])
    np.testing.assert_allclose(slopes[1], [2.0, 2.0, 2.0])


@pytest.mark.parametrize("name", ["ncl", "mpl", "fsl", "tissue"])
def test_cells_of_updates_give_the_loss_to_1e_5(name: str) -> None:
    own, params = LAWS[name], LAWS[name].coefficients()
    points = grid(24_000, 2160)
    values = PEAK * np.minimum(1.0, (1.001 - points.at / 23_999) / 0.25)
    loss = points.loss(own, params, values, {})[0]
    assert len(points.count) < 1200 and points.count.sum() == 24_000
    assert loss == pytest.approx(final_loss(own, params, points.rates(values))[0], abs=1e-5)


@pytest.mark.parametrize("monotone", [True, False])
def test_the_gradient_by_the_searchs_own_numbers_is_right(monotone: bool) -> None:
    points = grid(STEPS, WARMUP, 12)
    choice = Choice(points, (1e-4, 6e-4), monotone)
    own, params = LAWS["ncl"], LAWS["ncl"].coefficients()
    u = np.random.default_rng(1).uniform(0.2, 0.8, len(points.at) + 1)

    def loss(u: np.ndarray) -> float:
        return points.loss(own, params, choice.values(u), {})[0]

    slope = choice.pulled(u, points.loss(own, params, choice.values(u), {})[1])
    for i in range(len(u)):
        step = 1e-5 * (np.arange(len(u)) == i)
        assert slope[i] == pytest.approx((loss(u + step) - loss(u - step)) / 2e-5, rel=1e-4, abs=1e-8)


def test_the_last_loss_of_a_forecast_is_the_final_loss() -> None:
    params, lr = LAWS["ncl"].coefficients(), SCHEDULES["wsd"]
    whole = LAWS["ncl"](Trajectory((lr,), (np.arange(1, STEPS),)), **params)
    assert final_loss(LAWS["ncl"], params, lr)[0] == pytest.approx(whole[-1], rel=5e-6)
