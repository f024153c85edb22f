"""A plan and the state of a sweep as text and as JSON."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sweeps.cadence import measurements
from sweeps.corpora.settings import BYTES
from sweeps.counting import parameter_counts
from sweeps.grid import Grid
from sweeps.order import epochs_per_source, unique_per_source
from sweeps.plan import Plan, flops_of, notes
from sweeps.tokens import Tokens


def plan_record(grid: Grid, plan: Plan, tokens: Tokens, seconds: float, basis: str) -> dict[str, Any]:
    """All that is printed of a plan, as plain values. FLOP are training FLOP, attention included; `basis` is what the
    estimate of the time rests on."""
    runs, edges = plan.runs, plan.edges
    return {
        "question": grid.question,
        "grid": str(grid.path),
        "corpus": {
            "source": tokens.source,
            "digest": tokens.digest,
            "files": len(tokens.manifest),
            "train_tokens": len(tokens.train),
            "validation_tokens": len(tokens.validation),
            "tokenizer": tokens.tokenizer,
            "vocab": tokens.vocab,
            "bytes_per_token": tokens.bytes_per_token,
            "sources": {part.name: part.tokens for part in tokens.parts if part.name},
        },
        "runs": len(runs),
        "repeated": grid.repeated,
        "stacks": len(plan.stacks),
        "trunks": sum(edge.parent is None for edge in edges),
        "forks": sum(edge.parent is not None for edge in edges),
        "parameters": sorted({parameter_counts(run)["matmul"] for run in runs}),
        "tokens_logged": plan.tokens_logged,
        "tokens_trained": plan.tokens_trained,
        "epochs_longest": max(max(epochs_per_source(tokens, run).values()) for run in runs),
        "flops_alone": plan.flops_alone,
        "flops_shared": plan.flops_shared,
        "flops_validation": plan.flops_validation,
        "flops_measures": plan.flops_measures,
        "measurements": sum(measurements(stack.edges) for stack in plan.stacks),
        "saved_percent": 100 * plan.saved,
        "seconds_estimate": seconds,
        "estimate_from": basis,
        "notes": notes(plan) + _epochs(plan, tokens),
        "stack_table": [_stack_row(plan, i) for i in range(len(plan.stacks))],
        "run_table": [
            {
                "run": run.key,
                "group": run.group,
                "N": parameter_counts(run)["matmul"],
                "D": run.tokens,
                "U": sum(unique_per_source(tokens, run).values()),
                "lr": run.lr,
                "C": 6.0 * parameter_counts(run)["matmul"] * run.tokens,
                "flops": flops_of(run),
                "flops_marginal": plan.flops_marginal[run.key],
                "trunk": plan.trunk[run.key],
            }
            for run in runs
        ],
    }


def plan_text(record: dict[str, Any]) -> str:
    """A plan for people."""
    corpus, sizes = record["corpus"], record["parameters"]
    header = ("stack", "runs", "trunks", "forks", "parameters", "updates", "tokens", "logged", "FLOP", "saved")
    rows = [
        (
            row["stack"],
            str(row["runs"]),
            str(row["trunks"]),
            str(row["forks"]),
            f"{row['parameters']:,}",
            f"{row['updates'][0]:,}" + (f" to {row['updates'][1]:,}" if row["updates"][0] < row["updates"][1] else ""),
            short(row["tokens_trained"]),
            short(row["tokens_logged"]),
            f"{row['flops_shared']:.3g}",
            f"{row['saved_percent']:.0f}%",
        )
        for row in record["stack_table"]
    ]
    again = f" ({record['repeated']} asked for twice, kept once)" if record["repeated"] else ""
    facts = [
        (
            "runs",
            f"{record['runs']}{again} in {record['stacks']} stacks; {record['trunks']} trunks, {record['forks']} forks",
        ),
        (
            "corpus",
            f"{corpus['source']}, digest {corpus['digest']}: {short(corpus['train_tokens'])} tokens to train, "
            f"{short(corpus['validation_tokens'])} to validate",
        ),
        *_reading(corpus),
        (
            "parameters",
            short(sizes[0]) + (f" to {short(sizes[-1])}" if len(sizes) > 1 else "") + ", token embedding apart",
        ),
        ("tokens", f"{short(record['tokens_trained'])} trained for {short(record['tokens_logged'])} in the curves"),
        (
            "FLOP",
            f"{record['flops_shared']:.3g} to train, {record['flops_alone']:.3g} if each run trained alone: "
            f"forking saves {record['saved_percent']:.1f}%",
        ),
        ("validation", f"{record['flops_validation']:.3g} FLOP besides"),
        *_measuring(record),
        ("time", f"about {duration(record['seconds_estimate'])} {record['estimate_from']}"),
        *(("note", note) for note in record["notes"]),
    ]
    lines = [line for name, value in facts for line in _wrapped(name, value)]
    measured = ["", *_speeds(record["measured"])] if "measured" in record else []
    return "\n".join([record["question"], "", *table(header, rows), "", *lines, *measured])


def _reading(corpus: dict[str, Any]) -> list[tuple[str, str]]:
    """What a plan says of a tokenizer and of several sources; nothing for one source of bytes."""
    facts = []
    if corpus["tokenizer"] != BYTES:
        size = corpus["bytes_per_token"]
        known = f"{size:.3g} bytes a token in the validation text" if size else "bytes a token not known"
        facts.append(("tokenizer", f"{Path(corpus['tokenizer']).name}, {corpus['vocab']:,} tokens, {known}"))
    if corpus["sources"]:
        facts.append(("sources", ", ".join(f"{name} {short(size)}" for name, size in corpus["sources"].items())))
    return facts


def _measuring(record: dict[str, Any]) -> list[tuple[str, str]]:
    """What a plan says of what is measured beside the loss; nothing where nothing is."""
    flops, times = record["flops_measures"], record["measurements"]
    if not times:
        return []
    share = 100 * flops / record["flops_shared"]
    return [("measures", f"{flops:.3g} FLOP besides, {share:.2g}% of those to train, at {times:,} updates")]


def _speeds(rows: Sequence[dict[str, Any]]) -> list[str]:
    header = ("stack", "runs at once", "ms an update", "tokens/s", "memory", "best")
    cells = [
        (
            row["stack"],
            str(row["slots"]),
            f"{1000 * row['seconds']:.1f}",
            short(row["rate"]),
            "" if row["memory"] is None else f"{row['memory'] / 2**30:.1f} GiB",
            "x" if row["best"] else "",
        )
        for row in rows
    ]
    return table(header, cells)


def status_text(states: pd.DataFrame) -> str:
    """The table of `collecting.status` for people, a count of each status, who is at work, and what failed and why."""
    header = ("run", "group", "status", "updates", "val_loss", "last row")
    rows = [
        (
            row["run"],
            row["group"],
            row["status"],
            f"{row['step']:,} / {row['steps']:,}",
            "" if math.isnan(row["loss"]) else f"{row['loss']:.4f}",
            "" if row["status"] in ("finished", "diverged", "waiting") else f"{duration(row['idle'])} ago",
        )
        for row in states.to_dict("records")
    ]
    counts = ", ".join(f"{n} {state}" for state, n in states["status"].value_counts().sort_index().items())
    said = [f"{len(states)} runs: {counts}"]
    for holder, count in states["holder"][states["holder"] != ""].value_counts(sort=False).items():
        said.append(f"{holder} trains {count} of them")
    for reason, count in states["reason"][states["reason"] != ""].value_counts(sort=False).items():
        said += _wrapped("failed", f"{count} runs: {reason}")
    return "\n".join([*table(header, rows), "", *said])


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of aligned columns: the first two to the left, the rest to the right where they hold numbers."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    left = [i == 0 or any(row[i][:1].isalpha() for row in rows) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(
            c.ljust(w) if is_left else c.rjust(w) for c, w, is_left in zip(cells, widths, left, strict=True)
        ).rstrip()

    return [line(row) for row in [header, *rows]]


def short(value: float) -> str:
    """A count with three digits and a unit."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.2g} {unit}" if seconds < 10 * size else f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 1):.0f} s"


