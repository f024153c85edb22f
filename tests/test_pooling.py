"""Sums over the past of schedules: pooled against exact, and at knots against every step."""

from __future__ import annotations

import numpy as np
import pytest

from scaling import pooling
from scaling.knots import bends, between, knots
from scaling.laws import LAWS
from scaling.pooling import past, warmup_of
from scaling.schedule import annealing_sum, constant, cosine, wsd
from scaling.trajectory import Trajectory, whole

PEAK, WARMUP = 3e-4, 500


def two_stage() -> np.ndarray:
    lr = constant(6000, PEAK, WARMUP)
    lr[2500:] *= 0.1
    return lr


SCHEDULES = {
    "constant": constant(6000, PEAK, WARMUP),
    "cosine": cosine(6000, PEAK, WARMUP, 0.1),
    "cosine to 0": cosine(6000, PEAK, WARMUP),
    "wsd": wsd(6000, PEAK, WARMUP, 1200),
    "wsd linear": wsd(6000, PEAK, WARMUP, 1200, "linear"),
    "two-stage": two_stage(),
    "zeros appended": np.concatenate([wsd(5000, PEAK, WARMUP, 1200), np.zeros(1000)]),
    "re-warmed": np.concatenate([cosine(3000, PEAK, WARMUP, 0.05), cosine(3000, PEAK, 200, 0.05)]),
    "short": wsd(60, PEAK, 5, 20),
}
EVERY = pytest.mark.parametrize("lr", SCHEDULES.values(), ids=SCHEDULES)
NCL = {"L0": 2.7, "A": 0.43, "s": 0.49, "a0": 6.9, "a1": 15.2, "q": 1.06, "p": 1.855}  # as fits of 100M curves give
MPL = {"L0": 2.65, "A": 0.6, "alpha": 0.453, "B": 438.0, "C": 2.13, "beta": 0.598, "gamma": 0.655}  # Luo 2025, 100M
FSL = {"L0": 2.65, "c1": 0.6, "s": 0.45, "c2": 400.0, "c3": 40.0, "c4": 200.0, "g": 0.5}
LAW_AT = [("ncl", NCL), ("mpl", MPL), ("mpl_rises", MPL), ("fsl", FSL)]


def both(lr: np.ndarray, at: np.ndarray) -> tuple[Trajectory, Trajectory]:
    return Trajectory((lr,), (at,)), Trajectory((lr,), (at,), exact=True)


@EVERY
@pytest.mark.parametrize(("name", "params"), LAW_AT, ids=[name for name, _ in LAW_AT])
def test_pooled_sums_give_the_loss_to_3e_6(lr: np.ndarray, name: str, params: dict[str, float]) -> None:
    pooled, exact = both(lr, np.unique(np.linspace(2, len(lr) - 1, 90).astype(int)))
    np.testing.assert_allclose(LAWS[name](pooled, **params), LAWS[name](exact, **params), rtol=3e-6)


@pytest.mark.parametrize(("s", "q", "p"), [(0.3, 0.7, 1.5), (0.9, 1.6, 2.3)])
def test_pooling_holds_over_the_range_of_exponents(s: float, q: float, p: float) -> None:
    for lr in SCHEDULES.values():
        pooled, exact = (t.past("updates") for t in both(lr, np.arange(10, len(lr), 50)))
        sums = [x.sum(x.lr**p * (1 + x.area**-s) * x.lag**-q) for x in (pooled, exact)]
        np.testing.assert_allclose(*sums, rtol=1e-4)


def test_a_coarser_pooling_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooling, "RATIO", 0.6)
    pooled, exact = both(SCHEDULES["wsd"], np.arange(100, 6000, 100))
    error = np.abs(LAWS["ncl"](pooled, **NCL) / LAWS["ncl"](exact, **NCL) - 1)
    assert error.max() > 3e-6


def test_rows_cost_few_terms_however_long_their_past() -> None:
    terms = [len(whole(constant(n, PEAK, WARMUP)).past("updates").count) for n in (4000, 64000)]
    assert terms[1] < 4 * terms[0]


@EVERY
@pytest.mark.parametrize("lam", [0.9, 0.999])
def test_pooled_annealing_sums_agree_with_the_recursion(lr: np.ndarray, lam: float) -> None:
    expected = annealing_sum(lr, lam)
    np.testing.assert_allclose(whole(lr).annealing(lam), expected, atol=1e-5 * np.abs(expected).max())


@EVERY
def test_whole_curves_are_summed_at_few_knots_and_follow_between_them(lr: np.ndarray) -> None:
    at = np.unique(np.concatenate([np.arange(1, len(lr), 17), [len(lr) - 1]]))
    curve = LAWS["ncl"](whole(lr), **NCL)
    np.testing.assert_allclose(curve[at], LAWS["ncl"](Trajectory((lr,), (at,), exact=True), **NCL), rtol=5e-6)


def test_knots_stand_at_bends() -> None:
    lr = wsd(6000, PEAK, WARMUP, 1200, "linear")
    assert {0, WARMUP - 1, 4799, 5999} <= {int(b) for b in bends(lr)}
    assert len(knots(lr)) < 800
    assert len(bends(cosine(6000, PEAK))) <= 4


def test_interpolation_is_exact_for_cubics_and_never_reaches_over_a_bend() -> None:
    lr = two_stage()
    at, rows = knots(lr), np.arange(len(lr))
    line = between(lr, at, rows)
    cubic = 1 + (rows / 6000) - 2 * (rows / 6000) ** 3
    np.testing.assert_allclose(line(cubic[at]), cubic, rtol=1e-12)
    step = np.where(rows >= 2500, 1.0, 0.0)
    np.testing.assert_allclose(line(step[at])[[*range(2499), *range(2500, 6000)]], np.delete(step, 2499), atol=1e-12)


def test_drops_begin_after_the_warm_up() -> None:
    lr = SCHEDULES["re-warmed"]
    assert warmup_of(lr) == WARMUP - 1
    falls = past(lr, np.array([len(lr) - 1]), "drops", exact=True)
    assert falls.count.sum() == pytest.approx(PEAK - lr[-1])
    assert past(lr, np.array([len(lr) - 1]), "all drops", exact=True).count.sum() == pytest.approx(lr[0] - lr[-1])


def test_ncl_does_not_change_when_steps_at_rate_0_are_appended() -> None:
    lr = wsd(5000, PEAK, WARMUP, 1200)
    longer = LAWS["ncl"](whole(np.concatenate([lr, np.zeros(2000)])), **NCL)
    assert longer[-1] == pytest.approx(longer[4999], rel=1e-9)
    tissue = {"L0": 2.6, "A": 0.43, "alpha": 0.55, "C": 0.41, "lam": 0.999}
    exploited = LAWS["tissue"](whole(np.concatenate([lr, np.zeros(2000)])), **tissue)
    assert exploited[-1] < exploited[4999] - 0.01
