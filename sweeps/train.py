"""Train one stack: a loop over slots that fork, log, validate, checkpoint and end at steps of their own.

Between two moments at which anything has to be decided lies a segment: a few updates of all slots by the one step
function, without a look at their results. Segments depend on the state of training alone, never on the clock, so
that a repeated or resumed sweep goes through the same ones.
"""

from __future__ import annotations

import bisect
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scaling.errors import ScalingError
from sweeps import checkpoint, curves, records
from sweeps.curves import Curves
from sweeps.forks import Forks
from sweeps.model import leaves, losses, master_dtype
from sweeps.optim import Settings, State, update
from sweeps.order import segment_offsets, validation_sequences
from sweeps.progress import Meter, Report
from sweeps.runs import Edge, Run, Stack, validation_counts
from sweeps.slots import Training, fill, free, held, slot_settings, snapshot
from sweeps.tokens import Tokens

#: A segment ends at the latest after this many updates, or this much work: signals, checkpoints and the display wait
#: for its end. Guesses that keep segments under a second or so.
SEGMENT_STEPS = 64
SEGMENT_FLOPS = {"cpu": 2e10, "cuda": 2e13}
#: Activations of all slots in elements, tokens times width, up to which more slots make a CPU faster: measured with
#: one thread of a Zen 4 core, widths 16 to 96, where beyond it the caches give back what fewer calls save.
CPU_SLOT_ELEMENTS = 2**16
#: Tokens in one update of all slots that fill a large accelerator at small widths; a guess.
CUDA_SLOT_TOKENS = 2**19
#: Seconds between two reports of progress.
REPORT_SECONDS = 0.2


@dataclass(frozen=True)
class Corpus:
    """The text on the device: training tokens (n,), and validation sequences (count, context + 1)."""

    train: Tensor
    validation: Tensor


