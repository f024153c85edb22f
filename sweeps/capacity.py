"""How many runs of a stack should train at once: measured on the device, for as long as more of them pay.

The rule of `sweeps.train.default_slots` is a guess from sizes. Here updates of growing numbers of runs are timed, and
doubling stops where it gains little or memory ends. On CUDA that happens at the start of every stack for which no
number is given; what it compiles, the training uses again.
"""

from __future__ import annotations

import gc
import itertools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sweeps.engine import DEFAULT, Engine, Mode, forget_other_shapes
from sweeps.feed import Feed
from sweeps.forks import Forks
from sweeps.optim import empty_state
from sweeps.runs import Run, Stack
from sweeps.starting import initial
from sweeps.tokens import Tokens
from sweeps.train import Corpus, default_slots, on_device

#: A doubling of the runs must raise tokens per second by this fraction.
WORTH = 0.05
#: Fraction of a device's memory that training may be expected to take: validation, forks and fragments come besides.
MEMORY = 0.7
#: Seconds of updates that a measurement takes, and updates at most.
SECONDS, UPDATES = 0.3, 32


@dataclass(frozen=True)
class Speed:
    """Updates of `slots` runs at once: seconds each, tokens a second of all together, seconds to get ready, and the
    most memory in use, in bytes (None on a CPU)."""

    slots: int
    seconds: float
    rate: float
    setup: float
    memory: int | None


def useful_slots(stack: Stack) -> int:
    """The most runs of a stack that could ever be in training at once: the ends of its trees."""
    return sum(not children for children in Forks(stack).children.values())


def measured(
    run: Run, corpus: Corpus, feed: Feed, mode: Mode, slots: int, seconds: float = SECONDS, updates: int = UPDATES
) -> Speed:
    """Time updates of `slots` runs shaped as `run`, for about `seconds` or so many `updates`, whichever is less.

    torch.OutOfMemoryError where they do not fit.
    """
    device = corpus.train.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    begin = time.perf_counter()
    state = empty_state(run, slots, device)
    state.weights[:] = initial(run).to(device)
    state.alive[:] = True
    engine = Engine(run, state, corpus.train, mode, UPDATES)
    draws = np.repeat(feed.take(run, 0, UPDATES)[:, None], slots, axis=1)
    lr = np.full((UPDATES, slots), run.lr)
    engine.prepare(draws.shape[2:])

    def timed(count: int) -> float:
        start = time.perf_counter()
        engine.start(lr[:count], draws[:count])
        engine.finish(count)
        return time.perf_counter() - start

    timed(2)
    setup = time.perf_counter() - begin
    count = max(2, min(updates, math.ceil(seconds / timed(1))))
    each = sum(timed(min(UPDATES, count - i)) for i in range(0, count, UPDATES)) / count
    memory = torch.cuda.max_memory_reserved(device) if device.type == "cuda" else None
    return Speed(slots, each, slots * run.tokens_per_step / each, setup, memory)


def doublings(run: Run, corpus: Corpus, feed: Feed, mode: Mode, first: int, most: int) -> Iterator[Speed]:
    """Speeds of `first` runs, twice as many, ... up to `most`, until a doubling gains little or would not fit.

    Where `first` itself does not fit, half of it is tried, and so on; torch.OutOfMemoryError where not one run does.
    """
    device = corpus.train.device
    last: Speed | None = None
    total = torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else None
    slots = first
    while slots <= most:
        if last is not None and total and last.memory and 2 * last.memory > MEMORY * total:
            return
        try:
            speed = measured(run, corpus, feed, mode, slots)
        except torch.OutOfMemoryError:
            if last is not None:
                return
            if slots == 1:
                raise
            most = slots = slots // 2
            continue
        finally:
            gc.collect()
            if device.type == "cuda":
                torch.cuda.empty_cache()
        yield speed
        if last is not None and speed.rate < (1 + WORTH) * last.rate:
            return
        last, slots = speed, 2 * slots


def best_of(speeds: list[Speed]) -> int:
    """The fewest runs at once from which on doubling gains little."""
    ordered = sorted(speeds, key=lambda speed: speed.slots)
    for speed, double in itertools.pairwise(ordered):
        if double.rate < (1 + WORTH) * speed.rate:
            return speed.slots
    return ordered[-1].slots


def choose_slots(stack: Stack, tokens: Tokens, device: torch.device, mode: Mode = DEFAULT) -> int:
    """How many runs of `stack` to train at once on `device`: by the rule on a CPU, measured on CUDA."""
    run = stack.runs[0]
    rule = default_slots(run, device)
    most = 1 << (useful_slots(stack) - 1).bit_length()  # the lengths that the replica axis has on CUDA
    if device.type != "cuda" or most == 1:
        return rule
    forget_other_shapes(run)
    corpus, feed = on_device(tokens, run, device), Feed(tokens)
    speeds = list(doublings(run, corpus, feed, mode, min(rule, most), most))
    while speeds[0].slots > 1 and best_of(speeds) == speeds[0].slots:  # more do not pay: perhaps fewer do as well
        half = speeds[0].slots // 2
        speeds = [*doublings(run, corpus, feed, mode, half, half), *speeds]
    return best_of(speeds)


def measure_stacks(
    stacks: Sequence[Stack], tokens: Tokens, device: str | None, mode: Mode = DEFAULT
) -> list[dict[str, Any]]:
    """Rows of `sweeps plan --measure`: the stack, fields of `Speed`, and whether more runs at once gain little.

    One thread on a CPU, as `sweeps run` gives each of its processes.
    """
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if where.type == "cpu":
        torch.set_num_threads(1)
    rows = []
    for stack in stacks:
        run, feed = stack.runs[0], Feed(tokens)
        forget_other_shapes(run)
        most = 1 << (useful_slots(stack) - 1).bit_length()
        speeds = list(doublings(run, on_device(tokens, run, where), feed, mode, 1, most))
        rows += [{"stack": stack.key, "best": s.slots == best_of(speeds)} | vars(s) for s in speeds]
    return rows
