"""A design as a grid that `sweeps plan` and `sweeps run` read: one block a shape, its horizons as cooldowns of one
trunk."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from scaling.designing import Design
from scaling.errors import ScalingError

LEAST_STEPS = 1000  # updates of the shortest run, where a batch of one sequence allows them
WARMUP = 100  # updates, the same for all: a warm-up relative to the horizon would leave nothing to share


def grid_text(design: Design, *, lr: float, corpus: str | None = None, batch: int | None = None) -> str:
    """The grid in TOML. It prices as the design does: the cost of the plan is that of the design, to a rounding of the
    updates.

    lr      peak learning rate at the base width and the least depth; the parametrization scales it to the others
    batch   sequences of an update; by default as many as leave the shortest run a thousand updates
    """
    if not lr > 0:
        raise ScalingError(f"lr is the peak learning rate, above 0; got {lr}")
    lattice, rule = design.lattice, design.lattice.rule
    shortest = float(design.runs["D"].min())
    sequences = max(1, int(shortest // (LEAST_STEPS * rule.context))) if batch is None else batch
    sequences = 8 * (sequences // 8) if batch is None and sequences > 8 else sequences
    steps = math.floor(shortest / (sequences * rule.context))
    if sequences < 1 or steps < 10:
        raise ScalingError(
            f"the shortest run has {shortest:.3g} tokens, {steps} updates of {sequences} x {rule.context}: give a "
            "smaller batch, a shorter context, or larger sizes"
        )
    settings: dict[str, Any] = {
        "corpus": corpus or "stdlib", "vocab": rule.vocab, "context": rule.context, "batch": sequences,
        "head_dim": rule.head_dim, "mlp_ratio": float(rule.mlp_ratio), "lr": float(lr),
        "warmup": min(WARMUP, steps // 10), "cooldown_fraction": float(lattice.cooldown),
    }  # fmt: skip
    depths = design.runs["depth"]
    if depths.nunique() > 1:  # one learning rate for all depths, chosen at the least
        settings |= {"depth_rule": "completep", "base_depth": int(depths.min())}
    sd = design.after["total"]
    lines = [
        f"# What is the {design.target}?",
        "#",
        f"# Chosen for {design.flops:.3g} FLOP. If the law and a noise of {design.noise:.2%} hold, these runs leave it",
        f"# a standard deviation of {sd:.2%}. The learning rate is a guess: check it at a small size.",
        *_lines(settings),
    ]
    for width in design.runs["width"].unique().tolist():
        rows = design.runs[design.runs["width"] == width]
        horizons = [float(f"{tokens:.6g}") for tokens in rows["D"]]
        block = {"name": f"w{width}", "width": width, "depth": rows["depth"].tolist()[0], "tokens": horizons}
        lines += ["", "[[grid]]", *_lines(block)]
    return "\n".join(lines) + "\n"


def _lines(settings: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {_value(value)}" for key, value in settings.items()]


def _value(value: Any) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    return repr(value)
