"""How long a plan will train on this machine's CPU: a guess from a short measurement, always printed as one."""

from __future__ import annotations

import os
import time

import numpy as np

from sweeps.plan import Plan
from sweeps.runs import Run

#: Processor time spent measuring each width, in seconds.
MEASURE_SECONDS = 0.03
#: FLOP/s of training as a fraction of those of bare products of matrices at the same width, and seconds that an update
#: takes besides: both from one sweep at widths 16 to 64 on two Zen 4 cores.
EFFICIENCY = 0.25
UPDATE_SECONDS = 0.002


def seconds(plan: Plan) -> float:
    """Estimated training time of a plan on all cores of this machine, validation included."""
    total = 0.0
    for stack in plan.stacks:
        alone = Plan((stack,))
        updates = sum(edge.stop - edge.start for edge in stack.edges)
        total += (alone.flops_shared + alone.flops_validation) / (EFFICIENCY * matmul_rate(stack.runs[0]))
        total += updates * UPDATE_SECONDS
    return total / cores()


def matmul_rate(run: Run) -> float:
    """FLOP/s of one core on the product of one batch's activations with one MLP matrix, float32.

    Counted in processor time, so that neither other programs nor more threads change it much.
    """
    x = np.ones((run.tokens_per_step, run.width), dtype=np.float32)
    w = np.ones((run.width, round(run.mlp_ratio * run.width)), dtype=np.float32)
    x @ w
    count, begin = 0, time.process_time()
    while (elapsed := time.process_time() - begin) < MEASURE_SECONDS:
        x @ w
        count += 1
    return 2.0 * x.size * w.shape[1] * count / elapsed


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
