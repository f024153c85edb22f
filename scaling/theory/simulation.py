"""The random-feature model, drawn and trained: what its mean-field solution is checked against.

Gradient flow and gradient descent are exact here: the training is linear, so the state at every time is a function of
one symmetric matrix, which is diagonalised once a trial.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.errors import ScalingError
from scaling.theory.random_features import RandomFeatures

Array = NDArray[np.float64]

MOST_MODES = 4096  # a trial costs the cube of the smallest of modes, N and P, and the product of the other two


def simulate(
    model: RandomFeatures,
    t: Any,
    N: float = np.inf,
    P: float = np.inf,
    *,
    trials: int = 16,
    step: float | None = None,
    seed: int = 0,
) -> tuple[Array, Array]:
    """Mean test loss at the times t (n,) and its standard error over draws of features, samples, noise and signs of w*.

    step  None for gradient flow; else gradient descent with that learning rate, round(t / step) updates

    Raises ScalingError for a model of more than 4096 modes, fewer than two trials, or a step that diverges.
    """
    times = np.atleast_1d(np.asarray(t, float))
    if model.modes > MOST_MODES:
        raise ScalingError(f"a simulation needs modes of at most {MOST_MODES}, got {model.modes:g}: give fewer")
    if trials < 2:
        raise ScalingError(f"a standard error needs at least 2 trials, got {trials}")
    rng = np.random.default_rng(seed)
    losses = np.stack([_trial(model, times, N, P, step, rng) for _ in range(trials)])
    return losses.mean(axis=0), losses.std(axis=0, ddof=1) / np.sqrt(trials)


def _trial(
    model: RandomFeatures, times: Array, N: float, P: float, step: float | None, rng: np.random.Generator
) -> Array:
    """Loss at every time of one draw.

    The learnt weights are w = F u with features F (M, N) = A^T / sqrt(N), or F = 1 without bottleneck, and u' = F^T X
    (w* - F u) + F^T noise, where X = Psi^T Psi / P is the covariance of the samples.
    """
    modes = int(model.modes)
    k = np.arange(1.0, modes + 1)
    eigenvalues = k**-model.b
    teacher = np.sqrt(k ** (model.b - model.a)) * rng.choice([-1.0, 1.0], size=modes)
    drift = np.zeros(modes)  # infinitely many samples average the noise away
    if np.isinf(P):
        root = np.sqrt(eigenvalues)[:, None] * np.eye(modes)  # X = root root^T
    else:
        samples = rng.standard_normal((int(P), modes)) * np.sqrt(eigenvalues)
        root = samples.T / np.sqrt(P)
        drift = samples.T @ rng.standard_normal(int(P)) * (model.noise / P)
    features = np.eye(modes) if np.isinf(N) else rng.standard_normal((modes, int(N))) / np.sqrt(N)
    seen = features.T @ root
    rates, basis = np.linalg.eigh(seen @ seen.T)
    rates = np.maximum(rates, 0.0)
    pull = basis.T @ (seen @ (root.T @ teacher) + features.T @ drift)
    if step is None:
        learnt = -np.expm1(-rates * times[:, None])
    else:
        if step * rates.max() >= 2:
            raise ScalingError(f"gradient descent diverges at step {step:g}: it must stay below {2 / rates.max():.3g}")
        learnt = 1 - (1 - step * rates) ** np.round(times[:, None] / step)
    flat = rates < 1e-14 * rates.max()  # directions that no sample touches: pull is rounding there
    u = np.where(flat, 0.0, learnt / np.where(flat, 1.0, rates) * pull)
    error = teacher - u @ (features @ basis).T
    return (error**2) @ eigenvalues
