"""The weights a run starts from, and weights as leaves of a gradient: of any regime, by the layout that it has."""

from __future__ import annotations

import torch
from torch import Tensor

from sweeps.model import master_dtype, views
from sweeps.regimes.listed import regime_of
from sweeps.runs import Run


def initial(run: Run) -> Tensor:
    """Initial flat row (P,) of `run`, on the CPU: depends on its seed and shape only.

    Drawn in float64 and then cast, so that runs that differ in number format start from the same weights.
    """
    generator = torch.Generator().manual_seed(run.seed)
    groups = regime_of(run).groups(run)
    rows = []
    for weight in regime_of(run).weights(run):
        std = groups[weight.group].init_std
        if weight.is_gain:
            rows.append(torch.ones(weight.size, dtype=torch.float64))
        else:
            rows.append(torch.randn(weight.size, generator=generator, dtype=torch.float64) * std)
    return torch.cat(rows).to(master_dtype(run))


def leaves(flat: Tensor, run: Run) -> dict[str, Tensor]:
    """The weights of all replicas as leaves that gradients can be asked of one by one."""
    return {
        name: view.requires_grad_() for name, view in views(flat.detach(), regime_of(run).weights(run), run).items()
    }
