"""A model whose scaling laws are known: linear random features trained by gradient flow.

Bordelon, Atanasov & Pehlevan 2024, A Dynamical Model of Neural Scaling Laws (arXiv:2402.01092). A teacher w* over many
features is learnt through N random projections of them from P samples, for a time t. The kernel's eigenvalues fall as
lambda_k = k^-b and the teacher's power as (w*_k)^2 lambda_k = k^-a, so the loss falls by known powers of t, N and P.
The mean over draws is exact as all sizes grow: no optimizer and no noise stand between a fit and its truth.

With A (N, M) and Psi (P, M) Gaussian, the error v = w* - w follows v' = -(A^T A / N) (Psi^T Psi / P) v, and the loss is
the sum of lambda_k <v_k(t)^2>. In the Laplace domain the mean-field equations need one unknown kappa(z):

    z = kappa (1 - S / N) (1 - S / P),   S = sum_k lambda_k / (kappa + lambda_k),

and the two-time correlation is a 2 x 2 linear system in sums over modes, inverted on a contour in both times
(Weideman & Trefethen 2007). At t = infinity only kappa(0) is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.errors import ScalingError

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]

EXACT_MODES = 512  # the rest of the spectrum is smooth, and is integrated over
NODES = 20  # of the contour; eight digits of the loss
STRIDE = 2.0  # largest factor between successive z on the way from infinity, where kappa is known


@dataclass(frozen=True)
class RandomFeatures:
    """The model. a > 1: fall of the teacher's power; b > 1: fall of the kernel's eigenvalues; modes M: where both end;
    noise: standard deviation of the labels.

    The powers hold while the modes that are being learnt are far from the last: N, P and t^(1/b) well below M.
    """

    a: float = 1.5
    b: float = 1.25
    modes: float = 1e8
    noise: float = 0.0

    def __post_init__(self) -> None:
        if not (self.a > 1 and self.b > 1 and np.isfinite([self.a, self.b]).all()):
            raise ScalingError(f"the exponents a and b must be above 1, got a = {self.a:g}, b = {self.b:g}")
        if not (np.isfinite(self.modes) and self.modes >= 2):
            raise ScalingError(f"modes must be a number from 2 up, got {self.modes:g}")
        if not (np.isfinite(self.noise) and self.noise >= 0):
            raise ScalingError(f"noise is a standard deviation from 0 up, got {self.noise:g}")

    @property
    def time_exponent(self) -> float:
        """L ~ t^-this when only time is short."""
        return (self.a - 1) / self.b

    @property
    def size_exponent(self) -> float:
        """L ~ N^-this when only features are short; the same for P when only samples are."""
        return min(self.a - 1, 2 * self.b)

    @property
    def compute_exponent(self) -> float:
        """L ~ C^-this at the best split of C = N t with samples to spare."""
        return self.size_exponent * (self.a - 1) / (self.a - 1 + self.b * self.size_exponent)

    @property
    def compute_optimal_size_exponent(self) -> float:
        """N ~ C^this at that split; t takes the rest."""
        return (self.a - 1) / (self.a - 1 + self.b * self.size_exponent)

    @cached_property
    def spectrum(self) -> tuple[Array, Array, Array]:
        """Eigenvalues lambda, teacher's powers (w*)^2 lambda, and how many modes each stands for, (m,) each.

        The first modes one by one; the others by Gauss-Legendre quadrature over ln k, panel by panel, from half a mode
        before the next to half a mode behind the last.
        """
        head = np.arange(1.0, min(self.modes, EXACT_MODES) + 1)
        k, count = [head], [np.ones_like(head)]
        if self.modes > EXACT_MODES:
            first, last = np.log(EXACT_MODES + 0.5), np.log(self.modes + 0.5)
            edges = np.linspace(first, last, int(np.ceil((last - first) / 0.7)) + 1)
            x, w = np.polynomial.legendre.leggauss(12)
            half = np.diff(edges)[:, None] / 2
            tail = np.exp(edges[:-1, None] + half * (1 + x))
            k.append(tail.ravel())
            count.append((half * w * tail).ravel())
        modes = np.concatenate(k)
        return modes**-self.b, modes**-self.a, np.concatenate(count)


def expected_loss(model: RandomFeatures, t: Any, N: Any = np.inf, P: Any = np.inf) -> Array:
    """Mean test loss after time t with N features and P samples; arrays broadcast, and any of the three may be inf.

    The labels' own variance, noise^2, is left out. The loss may rise with t, as it does for N near P, and is
    infinite at t = inf and N = P: that is the model, not a fault.

    Raises ScalingError for sizes below 1 or times not above 0.
    """
    t, N, P = np.broadcast_arrays(*(np.asarray(v, float) for v in (t, N, P)))
    for name, values, least in (("t", t, 0.0), ("N", N, 1.0), ("P", P, 1.0)):
        if not ((values >= least) & (values > 0)).all():
            raise ScalingError(f"{name} must be {'above 0' if name == 't' else 'at least 1'}, got {values.min():g}")
    pairs, pair = np.unique(np.stack([N.ravel(), P.ravel()], axis=1), axis=0, return_inverse=True)
    pair = pair.ravel()
    times = t.ravel()
    values = np.empty(times.shape)
    for now, kappa, z, weight in _along(model, np.unique(times[np.isfinite(times)]), pairs):
        at = np.flatnonzero(times == now)
        used, where = np.unique(pair[at], return_inverse=True)
        values[at] = _loss_on_contour(model, kappa[used], z, weight, pairs[used])[where.ravel()]
    at = np.flatnonzero(np.isinf(times))
    if len(at):
        values[at] = _final_loss(model, pairs)[pair[at]]
    return values.reshape(t.shape)


def compute_frontier(model: RandomFeatures, C: Any) -> tuple[Array, Array]:
    """Least mean loss at each compute C = N t with samples to spare, and the N that reaches it, arrays as C.

    N is searched on a grid around the theory's power of C, three times, each time closer around the best.
    """
    budgets = np.asarray(C, float)
    least, best = np.empty(budgets.shape), np.empty(budgets.shape)
    for at, budget in np.ndenumerate(budgets):
        centre, reach = budget**model.compute_optimal_size_exponent, np.log(1e3)
        for _ in range(3):
            n = np.maximum(centre * np.exp(np.linspace(-reach, reach, 13)), 1.0)
            loss = expected_loss(model, budget / n, n)
            centre, reach = n[loss.argmin()], reach / 6
        least[at], best[at] = loss.min(), centre
    return least, best


def _inverse(pairs: Array) -> tuple[Array, Array]:
    """1 / N and 1 / P, 0 for an infinite one, (pairs, 1) each."""
    return 1 / pairs[:, :1], 1 / pairs[:, 1:]


def _along(model: RandomFeatures, times: Array, pairs: Array) -> Iterator[tuple[float, Complex, Complex, Complex]]:
    """For every time: kappa (pairs, nodes) on the contour's upper half, its nodes z (nodes,) and weights.

    kappa is followed from large |z|, where it is z, along rays: there it is the physical solution, and the branch
    points lie on the negative axis. Nodes scale as 1 / t, so one path serves all times.
    """
    if not len(times):
        return
    angle = -np.pi + (2 * np.arange(NODES) + 1) * np.pi / NODES
    angle = angle[angle > 0]
    node = NODES * (0.5017 * angle / np.tan(0.6407 * angle) - 0.6122 + 0.2645j * angle)
    slope = NODES * (0.5017 / np.tan(0.6407 * angle) - 0.5017 * 0.6407 * angle / np.sin(0.6407 * angle) ** 2 + 0.2645j)
    eigenvalues, _, count = model.spectrum
    shift = float(np.sum(count * eigenvalues)) * sum(_inverse(pairs))
    largest = 1e3 * max(1.0, float(np.max(shift))) / np.abs(node).min()
    scale = max(1 / times[0], largest)
    kappa = np.broadcast_to(node * scale + shift, (len(pairs), len(node))).astype(complex)
    for now in times:
        steps = max(1, int(np.ceil(np.log(scale * now) / np.log(STRIDE)))) if scale * now > 1 else 1
        for at in np.geomspace(scale, 1 / now, steps + 1)[1:]:
            kappa = _newton(model, kappa, node * at, pairs)
        scale = 1 / now
        yield float(now), kappa, node / now, slope / now * np.exp(node) * (2 * np.pi / NODES) / (2j * np.pi)


def _newton(model: RandomFeatures, kappa: Complex, z: Complex, pairs: Array) -> Complex:
    eigenvalues, _, count = model.spectrum
    by_n, by_p = _inverse(pairs)
    for _ in range(60):
        share = 1 / (kappa[..., None] + eigenvalues)
        s = share @ (count * eigenvalues)
        ds = -(share * share) @ (count * eigenvalues)
        features, samples = 1 - s * by_n, 1 - s * by_p
        wrong = kappa * features * samples - z
        slope = features * samples - kappa * ds * (by_n * samples + by_p * features)
        step = wrong / slope
        kappa = kappa - step
        if np.max(np.abs(step) / np.abs(kappa)) < 1e-11:
            return kappa
    raise ScalingError("the mean-field equations did not converge; please report a, b, N, P and t")  # pragma: no cover


def _loss_on_contour(model: RandomFeatures, kappa: Complex, z: Complex, weight: Complex, pairs: Array) -> Array:
    """The double inverse Laplace transform of the two-time correlation, (pairs,).

    One index runs over the upper half of the contour, the other over all of it; the lower half of the first adds the
    complex conjugate.
    """
    every = np.concatenate([kappa, kappa.conj()], axis=1)
    ratio = every / np.concatenate([z, z.conj()])  # kappa / z
    part = _correlation(model, kappa[:, :, None], every[:, None, :], pairs)
    ends = np.concatenate([weight, weight.conj()])
    total = np.einsum("i,pi,pij,pj,j->p", weight, ratio[:, : len(z)], part, ratio, ends)
    return np.maximum(2 * np.real(total), 0.0)  # below the contour's accuracy the sign is rounding


def _correlation(model: RandomFeatures, left: Any, right: Any, pairs: Array) -> Any:
    """Two-time correlation of the errors at kappa = left (pairs, i, 1) and right (pairs, 1, j), over (kappa / z) twice.

    Y (1 - g2 / P) = u1 + C g1 / N + sigma^2 g2 / (P kappa kappa'),   C (1 - g2 / N) = u2 + (kappa kappa' Y + sigma^2)
    g1 / P, where g and u are sums over modes of 1 / ((kappa + lambda) (kappa' + lambda)) times lambda, lambda^2 and the
    teacher's power, the power times lambda.
    """
    eigenvalues, power, count = model.spectrum
    one = 1 / (left[:, :, 0, None] + eigenvalues)
    other = np.swapaxes(1 / (right[:, 0, :, None] + eigenvalues), 1, 2)
    g1, g2, u1, u2 = ((one * (count * c)) @ other for c in (eigenvalues, eigenvalues**2, power, power * eigenvalues))
    by_n, by_p = (v[..., None] for v in _inverse(pairs))
    both, variance = left * right, model.noise**2
    determinant = (1 - g2 * by_p) * (1 - g2 * by_n) - g1**2 * both * by_n * by_p
    first = u1 + variance * g2 * by_p / both
    return ((1 - g2 * by_n) * first + g1 * by_n * (u2 + variance * g1 * by_p)) / determinant


def _final_loss(model: RandomFeatures, pairs: Array) -> Array:
    """Loss at t = infinity, (pairs,): S(kappa) = min(N, P), found by bisection in ln kappa."""
    eigenvalues, _, count = model.spectrum
    least = pairs.min(axis=1)
    loss = np.zeros(len(pairs))
    short = least < model.modes  # with as many features and samples as modes all is learnt
    if not short.any():
        return loss
    lo = np.full(short.sum(), np.log(eigenvalues[-1]) - 60.0)
    hi = np.full(short.sum(), np.log(np.sum(count * eigenvalues)) + 5.0)
    for _ in range(80):
        middle = (lo + hi) / 2
        s = (1 / (np.exp(middle)[:, None] + eigenvalues)) @ (count * eigenvalues)
        lo, hi = np.where(s > least[short], middle, lo), np.where(s > least[short], hi, middle)
    kappa = np.exp((lo + hi) / 2)[:, None, None]
    with np.errstate(divide="ignore"):
        value = (kappa**2 * _correlation(model, kappa, kappa, pairs[short]))[:, 0, 0]
    # with as many samples as features the model interpolates at any cost: the mean has no bound
    loss[short] = np.where(pairs[short, 0] == pairs[short, 1], np.inf, value)
    return loss
