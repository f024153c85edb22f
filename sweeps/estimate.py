"""How long a plan will train: a guess from a short measurement of this machine's CPU, always printed as one; or from
updates that were timed, or a speed that is given."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sweeps.plan import Plan
from sweeps.runs import Run

#: Seconds spent measuring each width, and multiplications in one product of matrices.
MEASURE_SECONDS = 0.03
PIECE = 2**17
#: Beyond these the rate no longer changes, and memory would.
WIDEST, MOST_PIECES = 2048, 4096
#: FLOP/s of training as a fraction of those of bare products of matrices at the same width, and seconds that an update
#: takes besides: both from one sweep at widths 16 to 64 on two Zen 4 cores.
EFFICIENCY = 0.25
UPDATE_SECONDS = 0.002


def seconds(plan: Plan) -> float:
    """Estimated training time of a plan on all cores of this machine, validation and measures included."""
    total = 0.0
    for stack in plan.stacks:
        alone = Plan((stack,))
        updates = sum(edge.stop - edge.start for edge in stack.edges)
        flops = alone.flops_shared + alone.flops_validation + alone.flops_measures
        total += flops / (EFFICIENCY * matmul_rate(stack.runs[0]))
        total += updates * UPDATE_SECONDS
    return total / cores()


def seconds_at(plan: Plan, speed: float) -> float:
    """Training time of a plan at `speed` FLOP/s of all devices together, validation and measures included."""
    return (plan.flops_shared + plan.flops_validation + plan.flops_measures) / speed


def seconds_measured(plan: Plan, rows: Sequence[Mapping[str, Any]]) -> float:
    """Training time of a plan, one stack after another, each at the speed of its best row of `capacity.measure_stacks`.

    Every place of the replica axis counts as in use; validation and measures go at the FLOP/s of updates.
    """
    rate = {row["stack"]: row["rate"] for row in rows if row["best"]}
    total = 0.0
    for stack in plan.stacks:
        alone = Plan((stack,))
        besides = (alone.flops_validation + alone.flops_measures) / alone.flops_shared
        total += alone.tokens_trained / rate[stack.key] * (1 + besides)
    return total


def matmul_rate(run: Run) -> float:
    """FLOP/s of one core on products of activations with one MLP matrix, float32: the fastest of many short tries.

    The fastest, because other programs may be busy; in pieces too small for the library to spread over threads.
    """
    width = min(run.width, WIDEST)
    hidden = round(run.mlp_ratio * width)
    rows = max(1, PIECE // (width * hidden))
    pieces = min(max(1, run.tokens_per_step // rows), MOST_PIECES)
    x = np.ones((pieces, rows, width), dtype=np.float32)
    w = np.ones((width, hidden), dtype=np.float32)
    fastest, begin = np.inf, time.perf_counter()
    while time.perf_counter() - begin < MEASURE_SECONDS:
        start = time.perf_counter()
        x @ w
        fastest = min(fastest, time.perf_counter() - start)
    return 2.0 * x.size * hidden / fastest


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
