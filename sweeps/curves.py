"""What a stack's training writes: rows of curves, kept back until a flush, and the final word on every run.

A row belongs to an edge and goes to the curve of every run through it that has no final file yet.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweeps import records
from sweeps.counting import flops_per_token
from sweeps.forks import Forks
from sweeps.runs import Edge, Run, validation_counts

Row = dict[str, Any]


@dataclass
class Curves:
    """The rows of the edges in training that are not yet written, and each edge's last row.

    run         any run of the stack: its shape decides what is logged and what it costs
    unfinished  keys of the runs without a final file
    counts      numbers of updates after which every run is validated
    sources     name of a source -> places of its sequences in the validation set; empty for a corpus of one source
    check       raises where this process may no longer write; asked before it does
    """

    out: Path
    run: Run
    unfinished: set[str]
    counts: frozenset[int]
    bytes_per_token: float | None
    check: Callable[[], None] = lambda: None
    sources: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    waiting: dict[str, tuple[Edge, list[Row]]] = field(default_factory=dict)
    last: dict[str, Row] = field(default_factory=dict)
    by_source: dict[str, dict[str, float]] = field(
        default_factory=dict
    )  # edge -> its last validation, source by source
    token_losses: set[str] = field(default_factory=set)  # keys of runs whose validation tokens' losses are kept


def add(curves: Curves, edge: Edge, first: int, metrics: NDArray, seconds: NDArray) -> bool:
    """Take in the updates `first`, `first` + 1, ... of `edge`: losses and norms (n, 2), times (n,).

    Returns False if one was not finite: the edge has diverged there, and rows from there on are not kept.
    """
    run, rows = curves.run, curves.waiting.setdefault(edge.name, (edge, []))[1]
    each = flops_per_token(run)["6N_with_attention"]
    for i, ((loss, norm), time) in enumerate(zip(metrics.tolist(), seconds.tolist(), strict=True)):
        step = first + i
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return False
        tokens = (step + 1) * run.tokens_per_step
        row: Row = {
            "step": step,
            "tokens": tokens,
            "lr": float(edge.lr[step - edge.start]),
            "train_loss": loss,
            "val_loss": None,
            "val_loss_se": None,
            "val_bits_per_byte": None,
            "grad_norm": norm,
            "flops": tokens * each,
            "seconds": time,
        }
        curves.last[edge.name] = row
        if step % run.log_every == 0 or is_validated(curves, edge, step + 1):
            rows.append(row)
    return True


def is_validated(curves: Curves, edge: Edge, count: int) -> bool:
    """Whether `edge` is validated after `count` updates: on the common grid and at its end."""
    return count == edge.stop or count in curves.counts


def is_whole(out: Path, forks: Forks, key: str, count: int) -> bool:
    """Whether the curve of run `key` has the rows of its first `count` updates, each once and undamaged."""
    path = forks.paths[key]
    run, stops = path[0].example, {edge.stop for edge in path}
    validated = stops | set(validation_counts(run.evals_per_octave, path[-1].stop).tolist())
    logged = [step for step in range(count) if step % run.log_every == 0 or step + 1 in validated]
    return [step for step, _ in records.whole_rows(out, key) if step < count] == logged


def validate(
    curves: Curves,
    edge: Edge,
    loss: float,
    spread: float,
    each: NDArray | None = None,
    also: Mapping[str, float] | None = None,
) -> bool:
    """Write a validation into the last row of `edge`; False, and nothing written, if the loss is not finite.

    each  loss of every validation sequence, (count,)
    also  what else was measured, by column
    """
    if not math.isfinite(loss):
        return False
    row = curves.last[edge.name]
    row["val_loss"] = float(loss)
    row["val_loss_se"] = float(spread) if math.isfinite(spread) else None  # one sequence has no spread
    if each is not None:
        curves.by_source[edge.name] = {name: float(each[places].mean()) for name, places in curves.sources.items()}
    if curves.bytes_per_token is not None:  # of shards nobody may know it
        row["val_bits_per_byte"] = float(loss) / math.log(2) / curves.bytes_per_token
    row |= {name: value if math.isfinite(value) else None for name, value in (also or {}).items()}
    return True


def flush(curves: Curves) -> None:
    """Append all waiting rows to the curves of their runs."""
    curves.check()
    for edge, rows in curves.waiting.values():
        if rows:
            for key in curves.unfinished.intersection(edge.runs):
                records.append_rows(curves.out, key, rows)
    curves.waiting.clear()


def asks_for_tokens(curves: Curves, edge: Edge) -> list[str]:
    """Keys of the runs that end with `edge` and have still to keep the losses of their validation tokens."""
    return [key for key in edge.ends if key in curves.token_losses and key in curves.unfinished]


def keep_tokens(curves: Curves, key: str, losses: NDArray[np.float32]) -> None:
    """Write the final losses of the validation tokens of run `key`, (sequences, tokens), before it is finished."""
    curves.check()
    records.write_token_losses(curves.out, key, losses)


def finish(curves: Curves, edge: Edge) -> None:
    """Write the final files of the runs that end with `edge`."""
    _close(curves, edge, edge.ends, "finished")


def diverge(curves: Curves, edge: Edge) -> None:
    """Write the final files of all runs through `edge`: they have no loss, and keep the rows before the divergence."""
    _close(curves, edge, edge.runs, "diverged")


def _close(curves: Curves, edge: Edge, keys: tuple[str, ...], status: str) -> None:
    flush(curves)
    last = curves.last.get(edge.name, {})
    finished = status == "finished"
    for key in keys:
        if key not in curves.unfinished:
            continue
        final = {
            "status": status,
            "steps": last.get("step", edge.start - 1) + 1,
            "tokens": last.get("tokens", edge.start * curves.run.tokens_per_step),
            "loss": last["val_loss"] if finished else None,
            "loss_se": last["val_loss_se"] if finished else None,
            "bits_per_byte": last["val_bits_per_byte"] if finished else None,
            **({"loss_by_source": curves.by_source[edge.name]} if finished and curves.sources else {}),
            "train_loss": last.get("train_loss"),
            "flops": last.get("flops"),
            "seconds": last.get("seconds"),
        }
        records.write_final(curves.out, key, final)
        curves.unfinished.discard(key)
