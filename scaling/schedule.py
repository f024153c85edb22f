"""Learning-rate schedules as plain arrays, one value an update, and the sums that laws of whole curves take from them.

Every schedule is a function (steps, peak, warmup=0, ...) -> float64 array of shape (steps,). Update t of the warm-up
has peak * (t + 1) / warmup, so that no update is spent at a learning rate of 0 and update `warmup` - 1 is at the peak.
A decay of n updates goes through the fractions 1/n ... n/n: its last update has the final learning rate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def _check(steps: int, peak: float, warmup: int) -> None:
    if steps < 1:
        raise ValueError(f"a schedule needs at least 1 step, got steps={steps}")
    if not (peak > 0 and np.isfinite(peak)):
        raise ValueError(f"the peak learning rate must be positive and finite, got {peak}")
    if not 0 <= warmup <= steps:
        raise ValueError(f"warmup must lie between 0 and steps={steps}, got {warmup}")


def _assemble(steps: int, peak: float, warmup: int, stable: int, decay: Array) -> Array:
    rise = np.arange(1, warmup + 1) / max(warmup, 1)
    return peak * np.concatenate([rise, np.ones(stable), decay])


def _fractions(n: int) -> Array:
    return np.arange(1, n + 1) / max(n, 1)


def constant(steps: int, peak: float, warmup: int = 0) -> Array:
    """The peak throughout, after a linear warm-up."""
    _check(steps, peak, warmup)
    return _assemble(steps, peak, warmup, steps - warmup, np.empty(0))


def linear(steps: int, peak: float, warmup: int = 0, final: float = 0.0) -> Array:
    """Straight from the peak to `final` * peak over all steps after the warm-up."""
    _check(steps, peak, warmup)
    x = _fractions(steps - warmup)
    return _assemble(steps, peak, warmup, 0, 1 - (1 - final) * x)


def cosine(steps: int, peak: float, warmup: int = 0, final: float = 0.0) -> Array:
    """Half a cosine from the peak to `final` * peak over all steps after the warm-up (Loshchilov & Hutter 2017)."""
    _check(steps, peak, warmup)
    x = _fractions(steps - warmup)
    return _assemble(steps, peak, warmup, 0, final + (1 - final) * 0.5 * (1 + np.cos(np.pi * x)))


COOLDOWNS: dict[str, Callable[[Array], Array]] = {
    "linear": lambda x: 1 - x,
    "1-sqrt": lambda x: 1 - np.sqrt(x),
}


def wsd(
    steps: int, peak: float, warmup: int = 0, cooldown: int = 0, shape: str = "1-sqrt", final: float = 0.0
) -> Array:
    """Warm-up, stable, decay: the last `cooldown` steps go to `final` * peak, along `shape` (linear or 1-sqrt).

    The cooldown shapes are those compared by Hägele et al. 2024 (arXiv:2405.18392).
    """
    _check(steps, peak, warmup)
    if not 0 <= cooldown <= steps - warmup:
        raise ValueError(f"cooldown must lie between 0 and steps - warmup = {steps - warmup}, got {cooldown}")
    if shape not in COOLDOWNS:
        raise ValueError(f"cooldown shape must be one of {', '.join(COOLDOWNS)}, got {shape!r}")
    decay = final + (1 - final) * COOLDOWNS[shape](_fractions(cooldown))
    return _assemble(steps, peak, warmup, steps - warmup - cooldown, decay)


def multistep(
    steps: int,
    peak: float,
    warmup: int = 0,
    milestones: Sequence[float] = (0.8, 0.9),
    factor: float = 0.31622776601683794,
) -> Array:
    """Constant pieces: the rate is multiplied by `factor` at each milestone, a fraction of all steps.

    The default is the three-stage schedule of DeepSeek LLM (arXiv:2401.02954, section 2.3): 100%, 31.6%, 10%.
    """
    _check(steps, peak, warmup)
    if any(not 0 < m < 1 for m in milestones) or list(milestones) != sorted(milestones):
        raise ValueError(f"milestones must be rising fractions between 0 and 1, got {list(milestones)}")
    lr = constant(steps, peak, warmup)
    for m in milestones:
        lr[round(m * steps) :] *= factor
    return lr


def cosine_restarts(steps: int, peak: float, warmup: int = 0, cycles: int = 2, final: float = 0.0) -> Array:
    """Cosines from the peak to `final` * peak, `cycles` of equal length, each begun at the peak by a jump.

    Warm restarts of SGDR (Loshchilov & Hutter 2017, arXiv:1608.03983) with periods that do not grow.
    """
    _check(steps, peak, warmup)
    if not 1 <= cycles <= steps - warmup:
        raise ValueError(f"cycles must lie between 1 and steps - warmup = {steps - warmup}, got {cycles}")
    ends = np.linspace(0, steps - warmup, cycles + 1).round().astype(int)
    x = np.concatenate([_fractions(n) for n in np.diff(ends)])
    return _assemble(steps, peak, warmup, 0, final + (1 - final) * 0.5 * (1 + np.cos(np.pi * x)))


def rewarm(
    steps: int, peak: float, warmup: int = 0, again_at: float = 0.5, again_to: float = 1.0, final: float = 0.0
) -> Array:
    """A cosine to `final` * peak, a second linear warm-up to `again_to` * peak, and a second cosine to `final` * peak.

    The second part begins at the fraction `again_at` of all steps and warms up over `warmup` updates, as when training
    goes on from a finished model (Ibrahim et al. 2024, arXiv:2403.08763).
    """
    _check(steps, peak, warmup)
    turn = round(again_at * steps)
    if not warmup < turn < steps - warmup:
        raise ValueError(
            f"again_at = {again_at} of {steps} steps must leave room for a warm-up of {warmup} and a decay either side"
        )
    if not (again_to > final and np.isfinite(again_to)):
        raise ValueError(f"again_to must be above final = {final}, got {again_to}")
    rise = final + (again_to - final) * _fractions(warmup)
    x = _fractions(steps - turn - warmup)
    fall = final + (again_to - final) * 0.5 * (1 + np.cos(np.pi * x))
    return np.concatenate([cosine(turn, peak, warmup, final), peak * rise, peak * fall])


SCHEDULES: dict[str, Callable[..., Array]] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "wsd": wsd,
    "multistep": multistep,
    "cosine_restarts": cosine_restarts,
    "rewarm": rewarm,
}


def lr_area(lr: Array) -> Array:
    """S1 of Tissue et al. 2024 (arXiv:2408.11029): the learning rates of all updates up to each, summed."""
    return np.cumsum(lr)


def annealing_sum(lr: Array, lam: float) -> Array:
    """S2 of Tissue et al. 2024 (arXiv:2408.11029) after every update, in O(steps).

    m_0 = 0, m_i = lam * m_{i-1} + (lr_{i-1} - lr_i), S2_i = sum of m up to i. Both sums are one linear recursion,
    S2_i = (1 + lam) S2_{i-1} - lam S2_{i-2} + (lr_{i-1} - lr_i).
    """
    from scipy.signal import lfilter  # costs half a second to import: only who needs it pays

    drop = np.zeros(len(lr))
    drop[1:] = lr[:-1] - lr[1:]
    return lfilter([1.0], [1.0, -(1.0 + lam), lam], drop)
