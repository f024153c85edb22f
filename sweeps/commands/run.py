"""`sweeps run`: train a grid."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from sweeps import records
from sweeps.commands.common import Command, grid_options, planned, positive, say, torch_needed
from sweeps.plan import Plan, flops_of


def add(command: Command) -> None:
    trained = command(
        "run",
        run,
        "train a grid into a folder; finished runs are skipped, stopped ones continue",
        "sweeps run demo --out out/demo",
        "sweeps run grid.toml --out out/grid --device cuda --slots 64",
        "sweeps run grid.toml --out /shared/grid --no-wait    (on several machines at once)",
    )
    grid_options(trained)
    trained.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder of the runs; made if need be")
    trained.add_argument(
        "--device",
        "--devices",
        metavar="NAMES",
        help="cpu, cuda (all there are) or cuda:0,cuda:1: a process each (default: cuda where there is one)",
    )
    trained.add_argument(
        "--workers", type=positive, metavar="N", help="processes, one stack each at a time (default: by cost)"
    )
    trained.add_argument(
        "--threads", type=positive, metavar="N", help="threads of each process (default: cores / workers)"
    )
    trained.add_argument(
        "--slots", type=positive, metavar="N", help="runs that train at once in a stack (default: by size)"
    )
    trained.add_argument(
        "--compile",
        choices=("auto", "on", "off"),
        default="auto",
        help="compile the training step: auto does on CUDA, where it is captured as a graph too",
    )
    trained.add_argument(
        "--micro-batches",
        type=positive,
        default=1,
        metavar="N",
        help="work through an update's batch in N equal parts, to save memory (default 1)",
    )
    trained.add_argument(
        "--checkpoint-seconds",
        type=float,
        default=30.0,
        metavar="S",
        help="time between checkpoints (default 30); large ones come less often",
    )
    trained.add_argument(
        "--no-wait",
        action="store_true",
        help="end when only stacks are left that other processes train (default: wait, and take over what they leave)",
    )


def run(args: argparse.Namespace) -> int:
    with torch_needed():
        from sweeps import pool
    grid, tokens, plan = planned(args)
    records.write_manifest(args.out, tokens)
    for stack in plan.stacks:
        for one in stack.runs:
            records.open_run(
                args.out,
                one,
                stack=stack.key,
                trunk=plan.trunk[one.key],
                flops=flops_of(one),
                flops_marginal=plan.flops_marginal[one.key],
                say=say,
            )
    done = sum(records.is_done(args.out, one.key) for one in plan.runs)
    say(f"{grid.question}")
    say(
        f"{len(plan.runs)} runs in {len(plan.stacks)} stacks, {done} done before; {plan.flops_shared:.3g} FLOP, "
        f"forking saves {100 * plan.saved:.1f}%"
    )
    outcomes = pool.run_stacks(
        plan.stacks,
        tokens,
        args.out,
        device=args.device,
        workers=args.workers,
        threads=args.threads,
        max_slots=args.slots,
        checkpoint_seconds=args.checkpoint_seconds,
        wait_for_others=not args.no_wait,
        compile_steps=args.compile,
        micro_batches=args.micro_batches,
    )
    for outcome in outcomes:
        if outcome.state == "failed":
            say(f"sweeps: stack {outcome.stack} failed: {outcome.message}")
        elif outcome.state == "elsewhere":
            say(f"sweeps: stack {outcome.stack} left to others: {outcome.message}")
    return _ended([outcome.state for outcome in outcomes], plan, args)


def _ended(states: Sequence[str], plan: Plan, args: argparse.Namespace) -> int:
    finals = [records.read_final(args.out, one.key) for one in plan.runs]
    statuses = [final["status"] for final in finals if final is not None]
    print(
        f"{args.out}: {statuses.count('finished')} runs finished, {statuses.count('diverged')} diverged, "
        f"{len(finals) - len(statuses)} not done"
    )
    if "stopped" in states:
        say(f"stopped; the same command continues: sweeps run {args.grid} --out {args.out}")
        return 130
    return 1 if "failed" in states else 0
