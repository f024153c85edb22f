"""Small stacks built by hand for tests of the trainer: what is asserted must not lean on the planner's code."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from sweeps import records
from sweeps.runs import Edge, Run, Stack, stack_key
from sweeps.tokens import File, Tokens


def a_run(**changes: Any) -> Run:
    """Float64, a few milliseconds an update."""
    fields: dict[str, Any] = dict(width=16, depth=1, head_dim=8, mlp_ratio=2.0, context=16, batch=2, base_width=16)
    fields |= dict(dtype="float64", val_sequences=6, steps=50, lr=0.01, warmup=5, schedule="wsd")
    return Run(**{**fields, **changes})


def a_text(size: int = 20_000) -> Tokens:
    """Letters with a structure that a model learns in a few updates: each byte is the one before plus 1 to 3."""
    rng = np.random.default_rng(0)
    letters = (np.cumsum(rng.integers(1, 4, size)) % 96 + 32).astype(np.uint8)
    return Tokens(letters[: size * 9 // 10], letters[size * 9 // 10 :], (File("a", size, "0" * 64, "train"),), "test")


def alone(run: Run) -> Stack:
    """A stack of one run in one edge."""
    edge = Edge("all", None, 0, run.steps, run.lr_per_step, (run.key,), (run.key,), "all", run)
    return Stack(stack_key(run), (run,), (edge,))


def forked(*runs: Run) -> Stack:
    """A stack of runs that share the steps before their learning rates part."""
    edges: list[Edge] = []
    families: dict[Any, list[Run]] = {}
    for run in runs:
        families.setdefault((run.lineage, float(run.lr_per_step[0])), []).append(run)
    for number, family in enumerate(families.values()):
        _grow(edges, family, 0, None, f"tree{number}")
    return Stack(stack_key(runs[0]), runs, tuple(edges))


def _grow(edges: list[Edge], runs: list[Run], start: int, parent: str | None, trunk: str) -> None:
    stop = start
    while stop < min(run.steps for run in runs) and len({float(run.lr_per_step[stop]) for run in runs}) == 1:
        stop += 1
    name = f"{trunk}-{len(edges)}"
    ends = tuple(run.key for run in runs if run.steps == stop)
    lr = runs[0].lr_per_step[start:stop]
    edges.append(Edge(name, parent, start, stop, lr, tuple(run.key for run in runs), ends, trunk, runs[0]))
    branches: dict[float, list[Run]] = {}
    for run in runs:
        if run.steps > stop:
            branches.setdefault(float(run.lr_per_step[stop]), []).append(run)
    for branch in branches.values():
        _grow(edges, branch, stop, name, trunk)


def opened(out: Path, *stacks: Stack) -> Path:
    """The folders of all runs, as `sweeps run` makes them before it trains."""
    for stack in stacks:
        for run in stack.runs:
            records.open_run(out, run, stack=stack.key, trunk="any", flops=1.0, flops_marginal=1.0)
    return out


def curve(out: Path, run: Run) -> list[dict[str, str]]:
    """The rows of a run's curve as text."""
    with (out / run.key / "curve.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def final(out: Path, run: Run) -> dict[str, Any]:
    return json.loads((out / run.key / "final.json").read_text())
