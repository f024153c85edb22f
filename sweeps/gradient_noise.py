"""The gradient noise scale of McCandlish et al. 2018 (arXiv:1812.06162, appendix A.1), from two half-batches.

With G the expected gradient and S / B the trace of the covariance of that of a batch of B tokens, the expected squared
norm is |G|^2 + S / B. The norms of a whole batch and of its halves give both without bias; S / |G|^2 is the noise
scale, in tokens. Single estimates are noisy, and so is their ratio: average both numbers over updates, then divide.

Sequences are what is drawn independently, whatever a regime's loss averages over within them. Tokens are those that
batches and horizons are counted in, so that the noise scale compares with `Run.tokens_per_step`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sweeps.engine import gradient, mean_losses
from sweeps.runs import Run


def measure(weights: Tensor, inputs: Tensor, run: Run) -> dict[str, Tensor]:
    """Columns `gradient_signal` |G|^2 and `gradient_noise` S, each (R,), of weights (R, P) on inputs (R, B, ...)."""
    half, loss_of = run.batch // 2, mean_losses(run)
    parts = [gradient(loss_of, weights, inputs[:, i * half : (i + 1) * half].contiguous(), 1)[1] for i in (0, 1)]
    small = (parts[0].square().sum(dim=1) + parts[1].square().sum(dim=1)) / 2
    large = ((parts[0] + parts[1]) / 2).square().sum(dim=1)
    tokens = half * run.context  # of half a batch
    return {"gradient_signal": 2 * large - small, "gradient_noise": (small - large) * 2 * tokens}


def ratio(signal: Tensor, noise: Tensor) -> float:
    """The noise scale in tokens, from the columns of some updates: the ratio of their means."""
    return float(torch.as_tensor(noise).mean() / torch.as_tensor(signal).mean())
