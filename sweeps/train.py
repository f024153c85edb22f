"""Train one stack: a loop over slots that fork, log, validate, checkpoint and end at steps of their own.

Between two moments at which anything has to be decided lies a segment: a few updates of all slots by the one step
function, without a look at their results. Segments depend on the state of training alone, never on the clock, so
that a repeated or resumed sweep goes through the same ones.
"""

from __future__ import annotations

import bisect
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scaling.errors import ScalingError
from sweeps import cadence, checkpoint, curves, records
from sweeps.counting import flops_per_token
from sweeps.curves import Curves
from sweeps.devices import peak_flops
from sweeps.engine import DEFAULT, Engine, Mode, evaluate, evaluate_tokens, forget_other_shapes
from sweeps.feed import Feed
from sweeps.forks import Forks
from sweeps.measures import measured
from sweeps.order import sources_of_validation
from sweeps.progress import Clock, Meter, Report
from sweeps.regimes.listed import regime_of
from sweeps.runs import Edge, Run, Stack, validation_counts
from sweeps.slots import Training, fill, free, held, keep, slot_runs
from sweeps.tokens import Tokens

#: A segment ends at the latest after this many updates, or this much work: signals, checkpoints and the display wait
#: for its end. Guesses that keep segments under a second or so.
SEGMENT_STEPS = 64
SEGMENT_FLOPS = {"cpu": 2e10, "cuda": 1e14}
#: Activations of all slots in elements, tokens times width, up to which more slots make a CPU faster: measured with
#: one thread of a Zen 4 core, widths 16 to 96, where beyond it the caches give back what fewer calls save.
CPU_SLOT_ELEMENTS = 2**16
#: Tokens in one update of all slots that fill a large accelerator at small widths; a guess.
CUDA_SLOT_TOKENS = 2**19
#: Share of the time that checkpoints may take: large ones come less often than asked for.
CHECKPOINT_SHARE = 0.02
#: Seconds between two reports of progress.
REPORT_SECONDS = 0.2


@dataclass(frozen=True)
class Corpus:
    """The text on the device: training tokens (n,), and validation inputs (count, ...)."""

    train: Tensor
    validation: Tensor