def default_slots(run: Run, device: torch.device) -> int:
    """How many runs shaped as `run` should train at once where the user does not say."""
    if device.type == "cpu":
        return min(16, max(1, CPU_SLOT_ELEMENTS // (run.tokens_per_step * run.width)))
    return min(64, max(1, CUDA_SLOT_TOKENS // run.tokens_per_step))


def step(state: State, how: Settings, lr: Tensor, sequences: Tensor, run: Run) -> Tensor:
    """One update of every replica, in place; returns losses and gradient norms, (2, R).

    lr (R,), sequences (R, B, T + 1). The loss of a replica is the mean over its tokens, and the sum over replicas is
    what is differentiated: no replica's gradient knows of another. Nothing here waits for the device.
    """
    weights = leaves(state.weights, run)
    loss = losses(weights, sequences, run).mean(dim=(1, 2))
    gradients = torch.autograd.grad(loss.sum(), list(weights.values()))
    grad = torch.cat([g.reshape(len(lr), -1).to(state.weights.dtype) for g in gradients], dim=1)
    loss = loss.detach()
    return torch.stack([loss, update(state, grad, loss, lr, how)])


@torch.no_grad()
def evaluate(state: State, places: Sequence[int], corpus: Corpus, run: Run) -> tuple[NDArray, NDArray]:
    """Validation losses of the replicas at `places` and their standard errors over sequences, each (len(places),)."""
    weights = leaves(state.weights[list(places)], run)
    parts = [
        losses(weights, chunk.long().expand(len(places), -1, -1), run).mean(dim=2)
        for chunk in corpus.validation.split(run.batch)
    ]
    means = torch.cat(parts, dim=1).double().cpu().numpy()
    count = means.shape[1]
    spread = means.std(axis=1, ddof=1) / math.sqrt(count) if count > 1 else np.full(len(places), math.nan)
    return means.mean(axis=1), spread


def train_stack(
    stack: Stack,
    tokens: Tokens,
    out: Path,
    *,
    device: torch.device,
    max_slots: int | None = None,
    checkpoint_seconds: float = 30.0,
    stopping: Callable[[], bool] = lambda: False,
    report: Callable[[Report], None] = lambda report: None,
    check: Callable[[], None] = lambda: None,
) -> bool:
    """Train what is not done of `stack` into the folders of its runs (opened before); False if stopped before the end.

    Continues from the checkpoint in OUT/.stacks/<key> where there is one. `stopping` is asked after every segment;
    `check` before anything is written, and it raises where this process may no longer write.
    OSError where `out` cannot be written: what is there stays as it is.
    """
    forks, run, folder = Forks(stack), stack.runs[0], out / ".stacks" / stack.key
    unfinished = {r.key for r in stack.runs if not records.is_done(out, r.key)}
    if not unfinished:
        checkpoint.remove(folder)
        report(Meter(forks, (), 0).read("done", 0, []))
        return True
    corpus = on_device(tokens, run, device)
    training, behind = checkpoint.restore(checkpoint.load(folder), forks, unfinished, device)
    for key, count in behind.items():
        records.truncate_rows(out, key, count - 1)
    most = max_slots or default_slots(run, device)
    grid = validation_counts(run.evals_per_octave, max(edge.stop for edge in stack.edges)).tolist()
    log = Curves(out, run, unfinished, frozenset(grid), tokens.bytes_per_token, check)
    meter = Meter(forks, tuple(training.planned), steps_done(training, forks))
    shown = -math.inf
    saved = -math.inf  # the first checkpoint comes before the first step: it says what was planned
    while True:
        fill(training, forks, most)
        if not held(training):
            break
        stop = stopping()
        if stop or time.monotonic() - saved > checkpoint_seconds:
            curves.flush(log)
            checkpoint.save(folder, training, check)
            saved = time.monotonic()
        if stop:
            report(meter.read("stopped", steps_done(training, forks), latest(training, log)))
            return False
        count = segment_length(training, grid, device)
        metrics, seconds = segment(training, count, corpus, tokens)
        for place, slot in held(training):
            if not curves.add(log, slot.edge, slot.step - count, metrics[:, :, place], seconds):
                close_diverged(training, forks, place, log)
        due = [(i, slot.edge) for i, slot in held(training) if curves.is_validated(log, slot.edge, slot.step)]
        if due:
            values = evaluate(training.state, [place for place, _ in due], corpus, run)
            for (place, edge), loss, spread in zip(due, *values, strict=True):
                if not curves.validate(log, edge, loss, spread):
                    close_diverged(training, forks, place, log)
            curves.flush(log)
        for place, slot in held(training):
            if slot.step == slot.edge.stop:
                close_finished(training, forks, place, log)
        if time.monotonic() - shown > REPORT_SECONDS:
            report(meter.read("training", steps_done(training, forks), latest(training, log)))
            shown = time.monotonic()
    check()
    checkpoint.remove(folder)
    report(meter.read("done", steps_done(training, forks), latest(training, log)))
    return True


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
    validation = validation_sequences(tokens, run.context, run.val_sequences).astype(np.int64)
    return Corpus(train, torch.from_numpy(validation).to(device))


def segment_length(training: Training, grid: Sequence[int], device: torch.device) -> int:
    """Updates until the first slot has to be validated or is at the end of its edge, within the limits above."""
    slots = [slot for _, slot in held(training)]
    run = slots[0].edge.example
    work = run.flops_per_token["6N_with_attention"] * run.tokens_per_step * len(slots)
    limit = min(SEGMENT_STEPS, max(1, int(SEGMENT_FLOPS[device.type] / work)))
    for slot in slots:
        next_count = bisect.bisect_right(grid, slot.step)
        limit = min(
            limit, slot.edge.stop - slot.step, *(count - slot.step for count in grid[next_count : next_count + 1])
        )
    return limit


def segment(training: Training, count: int, corpus: Corpus, tokens: Tokens) -> tuple[NDArray, NDArray]:
    """`count` updates of all slots. Returns losses and gradient norms (count, 2, R) and the time after each (count,).

    Learning rates and data of the whole segment go to the device at its start, the metrics come back at its end.
    """
    state, slots = training.state, held(training)
    run, device = slots[0][1].edge.example, training.state.weights.device
    begin = time.monotonic()
    lr = np.zeros((count, len(training.slots)))
    starts = np.zeros((count, len(training.slots), run.batch), dtype=np.int64)
    for place, slot in slots:
        lr[:, place] = slot.edge.lr[slot.step - slot.edge.start :][:count]
        starts[:, place] = segment_offsets(tokens, slot.edge.example, slot.step, count)
    lr_there = torch.from_numpy(lr).to(device, master_dtype(run))
    starts_there = torch.from_numpy(starts).to(device)
    how, window = slot_settings(training, run), torch.arange(run.context + 1, device=device)
    metrics = []
    for i in range(count):
        sequences = corpus.train[starts_there[i].unsqueeze(-1) + window].long()
        metrics.append(step(state, how, lr_there[i], sequences, run))
    values = torch.stack(metrics).double().cpu().numpy()  # waits for the device
    elapsed = time.monotonic() - begin
    times = training.seconds + elapsed * np.arange(1, count + 1) / count
    training.seconds += elapsed
    for _, slot in slots:
        slot.step += count
    return values, times


def close_finished(training: Training, forks: Forks, place: int, log: Curves) -> None:
    """The edge in a slot is at its end: final files for its runs, a snapshot for its children, a free slot."""
    edge = _held_edge(training, place)
    curves.finish(log, edge)
    training.finished.add(edge.name)
    if any(child.name in training.planned for child in forks.children[edge.name]):
        training.snapshots[edge.name] = snapshot(training.state, place)
    free(training, place)


def close_diverged(training: Training, forks: Forks, place: int, log: Curves) -> None:
    """The edge in a slot has diverged: so have all runs through it, and nothing below it can start."""
    edge = _held_edge(training, place)
    curves.diverge(log, edge)
    training.finished |= {edge.name, *forks.descendants(edge.name)}
    free(training, place)


def steps_done(training: Training, forks: Forks) -> int:
    """Planned steps that are behind; those below a diverged edge count, for they will not be trained."""
    done = [forks.edges[name] for name in training.planned if name in training.finished]
    return sum(e.stop - e.start for e in done) + sum(slot.step - slot.edge.start for _, slot in held(training))


def latest(training: Training, log: Curves) -> list[float]:
    """The latest training losses of the edges in slots."""
    rows = [log.last.get(slot.edge.name) for _, slot in held(training)]
    return [row["train_loss"] for row in rows if row is not None]


def _held_edge(training: Training, place: int) -> Edge:
    slot = training.slots[place]
    assert slot is not None, f"slot {place} is free"
    return slot.edge
