"""`sweeps plan`: what a grid will train, what it costs, what forking saves."""

from __future__ import annotations

import argparse
import json
import math
from typing import Any

from sweeps import describing, estimate
from sweeps.commands.common import Command, grid_options, planned, torch_needed


def add(command: Command) -> None:
    plan = command(
        "plan",
        run,
        "print what a grid will train, what it costs and what forking saves; needs no torch",
        "sweeps plan demo",
        "sweeps plan demo --measure",
        "sweeps plan demo --speed 1e14",
        "sweeps plan grid.toml --json",
    )
    grid_options(plan)
    plan.add_argument("--json", action="store_true", help="print JSON, every run included")
    plan.add_argument(
        "--measure", action="store_true", help="time updates of 1, 2, 4, ... runs at once on this device; needs torch"
    )
    plan.add_argument(
        "--speed", type=_speed, metavar="FLOP/S", help="what another machine sustains, such as 1.5e14: the time there"
    )
    plan.add_argument("--device", metavar="NAME", help="of --measure: cpu, cuda or cuda:1 (default: cuda if there)")


def run(args: argparse.Namespace) -> int:
    grid, tokens, plan = planned(args)
    measured: list[dict[str, Any]] = []
    if args.measure:
        with torch_needed():
            from sweeps import capacity
        measured = capacity.measure_stacks(plan.stacks, tokens, args.device)
        seconds = estimate.seconds_measured(plan, measured)
        basis = "on one device of this machine (an estimate from the updates measured below)"
    elif args.speed:
        seconds, basis = estimate.seconds_at(plan, args.speed), f"at {args.speed:.3g} FLOP/s"
    else:
        seconds, basis = estimate.seconds(plan), "on this CPU (an estimate from a short measurement)"
    record = describing.plan_record(grid, plan, tokens, seconds, basis)
    if measured:
        record["measured"] = measured
    print(json.dumps(record, indent=1) if args.json else describing.plan_text(record))
    return 0


def _speed(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be FLOP/s above 0, such as 1.5e14, got {text}")
    return value
