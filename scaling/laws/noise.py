"""The noise-convolution law: the loss that updates' noise adds, forgotten as a power of the learning rate spent since.

It is the direct form of the Functional Scaling Law (Li 2025, arXiv:2509.19189: loss = approximation + forgetting +
noise, in the intrinsic time S) with a pure power kernel and a free power of the learning rate; theory for one-pass SGD
has p = 2, and last-iterate bounds have p = 2, q = 1 (Schaipp 2025, arXiv:2501.18965). The form, its use as a law of
curves and the priors are this project's own; docs/annealing.md has how they were chosen. Nothing in it is special to
warm-up, re-warming or steps at rate 0, and several peak learning rates are one law.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from scaling.law import Floor, Param, Scale, law
from scaling.trajectory import Trajectory

#: The size in parameters that amplitudes of laws over sizes are stated at.
REFERENCE = 1e8
NOISE = 10**-2.5  # sd of ln loss that the priors are weighed against

Approach = Annotated[float, Param(lo=0.0, hi=3.0, start=(0.25, 0.7), prior=(0.47, 0.3))]
Forgetting = Annotated[float, Param(lo=0.1, hi=3.0, start=(0.9, 1.3), prior=(1.1, 0.136))]
RateExponent = Annotated[float, Param(lo=0.5, hi=4.0, start=(1.75, 2.0), prior=(1.9, 0.053))]
Tilt = Annotated[float, Param(start=(-0.1, 0.1), prior=(0.0, 0.1))]
SizeExponent = Annotated[float, Param(lo=0.0, hi=2.0, start=(0.1, 0.5), prior=(0.25, 0.5))]


def _sums(schedule: Trajectory, s: Any, q: Any, p: Any) -> tuple[Any, Any, Any]:
    """First-order moments of the early and the late noise, and a function that gives the second-order ones.

    With w = lr^p lag^-q: sums of w (1, ln lag, ln lr), of w S^-s (1, ln lag, ln lr, ln S), each (B, n), or (n,) for
    exponents that are numbers.
    """
    past = schedule.past("updates")
    lag, lr, area = past.logs
    single = np.ndim(s) == np.ndim(q) == np.ndim(p) == 0
    s, q, p = (np.reshape(x, (-1, 1)) for x in (s, q, p))
    steady = np.exp(p * lr - q * lag)
    fading = steady * np.exp(-s * area)

    def sums(values: Any, columns: Any) -> Any:
        found = past.moments(values, columns)
        return found[:, 0] if single else found

    def second() -> tuple[Any, Any]:
        return sums(steady, past.quadratic[:, :, :3]), sums(fading, past.quadratic)

    return sums(steady, past.linear[:, :, :3]), sums(fading, past.linear), second


def _derivatives(
    schedule: Trajectory, *, L0: Any, A: Any, s: Any, a0: Any, a1: Any, q: Any, p: Any
) -> tuple[Any, Any, Any]:
    log_s = schedule.log_area
    power = np.exp(-s * log_s)
    (w, w_lag, w_lr), (f, f_lag, f_lr, f_area), more = _sums(schedule, s, q, p)
    by = (
        np.ones_like(power + w), power, -log_s * A * power - a1 * f_area, w, f, -(a0 * w_lag + a1 * f_lag),
        a0 * w_lr + a1 * f_lr,
    )  # fmt: skip

    def second() -> dict[tuple[str, str], Any]:
        (w_qq, w_qp, w_pp), (f_qq, f_qp, f_pp, f_ss, f_sq, f_sp) = more()
        return {
            ("A", "s"): -log_s * power, ("s", "s"): log_s**2 * A * power + a1 * f_ss,
            ("s", "a1"): -f_area, ("s", "q"): a1 * f_sq, ("s", "p"): -a1 * f_sp,
            ("a0", "q"): -w_lag, ("a0", "p"): w_lr, ("a1", "q"): -f_lag, ("a1", "p"): f_lr,
            ("q", "q"): a0 * w_qq + a1 * f_qq, ("q", "p"): -(a0 * w_qp + a1 * f_qp),
            ("p", "p"): a0 * w_pp + a1 * f_pp,
        }  # fmt: skip

    return L0 + A * power + a0 * w + a1 * f, by, second


@law(
    cite="form after Li 2025, arXiv:2509.19189, and Schaipp 2025, arXiv:2501.18965; this project's",
    derivatives=_derivatives,
    noise=NOISE,
    family="learning-rate annealing",
    instead="ncl_sizes for several sizes of model; chinchilla for finished runs alone",
    example={"L0": 2.7, "A": 0.45, "s": 0.5, "a0": 7.0, "a1": 12.0, "q": 1.1, "p": 1.9},
    symbols={"schedule": "learning rate of every update"},
    units="schedule: learning rate of every update, warm-up included; loss: nats/token",
    notes="The exponents have weak priors. a0, a1 and p trade against each other: compare predictions and exponents.",
)
def ncl(
    schedule: Trajectory, *, L0: Floor, A: Scale, s: Approach, a0: Scale, a1: Scale, q: Forgetting, p: RateExponent
) -> Any:
    """L(t) = L0 + A S(t)^-s + sum_k lr_k^p (a0 + a1 S(k)^-s) (S(t) - S(k-1))^-q"""
    past = schedule.past("updates")
    noise = past.sum(past.lr**p * (a0 + a1 * past.area**-s) * past.lag**-q)
    return L0 + A * schedule.area**-s + noise


def _derivatives_of_sizes(
    schedule: Trajectory, N: Any, *, L0: Any, B: Any, b: Any, A: Any, n_A: Any, s: Any, a0: Any, n_0: Any, a1: Any,
    n_1: Any, q: Any, p: Any,
) -> tuple[Any, Any, Any]:  # fmt: skip
    log_n, log_s = np.log(N / REFERENCE), schedule.log_area
    small, power = np.exp(-b * log_n), np.exp(n_A * log_n - s * log_s)
    (w, w_lag, w_lr), (f, f_lag, f_lr, f_area), more = _sums(schedule, s, q, p)
    x0, x1 = np.exp(n_0 * log_n), np.exp(n_1 * log_n)
    one = np.ones_like(power + w + small)
    late, early = a0 * x0, a1 * x1
    by = (
        one, small, -log_n * B * small, power, log_n * A * power, -log_s * A * power - early * f_area, x0 * w,
        log_n * late * w, x1 * f, log_n * early * f, -(late * w_lag + early * f_lag), late * w_lr + early * f_lr,
    )  # fmt: skip

    def second() -> dict[tuple[str, str], Any]:
        (w_qq, w_qp, w_pp), (f_qq, f_qp, f_pp, f_ss, f_sq, f_sp) = more()
        return {
            ("B", "b"): -log_n * small, ("b", "b"): log_n**2 * B * small, ("A", "n_A"): log_n * power,
            ("n_A", "n_A"): log_n**2 * A * power, ("A", "s"): -log_s * power, ("n_A", "s"): -log_n * log_s * A * power,
            ("s", "s"): log_s**2 * A * power + early * f_ss, ("s", "a1"): -x1 * f_area,
            ("s", "n_1"): -log_n * early * f_area, ("s", "q"): early * f_sq, ("s", "p"): -early * f_sp,
            ("a0", "n_0"): log_n * x0 * w, ("n_0", "n_0"): log_n**2 * late * w,
            ("a1", "n_1"): log_n * x1 * f, ("n_1", "n_1"): log_n**2 * early * f,
            ("a0", "q"): -x0 * w_lag, ("a0", "p"): x0 * w_lr, ("n_0", "q"): -log_n * late * w_lag,
            ("n_0", "p"): log_n * late * w_lr, ("a1", "q"): -x1 * f_lag, ("a1", "p"): x1 * f_lr,
            ("n_1", "q"): -log_n * early * f_lag, ("n_1", "p"): log_n * early * f_lr,
            ("q", "q"): late * w_qq + early * f_qq, ("q", "p"): -(late * w_qp + early * f_qp),
            ("p", "p"): late * w_pp + early * f_pp,
        }  # fmt: skip

    return L0 + B * small + A * power + late * w + early * f, by, second


@law(
    cite="this project's, over sizes; form after Li 2025, arXiv:2509.19189",
    derivatives=_derivatives_of_sizes,
    noise=NOISE,
    family="learning-rate annealing",
    instead="ncl for one size of model",
    example={
        "L0": 2.0,
        "B": 0.7,
        "b": 0.2,
        "A": 0.45,
        "n_A": 0.05,
        "s": 0.5,
        "a0": 7.0,
        "n_0": 0.1,
        "a1": 12.0,
        "n_1": 0.15,
        "q": 1.1,
        "p": 1.9,
    },
    units="schedule: learning rate of every update, warm-up included; N: parameters, counted alike in every row; loss: "
    "nats/token",
    notes="Amplitudes are those at N = 1e8. Needs 3 sizes, better 4; B N^-b against L0 is weakly determined.",
)
def ncl_sizes(
    schedule: Trajectory, N: Any, *, L0: Floor, B: Scale, b: SizeExponent, A: Scale, n_A: Tilt, s: Approach, a0: Scale,
    n_0: Tilt, a1: Scale, n_1: Tilt, q: Forgetting, p: RateExponent,
) -> Any:  # fmt: skip
    """L(t, N) = L0 + B n^-b + A n^n_A S^-s + sum_k lr_k^p (a0 n^n_0 + a1 n^n_1 S(k)^-s) (S - S(k-1))^-q, n = N / 1e8"""
    past, n = schedule.past("updates"), N / REFERENCE
    memory = past.lr**p * past.lag**-q
    noise = a0 * n**n_0 * past.sum(memory) + a1 * n**n_1 * past.sum(memory * past.area**-s)
    return L0 + B * n**-b + A * n**n_A * schedule.area**-s + noise
