from __future__ import annotations

import numpy as np
import pytest

from scaling.schedule import (
    SCHEDULES,
    annealing_sum,
    constant,
    cosine,
    cosine_restarts,
    linear,
    lr_area,
    multistep,
    rewarm,
    wsd,
)

PEAK, STEPS, WARM = 2e-4, 1000, 100


def warmup_sum() -> float:
    return PEAK * (WARM + 1) / 2  # the sum of t + 1 over t < W, over W


# the decays of n steps run through the fractions 1/n ... n/n, so their sums are those of the right-hand rule
@pytest.mark.parametrize(
    ("lr", "integral"),
    [
        (constant(STEPS, PEAK, WARM), warmup_sum() + PEAK * 900),
        (linear(STEPS, PEAK, WARM), warmup_sum() + PEAK * 899 / 2),
        (linear(STEPS, PEAK, WARM, final=0.1), warmup_sum() + PEAK * (0.9 * 899 / 2 + 90)),
        (cosine(STEPS, PEAK, WARM), warmup_sum() + PEAK * 899 / 2),
        (cosine(STEPS, PEAK, WARM, final=0.1), warmup_sum() + PEAK * (0.9 * 899 / 2 + 90)),
        (wsd(STEPS, PEAK, WARM, cooldown=200, shape="linear"), warmup_sum() + PEAK * (700 + 199 / 2)),
        (
            wsd(STEPS, PEAK, WARM, cooldown=200, shape="1-sqrt"),
            warmup_sum() + PEAK * (700 + 200 - np.sqrt(np.arange(1, 201) / 200).sum()),
        ),
        (multistep(STEPS, PEAK, WARM, milestones=(0.8, 0.9), factor=0.5), warmup_sum() + PEAK * (700 + 50 + 25)),
        # each cosine of n steps sums to (n - 1) / 2
        (cosine_restarts(STEPS, PEAK, WARM, cycles=3), warmup_sum() + PEAK * (900 - 3) / 2),
        (rewarm(STEPS, PEAK, WARM, again_at=0.6, again_to=0.5), 1.5 * warmup_sum() + PEAK * (499 + 299 / 2) / 2),
    ],
    ids=[
        "constant",
        "linear",
        "linear to 10%",
        "cosine",
        "cosine to 10%",
        "wsd linear",
        "wsd 1-sqrt",
        "multistep",
        "restarts",
        "rewarm",
    ],
)
def test_each_integral_is_the_closed_form(lr: np.ndarray, integral: float) -> None:
    assert lr.shape == (STEPS,)
    assert lr_area(lr)[-1] == pytest.approx(integral, rel=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_warm_up_rises_to_the_peak_and_spends_no_step_at_zero(name: str) -> None:
    lr = SCHEDULES[name](STEPS, PEAK, WARM)
    np.testing.assert_allclose(lr[:WARM], PEAK * np.arange(1, WARM + 1) / WARM)
    assert lr[WARM - 1] == pytest.approx(PEAK)
    assert lr[0] > 0


def test_one_minus_sqrt_ends_at_zero_and_starts_below_linear() -> None:
    a, b = (wsd(STEPS, PEAK, 0, cooldown=200, shape=s) for s in ("1-sqrt", "linear"))
    assert a[-1] == b[-1] == 0
    assert a[810] < b[810]
    np.testing.assert_array_equal(a[:800], PEAK)


def test_horizons_of_one_wsd_family_share_their_trunk_exactly() -> None:
    short, long = (wsd(n, PEAK, 50, cooldown=n // 5).astype(np.float32) for n in (400, 800))
    assert (short[:320] == long[:320]).all()
    assert short[320] != long[320]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: constant(0, PEAK), "at least 1 step"),
        (lambda: constant(10, -1.0), "positive and finite"),
        (lambda: constant(10, PEAK, 11), "warmup must lie between"),
        (lambda: wsd(10, PEAK, 5, cooldown=6), "cooldown must lie between"),
        (lambda: wsd(10, PEAK, 0, cooldown=2, shape="sqrt"), "must be one of linear, 1-sqrt"),
        (lambda: cosine_restarts(10, PEAK, 5, cycles=6), "cycles must lie between"),
        (lambda: rewarm(10, PEAK, 5), "must leave room for a warm-up of 5"),
        (lambda: rewarm(10, PEAK, 1, again_to=0.1, final=0.1), "again_to must be above final"),
        (lambda: multistep(10, PEAK, milestones=(0.9, 0.8)), "rising fractions"),
    ],
)
def test_impossible_schedules_are_refused(call, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        call()


def test_restarts_jump_to_the_peak_and_rewarming_rises_to_its_own() -> None:
    lr = cosine_restarts(310, PEAK, 10, cycles=3, final=0.1)
    np.testing.assert_allclose(lr[[109, 209, 309]], 0.1 * PEAK)
    np.testing.assert_allclose(lr[[110, 210]], lr[10])
    again = rewarm(400, PEAK, 20, again_at=0.5, again_to=0.7, final=0.1)
    np.testing.assert_allclose(again[[199, 219, 399]], np.array([0.1, 0.7, 0.1]) * PEAK)
    np.testing.assert_array_equal(again[:200], cosine(200, PEAK, 20, final=0.1))
    assert (np.diff(again[199:220]) > 0).all() and (np.diff(again[219:]) < 0).all()


def test_the_annealing_sum_is_its_double_sum() -> None:
    lr, lam = wsd(60, 1e-3, 7, cooldown=20), 0.9
    drop = np.concatenate([[0.0], lr[:-1] - lr[1:]])
    brute = [sum(drop[k] * lam ** (i - k) for i in range(s + 1) for k in range(1, i + 1)) for s in range(60)]
    np.testing.assert_allclose(annealing_sum(lr, lam), brute, atol=1e-16)


def test_the_annealing_sum_is_a_moving_average_of_the_learning_rate() -> None:
    # (1 - lam) S2 = lr_0 - EMA(lr), with an EMA that starts at lr_0: linear in the learning rate, memory in steps
    lr, lam = cosine(500, 1e-3, 20), 0.98
    ema = [lr[0]]
    for value in lr[1:]:
        ema.append(lam * ema[-1] + (1 - lam) * value)
    np.testing.assert_allclose((1 - lam) * annealing_sum(lr, lam), lr[0] - np.array(ema), atol=1e-15)