def default_slots(run: Run, device: torch.device) -> int:
    """How many runs shaped as `run` should train at once where the user does not say."""
    if device.type == "cpu":
        return min(16, max(1, CPU_SLOT_ELEMENTS // (run.tokens_per_step * run.width)))
    return min(64, max(1, CUDA_SLOT_TOKENS // run.tokens_per_step))


@dataclass
class Desk:
    """Work of the host on results, in order: put off until the device is busy again, or done at once on a CPU."""

    waits: bool
    queue: deque[Callable[[], object]] = field(default_factory=deque)

    def put(self, work: Callable[[], object]) -> None:
        self.queue.append(work)
        if not self.waits:
            self.clear()

    def clear(self) -> None:
        while self.queue:
            self.queue.popleft()()


def train_stack(
    stack: Stack,
    tokens: Tokens,
    out: Path,
    *,
    device: torch.device,
    max_slots: int | None = None,
    mode: Mode = DEFAULT,
    measuring: float = 0.0,
    checkpoint_seconds: float = 30.0,
    stopping: Callable[[], bool] = lambda: False,
    report: Callable[[Report], None] = lambda report: None,
    check: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = lambda text: None,
) -> bool:
    """Train what is not done of `stack` into the folders of its runs (opened before); False if stopped before the end.

    Continues from the checkpoint in OUT/.stacks/<key> where there is one. `stopping` is asked after every segment;
    `check` before anything is written, and it raises where this process may no longer write. `say` is told, in a line
    each, of damaged files that are passed over. `measuring` is time that went to this stack before, in seconds, for
    the account of it.
    OSError where `out` cannot be written: what is there stays as it is.
    """
    forks, run, folder = Forks(stack), stack.runs[0], out / ".stacks" / stack.key
    unfinished = {r.key for r in stack.runs if not records.is_done(out, r.key, say)}
    if not unfinished:
        checkpoint.remove(folder)
        report(Meter(forks, (), 0).read("done", 0, []))
        return True
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if mode.compiles(device):
        forget_other_shapes(run)
    corpus = on_device(tokens, run, device)
    most = max_slots or default_slots(run, device)
    training, behind = checkpoint.resume(
        folder, forks, unfinished, device, most, partial(curves.is_whole, out, forks), say
    )
    for key, count in behind.items():
        records.truncate_rows(out, key, count - 1)
    grid = validation_counts(run.evals_per_octave, max(edge.stop for edge in stack.edges)).tolist()
    looks = frozenset(cadence.measured_counts(run, grid[-1]))
    sources = sources_of_validation(tokens, run.val_sequences)
    size = tokens.bytes_per_token if regime_of(run).whole_text else None
    log = Curves(out, run, unfinished, frozenset(grid), size, check, sources)
    log.token_losses |= {r.key for r in stack.runs if r.token_losses}
    meter = Meter(forks, tuple(training.planned), steps_done(training, forks), peak_flops(device, run.dtype))
    meter.clock.add("measuring", measuring)
    clock, desk, feed = meter.clock, Desk(waits=device.type == "cuda"), Feed(tokens)
    engine: Engine | None = None
    shown = -math.inf
    pause = checkpoint_seconds
    saved = -math.inf  # the first checkpoint comes before the first step: it says what was planned
    while True:
        fill(training, forks, most)
        if not held(training):
            break
        stop = stopping()
        if stop or time.monotonic() - saved > pause:
            desk.clear()
            begin = time.monotonic()
            with clock.on("checkpoints"):
                curves.flush(log)
                checkpoint.save(folder, training, check)
            saved = time.monotonic()
            pause = pause_after(saved - begin, checkpoint_seconds)
        if stop:
            report(meter.read("stopped", steps_done(training, forks), latest(training, log)))
            return False
        if engine is None or engine.state is not training.state:
            engine = None  # gives its buffers and its graph back before the next one takes as much
            engine = Engine(run, training.state, corpus.train, mode, SEGMENT_STEPS)
        engine.set_runs(slot_runs(training, run))
        count = segment_length(training, grid, device)
        metrics, seconds = segment(training, engine, count, feed, desk, clock)
        finite = np.isfinite(metrics).all(axis=(0, 1))
        for place, slot in held(training):
            desk.put(partial(curves.add, log, slot.edge, slot.step - count, metrics[:, :, place], seconds))
            if not finite[place]:
                close_diverged(training, forks, place, log, desk)
        due = [(i, slot.edge) for i, slot in held(training) if curves.is_validated(log, slot.edge, slot.step)]
        if due:
            places = [place for place, _ in due]
            with clock.on("validation" if engine.has_compiled(len(places)) else "compile"):
                values = evaluate(engine, places, corpus.validation)
            with clock.on("measures"):
                wanted = [place for place, slot in held(training) if cadence.is_measured(looks, slot.edge, slot.step)]
                also = measured(engine, training, wanted, feed, corpus.validation)
            for (place, edge), loss, spread, each in zip(due, *values, strict=True):
                if math.isfinite(loss):
                    desk.put(partial(curves.validate, log, edge, loss, spread, each, also.get(place)))
                else:
                    close_diverged(training, forks, place, log, desk)
            desk.put(partial(curves.flush, log))
        for place, slot in held(training):
            if slot.step == slot.edge.stop:
                for key in curves.asks_for_tokens(log, slot.edge):
                    with clock.on("validation" if engine.has_compiled(1) else "compile"):
                        losses = evaluate_tokens(engine, place, corpus.validation)
                    desk.put(partial(curves.keep_tokens, log, key, losses))
                close_finished(training, forks, place, log, desk)
        if time.monotonic() - shown > REPORT_SECONDS:
            report(meter.read("training", steps_done(training, forks), latest(training, log)))
            shown = time.monotonic()
    desk.clear()
    check()
    checkpoint.remove(folder)
    report(meter.read("done", steps_done(training, forks), latest(training, log)))
    return True


def pause_after(took: float, asked: float) -> float:
    """Seconds until the next checkpoint, after one that took `took`: as asked for, or what CHECKPOINT_SHARE leaves.

    Who asks for less than a second, as tests do, has it.
    """
    return asked if asked < 1 else max(asked, took / CHECKPOINT_SHARE)


def on_device(tokens: Tokens, run: Run, device: torch.device) -> Corpus:
    """The text on `device`, as `run` reads it. ScalingError if it is not the text the run was planned for."""
    if run.corpus and run.corpus != tokens.digest:
        raise ScalingError(
            f"run {run.key} was planned for the corpus {run.corpus}, but the text given has the digest "
            f"{tokens.digest}: losses on different texts do not compare. Plan the grid again on this text, or give "
            f"the text it was planned for"
        )
    if run.vocab < tokens.vocab:
        raise ScalingError(f"vocab must be at least the corpus's {tokens.vocab}, got {run.vocab} in run {run.key}")
    small = np.uint8 if tokens.vocab <= 256 else np.int32  # torch indexes few unsigned types
    train = torch.from_numpy(np.array(tokens.train, dtype=small)).to(device)
    return Corpus(train, torch.from_numpy(regime_of(run).validation(run, tokens)).to(device))


def segment_length(training: Training, grid: Sequence[int], device: torch.device) -> int:
    """Updates until the first slot has to be validated or is at the end of its edge, within the limits above."""
    slots = [slot for _, slot in held(training)]
    run = slots[0].edge.example
    work = flops_per_token(run)["6N_with_attention"] * run.tokens_per_step * len(slots)
    limit = min(SEGMENT_STEPS, max(1, int(SEGMENT_FLOPS[device.type] / work)))
    for slot in slots:
        next_count = bisect.bisect_right(grid, slot.step)
        limit = min(
            limit, slot.edge.stop - slot.step, *(count - slot.step for count in grid[next_count : next_count + 1])
        )
    return limit


def segment(
    training: Training, engine: Engine, count: int, feed: Feed, desk: Desk, clock: Clock
) -> tuple[NDArray, NDArray]:
    """`count` updates of all slots. Returns losses and gradient norms (count, 2, R) and the time after each (count,).

    Learning rates and draws of the whole segment go to the device at its start, the metrics come back at its end. In
    between the host does what lies on the `desk`, and finds the draws of the updates after these.
    """
    slots = held(training)
    if engine.draws is None:
        with clock.on("captures" if engine.has_compiled() else "compile"):
            engine.prepare(feed.take(slots[0][1].edge.example, 0, 1).shape[1:])
    assert engine.draws is not None
    begin = time.monotonic()
    lr = np.zeros((count, len(training.slots)))
    draws = np.zeros((count, len(training.slots), *engine.draws.shape[2:]), dtype=np.int64)
    for place, slot in slots:
        lr[:, place] = slot.edge.lr[slot.step - slot.edge.start :][:count]
        draws[:, place] = feed.take(slot.edge.example, slot.step, count)
    with clock.on("steps"):
        engine.start(lr, draws)
        desk.clear()
        if desk.waits:
            for _, slot in slots:
                feed.take(slot.edge.example, slot.step + count, SEGMENT_STEPS)
        values = engine.finish(count)
    elapsed = time.monotonic() - begin
    times = training.seconds + elapsed * np.arange(1, count + 1) / count
    training.seconds += elapsed
    for _, slot in slots:
        slot.step += count
    return values, times


def close_finished(training: Training, forks: Forks, place: int, log: Curves, desk: Desk) -> None:
    """The edge in a slot is at its end: final files for its runs, a snapshot for its children, a free slot."""
    edge = _held_edge(training, place)
    desk.put(partial(curves.finish, log, edge))
    training.finished.add(edge.name)
    if any(child.name in training.planned for child in forks.children[edge.name]):
        keep(training, edge.name, place)
    free(training, place)


def close_diverged(training: Training, forks: Forks, place: int, log: Curves, desk: Desk) -> None:
    """The edge in a slot has diverged: so have all runs through it, and nothing below it can start."""
    edge = _held_edge(training, place)
    desk.put(partial(curves.diverge, log, edge))
    training.finished |= {edge.name, *forks.descendants(edge.name)}
    free(training, place)


def steps_done(training: Training, forks: Forks) -> int:
    """Planned steps that are behind; those below a diverged edge count, for they will not be trained."""
    done = [forks.edges[name] for name in training.planned if name in training.finished]
    slots = [*(slot for _, slot in held(training)), *(slot for slot, _ in training.parked)]
    return sum(e.stop - e.start for e in done) + sum(slot.step - slot.edge.start for slot in slots)


def latest(training: Training, log: Curves) -> list[float]:
    """The latest training losses of the edges in slots."""
    rows = [log.last.get(slot.edge.name) for _, slot in held(training)]
    return [row["train_loss"] for row in rows if row is not None]


def _held_edge(training: Training, place: int) -> Edge:
    slot = training.slots[place]
    assert slot is not None, f"slot {place} is free"
    return slot.edge
