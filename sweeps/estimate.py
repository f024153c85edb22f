"""How long a plan will train on this machine's CPU: a guess from a short measurement, always printed as one."""

from __future__ import annotations

import time

import numpy as np

from sweeps.plan import Plan
from sweeps.runs import Run

#: Seconds spent measuring each width.
MEASURE_SECONDS = 0.03
#: FLOP/s of training as a fraction of those of bare products of matrices at the same width.
EFFICIENCY = 0.25


def seconds(plan: Plan) -> float:
    """Estimated training time of a plan on all cores of this machine, validation included."""
    total = 0.0
    for stack in plan.stacks:
        alone = Plan((stack,))
        total += (alone.flops_shared + alone.flops_validation) / (EFFICIENCY * matmul_rate(stack.runs[0]))
    return total


def matmul_rate(run: Run) -> float:
    """FLOP/s of numpy on the product of one batch's activations with one MLP matrix, float32."""
    x = np.ones((run.tokens_per_step, run.width), dtype=np.float32)
    w = np.ones((run.width, round(run.mlp_ratio * run.width)), dtype=np.float32)
    x @ w
    count, begin = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < MEASURE_SECONDS:
        x @ w
        count += 1
    return 2.0 * x.size * w.shape[1] * count / elapsed
