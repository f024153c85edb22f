"""Li et al. 2025, Functional Scaling Laws (arXiv:2509.19189): the practical form for language models."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from scaling.law import Exponent, Floor, Param, Scale, law
from scaling.trajectory import Trajectory


def _derivatives(
    schedule: Trajectory, *, L0: Any, c1: Any, s: Any, c2: Any, c3: Any, c4: Any, g: Any
) -> tuple[Any, Any, Any]:
    past, log_t = schedule.past("drops"), schedule.log_area
    source = past.logs[2]
    power, early = np.exp(-s * log_t), np.exp(-s * source)
    lag = np.maximum(past.lag - past.lr, 0.0)
    log_x = np.log1p(c4 * lag)
    rest, share = np.exp(-g * log_x), c4 * lag / (1 + c4 * lag)
    shape, gain = c2 + c3 * early, 1 - rest
    by_c4, by_g = g * rest * share, log_x * rest  # of the gain, by ln c4 and by g
    plain, fading, fade = past.sum(gain), past.sum(early * gain), past.sum(-source * early * gain)
    c4_sum, g_sum = past.sum(shape * by_c4), past.sum(shape * by_g)
    first = (
        np.ones_like(power + plain), power, -log_t * c1 * power - c3 * fade, -plain, -fading, -c4_sum / c4, -g_sum,
    )  # fmt: skip

    def second() -> dict[tuple[str, str], Any]:
        bend = by_c4 * (1 - share - g * share)
        cross = rest * share * (1 - g * log_x)
        return {
            ("c1", "s"): -log_t * power, ("s", "s"): log_t**2 * c1 * power - c3 * past.sum(source**2 * early * gain),
            ("s", "c3"): -fade, ("s", "c4"): -c3 * past.sum(-source * early * by_c4) / c4,
            ("s", "g"): -c3 * past.sum(-source * early * by_g),
            ("c2", "c4"): -past.sum(by_c4) / c4, ("c2", "g"): -past.sum(by_g),
            ("c3", "c4"): -past.sum(early * by_c4) / c4, ("c3", "g"): -past.sum(early * by_g),
            ("c4", "c4"): -(past.sum(shape * bend) - c4_sum) / c4**2,
            ("c4", "g"): -past.sum(shape * cross) / c4, ("g", "g"): past.sum(shape * log_x**2 * rest),
        }  # fmt: skip

    return L0 + c1 * power - c2 * plain - c3 * fading, first, second


@law(
    cite="Li 2025, arXiv:2509.19189, appendix B.2, eq. 30",
    derivatives=_derivatives,
    family="learning-rate annealing",
    instead="ncl, the direct form of the same theory",
    example={"L0": 2.7, "c1": 0.6, "s": 0.45, "c2": 450.0, "c3": 40.0, "c4": 200.0, "g": 0.5},
    units="schedule: learning rate of every update, warm-up included; loss: nats/token",
    notes="The paper writes c2 (c3 + T_k^-s): its c2 is c3 here, its c3 is c2 / c3. Drops are counted after the "
    "warm-up. One peak learning rate a fit. For forecasts use ncl, the same theory's direct form.",
)
def fsl(
    schedule: Trajectory, *, L0: Floor, c1: Scale, s: Exponent, c2: Scale, c3: Scale,
    c4: Annotated[float, Param(lo=0.0, start=(5.0, 5e3), unit="1 / learning rate")],
    g: Annotated[float, Param(lo=0.0, hi=5.0, start=(0.1, 1.5))],
) -> Any:  # fmt: skip
    """L(t) = L0 + c1 T^-s - sum_k (lr_{k-1} - lr_k) (c2 + c3 T_k^-s) [1 - (1 + c4 (T - T_k))^-g], T the sum of lr"""
    past = schedule.past("drops")
    gain = 1 - (1 + c4 * np.maximum(past.lag - past.lr, 0.0)) ** -g
    return L0 + c1 * schedule.area**-s - past.sum((c2 + c3 * past.area**-s) * gain)
