"""Parameters and training FLOP of a run, under each convention by its name (see `scaling.flops`)."""

from __future__ import annotations

from typing import Any

from scaling import flops
from sweeps.regimes.listed import regime_of
from sweeps.runs import Run

#: Shape -> parameters by group: a grid has thousands of runs of a few shapes.
_counted: dict[tuple[Any, ...], dict[str, int]] = {}


def parameter_groups(run: Run) -> dict[str, int]:
    """Parameters by group, embedding, attention, mlp, norm, head: counted from the layout of the weights."""
    if run.shape not in _counted:
        counted = _counted[run.shape] = dict[str, int]()
        for weight in regime_of(run).weights(run):
            counted[weight.kind] = counted.get(weight.kind, 0) + weight.size
    return _counted[run.shape]


def parameter_counts(run: Run) -> dict[str, int]:
    """N by convention: matmul, kaplan, chinchilla."""
    return flops.parameter_counts(parameter_groups(run))


def flops_per_token(run: Run) -> dict[str, float]:
    """Training FLOP per token by convention; "6N_with_attention" is what plans and curves count."""
    return regime_of(run).flops(run)
