"""`sweeps coordinates`: do activations keep their size over widths and depths?"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from scaling.errors import ScalingError
from sweeps import collecting
from sweeps.commands.common import Command, positive, say, torch_needed
from sweeps.runs import DEPTH_RULES, OPTIMIZERS


def add(command: Command) -> None:
    coordinates = command(
        "coordinates",
        run,
        "check in seconds that activations, and what training changes in them, keep their size over widths and depths",
        "sweeps coordinates --widths 16,32,64",
        "sweeps coordinates --depths 2,4,8 --depth-rule completep -o out/coordinates",
        "sweeps coordinates --widths 16,32,64 --off",
    )
    for axis, size in (("width", 32), ("depth", 2)):
        coordinates.add_argument(f"--{axis}s", type=_sizes, default=[], metavar="N,N", help=f"{axis}s to go over")
        coordinates.add_argument(
            f"--{axis}", type=positive, default=size, metavar="N",
            help=f"{axis} of the models that differ in the other, and base of the rule (default {size})",
        )  # fmt: skip
    coordinates.add_argument(
        "--depth-rule", choices=DEPTH_RULES, default="completep", help="rule of depth (default completep)"
    )
    coordinates.add_argument("--optimizer", choices=OPTIMIZERS, default="adamw", help="default adamw")
    coordinates.add_argument("--off", action="store_true", help="rules off: what the check looks like when it fails")
    coordinates.add_argument("--lr", type=float, default=0.01, metavar="LR", help="learning rate (default 0.01)")
    coordinates.add_argument("--steps", type=positive, default=10, metavar="N", help="updates (default 10)")
    coordinates.add_argument("--within", type=float, metavar="TIMES", help="fail where anything changes by more")
    coordinates.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="write coordinates.csv and a plot an axis"
    )


def run(args: argparse.Namespace) -> int:
    with torch_needed():
        from sweeps import coordinates
    if not args.widths and not args.depths:
        raise ScalingError("say what to go over: --widths 16,32,64, --depths 2,4,8, or both")
    run = coordinates.small_run(
        width=args.width,
        depth=args.depth,
        depth_rule=args.depth_rule,
        lr=args.lr,
        steps=args.steps,
        optimizer=args.optimizer,
    )
    tables = []
    for axis, sizes in (("width", args.widths), ("depth", args.depths)):
        if sizes:
            tables.append(coordinates.check(run, axis, sizes, off=args.off))
            if args.output is not None:
                coordinates.draw(tables[-1], args.output / f"coordinates_{axis}.png")
    table = pd.concat(tables, ignore_index=True)
    if args.output is not None:
        written = table.astype(object).where(table.notna(), None)  # outside of blocks the block is empty
        collecting.write_csv(args.output / "coordinates.csv", written)
        say(f"{args.output}: coordinates.csv and a plot an axis")
    found = coordinates.flatness(table)
    print(found.to_string(index=False, float_format="{:.2f}".format))
    worst = found.sort_values("times").iloc[-1]
    where = f"{worst['quantity']} of {worst['kind']} by {worst['axis']}"
    print(f"flat within {worst['times']:.2f} times; the least flat is the {where}")
    if args.within is not None and worst["times"] > args.within:
        say(f"sweeps: the {where} differs by {worst['times']:.2f} times, more than {args.within:g}")
        return 1
    return 0


def _sizes(text: str) -> list[int]:
    sizes = [int(part) for part in text.split(",") if part.strip().isdecimal()]
    if len(sizes) <= text.count(",") or len(set(sizes)) < 2 or min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"must be two sizes or more, as in 16,32,64, got {text}")
    return sorted(set(sizes))