def _wrapped(name: str, value: str) -> list[str]:
    indent = " " * 12
    return textwrap.wrap(
        value,
        110,
        initial_indent=f"{name:<12}",
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _stack_row(plan: Plan, number: int) -> dict[str, Any]:
    stack = plan.stacks[number]
    alone = Plan((stack,))
    steps = [run.steps for run in stack.runs]
    return {
        "stack": stack.key,
        "runs": len(stack.runs),
        "trunks": sum(edge.parent is None for edge in stack.edges),
        "forks": sum(edge.parent is not None for edge in stack.edges),
        "parameters": parameter_counts(stack.runs[0])["matmul"],
        "updates": [min(steps), max(steps)],
        "tokens_trained": alone.tokens_trained,
        "tokens_logged": alone.tokens_logged,
        "flops_alone": alone.flops_alone,
        "flops_shared": alone.flops_shared,
        "saved_percent": 100 * alone.saved,
    }


def _epochs(plan: Plan, tokens: Tokens) -> list[str]:
    """A note on repeated data, unless every run that repeats was asked to by a cap."""
    uncapped = [epochs_per_source(tokens, run) for run in plan.runs if run.unique_tokens is None]
    longest, name = max(((n, name) for epochs in uncapped for name, n in epochs.items()), default=(0.0, ""))
    if longest <= 1:
        return []
    what = f"training text of the source {name!r}" if name else "training text"
    return [
        f"the longest run reads the {what} {longest:.1f} times: laws of L(N, D) count fresh "
        f"tokens; give more text, or read the result as one on repeated data"
    ]
